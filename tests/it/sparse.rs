//! Where few rows are to do, they are searched for: every one is found, and nothing else is done.

use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::{Toml, numbers};

/// Rows of the table; few of them are to do.
const ROWS: u32 = 300_000;

fn every(nth: u32) -> Toml {
    Toml::increment().filter(&format!("id % {nth} = 0 AND n = 0"))
}

/// How often rows with and without `condition` were done.
fn done(db: &Db, condition: &str) -> (String, String) {
    let times =
        |rows: &str| db.text(&format!("SELECT min(n) || '-' || max(n) FROM t WHERE {rows}"));
    (times(condition), times(&format!("NOT ({condition})")))
}

#[test]
fn few_rows_are_found_without_a_batch_for_every_stretch_that_has_none() {
    let db = Db::with(&numbers(ROWS));
    let cli = Cli::new(&db, "few", &every(10_000).text());
    cli.done(&["run", "few", "-y"]);
    assert_eq!(done(&db, "id % 10000 = 0"), ("1-1".into(), "0-0".into()));
    let seen = db.number("SELECT sum(seen) FROM piecemeal.range");
    assert_eq!(seen, i64::from(ROWS), "every key was looked at once");
    assert_eq!(cli.status("few")["rows"]["changed"], 30);
    let batches = db.number("SELECT sum(batches) FROM piecemeal.range");
    assert!(batches < 60, "{batches} batches");
}

#[test]
fn keys_are_counted_by_whatever_index_they_are_searched_along() {
    // Another index on the key, or one that knows all that `where` asks for.
    let filters = ["id % 10000 = 0 AND n = 0", "id % 10000 = 0"];
    for (index, filter) in [("CREATE INDEX ON t (id)", filters[0]), ("", filters[1])] {
        let db = Db::with(&format!("{}; {index}", numbers(ROWS)));
        db.exec("VACUUM ANALYZE t");
        let cli = Cli::new(&db, "few", &Toml::increment().filter(filter).text());
        cli.done(&["run", "few", "-y"]);
        assert_eq!(done(&db, "id % 10000 = 0"), ("1-1".into(), "0-0".into()));
        let seen = db.number("SELECT sum(seen) FROM piecemeal.range");
        assert_eq!(seen, i64::from(ROWS), "{index} {filter}");
    }
}

#[test]
fn a_where_that_stays_true_is_done_once_all_the_same() {
    let db = Db::with(&numbers(ROWS));
    let job = Toml::increment().filter("id % 5000 = 0").text();
    let cli = Cli::new(&db, "stays", &job);
    cli.done(&["run", "stays", "-y"]);
    assert_eq!(done(&db, "id % 5000 = 0"), ("1-1".into(), "0-0".into()));
}

#[test]
fn a_stretch_in_which_all_are_to_do_comes_after_one_in_which_none_is() {
    let db = Db::with(&numbers(ROWS));
    let job = Toml::increment().filter("id > 200000 AND id <= 220000 AND n = 0").text();
    let cli = Cli::new(&db, "cluster", &job);
    cli.done(&["run", "cluster", "-y"]);
    assert_eq!(done(&db, "id > 200000 AND id <= 220000"), ("1-1".into(), "0-0".into()));
}

#[test]
fn a_composite_key_is_searched_along_as_well() {
    let db = Db::with(
        "CREATE TABLE t (a int2, b text COLLATE \"C\", n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b));
         INSERT INTO t SELECT i % 7, 'k' || i FROM generate_series(1, 100000) i",
    );
    let cli = Cli::new(&db, "pair", &Toml::increment().filter("b LIKE 'k%777' AND n = 0").text());
    cli.done(&["run", "pair", "-y"]);
    assert_eq!(done(&db, "b LIKE 'k%777'"), ("1-1".into(), "0-0".into()));
}

#[test]
fn a_row_that_is_locked_and_one_that_is_bad_are_met_as_in_any_chunk() {
    let db = Db::with(&numbers(ROWS));
    db.exec("ALTER TABLE t ADD CHECK (id <> 280000 OR n = 0)");
    let hog = db.session();
    hog.exec("BEGIN; SELECT FROM t WHERE id = 150000 FOR UPDATE");
    let cli = Cli::new(&db, "rough", &every(10_000).text());
    let running = cli.start(&["run", "rough", "-y"]);
    running.until_it_says("put aside");
    hog.exec("COMMIT");
    running.wait().exits(5).says("key (id) = (280000)");
    db.exec("ALTER TABLE t DROP CONSTRAINT t_check");
    cli.done(&["resume", "rough"]);
    assert_eq!(done(&db, "id % 10000 = 0"), ("1-1".into(), "0-0".into()));
}

#[test]
fn a_search_that_is_interrupted_goes_on_where_it_was() {
    let db = Db::with(&numbers(ROWS));
    let cli = Cli::new(&db, "stop", &every(10_000).text());
    for _ in 0..4 {
        cli.call(&["run", "stop", "-y", "--limit", "5"]).exits(4);
    }
    cli.done(&["run", "stop", "-y"]);
    assert_eq!(done(&db, "id % 10000 = 0"), ("1-1".into(), "0-0".into()));
    assert_eq!(db.number("SELECT sum(seen) FROM piecemeal.range"), i64::from(ROWS));
}

#[test]
fn rows_that_cost_much_make_searches_smaller_and_what_was_cut_off_is_in_the_books() {
    let db = Db::with(&numbers(60_000));
    db.count_updates("tried");
    // What runs behind the rows is not seen by the clock of the scan.
    db.exec(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.0005); RETURN NULL; END $$;
         CREATE TRIGGER slow AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let cli = Cli::new(&db, "slow", &every(30).text());
    let running = cli.start(&["run", "slow", "-y", "--progress", "jsonl"]);
    running.event("retried", 1);
    running.wait().exits(0);
    assert_eq!(done(&db, "id % 30 = 0"), ("1-1".into(), "0-0".into()));
    let in_vain = db.number("SELECT last_value FROM tried") - 2_000;
    assert!(in_vain < 2_500, "{in_vain} rows were locked and rolled back");
    let retries = db.number("SELECT sum(retries) FROM piecemeal.range");
    assert!((1..10).contains(&retries), "{retries} retries");
}

#[test]
fn a_search_has_no_more_time_for_the_rows_that_it_writes_than_for_those_that_it_reads() {
    let db = Db::with(&numbers(6_000));
    db.exec(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let cli = Cli::new(&db, "long", &every(30).text());
    cli.done(&["run", "long", "-y"]);
    assert_eq!(done(&db, "id % 30 = 0"), ("1-1".into(), "0-0".into()));
    // Two rows take the time of a batch, and the row at which that is over may be a third.
    let batches = db.number("SELECT sum(batches) FROM piecemeal.range");
    assert!(batches > 60, "{batches} batches");
}

#[test]
fn a_search_that_may_take_as_long_as_others_wait_ends_before_that() {
    let db = Db::with(&numbers(1_500));
    db.exec(
        "CREATE FUNCTION is_wanted(id int8) RETURNS bool STABLE LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.001); RETURN id % 300 = 0; END $$",
    );
    let job = Toml::increment().filter("is_wanted(id) AND n = 0");
    let job = job.batch("target = \"100ms\"\nmin = 1\nmax = 20").with("[pace]\nvacuum = \"off\"");
    let cli = Cli::new(&db, "slow", &job.text());
    cli.done(&["run", "slow", "-y"]);
    assert_eq!(done(&db, "id % 300 = 0"), ("1-1".into(), "0-0".into()));
    let retries = db.number("SELECT sum(retries) FROM piecemeal.range");
    assert!(retries < 3, "{retries} searches were cut off");
}

#[test]
fn in_physical_order_whole_stretches_of_blocks_are_searched() {
    let db = Db::with(&numbers(ROWS));
    // Rows that are to do close together, in the midst of those of which few are.
    db.exec("UPDATE t SET n = -1 WHERE id % 10000 <> 0 AND id NOT BETWEEN 200000 AND 220000");
    db.exec("VACUUM t");
    let job = Toml::increment().filter("n = 0").physical();
    let cli = Cli::new(&db, "blocks", &job.text());
    cli.done(&["run", "blocks", "-y"]);
    assert!(db.is("SELECT bool_and(n IN (-1, 1)) FROM t"));
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n = 1"), 20_001 + 27);
    let seen = db.number("SELECT sum(seen) FROM piecemeal.range WHERE pass = 0");
    assert!((seen - i64::from(ROWS)).abs() < 30_000, "{seen} rows gone through");
    let batches = db.number("SELECT sum(batches) FROM piecemeal.range");
    assert!(batches < 100, "{batches} batches");
}

#[test]
fn in_physical_order_a_rate_bounds_what_is_written_and_not_what_is_read() {
    let db = Db::with(&numbers(60_000));
    db.exec("UPDATE t SET n = -1 WHERE id % 3000 <> 0 AND id NOT BETWEEN 30001 AND 30100");
    db.exec("VACUUM t");
    db.exec("CREATE TABLE most (rows int8)");
    Cli::new(&db, "init", &Toml::increment().text()).done(&["init"]);
    db.exec(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.most VALUES (NEW.changed - OLD.changed); RETURN NULL; END $$;
         CREATE TRIGGER note AFTER UPDATE ON piecemeal.range FOR EACH ROW EXECUTE FUNCTION note()",
    );
    let job = Toml::increment().filter("n = 0").physical().with("[pace]\nrate = \"80/s\"");
    let cli = Cli::new(&db, "slow", &job.text());
    let running = cli.start(&["run", "slow", "-y"]);
    db.until("SELECT phase = 'verify' FROM piecemeal.run");
    // It keeps to the rate as well, and has 60,000 rows to look at.
    cli.done(&["throttle", "slow", "--rate", "1M/s"]);
    running.wait().exits(0);
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n = 1"), 120);
    assert_eq!(db.number("SELECT max(rows) FROM most"), 40, "half a second of the rate");
    let batches = db.number("SELECT sum(batches) FROM piecemeal.range");
    assert!(batches < 60, "{batches} batches");
}

#[test]
fn nothing_that_where_calls_is_planned_as_kept_statements_are() {
    // Blocks of a few rows, so that there are several searches.
    let db = Db::with(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL) WITH (fillfactor = 10);
         INSERT INTO t SELECT i, CASE WHEN i % 3000 = 0 THEN 0 ELSE -1 END FROM generate_series(1, 60000) i",
    );
    db.exec(
        "CREATE FUNCTION is_to_do(n int) RETURNS bool STABLE LANGUAGE plpgsql AS $$ BEGIN
             IF current_setting('plan_cache_mode') <> 'auto' THEN RAISE 'planned by force'; END IF;
             RETURN n = 0; END $$",
    );
    let job = Toml::increment().filter("is_to_do(n)").physical().with("[pace]\nrate = \"1M/s\"");
    let cli = Cli::new(&db, "calls", &job.text());
    cli.done(&["run", "calls", "-y"]);
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n = 1"), 20);
    assert_eq!(db.number("SELECT sum(retries) FROM piecemeal.range"), 0);
}

#[test]
fn rows_that_an_index_knows_are_found_by_it_and_nothing_in_between_is_read() {
    let db = Db::with(&numbers(ROWS));
    db.exec("UPDATE t SET n = 1 WHERE id % 5000 <> 0; CREATE INDEX to_do ON t (n) WHERE n = 0");
    db.exec("VACUUM ANALYZE t");
    let cli = Cli::new(&db, "known", &Toml::increment().filter("n = 0").text());
    let plan = cli.done(&["plan", "known", "--no-rehearsal"]);
    assert!(plan.stdout.contains("found by: to_do, which serves `where`"), "{}", plan.stdout);
    let physical = Cli::new(&db, "file", &Toml::increment().filter("n = 0").physical().text());
    physical.done(&["plan", "file", "--no-rehearsal"]).says("order-key").says("index to_do finds");
    cli.done(&["run", "known", "-y"]);
    assert!(db.is("SELECT bool_and(n = 1) FROM t"));
    assert_eq!(db.number("SELECT sum(seen) FROM piecemeal.range"), 60);
}

#[test]
fn an_index_that_knows_far_more_rows_than_the_statistics_say_costs_time_and_nothing_else() {
    let db = Db::with(&numbers(60_000));
    db.exec(
        "ALTER TABLE t SET (autovacuum_enabled = off); UPDATE t SET n = 1 WHERE id % 5000 <> 0;
         CREATE INDEX to_do ON t (n) WHERE n = 0",
    );
    db.exec("VACUUM ANALYZE t");
    db.exec("UPDATE t SET n = 0");
    let cli = Cli::new(&db, "stale", &Toml::increment().filter("n = 0").text());
    cli.done(&["run", "stale", "-y"]);
    assert!(db.is("SELECT bool_and(n = 1) FROM t"));
    assert_eq!(db.number("SELECT sum(changed) FROM piecemeal.range"), 60_000);
    let batches = db.number("SELECT sum(batches) FROM piecemeal.range");
    assert!(batches < 60, "{batches} batches");
}
