-- The schema side of a job: phases of statements, each statement with a row of its own, and what is known of the
-- table before it is changed. A run begins before its table need be there.

ALTER TABLE piecemeal.run
    DROP CONSTRAINT run_phase_check,
    DROP CONSTRAINT run_check,
    ADD CONSTRAINT run_phase_check
        CHECK (phase IN ('expand', 'sync', 'backfill', 'verify', 'contract', 'down')),
    ADD CONSTRAINT run_check
        CHECK (status <> 'succeeded' OR verified IS NOT NULL OR phase IN ('expand', 'contract', 'down')),
    ALTER COLUMN table_oid DROP NOT NULL,
    ADD COLUMN added text[],
    ADD COLUMN before_contract text[];

CREATE TABLE piecemeal.step (
    run_id        int8        NOT NULL REFERENCES piecemeal.run ON DELETE CASCADE,
    part          text        NOT NULL CHECK (part IN ('expand.up', 'expand.down', 'contract.up', 'contract.down')),
    no            int4        NOT NULL CHECK (no > 0),
    sql           text        NOT NULL,
    note          text,
    backend       int4,
    backend_start text,
    began_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_at       timestamptz,
    PRIMARY KEY (run_id, part, no)
);
COMMENT ON TABLE piecemeal.step IS 'A statement of a run; its row commits with it';

-- Whoever may use the ranges may use it, too.
DO $$
DECLARE who oid;
BEGIN
    FOR who IN SELECT DISTINCT a.grantee FROM pg_class c, aclexplode(c.relacl) a
               WHERE c.oid = 'piecemeal.range'::regclass AND a.privilege_type = 'UPDATE'
                 AND a.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON piecemeal.step TO %s', who::regrole);
    END LOOP;
END $$;

INSERT INTO piecemeal.ledger (version) VALUES (5);
