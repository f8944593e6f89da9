-- The ledger of piecemeal: where runs are, and what happened to them.
-- It is logged and lives in the database of the rows, because cursor and rows commit together.

CREATE SCHEMA piecemeal;
COMMENT ON SCHEMA piecemeal IS 'Ledger of piecemeal: runs, their cursors and their history';
REVOKE ALL ON SCHEMA piecemeal FROM PUBLIC;

CREATE TABLE piecemeal.ledger (
    version      int4        NOT NULL PRIMARY KEY,
    installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE piecemeal.ledger IS 'One row per version of this schema that was installed';

CREATE TABLE piecemeal.run (
    id          int8        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job         text        NOT NULL CHECK (job <> ''),
    nth         int4        NOT NULL CHECK (nth > 0),
    fingerprint text        NOT NULL,
    spec        jsonb       NOT NULL,
    has_where   bool        NOT NULL,
    table_oid   oid         NOT NULL,
    system_id   text        NOT NULL,
    database    text        NOT NULL,
    phase       text        NOT NULL CHECK (phase IN ('backfill', 'verify')),
    status      text        NOT NULL CHECK (status IN ('ready', 'running', 'paused', 'failed', 'succeeded', 'cancelled')),
    intent      text        NOT NULL CHECK (intent IN ('run', 'pause', 'cancel')),
    reason      text,
    asked_by    text,
    failure     jsonb,
    overrides   jsonb       NOT NULL DEFAULT '{}',
    estimate    int8        CHECK (estimate >= 0),
    pass        int4        NOT NULL DEFAULT 0 CHECK (pass >= 0),
    verified    text        CHECK (verified IN ('rows', 'books')),
    looked      int8,
    looked_s    float8,
    pulse       jsonb       NOT NULL DEFAULT '{}',
    owner       jsonb,
    lease_token text,
    lease_until timestamptz,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at  timestamptz,
    changed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    UNIQUE (job, nth),
    CHECK (status <> 'succeeded' OR verified IS NOT NULL)
) WITH (fillfactor = 50);
COMMENT ON TABLE piecemeal.run IS 'One life of a job in this database';
CREATE UNIQUE INDEX run_one_open_per_job ON piecemeal.run (job)
    WHERE status NOT IN ('succeeded', 'cancelled');

CREATE TABLE piecemeal.range (
    run_id      int8   NOT NULL REFERENCES piecemeal.run ON DELETE CASCADE,
    no          int4   NOT NULL CHECK (no >= 0),
    pass        int4   NOT NULL DEFAULT 0 CHECK (pass >= 0),
    after       text[],
    upto        text[],
    cursor      text[],
    rev         int8   NOT NULL DEFAULT 0 CHECK (rev >= 0),
    done        bool   NOT NULL DEFAULT false,
    lease_token text,
    lease_until timestamptz,
    batches     int8   NOT NULL DEFAULT 0 CHECK (batches >= 0),
    retries     int8   NOT NULL DEFAULT 0 CHECK (retries >= 0),
    seen        int8   NOT NULL DEFAULT 0 CHECK (seen >= 0),
    matched     int8   NOT NULL DEFAULT 0 CHECK (matched >= 0),
    changed     int8   NOT NULL DEFAULT 0 CHECK (changed >= 0),
    unchanged   int8   NOT NULL DEFAULT 0 CHECK (unchanged >= 0),
    quarantined int8   NOT NULL DEFAULT 0 CHECK (quarantined >= 0),
    still       int8   NOT NULL DEFAULT 0 CHECK (still >= 0),
    PRIMARY KEY (run_id, no),
    CHECK (matched = changed + unchanged + quarantined),
    CHECK (NOT done OR cursor IS NOT DISTINCT FROM upto),
    CHECK (cursor IS NULL OR rev > 0)
) WITH (fillfactor = 50);
COMMENT ON TABLE piecemeal.range IS 'A slice of the key space; its cursor commits with the rows';

CREATE TABLE piecemeal.journal (
    id     int8        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id int8        NOT NULL REFERENCES piecemeal.run ON DELETE CASCADE,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    who    text        NOT NULL,
    what   text        NOT NULL,
    detail jsonb       NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE piecemeal.journal IS 'Who did what to a run, when and why';
CREATE INDEX journal_by_run ON piecemeal.journal (run_id, id);

INSERT INTO piecemeal.ledger (version) VALUES (1);
