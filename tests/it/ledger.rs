//! The ledger stays small, however long a run takes.

use crate::support::cli::Cli;
use crate::support::db::{Db, start_server};
use crate::support::job::{Toml, numbers};

/// Moves the cursor of a range as so many batches do.
const BATCHES: &str = "\
DO $$ BEGIN
    FOR batch IN 1..50000 LOOP
        UPDATE piecemeal.range SET cursor = ARRAY[batch::text], rev = rev + 1, batches = batches + 1,
            seen = seen + 10, matched = matched + 10, changed = changed + 10, lease_until = clock_timestamp()
        WHERE no = 0;
        COMMIT;
    END LOOP;
END $$";

#[test]
fn the_journal_of_a_run_that_goes_on_is_kept_short() {
    let db = Db::with(&numbers(1_000));
    let cli = Cli::new(&db, "long", &Toml::increment().rows(1).text());
    let running = cli.start(&["run", "long", "-y", "--rate", "2/s"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("(SELECT sum(seen) > 0 FROM piecemeal.range)");
    let lines = "piecemeal.journal (run_id, who, what) SELECT id, 'x', what FROM piecemeal.run, generate_series(1, 25000) i,";
    db.exec(&format!(
        "INSERT INTO {lines} LATERAL (SELECT CASE i WHEN 5 THEN 'sync' ELSE 'noise' END AS what) w"
    ));
    // What is new is shown with the next look, and renews the lease.
    db.until("(SELECT count(*) FROM piecemeal.journal) <= 10010");
    assert!(db.is("(SELECT count(*) FROM piecemeal.journal) >= 10000"));
    assert!(db.is("EXISTS (SELECT FROM piecemeal.journal WHERE what = 'sync')"));
    assert!(db.is("NOT EXISTS (SELECT FROM piecemeal.journal WHERE what = 'created')"));
    cli.done(&["cancel", "long"]);
    running.wait().exits(4);
}

#[test]
fn the_ledger_does_not_grow_with_the_batches() {
    // On a server apart: an open transaction keeps old rows alive in all databases of its server.
    let server = start_server(&[]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&numbers(100_000));
    let cli = Cli::new(&db, "long", &Toml::increment().rows(10).text());
    cli.call(&["run", "long", "-y", "--limit", "10"]).exits(4);
    let size =
        "SELECT pg_total_relation_size('piecemeal.range') + pg_total_relation_size('piecemeal.run')
                + pg_total_relation_size('piecemeal.journal')";
    db.exec("SET synchronous_commit = off");
    db.exec(BATCHES);
    let bytes = db.number(size);
    // An old version for each of them would be more than ten megabytes.
    assert!(bytes < 1 << 20, "{bytes} bytes after 50,000 batches");
}

#[test]
fn a_batch_updates_its_range_in_place() {
    // On a server apart: an open transaction keeps old rows alive in all databases of its server.
    let server = start_server(&[]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&numbers(20_000));
    let cli = Cli::new(&db, "many", &Toml::increment().rows(10).text());
    cli.done(&["run", "many", "-y"]);
    let range = "pg_stat_user_tables WHERE relid = 'piecemeal.range'::regclass";
    db.until(&format!("SELECT n_tup_upd >= 2000 FROM {range}"));
    let hot = db.number(&format!("SELECT 100 * n_tup_hot_upd / n_tup_upd FROM {range}"));
    assert!(hot > 90, "{hot} % of the updates of ranges");
    let bytes = db.number(
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class
         WHERE relnamespace = 'piecemeal'::regnamespace AND relkind = 'r'",
    );
    assert!(bytes <= 2 << 20, "{bytes} bytes after 2,000 batches");
}
