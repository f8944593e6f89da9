//! Nobody waits on a run: who wants a lock gets it, and who has one keeps it, while the rest goes on.

use std::time::{Duration, Instant};

use crate::support::cli::Cli;
use crate::support::db::{Db, Held};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::{done_once, ended};
use crate::support::{saw, until};

const OPEN: &str = "SELECT count(*) FROM piecemeal.range WHERE NOT done";

/// Ranges that may be open at once, with some room for the one that is being parted.
const MOST_OPEN: i64 = 66;

/// Rows fat enough that a walk of them takes seconds.
fn fat(rows: u32) -> String {
    format!(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0, pad text NOT NULL DEFAULT repeat('x', 200));
         CREATE INDEX ON t (n, pad);
         INSERT INTO t (id) SELECT generate_series(1, {rows})"
    )
}

fn ranges_tile(db: &Db, upto: i64) {
    let gaps = db.rows(
        "SELECT * FROM (SELECT no, after[1]::int8 AS after, upto[1]::int8 AS upto, cursor[1]::int8 AS at,
                lag(upto[1]::int8) OVER (ORDER BY upto[1]::int8) AS before
         FROM piecemeal.range WHERE pass = 0) r
         WHERE after IS DISTINCT FROM before OR at < after OR at > upto",
    );
    assert_eq!(gaps, Vec::<Vec<String>>::new(), "ranges that do not tile");
    assert_eq!(db.number("SELECT max(upto[1]::int8) FROM piecemeal.range WHERE pass = 0"), upto);
}

fn has_begun(db: &Db) {
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT sum(seen) > 0 FROM piecemeal.range");
}

#[test]
#[expect(clippy::print_stdout, reason = "how long it really takes is worth a look")]
fn ddl_that_is_issued_during_a_run_gets_its_lock_within_a_batch() {
    let db = Db::with(&fat(300_000));
    let cli = Cli::new(&db, "ddl", &Toml::increment().with("[pace]\nvacuum = \"2%\"").text());
    let mut running = cli.start(&["run", "ddl", "-y"]);
    has_begun(&db);
    let user = db.session();
    let mut worst = Duration::ZERO;
    for nth in 0..10 {
        // Spread over the walk, so that batches of every size and each VACUUM are met.
        let seen = db.number("SELECT sum(seen) FROM piecemeal.range");
        db.until(&format!("SELECT sum(seen) > {seen} + 3000 FROM piecemeal.range"));
        let started = Instant::now();
        user.exec(&format!("ALTER TABLE t ADD COLUMN c{nth} int"));
        worst = worst.max(started.elapsed());
    }
    assert!(running.is_alive(), "the run was over before all of them had come");
    println!("the worst of ten waited {worst:?}");
    // A busy machine apart, it is one batch: `give_way` is 100 ms.
    assert!(worst < Duration::from_secs(1), "somebody waited {worst:?}");
    running.wait().exits(0);
    done_once(&db, "ddl");
}

/// A function whose value is true, after a time that a row of `t` needs.
fn slow(seconds: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION is_done(id int8, n int) RETURNS bool STABLE LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep({seconds}); RETURN n = 1; END $$"
    )
}

#[test]
fn ddl_that_is_issued_during_the_verification_gets_its_lock_within_a_window() {
    let db = Db::with(&numbers(4_000));
    db.exec(&slow("0.001"));
    let job = Toml::increment().expect("is_done(id, n)").with("[pace]\nvacuum = \"off\"");
    let cli = Cli::new(&db, "ddl", &job.text());
    let mut running = cli.start(&["run", "ddl", "-y"]);
    db.until("to_regclass('piecemeal.run') IS NOT NULL");
    db.until("SELECT count(*) = 1 FROM piecemeal.run WHERE phase = 'verify'");
    let user = db.session();
    // A window of a thousand rows takes longer than that. It is much longer than `give_way`, which is 100 ms, since a
    // busy machine may be late.
    user.exec("SET lock_timeout = '500ms'");
    for nth in 0..8 {
        db.until(
            "SELECT count(*) > 0 FROM pg_locks
             WHERE relation = 't'::regclass AND mode = 'AccessShareLock' AND pid <> pg_backend_pid()",
        );
        user.exec(&format!("ALTER TABLE t ADD COLUMN c{nth} int"));
    }
    assert!(running.is_alive(), "the run was over before all of them had come");
    running.wait().exits(0).says("4,000 rows looked at");
    ended(&db, "ddl", "rows");
}

#[test]
fn a_row_at_which_the_verification_looks_for_longer_than_others_should_wait_is_looked_at_alone() {
    let db = Db::with(&numbers(20));
    db.exec(&slow("CASE WHEN id = 7 THEN 2.2 ELSE 0 END"));
    let cli = Cli::new(&db, "job", &Toml::increment().expect("is_done(id, n)").text());
    cli.done(&["run", "job", "-y"]).says("lifted: the row with key (7)").says("20 rows looked at");
    ended(&db, "job", "rows");
    // One that is wrong besides is named.
    db.exec(&slow("CASE WHEN id = 7 THEN 0.3 ELSE 0 END"));
    db.exec("UPDATE t SET n = 2 WHERE id = 7");
    cli.call(&["verify", "job"]).exits(6).says("`expect` is not true for 1 row").says("(7)");
}

#[test]
fn a_read_of_one_key_that_takes_longer_than_others_should_wait_stops_no_walk() {
    let db = Db::with(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (autovacuum_enabled = off);
         INSERT INTO t SELECT generate_series(1, 1000000)",
    );
    // What it keeps alive is passed in the key's index by whoever looks for the row behind it.
    let old = db.session();
    old.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1");
    db.exec("DELETE FROM t WHERE id < 1000000");
    let job = Toml::increment().batch("target = \"5ms\"\ngive_way = \"10ms\"");
    let cli = Cli::new(&db, "job", &job.with("[pace]\nvacuum = \"off\"").text());
    cli.done(&["run", "job", "-y"]).says("lifted: the row with key (1000000)");
    done_once(&db, "job");
}

#[test]
fn a_lock_on_ten_rows_delays_those_ten_rows_and_no_others() {
    let db = Db::with(&numbers(20_000));
    let hog = db.session();
    hog.exec("BEGIN; SELECT FROM t WHERE id BETWEEN 10001 AND 10010 FOR UPDATE");
    let cli = Cli::new(&db, "hog", &Toml::increment().rows(1000).text());
    let (running, started) = (cli.start(&["run", "hog", "-y"]), Instant::now());
    running.until_it_says("put aside: somebody has locked some of the 1,000 keys up to (11000)");
    db.until("SELECT count(*) = 19990 FROM t WHERE n = 1");
    // Only they are left, range by range of them, and the walk asks for nothing else.
    db.until(&format!("({OPEN}) BETWEEN 1 AND 10"));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    ranges_tile(&db, 20_000);
    assert!(db.is("SELECT count(*) = 10 FROM t WHERE n = 0 AND id BETWEEN 10001 AND 10010"));
    let run = cli.status("hog");
    assert_eq!((&run["shown"], &run["rows"]["done"]), (&"running".into(), &19_990.into()));
    hog.exec("ROLLBACK");
    let released = Instant::now();
    running.wait().exits(0);
    // From there it is a wait between two tries, and the verification.
    assert!(released.elapsed() < Duration::from_secs(4), "{:?}", released.elapsed());
    done_once(&db, "hog");
    ranges_tile(&db, 20_000);
}

#[test]
fn a_lock_on_the_table_puts_little_aside_and_loses_nothing() {
    // One that lets others read, and one that does not.
    for mode in ["SHARE", "ACCESS EXCLUSIVE"] {
        let db = Db::with(&numbers(12_000));
        let cli = Cli::new(&db, "table", &Toml::increment().rows(100).text());
        let running = cli.start(&["run", "table", "-y", "--rate", "10k/s", "--progress", "jsonl"]);
        has_begun(&db);
        let hog = db.session();
        hog.exec(&format!("BEGIN; LOCK TABLE t IN {mode} MODE"));
        let since = Instant::now();
        until("two seconds", || (since.elapsed() > Duration::from_secs(2)).then_some(()));
        assert!(
            hog.is("SELECT count(*) > 0 FROM t WHERE n = 0"),
            "the run was too fast for the test"
        );
        running.progress("the wait", |run| {
            run["reason"].as_str().is_some_and(|why| why.contains("lock timeout"))
        });
        hog.exec("ROLLBACK");
        let released = Instant::now();
        let put_aside = running.events("put_aside").len();
        running.wait().exits(0);
        assert!(released.elapsed() < Duration::from_secs(8), "{:?}", released.elapsed());
        done_once(&db, "table");
        ranges_tile(&db, 12_000);
        let ranges = db.number("SELECT count(*) FROM piecemeal.range");
        assert!(ranges <= 4, "{mode}: {ranges} ranges, put aside {put_aside} times");
    }
}

#[test]
fn a_kill_while_ranges_are_put_aside_leaves_ranges_that_tile() {
    let db = Db::with(&numbers(5_000));
    let hog = db.session();
    hog.exec("BEGIN; SELECT FROM t WHERE id IN (1, 777, 778, 2500, 5000) FOR UPDATE");
    let cli = Cli::new(&db, "kill", &Toml::increment().rows(100).text());
    // At any moment of it: while they are put aside, and while only they are left.
    for done in [300, 3000, 4995] {
        let running = cli.start(&["run", "kill", "-y"]);
        db.until("to_regclass('piecemeal.range') IS NOT NULL");
        db.until(&format!("SELECT count(*) >= {done} FROM t WHERE n = 1"));
        running.signal("KILL");
        running.wait();
        ranges_tile(&db, 5_000);
    }
    hog.exec("ROLLBACK");
    cli.done(&["run", "kill"]);
    done_once(&db, "kill");
    ranges_tile(&db, 5_000);
}

#[test]
fn a_sweep_goes_around_locked_rows_as_the_walk_does() {
    let db = Db::with(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int, pad int);
         INSERT INTO t SELECT generate_series(1, 3000);",
    );
    // Rows that a user makes undone again behind the walk, before it is verified.
    let late = Held::row(&db, 3000);
    let job = Toml::on("t").set("n", "1").filter("n IS NULL").rows(100);
    let cli = Cli::new(&db, "sweep", &job.text());
    let running = cli.start(&["run", "sweep", "-y"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT count(*) = 2999 FROM t WHERE n = 1");
    db.exec("UPDATE t SET n = NULL WHERE id BETWEEN 100 AND 1000");
    let hog = db.session();
    hog.exec("BEGIN; SELECT FROM t WHERE id IN (500, 501, 900) FOR UPDATE");
    late.release();
    running.until_it_says("sweep 1: 901 rows still to do");
    db.until("SELECT count(*) = 2997 FROM t WHERE n = 1");
    db.until("SELECT count(*) > 0 FROM piecemeal.range WHERE pass = 1 AND aside > 0");
    running.signal("KILL");
    running.wait();
    hog.exec("ROLLBACK");
    cli.done(&["run", "sweep"]);
    ended(&db, "sweep", "rows");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n = 1"), 3000);
    let books = db.rows("SELECT sum(changed) FROM piecemeal.range");
    assert_eq!(books, [["3901"]]);
}

#[test]
fn in_a_deadlock_with_an_application_the_application_wins() {
    let db = Db::with(&numbers(40));
    // The server looks for a deadlock only after a time that is longer than we wait for a lock.
    db.exec(&format!("ALTER DATABASE {} SET deadlock_timeout = '1s'", db.name));
    let cli = Cli::new(&db, "dead", &Toml::increment().rows(40).text());
    let user = db.session();
    user.exec("BEGIN; UPDATE t SET n = n WHERE id = 30");
    let running = cli.start(&["run", "dead", "-y", "-v"]);
    db.until(
        "SELECT count(*) > 0 FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    // Now it wants rows that the batch has locked already, again and again.
    for id in [10, 20, 5, 1] {
        let started = Instant::now();
        user.exec(&format!("UPDATE t SET n = n WHERE id = {id}"));
        assert!(
            started.elapsed() < Duration::from_millis(700),
            "it waited {:?}",
            started.elapsed()
        );
    }
    user.exec("COMMIT");
    let ended = running.wait().exits(0);
    assert!(!ended.stderr.contains("40P01"), "{}", ended.stderr);
    done_once(&db, "dead");
}

#[test]
fn a_thousand_locked_rows_make_no_thousand_ranges() {
    let db = Db::with(&numbers(20_000));
    let hog = db.session();
    hog.exec("BEGIN; SELECT FROM t WHERE id % 20 = 7 FOR UPDATE");
    let cli = Cli::new(&db, "many", &Toml::increment().text());
    let running = cli.start(&["run", "many", "-y", "--progress", "jsonl"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    let since = Instant::now();
    let mut most = 0;
    until("four seconds of it", || {
        most = most.max(db.number(OPEN));
        (since.elapsed() > Duration::from_secs(4)).then_some(())
    });
    assert!(most <= MOST_OPEN, "{most} open ranges");
    ranges_tile(&db, 20_000);
    hog.exec("ROLLBACK");
    let released = Instant::now();
    running.wait().exits(0);
    assert!(released.elapsed() < Duration::from_secs(8), "{:?}", released.elapsed());
    done_once(&db, "many");
    ranges_tile(&db, 20_000);
    let ranges = db.number("SELECT count(*) FROM piecemeal.range");
    assert!(ranges <= 1_000, "{ranges} ranges");
}

#[test]
fn a_limit_that_the_role_sets_its_transactions_ends_none_of_ours() {
    let db = Db::with(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int);
         INSERT INTO t SELECT generate_series(1, 2);
         CREATE FUNCTION slow(int8) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.4); RETURN 1; END $$",
    );
    if db.number("SHOW server_version_num") < 170_000 {
        return saw("left out: this server knows no transaction_timeout");
    }
    db.exec(&format!("ALTER DATABASE {} SET transaction_timeout = '300ms'", db.name));
    let up = "\
[expand]
up = ['ALTER TABLE t ADD COLUMN m int DEFAULT slow(1)', 'CREATE INDEX CONCURRENTLY t_slow ON t (slow(id))']
";
    let job = Toml::on("t").set("n", "slow(id)").filter("n IS NULL").rows(1).with(up);
    let cli = Cli::new(&db, "job", &job.text());
    cli.done(&["run", "job", "-y"]);
    let end = db.rows("SELECT count(n), count(m), to_regclass('t_slow') FROM t");
    assert_eq!(end, [["2", "2", "t_slow"]]);
}
