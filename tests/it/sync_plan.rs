//! What `plan` finds about keeping rows in step.

use serde_json::Value;

use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::Toml;

/// Returns the codes of what `plan` finds that begin with `sync-`.
fn found(sql: &str, toml: &str) -> Vec<String> {
    let db = Db::with(sql);
    let cli = Cli::new(&db, "job", toml);
    let answer = cli.call(&["plan", "job", "--no-rehearsal", "-o", "json"]);
    let codes = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|it| it["code"].as_str().map(str::to_owned)).collect()
    };
    let json = answer.json();
    let mut codes = if answer.code == 0 {
        codes(&json["plan"]["findings"])
    } else {
        codes(&json["error"]["findings"])
    };
    codes.retain(|code| {
        code.starts_with("sync-") || code.starts_with("expression") || code.starts_with("column-")
    });
    codes
}

#[test]
fn rows_are_tried_without_holding_anybody_up() {
    let db = Db::with(
        "CREATE TABLE t (id int PRIMARY KEY, old int, new int);
         INSERT INTO t SELECT i, i FROM generate_series(1, 300) i;
         CREATE FUNCTION slow(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN PERFORM pg_sleep(0.01); RETURN n; END $$",
    );
    let toml = Toml::on("public.t").set("new", "slow(old)").filter("new IS NULL");
    let cli = Cli::new(&db, "job", &toml.with("[sync]\nreverse = { old = 'new' }").text());
    db.while_wanted("t", || cli.done(&["plan", "job", "--no-rehearsal"]));
}

#[test]
fn plan_says_what_stands_against_keeping_in_step() {
    let t = "CREATE TABLE t (id int PRIMARY KEY, old int, new int, other int, big int GENERATED ALWAYS AS (old * 2) STORED); INSERT INTO t VALUES (1, 1);";
    let job = |set: &str, sync: &str| {
        Toml::on("public.t")
            .set("new", set)
            .filter("new IS NULL")
            .with(&format!("[sync]\n{sync}"))
            .text()
    };
    let no_codes: [&str; 0] = [];
    assert_eq!(found(t, &job("old", "reverse = { old = 'new' }")), no_codes);
    assert_eq!(found(t, &job("coalesce(new, old)", "")), ["sync-in-place"]);
    assert_eq!(found(t, &job("big", "")), ["sync-reads-generated"]);
    assert_eq!(found(t, &job("old", "reverse = { big = 'new' }")), ["column-generated"]);
    assert_eq!(found(t, &job("old", "reverse = { gone = 'new' }")), ["column-missing"]);
    assert_eq!(found(t, &job("old", "reverse = { id = 'new' }")), ["sync-moves-row"]);
    assert_eq!(found(t, &job("old", "reverse = { old = \"new || 'x'\" }")), ["expression"]);
    // The row has the table's name, and nothing else has.
    assert_eq!(found(t, &job("public.t.old", "")), ["expression"]);
    assert_eq!(
        found(t, &job("old", "forward = { other = 'old' }")),
        ["sync-other-columns", "sync-other-columns"]
    );
    assert_eq!(found(t, &job("old", "reverse = { old = 'new + 1' }")), ["sync-reverse-lossy"]);
    assert_eq!(found(t, &job("old", "reverse = { old = 'new / 0' }")), ["sync-fails"]);
    assert_eq!(found(t, &job("old + (random() * 0)::int", "")), ["sync-volatile"]);
    let later = format!(
        "{t} CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER zzzz BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()"
    );
    assert_eq!(found(&later, &job("old", "")), ["sync-trigger-after"]);
    let default = format!("{t} ALTER TABLE t ALTER new SET DEFAULT 5");
    assert_eq!(found(&default, &job("old", "")), ["sync-default"]);
    let volatile = format!("{t} ALTER TABLE t ALTER new SET DEFAULT random() * 5");
    assert_eq!(found(&volatile, &job("old", "")), ["sync-default-volatile"]);
    let every =
        Toml::on("public.t").set("new", "old").with("[sync]\nreverse = { old = 'new' }").text();
    assert_eq!(found(t, &every), ["sync-without-where"]);
    let date = "CREATE TABLE t (id int PRIMARY KEY, old timestamp, date date)";
    let toml = Toml::on("public.t").set("date", "old::date").filter("date IS NULL").with("[sync]");
    assert_eq!(found(date, &toml.text()), no_codes, "a type is no column");
}

/// A table with an old and a new column, and with one that is computed from the old one.
const GENERATED: &str = "CREATE TABLE t (id int PRIMARY KEY, old int, new int, kind text,
    big int GENERATED ALWAYS AS (old * 2) STORED)";

#[test]
fn a_where_that_reads_no_new_column_does_not_say_what_is_still_to_do() {
    let job = |filter: &str, sync: &str| {
        let toml = Toml::on("public.t").set("new", "old").filter(filter);
        toml.with(&format!("[sync]\n{sync}")).text()
    };
    let no_codes: [&str; 0] = [];
    for sync in ["", "reverse = { old = 'new' }"] {
        assert_eq!(found(GENERATED, &job("kind = 'new'", sync)), ["sync-without-where"]);
        assert_eq!(found(GENERATED, &job("old IS NOT NULL", sync)), ["sync-without-where"]);
        assert_eq!(found(GENERATED, &job("kind = 'a' AND t.new IS NULL", sync)), no_codes);
        let every = Toml::on("public.t").set("new", "old").with(&format!("[sync]\n{sync}"));
        assert_eq!(found(GENERATED, &every.text()), ["sync-without-where"]);
    }
}

#[test]
fn the_name_of_a_table_is_a_row_only_where_it_means_the_row() {
    let table = "CREATE TABLE status (id int PRIMARY KEY, status text, new text)";
    let job = |filter: &str| {
        let toml = Toml::on("public.status").set("new", "lower(status)").filter(filter);
        toml.with("[sync]\nreverse = { status = 'new' }").text()
    };
    let no_codes: [&str; 0] = [];
    assert_eq!(found(table, &job("status IS NOT NULL AND new IS NULL")), no_codes);
    // A column; a word in quotes; the row.
    assert_eq!(found(table, &job("status IS NOT NULL")), ["sync-without-where"]);
    assert_eq!(found(table, &job("id <> length('status')")), ["sync-without-where"]);
    assert_eq!(found(table, &job("to_jsonb(status.*) ->> 'new' IS NULL")), no_codes);
}

#[test]
fn a_condition_of_the_trigger_cannot_read_a_generated_column() {
    let job = |filter: &str, sync: &str| {
        let toml = Toml::on("public.t").set("new", "old").filter(filter);
        toml.with(&format!("[sync]\n{sync}")).text()
    };
    let refused = ["sync-reads-generated"];
    assert_eq!(found(GENERATED, &job("new IS NULL", "where = 'big > 0'")), refused);
    assert_eq!(found(GENERATED, &job("new IS NULL AND big > 0", "")), refused);
    // The trigger has nothing of this one.
    assert_eq!(found(GENERATED, &job("big > 0", "")), ["sync-without-where"]);
}

#[test]
fn the_way_back_sets_every_row_and_nobody_is_warned() {
    let db = Db::with("CREATE TABLE t (id int PRIMARY KEY, old int); INSERT INTO t VALUES (1, 1)");
    let toml = Toml::on("public.t").set("new", "old").filter("new IS NULL");
    let toml = toml.with("[sync]\nreverse = { old = 'new' }").with(
        "[expand]\nup = ['ALTER TABLE t ADD COLUMN new int']\ndown = ['ALTER TABLE t DROP COLUMN new']\n\
         [contract]\nup = ['ALTER TABLE t DROP COLUMN old']\ndown = ['ALTER TABLE t ADD COLUMN old int']",
    );
    let cli = Cli::new(&db, "job", &toml.text());
    cli.done(&["run", "job", "-y"]);
    cli.done(&["contract", "job", "-y"]);
    let answer = cli.done(&["down", "job", "-y"]);
    assert!(!answer.stderr.contains("sync-without-where"), "{}", answer.stderr);
    assert_eq!(db.rows("SELECT * FROM t"), [["1", "1"]]);
}

#[test]
fn a_default_that_follows_from_settings_of_the_session_is_refused() {
    let toml = |sql_type: &str| {
        let toml = Toml::on("public.t").set("new", "old::text").filter("new IS NULL");
        toml.with(&format!("[sync]\nreverse = {{ old = 'new::{sql_type}' }}")).text()
    };
    let no_codes: [&str; 0] = [];
    for (sql_type, default, expected) in [
        ("timestamp", "now()", true),
        ("timestamp", "date_trunc('minute', LOCALTIMESTAMP)", true),
        ("date", "CURRENT_DATE", true),
        ("text", "now()::text", true),
        ("text", "(now() AT TIME ZONE 'UTC')::date::text", true),
        ("text", "(now() - now() + interval '1 day')::text", true),
        ("text", "extract(epoch FROM now())::float8::text", true),
        ("text", "convert_to(current_setting('server_version'), 'UTF8')::text", true),
        ("timestamptz", "now()", false),
        ("timestamp", "(now() AT TIME ZONE 'utc')", false),
        ("timestamp", "'2000-01-01'", false),
        ("text", "'it''s'", false),
        ("point", "point(9, 9)", false),
        // Only the application has such a setting.
        ("text", "current_setting('app.tenant')", false),
    ] {
        let table = format!(
            "CREATE TABLE t (id int PRIMARY KEY, old {sql_type} DEFAULT {default}, new text)"
        );
        let expected = if expected { &["sync-default-zone"][..] } else { &no_codes };
        assert_eq!(found(&table, &toml(sql_type)), expected, "{sql_type} DEFAULT {default}");
    }
    let table =
        "CREATE TABLE t (id int PRIMARY KEY, old timestamp DEFAULT now(), new text, day date)";
    let one_way = Toml::on("public.t").set("new", "old::text").filter("new IS NULL").with("[sync]");
    assert_eq!(found(table, &one_way.text()), no_codes, "nothing is compared with it");
    let new = format!("{table}; ALTER TABLE t ALTER day SET DEFAULT CURRENT_DATE");
    let one_way = Toml::on("public.t").set("day", "old::date").filter("day IS NULL").with("[sync]");
    assert_eq!(found(&new, &one_way.text()), ["sync-default-zone", "sync-default"]);
}
