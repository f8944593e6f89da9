-- Chunks that are done in several passes, each over one stripe of their keys.

ALTER TABLE piecemeal.range
    ADD COLUMN front   text[],
    ADD COLUMN mark    text[],
    ADD COLUMN stripe  int4 CHECK (stripe >= 0),
    ADD COLUMN stripes int4 CHECK (stripes > 1),
    ADD CHECK (num_nulls(front, mark) IN (0, 2)),
    ADD CHECK (num_nulls(stripe, stripes) IN (0, 2) AND stripe < stripes),
    ADD CHECK (front IS NULL OR stripe IS NOT NULL AND NOT done);

-- Members: the processes that work on a run, the one that leads it among them.

CREATE TABLE piecemeal.member (
    run_id      int8        NOT NULL REFERENCES piecemeal.run ON DELETE CASCADE,
    token       text        NOT NULL,
    owner       jsonb       NOT NULL,
    workers     int4        NOT NULL CHECK (workers >= 0),
    lease_until timestamptz NOT NULL,
    joined_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, token)
) WITH (fillfactor = 50);
COMMENT ON TABLE piecemeal.member IS 'A process that works on a run; ranges are leased to its token';

-- Whoever may use the ranges may use it, too.
DO $$
DECLARE who oid;
BEGIN
    FOR who IN SELECT DISTINCT a.grantee FROM pg_class c, aclexplode(c.relacl) a
               WHERE c.oid = 'piecemeal.range'::regclass AND a.privilege_type = 'UPDATE'
                 AND a.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON piecemeal.member TO %s', who::regrole);
    END LOOP;
END $$;

-- Walks in physical order: the file whose places the ranges of the walk are, and how often another one
-- took its place.

ALTER TABLE piecemeal.run
    ADD COLUMN filenode oid,
    ADD COLUMN rewrites int4 NOT NULL DEFAULT 0 CHECK (rewrites >= 0);

INSERT INTO piecemeal.ledger (version) VALUES (3);
