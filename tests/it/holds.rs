//! Signals hold a run before anybody is hurt, it says by what, and goes on when they are over.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, start_server};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::{done_once, status};
use crate::support::standby::Standby;
use crate::support::until;

const JSON: &[&str] = &["run", "job", "-y", "--progress", "jsonl"];
const KNOB: &str = "SELECT value FROM knob";
const STREAMS: &str =
    "SELECT bool_or(state = 'streaming' AND replay_lsn IS NOT NULL) FROM pg_stat_replication";

fn done(db: &Db) -> i64 {
    db.number("SELECT sum(n) FROM t")
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

/// Rows, and a knob that stands at 0.
fn scene(rows: u32) -> Db {
    Db::with(&format!(
        "{}; CREATE TABLE knob (value float8); INSERT INTO knob VALUES (0)",
        numbers(rows)
    ))
}

fn turn(db: &Db, value: f64) {
    db.exec(&format!("UPDATE knob SET value = {value}"));
}

fn hold(name: &str, sql: &str, more: &str) -> String {
    format!("[[hold]]\non = \"query\"\nname = \"{name}\"\nsql = \"{sql}\"\n{more}\n")
}

/// A job that goes on for half a minute if nothing holds it, held by the knob above 10.
fn job(pace: &str, more: &str) -> String {
    let pace = format!("[pace]\nrate = \"1k/s\"\n{pace}");
    Toml::increment().rows(50).with(&pace).with(&hold("knob", KNOB, more)).text()
}

/// The shape of the run's line while it is held.
fn holding(cli: &Cli) -> Option<Value> {
    let run = cli.status("job");
    (run["shown"] == "holding").then(|| run["holding"].clone())
}

/// Checks that nothing is done for as long as a reading takes, and more.
fn stands(db: &Db, text: &str) {
    let (before, since) = (done(db), Instant::now());
    until(text, || (since.elapsed() > Duration::from_millis(1_200)).then_some(()));
    assert_eq!(done(db), before, "{text}");
}

fn within(started: Instant, most: f64, what: &str) {
    let took = started.elapsed().as_secs_f64();
    assert!(took < most, "{what} took {took:.1} s");
}

#[test]
fn a_query_slows_holds_and_releases_and_every_change_is_told_and_summed_up() {
    let db = scene(20_000);
    let cli = Cli::new(&db, "job", &job("max_hold = \"20s\"", "above = 10"));
    let running = cli.start(JSON);
    running.progress("it goes on", |run| run["rows"]["done"].as_i64() > Some(0));

    turn(&db, 9.0);
    let (slow, began) = (running.event("slowed", 1), Instant::now());
    assert_eq!(slow["reason"], "knob 9 of 10");
    assert!((0.05..0.9).contains(&seconds(&slow["share"])), "{slow}");
    assert_eq!(json!([slow["by"], slow["value"], slow["limit"]]), json!(["knob", 9.0, 10.0]));
    let ago = |event: &Value| {
        let since = event["since"].as_str().expect("an instant");
        db.number(&format!("SELECT extract(epoch FROM clock_timestamp() - '{since}')::int8"))
    };
    assert!((0..=3).contains(&ago(&slow)), "{slow}");
    let run = running.progress("it settles", |run| {
        run["slowing"]["share"].as_f64().is_some_and(|share| share < 0.15)
    });
    assert_eq!(
        (&run["slowing"]["reason"], &run["holding"]),
        (&"knob 9 of 10".into(), &Value::Null)
    );
    let (before, since) = (done(&db), Instant::now());
    until("a second", || (since.elapsed() > Duration::from_secs(1)).then_some(()));
    let speed = done(&db) - before;
    assert!((10..400).contains(&speed), "{speed} rows/s of 1,000 at {}", run["slowing"]);

    turn(&db, 12.5);
    let turned = Instant::now();
    let told = running.event("held", 1);
    within(turned, 3.0, "the hold");
    let (slowed, began) = (began.elapsed().as_secs_f64(), Instant::now());
    let event = json!([told["by"], told["reason"], told["value"], told["limit"]]);
    assert_eq!(event, json!(["knob", "knob 12.5 > 10", 12.5, 10.0]));
    assert!((0..=3).contains(&ago(&told)), "{told}");
    stands(&db, "a hold lets nothing through");
    let shown = until("`status` shows it", || holding(&cli));
    let shown = json!([shown["by"], shown["reason"], shown["value"], shown["limit"]]);
    assert_eq!(shown, event);
    assert!(cli.done(&["status", "job"]).stdout.contains("holding: knob 12.5 > 10, for "));
    // Another value of the same signal is no other hold.
    turn(&db, 20.0);
    running.progress("the value of now", |run| run["holding"]["value"] == 20.0);
    assert_eq!(running.events("held").len(), 1);

    turn(&db, 0.0);
    let released = running.event("released", 1);
    let held = began.elapsed().as_secs_f64();
    assert!((seconds(&released["lasted_s"]) - held).abs() < 0.5, "{released}, {held} s");
    let progress = running.progress("it goes on", |run| run["holding"] == Value::Null);
    assert_eq!(progress["shown"], "running");
    cli.done(&["throttle", "job", "--hold", "knob=off", "--rate", "1M/s"]);
    let ended = running.wait().exits(0).says(": knob ");
    assert!(ended.stderr.contains("held ") && ended.stderr.contains("slowed by "), "{ended:?}");
    done_once(&db, "job");
    let sums = cli.status("job")["held"]["knob"].clone();
    assert!((seconds(&sums["held_s"]) - held).abs() < 0.5, "{sums}, by the stop-watch {held} s");
    // It is slowed only between batches, and again on the way back up.
    let least = slowed * 0.5;
    assert!((least..slowed + 3.0).contains(&seconds(&sums["slowed_s"])), "{sums}, {slowed} s");
}

#[test]
fn a_signal_that_holds_for_too_long_ends_the_process_and_not_the_run() {
    let db = scene(10_000);
    let job = Toml::increment().rows(50).with("[pace]\nmax_hold = \"1s\"").with(&hold(
        "busy",
        "SELECT value > 0 FROM knob",
        "",
    ));
    let cli = Cli::new(&db, "job", &job.text());
    let running = cli.start(&["run", "job", "-y", "--rate", "1k/s"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT sum(seen) > 0 FROM piecemeal.range");
    turn(&db, 1.0);
    running.until_it_says("holding: busy is true");
    let started = Instant::now();
    let ended = running.wait().exits(4).says("held for too long: busy is true");
    within(started, 3.5, "a hold of 1 s");
    assert!(started.elapsed() > Duration::from_millis(700), "{:?}", started.elapsed());
    ended.says("held ").says(": busy ").says("`piecemeal run job` continues");
    assert_eq!(status(&db), "ready");
    let run = cli.status("job");
    assert_eq!((&run["reason"], &run["holding"]), (&"busy is true".into(), &Value::Null));
    let history = cli.done(&["history", "job"]).stdout;
    assert!(history.contains("busy is true"), "{history}");

    // Started again, it holds before its first batch, and as long again.
    let (before, started) = (done(&db), Instant::now());
    cli.call(&["run", "job"]).exits(4).says("busy is true");
    assert!(started.elapsed() > Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(done(&db), before);
    turn(&db, 0.0);
    let ended = cli.done(&["run", "job"]);
    done_once(&db, "job");
    // The sums are those of the run, not of its last process.
    let sum = seconds(&cli.status("job")["held"]["busy"]["held_s"]);
    assert!((1.9..5.0).contains(&sum), "{sum} s");
    ended.says("held ");
}

#[test]
fn a_limit_changed_from_outside_holds_within_a_second_and_off_is_off() {
    let db = scene(50_000);
    turn(&db, 20.0);
    let cli = Cli::new(&db, "job", &job("max_hold = \"20s\"", "above = 10"));
    let running = cli.start(JSON);
    running.event("held", 1);
    assert_eq!(done(&db), 0, "held before the first batch");
    let change = |change: &str, event: &str, nth: usize| {
        cli.done(&["throttle", "job", "--hold", change]);
        let started = Instant::now();
        let event = running.event(event, nth);
        within(started, 2.5, change);
        event
    };
    until("the names of the holds", || holding(&cli));
    let unknown = cli.call(&["throttle", "job", "--hold", "knbo=3"]).exits(2);
    unknown.says("is not held by `knbo`").says("knob").says("autovacuum");
    cli.call(&["throttle", "job", "--hold", "replica-lag=3 fathoms"]).exits(2);

    change("knob=100", "released", 1);
    let held = change("knob=15", "held", 2);
    assert_eq!((&held["value"], &held["limit"]), (&20.0.into(), &15.0.into()));
    change("knob=off", "released", 2);
    let before = done(&db);
    db.until(&format!("SELECT sum(n) > {before} FROM t"));
    // Back to what the job says.
    cli.done(&["throttle", "job", "--clear"]);
    let started = Instant::now();
    let held = running.event("held", 3);
    within(started, 2.5, "--clear");
    assert_eq!(held["limit"], 10.0);
    cli.done(&["throttle", "job", "--hold", "knob=off", "--for", "1s"]);
    running.event("released", 3);
    running.event("held", 4);
    let history = cli.done(&["history", "job", "-o", "json"]).json();
    let throttles = history["history"].as_array().expect("lines").iter();
    let throttles: Vec<_> = throttles.filter(|line| line["what"] == "throttle").collect();
    assert_eq!(throttles[1]["detail"]["from"]["hold knob"]["value"], "100", "{history}");
    assert_eq!(throttles[1]["detail"]["to"]["hold knob"]["value"], "15", "{history}");
    cli.done(&["cancel", "job"]);
    running.wait().exits(4);
}

#[test]
fn what_is_true_or_false_takes_no_limit_and_can_be_switched_off() {
    let db = scene(50_000);
    turn(&db, 1.0);
    let job = Toml::increment().rows(50).with("[pace]\nrate = \"1k/s\"");
    let job = job.with(&hold("busy", "SELECT value > 0 FROM knob", ""));
    // With a limit that its query does not use, and one that counts.
    let job = job.with(&hold("full", "SELECT value > 5 FROM knob", "above = 10"));
    let cli = Cli::new(&db, "job", &job.with(&hold("knob", KNOB, "above = 10")).text());
    let running = cli.start(JSON);
    running.event("held", 1);
    until("the names of the holds", || holding(&cli));
    for name in ["busy", "full"] {
        let refused = cli.call(&["throttle", "job", "--hold", &format!("{name}=50")]).exits(2);
        let refused = refused.says(&format!("`{name}` of run `job` takes no limit"));
        refused.says("it is true or false").says(&format!("--hold {name}=off"));
    }
    let overrides = "SELECT count(*) FROM piecemeal.run WHERE overrides <> '{}'";
    assert_eq!(db.number(overrides), 0, "nothing is accepted that does nothing");
    cli.done(&["throttle", "job", "--hold", "busy=off", "--hold", "full=off", "--hold", "knob=50"]);
    running.event("released", 1);
    cli.done(&["cancel", "job"]);
    running.wait().exits(4);
}

#[test]
fn a_floor_is_no_leave_to_overrun_another_signal_and_both_are_shown() {
    let db = scene(20_000);
    db.exec("CREATE TABLE other (value float8); INSERT INTO other VALUES (0)");
    turn(&db, 20.0);
    let toml = job("max_hold = \"1s\"", "above = 10\nfloor = \"500/s\"");
    let other = hold("other", "SELECT value FROM other", "above = 10");
    let cli = Cli::new(&db, "job", &format!("{toml}\n{other}"));
    let running = cli.start(JSON);
    running.event("held", 1);
    db.until("SELECT sum(n) > 0 FROM t");
    db.exec("UPDATE other SET value = 9.9");
    let run = running.progress("it settles", |run| {
        run["slowing"]["share"].as_f64().is_some_and(|share| share < 0.07)
    });
    assert_eq!((&run["holding"]["by"], &run["slowing"]["by"]), (&"knob".into(), &"other".into()));
    let (before, started) = (done(&db), Instant::now());
    until("two seconds", || (started.elapsed() > Duration::from_secs(2)).then_some(()));
    let speed = done(&db) - before;
    assert!(
        (10..400).contains(&speed),
        "{speed} rows in two seconds at a twentieth of 1,000 a second"
    );
    let status = cli.done(&["status", "job"]).stdout;
    let held = status.split_once("holding: knob 20 > 10, at most 500 rows/s, for ");
    let (_, behind) = held.unwrap_or_else(|| panic!("{status}"));
    assert!(behind.contains("; slowed to ") && behind.contains(": other 9.9 of 10"), "{status}");
    assert_eq!(running.events("slowed").len(), 1, "once, and not with every batch");
    cli.done(&["cancel", "job"]);
    running.wait().exits(4);
    let sums = cli.status("job")["held"].clone();
    assert!(sums["knob"]["held_s"].as_f64() > Some(2.0) && sums["other"].is_null(), "{sums}");
}

#[test]
fn a_floor_keeps_a_trickle_and_counts_as_no_standstill() {
    let db = scene(2_000);
    turn(&db, 20.0);
    let cli = Cli::new(&db, "job", &job("max_hold = \"1s\"", "above = 10\nfloor = \"100/s\""));
    let running = cli.start(JSON);
    let held = running.event("held", 1);
    assert_eq!(held["floor_rows_per_s"], 100);
    db.until("SELECT sum(n) > 0 FROM t");
    let (before, started) = (done(&db), Instant::now());
    until("three seconds", || (started.elapsed() > Duration::from_secs(3)).then_some(()));
    let speed = f64::from(i32::try_from(done(&db) - before).expect("few"))
        / started.elapsed().as_secs_f64();
    assert!((60.0..140.0).contains(&speed), "{speed} rows/s");
    let run = cli.status("job");
    assert_eq!(run["holding"]["floor_rows_per_s"], 100);
    assert_eq!(run["rate"]["limit_rows_per_s"], 100, "the job's own is 1,000");
    assert!(cli.done(&["status", "job"]).stdout.contains("knob 20 > 10, at most 100 rows/s, for "));
    // Blind, it does not even trickle.
    db.exec("ALTER TABLE knob RENAME TO knobs");
    running.event("held", 1);
    running.wait().exits(4).says("held for too long: knob cannot be read").says("knob");
    db.exec("ALTER TABLE knobs RENAME TO knob");
    turn(&db, 0.0);
    cli.done(&["run", "job", "--rate", "1M/s"]);
    done_once(&db, "job");
}

/// Who may do what the job needs, and no more.
fn as_a_role(db: &Db, rows_of: &str) -> String {
    let role = format!("app_{}", db.name);
    db.exec(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, UPDATE ON t TO {role};
         GRANT SELECT ON {rows_of} TO {role}; GRANT CREATE ON DATABASE {} TO {role}",
        db.name
    ));
    role
}

#[test]
fn a_query_that_cannot_be_read_holds_and_says_what_is_missing() {
    let db = scene(25_000);
    let role = as_a_role(&db, "knob");
    let mut cli = Cli::new(&db, "job", &job("", "above = 10"));
    cli.url = db.url.replacen("postgres@", &format!("{role}@"), 1);
    assert_ne!(cli.url, db.url);
    let running = cli.start(JSON);
    let mut nth = 0;
    for (spoil, cure, says) in [
        (
            "REVOKE SELECT ON knob FROM app",
            "GRANT SELECT ON knob TO app",
            "permission denied for table knob (SQLSTATE 42501); GRANT SELECT ON public.knob TO app",
        ),
        (
            "ALTER TABLE knob RENAME TO gone",
            "ALTER TABLE gone RENAME TO knob",
            "relation \"knob\" does not exist",
        ),
        ("UPDATE knob SET value = NULL", "UPDATE knob SET value = 1", "NULL"),
    ] {
        nth += 1;
        let before = done(&db);
        db.until(&format!("SELECT sum(n) > {before} FROM t"));
        db.exec(&spoil.replace("app", &role));
        let (before, started) = (done(&db), Instant::now());
        let held = running.event("held", nth);
        within(started, 3.0, spoil);
        let blind = done(&db) - before;
        assert!(blind < 3_000, "{blind} rows while blind");
        let reason = held["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("knob cannot be read: ") && reason.contains(says), "{reason}");
        assert_eq!((&held["value"], &held["limit"]), (&Value::Null, &Value::Null));
        stands(&db, reason);
        db.exec(&cure.replace("app", &role));
        let started = Instant::now();
        running.event("released", nth);
        within(started, 3.0, cure);
    }
    assert_eq!(running.events("held").len(), nth);
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    running.wait().exits(0).says("held ");
    done_once(&db, "job");
    db.exec(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}

#[test]
fn a_rate_that_falls_or_a_floor_that_begins_is_no_standstill() {
    let db = scene(500_000);
    let toml = Toml::increment().batch("target = \"2s\"").batch("give_way = \"10s\"");
    let cli = Cli::new(&db, "job", &toml.with("[pace]\nrate = \"20k/s\"").text());
    let running = cli.start(JSON);
    running.progress("large batches", |run| run["batch"]["rows"].as_i64() > Some(8_000));
    cli.done(&["throttle", "job", "--rate", "50/s"]);
    running.progress("the rate", |run| run["rate"]["limit_rows_per_s"] == 50);
    let (before, started) = (done(&db), Instant::now());
    until("something is done", || (done(&db) > before).then_some(()));
    within(started, 4.0, "the next batch");
    cli.done(&["cancel", "job"]);
    running.wait().exits(4);
}

fn reason(running: &Running, nth: usize, says: &str) -> String {
    let held = running.event("held", nth);
    assert_eq!(held["by"], "replica-lag");
    let reason = held["reason"].as_str().expect("a reason");
    assert!(reason.contains(says), "{reason}");
    reason.to_owned()
}

#[test]
fn a_standby_that_is_late_paused_killed_or_hidden_is_felt_by_the_run() {
    let server = start_server(&[]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&numbers(50_000));
    db.exec(
        "CREATE ROLE app LOGIN; GRANT pg_read_all_stats TO app;
         GRANT SELECT, UPDATE ON t TO app; GRANT CREATE ON DATABASE postgres TO app",
    );
    let standby = Standby::of(&server, "berlin");
    db.until(STREAMS);
    let toml = Toml::increment().rows(100).with("[pace]\nrate = \"2k/s\"\nmax_hold = \"60s\"");
    let toml = toml.with("[[hold]]\non = \"replica-lag\"\nabove = \"3s\"");
    let mut cli = Cli::new(&db, "job", &toml.text());
    cli.url = db.url.replacen("postgres@", "app@", 1);
    let running = cli.start(JSON);
    running.progress("it goes on", |run| run["rows"]["done"].as_i64() > Some(0));
    // It needs the same privilege, and may be the one that is named.
    cli.done(&["throttle", "job", "--hold", "autovacuum=off"]);

    // Late, but not too late: slower.
    standby.exec("ALTER SYSTEM SET recovery_min_apply_delay = '2400ms'");
    standby.exec("SELECT pg_reload_conf()");
    let slow = running.event("slowed", 1);
    assert!(slow["reason"].as_str().is_some_and(|it| it.ends_with("s of 3s")), "{slow}");

    // Replay that stands still: nothing at all.
    standby.exec("SELECT pg_wal_replay_pause()");
    let started = Instant::now();
    reason(&running, 1, "s > 3s");
    within(started, 5.0, "a pause of the replay");
    stands(&db, "a standby that does not replay");
    standby.exec("ALTER SYSTEM RESET recovery_min_apply_delay");
    standby.exec("SELECT pg_reload_conf()");
    standby.exec("SELECT pg_wal_replay_resume()");
    running.event("released", 1);

    standby.kill();
    let (before, started) = (done(&db), Instant::now());
    reason(&running, 2, "standby \"berlin\"");
    within(started, 3.5, "a standby that is gone");
    assert!(done(&db) - before < 8_000, "{} rows while blind", done(&db) - before);
    stands(&db, "a standby that is gone");
    standby.start();
    running.event("released", 2);

    db.exec("REVOKE pg_read_all_stats FROM app");
    let (before, started) = (done(&db), Instant::now());
    reason(&running, 3, "GRANT pg_read_all_stats TO app;");
    within(started, 3.5, "a privilege that is gone");
    assert!(done(&db) - before < 8_000, "{} rows while blind", done(&db) - before);
    stands(&db, "a standby that is hidden");
    db.exec("GRANT pg_read_all_stats TO app");
    running.event("released", 3);
    cli.done(&["throttle", "job", "--hold", "replica-lag=off", "--rate", "1M/s"]);
    running.wait().exits(0).says("replica-lag ");
    done_once(&db, "job");
}

#[test]
fn a_standby_that_went_away_between_two_processes_is_missed_by_the_second() {
    let server = start_server(&[]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&numbers(20_000));
    let standby = Standby::of(&server, "berlin");
    db.until(STREAMS);
    let toml = Toml::increment().rows(100).with("[pace]\nrate = \"500/s\"\nmax_hold = \"60s\"");
    let cli = Cli::new(&db, "job", &toml.text());
    let first = cli.start(JSON);
    first.progress("it goes on", |run| run["rows"]["done"].as_i64() > Some(0));
    db.until("SELECT pulse #> '{standbys,seen}' ? 'berlin' FROM piecemeal.run");
    // Dropped, it is killed.
    drop(first);
    standby.kill();
    db.until("SELECT count(*) = 0 FROM pg_stat_replication");

    let before = done(&db);
    let second = cli.start(JSON);
    reason(&second, 1, "standby \"berlin\" at this machine was there and is gone");
    stands(&db, "a standby that was there before");
    assert_eq!(done(&db), before, "nothing was done without the standby");
    standby.start();
    second.event("released", 1);
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    second.wait().exits(0);
    done_once(&db, "job");
}
