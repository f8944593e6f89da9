-- How far a verification was when the process that looked at the table went, for whoever goes on with it.

ALTER TABLE piecemeal.run
    ADD COLUMN verifying jsonb;

INSERT INTO piecemeal.ledger (version) VALUES (7);
