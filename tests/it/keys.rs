//! A key whose column is changed while it is walked: what has the same order goes on, exactly once; what may have
//! another stops.

use crate::support::cli::{Cli, Running};
use crate::support::db::Db;
use crate::support::job::Toml;
use crate::support::oracle::{done_once, status};

/// A job that takes five seconds for a thousand rows.
fn slowly() -> Toml {
    Toml::increment().rows(20).with("[pace]\nrate = \"200/s\"")
}

/// A table with this type of key and these values for `i` from 1 to 1000, and a run in the middle of it that is
/// paused: its process is there, with its plan.
fn paused(key: &str, value: &str) -> (Db, Cli, Running) {
    let db = Db::with(&format!(
        "CREATE TABLE t (id {key} PRIMARY KEY, n int NOT NULL DEFAULT 0);
         INSERT INTO t SELECT {value} FROM generate_series(1, 1000) i"
    ));
    let cli = Cli::new(&db, "job", &slowly().text());
    let running = cli.start(&["run", "job", "-y", "-v"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("(SELECT sum(n) FROM t) > 100");
    cli.done(&["pause", "job", "--wait"]);
    (db, cli, running)
}

/// Goes on with the plan that was made before, then with a new one.
fn is_done_once(db: &Db, cli: &Cli, running: Running) {
    let before = db.number("SELECT sum(n) FROM t");
    cli.done(&["throttle", "job", "--rate", "2k/s"]);
    cli.done(&["resume", "job"]);
    db.until(&format!("(SELECT sum(n) FROM t) > {before} + 300"));
    running.signal("KILL");
    drop(running);
    cli.done(&["run", "job"]);
    done_once(db, "job");
}

#[test]
fn a_key_that_is_made_longer_is_not_cut_to_what_it_was() {
    let (db, cli, running) = paused("varchar(5)", "(10000 + i)::text");
    db.exec("ALTER TABLE t ALTER id TYPE varchar(20)");
    db.exec(
        "INSERT INTO t SELECT id || '-' || part FROM t, generate_series(1, 7) part \
         WHERE id > (SELECT max(id) FROM t WHERE n = 1) AND id < '11000'",
    );
    is_done_once(&db, &cli, running);
}

#[test]
fn a_key_that_is_made_finer_is_not_rounded_to_what_it_was() {
    let (db, cli, running) =
        paused("timestamptz(3)", "timestamptz '2026-01-01 00:00Z' + i * interval '1 ms'");
    db.exec("ALTER TABLE t ALTER id TYPE timestamptz(6)");
    db.exec(
        "INSERT INTO t SELECT id + part * interval '125 us' FROM t, generate_series(1, 7) part \
         WHERE id > (SELECT max(id) FROM t WHERE n = 1) AND id < (SELECT max(id) FROM t)",
    );
    is_done_once(&db, &cli, running);
}

#[test]
fn a_key_that_gets_another_collation_or_type_stops_the_run() {
    for (change, back) in [
        ("text COLLATE \"POSIX\"", "text COLLATE \"C\""),
        ("varchar COLLATE \"C\"", "text COLLATE \"C\""),
    ] {
        let (db, cli, running) = paused("text COLLATE \"C\"", "(10000 + i)::text");
        db.exec(&format!("ALTER TABLE t ALTER id TYPE {change}"));
        let done = db.number("SELECT sum(n) FROM t");
        cli.done(&["resume", "job"]);
        let answer = running.wait().exits(3);
        answer.says("another type or collation").says("piecemeal resume job");
        assert_eq!(status(&db), "failed", "{change}");
        assert_eq!(db.number("SELECT sum(n) FROM t"), done, "{change}");
        db.exec(&format!("ALTER TABLE t ALTER id TYPE {back}"));
        cli.done(&["resume", "job"]);
        done_once(&db, "job");
    }
}
