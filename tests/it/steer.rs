//! A run is steered from any terminal, outlives its processes, and never belongs to two of them.

use std::fs::OpenOptions;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cli::{Cli, Running, me};
use crate::support::db::{Db, Held};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::{done_once, status};
use crate::support::until;

/// A run of a hundred rows that has done 49 of them and cannot do the next.
fn held_run(db: &Db, rows: u32) -> (Cli, Running, Held) {
    let held = Held::from(db, 50);
    let cli = Cli::new(db, "job", &Toml::increment().rows(rows).text());
    let running = cli.start(&["run", "job", "-y"]);
    held.is_reached(db);
    (cli, running, held)
}

fn table() -> Db {
    Db::with(&numbers(100))
}

#[test]
fn a_paused_run_stands_still_and_goes_on_in_its_process() {
    let db = table();
    let (cli, mut running, held) = held_run(&db, 10);
    cli.done(&["pause", "job", "--reason", "peak hours", "--wait"]);
    assert_eq!(status(&db), "paused");
    held.release();
    running.until_it_says("paused: job (peak hours)");
    cli.call(&["run", "job"]).exits(4).says(&me()).says("peak hours").says("piecemeal resume job");
    assert_eq!(cli.status("job")["shown"], "paused");
    assert!(running.is_alive());
    assert_eq!(db.number("SELECT sum(n) FROM t"), 49, "a paused run does nothing");
    cli.done(&["resume", "job"]).says(&format!("{}", running.pid()));
    running.wait().exits(0).says("resumed");
    done_once(&db, "job");
}

#[test]
fn a_time_that_batches_cannot_have_is_refused() {
    let db = table();
    let (cli, running, held) = held_run(&db, 10);
    let answer = cli.call(&["throttle", "job", "--target", "50ms"]).exits(2);
    answer.says("batches of `job` cannot have that target").says("10 rows (`batch.rows`)");
    held.release();
    running.wait().exits(0);
    let timed = Toml::increment().with("[pace]\nrate = \"20/s\"").text();
    let cli = Cli::new(&db, "timed", &timed);
    cli.call(&["run", "timed", "-y", "--target", "101ms"])
        .exits(2)
        .says("(100ms) is less than 101ms");
    cli.call(&["status", "timed"]).exits(3).says("has no run");
    let running = cli.start(&["run", "timed", "-y"]);
    db.until(
        "EXISTS (SELECT FROM piecemeal.run WHERE job = 'timed' AND pulse->'target_bounds' IS NOT NULL)",
    );
    cli.call(&["throttle", "timed", "--target", "101ms"]).exits(2).says("would be cut off");
    cli.done(&["throttle", "timed", "--target", "100ms"]);
    cli.done(&["throttle", "timed", "--rate", "1M/s"]);
    running.wait().exits(0);
}

#[test]
fn a_run_that_was_paused_while_nobody_worked_is_continued_by_resume() {
    let db = table();
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.call(&["run", "job", "-y", "--limit", "30"]).exits(4);
    cli.done(&["pause", "job"]).says("paused: `job`");
    cli.call(&["run", "job"]).exits(4);
    cli.done(&["resume", "job"]);
    done_once(&db, "job");
}

#[test]
fn a_cancelled_run_stops_where_it_is_and_stays_stopped() {
    let db = table();
    let (cli, running, held) = held_run(&db, 10);
    cli.done(&["cancel", "job", "--reason", "wrong column"]);
    running.wait().exits(4).says("cancelled");
    held.release();
    assert_eq!(status(&db), "cancelled");
    assert_eq!(db.number("SELECT sum(n) FROM t"), 49);
    cli.call(&["run", "job"]).exits(4).says("was cancelled").says("--again");
    cli.call(&["resume", "job"]).exits(3).says("cancelled");
    cli.call(&["pause", "job"]).exits(3);
    assert_eq!(db.number("SELECT sum(n) FROM t"), 49);
}

#[test]
fn a_run_whose_owner_was_killed_is_cancelled_at_once() {
    let db = table();
    let (cli, running, held) = held_run(&db, 10);
    running.signal("KILL");
    running.wait();
    held.release();
    db.until(NOBODY_ELSE);
    cli.done(&["cancel", "job"]).says("cancelled: `job`");
    assert_eq!(status(&db), "cancelled");
    cli.done(&["forget", "job"]);
}

/// Whether the server has noticed that everybody but the test has gone.
const NOBODY_ELSE: &str = "SELECT count(*) = 0 FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'piecemeal%'";

#[test]
fn an_owner_that_only_seemed_dead_does_nothing_after_a_cancel() {
    let db = table();
    let (cli, running, held) = held_run(&db, 10);
    running.freeze(&db);
    db.exec("UPDATE piecemeal.run SET lease_until = clock_timestamp() - interval '1 second'");
    cli.done(&["cancel", "job"]).says("cancelled: `job`");
    held.release();
    running.signal("CONT");
    running.wait().exits(7);
    assert_eq!(db.number("SELECT sum(n) FROM t"), 49);
    assert_eq!(status(&db), "cancelled");
}

/// Returns what the newest `progress` event says.
fn progress(running: &Running) -> Option<Value> {
    let lines = running.stdout();
    let events = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.rev().find(|event| event["event"] == "progress")
}

fn until_its_limit_is(running: &Running, limit: &Value) {
    until(&format!("a limit of {limit}"), || {
        (progress(running)?["run"]["rate"]["limit_rows_per_s"] == *limit).then_some(())
    });
}

#[test]
fn a_throttled_run_is_slower_until_that_is_cleared() {
    let db = Db::with(&numbers(100_000));
    let cli =
        Cli::new(&db, "job", &(Toml::increment().rows(50).text() + "[pace]\nrate = \"400/s\"\n"));
    let running = cli.start(&["run", "job", "-y", "--progress", "jsonl"]);
    until_its_limit_is(&running, &400.into());
    cli.done(&["throttle", "job", "--rate", "20/s"]);
    until_its_limit_is(&running, &20.into());
    let (before, started) = (db.number("SELECT seen FROM piecemeal.range"), Instant::now());
    cli.done(&["throttle", "job", "--rate", "77/s", "--for", "1s"]);
    until_its_limit_is(&running, &77.into());
    // What was to last goes on.
    until_its_limit_is(&running, &20.into());
    let done = db.number("SELECT seen FROM piecemeal.range") - before;
    let most = started.elapsed().as_secs_f64() * 400.0 + 200.0;
    assert!(i32::try_from(done).is_ok_and(|done| f64::from(done) < most), "{done} rows");
    cli.done(&["throttle", "job", "--rate", "30/s", "--for", "1h"]);
    until_its_limit_is(&running, &30.into());
    cli.done(&["throttle", "job", "--clear"]);
    until_its_limit_is(&running, &400.into());
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    running.wait().exits(0);
    done_once(&db, "job");
    let history = cli.done(&["history", "job"]).stdout;
    assert_eq!(history.matches("throttle").count(), 5, "{history}");
}

#[test]
fn a_hold_of_a_run_that_nobody_works_on_is_taken_with_a_warning() {
    let db = table();
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.call(&["run", "job", "-y", "--limit", "30"]).exits(4);
    let known = "it is not known whether `job` has a hold named `knbo`";
    cli.done(&["throttle", "job", "--hold", "knbo=3"]).says(known);
    let fine = cli.done(&["throttle", "job", "--rate", "9k/s"]);
    assert!(!fine.stderr.contains("warn"), "{}", fine.stderr);
}

#[test]
fn a_run_whose_time_is_up_while_it_is_paused_stays_paused_and_its_process_leaves() {
    let db = table();
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    let running = cli.start(&["run", "job", "-y", "--rate", "10/s", "--max-runtime", "3s"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("(SELECT sum(batches) FROM piecemeal.range) > 0");
    cli.done(&["pause", "job", "--wait"]);
    running.wait().exits(4).says("time is up");
    assert_eq!(status(&db), "paused");
    cli.done(&["resume", "job"]);
    done_once(&db, "job");
}

#[test]
fn a_second_process_leaves_a_run_to_its_living_owner() {
    let db = table();
    let (cli, running, held) = held_run(&db, 10);
    cli.call(&["run", "job"])
        .exits(7)
        .says(&format!("{}", running.pid()))
        .says("piecemeal watch job");
    held.release();
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_killed_owner_is_replaced_at_once() {
    let db = table();
    let (cli, running, held) = held_run(&db, 10);
    running.signal("KILL");
    running.wait();
    held.release();
    let started = Instant::now();
    cli.done(&["run", "job"]).says("takeover");
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "it waited for the lease: {:?}",
        started.elapsed()
    );
    done_once(&db, "job");
}

#[test]
fn a_process_that_is_told_to_leave_leaves_a_run_that_goes_on() {
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 143)] {
        let db = table();
        let (cli, running, held) = held_run(&db, 10);
        running.signal(signal);
        running.wait().exits(code).says("piecemeal run job");
        assert_eq!(status(&db), "ready");
        held.release();
        cli.done(&["run", "job"]);
        done_once(&db, "job");
    }
}

#[test]
fn a_second_signal_leaves_at_once_and_spoils_nothing() {
    // A batch of a minute, which the first signal would have waited for.
    let db = table();
    db.exec(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.id = 50 THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END';
         CREATE TRIGGER slow BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let job = Toml::increment().rows(1).batch("give_way = \"60s\"");
    let cli = Cli::new(&db, "job", &job.text());
    let running = cli.start(&["run", "job", "-y"]);
    let asleep = "SELECT count(*) > 0 FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event = 'PgSleep'";
    db.until(asleep);
    let started = Instant::now();
    running.signal("INT");
    running.until_it_says("finishing the batch");
    running.signal("INT");
    running.wait().exits(130).says("piecemeal run job");
    assert!(started.elapsed() < Duration::from_secs(10));
    db.until(&format!("NOT ({asleep})"));
    db.exec("DROP TRIGGER slow ON t");
    assert_ne!(status(&db), "failed");
    cli.done(&["run", "job"]);
    done_once(&db, "job");
}

#[test]
fn a_canary_stops_after_so_many_rows() {
    let db = table();
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.call(&["run", "job", "-y", "--limit", "25"]).exits(4).says("piecemeal run job");
    assert_eq!(db.number("SELECT sum(n) FROM t"), 25);
    assert_eq!(status(&db), "ready");
    cli.done(&["run", "job"]);
    done_once(&db, "job");
}

#[test]
fn a_run_that_is_done_writes_nothing_more_until_it_is_asked_to() {
    let db = table();
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.done(&["run", "job", "-y"]);
    let state = "SELECT md5(string_agg(r, ',' ORDER BY r)) FROM (
        SELECT t::text || ctid || xmin AS r FROM t UNION ALL SELECT r::text || ctid || xmin FROM piecemeal.run r
        UNION ALL SELECT r::text || ctid || xmin FROM piecemeal.range r
        UNION ALL SELECT j::text || ctid || xmin FROM piecemeal.journal j) it";
    let before = db.text(state);
    cli.done(&["run", "job"]).says("done: job").says("--again");
    cli.done(&["up", "job"]);
    assert_eq!(db.text(state), before);
    cli.done(&["run", "job", "--again", "-y"]);
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n = 2"), 100);
}

#[test]
fn a_definition_that_changed_is_refused_by_what_changed() {
    let db = table();
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.call(&["run", "job", "-y", "--limit", "25"]).exits(4);
    cli.write("job", &Toml::on("t").set("n", "n + 2").rows(10).text());
    for command in ["run", "resume"] {
        let answer = cli.call(&[command, "job"]).exits(3);
        answer.says("definition").says("n + 1").says("n + 2");
    }
    assert_eq!(db.number("SELECT sum(n) FROM t"), 25);
    // What is not the definition may change: how big the batches are, how fast they come.
    cli.write("job", &(Toml::increment().rows(20).text() + "[pace]\nrate = \"1M/s\"\n"));
    cli.done(&["run", "job"]);
    done_once(&db, "job");
}

#[test]
fn a_table_that_was_replaced_is_another_table() {
    let db = table();
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.call(&["run", "job", "-y", "--limit", "25"]).exits(4);
    db.exec("DROP TABLE t");
    db.exec(&numbers(100));
    cli.call(&["run", "job"]).exits(3).says("not the table");
    assert_eq!(db.number("SELECT sum(n) FROM t"), 0);
}

#[test]
fn a_run_that_has_ended_is_forgotten_without_a_trace() {
    let db = table();
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.call(&["run", "job", "-y", "--limit", "25"]).exits(4);
    cli.call(&["forget", "job"]).exits(3).says("cancel");
    cli.done(&["cancel", "job"]);
    cli.done(&["forget", "job"]);
    cli.call(&["status", "job"]).exits(3).says("no run");
    for table in ["run", "range", "journal"] {
        assert_eq!(db.number(&format!("SELECT count(*) FROM piecemeal.{table}")), 0, "{table}");
    }
}

#[test]
fn history_tells_who_did_what_and_why() {
    let db = table();
    let (cli, running, held) = held_run(&db, 10);
    cli.done(&["throttle", "job", "--rate", "5k/s"]);
    cli.done(&["pause", "job", "--reason", "peak hours", "--wait"]);
    held.release();
    cli.done(&["resume", "job"]);
    running.wait().exits(0);
    let history = cli.done(&["history", "job", "-o", "json"]).json();
    let lines = history["history"].as_array().expect("lines");
    let what: Vec<_> = lines.iter().map(|line| line["what"].as_str().expect("a word")).collect();
    assert_eq!(
        what,
        ["created", "claimed", "throttle", "pause", "paused", "resume", "claimed", "finished"]
    );
    assert!(lines.iter().all(|line| line["who"].as_str().is_some_and(|who| who.contains(&me()))));
    assert_eq!(lines[3]["detail"]["reason"], "peak hours");
    assert_eq!(lines[2]["detail"]["to"]["rate"]["value"], 5000);
}

#[test]
fn a_reader_that_has_gone_away_does_not_stop_the_walk() {
    let db = table();
    let cli = Cli::new(&db, "job", &Toml::increment().rows(1).text());
    let mut command = cli.command(&["run", "job", "-y", "--progress", "jsonl"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stdout(writer.try_clone().expect("a pipe")).stderr(writer);
    Running::of(command).wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_full_disk_under_the_output_does_not_stop_the_walk() {
    let db = table();
    let cli = Cli::new(&db, "job", &Toml::increment().rows(1).text());
    let full = || OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut command = cli.command(&["run", "job", "-y", "-v", "--progress", "jsonl"]);
    command.stdout(full()).stderr(Stdio::from(full()));
    Running::of(command).wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_reader_that_does_not_read_does_not_stop_the_walk() {
    let db = Db::with(&numbers(3_000));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(1).text());
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = cli.command(&["run", "job", "-y", "-v"]);
    command.stdout(Stdio::null()).stderr(writer);
    let _running = Running::of(command);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT count(*) = 0 FROM t WHERE n <> 1");
}
