-- What held a run, summed up by reason, and ranges that were put aside because somebody had locked
-- their rows.

ALTER TABLE piecemeal.run ADD COLUMN held jsonb NOT NULL DEFAULT '{}';
ALTER TABLE piecemeal.range ADD COLUMN aside int4 NOT NULL DEFAULT 0 CHECK (aside >= 0);

INSERT INTO piecemeal.ledger (version) VALUES (2);
