//! VACUUM beside the walk keeps the table small, is in nobody's way, and says when it does not run.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, port, start_server};
use crate::support::job::Toml;
use crate::support::oracle::done_once;
use crate::support::proxy::{Proxy, message};
use crate::support::standby::Standby;
use crate::support::until;

const JSON: &[&str] = &["run", "job", "-y", "--progress", "jsonl"];
const SIZE: &str = "SELECT pg_relation_size('t')";

/// Rows of some width, which autovacuum leaves alone.
fn table(rows: u32) -> Db {
    Db::with(&wide(rows))
}

fn wide(rows: u32) -> String {
    format!(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0, pad text NOT NULL DEFAULT repeat('x', 60))
             WITH (autovacuum_enabled = off);
         INSERT INTO t (id) SELECT generate_series(1, {rows})"
    )
}

fn job(vacuum: &str, pace: &str) -> String {
    let pace = format!("[pace]\nvacuum = \"{vacuum}\"\n{pace}");
    Toml::increment().batch("max = 1000").with(&pace).text()
}

/// What the table has grown to after a run, as a multiple of what it was.
fn growth(vacuum: &str) -> f64 {
    let db = table(60_000);
    let before = db.number(SIZE);
    let cli = Cli::new(&db, "job", &job(vacuum, "rate = \"25k/s\""));
    let running = cli.start(JSON);
    running.event("finished", 1);
    let vacuumed = running.events("vacuumed").len();
    let put_off = running.events("vacuum_put_off");
    assert_eq!(vacuumed > 0, vacuum != "off", "{vacuumed} times; {put_off:?}");
    running.wait().exits(0);
    done_once(&db, "job");
    let after = u32::try_from(db.number(SIZE) / 8192).expect("pages");
    f64::from(after) / f64::from(u32::try_from(before / 8192).expect("pages"))
}

#[test]
fn a_table_that_is_vacuumed_on_the_way_stays_small() {
    let (with, without) = (growth("5%"), growth("off"));
    assert!(with < 1.4, "{with:.2} × with vacuum");
    assert!(without > 1.7, "{without:.2} × without");
}

#[test]
fn where_others_are_at_work_a_worker_stands_aside_for_the_vacuum_and_the_sums_say_for_how_long() {
    let (db, cli, running) = slow_vacuum("");
    let user = db.session();
    until("the end of a run beside somebody at work", || {
        user.exec("SELECT 1");
        (!running.events("finished").is_empty()).then_some(())
    });
    assert!(!running.events("vacuumed").is_empty(), "{:?}", running.events("vacuum_put_off"));
    running.wait().exits(0);
    let slowed = cli.status("job")["held"]["vacuum"]["slowed_s"].as_f64();
    assert!(slowed.is_some_and(|seconds| seconds > 0.0), "{slowed:?}");
    done_once(&db, "job");
}

#[test]
fn without_the_privilege_there_is_no_vacuum_and_plan_says_so() {
    let db = table(30_000);
    let role = format!("app_{}", db.name);
    db.exec(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, UPDATE ON t TO {role};
         GRANT CREATE ON DATABASE {} TO {role}",
        db.name
    ));
    let mut cli = Cli::new(&db, "job", &job("2%", "rate = \"20k/s\""));
    cli.url = db.url.replacen("postgres@", &format!("{role}@"), 1);
    let plan = cli.done(&["plan", "job", "--no-rehearsal"]);
    let said = plan.stdout + &plan.stderr;
    assert!(said.contains("vacuum") && said.contains("may not"), "{said}");
    let running = cli.start(JSON);
    running.event("finished", 1);
    assert!(running.events("vacuumed").is_empty() && running.events("vacuum_put_off").is_empty());
    running.wait().exits(0);
    done_once(&db, "job");
    db.exec(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}

const VACUUMS: &str = "SELECT count(*) > 0 FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'VACUUM%' AND state = 'active'";

/// A run whose VACUUM takes its time: it has a lot to read, and pays for every page.
fn slow_vacuum(pace: &str) -> (Db, Cli, Running) {
    let db = table(40_000);
    for _ in 0..6 {
        db.exec("CREATE INDEX ON t (pad, id, n)");
    }
    // With fewer dead rows the server leaves the indexes alone.
    let cli = Cli::new(&db, "job", &job("30%", pace));
    let running = cli.start(JSON);
    (db, cli, running)
}

#[test]
fn a_vacuum_is_cancelled_as_soon_as_somebody_waits_for_the_table() {
    let (db, cli, running) = slow_vacuum("rate = \"4k/s\"");
    let (user, mut nth, mut worst) = (db.session(), 0, Duration::ZERO);
    // One may have just ended by itself when the lock is asked for.
    let put_off = until("a vacuum that is cancelled", || {
        if let Some(event) = running.events("vacuum_put_off").pop() {
            return Some(event);
        }
        if db.is(VACUUMS) {
            let started = Instant::now();
            user.exec(&format!("ALTER TABLE t ADD COLUMN c{nth} int"));
            (nth, worst) = (nth + 1, worst.max(started.elapsed()));
        }
        None
    });
    assert_eq!(put_off["why"], "somebody waited for a lock on the table");
    // The run may have ended by then.
    cli.call(&["throttle", "job", "--rate", "1M/s"]);
    assert!(worst < Duration::from_secs(1), "{worst:?}");
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_vacuum_waits_for_old_snapshots_says_for_whose_and_comes_after_them() {
    waits_for("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t LIMIT 1");
}

#[test]
fn a_vacuum_waits_for_who_has_written_and_does_nothing() {
    waits_for("BEGIN; CREATE TABLE other (id int)");
}

/// Somebody has begun with this, and does not end.
fn waits_for(begun: &str) {
    let db = table(60_000);
    let old = db.session();
    old.exec(begun);
    let pid = old.text("SELECT pg_backend_pid()");
    let cli = Cli::new(&db, "job", &job("5%", "rate = \"8k/s\""));
    let running = cli.start(JSON);
    let put_off = running.event("vacuum_put_off", 1);
    let why = put_off["why"].as_str().expect("a reason");
    assert!(why.contains(&format!("the session with pid {pid}, since ")), "{why}");
    assert!(why.ends_with("keeps the old rows alive"), "{why}");
    until("`status` shows it", || {
        let run = cli.status("job");
        run["vacuum"].as_str()?.contains(&pid).then_some(())
    });
    assert!(running.events("vacuumed").is_empty());
    old.exec("COMMIT");
    running.event("vacuumed", 1);
    assert!(!running.events("vacuum_put_off").iter().any(|it| it["why"] != why), "told once");
    let run = cli.status("job");
    assert_eq!(run["status"], "running");
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    running.wait().exits(0);
    done_once(&db, "job");
}

/// Begins a run, and returns the first thing that it says of its vacuum when that has run, or has not.
fn first_word(cli: &Cli) -> Value {
    let running = cli.start(&["run", "job", "-y", "--again", "--progress", "jsonl"]);
    let word = until("a word about the vacuum", || {
        let all = ["vacuumed", "vacuum_put_off"].map(|name| running.events(name));
        all.concat().into_iter().next()
    });
    cli.done(&["cancel", "job"]);
    running.wait().exits(4);
    word
}

#[test]
fn a_vacuum_waits_for_a_prepared_transaction_and_not_for_a_slot_that_keeps_the_catalog() {
    let server = start_server(&[("max_prepared_transactions", "5"), ("wal_level", "logical")]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&wide(60_000));
    db.exec("SELECT pg_create_logical_replication_slot('changes', 'pgoutput')");
    let cli = Cli::new(&db, "job", &job("5%", "rate = \"8k/s\""));
    assert_eq!(first_word(&cli)["event"], "vacuumed");
    assert!(db.is("SELECT catalog_xmin IS NOT NULL AND xmin IS NULL FROM pg_replication_slots"));
    db.exec("BEGIN; CREATE TABLE other (id int); PREPARE TRANSACTION 'two phases'");
    let why = "the prepared transaction two phases keeps the old rows alive";
    assert_eq!(first_word(&cli)["why"], why);
}

#[test]
fn a_vacuum_waits_for_what_a_standby_reads_and_for_the_slot_of_one_that_is_gone() {
    let server = start_server(&[]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&wide(60_000));
    db.exec("SELECT pg_create_physical_replication_slot('berlin')");
    let standby = Standby::of(&server, "berlin");
    for setting in ["hot_standby_feedback = on", "wal_receiver_status_interval = '1s'"] {
        standby.exec(&format!("ALTER SYSTEM SET {setting}"));
    }
    let reader = standby.db();
    reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t LIMIT 1");
    standby.exec("SELECT pg_reload_conf()");
    let sender = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender' AND backend_xmin IS NOT NULL";
    db.until(&format!("EXISTS ({sender})"));
    let cli = Cli::new(&db, "job", &job("5%", "rate = \"8k/s\""));
    let why = format!("a standby, served by pid {} keeps the old rows alive", db.text(sender));
    assert_eq!(first_word(&cli)["why"], why);

    standby.exec("ALTER SYSTEM SET primary_slot_name = 'berlin'");
    standby.exec("SELECT pg_reload_conf()");
    db.until("SELECT xmin IS NOT NULL FROM pg_replication_slots");
    standby.kill();
    db.until("SELECT NOT active FROM pg_replication_slots");
    assert_eq!(first_word(&cli)["why"], "the replication slot berlin keeps the old rows alive");
}

#[test]
fn a_vacuum_that_would_be_skipped_is_put_off_and_another_one_keeps_nothing_alive() {
    let db = table(60_000);
    db.exec("CREATE TABLE other AS SELECT id, pad FROM t");
    let (other, user) = (db.session(), db.session());
    let pid = other.text("SELECT pg_backend_pid()");
    other.exec("SET vacuum_cost_delay = '100ms'");
    other.exec("SET vacuum_cost_limit = 1");
    user.exec("BEGIN; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE");
    let slow = std::thread::spawn(move || other.exec("VACUUM other"));
    db.until(&format!(
        "SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE pid = {pid} AND state = 'active'"
    ));
    let cli = Cli::new(&db, "job", &job("5%", "rate = \"8k/s\""));
    let running = cli.start(JSON);
    let put_off = running.event("vacuum_put_off", 1);
    let holder = user.text("SELECT 'the session with pid ' || pg_backend_pid()");
    assert_eq!(put_off["why"], format!("{holder} holds a lock that it needs"));
    assert!(running.events("vacuumed").is_empty());
    user.exec("COMMIT");
    running.event("vacuumed", 1);
    assert!(db.is(&format!("SELECT state = 'active' FROM pg_stat_activity WHERE pid = {pid}")));
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    running.wait().exits(0);
    db.exec(&format!("SELECT pg_terminate_backend({pid})"));
    assert!(slow.join().is_err(), "it was still under way");
}

#[test]
fn a_vacuum_whose_answer_is_swallowed_is_waited_for_no_longer_and_another_one_follows() {
    let db = table(60_000);
    let proxy = Proxy::to(port());
    let mut cli = Cli::new(&db, "job", &job("5%", "rate = \"4k/s\""));
    // The port of the server is among those that it may connect to, so it takes the wire for a direct one.
    let through = format!("127.0.0.1:{}", proxy.port);
    cli.url = proxy.url(&db).replacen(&through, &format!("{through},127.0.0.1:{}", port()), 1);
    proxy.freeze_before(&message('C', "VACUUM"));
    let running = cli.start(JSON);
    let put_off = running.event("vacuum_put_off", 1);
    assert!(put_off["why"].as_str().is_some_and(|why| why.contains("closed")), "{put_off}");
    running.event("vacuumed", 1);
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_vacuum_is_cancelled_while_the_run_is_held_and_does_not_begin() {
    let db = table(40_000);
    db.exec("CREATE TABLE knob (value float8); INSERT INTO knob VALUES (0)");
    for _ in 0..4 {
        db.exec("CREATE INDEX ON t (pad, id, n)");
    }
    let hold =
        "[[hold]]\non = \"query\"\nname = \"knob\"\nsql = \"SELECT value FROM knob\"\nabove = 10\n";
    let toml = job("5%", "rate = \"10k/s\"") + hold;
    let cli = Cli::new(&db, "job", &toml);
    let running = cli.start(JSON);
    db.until(VACUUMS);
    db.exec("UPDATE knob SET value = 99");
    running.event("held", 1);
    // One that is just beginning has to see it first.
    let (held, mut last) = (Instant::now(), Instant::now());
    until("a second without a vacuum", || {
        last = if db.is(VACUUMS) { Instant::now() } else { last };
        (last.elapsed() > Duration::from_secs(1)).then_some(())
    });
    assert!(held.elapsed() < Duration::from_secs(3), "{:?}", held.elapsed());
    db.exec("UPDATE knob SET value = 0");
    running.event("released", 1);
    // The speed comes back in half a minute, which is more than a test should take.
    cli.done(&["throttle", "job", "--hold", "knob=off", "--rate", "1M/s"]);
    running.wait().exits(0);
    done_once(&db, "job");
}
