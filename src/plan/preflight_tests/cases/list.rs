//! The list: refusals first, then warnings and notes.

use crate::plan::facts::Facts;

use super::keys::{collations, keys};
use super::partitions::partitions;
use super::{Case, Role, along, on, setting};

/// An ordinary table.
const T: &str = "CREATE TABLE t (id int8 PRIMARY KEY, n int);";

/// A function for triggers.
const TOUCH: &str = "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN IF new.n = old.n THEN RETURN NULL; END IF; NEW.updated_at := now(); RETURN new; END $$;";

/// What the bare role needs for it.
const BARE: &str = "GRANT CREATE ON DATABASE {db} TO app; GRANT SELECT, UPDATE ON t TO app;";

/// The ledger, as far as preflight looks at it.
const LEDGER: &str = "CREATE SCHEMA piecemeal; CREATE TABLE piecemeal.ledger (version int);
    CREATE TABLE piecemeal.run (id int); CREATE TABLE piecemeal.range (id int);
    CREATE TABLE piecemeal.journal (id int);";

/// What the bare role needs for an ordinary table; each case leaves one out.
const PRIVILEGES: [(&str, &str); 4] = [
    ("create", "GRANT CREATE ON DATABASE {db} TO app;"),
    ("usage", "GRANT USAGE ON SCHEMA app TO app;"),
    ("select", "GRANT SELECT (id) ON app.t TO app;"),
    ("update", "GRANT UPDATE (n) ON app.t TO app;"),
];

/// Returns all cases.
pub(crate) fn cases() -> Vec<Case> {
    let parts = [
        tables(),
        partitions(),
        columns(),
        keys(),
        orders(),
        collations(),
        access(),
        servers(),
        replication(),
        warnings(),
    ];
    parts.concat()
}

fn tables() -> Vec<Case> {
    let case = Case::new;
    vec![
        case("table: missing", "", on("public.posts"), &["table-missing"]),
        case("table: other case", "CREATE TABLE \"Posts\" (id int PRIMARY KEY, n int)", on("public.posts"), &["table-missing"]),
        case("table: a slip", "CREATE TABLE posts (id int PRIMARY KEY, n int)", on("public.psots"), &["table-missing"]),
        case("table: other schema", "CREATE SCHEMA app; CREATE TABLE app.posts (n int)", on("posts"), &["table-missing"]),
        case(
            "table: ambiguous",
            "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, n int); CREATE TABLE t (id int PRIMARY KEY, n int);
             GRANT USAGE ON SCHEMA app TO app; GRANT SELECT, UPDATE ON app.t TO app;
             ALTER ROLE app IN DATABASE {db} SET search_path = app, public",
            on("t"),
            &["table-ambiguous"],
        ),
        case("table: a view", "CREATE TABLE t (id int); CREATE VIEW v AS SELECT * FROM t", on("public.v"), &["table-kind"]),
        case("table: a materialized view", "CREATE MATERIALIZED VIEW v AS SELECT 1 AS n", on("public.v"), &["table-kind"]),
        case(
            "table: foreign",
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
             CREATE FOREIGN TABLE f (id int, n int) SERVER s",
            on("public.f"),
            &["table-kind"],
        )
        .never_analyzed(),
        case("table: a sequence", "CREATE SEQUENCE s", on("public.s"), &["table-kind"]),
        case("table: an index", T, on("public.t_pkey"), &["table-kind"]),
        case("table: a composite type", "CREATE TYPE c AS (n int)", on("public.c"), &["table-kind"]),
        case("table: a catalog", "", on("pg_catalog.pg_class"), &["table-system"]),
        case(
            "table: of the ledger",
            &format!("{LEDGER} GRANT USAGE ON SCHEMA piecemeal TO app; GRANT ALL ON ALL TABLES IN SCHEMA piecemeal TO app"),
            on("piecemeal.run"),
            &["table-system"],
        ),
        case("table: TOAST", "CREATE TABLE t (id int PRIMARY KEY, body text)", on("{name}"), &["table-system"])
            .named_by("SELECT replace(reltoastrelid::regclass::text, '\"', '') FROM pg_class WHERE relname = 't'"),
        case("table: temporary", "CREATE TEMPORARY TABLE tmp (id int PRIMARY KEY, n int)", on("{name}"), &["table-temporary"])
            .named_by("SELECT pg_my_temp_schema()::regnamespace || '.tmp'"),
        case("table: inherited", &format!("{T} CREATE TABLE child () INHERITS (t)"), on("public.t"), &["table-inherited"]),
        case("table: with a rule", &format!("{T} CREATE RULE quiet AS ON UPDATE TO t DO INSTEAD NOTHING"),
            on("public.t"), &["table-rules"]),
        case("table: with a rule that is disabled",
            &format!("{T} CREATE RULE quiet AS ON UPDATE TO t DO INSTEAD NOTHING; ALTER TABLE t DISABLE RULE quiet"),
            on("public.t"), &[]),
    ]
}

/// A job in this order over the rows that are left to do.
fn ordered(order: &str) -> String {
    format!("[table]\nname = 'public.t'\nwhere = 'n IS NULL'\norder = '{order}'\n[set]\nn = '1'\n")
}

fn orders() -> Vec<Case> {
    const RANDOM: &str = "CREATE TABLE t (id uuid PRIMARY KEY, n int);
        INSERT INTO t SELECT md5(i::text)::uuid FROM generate_series(1, 1000) i;";
    const SERIAL: &str = "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT generate_series(1, 1000);";
    let case = Case::new;
    let small_cache = |facts: &mut Facts| facts.server.shared_buffers = 1;
    vec![
        case(
            "order: physical without where",
            T,
            ordered("physical").replace("where = 'n IS NULL'\n", ""),
            &["order-without-where"],
        ),
        case(
            "order: physical, and the table fits in the cache",
            RANDOM,
            ordered("physical"),
            &["order-key"],
        ),
        case(
            "order: physical, and the key follows the file",
            SERIAL,
            ordered("physical"),
            &["order-key"],
        )
        .with(small_cache),
        case("order: physical, and the key is random", RANDOM, ordered("physical"), &[])
            .with(small_cache),
        case("order: by a key that is random", RANDOM, ordered("key"), &["order-physical"])
            .with(small_cache),
        case("order: by a key that follows the file", SERIAL, ordered("key"), &[])
            .with(small_cache),
    ]
}

fn columns() -> Vec<Case> {
    let case = Case::new;
    vec![
        case("column: missing", T, setting("public.t", "total"), &["column-missing"]),
        case(
            "column: other case",
            "CREATE TABLE t (id int PRIMARY KEY, \"Total\" int)",
            setting("public.t", "total"),
            &["column-missing"],
        ),
        case("column: system", T, setting("public.t", "ctid"), &["column-system"]),
        case(
            "column: dropped",
            "CREATE TABLE t (id int PRIMARY KEY, n int); ALTER TABLE t DROP COLUMN n",
            setting("public.t", "........pg.dropped.2........"),
            &["column-dropped"],
        ),
        case(
            "column: generated",
            "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS (id * 2) STORED)",
            on("public.t"),
            &["column-generated"],
        ),
        case(
            "column: identity",
            "CREATE TABLE t (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY)",
            on("public.t"),
            &["column-identity"],
        ),
        case(
            "column: in the key",
            T,
            setting("public.t", "id"),
            &["column-in-key", "column-unique", "column-indexed"],
        ),
        case(
            "column: referenced",
            "CREATE TABLE t (id int PRIMARY KEY, n int UNIQUE);
             CREATE TABLE child (id int PRIMARY KEY, n int CONSTRAINT child_n REFERENCES t (n))",
            on("public.t"),
            &["column-referenced", "column-unique", "column-indexed"],
        ),
        case(
            "column: in the partition key",
            "CREATE TABLE p (id int, n int, PRIMARY KEY (id, n)) PARTITION BY RANGE (n);
             CREATE TABLE leaf PARTITION OF p DEFAULT; ALTER TABLE leaf ADD UNIQUE (id); ",
            along("public.leaf", &["id"]),
            &["column-in-partition-key", "column-unique", "column-indexed", "table-partition"],
        ),
        case(
            "column: in the expression of a partition key",
            "CREATE TABLE p (id int NOT NULL, n int) PARTITION BY RANGE ((n / 10));
             CREATE TABLE leaf PARTITION OF p DEFAULT; ALTER TABLE leaf ADD PRIMARY KEY (id); ",
            on("public.leaf"),
            &["column-in-partition-key", "table-partition"],
        ),
    ]
}

fn access() -> Vec<Case> {
    let case = Case::new;
    let mut all = vec![
        case("access: row security", &format!("{T} ALTER TABLE t ENABLE ROW LEVEL SECURITY"), on("public.t"), &["row-security"]),
        case("access: row security does not apply to a superuser", &format!("{T} ALTER TABLE t ENABLE ROW LEVEL SECURITY"),
            on("public.t"), &["role-superuser"]).seen_by(Role::Super),
        case("access: columns of the job's SQL", "CREATE TABLE t (id int PRIMARY KEY, lat int, lng int, n int);
             GRANT CREATE ON DATABASE {db} TO app; GRANT SELECT (id, lng), UPDATE (n) ON t TO app",
            "[table]\nname = 'public.t'\nwhere = 'lng > 0'\n[set]\nn = 'lat + 1'\n".to_owned(), &["select-denied", "vacuum-privilege"]).seen_by(Role::Bare),
        case("access: a role without any", "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, n int)", on("app.t"),
            &["schema-denied", "select-denied", "update-denied", "ledger-create", "vacuum-privilege"]).seen_by(Role::Mixed),
        case("ledger: no usage", &format!("{T} {LEDGER} GRANT ALL ON ALL TABLES IN SCHEMA piecemeal TO app"),
            on("public.t"), &["ledger-denied"]),
        case("ledger: no privileges on its tables", &format!("{T} {LEDGER} GRANT USAGE ON SCHEMA piecemeal TO app;
             GRANT ALL ON ALL TABLES IN SCHEMA piecemeal TO app; REVOKE INSERT, UPDATE ON piecemeal.run FROM app"),
            on("public.t"), &["ledger-denied"]),
        case("ledger: usable", &format!("{T} {LEDGER} GRANT USAGE ON SCHEMA piecemeal TO app;
             GRANT ALL ON ALL TABLES IN SCHEMA piecemeal TO app"), on("public.t"), &[]),
        case("ledger: not ours", &format!("{T} CREATE SCHEMA piecemeal"), on("public.t"), &["ledger-incomplete"]),
        case("ledger: unlogged", &format!("{T} {LEDGER} ALTER TABLE piecemeal.range SET UNLOGGED;
             GRANT USAGE ON SCHEMA piecemeal TO app; GRANT ALL ON ALL TABLES IN SCHEMA piecemeal TO app"),
            on("public.t"), &["ledger-unlogged"]),
        case("search path: missing and denied", &format!("{T} CREATE SCHEMA ext"),
            "[table]\nname = 'public.t'\nsearch_path = ['exd', 'ext']\n[set]\nn = '1'\n".to_owned(),
            &["search-path-missing", "search-path-denied"]),
    ];
    all.extend(each_privilege_removed());
    all
}

fn each_privilege_removed() -> Vec<Case> {
    let lacking: [(&str, &str, &'static [&'static str]); 5] = [
        ("access: none lacks", "none", &["vacuum-privilege"]),
        ("access: no CREATE on the database", "create", &["ledger-create", "vacuum-privilege"]),
        ("access: no USAGE on the schema", "usage", &["schema-denied", "vacuum-privilege"]),
        ("access: no SELECT on the key", "select", &["select-denied", "vacuum-privilege"]),
        ("access: no UPDATE on the column", "update", &["update-denied", "vacuum-privilege"]),
    ];
    let case = |(name, lacks, codes): (&'static str, &str, &'static [&'static str])| {
        let grants = PRIVILEGES.iter().filter(|(word, _)| *word != lacks).map(|(_, sql)| *sql);
        let table = "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, n int);";
        let setup = table.to_owned() + &grants.collect::<String>();
        Case::new(name, &setup, on("app.t"), codes).seen_by(Role::Bare)
    };
    lacking.into_iter().map(case).collect()
}

fn servers() -> Vec<Case> {
    let case = Case::new;
    vec![
        case("server: read-only role", &format!("{T} ALTER ROLE app IN DATABASE {{db}} SET default_transaction_read_only = on"),
            on("public.t"), &["server-read-only"]),
        case("server: read-only database", &format!("{T} ALTER DATABASE {{db}} SET default_transaction_read_only = on"),
            on("public.t"), &["server-read-only"]).never_analyzed().with(|facts| estimate(facts, 0)),
        case("server: too old", T, on("public.t"), &["server-too-old"]).with(|facts| {
            // This is all that is read of such a server.
            facts.server.version = 130_014;
            "13.14".clone_into(&mut facts.server.version_text);
            facts.relations.clear();
            (facts.table, facts.surroundings) = (None, None);
        }),
        case("server: newer", T, on("public.t"), &["server-newer"]).with(|facts| {
            facts.server.version = 190_000;
            "19.0".clone_into(&mut facts.server.version_text);
        }),
        case("server: hostile defaults", &format!("{T} ALTER ROLE app IN DATABASE {{db}} SET extra_float_digits = 0;
             ALTER ROLE app IN DATABASE {{db}} SET DateStyle = 'German'; ALTER ROLE app IN DATABASE {{db}} SET row_security = off;
             ALTER ROLE app IN DATABASE {{db}} SET default_transaction_isolation = serializable;
             ALTER ROLE app IN DATABASE {{db}} SET bytea_output = escape"), on("public.t"), &[]),
    ]
}

fn estimate(facts: &mut Facts, rows: u64) {
    if let Some(table) = &mut facts.table {
        table.estimate = Some(rows);
    }
}

fn replication() -> Vec<Case> {
    let case = Case::new;
    let bare = "CREATE TABLE t (id int NOT NULL, n int); CREATE UNIQUE INDEX t_id ON t (id);";
    let by = |sql: &str| format!("{bare} {sql}");
    let job = || along("public.t", &["id"]);
    let missing: &[&str] = &["replica-identity-missing"];
    vec![
        case("published: no identity", &by("CREATE PUBLICATION p FOR TABLE t"), job(), missing),
        case("published: all tables", &by("CREATE PUBLICATION p FOR ALL TABLES"), job(), missing),
        case("published: schema", &by("CREATE PUBLICATION p FOR TABLES IN SCHEMA public"), job(), missing),
        case("published: identity nothing", &format!("{T} ALTER TABLE t REPLICA IDENTITY NOTHING; CREATE PUBLICATION p FOR TABLE t"),
            on("public.t"), missing),
        case("published: its index was dropped", &by("ALTER TABLE t REPLICA IDENTITY USING INDEX t_id;
             CREATE UNIQUE INDEX other ON t (id); DROP INDEX t_id; CREATE PUBLICATION p FOR TABLE t"), job(), missing),
        case("published: its parent", "CREATE TABLE p (id int NOT NULL, n int) PARTITION BY LIST (id);
             CREATE TABLE leaf PARTITION OF p DEFAULT; CREATE UNIQUE INDEX leaf_id ON leaf (id); CREATE PUBLICATION pub FOR TABLE p",
            along("public.leaf", &["id"]), &["replica-identity-missing", "table-partition"]),
        case("published: inserts only", &by("CREATE PUBLICATION p FOR TABLE t WITH (publish = 'insert')"), job(), &[]),
        case("published: primary key", &format!("{T} CREATE PUBLICATION p FOR TABLE t"), on("public.t"), &[]),
        case("published: by an index", &by("ALTER TABLE t REPLICA IDENTITY USING INDEX t_id; CREATE PUBLICATION p FOR TABLE t"), job(), &[]),
        case("published: full", &format!("{T} ALTER TABLE t REPLICA IDENTITY FULL; CREATE PUBLICATION p FOR TABLE t"),
            on("public.t"), &["replica-identity-full"]),
    ]
}

fn warnings() -> Vec<Case> {
    let case = Case::new;
    let touched = "CREATE TABLE t (id int PRIMARY KEY, n int, m int, updated_at timestamptz);";
    let trigger = |sql: &str| {
        format!("{touched} {TOUCH} CREATE TRIGGER touch {sql} EXECUTE FUNCTION touch();")
    };
    vec![
        case("warn: superuser", T, on("public.t"), &["role-superuser"]).seen_by(Role::Super),
        case("warn: bypassrls", T, on("public.t"), &["role-bypassrls"]).seen_by(Role::Strong),
        case("warn: updated_at trigger", &trigger("BEFORE UPDATE ON t FOR EACH ROW"), on("public.t"), &["trigger"]),
        case("warn: trigger sets the same column", &trigger("BEFORE UPDATE ON t FOR EACH ROW"), setting("public.t", "updated_at"), &["trigger"]),
        case("warn: after trigger", &trigger("AFTER INSERT OR UPDATE ON t FOR EACH STATEMENT"), on("public.t"), &["trigger"]),
        case("warn: trigger of the column", &trigger("AFTER UPDATE OF n ON t FOR EACH ROW"), on("public.t"), &["trigger"]),
        case("quiet: trigger of another column", &trigger("AFTER UPDATE OF m ON t FOR EACH ROW"), on("public.t"), &[]),
        case("warn: trigger of a generated column", &format!("CREATE TABLE t (id int PRIMARY KEY, n int, g int GENERATED ALWAYS AS (n) STORED);
             {TOUCH} CREATE TRIGGER touch AFTER UPDATE OF g ON t FOR EACH ROW EXECUTE FUNCTION touch()"), on("public.t"), &["trigger"]),
        case("quiet: trigger on insert", &trigger("BEFORE INSERT ON t FOR EACH ROW"), on("public.t"), &[]),
        case("quiet: disabled trigger", &(trigger("BEFORE UPDATE ON t FOR EACH ROW") + "ALTER TABLE t DISABLE TRIGGER touch"), on("public.t"), &[]),
        case("quiet: replica trigger", &(trigger("BEFORE UPDATE ON t FOR EACH ROW") + "ALTER TABLE t ENABLE REPLICA TRIGGER touch"), on("public.t"), &[]),
        case("warn: trigger of the parent", &format!("CREATE TABLE p (id int PRIMARY KEY, n int, updated_at date) PARTITION BY RANGE (id);
             CREATE TABLE leaf PARTITION OF p DEFAULT; {TOUCH}
             CREATE TRIGGER touch BEFORE UPDATE ON p FOR EACH ROW EXECUTE FUNCTION touch()"), on("public.leaf"), &["trigger", "table-partition"]),
        case("warn: indexed", "CREATE TABLE t (id int PRIMARY KEY, n int, m int); CREATE INDEX t_n ON t (n); CREATE INDEX t_e ON t (abs(n));
             CREATE INDEX t_p ON t (m) WHERE n > 0; CREATE INDEX t_i ON t (m) INCLUDE (n); CREATE INDEX t_m ON t (m)", on("public.t"), &["column-indexed"]),
        case("warn: unique", "CREATE TABLE t (id int PRIMARY KEY, n int CONSTRAINT t_n UNIQUE)", on("public.t"), &["column-unique", "column-indexed"]),
        case("warn: excluded", "CREATE TABLE t (id int PRIMARY KEY, n int, EXCLUDE (n WITH =))", on("public.t"), &["column-unique", "column-indexed"]),
        case("warn: unlogged", "CREATE UNLOGGED TABLE t (id int PRIMARY KEY, n int)", on("public.t"), &["table-unlogged"]),
        case("warn: prepared transaction", &format!("{T};; BEGIN;; SELECT pg_current_xact_id();; PREPARE TRANSACTION 'it''s old'"),
            on("public.t"), &["old-prepared"]).with(age_holders),
        case("quiet: young prepared transaction", &format!("{T};; BEGIN;; SELECT pg_current_xact_id();; PREPARE TRANSACTION 'young'"), on("public.t"), &[]),
        case("warn: old transaction", &format!("{T};; BEGIN;; SELECT pg_current_xact_id()"), on("public.t"),
            &["role-superuser", "old-transaction", "table-never-analyzed"]).seen_by(Role::Super).never_analyzed().with(age_holders),
        case("warn: slot and standby", T, on("public.t"), &["old-slot", "old-standby", "old-transaction"]).with(add_holders),
        case("note: hidden activity", T, on("public.t"), &["activity-hidden"]).seen_by(Role::Blind),
        case("note: deferrable foreign keys", &format!("CREATE TABLE other (id int PRIMARY KEY); {T}
             ALTER TABLE t ADD COLUMN o int REFERENCES other DEFERRABLE; CREATE TABLE child (t_id int8 REFERENCES t DEFERRABLE);
             CREATE TABLE plain (t_id int8 REFERENCES t)"),
            on("public.t"), &["foreign-key-deferrable", "foreign-key-deferrable"]),
        case("warn: vacuum, of another owner", &format!("{T} {BARE} ALTER TABLE t OWNER TO strong"), on("public.t"), &["vacuum-privilege"]).seen_by(Role::Bare),
        case("warn: vacuum, of a superuser", &format!("{T} {BARE}"), on("public.t"), &["vacuum-privilege"]).seen_by(Role::Bare),
        case("warn: vacuum, since there is a privilege for it", &format!("{T} {BARE} ALTER TABLE t SET (autovacuum_enabled = off)"),
            on("public.t"), &["vacuum-privilege"]).seen_by(Role::Bare).with(|facts| facts.server.version = 170_000),
        case("quiet: vacuum, by the table's owner", &format!("{T} {BARE} ALTER TABLE t OWNER TO app"), on("public.t"), &[]).seen_by(Role::Bare),
        case("quiet: vacuum, by a member of the owner", &format!("{T} {BARE} ALTER TABLE t OWNER TO team"), on("public.t"), &[]).seen_by(Role::Bare),
        case("note: full pages", T, on("public.t"), &["fillfactor"]).with(enlarge),
        case("quiet: pages with room", &format!("{T} ALTER TABLE t SET (fillfactor = 80)"), on("public.t"), &[]).with(enlarge),
        case("quiet: full pages of an indexed column", &format!("{T} CREATE INDEX t_n ON t (n)"), on("public.t"), &["column-indexed"]).with(enlarge),
        case("note: never analyzed", T, on("public.t"), &["table-never-analyzed"]).never_analyzed(),
        case("quiet: names that need quotes", "CREATE TABLE \"a.b\"\"; --\" (\"select\" int PRIMARY KEY, n int)",
            on("public.\"a.b\"\"; --\""), &[]),
    ]
}

/// No test fills a hundred megabytes.
fn enlarge(facts: &mut Facts) {
    if let Some(table) = &mut facts.table {
        table.heap_bytes += 100_000_000;
    }
}

/// No test waits for five minutes.
fn age_holders(facts: &mut Facts) {
    let holders = facts.surroundings.iter_mut().flat_map(|around| &mut around.holders);
    holders.for_each(|holder| holder.seconds = holder.seconds.map(|seconds| seconds + 301));
}

/// A standby would be needed for these.
fn add_holders(facts: &mut Facts) {
    use crate::plan::facts::{Holder, HolderKind};
    let holder = |kind, name: &str, seconds| Holder {
        kind,
        name: name.to_owned(),
        since: None,
        seconds,
        transactions: 1_000_001,
    };
    if let Some(around) = &mut facts.surroundings {
        around.holders = vec![
            holder(HolderKind::Slot, "'replica_1'", None),
            holder(HolderKind::Standby, "4711", None),
            holder(HolderKind::Session, "4712", Some(1)),
        ];
    }
}
