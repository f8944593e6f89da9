//! A run gives way to the commits of others: it slows down while they wait for the disk, says so, and
//! is at full speed again when they do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use piecemeal::sandbox::Sandbox;
use serde_json::Value;

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, start_server};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::done_once;
use crate::support::until;

const JSON: &[&str] = &["run", "job", "-y", "--progress", "jsonl"];

/// A server that waits for its disk, and by `commit_delay` as well, also when nobody else writes.
fn scene(rows: u32) -> (Sandbox, Db) {
    let server = start_server(&[("fsync", "on"), ("commit_siblings", "0")]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&numbers(rows));
    (server, db)
}

/// Lets every flush take so many milliseconds longer.
fn delay(db: &Db, millis: u32) {
    db.exec(&format!("ALTER SYSTEM SET commit_delay = {}", millis * 1_000));
    db.exec("SELECT pg_reload_conf()");
}

/// Somebody else, who does something ten times a second until it is dropped.
struct Other(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Other {
    fn on(db: &Db) -> Other {
        let (goes, session) = (Arc::new(AtomicBool::new(true)), db.session());
        let still = Arc::clone(&goes);
        let works = move || {
            while still.load(Ordering::Relaxed) {
                session.exec("SELECT pg_sleep(0.1)");
            }
        };
        Other(goes, Some(std::thread::spawn(works)))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

fn share(run: &Value) -> f64 {
    run["slowing"]["share"].as_f64().unwrap_or(1.0)
}

fn it_goes_on(running: &Running) {
    running.progress("it goes on", |run| run["rows"]["done"].as_i64() > Some(0));
}

#[test]
fn without_a_line_in_the_job_slow_commits_slow_it_to_a_tenth_and_never_stop_it() {
    let (_server, db) = scene(60_000);
    let _other = Other::on(&db);
    let toml = Toml::increment().rows(50).with("[pace]\nrate = \"1k/s\"\nmax_hold = \"1s\"");
    let cli = Cli::new(&db, "job", &toml.text());
    let plan = cli.done(&["plan", "job", "-o", "json"]).json()["plan"]["holds"].take();
    let plan = plan.as_array().expect("holds").iter().find(|it| it["signal"] == "commit-latency");
    let why = "above 4 times what it is before the walk, at least 6ms, by default";
    assert_eq!(plan.map(|it| &it["why"]), Some(&why.into()));
    let doctor = cli.call(&["doctor"]).stdout;
    assert!(doctor.contains(&format!("on: {why}")), "{doctor}");

    let running = cli.start(JSON);
    it_goes_on(&running);
    // Whatever the limit of this disk is; what is left above it stays the default's.
    cli.done(&["throttle", "job", "--hold", "commit-latency=80ms"]);
    delay(&db, 100);
    let run = running.progress("a tenth", |run| share(run) < 0.11);
    assert!(share(&run) > 0.09, "{run}");
    let reason = run["slowing"]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.starts_with("commit-latency ") && reason.ends_with("ms > 80ms"), "{reason}");
    let slowed = "slowed to 10%: commit-latency ";
    until(slowed, || cli.done(&["status", "job"]).stdout.contains(slowed).then_some(()));
    // Longer than `max_hold`, and it goes on.
    let (before, since) = (db.number("SELECT sum(n) FROM t"), Instant::now());
    db.until(&format!("SELECT sum(n) >= {} FROM t", before + 300));
    let took = since.elapsed().as_secs_f64();
    assert!((1.5..9.0).contains(&took), "300 rows at 100 a second took {took} s");
    assert_eq!(running.events("held").len(), 0);

    delay(&db, 0);
    let unslowed = running.events("unslowed").len();
    running.progress("faster", |run| share(run) > 0.2);
    cli.done(&["throttle", "job", "--hold", "commit-latency=off", "--rate", "1M/s"]);
    running.event("unslowed", unslowed + 1);
    running.wait().exits(0).says("slowed by ").says("commit-latency ");
    let sums = cli.status("job")["held"]["commit-latency"].clone();
    assert!(sums["slowed_s"].as_f64() > Some(1.0) && sums["held_s"] == 0.0, "{sums}");
    done_once(&db, "job");
}

#[test]
fn who_comes_to_a_run_has_the_limit_of_those_at_work_and_who_is_alone_finds_it_anew() {
    // A range for each of three processes.
    let (_server, db) = scene(150_000);
    let _other = Other::on(&db);
    let toml = Toml::increment().rows(50).with("[pace]\nrate = \"500/s\"");
    let cli = Cli::new(&db, "job", &toml.text());
    let start = || cli.start(&["join", "job", "-y", "--progress", "jsonl"]);
    let first = start();
    it_goes_on(&first);
    let is_slowed = |one: &Running| {
        let run = one.progress("a tenth", |run| share(run) < 0.11);
        run["slowing"]["reason"].as_str().and_then(|it| Some(it.split_once(" > ")?.1.to_owned()))
    };
    db.until("(SELECT pulse ? 'commit_s' FROM piecemeal.run)");
    let found = db.text("SELECT pulse ->> 'commit_s' FROM piecemeal.run");
    delay(&db, 100);
    let limit = is_slowed(&first);
    let second = start();
    assert_eq!(is_slowed(&second), limit);
    first.signal("TERM");
    first.wait().exits(143);
    let third = start();
    assert_eq!(is_slowed(&third), limit);
    assert_eq!(db.text("SELECT pulse ->> 'commit_s' FROM piecemeal.run"), found);
    for one in [second, third] {
        one.signal("TERM");
        one.wait().exits(143);
    }
    // Somebody else seems to be there, who has told it.
    db.exec(
        "UPDATE piecemeal.run SET pulse = pulse || '{\"commit_s\": 7}';
         INSERT INTO piecemeal.member (run_id, token, owner, workers, lease_until)
         SELECT id, 'x', '{\"host\": \"x\", \"pid\": 1}', 0, clock_timestamp() + interval '1 hour' FROM piecemeal.run",
    );
    let fourth = start();
    fourth.progress("it works", |run| run["workers"] == 1);
    assert!(db.is("(SELECT (pulse ->> 'commit_s')::float8 = 7 FROM piecemeal.run)"));
    fourth.signal("TERM");
    fourth.wait().exits(143);
    db.exec("DELETE FROM piecemeal.member");
    let fifth = start();
    db.until("(SELECT (pulse ->> 'commit_s')::float8 BETWEEN 0.05 AND 1 FROM piecemeal.run)");
    cli.done(&["cancel", "job"]);
    fifth.wait().exits(4);
}

#[test]
fn a_job_that_names_commits_is_held_by_them_and_goes_on() {
    let (_server, db) = scene(60_000);
    let toml = Toml::increment().rows(50).with("[pace]\nrate = \"1k/s\"");
    let toml = toml.with("[[hold]]\non = \"commit-latency\"\nabove = \"80ms\"");
    let cli = Cli::new(&db, "job", &toml.text());
    let running = cli.start(JSON);
    it_goes_on(&running);
    delay(&db, 100);
    let held = running.event("held", 1);
    assert_eq!((&held["by"], &held["limit"]), (&"commit-latency".into(), &0.08.into()));
    let reason = held["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.starts_with("commit-latency ") && reason.ends_with("ms > 80ms"), "{reason}");
    // Whoever can bear it says so, and it goes on at once.
    cli.done(&["throttle", "job", "--hold", "commit-latency=10s"]);
    running.event("released", 1);
    cli.done(&["throttle", "job", "--clear"]);
    running.event("held", 2);
    delay(&db, 0);
    running.event("released", 2);
    cli.done(&["throttle", "job", "--hold", "commit-latency=off", "--rate", "1M/s"]);
    running.wait().exits(0).says("held ").says("commit-latency ");
    done_once(&db, "job");
}

#[test]
fn a_vacuum_does_not_begin_while_commits_are_above_their_limit_and_gives_way_to_them_once() {
    let (_server, db) = scene(40_000);
    db.exec("ALTER TABLE t SET (autovacuum_enabled = off)");
    db.exec("CREATE INDEX ON t (n)");
    let _other = Other::on(&db);
    let toml = Toml::increment().batch("max = 500");
    let cli = Cli::new(&db, "job", &toml.with("[pace]\nvacuum = \"20%\"\nrate = \"8k/s\"").text());
    cli.call(&["run", "job", "-y", "--limit", "1"]).exits(4);
    let set = |limit| cli.done(&["throttle", "job", "--hold", &format!("commit-latency={limit}")]);
    set("5ms");
    delay(&db, 20);
    let running = cli.start(JSON);
    let reader = db.session();
    db.until("SELECT sum(n) > 2500 FROM t");
    // Its page of the index stays pinned, which a VACUUM waits for; it keeps no row alive that died before.
    reader.exec("BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off");
    reader.exec("DECLARE reading CURSOR FOR SELECT id FROM t ORDER BY id; FETCH reading");
    let put_off = running.event("vacuum_put_off", 1);
    assert_eq!(put_off["why"], "commit-latency is above its limit");
    let shown = "vacuum put off: commit-latency is above its limit";
    running.progress(shown, |run| run["vacuum"] == shown);
    let vacuums =
        "SELECT pid FROM pg_stat_activity WHERE wait_event = 'BufferPin' AND query LIKE 'VACUUM%'";
    let (stands, is_gone) = (format!("EXISTS ({vacuums})"), format!("NOT EXISTS ({vacuums})"));
    assert!(db.is(&is_gone));

    // It is not to be over too soon.
    cli.done(&["throttle", "job", "--rate", "1k/s"]);
    set("10s");
    db.until(&stands);
    set("5ms");
    db.until(&is_gone);
    set("10s");
    db.until(&stands);
    set("5ms");
    running.progress("commits above their limit", |run| {
        run["slowing"]["limit"].as_f64() == Some(0.005)
    });
    let since = Instant::now();
    until("a second with it", || (since.elapsed().as_secs_f64() > 1.0).then_some(()));
    assert!(db.is(&stands), "{:?}", running.events("vacuum_put_off"));
    assert!(running.events("vacuumed").is_empty());
    reader.exec("COMMIT");
    running.event("vacuumed", 1);
    cli.done(&["throttle", "job", "--hold", "commit-latency=off", "--rate", "1M/s"]);
    running.wait().exits(0);
    done_once(&db, "job");
}
