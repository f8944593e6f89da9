-- Where a walk ends, apart from its ranges; and its key: the columns as they were when it began, and by which of
-- them a row gets its stripe. Runs that are there have noted neither, and go on with the stripes that they have.

ALTER TABLE piecemeal.run
    ADD COLUMN upto text[],
    ADD COLUMN key jsonb;

INSERT INTO piecemeal.ledger (version) VALUES (6);
