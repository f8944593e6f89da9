//! A batch that fails, waits or dies: nobody suffers, nothing is lost, nothing is done twice.

use std::time::{Duration, Instant};

use piecemeal::sandbox::Sandbox;

use crate::support::cli::{Answer, Cli};
use crate::support::db::{Db, Held, port, start_server};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::{done_once, status};
use crate::support::proxy::Proxy;
use crate::support::until;

/// A way in which a row can be bad. Row 101 is there to collide with.
struct Bad {
    set: (&'static str, &'static str),
    spoiled: &'static str,
    cured: &'static str,
    sqlstate: &'static str,
}

const TABLE: &str = "\
CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0, s varchar(3) DEFAULT 'ab', d int DEFAULT 1,
                u int UNIQUE, w int);
INSERT INTO t (id, w) SELECT i, i FROM generate_series(1, 101) i;
UPDATE t SET u = 101 WHERE id = 101;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF NEW.w = 0 THEN RAISE ''no zero here''; END IF; RETURN NEW; END';
CREATE TRIGGER refuse BEFORE UPDATE OF n ON t FOR EACH ROW EXECUTE FUNCTION refuse();";

fn a_bad_row_is_found(bad: &Bad) {
    for row in [1, 50, 100] {
        let db = Db::with(TABLE);
        db.exec(&format!("UPDATE t SET {} WHERE id = {row}", bad.spoiled));
        let job = Toml::increment().set(bad.set.0, bad.set.1).rows(32);
        let cli = Cli::new(&db, "bad", &job.text());
        let answer = cli.call(&["run", "bad", "-y"]).exits(5);
        let answer = answer.says(&format!("key (id) = ({row})")).says(bad.sqlstate);
        assert_eq!(db.number("SELECT count(*) FROM t WHERE n = 1"), row - 1, "{}", answer.stderr);
        assert_eq!(db.number("SELECT count(*) FROM t WHERE id < 50 AND n = 1"), (row - 1).min(49));
        assert!(db.number("SELECT batches FROM piecemeal.range") <= 10);
        cli.call(&["run", "bad"]).exits(5).says(&format!("key (id) = ({row})")).says("resume");
        db.exec(&format!(
            "UPDATE t SET {} WHERE id = {row}",
            bad.cured.replace("ID", &row.to_string())
        ));
        cli.done(&["resume", "bad"]);
        done_once(&db, "bad");
    }
}

#[test]
fn a_value_that_is_too_long_is_found_and_done_once_it_is_fixed() {
    a_bad_row_is_found(&Bad {
        set: ("s", "s || 'x'"),
        spoiled: "s = 'abc'",
        cured: "s = 'ab'",
        sqlstate: "22001",
    });
}

#[test]
fn a_duplicate_is_found_and_done_once_it_is_fixed() {
    a_bad_row_is_found(&Bad {
        set: ("u", "w"),
        spoiled: "w = 101",
        cured: "w = ID",
        sqlstate: "23505",
    });
}

#[test]
fn a_row_that_a_trigger_refuses_is_found_and_done_once_it_is_fixed() {
    a_bad_row_is_found(&Bad {
        set: ("d", "2"),
        spoiled: "w = 0",
        cured: "w = ID",
        sqlstate: "P0001",
    });
}

#[test]
fn a_division_by_zero_is_found_and_done_once_it_is_fixed() {
    a_bad_row_is_found(&Bad {
        set: ("d", "1 / d"),
        spoiled: "d = 0",
        cured: "d = 1",
        sqlstate: "22012",
    });
}

#[test]
fn a_deferred_constraint_fails_in_its_batch_and_names_its_row() {
    let db = Db::with(
        "CREATE TABLE p (id int8 PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 1000) EXCEPT SELECT 777;
         CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0,
                         p int8 REFERENCES p DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO t SELECT generate_series(1, 1000)",
    );
    let cli = Cli::new(&db, "fk", &Toml::increment().set("p", "id").rows(1000).text());
    cli.call(&["run", "fk", "-y"]).exits(5).says("(id) = (777)").says("23503");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n = 1"), 776);
    db.exec("INSERT INTO p VALUES (777)");
    cli.done(&["resume", "fk"]);
    done_once(&db, "fk");
}

#[test]
fn a_locked_row_holds_up_neither_people_nor_the_other_rows() {
    let db = Db::with(&numbers(100));
    let held = Held::row(&db, 50);
    let cli = Cli::new(&db, "lock", &Toml::increment().rows(40).text());
    let running = cli.start(&["run", "lock", "-y"]);
    // Its batches take others with it, wait for 50, and must let go of them again.
    let mut longest = Duration::ZERO;
    let user = db.session();
    until("all rows but the locked one", || {
        let started = Instant::now();
        user.exec("BEGIN; SELECT FROM t WHERE id IN (45, 60) FOR UPDATE; COMMIT");
        longest = longest.max(started.elapsed());
        db.is("SELECT count(*) = 99 FROM t WHERE n = 1").then_some(())
    });
    // `give_way` is 100 ms; the rest is a busy machine.
    assert!(longest < Duration::from_millis(600), "somebody waited {longest:?}");
    running.until_it_says("put aside: ");
    assert_eq!(status(&db), "running");
    assert!(db.is("SELECT count(*) = 1 FROM piecemeal.range WHERE NOT done"));
    held.release();
    running.wait().exits(0);
    done_once(&db, "lock");
}

#[test]
fn scattered_locks_and_a_kill_in_between_leave_the_books_right() {
    let db = Db::with(&numbers(2_000));
    let user = db.session();
    user.exec("BEGIN; SELECT FROM t WHERE id % 200 = 7 FOR UPDATE");
    let cli = Cli::new(&db, "locks", &Toml::increment().rows(100).text());
    let running = cli.start(&["run", "locks", "-y"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT count(*) = 1990 FROM t WHERE n = 1");
    running.signal("KILL");
    running.wait();
    let running = cli.start(&["run", "locks", "-y"]);
    running.until_it_says("takeover");
    user.exec("ROLLBACK");
    running.wait().exits(0);
    done_once(&db, "locks");
}

#[test]
fn a_statement_that_somebody_cancels_while_it_waits_is_not_a_bad_row() {
    let db = Db::with(&numbers(20));
    let held = Held::from(&db, 10);
    let cli = Cli::new(&db, "cancel", &Toml::increment().rows(1).text());
    let running = cli.start(&["run", "cancel", "-y", "-v"]);
    held.is_reached(&db);
    let retries = || running.stderr().matches("retry in").count();
    until("more retries than a slow row gets", || (retries() > 6).then_some(()));
    until("a cancelled wait", || {
        db.is("SELECT bool_or(pg_cancel_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'")
            .then_some(())
    });
    running.until_it_says("57014");
    held.release();
    running.wait().exits(0);
    done_once(&db, "cancel");
}

#[test]
fn a_deadlock_is_given_up_and_done_again() {
    let db = Db::with(&numbers(40));
    db.exec(&format!("ALTER DATABASE {} SET deadlock_timeout = '100ms'", db.name));
    let held = Held::from(&db, 30);
    held.session().exec("SET LOCAL deadlock_timeout = '60s'");
    let cli =
        Cli::new(&db, "deadlock", &Toml::increment().rows(40).batch("give_way = \"5s\"").text());
    let running = cli.start(&["run", "deadlock", "-y", "-v"]);
    db.until(
        "SELECT count(*) > 0 FROM pg_stat_activity
              WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    held.session().exec("SELECT FROM t WHERE id = 10 FOR UPDATE");
    running.until_it_says("40P01");
    held.release();
    running.wait().exits(0);
    done_once(&db, "deadlock");
    assert!(db.number("SELECT retries FROM piecemeal.range") > 0);
}

#[test]
fn a_row_that_takes_longer_than_give_way_by_itself_gets_the_time_and_that_is_said() {
    let db = Db::with(&numbers(40));
    db.exec(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.id = 20 THEN PERFORM pg_sleep(0.5); END IF; RETURN NEW; END';
         CREATE TRIGGER slow BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let cli = Cli::new(&db, "slow", &Toml::increment().rows(40).text());
    let done = cli.done(&["run", "slow", "-y"]);
    done.says("lifted: the row with key (20) takes longer than the 100 ms of give_way");
    done_once(&db, "slow");
}

/// Runs `job` on sixty rows, and loses the answer to the commit of the batch from row 30 on.
///
/// A commit that waits for a standby that does not exist is on disk already; ending its session then is
/// the surest way to be committed and told otherwise.
fn loses_an_answer(arguments: &[&str]) -> (Sandbox, Db, Answer) {
    let server = start_server(&[]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&numbers(60));
    let held = Held::from(&db, 30);
    let job = Toml::increment().rows(10).batch("synchronous_commit = \"on\"");
    let cli = Cli::new(&db, "unknown", &job.text());
    let running = cli.start(&[&["run", "unknown", "-y", "-v"], arguments].concat());
    held.is_reached(&db);
    db.let_commits_wait();
    held.session().exec("SET LOCAL synchronous_commit = off");
    held.release();
    db.lose_commits(|| running.stderr().contains("connection closed"));
    (server, db, running.wait())
}

#[test]
fn a_commit_whose_answer_was_lost_is_not_done_again() {
    let (_server, db, answer) = loses_an_answer(&[]);
    answer.exits(0);
    done_once(&db, "unknown");
}

#[test]
fn a_commit_whose_answer_was_lost_counts_in_the_limit() {
    let (_server, db, answer) = loses_an_answer(&["--limit", "35"]);
    answer.exits(4);
    // What cannot be told any more counts in full.
    let done = db.number("SELECT sum(n) FROM t");
    assert!((30..=35).contains(&done), "{done}");
}

#[test]
fn a_batch_that_goes_on_without_us_is_not_done_again() {
    // The connection is cut while the server works on a batch whose COMMIT it has already got. The
    // range still stands where it was when it is read again, so only the fence knows.
    let db = Db::with(&numbers(60));
    db.exec(
        "CREATE ROLE wired SUPERUSER LOGIN PASSWORD 'wired';
         CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.id = 30 THEN PERFORM pg_advisory_xact_lock(1); END IF; RETURN NEW; END'
             SET lock_timeout = 0;
         CREATE TRIGGER slow BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let holder = db.session();
    holder.exec("SELECT pg_advisory_lock(1)");
    let proxy = Proxy::to(port());
    let job = Toml::increment().rows(10).batch("give_way = \"1min\"");
    let mut cli = Cli::new(&db, "cut", &job.text());
    cli.url =
        format!("postgres://wired:wired@127.0.0.1:{}/{}?sslmode=disable", proxy.port, db.name);
    let running = cli.start(&["run", "cut", "-y", "-v"]);
    db.until_waiting("advisory");
    proxy.cut();
    // The same batch, sent again, waits for the range's row.
    db.until_waiting("transactionid");
    holder.exec("SELECT pg_advisory_unlock(1)");
    running.wait().exits(0).says("retry in");
    done_once(&db, "cut");
}

#[test]
fn a_batch_of_megabytes_is_bounded_by_what_it_writes() {
    let db = Db::with(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0, big text);
         INSERT INTO t SELECT generate_series(1, 90)",
    );
    let big = "(SELECT string_agg(md5(id::text || g), '') FROM generate_series(1, 32768) g)";
    let sizes = "target = \"10s\"\ngive_way = \"1min\"\nmin = 1\nmax = 30";
    let job = Toml::increment().set("big", big).batch(sizes);
    let cli = Cli::new(&db, "big", &job.text());
    cli.done(&["run", "big", "-y"]);
    done_once(&db, "big");
    // Thirty megabytes at first, and then half of that, where time alone would allow thirty again.
    let batches = db.number("SELECT batches FROM piecemeal.range");
    assert!(batches >= 5, "{batches} batches");
}

/// Each row notes how statements are planned while it is done, and how many are prepared.
const WITNESS: &str = "\
CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0, plans text, kept int);
INSERT INTO t SELECT generate_series(1, 400);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.plans := current_setting('plan_cache_mode');
    NEW.kept := (SELECT count(*) FROM pg_prepared_statements);
    RETURN NEW;
END $$;
CREATE TRIGGER note BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note();";

#[test]
fn batches_are_kept_prepared_and_what_they_call_is_planned_as_by_everybody() {
    let forms = [
        Toml::increment().rows(20),
        Toml::increment().rows(20).striped().batch("stripes = 2"),
        Toml::increment().rows(20).filter("n = 0").physical(),
        Toml::increment().filter("n = 0 AND id % 40 = 0").batch("min = 1").batch("max = 2"),
    ];
    for form in forms {
        let db = Db::with(WITNESS);
        let cli = Cli::new(&db, "kept", &form.text());
        cli.done(&["run", "kept", "-y"]);
        let plans = db.rows("SELECT DISTINCT plans FROM t WHERE n = 1");
        assert_eq!(plans, [["auto"]], "{}", form.text());
        let kept = db.number("SELECT max(kept) FROM t");
        assert!(kept > 0, "{kept}: {}", form.text());
    }
}

#[test]
fn trouble_that_does_not_end_says_whether_the_database_was_reached() {
    for (code, exit) in [("53100", 4), ("40001", 4), ("57P03", 8)] {
        let db = Db::with(&numbers(20));
        db.exec(&format!(
            "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.id = 15 THEN RAISE 'trouble' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER f BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()"
        ));
        let job = Toml::increment().rows(10).with("[pace]\nmax_hold = \"1s\"");
        let cli = Cli::new(&db, "job", &job.text());
        let answer = cli.call(&["run", "job", "-y"]).exits(exit);
        answer.says("the trouble did not end").says(code).says("piecemeal run job");
        assert_eq!(status(&db), "ready", "{code}");
        db.exec("DROP TRIGGER f ON t");
        cli.done(&["run", "job"]);
        done_once(&db, "job");
    }
}
