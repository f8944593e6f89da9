//! Done means looked at: what a verified end proves, what is swept, and what is not let through.

use serde_json::{Value, json};

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, Held};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::{done_once, ended, status};

const PRICES: &str = "\
CREATE TABLE t (id int8 PRIMARY KEY, kind text NOT NULL, price numeric NOT NULL DEFAULT 100);
INSERT INTO t SELECT i, CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 100) i;";

fn prices() -> Toml {
    Toml::on("t").set("price", "price * 1.1").filter("kind = 'a'").rows(10)
}

#[test]
fn a_where_that_stays_true_is_a_filter_and_is_never_swept() {
    let db = Db::with(PRICES);
    let held = Held::from(&db, 50);
    let cli = Cli::new(&db, "prices", &prices().text());
    let killed = cli.start(&["run", "prices", "-y"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    // Row 49 is not of kind `a`, so the last one that is done before the lock is 48.
    db.until("SELECT bool_or(cursor[1]::int8 BETWEEN 48 AND 49) FROM piecemeal.range");
    killed.signal("KILL");
    killed.wait();
    db.exec("INSERT INTO t SELECT -i, 'a' FROM generate_series(1, 20) i");
    held.release();
    cli.done(&["run", "prices"]).says("takeover");
    ended(&db, "prices", "books");
    let prices = db.rows(
        "SELECT id > 0, kind, price::text, count(*) FROM t GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
    );
    assert_eq!(
        prices,
        [["f", "a", "100", "20"], ["t", "a", "110.0", "50"], ["t", "b", "100", "50"]]
    );
    assert_eq!(db.number("SELECT max(pass) FROM piecemeal.range"), 0);
}

#[test]
fn a_filter_with_an_expectation_is_verified_by_rows() {
    let db = Db::with(PRICES);
    let job = prices().expect("kind <> 'a' OR price = 110");
    let cli = Cli::new(&db, "prices", &job.text());
    cli.done(&["run", "prices", "-y"]).says("100 rows looked at");
    ended(&db, "prices", "rows");
    cli.done(&["verify", "prices"]);
    db.exec("UPDATE t SET price = 111 WHERE id = 42");
    cli.call(&["verify", "prices"]).exits(6).says("`expect` is not true for 1 row").says("42");
    assert_eq!(db.text("SELECT price FROM t WHERE id = 42"), "111", "verify changes nothing");
}

/// A job whose verification does not come beyond row 100 as long as the gate is shut.
fn gated() -> (Db, Toml) {
    gated_on(&numbers(200))
}

fn gated_on(table: &str) -> (Db, Toml) {
    let db = Db::with(table);
    db.exec(
        "CREATE FUNCTION is_done(id int8, n int) RETURNS bool STABLE LANGUAGE plpgsql AS $$ BEGIN
             IF id > 100 AND EXISTS (SELECT FROM gate WHERE is_shut) THEN PERFORM pg_sleep(1); END IF;
             RETURN n = 1; END $$;
         CREATE TABLE gate AS SELECT true AS is_shut",
    );
    let job = Toml::increment().expect("is_done(id, n)").with("[pace]\nvacuum = \"off\"");
    (db, job)
}

#[test]
fn a_verification_that_was_left_is_gone_on_with_by_the_next_process() {
    let (db, job) = gated();
    let cli = Cli::new(&db, "job", &job.text());
    let running = cli.start(&["run", "job", "-y"]);
    db.until_looked();
    running.signal("INT");
    running.wait().exits(130);
    // Paused, it is gone on with as well.
    let running = cli.start(&["run", "job"]);
    db.until("SELECT count(*) = 1 FROM piecemeal.run WHERE lease_token IS NOT NULL");
    db.until_looked();
    cli.done(&["pause", "job"]);
    db.until("SELECT count(*) = 1 FROM piecemeal.run WHERE status = 'paused'");
    // Who looks at it again would find that.
    db.exec("UPDATE t SET n = 2 WHERE id = 1; INSERT INTO t VALUES (201, 1)");
    db.exec("UPDATE gate SET is_shut = false");
    cli.done(&["resume", "job"]);
    running.wait().exits(0).says("201 rows looked at");
    assert!(db.is("SELECT verifying IS NULL FROM piecemeal.run"), "nobody goes on with it");
    cli.call(&["verify", "job"]).exits(6).says("`expect` is not true for 1 row").says("(1)");
}

#[test]
fn a_verification_that_a_window_keeps_from_its_end_says_so() {
    let (db, job) = gated();
    let cli = Cli::new(&db, "job", &job.text());
    let running = cli.start(&["run", "job", "-y", "--progress", "jsonl"]);
    db.until_looked();
    let shut = "[[pace.window]]\nwhen = \"daily\"\nzone = \"UTC\"\nrate = \"pause\"";
    cli.write("job", &job.with(shut).text());
    cli.done(&["throttle", "job", "--schedule", "file"]);
    let is_endless = |run: &Value| run["phase"] == "verify" && run["eta_s"]["is_never"] == true;
    running.progress("a verification without an end", is_endless);
    db.exec("UPDATE gate SET is_shut = false");
    cli.done(&["throttle", "job", "--schedule", "off"]);
    running.wait().exits(0);
}

#[test]
fn a_verification_begins_again_when_the_run_has_written_something_since_or_the_table_has_another_file()
 {
    // Also when that happens during the look itself.
    for (early, late) in
        [("SELECT", "UPDATE piecemeal.range SET rev = rev + 1"), ("VACUUM FULL t", "SELECT")]
    {
        let (db, job) = gated();
        let cli = Cli::new(&db, "job", &job.text());
        let running = cli.start(&["run", "job", "-y"]);
        db.until_looked();
        db.exec(early);
        running.signal("INT");
        running.wait().exits(130);
        db.exec("UPDATE t SET n = 2 WHERE id = 1; UPDATE gate SET is_shut = false");
        db.exec(late);
        cli.call(&["run", "job"]).exits(6).says("`expect` is not true for 1 row").says("(1)");
        assert!(db.is("SELECT verifying IS NULL FROM piecemeal.run"), "a failed one begins again");
    }
}

#[test]
fn a_verification_begins_again_when_a_partition_was_away_or_has_another_file() {
    for (between, code) in [
        ("SELECT", 0),
        ("VACUUM FULL t1", 6),
        ("ALTER TABLE t DETACH PARTITION t1; ALTER TABLE t ATTACH PARTITION t1 DEFAULT", 6),
    ] {
        let (db, job) = gated_on(
            "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id);
             CREATE TABLE t1 PARTITION OF t DEFAULT;
             CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (101) TO (300);
             INSERT INTO t SELECT generate_series(1, 200); ANALYZE t",
        );
        let cli = Cli::new(&db, "job", &job.text());
        let running = cli.start(&["run", "job", "-y"]);
        db.until_looked();
        running.signal("INT");
        running.wait().exits(130);
        db.exec("UPDATE t SET n = 2 WHERE id = 1; UPDATE gate SET is_shut = false");
        db.exec(between);
        cli.call(&["run", "job"]).exits(code);
    }
}

const PLACES: &str = "\
CREATE TABLE t (id int8 PRIMARY KEY, lat int DEFAULT 1, loc int);
INSERT INTO t SELECT generate_series(1, 100);";

fn places() -> Toml {
    Toml::on("t").set("loc", "lat + 1").filter("loc IS NULL").rows(10)
}

#[test]
fn rows_that_appear_behind_the_walk_and_above_it_are_swept() {
    let db = Db::with(PLACES);
    let held = Held::from(&db, 50);
    let cli = Cli::new(&db, "places", &places().text());
    let running = cli.start(&["run", "places", "-y"]);
    held.is_reached(&db);
    db.exec("INSERT INTO t SELECT -i FROM generate_series(1, 20) i; INSERT INTO t SELECT generate_series(200, 220)");
    held.release();
    running.wait().exits(0).says("sweep 1: 41 rows").says("141 rows looked at");
    ended(&db, "places", "rows");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE loc IS DISTINCT FROM 2"), 0);
    assert_eq!(db.number("SELECT sum(changed) FROM piecemeal.range"), 141);
}

#[test]
fn a_sweep_shows_how_fast_it_is_and_not_when_it_will_be_over() {
    let db = Db::with(PLACES);
    let held = Held::from(&db, 50);
    let job = places().with("[pace]\nrate = \"20/s\"");
    let cli = Cli::new(&db, "places", &job.text());
    let running = cli.start(&["run", "places", "-y", "--progress", "jsonl"]);
    held.is_reached(&db);
    db.exec("INSERT INTO t SELECT -i FROM generate_series(1, 120) i");
    held.release();
    let is_swept = |run: &Value| {
        let is_walked = run["ranges"]["done"] == run["ranges"]["total"];
        let rate = run["rate"]["rows_per_s"].as_f64();
        let is_sweep = is_walked && run["rows"]["changed"].as_u64() > Some(100);
        run["phase"] == "backfill" && is_sweep && rate.is_some_and(|rate| rate > 0.0)
    };
    let run = running.progress("a sweep that goes on", is_swept);
    assert_eq!((&run["fraction"], &run["eta_s"]["low"]), (&Value::Null, &Value::Null), "{run}");
    assert_eq!((&run["rows"]["done"], &run["rows"]["total"]), (&json!(100), &json!(100)), "{run}");
    let shown = cli.done(&["status", "places"]).stdout;
    assert!(shown.contains("sweep 1") && shown.contains(" / unknown rows"), "{shown}");
    running.wait().exits(0);
    ended(&db, "places", "rows");
}

#[test]
fn writers_that_outrun_the_sweeps_are_named_and_resumed_when_they_are_gone() {
    let db = Db::with(PLACES);
    db.exec(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO t SELECT max(id) + 1 FROM t; RETURN NULL; END';
         CREATE TRIGGER again AFTER UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION again()",
    );
    let cli = Cli::new(&db, "places", &places().text());
    let answer = cli.call(&["run", "places", "-y"]).exits(6);
    let answer = answer.says("sweep 3").says("after 3 sweeps").says("writers still produce");
    assert!(!answer.stderr.contains("sweep 4"));
    let key = db.text("SELECT min(id) FROM t WHERE loc IS NULL");
    answer.says(&format!("({key})"));
    assert_eq!(status(&db), "failed");
    cli.call(&["run", "places"]).exits(6).says("writers still produce");
    db.exec("DROP TRIGGER again ON t");
    cli.done(&["resume", "places"]);
    ended(&db, "places", "rows");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE loc IS NULL"), 0);
}

#[test]
fn a_job_whose_rows_are_all_done_already_is_verified() {
    let db = Db::with(PLACES);
    db.exec("UPDATE t SET loc = 2");
    let cli = Cli::new(&db, "places", &places().text());
    cli.done(&["run", "places", "-y"]);
    ended(&db, "places", "rows");
}

#[test]
fn an_expectation_that_is_not_met_fails_the_run_with_its_keys() {
    let db = Db::with(PLACES);
    db.exec("UPDATE t SET loc = 7 WHERE id IN (30, 31)");
    let cli = Cli::new(&db, "places", &places().expect("loc = 2").text());
    cli.call(&["run", "places", "-y"]).exits(6).says("2 rows").says("(30), (31)");
    assert_eq!(status(&db), "failed");
    db.exec("UPDATE t SET loc = NULL WHERE id IN (30, 31)");
    cli.done(&["resume", "places"]);
    ended(&db, "places", "rows");
}

#[test]
fn an_expectation_that_is_null_is_not_met() {
    let db = Db::with(PLACES);
    db.exec("UPDATE t SET lat = NULL, loc = 2 WHERE id = 30");
    let cli = Cli::new(&db, "places", &places().expect("loc = lat + 1").text());
    cli.call(&["run", "places", "-y"]).exits(6).says("1 row").says("(30)");
}

const SUPPRESS: &str = "\
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF NEW.id = 30 THEN RETURN NULL; END IF; RETURN NEW; END';
CREATE TRIGGER suppress BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress();";

#[test]
fn a_row_that_a_trigger_leaves_alone_is_not_silently_done() {
    let db = Db::with(&numbers(100));
    db.exec(SUPPRESS);
    let cli = Cli::new(&db, "books", &Toml::increment().rows(10).text());
    cli.call(&["run", "books", "-y"]).exits(6).says("1 of 100 rows").says("trigger");
}

#[test]
fn a_row_that_a_trigger_leaves_alone_is_still_to_do() {
    let db = Db::with(PLACES);
    db.exec(SUPPRESS);
    let cli = Cli::new(&db, "places", &places().text());
    cli.call(&["run", "places", "-y"]).exits(6).says("1 row").says("(30)").says("a BEFORE trigger");
    db.exec("DROP TRIGGER suppress ON t");
    cli.done(&["resume", "places"]);
    ended(&db, "places", "rows");
}

#[test]
fn an_empty_table_is_done_and_so_are_rows_that_came_meanwhile() {
    let db = Db::with(PLACES);
    db.exec("TRUNCATE t");
    let cli = Cli::new(&db, "places", &places().text());
    cli.done(&["run", "places", "-y"]);
    ended(&db, "places", "rows");
}

#[test]
fn verify_refuses_a_run_whose_walk_is_not_over() {
    let db = Db::with(&numbers(20));
    let cli = Cli::new(&db, "early", &Toml::increment().rows(5).text());
    cli.call(&["run", "early", "-y", "--limit", "5"]).exits(4);
    cli.call(&["verify", "early"]).exits(3).says("the walk of run `early` is not over");
    cli.done(&["run", "early"]);
    done_once(&db, "early");
    cli.done(&["verify", "early"]).says("20 rows looked at");
}

/// A run to whose table this trigger comes when half of the rows are done.
fn meets_a_trigger(body: &str) -> (Db, Cli, Running) {
    let db = Db::with(&numbers(100));
    let held = Held::from(&db, 50);
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    let running = cli.start(&["run", "job", "-y"]);
    held.is_reached(&db);
    db.exec(&format!(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
         CREATE TRIGGER z BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()"
    ));
    held.release();
    (db, cli, running)
}

#[test]
fn a_trigger_that_comes_and_suppresses_rows_unbalances_the_books() {
    let (db, cli, running) =
        meets_a_trigger("IF new.id > 90 THEN RETURN NULL; END IF; RETURN new;");
    let answer = running.wait().exits(6);
    answer.says("10 of 100 rows were left as they are").says("BEFORE trigger returned NULL");
    assert_eq!(db.number("SELECT sum(n) FROM t"), 90);
    // What it says next changes nothing of it.
    cli.call(&["resume", "job"]).exits(6);
}

#[test]
fn a_trigger_that_comes_and_suppresses_none_is_only_counted_with() {
    let (db, _, running) = meets_a_trigger("RETURN new;");
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn workers_look_at_a_large_table_side_by_side_and_one_that_steps_back_leaves_nothing_out() {
    let db = Db::with(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL);
         INSERT INTO t SELECT i, (i % 1000 > 0)::int FROM generate_series(1, 120000) i; ANALYZE t;
         CREATE FUNCTION is_done(id int8, n int) RETURNS bool STABLE LANGUAGE plpgsql AS $$ BEGIN
             IF id % 200 = 0 THEN PERFORM pg_advisory_lock_shared(7), pg_sleep(0.001); END IF;
             RETURN n = 1; END $$;",
    );
    let job =
        Toml::increment().filter("n = 0").expect("is_done(id, n)").with("[pace]\nworkers = 2");
    let cli = Cli::new(&db, "job", &job.text());
    let run = cli.start(&["run", "job", "-y"]);
    db.until(
        "(SELECT count(DISTINCT pid) = 2 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7)",
    );
    cli.done(&["throttle", "job", "--workers", "1"]);
    run.wait().exits(0).says("120,000 rows looked at");
    db.exec("UPDATE t SET n = 2 WHERE id IN (1, 60000, 120000)");
    cli.call(&["verify", "job"]).exits(6).says("`expect` is not true for 3 rows");
}
