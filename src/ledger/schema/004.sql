-- Rows that the server refused, recorded instead of written, and the range in which they are tried again.

CREATE TABLE piecemeal.quarantine (
    id          int8        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id      int8        NOT NULL REFERENCES piecemeal.run ON DELETE CASCADE,
    range_no    int4        NOT NULL,
    key         text[]      COLLATE "C" NOT NULL,
    sqlstate    text,
    message     text        NOT NULL CHECK (length(message) <= 1000),
    seen_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    tries       int4        NOT NULL DEFAULT 1 CHECK (tries > 0),
    tried_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    is_queued   bool        NOT NULL DEFAULT false,
    skipped_at  timestamptz,
    skipped_by  text,
    skip_reason text,
    CHECK (num_nulls(skipped_at, skipped_by, skip_reason) IN (0, 3)),
    CHECK (NOT is_queued OR skipped_at IS NULL)
);
COMMENT ON TABLE piecemeal.quarantine IS 'Rows that the server refused, by their keys';
CREATE INDEX quarantine_by_run ON piecemeal.quarantine (run_id, id);
-- A key may be longer than an index entry.
CREATE INDEX quarantine_by_key ON piecemeal.quarantine (run_id, hash_array_extended(key, 0));

ALTER TABLE piecemeal.range
    ADD COLUMN skipped     int8 NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    ADD COLUMN is_requeued bool NOT NULL DEFAULT false,
    ADD CHECK (skipped <= quarantined);

-- Whoever may use the ranges may use it, too.
DO $$
DECLARE who oid;
BEGIN
    FOR who IN SELECT DISTINCT a.grantee FROM pg_class c, aclexplode(c.relacl) a
               WHERE c.oid = 'piecemeal.range'::regclass AND a.privilege_type = 'UPDATE'
                 AND a.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON piecemeal.quarantine TO %s', who::regrole);
    END LOOP;
END $$;

INSERT INTO piecemeal.ledger (version) VALUES (4);
