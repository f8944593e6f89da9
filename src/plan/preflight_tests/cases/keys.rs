//! Keys that cannot be walked, and some that can.

use super::{Case, along, on};

/// A key that is no text.
const NUMBER: &str = "CREATE TABLE t (id int PRIMARY KEY, n int);";

/// Name, SQL, key (of the job; none means the primary key), codes.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

/// Indexes over `t (a int NOT NULL, b int NOT NULL, n int)`.
const SHAPES: &[Row] = &[
    ("none", "", &[], &["key-missing"]),
    (
        "none, others fit",
        "CREATE UNIQUE INDEX ab ON t (a, b); CREATE UNIQUE INDEX b ON t (b)",
        &[],
        &["key-missing"],
    ),
    ("unknown column", "CREATE UNIQUE INDEX ab ON t (a, b)", &["a", "bb"], &["key-column-missing"]),
    ("no index", "CREATE UNIQUE INDEX ab ON t (a, b)", &["a"], &["key-no-index"]),
    ("no index at all", "", &["a"], &["key-no-index"]),
    ("not unique", "CREATE INDEX a ON t (a)", &["a"], &["key-not-unique"]),
    (
        "partial",
        "CREATE UNIQUE INDEX a ON t (a) WHERE n > 0",
        &["a"],
        &["key-partial", "column-indexed"],
    ),
    ("expression", "CREATE UNIQUE INDEX a ON t (abs(a))", &["a"], &["key-expression"]),
    (
        "invalid",
        "CREATE UNIQUE INDEX a ON t (a); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'a'::regclass",
        &["a"],
        &["key-invalid"],
    ),
    (
        "not ready",
        "CREATE UNIQUE INDEX a ON t (a); UPDATE pg_index SET indisready = false WHERE indexrelid = 'a'::regclass",
        &["a"],
        &["key-invalid"],
    ),
    ("deferrable", "ALTER TABLE t ADD PRIMARY KEY (a) DEFERRABLE", &[], &["key-deferrable"]),
    ("descending", "CREATE UNIQUE INDEX a ON t (a, b DESC)", &["a", "b"], &["key-descending"]),
    ("nulls first", "CREATE UNIQUE INDEX a ON t (a NULLS FIRST)", &["a"], &["key-descending"]),
    ("not a btree", "CREATE INDEX a ON t USING hash (a)", &["a"], &["key-not-btree"]),
    ("other order", "CREATE UNIQUE INDEX ab ON t (a, b)", &["b", "a"], &["key-order"]),
    ("included columns are fine", "CREATE UNIQUE INDEX a ON t (a) INCLUDE (b)", &["a"], &[]),
    ("the better of two", "CREATE INDEX a1 ON t (a); CREATE UNIQUE INDEX a2 ON t (a)", &["a"], &[]),
];

/// Tables of their own.
const TABLES: &[Row] = &[
    (
        "operator class",
        "CREATE TABLE t (a text NOT NULL, n int); CREATE UNIQUE INDEX a ON t (a text_pattern_ops)",
        &["a"],
        &["key-opclass"],
    ),
    (
        "varchar_ops is the same order",
        "CREATE TABLE t (a varchar NOT NULL, n int); CREATE UNIQUE INDEX a ON t (a varchar_ops)",
        &["a"],
        &[],
    ),
    (
        "nullable",
        "CREATE TABLE t (id int PRIMARY KEY, \"Code\" int UNIQUE, n int)",
        &["Code"],
        &["key-nullable"],
    ),
    (
        "float",
        "CREATE TABLE t (id float8 PRIMARY KEY, code int NOT NULL UNIQUE, n int)",
        &[],
        &["key-type"],
    ),
    (
        "many faults at once",
        "CREATE TABLE t (a float8, n int); CREATE INDEX a ON t (a DESC) WHERE n > 0",
        &["a"],
        &[
            "key-not-unique",
            "key-partial",
            "key-descending",
            "key-nullable",
            "key-type",
            "column-indexed",
        ],
    ),
];

/// Returns the cases about the form of the key.
pub(crate) fn keys() -> Vec<Case> {
    let unique = "CREATE TABLE t (a int NOT NULL, b int NOT NULL, n int);";
    let case = |before: &str, row: &Row| {
        let (name, sql, key, codes) = *row;
        let job = if key.is_empty() { on("public.t") } else { along("public.t", key) };
        Case::new(name, &format!("{before} {sql}"), job, codes)
    };
    let shapes = SHAPES.iter().map(|row| case(unique, row));
    shapes.chain(TABLES.iter().map(|row| case("", row))).collect()
}

/// Returns the cases about how text in the key is ordered.
pub(crate) fn collations() -> Vec<Case> {
    let case = Case::new;
    let icu = "LOCALE_PROVIDER icu ICU_LOCALE 'en' ENCODING 'UTF8' TEMPLATE template0";
    let text = "CREATE TABLE t (id text PRIMARY KEY, n int);";
    vec![
        case("collation: other than the column's",
            "CREATE TABLE t (a text NOT NULL, n int); CREATE UNIQUE INDEX a ON t (a COLLATE \"POSIX\")",
            along("public.t", &["a"]), &["key-collation"]),
        case("collation: nondeterministic",
            "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             CREATE TABLE t (id text COLLATE ci PRIMARY KEY, n int)",
            on("public.t"), &["key-nondeterministic"]),
        case("collation: of another version",
            "CREATE TABLE t (id text COLLATE \"de-x-icu\" PRIMARY KEY, n int);
             UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'de-x-icu'",
            on("public.t"), &["key-collation-version"]),
        case("collation: the database's has another version",
            &format!("{text} UPDATE pg_database SET datcollversion = '1.0' WHERE datname = current_database()"),
            on("public.t"), &["key-collation-version"]).in_database(icu),
        case("collation: the database's has another version, and the key is a number",
            &format!("{NUMBER} UPDATE pg_database SET datcollversion = '1.0' WHERE datname = current_database()"),
            on("public.t"), &[]).in_database(icu),
        case("collation: the same version", text, on("public.t"), &[]).in_database(icu),
        case("collation: SQL_ASCII", text, on("public.t"), &["key-encoding"])
            .in_database("ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"),
    ]
}
