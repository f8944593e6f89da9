-- Chunks that are done in several passes, each over one stripe of their keys.

ALTER TABLE piecemeal.range
    ADD COLUMN front   text[],
    ADD COLUMN mark    text[],
    ADD COLUMN stripe  int4 CHECK (stripe >= 0),
    ADD COLUMN stripes int4 CHECK (stripes > 1),
    ADD CHECK (num_nulls(front, mark) IN (0, 2)),
    ADD CHECK (num_nulls(stripe, stripes) IN (0, 2) AND stripe < stripes),
    ADD CHECK (front IS NULL OR stripe IS NOT NULL AND NOT done);

INSERT INTO piecemeal.ledger (version) VALUES (3);
