//! What a batch costs does not grow with what is behind it: neither pages that are read, nor memory.

use crate::support::cli::Cli;
use crate::support::db::{Db, start_server};
use crate::support::job::{Toml, numbers};
use crate::support::saw;

/// Rows of a batch.
const BATCH: u32 = 1_000;

/// Whether the server can count the pages that each statement reads.
fn is_counted() -> bool {
    Db::new()
        .is("SELECT count(*) > 0 FROM pg_available_extensions WHERE name = 'pg_stat_statements'")
}

#[test]
fn a_run_that_goes_on_does_not_read_the_dead_entries_of_what_is_done() {
    if !is_counted() {
        return saw("left out: pg_stat_statements is not installed");
    }
    let server = start_server(&[("shared_preload_libraries", "pg_stat_statements")]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec("CREATE EXTENSION pg_stat_statements");
    db.exec(&numbers(50_000));
    // Nothing is updated in place, and what was there before stays in the indexes.
    db.exec("CREATE INDEX ON t (n)");
    let old = db.session();
    old.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t LIMIT 1");
    let job = Toml::increment().rows(BATCH).with("[pace]\nvacuum = \"off\"");
    let cli = Cli::new(&db, "job", &job.text());
    cli.call(&["run", "job", "-y", "--limit", "45000"]).exits(4);
    db.until("SELECT n_tup_upd = 45000 FROM pg_stat_user_tables WHERE relname = 't'");
    assert!(db.is("SELECT n_tup_hot_upd = 0 FROM pg_stat_user_tables WHERE relname = 't'"));
    db.exec("SELECT pg_stat_statements_reset()");
    cli.call(&["run", "job", "--limit", &BATCH.to_string()]).exits(4);
    let reads = db.rows(
        "SELECT calls, shared_blks_hit + shared_blks_read FROM pg_stat_statements WHERE query LIKE '%piecemeal_end%'",
    );
    saw(&format!("{reads:?}"));
    let reads: Vec<u32> = reads.concat().iter().map(|it| it.parse().expect("a number")).collect();
    let [looks, pages] = reads[..] else { panic!("one statement: {reads:?}") };
    assert!((1..=2).contains(&looks), "for the end of the batch, and maybe of the one behind it");
    // The way down the index, and a share of the batch: rows of the same page are read at once.
    let enough = looks * (5 + BATCH / 50);
    assert!((1..=enough).contains(&pages), "{pages} pages in {looks} looks");
}

#[test]
fn a_batch_does_not_read_all_rows_that_share_the_first_column_of_its_key() {
    // What was loaded since the statistics were made is unknown to them, and the index on the first column
    // is lower than that of the key: it would seem cheaper.
    let load = "INSERT INTO t SELECT i, lpad(j::text, 200, '0') FROM";
    let db = Db::with(&format!(
        "CREATE TABLE t (load int8, code text COLLATE \"C\", n int NOT NULL DEFAULT 0, PRIMARY KEY (load, code))
             WITH (autovacuum_enabled = off);
         CREATE INDEX by_load ON t (load);
         {load} generate_series(1, 5) i, generate_series(1, 5000) j; ANALYZE t;
         {load} generate_series(6, 6) i, generate_series(1, 5000) j"
    ));
    let job = Toml::increment().filter("n = 0").rows(BATCH);
    Cli::new(&db, "job", &job.text()).done(&["run", "job", "-y"]);
    assert!(db.is("SELECT bool_and(n = 1) FROM t"));
    db.until("SELECT idx_tup_read > 0 FROM pg_stat_user_indexes WHERE indexrelname = 't_pkey'");
    db.until("SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()");
    let read =
        db.number("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'by_load'");
    assert_eq!(read, 0, "entries of the index on the first column");
}

/// The most memory that a process has had, in kilobytes.
#[cfg(target_os = "linux")]
fn peak(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
#[cfg(target_os = "linux")]
fn memory_does_not_grow_with_the_batches() {
    use crate::support::cli::Running;
    use crate::support::db::Held;
    use crate::support::oracle::done_once;

    let db = Db::with(&numbers(200_000));
    // What is done but for it leaves the program there to be looked at.
    let held = Held::row(&db, 200_000);
    let cli = Cli::new(&db, "job", &Toml::increment().rows(100).text());
    let mut command = cli.command(&["run", "job", "-y", "--progress", "jsonl"]);
    command.stdout(tempfile::tempfile().expect("a file"));
    let running = Running::of(command);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT sum(changed) >= 20000 FROM piecemeal.range");
    let early = peak(running.pid());
    db.until("(SELECT sum(changed) = 199999 FROM piecemeal.range)");
    let late = peak(running.pid());
    held.release();
    running.wait().exits(0);
    saw(&format!("{early} kB, {late} kB"));
    assert!(late < early + 2_048, "{early} kB at a tenth of the rows, {late} kB at the end");
    done_once(&db, "job");
}
