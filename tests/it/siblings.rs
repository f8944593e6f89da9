//! Workers of one process: what stands in the way of one is no trouble of the others.

use crate::parallel::{cut, let_go, start, table};
use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, Held};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::done_once;

#[test]
fn a_worker_that_is_stuck_ends_no_run_in_which_another_commits() {
    let job = Toml::increment().rows(10).with("[pace]\nmax_hold = \"1s\"");
    let (db, cli) = table(8_000, 2, &job);
    // The first range has a few rows, and the last one all others.
    db.exec(
        "UPDATE piecemeal.range SET upto = '{40}' WHERE no = 0;
         UPDATE piecemeal.range SET after = '{40}' WHERE no > 0",
    );
    let held = Held::row(&db, 20);
    let running = start(&cli, "run", &["--workers", "2", "--rate", "400/s"]);
    db.until("(SELECT count(*) FROM t WHERE id <= 40 AND n = 0) = 1");
    let done = db.number("SELECT count(*) FROM t WHERE n = 1");
    db.until(&format!("(SELECT count(*) FROM t WHERE n = 1) > {done} + 1200"));
    // When nobody commits any more, it is left.
    let_go(&cli);
    running.wait().exits(4).says("the trouble did not end");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE n = 0"), 1);
    held.release();
    cli.done(&["run", "job"]);
    done_once(&db, "job");
}

/// A run of two ranges by a role that has as many connections as `limit` says.
struct Few {
    db: Db,
    role: String,
    cli: Cli,
    admin: Cli,
}

impl Few {
    fn begun(rows: u32, job: &Toml) -> Few {
        let db = Db::with(&numbers(rows));
        let role = format!("few_{}", db.name);
        db.exec(&format!(
            "CREATE ROLE {role} LOGIN; ALTER TABLE t OWNER TO {role}; ALTER DATABASE {} OWNER TO {role}",
            db.name
        ));
        let admin = Cli::new(&db, "job", &job.text());
        let mut cli = Cli::new(&db, "job", &job.text());
        cli.url = db.url.replacen("postgres@", &format!("{role}@"), 1);
        cli.call(&["run", "job", "-y", "--limit", "1"]).exits(4);
        cut(&db, "id", 2);
        Few { db, role, cli, admin }
    }

    /// Lets it have no more connections than it has, and `fewer`.
    fn limit(&self, fewer: i64) {
        let has = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", self.role);
        let limit = self.db.number(&has) - fewer;
        self.db.exec(&format!("ALTER ROLE {} CONNECTION LIMIT {limit}", self.role));
    }
}

/// No VACUUM, which would want a connection now and then.
fn steady(max_hold: &str) -> Toml {
    let pace = format!("[pace]\nvacuum = \"off\"\nmax_hold = \"{max_hold}\"");
    Toml::increment().rows(10).with(&pace)
}

#[test]
fn a_worker_that_gets_no_connection_leaves_its_range_to_the_others_and_ends_no_run() {
    let few = Few::begun(4_000, &steady("1s"));
    let running = start(&few.cli, "run", &["--workers", "1", "--rate", "400/s"]);
    few.db.until("(SELECT sum(n) FROM t) > 50");
    few.limit(0);
    few.admin.done(&["throttle", "job", "--workers", "2"]);
    let why = running.event("retried", 1)["why"].to_string();
    assert!(why.contains("too many connections"), "{why}");
    let done = few.db.number("SELECT sum(n) FROM t");
    few.db.until(&format!("(SELECT sum(n) FROM t) > {done} + 800"));
    few.db.until("(SELECT bool_or(lease_token IS NULL AND rev = 0) FROM piecemeal.range)");
    let_go(&few.admin);
    running.wait().exits(0);
    done_once(&few.db, "job");
}

#[test]
fn a_worker_that_has_nothing_to_do_leaves_its_connection_to_one_that_has() {
    let few = Few::begun(2_000, &steady("20s"));
    let running = start(&few.cli, "run", &["--workers", "2", "--rate", "400/s"]);
    few.db.until("(SELECT min(rev) > 2 FROM piecemeal.range)");
    few.limit(1);
    // Whoever is in a batch.
    few.db.until(
        "(SELECT bool_or(pg_terminate_backend(pid)) FROM pg_locks
          WHERE relation = 't'::regclass AND mode = 'RowExclusiveLock')",
    );
    running.event("retried", 1);
    let_go(&few.admin);
    running.wait().exits(0);
    done_once(&few.db, "job");
}

/// A run of two workers, each of which meets a locked row in its range; how much each puts aside is noted.
fn met_by_both(and: &str) -> (Db, Cli, Held) {
    let (db, cli) = table(200, 2, &Toml::increment().rows(10));
    db.exec(
        "CREATE TABLE aside (keys int8);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.aside VALUES (NEW.upto[1]::int8 - (coalesce(NEW.cursor, NEW.after, '{0}'))[1]::int8);
             RETURN NULL; END $$;
         CREATE TRIGGER note AFTER UPDATE ON piecemeal.range FOR EACH ROW
         WHEN (NEW.aside > OLD.aside) EXECUTE FUNCTION note()",
    );
    db.exec(&format!(
        "CREATE SEQUENCE parts;
         CREATE FUNCTION part() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {and}; RETURN NEW; END $$;
         CREATE TRIGGER part BEFORE INSERT ON piecemeal.range FOR EACH ROW EXECUTE FUNCTION part()"
    ));
    let held = Held::row(&db, 50);
    held.session().exec("SELECT FROM t WHERE id = 150 FOR UPDATE");
    (db, cli, held)
}

/// Lets it go on, once all that is not locked is done; nothing but the locked chunks was put aside.
fn puts_only_chunks_aside(db: &Db, running: Running, held: Held) {
    db.until("(SELECT count(*) FROM t WHERE n = 0) = 2");
    held.release();
    running.wait().exits(0);
    done_once(db, "job");
    assert_eq!(db.rows("SELECT keys FROM aside WHERE keys > 10"), Vec::<Vec<String>>::new());
}

#[test]
fn two_workers_that_put_rows_aside_at_the_same_moment_put_nothing_else_aside() {
    let (db, cli, held) = met_by_both("PERFORM pg_advisory_xact_lock(1)");
    let session = db.session();
    session.exec("SELECT pg_advisory_lock(1)");
    let running = start(&cli, "run", &["--workers", "2"]);
    db.until(
        "SELECT count(*) = 2 FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'piecemeal%' AND (wait_event = 'advisory'
         OR wait_event_type = 'Lock' AND query LIKE '%SELECT FROM piecemeal.run%FOR NO KEY UPDATE%')",
    );
    session.exec("SELECT pg_advisory_unlock(1)");
    puts_only_chunks_aside(&db, running, held);
}

#[test]
fn rows_that_could_not_be_put_aside_do_not_take_the_rest_of_their_range_with_them() {
    let fails = "IF nextval('public.parts') <= 2 THEN RAISE 'no' USING ERRCODE = '40001'; END IF";
    let (db, cli, held) = met_by_both(fails);
    let running = start(&cli, "run", &["--workers", "2"]);
    puts_only_chunks_aside(&db, running, held);
}
