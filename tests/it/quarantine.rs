//! Rows that the server refuses are recorded and passed, listed, tried again or accepted: none is lost, and
//! none is done twice.

use serde_json::{Value, json};

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, Held, start_server};
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
pub(crate) fn recorded(db: &Db) {
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
    balanced_but_for_sweeps(db);
    let rows = "SELECT sum(matched) = (SELECT count(*) FROM t) AND sum(seen) = sum(matched) FROM piecemeal.range";
    assert!(db.is(rows), "the books");
}

#[track_caller]
fn balanced_but_for_sweeps(db: &Db) {
    let wrong = db.rows(
        "SELECT r.no, quarantined, skipped, count(q.id) FROM piecemeal.range r
         LEFT JOIN piecemeal.quarantine q ON q.run_id = r.run_id AND q.range_no = r.no
         GROUP BY r.run_id, r.no HAVING quarantined <> count(q.id) OR skipped <> count(q.skipped_at)",
    );
    assert_eq!(wrong, Vec::<Vec<String>>::new(), "ranges whose books do not agree");
}

#[test]
fn bad_rows_are_recorded_and_passed_and_the_run_ends_with_them() {
    let db = Db::with(&numbers(1_000));
    spoil(&db, "id IN (1, 2, 500, 777, 1000)");
    let cli = Cli::new(&db, "job", &job(5).text());
    let answer = cli.call(&["run", "job", "-y", "-o", "jsonl"]).exits(5);
    let events = answer.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events: Vec<_> = events.filter(|event| event["event"] == "quarantined").collect();
    let keys: Vec<_> = events.iter().map(|event| event["key"][0].as_str().unwrap()).collect();
    assert_eq!(keys, ["1", "2", "500", "777", "1000"]);
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

#[test]
fn a_row_that_stays_bad_and_cannot_be_recorded_again_does_not_turn_for_ever() {
    for (code, exit) in [("42501", 1), ("53100", 4)] {
        let db = Db::with(&numbers(100));
        spoil(&db, "id = 50");
        let cli = Cli::new(&db, "job", &job(100).with("[pace]\nmax_hold = \"1s\"").text());
        cli.call(&["run", "job", "-y"]).exits(5);
        db.exec(&format!(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE 'no record' USING ERRCODE = '{code}'; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE OF tries ON piecemeal.quarantine
                 FOR EACH ROW EXECUTE FUNCTION refuse()"
        ));
        cli.call(&["quarantine", "job", "--retry"]).exits(exit).says("no record").says(code);
        db.exec("DROP TRIGGER refuse ON piecemeal.quarantine");
        repair(&db);
        cli.done(&["resume", "job"]);
        recorded(&db);
        done_once(&db, "job");
    }
}

#[test]
fn repaired_rows_with_a_key_in_the_order_of_a_language_are_tried_again() {
    let db = Db::with(
        "CREATE TABLE t (id text COLLATE \"de-x-icu\" PRIMARY KEY, n int NOT NULL DEFAULT 0);
         INSERT INTO t SELECT 'ä ' || i FROM generate_series(1, 300) i",
    );
    spoil(&db, "id IN ('ä 7', 'ä 8')");
    let cli = Cli::new(&db, "job", &job(100).text());
    cli.call(&["run", "job", "-y"]).exits(5);
    repair(&db);
    cli.done(&["quarantine", "job", "--retry"]).says("done: job, 300 rows");
    assert_eq!(db.number("SELECT sum(n) FROM t"), 300);
}

#[test]
fn skipped_rows_are_accepted_with_a_reason_and_the_end_says_how_many() {
    let db = Db::with(&numbers(200));
    spoil(&db, "id IN (7, 8, 150)");
    let cli = Cli::new(&db, "job", &job(100).text());
    cli.call(&["run", "job", "-y"]).exits(5);
    cli.call(&["quarantine", "job", "--skip"]).exits(2).says("--reason");
    cli.call(&["quarantine", "job", "--skip", "--reason", ""]).exits(2);
    let skip = ["quarantine", "job", "--skip", "--reason", "legacy\nrows", "--key", "7", "--key"];
    cli.call(&[&skip[..], &["9"]].concat()).exits(3).says("no row with key (9)");
    assert_eq!(db.number("SELECT count(skipped_at) FROM piecemeal.quarantine"), 0);
    cli.done(&[&skip[..], &["[\"8\"]"]].concat()).says("skipped: 2 rows");
    cli.done(&[&skip[..], &["8"]].concat()).says("skipped: 0 rows");
    cli.call(&["resume", "job"]).exits(5).says("1 row in quarantine");
    let listed = cli.done(&["quarantine", "job"]);
    assert!(listed.stdout.contains("legacy\\nrows"), "{}", listed.stdout);
    listed.says("3 quarantined (2 skipped)");
    let listed = cli.done(&["quarantine", "job", "-o", "json", "--key", "(8)"]).json();
    assert_eq!(listed["rows"].as_array().unwrap().len(), 1);
    assert_eq!(listed["rows"][0]["state"], "skipped");
    assert_eq!(listed["rows"][0]["skipped"]["reason"], "legacy\nrows");
    cli.done(&["quarantine", "job", "--skip", "--reason", "so be it"]).says("skipped: 1 row");
    cli.done(&["resume", "job"]).says("3 quarantined (3 skipped)");
    ended(&db, "job", "books");
    recorded(&db);
    cli.done(&["run", "job"]).says("3 quarantined (3 skipped)");
    cli.done(&["verify", "job"]).says("3 quarantined (3 skipped)");
    assert!(cli.done(&["status", "job"]).stdout.contains("3 skipped"));
    let history = cli.done(&["history", "job"]).stdout;
    assert!(history.contains("so be it") && history.contains("skip"), "{history}");
    cli.done(&["forget", "job"]);
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.quarantine"), 0);
}

#[test]
fn a_run_whose_bad_rows_were_all_skipped_goes_on_by_run() {
    let db = Db::with(&numbers(200));
    spoil(&db, "id IN (7, 150)");
    let cli = Cli::new(&db, "job", &job(100).text());
    cli.call(&["run", "job", "-y"]).exits(5);
    let skip = |key| cli.done(&["quarantine", "job", "--skip", "--reason", "old", "--key", key]);
    skip("7");
    cli.call(&["run", "job"]).exits(5).says("this command has tried nothing");
    skip("150");
    let answer = cli.done(&["run", "job"]);
    answer.says("resumed: every bad row of `job` was skipped").says("2 quarantined (2 skipped)");
    ended(&db, "job", "books");
    recorded(&db);
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.journal WHERE what = 'resume'"), 1);
}

#[test]
fn a_skipped_row_that_is_named_is_tried_again() {
    let db = Db::with(&numbers(50));
    spoil(&db, "id IN (7, 8)");
    let cli = Cli::new(&db, "job", &job(100).text());
    cli.call(&["run", "job", "-y"]).exits(5);
    cli.done(&["quarantine", "job", "--skip", "--reason", "no"]);
    cli.done(&["quarantine", "job", "--retry"]).says("no row of `job` waits");
    repair(&db);
    cli.done(&["quarantine", "job", "--retry", "--key", "7"]).says("1 quarantined (1 skipped)");
    assert_eq!(db.text("SELECT string_agg(id::text, ',') FROM t WHERE n = 0"), "8");
    balanced(&db);
}

#[test]
fn rows_that_are_gone_or_need_nothing_any_more_leave_the_quarantine() {
    let db = Db::with(&numbers(100));
    spoil(&db, "id IN (20, 40, 60)");
    let cli = Cli::new(&db, "job", &job(100).filter("n = 0").text());
    cli.call(&["run", "job", "-y"]).exits(5).says("verified");
    db.exec(
        "DELETE FROM t WHERE id = 20; UPDATE t SET ok = true, n = 7 WHERE id = 40;
             UPDATE t SET ok = true WHERE id = 60",
    );
    cli.done(&["quarantine", "job", "--retry"]).says("done: job, 98 rows");
    ended(&db, "job", "rows");
    assert_eq!(db.text("SELECT n FROM t WHERE id = 40"), "7");
    assert_eq!(db.number("SELECT sum(matched) FROM piecemeal.range"), 98);
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.quarantine"), 0);
}

#[test]
fn rows_in_quarantine_are_not_left_to_do_and_no_sweep_meets_them_again() {
    let db = Db::with(&numbers(300));
    spoil(&db, "id % 50 = 0");
    let held = Held::from(&db, 201);
    let wanted = Toml::increment().rows(100).filter("n = 0").expect("n = 1");
    let cli = Cli::new(&db, "job", &wanted.quarantine(100).text());
    let running = cli.start(&["run", "job", "-y"]);
    held.is_reached(&db);
    // Behind the walk, and among those in quarantine.
    db.exec("INSERT INTO t (id) SELECT -i FROM generate_series(1, 20) i; INSERT INTO t (id, ok) VALUES (-30, false)");
    held.release();
    let answer = running.wait().exits(5);
    let answer = answer.says("sweep 1: 21 rows").says("7 rows in quarantine");
    assert!(!answer.stderr.contains("sweep 2"), "{}", answer.stderr);
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n <> ok::int"), 0);
    assert_eq!(db.number("SELECT sum(tries) FROM piecemeal.quarantine"), 7);
    repair(&db);
    cli.done(&["quarantine", "job", "--retry"]);
    ended(&db, "job", "rows");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n <> 1"), 0);
}

#[test]
fn one_more_than_may_be_in_quarantine_stops_the_run_and_raising_it_lets_it_go_on() {
    let db = Db::with(&numbers(1_000));
    spoil(&db, "id % 100 = 0");
    let cli = Cli::new(&db, "job", &job(3).text());
    let answer = cli.call(&["run", "job", "-y"]).exits(5);
    let answer = answer.says("key (id) = (400)").says("3 rows in quarantine already");
    answer.says("`max` under [bad_rows] is 3").says("raise `max`");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE id < 400 AND n = 1"), 396);
    assert_eq!(db.number("SELECT count(*) FROM t WHERE id >= 400 AND n = 1"), 0);
    cli.write("job", &job(10).text());
    cli.call(&["resume", "job"]).exits(5).says("10 rows in quarantine");
    recorded(&db);
    // What was skipped leaves room.
    let cli = Cli::new(&db, "none", &job(0).text());
    cli.call(&["run", "none", "-y"]).exits(5).says("`max` under [bad_rows] is 0");
}

#[test]
fn a_slip_that_spoils_every_row_stops_soon_and_is_told_from_bad_rows() {
    let db = Db::with(&numbers(20_000));
    let slip = Toml::on("t").set("n", "1 / (n - n)").with("[bad_rows]\npolicy = \"quarantine\"");
    let cli = Cli::new(&db, "job", &slip.text());
    let answer = cli.call(&["run", "job", "-y"]).exits(5);
    let answer = answer.says("this looks like the expression").says("division by zero");
    answer.says("of 101 rows that were tried, 0 could be done").says("100 rows in quarantine");
    let batches = db.number("SELECT sum(batches + retries) FROM piecemeal.range");
    assert!(batches <= 220, "{batches} transactions for 100 rows");
}

#[test]
fn the_next_bad_row_costs_less_the_nearer_it_is() {
    for (bad, most) in [("id > 50000 AND id <= 50100", 350), ("id % 1000 = 0", 2_000)] {
        let db = Db::with(&numbers(100_000));
        spoil(&db, bad);
        let cli = Cli::new(&db, "job", &Toml::increment().rows(1_000).quarantine(100).text());
        cli.call(&["run", "job", "-y"]).exits(5);
        recorded(&db);
        let cost = "SELECT sum(batches + retries) FROM piecemeal.range";
        let all = db.number(cost);
        assert!(all <= most, "{all} transactions for {bad}");
    }
}

#[test]
fn a_deferred_constraint_sends_its_row_into_quarantine_and_no_other() {
    let db = Db::with(
        "CREATE TABLE p (id int8 PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 1000) EXCEPT SELECT 777;
         CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0,
                         p int8 REFERENCES p DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO t SELECT generate_series(1, 1000)",
    );
    let cli = Cli::new(&db, "job", &job(5).set("p", "id").text());
    cli.call(&["run", "job", "-y"]).exits(5).says("1 row in quarantine");
    let record = db.rows("SELECT key::text, sqlstate FROM piecemeal.quarantine");
    assert_eq!(record, [["{777}", "23503"]]);
    db.exec("INSERT INTO p VALUES (777)");
    cli.done(&["quarantine", "job", "--retry"]);
    done_once(&db, "job");
}

#[test]
fn open_chunks_in_stripes_pass_bad_rows_and_do_every_other_row_once() {
    let db = Db::with(&numbers(3_000));
    spoil(&db, "id % 499 IN (0, 1) OR id = 3000");
    let striped = Toml::increment().striped().rows(100).batch("stripes = 4").quarantine(100);
    let cli = Cli::new(&db, "job", &striped.text());
    cli.call(&["run", "job", "-y"]).exits(5);
    recorded(&db);
    repair(&db);
    cli.done(&["quarantine", "job", "--retry"]);
    done_once(&db, "job");
}

#[test]
fn several_workers_and_a_second_process_share_one_limit() {
    let db = Db::with(&numbers(60_000));
    spoil(&db, "id % 500 = 0");
    db.exec("ANALYZE t");
    let job = Toml::increment().rows(200).with("[pace]\nworkers = 4").quarantine(50);
    let cli = Cli::new(&db, "job", &job.text());
    let (one, two) = (cli.start(&["join", "job", "-y"]), cli.start(&["join", "job", "-y"]));
    one.wait().exits(5).says("50 rows in quarantine already");
    two.wait().exits(5);
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.quarantine"), 50);
    cli.write(
        "job",
        &Toml::increment().rows(200).with("[pace]\nworkers = 4").quarantine(500).text(),
    );
    cli.call(&["resume", "job"]).exits(5).says("120 rows in quarantine");
    recorded(&db);
    repair(&db);
    cli.done(&["quarantine", "job", "--retry"]);
    done_once(&db, "job");
}

#[test]
fn in_physical_order_a_row_that_moves_is_recorded_once() {
    let db = Db::with(&numbers(2_000));
    spoil(&db, "id IN (5, 1000, 2000)");
    let held = Held::row(&db, 1_500);
    let cli = Cli::new(&db, "job", &job(10).filter("n = 0").physical().text());
    let running = cli.start(&["run", "job", "-y"]);
    db.until("to_regclass('piecemeal.quarantine') IS NOT NULL");
    db.until("SELECT count(*) >= 2 FROM piecemeal.quarantine");
    // A new version of a row that is recorded, at the end of the file.
    db.exec("UPDATE t SET ok = false WHERE id = 5; INSERT INTO t (id) SELECT generate_series(3000, 3100)");
    held.release();
    running.wait().exits(5).says("3 rows in quarantine");
    assert_eq!(
        db.text("SELECT string_agg(key[1], ',' ORDER BY id) FROM piecemeal.quarantine"),
        "5,1000,2000"
    );
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n <> ok::int"), 0);
    balanced_but_for_sweeps(&db);
    repair(&db);
    cli.done(&["quarantine", "job", "--retry"]);
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n <> 1"), 0);
}

#[test]
fn a_table_that_is_rewritten_keeps_its_quarantine() {
    let db = Db::with(&numbers(2_000));
    spoil(&db, "id IN (5, 300)");
    let held = Held::row(&db, 1_500);
    let cli = Cli::new(&db, "job", &job(10).filter("n = 0").physical().text());
    let running = cli.start(&["run", "job", "-y", "--limit", "1000"]);
    running.wait().exits(4);
    held.release();
    db.exec("VACUUM FULL t");
    cli.call(&["run", "job"]).exits(5).says("rewritten").says("2 rows in quarantine");
    assert_eq!(db.number("SELECT sum(tries) FROM piecemeal.quarantine"), 2);
    balanced_but_for_sweeps(&db);
    repair(&db);
    cli.done(&["quarantine", "job", "--retry"]);
    ended(&db, "job", "rows");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n <> 1"), 0);
}

#[test]
fn where_few_rows_are_to_do_the_bad_ones_among_them_are_found() {
    let db = Db::with(&numbers(50_000));
    db.exec("UPDATE t SET n = 1 WHERE id % 100 <> 0");
    spoil(&db, "id IN (20000, 20100, 45000)");
    db.exec("VACUUM t");
    let cli = Cli::new(&db, "job", &Toml::increment().filter("n = 0").quarantine(10).text());
    cli.call(&["run", "job", "-y"]).exits(5).says("3 rows in quarantine");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n <> ok::int"), 0);
    repair(&db);
    cli.done(&["quarantine", "job", "--retry"]);
    ended(&db, "job", "rows");
}

#[test]
fn composite_and_text_keys_come_back_as_they_are() {
    let db = Db::with(
        "CREATE TABLE t (a text, b timestamptz, c uuid, n int NOT NULL DEFAULT 0, ok bool NOT NULL DEFAULT true,
                         PRIMARY KEY (a, b, c), CHECK (ok OR n = 0));
         INSERT INTO t (a, b, c) SELECT 'ä, \"(' || chr(10) || i % 7, '2026-01-01Z'::timestamptz + i * interval '1.000001 s',
                md5(i::text)::uuid FROM generate_series(1, 500) i;
         UPDATE t SET ok = false WHERE c IN (SELECT md5(i::text)::uuid FROM generate_series(1, 500, 90) i)",
    );
    let cli = Cli::new(&db, "job", &job(10).text());
    cli.call(&["run", "job", "-y"]).exits(5).says("6 rows in quarantine");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n <> ok::int"), 0);
    let listed = cli.done(&["quarantine", "job", "-o", "jsonl", "--last", "1"]).stdout;
    let key = serde_json::from_str::<Value>(&listed).unwrap()["key"].to_string();
    repair(&db);
    cli.call(&["quarantine", "job", "--retry", "--key", &key])
        .exits(5)
        .says("5 rows in quarantine");
    cli.done(&["quarantine", "job", "--retry"]);
    done_once(&db, "job");
}

#[test]
fn hostile_messages_stay_in_their_place() {
    let db = Db::with(&numbers(100));
    db.exec(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
             IF NEW.id = 10 THEN RAISE '%', 'a' || chr(10) || 'error: b' || chr(27) || '[2J' || chr(7); END IF;
             IF NEW.id = 20 THEN RAISE '%', repeat('ö', 1 << 20) USING DETAIL = 'secret', ERRCODE = 'AB123'; END IF;
             RETURN NEW; END$$;
         CREATE TRIGGER refuse BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION refuse()",
    );
    let cli = Cli::new(&db, "job", &job(10).text());
    let answer = cli.call(&["run", "job", "-y"]).exits(5).says("2 rows in quarantine");
    assert!(!answer.stderr.contains('\u{1b}') && answer.stderr.len() < 10_000);
    assert_eq!(
        db.text("SELECT string_agg(length(message)::text, ',') FROM piecemeal.quarantine"),
        "15,1000"
    );
    let listed = cli.done(&["quarantine", "job"]).stdout;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(
        listed.lines().all(|line| line.chars().count() < 300 && !line.contains(char::is_control))
    );
    assert!(listed.contains("a\\nerror: b") && !listed.contains("secret"), "{listed}");
    let listed = cli.done(&["quarantine", "job", "-o", "json"]).json();
    assert_eq!(listed["rows"][0]["message"], "a\nerror: b\u{1b}[2J\u{7}");
    assert_eq!(listed["rows"][1]["sqlstate"], "AB123");
    let one = cli.done(&["quarantine", "job", "--last", "1"]);
    assert_eq!(one.stdout.lines().count(), 2);
    one.says("1 shown");
}

#[test]
fn nothing_is_decided_while_somebody_works_on_the_run() {
    let db = Db::with(&numbers(300));
    spoil(&db, "id = 50");
    let held = Held::from(&db, 201);
    let cli = Cli::new(&db, "job", &job(100).text());
    let running = cli.start(&["run", "job", "-y"]);
    held.is_reached(&db);
    let retry = ["quarantine", "job", "--retry"];
    cli.call(&retry).exits(3).says("is being worked on").says("pause job --wait");
    cli.call(&["quarantine", "job", "--skip", "--reason", "x"]).exits(3).says("is being worked on");
    assert_eq!(
        cli.done(&["quarantine", "job", "-o", "json"]).json()["rows"][0]["state"],
        "waiting"
    );
    cli.done(&["pause", "job", "--wait"]);
    held.release();
    repair(&db);
    // Its owner stands by, and goes on with what was queued.
    cli.done(&retry).says("queued: 1 row").says("goes on in");
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_kill_at_any_moment_loses_no_record_and_repeats_none() {
    let db = Db::with(&numbers(3_000));
    spoil(&db, "id % 30 = 0");
    let cli = Cli::new(&db, "job", &job(1_000).text());
    for records in [1, 10, 40, 70, 99] {
        let killed = cli.start(&["run", "job", "-y"]);
        db.until("to_regclass('piecemeal.quarantine') IS NOT NULL");
        db.until(&format!("SELECT count(*) >= {records} FROM piecemeal.quarantine"));
        killed.signal("KILL");
        killed.wait();
    }
    cli.call(&["run", "job"]).exits(5).says("100 rows in quarantine");
    recorded(&db);
    // The same while they are tried again, of which every second one is still bad.
    db.exec("UPDATE t SET ok = true WHERE id % 60 = 0");
    let killed = cli.start(&["quarantine", "job", "--retry"]);
    db.until("SELECT count(*) > 5 FROM piecemeal.quarantine WHERE tries > 1");
    killed.signal("KILL");
    killed.wait();
    cli.call(&["run", "job"]).exits(5).says("50 rows in quarantine");
    recorded(&db);
    repair(&db);
    cli.done(&["quarantine", "job", "--retry"]);
    done_once(&db, "job");
}

#[test]
fn a_retry_that_was_queued_and_then_lost_is_done_by_whoever_goes_on() {
    let db = Db::with(&numbers(100));
    spoil(&db, "id IN (10, 90)");
    let cli = Cli::new(&db, "job", &job(10).text());
    cli.call(&["run", "job", "-y"]).exits(5);
    repair(&db);
    let held = Held::row(&db, 10);
    let killed = cli.start(&["quarantine", "job", "--retry"]);
    db.until("SELECT count(*) = 2 FROM piecemeal.quarantine WHERE is_queued");
    db.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'");
    killed.signal("KILL");
    killed.wait();
    held.release();
    cli.done(&["run", "job"]);
    done_once(&db, "job");
    recorded(&db);
}

#[test]
fn a_row_for_which_where_itself_fails_cannot_be_recorded_and_is_named() {
    let db = Db::with(&numbers(100));
    db.exec(
        "ALTER TABLE t ADD COLUMN s text NOT NULL DEFAULT '1'; UPDATE t SET s = 'x' WHERE id = 42",
    );
    let cli = Cli::new(&db, "job", &job(10).filter("s::int > 0 AND n = 0").text());
    let answer = cli.call(&["run", "job", "-y"]).exits(5);
    answer.says("key (id) = (42)").says("22P02");
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.quarantine"), 0);
    db.exec("UPDATE t SET s = '1'");
    cli.done(&["resume", "job"]);
    ended(&db, "job", "rows");
}

#[test]
fn what_fails_without_a_row_is_not_recorded_and_ends() {
    let db = Db::with(&numbers(100));
    db.exec(
        "UPDATE t SET n = 1 WHERE id > 50;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF (SELECT count(*) FROM t WHERE id <= 50 AND n = 0) = 0 THEN RAISE ''never''; END IF; RETURN NULL; END';
         CREATE TRIGGER refuse BEFORE UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION refuse();",
    );
    let job = Toml::increment().rows(20).filter("n = 0").quarantine(10);
    let cli = Cli::new(&db, "job", &job.text());
    cli.call(&["run", "job", "-y"]).exits(1).says("never").says("refused the statement");
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.quarantine"), 0);
    db.exec("DROP TRIGGER refuse ON t");
    cli.done(&["resume", "job"]);
    ended(&db, "job", "rows");
}

#[test]
fn a_commit_whose_answer_was_lost_records_a_row_once_and_does_it_once() {
    let server = start_server(&[]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&numbers(60));
    spoil(&db, "id = 31");
    let lose = |running: &Running| {
        db.lose_commits(|| running.stderr().contains("connection closed"));
    };
    let held = Held::from(&db, 31);
    let with = Toml::increment().rows(10).batch("synchronous_commit = \"on\"").quarantine(10);
    let cli = Cli::new(&db, "job", &with.text());
    let running = cli.start(&["run", "job", "-y", "-v"]);
    held.is_reached(&db);
    db.let_commits_wait();
    held.session().exec("SET LOCAL synchronous_commit = off");
    held.release();
    lose(&running);
    running.wait().exits(5).says("1 row in quarantine");
    recorded(&db);
    db.exec("UPDATE t SET ok = true");
    let held = Held::row(&db, 31);
    let running = cli.start(&["quarantine", "job", "--retry", "-v"]);
    db.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%piecemeal_queued%'");
    db.let_commits_wait();
    held.session().exec("SET LOCAL synchronous_commit = off");
    held.release();
    lose(&running);
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_row_that_a_trigger_suppresses_when_it_is_tried_again_is_not_silently_done() {
    let db = Db::with(&numbers(50));
    spoil(&db, "id = 30");
    db.exec(
        "CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.ok AND NEW.id = 30 AND NEW.n = 1 THEN RETURN NULL; END IF; RETURN NEW; END';
         CREATE TRIGGER suppress BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress()",
    );
    let cli = Cli::new(&db, "job", &job(10).text());
    cli.call(&["run", "job", "-y"]).exits(5).says("1 row in quarantine");
    repair(&db);
    cli.call(&["quarantine", "job", "--retry"])
        .exits(6)
        .says("1 of 50 rows")
        .says("a BEFORE trigger");
    assert_eq!(cli.status("job")["rows"]["unchanged"], 1);
    balanced(&db);
}

#[test]
fn a_row_that_is_slow_by_itself_gets_its_time_also_when_it_is_tried_again() {
    let db = Db::with(&numbers(50));
    spoil(&db, "id = 30");
    db.exec(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.ok AND NEW.id = 30 AND NEW.n = 1 THEN PERFORM pg_sleep(0.5); END IF; RETURN NEW; END';
         CREATE TRIGGER slow BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let cli = Cli::new(&db, "job", &job(10).text());
    cli.call(&["run", "job", "-y"]).exits(5);
    repair(&db);
    cli.done(&["quarantine", "job", "--retry"]);
    done_once(&db, "job");
}
