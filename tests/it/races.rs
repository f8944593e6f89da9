//! What others do at the same time: start the same job, swap the table, change their mind.

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, Held};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::{done_once, status};

#[test]
fn a_job_that_five_start_at_once_is_done_once() {
    let db = Db::with(&numbers(20));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    let all: Vec<Running> = (0..5).map(|_| cli.start(&["run", "job", "-y"])).collect();
    for running in all {
        running.wait().exits(0);
    }
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.run"), 1);
    done_once(&db, "job");
}

const EXPAND: &str = "[expand]\nup = ['ALTER TABLE t ADD COLUMN m int']\n";

/// A process that `run`s a job and is stopped where it has sent what begins a run, or its walk, and has not seen that
/// this was done.
fn stopped_at(what: &str, expand: &str) -> (Db, Cli, Running) {
    let db = Db::with(&numbers(3_000));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).with(expand).text());
    cli.done(&["init"]);
    db.exec(&format!(
        "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(7); RETURN NULL; END';
         CREATE TRIGGER gate AFTER INSERT ON piecemeal.journal FOR EACH ROW WHEN (NEW.what = '{what}')
         EXECUTE FUNCTION gate()"
    ));
    let gate = db.session();
    gate.exec("SELECT pg_advisory_lock(7)");
    let first = cli.start(&["run", "job", "-y"]);
    db.until_waiting("advisory");
    first.freeze(&db);
    gate.exec("SELECT pg_advisory_unlock(7)");
    db.until(&format!("EXISTS (SELECT FROM piecemeal.journal WHERE what = '{what}')"));
    (db, cli, first)
}

#[test]
fn one_that_joins_before_a_run_has_its_lease_leads_it_and_is_helped() {
    for (what, expand) in [("created", ""), ("walk", EXPAND)] {
        let (db, cli, first) = stopped_at(what, expand);
        let second = cli.start(&["join", "job", "-y", "--rate", "500/s"]);
        db.until("(SELECT sum(seen) FROM piecemeal.range) > 0");
        first.signal("CONT");
        first.until_it_says("leads the run");
        cli.done(&["throttle", "job", "--rate", "1M/s"]);
        for running in [first, second] {
            running.wait().exits(0);
        }
        done_once(&db, "job");
    }
}

#[test]
fn one_that_joins_before_a_run_has_its_lease_runs_its_statements() {
    let (db, cli, first) = stopped_at("created", EXPAND);
    let reader = db.session();
    reader.exec("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE");
    let second = cli.start(&["join", "job", "-y"]);
    second.until_it_says("waiting: ");
    first.signal("CONT");
    first.until_it_says("waiting: ");
    let lease = db.text("SELECT lease_until FROM piecemeal.run");
    db.until(&format!("EXISTS (SELECT FROM piecemeal.run WHERE lease_until > '{lease}')"));
    reader.exec("ROLLBACK");
    for running in [first, second] {
        running.wait().exits(0);
    }
    done_once(&db, "job");
}

#[test]
fn a_table_that_takes_the_place_of_the_one_walked_is_not_touched() {
    let db = Db::with(&numbers(100));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.call(&["run", "job", "-y", "--limit", "30"]).exits(4);
    let running = cli.start(&["run", "job", "-y", "--rate", "10/s"]);
    db.until("(SELECT sum(batches) FROM piecemeal.range) > 3");
    db.exec(
        "BEGIN; ALTER TABLE t RENAME TO t_old; CREATE TABLE t (LIKE t_old INCLUDING ALL);
         INSERT INTO t SELECT id, 0 FROM t_old; COMMIT",
    );
    running.wait().exits(1).says("another table has taken the place");
    assert_eq!(db.number("SELECT sum(n) FROM t"), 0);
    assert_eq!(status(&db), "failed");
    cli.call(&["resume", "job"]).exits(3).says("is not the table");
}

#[test]
fn a_cancel_is_obeyed_by_an_owner_that_is_told_to_leave() {
    let db = Db::with(&numbers(100));
    let held = Held::from(&db, 50);
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    let running = cli.start(&["run", "job", "-y"]);
    held.is_reached(&db);
    cli.done(&["cancel", "job"]);
    running.signal("TERM");
    held.release();
    running.wait().exits(4).says("cancelled: job");
    assert_eq!(status(&db), "cancelled");
}

#[test]
fn a_cancel_whose_owner_is_killed_does_not_wait_for_ever() {
    let db = Db::with(&numbers(100));
    let held = Held::from(&db, 50);
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    let running = cli.start(&["run", "job", "-y"]);
    held.is_reached(&db);
    let cancel = cli.start(&["cancel", "job", "--wait"]);
    db.until("(SELECT intent = 'cancel' FROM piecemeal.run)");
    running.signal("KILL");
    cancel.wait().exits(0).says("cancelled: `job`");
    assert_eq!(status(&db), "cancelled");
    cli.done(&["forget", "job"]);
}

#[test]
fn a_failed_run_cannot_be_paused_and_keeps_its_reason() {
    let db = Db::with(&numbers(20));
    let cli = Cli::new(&db, "job", &Toml::on("t").set("n", "1 / (id - 7)").text());
    cli.call(&["run", "job", "-y"]).exits(5);
    cli.call(&["pause", "job", "--reason", "hm"]).exits(3).says("nothing to pause");
    let status = cli.call(&["status", "job"]).exits(0);
    assert!(status.stdout.contains("division by zero"), "{}", status.stdout);
}

#[test]
fn a_where_that_releases_only_some_rows_proves_nothing() {
    let db = Db::with(
        "CREATE TABLE t (id int PRIMARY KEY, e text, lo text);
         INSERT INTO t SELECT i, CASE WHEN i <> 5 THEN 'A' END FROM generate_series(1, 20) i",
    );
    let toml = Toml::on("t").set("lo", "lower(e)").filter("lo IS NULL").text();
    let cli = Cli::new(&db, "job", &toml);
    cli.call(&["run", "job", "-y"]).exits(6).says("`where` is still true for some of the rows");
}

#[test]
fn a_trigger_that_runs_after_the_statement_counts_in_the_size_of_batches() {
    let db = Db::with(&format!(
        "{};
         CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep(0.001); RETURN NULL; END';
         CREATE TRIGGER slow AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
        numbers(600)
    ));
    let cli = Cli::new(&db, "job", &Toml::increment().batch("min = 1").text());
    cli.done(&["run", "job", "-y"]);
    // Without the trigger's time every second batch would run into its time limit.
    let (batches, retries) = (
        db.number("SELECT sum(batches) FROM piecemeal.range"),
        db.number("SELECT sum(retries) FROM piecemeal.range"),
    );
    assert!(retries * 3 < batches, "{retries} retries in {batches} batches");
}

#[test]
fn a_range_that_was_given_back_without_our_learning_of_it_is_taken_again() {
    let db = Db::with(&numbers(100));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    let running = cli.start(&["run", "job", "-y", "--rate", "50/s"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("(SELECT sum(batches) FROM piecemeal.range) > 2");
    // As if a range had been put aside, and the connection were lost before the answer.
    db.exec("UPDATE piecemeal.range SET rev = rev + 1, lease_token = NULL, lease_until = NULL");
    running.wait().exits(0);
    done_once(&db, "job");
}
