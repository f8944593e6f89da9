//! The quarantine at the moments at which others come between: before a row is recorded, while it is tried again, and while
//! it is decided about.
//!
//! Locks on the ledger stop the program at the statement that matters, until the other one has committed.

use std::thread;

use crate::quarantine::recorded;
use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, Held};
use crate::support::job::{Toml, numbers};

/// Ten rows with room between their keys, of which the server refuses one.
const TENS: &str = "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0);
    INSERT INTO t SELECT i * 10 FROM generate_series(1, 10) i";

/// Lets the server refuse rows when they are done, after it has waited for whoever has locked them, until they are repaired:
/// `ok` is set.
fn spoil(db: &Db, bad: &str) {
    db.exec(&format!(
        "ALTER TABLE t ADD COLUMN ok bool NOT NULL DEFAULT true; UPDATE t SET ok = false WHERE {bad};
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.n > 0 AND NOT NEW.ok THEN RAISE ''refused''; END IF; RETURN NEW; END';
         CREATE TRIGGER refuse BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION refuse()"
    ));
}

/// The walk has come to the row with key 50, which was refused, and waits to record it: `meanwhile` is committed then.
fn before_the_record(meanwhile: &str) -> (Db, Cli, Running) {
    let db = Db::with(TENS);
    spoil(&db, "id = 50");
    let job = Toml::increment().rows(1).quarantine(10).batch("give_way = \"20s\"");
    let cli = Cli::new(&db, "job", &job.text());
    let held = Held::from(&db, 50);
    let running = cli.start(&["run", "job", "-y"]);
    held.is_reached(&db);
    let other = db.session();
    other.exec("BEGIN; SELECT FROM piecemeal.run FOR UPDATE");
    held.release();
    db.until(
        // It waits at the end of what begins its transaction; the lease is renewed in another one.
        "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
             AND query LIKE 'BEGIN%')",
    );
    other.exec(meanwhile);
    other.exec("COMMIT");
    (db, cli, running)
}

#[test]
fn a_row_that_comes_beside_a_bad_one_before_that_is_recorded_is_done() {
    let (db, _cli, running) = before_the_record("INSERT INTO t VALUES (45)");
    running.wait().exits(5).says("1 row in quarantine");
    assert_eq!(db.rows("SELECT id FROM t WHERE n <> 1"), [["50"]]);
    recorded(&db);
}

#[test]
fn a_range_that_was_taken_over_before_its_bad_row_is_recorded_is_left_alone() {
    let (db, _cli, running) = before_the_record(&format!(
        "UPDATE piecemeal.run SET {TAKEN}; UPDATE piecemeal.range SET rev = rev + 1, {TAKEN}"
    ));
    running.wait().exits(7);
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.quarantine"), 0);
    assert_eq!(db.rows("SELECT cursor, quarantined FROM piecemeal.range"), [["{40}", "0"]]);
}

#[test]
fn a_bad_row_that_is_gone_before_it_is_recorded_leaves_no_record() {
    let (db, _cli, running) = before_the_record("DELETE FROM t WHERE id = 50");
    running.wait().exits(0);
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.quarantine"), 0);
    assert!(db.is("(SELECT bool_and(n = 1) FROM t)"));
}

/// How many sessions of the program wait for a lock.
fn waiting(db: &Db, sessions: u32) {
    db.until(&format!(
        "(SELECT count(*) = {sessions} FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
             AND application_name LIKE 'piecemeal%')"
    ));
}

/// Takes the lease of a run as a process does that comes after another.
const TAKEN: &str = "lease_token = 'other', lease_until = clock_timestamp() + interval '1 minute'";

/// A run of a hundred rows that ended with these bad ones, as `gets` leaves them, is tried again and waits for row 50, which
/// is locked.
fn tried_again(bad: &str, gets: &str) -> (Db, Cli, Running, Held) {
    let db = Db::with(&numbers(100));
    spoil(&db, bad);
    let job = Toml::increment().rows(100).quarantine(10).batch("give_way = \"20s\"");
    let cli = Cli::new(&db, "job", &job.text());
    cli.call(&["run", "job", "-y"]).exits(5);
    db.exec(gets);
    let held = Held::row(&db, 50);
    let running = cli.start(&["quarantine", "job", "--retry"]);
    waiting(&db, 1);
    (db, cli, running, held)
}

/// Lets another process take the range over as soon as the attempt at row 50 is over.
fn taken_over_after_the_attempt(db: &Db, held: Held) {
    let other = db.session();
    thread::scope(|scope| {
        scope.spawn(|| {
            other.exec(&format!(
                "BEGIN; UPDATE piecemeal.range SET rev = rev + 1, {TAKEN} WHERE is_requeued;
                 UPDATE piecemeal.run SET {TAKEN}; COMMIT"
            ));
        });
        db.until(
            "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                 AND application_name NOT LIKE 'piecemeal%')",
        );
        held.release();
    });
}

#[test]
fn a_range_that_was_taken_over_while_its_row_failed_again_is_left_alone() {
    let (db, _cli, running, held) = tried_again("id = 50", "");
    taken_over_after_the_attempt(&db, held);
    running.wait().exits(7);
    assert_eq!(db.rows("SELECT tries, is_queued FROM piecemeal.quarantine"), [["1", "t"]]);
}

#[test]
fn a_range_that_was_taken_over_before_its_row_is_done_is_left_alone() {
    let db = Db::with(&numbers(100));
    spoil(&db, "id = 50");
    // An attempt waits for the row for 50 ms, and then comes again.
    let cli = Cli::new(&db, "job", &Toml::increment().rows(100).quarantine(10).text());
    cli.call(&["run", "job", "-y"]).exits(5);
    db.exec("UPDATE t SET ok = true");
    let held = Held::row(&db, 50);
    let running = cli.start(&["quarantine", "job", "--retry"]);
    waiting(&db, 1);
    let other = db.session();
    other.exec(&format!(
        "BEGIN; UPDATE piecemeal.range SET rev = rev + 1, {TAKEN} WHERE is_requeued; UPDATE piecemeal.run SET {TAKEN}"
    ));
    held.release();
    db.until(
        "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
             AND query LIKE '%piecemeal_queued%')",
    );
    other.exec("COMMIT");
    running.wait().exits(7);
    assert_eq!(db.rows("SELECT tries, is_queued FROM piecemeal.quarantine"), [["1", "t"]]);
    assert_eq!(db.number("SELECT n FROM t WHERE id = 50"), 0);
}

#[test]
fn a_kill_after_a_row_was_left_leaves_the_others_queued() {
    let (db, cli, running, held) =
        tried_again("id IN (7, 50)", "UPDATE t SET ok = true WHERE id = 50");
    db.until("(SELECT tries = 2 FROM piecemeal.quarantine WHERE key = '{7}')");
    running.signal("KILL");
    running.wait();
    let sessions = "FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'piecemeal%'";
    db.exec(&format!("SELECT pg_terminate_backend(pid) {sessions}"));
    db.until(&format!("NOT EXISTS (SELECT {sessions})"));
    held.release();
    cli.call(&["run", "job"]).exits(5).says("1 row in quarantine");
    assert_eq!(db.number("SELECT n FROM t WHERE id = 50"), 1);
    recorded(&db);
}

/// A run that ended with two rows in quarantine, and a session that has locked it.
fn locked() -> (Db, Cli, Db) {
    let db = Db::with(&numbers(100));
    spoil(&db, "id IN (7, 50)");
    let cli = Cli::new(&db, "job", &Toml::increment().rows(100).quarantine(10).text());
    cli.call(&["run", "job", "-y"]).exits(5);
    let holder = db.session();
    holder.exec("BEGIN; SELECT FROM piecemeal.run FOR UPDATE");
    (db, cli, holder)
}

const SKIP: [&str; 5] = ["quarantine", "job", "--skip", "--reason", "old"];

#[test]
fn rows_that_two_people_skip_at_once_are_skipped_once() {
    let (db, cli, holder) = locked();
    let (one, two) = (cli.start(&SKIP), cli.start(&SKIP));
    waiting(&db, 2);
    holder.exec("COMMIT");
    let said = one.wait().exits(0).stderr + &two.wait().exits(0).stderr;
    assert!(said.contains("skipped: 2 rows") && said.contains("skipped: 0 rows"), "{said}");
    recorded(&db);
}

#[test]
fn nothing_is_decided_about_a_run_that_is_cancelled_at_the_same_time() {
    let (db, cli, holder) = locked();
    let skipping = cli.start(&SKIP);
    waiting(&db, 1);
    holder.exec("UPDATE piecemeal.run SET status = 'cancelled', intent = 'cancel'; COMMIT");
    skipping.wait().exits(3).says("has ended");
    assert_eq!(db.number("SELECT count(skipped_at) FROM piecemeal.quarantine"), 0);
}

#[test]
fn an_owner_that_only_seemed_dead_loses_the_run_to_a_decision_about_its_rows() {
    let db = Db::with(&numbers(100));
    spoil(&db, "id = 7");
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).quarantine(10).text());
    let held = Held::from(&db, 61);
    let running = cli.start(&["run", "job", "-y"]);
    held.is_reached(&db);
    running.freeze(&db);
    let over = "lease_until = clock_timestamp() - interval '1 second'";
    db.exec(&format!("UPDATE piecemeal.run SET {over}; UPDATE piecemeal.member SET {over}"));
    held.release();
    cli.done(&SKIP).says("skipped: 1 row");
    assert!(db.is("(SELECT lease_token IS NULL FROM piecemeal.run)"));
    running.signal("CONT");
    running.wait().exits(7);
    cli.done(&["run", "job"]).says("1 quarantined (1 skipped)");
    recorded(&db);
}
