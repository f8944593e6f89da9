//! A key whose column is changed while it is walked: what has the same order goes on, exactly once; what may have
//! another stops.

use crate::support::cli::{Cli, Running};
use crate::support::db::Db;
use crate::support::job::{Toml, numbers};
use crate::support::oracle::{done_once, ended, status};

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

#[test]
fn a_key_that_may_be_null_by_now_stops_the_run() {
    // A row that no stretch of keys has, and rows at which batches would end.
    for change in
        ["INSERT INTO t (tenant) VALUES (900)", "UPDATE t SET code = NULL WHERE tenant > 800"]
    {
        let db = Db::with(
            "CREATE TABLE t (tenant int NOT NULL, code text NOT NULL, n int NOT NULL DEFAULT 0,
                             UNIQUE (tenant, code));
             INSERT INTO t SELECT i, 'a' FROM generate_series(1, 1000) i",
        );
        let cli = Cli::new(&db, "job", &slowly().key(&["tenant", "code"]).text());
        let running = cli.start(&["run", "job", "-y", "-v"]);
        db.until("to_regclass('piecemeal.range') IS NOT NULL");
        db.until("(SELECT sum(n) FROM t) > 100");
        cli.done(&["pause", "job", "--wait"]);
        db.exec(&format!("ALTER TABLE t ALTER code DROP NOT NULL; {change}"));
        let done = db.number("SELECT sum(n) FROM t");
        cli.done(&["throttle", "job", "--rate", "1M/s"]);
        cli.done(&["resume", "job"]);
        running.wait().exits(3).says("or may be NULL").says("piecemeal resume job");
        assert_eq!(db.number("SELECT sum(n) FROM t"), done, "{change}");
        cli.call(&["resume", "job"]).exits(3).says("key-nullable");
        db.exec("DELETE FROM t WHERE code IS NULL; ALTER TABLE t ALTER code SET NOT NULL");
        cli.done(&["resume", "job"]);
        done_once(&db, "job");
    }
}

/// A table of a hundred rows, of which a run has done a quarter and gone.
fn quarter(columns: &str, values: &str) -> (Db, Cli) {
    let db = Db::with(&format!(
        "CREATE TABLE t ({columns}, n int NOT NULL DEFAULT 0);
         INSERT INTO t SELECT {values} FROM generate_series(1, 100) i"
    ));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(5).text());
    cli.call(&["run", "job", "-y", "--limit", "25"]).exits(4);
    (db, cli)
}

#[test]
fn a_primary_key_that_has_become_another_between_two_processes_is_refused() {
    let (db, cli) = quarter("id int8 PRIMARY KEY, code int8 NOT NULL", "i, 101 - i");
    db.exec("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (code)");
    for command in ["run", "resume"] {
        let answer = cli.call(&[command, "job"]).exits(3);
        answer
            .says("is not the one along which run `job` walks")
            .says("id bigint; now: code bigint");
    }
    db.exec("ALTER TABLE t RENAME id TO old_id");
    db.exec("ALTER TABLE t RENAME code TO id");
    cli.call(&["run", "job"]).exits(3).says("when the walk began: id bigint; now: id bigint");
    db.exec("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (old_id)");
    cli.done(&["run", "job"]);
    done_once(&db, "job");
}

#[test]
fn a_key_of_another_order_is_refused_between_two_processes_and_a_wider_integer_goes_on() {
    let (db, cli) = quarter("id int4 PRIMARY KEY", "i");
    db.exec("ALTER TABLE t ALTER id TYPE text");
    cli.call(&["run", "job"]).exits(3).says("id integer; now: id text COLLATE");
    db.exec("ALTER TABLE t ALTER id TYPE int8 USING id::int8");
    cli.done(&["run", "job"]);
    done_once(&db, "job");
}

#[test]
fn text_that_the_server_sorts_otherwise_by_now_is_refused_although_its_version_was_refreshed() {
    let (db, cli) = quarter("id text COLLATE \"de-x-icu\" PRIMARY KEY", "(1000 + i)::text");
    let now = db.text("SELECT key -> 0 ->> 'version' FROM piecemeal.run");
    // As if the library had been updated since.
    db.exec("UPDATE piecemeal.run SET key = jsonb_set(key, '{0,version}', '\"1.0\"')");
    db.exec("UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'de-x-icu'");
    cli.call(&["run", "job"]).exits(3).says("key-collation-version");
    db.exec("REINDEX INDEX t_pkey");
    db.exec("ALTER COLLATION \"de-x-icu\" REFRESH VERSION");
    for command in ["run", "resume"] {
        let answer = cli.call(&[command, "job"]).exits(3);
        answer
            .says(
                "when the walk began: id text COLLATE pg_catalog.\"de-x-icu\" (version 1.0); now:",
            )
            .says(&format!("(version {now})"))
            .says("cannot be given back: `piecemeal cancel job`");
    }
    db.exec(&format!(
        "UPDATE piecemeal.run SET key = jsonb_set(key, '{{0,version}}', '\"{now}\"')"
    ));
    cli.done(&["run", "job"]);
    done_once(&db, "job");
}

/// A job whose batches have so little time that a table of a million rows cannot be read in it.
fn briefly() -> Toml {
    Toml::increment()
        .batch("target = \"5ms\"\ngive_way = \"10ms\"")
        .with("[pace]\nrate = \"500/s\"")
}

#[test]
fn a_key_that_has_lost_its_index_stops_a_process_that_ran_into_its_time_limit() {
    let db = Db::with(&format!("{}; ALTER TABLE t ADD code int8", numbers(2_000)));
    db.exec("UPDATE t SET code = -id; ALTER TABLE t ALTER code SET NOT NULL");
    let cli = Cli::new(&db, "job", &briefly().text());
    let running = cli.start(&["run", "job", "-y", "-v"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("(SELECT sum(n) FROM t) > 100");
    cli.done(&["pause", "job", "--wait"]);
    // It becomes large behind the end of the walk.
    db.exec("ALTER TABLE t DROP CONSTRAINT t_pkey");
    db.exec("INSERT INTO t SELECT 5000 + i, 1, i FROM generate_series(1, 1000000) i");
    db.exec("ALTER TABLE t ADD PRIMARY KEY (code)");
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    cli.done(&["resume", "job"]);
    let answer = running.wait().exits(3);
    answer.says("the key along which it walks has no unique index any more");
    assert_eq!(status(&db), "failed");
    cli.call(&["resume", "job"]).exits(3).says("now: code bigint");
    db.exec("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id)");
    cli.done(&["resume", "job"]);
    let wrong = db.rows("SELECT * FROM t WHERE n IS DISTINCT FROM 1 LIMIT 5");
    assert_eq!(wrong, Vec::<Vec<String>>::new(), "rows that were not done exactly once");
    ended(&db, "job", "books");
}
