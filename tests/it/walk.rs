//! Every row is done once, whatever its key is made of and however the database is set up.

use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::{INCREMENT, Toml};
use crate::support::oracle::{done_once, ended};

/// Walks a table with the key columns and rows given, three at a time.
fn is_walked_once(columns: &str, key: &str, rows: &str) {
    let db = Db::with(&format!(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'Angry', 'ok, \"or\" not');
         CREATE TABLE t ({columns}, n int NOT NULL DEFAULT 0, PRIMARY KEY ({key}));
         INSERT INTO t ({key}) {rows}"
    ));
    let cli = Cli::new(&db, "walk", &Toml::increment().rows(3).text());
    cli.done(&["run", "walk", "-y"]);
    done_once(&db, "walk");
    let last = format!(
        "(SELECT ARRAY[{}] FROM t ORDER BY {} LIMIT 1)",
        each(key, "::text"),
        each(key, " DESC")
    );
    let pinned = "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET bytea_output = 'hex'";
    db.exec(pinned);
    assert!(
        db.is(&format!("SELECT cursor = {last} FROM piecemeal.range")),
        "the cursor is the last key"
    );
}

fn each(key: &str, suffix: &str) -> String {
    key.split(", ").map(|column| format!("t.{column}{suffix}")).collect::<Vec<_>>().join(", ")
}

/// Texts that have gone wrong in quoting, in collation order, or in arrays.
const TEXTS: &str = r#"VALUES ('a'), ('A'), ('b'), ('B'), ('_x'), ('-x'), ('ß'), ('ss'), ('é'), ('e'), ('😀'), (''),
    (' '), ('it''s'), ('\'), ('\\'), ('\n'), ('a,b'), ('{a}'), ('{}'), ('NULL'), ('null'), ('""'), ('a b'),
    ('a' || chr(10) || 'b'), ('$1'), ('%s'), ('İ'), ('i'), ('I'), ('１'), ('1'), ('10'), ('2')"#;

macro_rules! keys {
    ($($name:ident: $columns:expr, $rows:expr;)+) => {$(
        #[test]
        fn $name() {
            let columns = $columns;
            let key: Vec<_> = columns.split(", ").filter_map(|it| it.split(' ').next()).collect();
            is_walked_once(columns, &key.join(", "), $rows);
        }
    )+};
}

keys! {
    a_smallint_key_is_walked_to_both_its_ends: "k int2",
        "SELECT generate_series(-10, 10) UNION VALUES (-32768), (32767)";
    an_integer_key_is_walked_through_negative_numbers: "k int4",
        "SELECT generate_series(-10, 10) UNION VALUES (-2147483648), (2147483647)";
    a_bigint_key_is_walked_over_huge_gaps: "k int8",
        "SELECT i * 1000000000000 FROM generate_series(-10, 10) i
         UNION VALUES (-9223372036854775808), (9223372036854775807), (9007199254740993)";
    a_uuid_key_is_walked: "k uuid", "SELECT md5(i::text)::uuid FROM generate_series(1, 40) i";
    a_text_key_is_walked_in_the_default_order: "k text", TEXTS;
    a_text_key_is_walked_in_byte_order: "k text COLLATE \"C\"", TEXTS;
    a_text_key_is_walked_in_the_order_of_a_language: "k text COLLATE \"de-x-icu\"", TEXTS;
    a_varchar_key_is_walked: "k varchar(20)", TEXTS;
    a_char_key_is_walked_whatever_its_padding: "k char(4)",
        r"VALUES ('a'), ('ab'), ('abc'), ('abcd'), (''), ('A'), ('é'), ('\'), (','), ('{}'), ('a''')";
    a_numeric_key_is_walked_beyond_the_precision_of_floats: "k numeric",
        "VALUES (9007199254740991), (9007199254740992), (9007199254740993), (1e-40), (-1e-40), (0), (1.0), (1.10),
                ('NaN'), (-1), (123456789012345678901234567890.123456789), ('Infinity'), ('-Infinity')";
    a_date_key_is_walked_from_before_christ_to_infinity: "k date",
        "VALUES ('0044-03-15 BC'::date), ('infinity'), ('-infinity'), ('2026-02-28'), ('1999-12-31'), ('4713-01-01 BC'),
                ('5874897-12-31')";
    a_timestamp_key_is_walked_by_microseconds: "k timestamp",
        "SELECT '2026-03-29 02:30'::timestamp + i * interval '1 microsecond' FROM generate_series(1, 20) i
         UNION VALUES ('infinity'::timestamp), ('-infinity'), ('4713-01-01 00:00:00 BC')";
    a_timestamptz_key_is_walked_by_microseconds: "k timestamptz",
        "SELECT '2026-03-29 01:00+01'::timestamptz + i * interval '1 microsecond' FROM generate_series(-9, 9) i
         UNION VALUES ('infinity'::timestamptz), ('-infinity'), ('4713-01-02 00:00:00+00 BC'), ('2026-10-25 02:30+02'), ('2026-10-25 02:30+01')";
    a_bytea_key_is_walked_also_where_it_looks_like_text: "k bytea",
        r"VALUES (''::bytea), ('\x00'), ('\x0000'), ('\xff'), ('\x5c'), ('\x5c78'), ('NULL'), ('{}'), ('\x27'), ('\x22')";
    a_boolean_key_is_walked: "k bool", "VALUES (true), (false)";
    an_enum_key_is_walked_in_the_order_of_its_declaration: "k mood", "SELECT unnest(enum_range(NULL::mood))";
    an_inet_key_is_walked: "k inet",
        "VALUES ('10.0.0.1'::inet), ('10.0.0.1/8'), ('10.0.0.0/8'), ('::1'), ('fe80::1/64'), ('255.255.255.255'), ('0.0.0.0/0')";
    a_key_of_two_columns_is_walked: "a text, b int8",
        "SELECT t, i FROM unnest(ARRAY['', 'a', 'A', ',', 'NULL', '}']) t, generate_series(-2, 2) i";
    a_key_of_three_columns_is_walked: "a bool, b date, c numeric",
        "SELECT t, d, i FROM unnest(ARRAY[true, false]) t, unnest(ARRAY['-infinity', '2026-01-01', '0001-01-01 BC']::date[]) d,
                unnest(ARRAY[-0.5, 0, 'NaN', 1e30]) i";
}

const NUMBERS: &str = "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0);";

#[test]
fn a_table_of_any_size_is_walked_with_no_batch_too_many() {
    const ROWS: u32 = 10;
    for size in [0, 1, 2, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS] {
        let db = Db::with(&format!("{NUMBERS} INSERT INTO t SELECT generate_series(1, {size})"));
        let cli = Cli::new(&db, "walk", &Toml::increment().rows(ROWS).text());
        cli.done(&["run", "walk", "-y"]);
        if size == 0 {
            ended(&db, "walk", "books");
        } else {
            done_once(&db, "walk");
        }
        let batches = db.number("SELECT batches FROM piecemeal.range");
        assert!(batches <= i64::from(size / ROWS) + 1, "{batches} batches for {size} rows");
    }
}

#[test]
fn the_number_of_batches_follows_the_rows_and_not_the_keys() {
    let db = Db::with(&format!(
        "{NUMBERS} INSERT INTO t SELECT i * 10^15 FROM generate_series(-50, 49) i"
    ));
    let cli = Cli::new(&db, "sparse", &Toml::increment().rows(10).text());
    cli.done(&["run", "sparse", "-y"]);
    done_once(&db, "sparse");
    assert!(db.number("SELECT batches FROM piecemeal.range") <= 11);
}

#[test]
fn rows_appended_while_it_walks_are_not_walked() {
    // Each row that is done appends one, so a walk without an upper end would never be over.
    let db = Db::with(&format!(
        "{NUMBERS} INSERT INTO t SELECT generate_series(1, 40);
         CREATE SEQUENCE more START 1000;
         CREATE FUNCTION append() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO t VALUES (nextval(''more'')); RETURN NULL; END';
         CREATE TRIGGER append AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION append()"
    ));
    let cli = Cli::new(&db, "append", &Toml::increment().rows(10).text());
    cli.done(&["run", "append", "-y"]);
    ended(&db, "append", "books");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE id <= 40 AND n = 1"), 40);
    assert_eq!(db.number("SELECT count(*) FROM t WHERE id > 40 AND n = 0"), 40);
}

/// Names that break what is not quoted, or what is formatted twice.
const NAMES: [&str; 9] = [
    "select",
    r#"a"b"#,
    "Ünï",
    "a.b",
    "a name of sixty-three bytes, which is as long as a name can be..",
    "$1",
    "%s%n",
    "it's",
    "{}",
];

#[test]
fn hostile_names_of_everything_are_only_names() {
    for name in NAMES {
        let name = &name[..name.len().min(63)];
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let db = Db::with(&format!(
            "CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} ({quoted} int PRIMARY KEY, \"n {name}\" int DEFAULT 0);
             INSERT INTO {quoted}.{quoted} SELECT generate_series(1, 20)",
            name = name.replace('"', "\"\"").chars().take(50).collect::<String>(),
        ));
        let column = format!("n {}", name.chars().take(50).collect::<String>());
        let sql_column = format!("\"{}\"", column.replace('"', "\"\""));
        let job = Toml::on(&format!("{quoted}.{quoted}"))
            .set(&column, &format!("{sql_column} + 1"))
            .rows(3);
        let cli = Cli::new(&db, "names", &job.text());
        cli.done(&["run", "names", "-y"]);
        let done =
            db.number(&format!("SELECT count(*) FROM {quoted}.{quoted} WHERE {sql_column} = 1"));
        assert_eq!(done, 20, "{name}");
        ended(&db, "names", "books");
        cli.done(&["run", "names", "--again", "-y"]);
    }
}

/// Everything that a role can be set to and that has changed results somewhere (F77), and a schema
/// whose operators and functions shadow those of PostgreSQL (F93).
const HOSTILE: &str = "\
ALTER ROLE hostile SET datestyle = 'German'; ALTER ROLE hostile SET intervalstyle = 'iso_8601';
ALTER ROLE hostile SET timezone = 'Asia/Kathmandu'; ALTER ROLE hostile SET extra_float_digits = 0;
ALTER ROLE hostile SET bytea_output = 'escape'; ALTER ROLE hostile SET default_transaction_isolation = 'serializable';
ALTER ROLE hostile SET statement_timeout = '5ms'; ALTER ROLE hostile SET lock_timeout = '1ms';
ALTER ROLE hostile SET idle_in_transaction_session_timeout = '1ms'; ALTER ROLE hostile SET search_path = evil, pg_catalog, public;
ALTER ROLE hostile SET standard_conforming_strings = off; ALTER ROLE hostile SET transform_null_equals = on;
ALTER ROLE hostile SET synchronous_commit = off; ALTER ROLE hostile SET enable_indexscan = off;
ALTER ROLE hostile SET row_security = off; ALTER ROLE hostile SET default_transaction_deferrable = on;
CREATE SCHEMA evil; CREATE TABLE evil.calls (at timestamptz);
CREATE FUNCTION evil.less(timestamptz, timestamptz) RETURNS bool LANGUAGE sql AS
    'INSERT INTO evil.calls VALUES (now()); SELECT false';
CREATE FUNCTION evil.count(text) RETURNS text LANGUAGE sql AS 'INSERT INTO evil.calls VALUES (now()); SELECT ''x''';
CREATE OPERATOR evil.> (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.less);
CREATE OPERATOR evil.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = evil.less);
CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'INSERT INTO evil.calls VALUES (now()); SELECT now()';
CREATE TABLE evil.t (k int PRIMARY KEY, n int DEFAULT 0); INSERT INTO evil.t VALUES (1);
CREATE TABLE evil.run (); CREATE TABLE evil.range ();";

/// Refuses an update under other settings than those that are pinned.
const WATCHFUL: &str = "\
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE setting text; wanted text;
BEGIN
    FOR setting, wanted IN VALUES ('transaction_isolation', 'read committed'), ('TimeZone', 'UTC'), ('DateStyle', 'ISO, YMD'),
        ('IntervalStyle', 'postgres'), ('extra_float_digits', '1'), ('bytea_output', 'hex'), ('row_security', 'off'),
        ('standard_conforming_strings', 'on'), ('transform_null_equals', 'off'), ('search_path', 'public, pg_temp'),
        ('statement_timeout', '100ms'), ('lock_timeout', '50ms'), ('transaction_read_only', 'off')
    LOOP
        IF current_setting(setting) <> wanted THEN RAISE '% is %', setting, current_setting(setting); END IF;
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER watch BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION watch();";

#[test]
fn hostile_defaults_of_the_role_change_nothing() {
    let db = Db::with(
        "CREATE TABLE t (k timestamptz PRIMARY KEY, n int NOT NULL DEFAULT 0);
         INSERT INTO t SELECT '2026-03-08 01:00+01'::timestamptz + i * interval '1 microsecond' FROM generate_series(1, 200) i",
    );
    db.exec(WATCHFUL);
    db.exec("CREATE ROLE hostile SUPERUSER LOGIN");
    db.exec(HOSTILE);
    let mut cli = Cli::new(&db, "calm", &Toml::on("public.t").set("n", "n + 1").rows(20).text());
    cli.url = db.url.replace("postgres@", "hostile@");
    assert_ne!(cli.url, db.url);
    cli.call(&["run", "calm", "-y", "--limit", "100"]).exits(4);
    // What the hostile role has written into the ledger must mean the same to everybody.
    let hostile = std::mem::replace(&mut cli.url, db.url.clone());
    cli.call(&["run", "calm", "--limit", "50"]).exits(4);
    cli.url = hostile;
    cli.done(&["run", "calm"]);
    done_once(&db, "calm");
    assert_eq!(
        db.number("SELECT count(*) FROM evil.calls"),
        0,
        "calls of what shadows PostgreSQL's own"
    );
    assert_eq!(db.number("SELECT count(*) FROM evil.t WHERE n <> 0"), 0);
    let since = cli.status("calm")["started_at"].as_str().map(str::to_owned);
    assert!(since.is_some_and(|at| at.ends_with('Z')));
}

#[test]
fn operators_beside_the_table_do_not_steer_the_walk() {
    // PostgreSQL has no operators for varchar itself, so these would fit better than its own.
    let db = Db::with(
        "CREATE TABLE t (k varchar PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT generate_series(1, 50);
         CREATE FUNCTION wrong(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE ''mine''; END';
         CREATE OPERATOR > (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = wrong);
         CREATE OPERATOR <= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = wrong)",
    );
    let cli = Cli::new(&db, "walk", &Toml::increment().rows(7).text());
    cli.done(&["run", "walk", "-y"]);
    done_once(&db, "walk");
}

#[test]
fn a_run_needs_nothing_but_its_file() {
    let db = Db::with(&format!("{NUMBERS} INSERT INTO t SELECT generate_series(1, 5000)"));
    let cli = Cli::new(&db, "plain", INCREMENT);
    cli.done(&["run", "plain", "-y"]);
    done_once(&db, "plain");
}
