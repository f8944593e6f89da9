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
        &Toml::increment().striped().with("[pace]\nworkers = 2\nvacuum = \"off\"").text(),
    );
    cli.done(&["run", "job", "-y"]);
    done_once(&db, "job");
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.range"), 3);
    db.until("(SELECT sum(pg_stat_get_tuples_hot_updated(c)) FROM unnest('{t0,t1}'::regclass[]) c) > 50000");
    assert_eq!(
        cli.status("job")["rows"]["total"],
        150_000,
        "the estimate is that of all partitions"
    );
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
    db.until("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted");
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
    let db = Db::with(&by_part(5_000));
    let cli = Cli::new(&db, "job", &Toml::increment().text());
    let plan = cli.done(&["plan", "job", "-o", "json"]).json();
    let batch = &plan["rehearsal"]["batches"][0];
    assert!(batch["changed"].as_u64() > Some(100), "{batch}");
    assert!(batch["hot"].is_u64(), "{batch}");
    assert!(plan.to_string().contains("all 5 partitions of public.t"), "{plan}");
    assert_eq!(db.number("SELECT sum(n) FROM t"), 0);
}
