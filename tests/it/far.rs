//! A server that is far away: batches are sent together, and each is done once, whatever is lost of them.

use std::time::Duration;

use crate::support::cli::Cli;
use crate::support::db::{Db, port};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::done_once;
use crate::support::proxy::Proxy;

/// Each way: a round trip is about a third of a batch.
const DELAY: Duration = Duration::from_millis(3);

/// Transactions that are sent together: more than a batch and the look for what comes next.
const CONVOY: usize = 3;

/// A table whose row 15,000, and each that is a multiple of it, waits for a lock of its number.
fn scene() -> Db {
    let db = Db::with(&numbers(60_000));
    db.exec(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM set_config(''lock_timeout'', ''0'', true), pg_advisory_xact_lock(NEW.id); RETURN NEW; END';
         CREATE TRIGGER wait BEFORE UPDATE ON t FOR EACH ROW WHEN (NEW.id % 15000 = 0)
             EXECUTE FUNCTION wait()",
    );
    db
}

#[test]
fn batches_that_were_sent_together_and_go_on_without_us_are_not_done_again() {
    let (db, wire) = (scene(), Proxy::far(port(), DELAY));
    let holder = db.session();
    holder.exec("SELECT pg_advisory_lock(no * 15000) FROM generate_series(1, 4) no");
    let job = Toml::increment().striped().batch("stripes = 4\ngive_way = \"1min\"");
    let mut cli = Cli::new(&db, "far", &job.with("[pace]\nvacuum = \"off\"").text());
    cli.url = wire.url(&db);
    let running = cli.start(&["run", "far", "-y", "-v"]);
    let mut together = 0;
    for no in 1..=4 {
        // Not the wait for the one before, which is only just over.
        db.until(&format!(
            "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = {no} * 15000 AND NOT granted"
        ));
        together = together.max(wire.together());
        wire.cut();
        // The same batch, sent again, waits for the range's row. Those behind the first one come as soon
        // as that is through, beside those that follow here.
        db.until_waiting("transactionid");
        holder.exec(&format!("SELECT pg_advisory_unlock({no} * 15000)"));
    }
    running.wait().exits(0).says("retry in");
    done_once(&db, "far");
    assert!(together >= CONVOY, "{together} at most were sent together");
}
