-- Where a walk ends, apart from its ranges, and by which numbers a key of several columns gets its stripe. Runs
-- that are there have noted no end, and go on with the stripes that they have.

ALTER TABLE piecemeal.run
    ADD COLUMN upto text[],
    ADD COLUMN spreads bool NOT NULL DEFAULT false;

INSERT INTO piecemeal.ledger (version) VALUES (6);
