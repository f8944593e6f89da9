//! A partitioned table is walked through its name: every row once, wherever it is and goes.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::Toml;
use crate::support::oracle::{done_once, ended};

/// Rows of `t`, partitioned by `by`, with these partitions; the rows lie in them crosswise to the key.
fn table(key: &str, by: &str, partitions: &str, rows: u32) -> String {
    format!(
        "CREATE TABLE t (id int8, part int, n int NOT NULL DEFAULT 0, PRIMARY KEY ({key})) PARTITION BY {by};
         {partitions};
         INSERT INTO t SELECT i, i % 4 FROM generate_series(1, {rows}) i; ANALYZE t"
    )
}

/// A partition for each of four parts, one of them parted once more, and another for everything else.
const LIST: &str = "CREATE TABLE t0 PARTITION OF t FOR VALUES IN (0);
    CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1) PARTITION BY HASH (id);
    CREATE TABLE t1a PARTITION OF t1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE t1b PARTITION OF t1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);
    CREATE TABLE rest PARTITION OF t DEFAULT";

fn by_part(rows: u32) -> String {
    table("id, part", "LIST (part)", LIST, rows)
}

/// Adds one to `n` along the part of the key that stays when a row moves.
fn along_id() -> Toml {
    Toml::increment().key(&["id"])
}

#[test]
fn rows_of_every_partition_are_done_once_in_the_order_of_the_key() {
    let db = Db::with(&by_part(1_000));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(7).text());
    cli.done(&["run", "job", "-y"]);
    done_once(&db, "job");
    assert_eq!(db.text("SELECT cursor::text FROM piecemeal.range"), "{1000,0}");
}

#[test]
fn partitions_by_the_key_are_walked_one_after_the_other() {
    let ranges = "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (MINVALUE) TO (300);
        CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (300) TO (600); CREATE TABLE rest PARTITION OF t DEFAULT";
    let db = Db::with(&table("id", "RANGE (id)", ranges, 1_000));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(7).text());
    cli.done(&["run", "job", "-y"]);
    done_once(&db, "job");
}

#[test]
fn a_large_one_is_cut_into_ranges_and_done_in_stripes() {
    let hashes = "CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1)";
    let db = Db::with(&table("id", "HASH (id)", hashes, 150_000));
    let cli = Cli::new(
        &db,
        "job",
        &Toml::increment()
            .striped()
            .batch("stripes = 4")
            .with("[pace]\nworkers = 2\nvacuum = \"off\"")
            .text(),
    );
    cli.done(&["run", "job", "-y"]);
    done_once(&db, "job");
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.range"), 3);
    assert!(db.is("SELECT bool_or(stripes = 4) FROM piecemeal.range"), "no pass but one");
    assert_eq!(
        cli.status("job")["rows"]["total"],
        150_000,
        "the estimate is that of all partitions"
    );
}

#[test]
fn partitions_that_were_loaded_since_they_were_analyzed_count_with_what_they_have_now() {
    let ranges = "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (MINVALUE) TO (10001);
        CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10001) TO (20001); CREATE TABLE rest PARTITION OF t DEFAULT;
        ALTER TABLE t1 SET (autovacuum_enabled = off); ALTER TABLE t2 SET (autovacuum_enabled = off)";
    let db = Db::with(&table("id", "RANGE (id)", ranges, 1_000));
    db.exec("INSERT INTO t (id) SELECT generate_series(10001, 12000); ANALYZE t");
    db.exec("INSERT INTO t (id) SELECT generate_series(1001, 10000)");
    let cli = Cli::new(&db, "job", &Toml::increment().text());
    let plan = cli.done(&["plan", "job", "--no-rehearsal", "-o", "json"]).json();
    assert_eq!(plan["plan"]["rows"], 12_000);
}

#[test]
fn rows_that_the_job_itself_moves_are_done_once() {
    let db = Db::with(&by_part(400));
    let job = along_id().set("part", "3 - part").rows(7).text();
    let cli = Cli::new(&db, "job", &job);
    cli.done(&["run", "job", "-y"]);
    done_once(&db, "job");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE part <> 3 - id % 4"), 0);
    assert_eq!(db.number("SELECT count(*) FROM t0"), 100);
}

#[test]
fn a_row_that_moves_while_the_batch_waits_for_it_is_met_where_it_is_then() {
    let db = Db::with(&by_part(20));
    let mover = db.session();
    mover.exec("BEGIN; UPDATE t SET part = 2 WHERE id = 5");
    let cli = Cli::new(&db, "job", &along_id().batch("give_way = \"20s\"").text());
    let running = cli.start(&["run", "job", "-y", "--progress", "jsonl"]);
    db.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'");
    mover.exec("COMMIT");
    let why = running.event("retried", 1)["why"].to_string();
    assert!(why.contains("moved to another partition"), "{why}");
    running.wait().exits(0);
    done_once(&db, "job");
}

/// Moves rows near the cursor to other partitions, until nobody wants that any more.
fn move_rows(db: &Db, seed: i64, is_wanted: &AtomicBool) {
    let near = "coalesce((SELECT min(cursor[1]::int8) FROM piecemeal.range), 0)";
    while is_wanted.load(Ordering::Relaxed) {
        let moved = db.try_exec(&format!(
            "UPDATE t SET part = (part + {seed}) % 5 WHERE id IN (
                 SELECT {near} + (random() * 100)::int - 30 FROM generate_series(1, 3))"
        ));
        // Before the run there is no ledger; and others move the same rows.
        drop(moved);
    }
}

/// Ends those who wait for it, also when a test fails.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn rows_that_others_move_all_the_time_are_done_once() {
    let db = Db::with(&by_part(5_000));
    let cli = Cli::new(&db, "job", &along_id().striped().rows(40).text());
    let is_wanted = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let _until = Until(&is_wanted);
        for seed in 1..3 {
            let (db, is_wanted) = (db.session(), &is_wanted);
            scope.spawn(move || move_rows(&db, seed, is_wanted));
        }
        cli.done(&["run", "job", "-y"]);
    });
    assert!(db.number("SELECT count(*) FROM t WHERE part <> id % 4") > 500, "they have moved rows");
    assert!(db.number("SELECT sum(retries) FROM piecemeal.range") > 0, "and met the walk");
    done_once(&db, "job");
}

#[test]
fn a_where_that_is_rarely_true_finds_its_rows_in_every_partition() {
    let db = Db::with(&by_part(60_000));
    let job = Toml::increment().filter("id % 1999 = 0 AND n = 0").text();
    let cli = Cli::new(&db, "job", &job);
    cli.done(&["run", "job", "-y"]);
    ended(&db, "job", "rows");
    assert_eq!(db.number("SELECT sum(n) FROM t"), 30);
    assert_eq!(
        db.number("SELECT sum(seen) FROM piecemeal.range"),
        60_000,
        "every key was looked at once"
    );
}

#[test]
fn a_plan_measures_what_the_partitions_do() {
    // Pages that are half empty, so that each new row finds room where the old one is.
    let half_empty = LIST
        .replace("IN (0)", "IN (0) WITH (fillfactor = 50)")
        .replace("IN (2)", "IN (2) WITH (fillfactor = 50)")
        .replace("REMAINDER 0)", "REMAINDER 0) WITH (fillfactor = 50)")
        .replace("REMAINDER 1)", "REMAINDER 1) WITH (fillfactor = 50)")
        .replace("DEFAULT", "DEFAULT WITH (fillfactor = 50)");
    let db = Db::with(&table("id, part", "LIST (part)", &half_empty, 5_000));
    let cli = Cli::new(&db, "job", &Toml::increment().text());
    let plan = cli.done(&["plan", "job", "-o", "json"]).json();
    let batch = &plan["plan"]["rehearsal"]["batches"][0];
    assert!(batch["changed"].as_u64() > Some(100), "{batch}");
    assert_eq!(batch["hot"], batch["changed"], "{batch}");
    let text = cli.done(&["plan", "job", "--no-rehearsal"]).stdout;
    assert!(text.contains("partitions: 5; a batch goes through all of them"), "{text}");
    assert_eq!(db.number("SELECT sum(n) FROM t"), 0);
}

/// A table of 1,000 rows by ranges of the key, of which a job has done the first 300.
fn half_done(job: &Toml) -> (Db, Cli) {
    let ranges = "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (401);
        CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (401) TO (801);
        CREATE TABLE t3 PARTITION OF t FOR VALUES FROM (801) TO (2000)";
    let db = Db::with(&table("id", "RANGE (id)", ranges, 1_000));
    db.exec("CREATE FUNCTION is_meant(id int8) RETURNS bool LANGUAGE sql RETURN id > 0");
    let cli = Cli::new(&db, "job", &job.text());
    cli.call(&["run", "job", "-y", "--limit", "300"]).exits(4);
    (db, cli)
}

/// A table that is not part of `t` yet, with the keys from -100 on.
const OLD: &str = "CREATE TABLE t0 (LIKE t INCLUDING ALL); INSERT INTO t0 SELECT i, 0 FROM generate_series(-100, -1) i";
const ATTACH: &str = "ALTER TABLE t ATTACH PARTITION t0 FOR VALUES FROM (-100) TO (1)";

#[test]
fn rows_that_come_with_a_partition_are_swept_where_where_says_what_is_left() {
    let (db, cli) = half_done(&Toml::increment().rows(10).filter("n = 0"));
    db.exec(OLD);
    db.exec(ATTACH);
    cli.done(&["run", "job", "-y"]).says("partitions attached: public.t0");
    ended(&db, "job", "rows");
    assert_eq!(db.rows("SELECT n, count(*) FROM t GROUP BY n"), [["1", "1100"]]);
    let history = cli.done(&["history", "job"]).stdout;
    assert!(history.contains("3 partitions of the table"), "{history}");
    assert!(history.contains("attached: public.t0"), "{history}");
}

#[test]
fn a_partition_that_comes_with_rows_behind_the_walk_is_named_where_nothing_proves_them() {
    let (db, cli) = half_done(&Toml::increment().rows(10));
    db.exec(OLD);
    db.exec(ATTACH);
    cli.call(&["run", "job", "-y"])
        .exits(6)
        .says("public.t0 became part of public.t during the run");
    db.exec("ALTER TABLE t DETACH PARTITION t0");
    cli.done(&["resume", "job"]).says("partitions detached: public.t0");
    done_once(&db, "job");
    assert_eq!(db.number("SELECT sum(n) FROM t0"), 0);
}

#[test]
fn a_partition_that_the_role_may_read_only_through_the_table_is_searched_through_it() {
    let (db, mut cli) = half_done(&Toml::increment().rows(10));
    let role = format!("app_{}", db.name);
    db.exec(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, UPDATE ON t TO {role}; GRANT USAGE ON SCHEMA piecemeal TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA piecemeal TO {role}"
    ));
    cli.url = db.url.replacen("postgres@", &format!("{role}@"), 1);
    db.exec("CREATE TABLE t0 (LIKE t INCLUDING ALL)");
    db.exec(ATTACH);
    db.exec("INSERT INTO t SELECT i, 0, 1 FROM generate_series(-100, -1) i");
    cli.done(&["run", "job", "-y"]).says("partitions attached: public.t0");
    ended(&db, "job", "books");
    db.exec(&format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}"));
}

#[test]
fn a_partition_that_came_is_searched_without_holding_anybody_up() {
    // Its rows are none that are meant, which takes three seconds to find out.
    let (db, cli) = half_done(&Toml::increment().rows(10).filter("is_meant(id)"));
    db.exec(OLD);
    db.exec(
        "CREATE OR REPLACE FUNCTION is_meant(id int8) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
             IF id < 0 THEN PERFORM pg_sleep(0.03); END IF; RETURN id > 0; END $$",
    );
    db.exec(ATTACH);
    let run = db.while_wanted("t0", || cli.call(&["run", "job", "-y"]));
    run.exits(0).says("partitions attached: public.t0");
    ended(&db, "job", "books");
    assert_eq!(
        db.rows("SELECT n, count(*) FROM t GROUP BY n ORDER BY n"),
        [["0", "100"], ["1", "1000"]]
    );
}

#[test]
fn a_partition_whose_rows_the_walk_still_meets_is_part_of_it() {
    let (db, cli) = half_done(&Toml::increment().rows(10));
    db.exec(
        "ALTER TABLE t DETACH PARTITION t2; DELETE FROM t2 WHERE id < 410; ALTER TABLE t2 ADD CHECK (id > 400);
         ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (401) TO (801)",
    );
    cli.done(&["run", "job", "-y"]).says("partitions attached: public.t2; detached: public.t2");
    done_once(&db, "job");
}

#[test]
fn a_partition_that_is_made_empty_is_written_by_the_application_alone() {
    let (db, cli) = half_done(&Toml::increment().rows(10));
    db.exec("CREATE TABLE t0 PARTITION OF t FOR VALUES FROM (-100) TO (1)");
    // As the application does, which writes the new form.
    db.exec("INSERT INTO t SELECT i, 0, 1 FROM generate_series(-100, 0) i");
    cli.done(&["run", "job", "-y"]);
    ended(&db, "job", "books");
    assert_eq!(db.rows("SELECT n, count(*) FROM t GROUP BY n"), [["1", "1101"]]);
}

#[test]
fn an_expectation_proves_the_rows_of_a_partition_that_came() {
    let (db, cli) = half_done(&Toml::increment().rows(10).expect("n = 1"));
    db.exec(&format!("{OLD}; UPDATE t0 SET n = 1"));
    db.exec(ATTACH);
    cli.done(&["run", "job", "-y"]);
    ended(&db, "job", "rows");
}

#[test]
fn partitions_that_are_detached_or_dropped_on_the_way_are_not_done_and_said() {
    let (db, cli) = half_done(&Toml::increment().rows(10));
    let running = cli.start(&["run", "job", "-y", "--rate", "200/s"]);
    db.until("(SELECT sum(batches) FROM piecemeal.range) > 32");
    // Not within a transaction.
    db.exec("ALTER TABLE t DETACH PARTITION t2 CONCURRENTLY");
    db.exec("DROP TABLE t3");
    running.wait().exits(0).says("partitions detached: public.t2, public.t3");
    done_once(&db, "job");
    assert_eq!(db.number("SELECT count(*) FROM t"), 400);
    assert!(
        db.number("SELECT sum(n) FROM t2") < 400,
        "it was taken out before the walk came to its end"
    );
}

#[test]
fn a_partition_whose_detachment_still_waits_for_somebody_is_none_any_more() {
    let (db, cli) = half_done(&Toml::increment().rows(10));
    let (reader, detaching) = (db.session(), db.session());
    reader.exec("BEGIN; SELECT FROM t LIMIT 1");
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| detaching.exec("ALTER TABLE t DETACH PARTITION t2 CONCURRENTLY"));
        db.until("EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending)");
        let answer = cli.call(&["run", "job", "-y"]);
        reader.exec("ROLLBACK");
        answer
    });
    answer.exits(0).says("partitions detached: public.t2");
    done_once(&db, "job");
}

#[test]
fn a_partition_that_comes_to_a_partition_is_named_like_any_other() {
    let nested =
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (-200) TO (2000) PARTITION BY RANGE (id);
        CREATE TABLE t11 PARTITION OF t1 FOR VALUES FROM (1) TO (2000)";
    let db = Db::with(&table("id", "RANGE (id)", nested, 1_000));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.call(&["run", "job", "-y", "--limit", "300"]).exits(4);
    db.exec(OLD);
    db.exec(&ATTACH.replace("TABLE t ", "TABLE t1 "));
    cli.call(&["run", "job", "-y"]).exits(6).says("public.t0 became part of public.t");
}

#[test]
fn a_partition_that_goes_is_said_while_the_walk_goes_on() {
    let (db, cli) = half_done(&Toml::increment().rows(10));
    let running = cli.start(&["run", "job", "-y", "--rate", "10/s"]);
    db.until("(SELECT sum(batches) FROM piecemeal.range) > 30");
    db.exec("DROP TABLE t3");
    running.until_it_says("partitions detached: public.t3");
    assert!(db.is("(SELECT bool_or(n = 0) FROM t)"));
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_partition_that_somebody_has_locked_waits_while_the_others_are_done() {
    let (db, cli) = half_done(&Toml::increment().rows(50));
    let running = cli.start(&["run", "job", "-y", "--rate", "200/s"]);
    db.until("(SELECT sum(batches) FROM piecemeal.range) > 6");
    let holder = db.session();
    holder.exec("BEGIN; LOCK TABLE t2 IN SHARE ROW EXCLUSIVE MODE");
    // A chunk may begin in one partition and end in the next.
    db.until("SELECT bool_and(n = 1) FROM t3 WHERE id > 850");
    assert!(db.is("(SELECT sum(n) < 400 FROM t2)"));
    holder.exec("ROLLBACK");
    running.wait().exits(0).says("put aside");
    done_once(&db, "job");
}

#[test]
fn a_partition_that_is_locked_holds_up_a_walk_whose_batches_need_all() {
    let db = Db::with(&by_part(200));
    let holder = db.session();
    holder.exec("BEGIN; LOCK TABLE t2 IN ACCESS EXCLUSIVE MODE");
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    let other = db.session();
    let running = cli.start(&["run", "job", "-y"]);
    db.until("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 't2'::regclass");
    // Its reads wait as well, and nothing else does.
    other.exec("UPDATE t0 SET part = part WHERE id = 4");
    holder.exec("ROLLBACK");
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn who_waits_for_a_partition_waits_for_the_table() {
    let db = Db::with(&by_part(4_000));
    let hold = "[[hold]]\non = \"lock-waits\"\nabove = 0\n";
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).with(hold).text());
    let (holder, waiting) = (db.session(), db.session());
    holder.exec("BEGIN; LOCK TABLE t2 IN SHARE UPDATE EXCLUSIVE MODE");
    std::thread::scope(|scope| {
        scope.spawn(|| waiting.exec("BEGIN; LOCK TABLE t2 IN SHARE UPDATE EXCLUSIVE MODE; COMMIT"));
        db.until(
            "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = 't2'::regclass",
        );
        let running = cli.start(&["run", "job", "-y", "--progress", "jsonl"]);
        assert_eq!(running.event("held", 1)["by"], "lock-waits");
        holder.exec("ROLLBACK");
        running.wait().exits(0);
    });
    done_once(&db, "job");
}

#[test]
fn the_partitions_are_vacuumed_on_the_way() {
    let db = Db::with(&format!(
        "{}; ALTER TABLE t0 SET (autovacuum_enabled = off); ALTER TABLE t2 SET (autovacuum_enabled = off)",
        by_part(40_000)
    ));
    let pace = "[pace]\nvacuum = \"2%\"\nrate = \"20k/s\"";
    let cli = Cli::new(&db, "job", &Toml::increment().batch("max = 1000").with(pace).text());
    let running = cli.start(&["run", "job", "-y", "--progress", "jsonl"]);
    running.event("vacuumed", 1);
    db.until("SELECT bool_and(last_vacuum IS NOT NULL) FROM pg_stat_user_tables WHERE relname IN ('t0', 't2')");
    running.wait().exits(0);
    done_once(&db, "job");
}
