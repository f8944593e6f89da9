//! Rows that the server refuses are recorded and passed, listed, tried again or accepted: none is lost, and
//! none is done twice.

use serde_json::{Value, json};

use crate::support::cli::{Answer, Cli};
use crate::support::db::Db;
use crate::support::job::{Toml, numbers};
use crate::support::oracle::{done_once, ended, status};

/// Lets the server refuse some rows of `t` when they are done, until they are repaired: `ok` is set.
fn spoil(db: &Db, bad: &str) {
    db.exec(&format!(
        "ALTER TABLE t ADD COLUMN ok bool NOT NULL DEFAULT true, ADD CHECK (ok OR n = 0);
         UPDATE t SET ok = false WHERE {bad}"
    ));
}

/// The job that adds one to `n`, with room for `max` bad rows.
fn job(max: u32) -> Toml {
    Toml::increment().rows(100).quarantine(max)
}

fn repair(db: &Db) {
    db.exec("UPDATE t SET ok = true");
}

/// Checks that every good row was done once and no bad one, and that the ledger has a record of each of
/// these and no other.
#[track_caller]
fn recorded(db: &Db) {
    let wrong = db.rows("SELECT id, n, ok FROM t WHERE n <> ok::int LIMIT 5");
    assert_eq!(wrong, Vec::<Vec<String>>::new(), "rows that were not done exactly once, or were");
    let records = "SELECT count(*) FROM t FULL JOIN piecemeal.quarantine ON key = ARRAY[t.id::text]
                   WHERE (run_id IS NULL) <> coalesce(ok, true)";
    assert_eq!(db.number(records), 0, "records that are missing, or too many");
    balanced(db);
}

/// Checks that the books of every range agree with the quarantine.
#[track_caller]
fn balanced(db: &Db) {
    let wrong = db.rows(
        "SELECT r.no, quarantined, skipped, count(q.id) FROM piecemeal.range r
         LEFT JOIN piecemeal.quarantine q ON q.run_id = r.run_id AND q.range_no = r.no
         GROUP BY r.run_id, r.no HAVING quarantined <> count(q.id) OR skipped <> count(q.skipped_at)",
    );
    assert_eq!(wrong, Vec::<Vec<String>>::new(), "ranges whose books do not agree");
    let rows = "SELECT sum(matched) = (SELECT count(*) FROM t) AND sum(seen) = sum(matched) FROM piecemeal.range";
    assert!(db.is(rows), "the books");
}

fn rows(cli: &Cli) -> Value {
    cli.status("job")["rows"].take()
}

#[test]
fn bad_rows_are_recorded_and_passed_and_the_run_ends_with_them() {
    let db = Db::with(&numbers(1_000));
    spoil(&db, "id IN (1, 2, 500, 777, 1000)");
    let cli = Cli::new(&db, "job", &job(5).text());
    let answer = cli.call(&["run", "job", "-y", "-o", "jsonl"]).exits(5);
    let events: Vec<_> =
        answer.stdout.lines().filter(|it| it.contains(r#""quarantined","#)).collect();
    let events: Vec<Value> = answer
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["event"] == "quarantined")
        .chain(events.first().map(|_| Value::Null))
        .collect();
    assert_eq!(events[0]["key"], json!(["1"]), "{}", answer.stdout);
    assert_eq!(events[0]["sqlstate"], "23514");
    recorded(&db);
    assert_eq!(status(&db), "failed");
    let snapshot = cli.status("job");
    assert_eq!(snapshot["rows"]["quarantined"], 5);
    assert_eq!(
        (&snapshot["rows"]["changed"], &snapshot["rows"]["skipped"]),
        (&json!(995), &json!(0))
    );
    assert_eq!(snapshot["verified"], Value::Null);
    let again = cli.call(&["run", "job"]).exits(5);
    again
        .says("run `job` has 5 rows in quarantine")
        .says("--retry")
        .says("every other row is done");
    assert!(cli.done(&["history", "job"]).stdout.contains("quarantined"));
    let shown = cli.done(&["status", "job"]).stdout;
    assert!(shown.contains("5 quarantined") && shown.contains("in quarantine"), "{shown}");
    cli.call(&["verify", "job"]).exits(5).says("5 rows in quarantine");
    // Nobody repaired them: going on changes nothing.
    cli.call(&["resume", "job"]).exits(5);
    recorded(&db);
}

#[test]
fn repaired_rows_are_tried_again_and_the_run_ends_verified() {
    let db = Db::with(&numbers(1_000));
    spoil(&db, "id IN (1, 500, 501, 1000)");
    let cli = Cli::new(&db, "job", &job(100).text());
    cli.call(&["run", "job", "-y"]).exits(5);
    db.exec("UPDATE t SET ok = true WHERE id IN (1, 501)");
    let answer = cli.call(&["quarantine", "job", "--retry"]).exits(5);
    answer.says("queued: 4 rows").says("2 rows in quarantine").says("key (500)");
    recorded(&db);
    assert_eq!(db.text("SELECT string_agg(tries::text, ',') FROM piecemeal.quarantine"), "2,2");
    repair(&db);
    let answer = cli.done(&["quarantine", "job", "--retry"]);
    answer.says("queued: 2 rows").says("done: job, 1,000 rows").says("0 quarantined");
    recorded(&db);
    done_once(&db, "job");
    cli.call(&["quarantine", "job", "--retry"]).exits(3).says("has ended");
    cli.done(&["quarantine", "job"]).says("no row of `job` is in quarantine");
    assert!(cli.done(&["history", "job"]).stdout.contains("rows: 4"));
}
