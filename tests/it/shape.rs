//! The schema side of a job: expand, contract and down, each statement once, whatever happens in between.

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, Held, pg_dump, port};
use crate::support::job::{Toml, numbers};
use crate::support::proxy::{Proxy, message};
use crate::support::{long, saw, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const POSTS: &str = "\
CREATE TABLE t (id int8 PRIMARY KEY, lat int, lng int);
INSERT INTO t SELECT i, i, i FROM generate_series(1, 100) i;";

const EXPAND: &str = "\
[expand]
up = ['ALTER TABLE t ADD COLUMN loc int']
down = ['ALTER TABLE t DROP COLUMN loc']
";

const CONTRACT: &str = "\
[contract]
up = ['ALTER TABLE t DROP COLUMN lat, DROP COLUMN lng']
";

/// One that takes nothing away.
const STRICT: &str = "\
[contract]
up = ['ALTER TABLE t ALTER COLUMN loc SET NOT NULL']
down = ['ALTER TABLE t ALTER COLUMN loc DROP NOT NULL']
";

fn rows() -> Toml {
    Toml::on("t").set("loc", "lat + lng").filter("loc IS NULL").rows(20)
}

fn posts() -> Toml {
    rows().with(EXPAND).with(CONTRACT)
}

/// Returns the columns of a table.
fn columns(db: &Db, table: &str) -> String {
    db.text(&format!(
        "SELECT coalesce(string_agg(attname, ',' ORDER BY attnum), '') FROM pg_attribute
         WHERE attrelid = to_regclass('{table}') AND attnum > 0 AND NOT attisdropped"
    ))
}

fn phase(db: &Db) -> String {
    db.text("SELECT phase || ' ' || status FROM piecemeal.run ORDER BY id DESC LIMIT 1")
}

#[test]
fn a_job_expands_fills_and_stops_before_its_contract() {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", &posts().text());
    let answer = cli.done(&["run", "job", "-y"]);
    answer
        .says("[expand] up 1/1: ALTER TABLE t ADD COLUMN loc int")
        .says("next: `piecemeal contract job`");
    assert_eq!(columns(&db, "t"), "id,lat,lng,loc");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE loc = lat + lng"), 100);
    assert_eq!(phase(&db), "verify succeeded");
    let run = cli.status("job");
    assert_eq!((&run["shown"], &run["phase"]), (&"verified".into(), &"verify".into()));
    cli.done(&["run", "job"]).says("next: `piecemeal contract job`");
    cli.done(&["contract", "job", "-y"]).says("contracted: job, 1 statement");
    assert_eq!(columns(&db, "t"), "id,loc");
    assert_eq!(cli.status("job")["shown"], "contracted");
    cli.done(&["contract", "job", "-y"]).says("nothing to do");
}

const MIGRATION: &str = "\
description = 'two tables'
[expand]
up = ['CREATE TABLE a (id int)', 'CREATE TABLE b (id int)']
down = ['DROP TABLE b', 'DROP TABLE a']
";

#[test]
fn a_job_of_statements_alone_goes_up_down_and_up_again() {
    let db = Db::new();
    let cli = Cli::new(&db, "tables", MIGRATION);
    let before = pg_dump(&db);
    let status = cli.done(&["status"]).stdout;
    assert!(status.contains("tables") && status.contains("pending"), "{status}");
    cli.call(&["status", "--exit-code"]).exits(3);
    cli.done(&["run", "-y"]).says("done: tables, 2 statements");
    cli.done(&["run", "tables"]).says("nothing to do");
    cli.done(&["status", "--exit-code"]);
    assert_eq!(columns(&db, "a") + &columns(&db, "b"), "idid");
    cli.done(&["down", "tables", "-y"]).says("undone: tables, 2 statements");
    assert_eq!(pg_dump(&db), before);
    assert!(cli.done(&["status"]).stdout.contains("pending"));
    cli.done(&["down", "tables"]).says("nothing to do");
    cli.done(&["up", "-y"]);
    assert_eq!(columns(&db, "a"), "id");
}

/// Statements of which each needs a table of its own, one of them outside a transaction.
const MANY: &str = "\
[expand]
up = [
    'ALTER TABLE a ADD COLUMN n int',
    'CREATE INDEX CONCURRENTLY b_n ON b (n)',
    'ALTER TABLE c ADD CONSTRAINT n_is_positive CHECK (n > 0) NOT VALID',
    'ALTER TABLE c VALIDATE CONSTRAINT n_is_positive',
    'REINDEX TABLE CONCURRENTLY d',
    'DROP INDEX CONCURRENTLY e_n',
    'CREATE UNIQUE INDEX CONCURRENTLY \"F n\" ON public.f (n)',
]
";

const TABLES: &str = "\
CREATE TABLE a (id int); CREATE TABLE b (n int); CREATE TABLE c (n int); CREATE TABLE d (n int PRIMARY KEY);
CREATE TABLE e (n int); CREATE INDEX e_n ON e (n); CREATE TABLE f (n int);
INSERT INTO b SELECT 1; INSERT INTO c SELECT 1; INSERT INTO d SELECT 1; INSERT INTO f SELECT 1;";

/// Waits until a statement of the run waits for somebody.
fn is_blocked(db: &Db, first_words: &str) {
    db.until(&format!(
        "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '{first_words}%'
         AND cardinality(pg_blocking_pids(pid)) > 0)"
    ));
}

#[test]
fn a_run_that_is_killed_within_any_statement_comes_to_the_same_schema() {
    let whole = Db::with(TABLES);
    Cli::new(&whole, "many", MANY).done(&["run", "many", "-y"]);
    let db = Db::with(TABLES);
    let cli = Cli::new(&db, "many", MANY);
    let held = |table: &str| {
        let session = db.session();
        session.exec(&format!(
            "BEGIN; LOCK TABLE {table} IN ROW EXCLUSIVE MODE; SELECT txid_current()"
        ));
        session
    };
    let kill = |run: Running, terminates: bool| {
        run.signal("KILL");
        run.wait();
        if terminates {
            // The server has not noticed; should the statement go on, it is done all the same.
            db.exec(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name LIKE 'piecemeal%'",
            );
        }
    };
    for (table, words, terminates) in [
        ("a", "ALTER TABLE a", false),
        ("b", "CREATE INDEX", true),
        ("c", "ALTER TABLE c", true),
        ("d", "REINDEX", true),
        ("e", "DROP INDEX", true),
        ("f", "CREATE UNIQUE", false),
    ] {
        let holder = held(table);
        let run = cli.start(&["run", "many", "-y"]);
        is_blocked(&db, words);
        kill(run, terminates);
        holder.exec("ROLLBACK");
    }
    cli.done(&["run", "many"]).says("done: many, 7 statements");
    assert_eq!(pg_dump(&db), pg_dump(&whole));
    assert_eq!(db.number("SELECT count(*) FROM pg_index WHERE NOT indisvalid"), 0);
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.step WHERE done_at IS NULL"), 0);
}

#[test]
fn a_build_that_goes_on_without_its_process_is_waited_for_by_name_and_not_for_ever() {
    let db = Db::with(TABLES);
    let build = "CREATE INDEX CONCURRENTLY b_n ON b (n)";
    let job = format!("[expand]\nup = ['{build}']\n[pace]\nmax_hold = '1s'\n");
    let cli = Cli::new(&db, "job", &job);
    let writer = db.session();
    writer.exec("BEGIN; LOCK TABLE b IN ROW EXCLUSIVE MODE");
    let run = cli.start(&["run", "job", "-y"]);
    is_blocked(&db, "CREATE INDEX");
    run.signal("KILL");
    run.wait();
    let pid = db.text(&format!(
        "SELECT pid FROM pg_stat_activity WHERE query = '{build}' AND state = 'active'"
    ));
    let writing = writer.text("SELECT pg_backend_pid()");
    cli.call(&["run", "job"]).exits(4).says("the trouble did not end").says(&format!(
        "waiting: pid {pid} still runs it for a process that is gone; pid {writing} ("
    ));
    writer.exec("ROLLBACK");
    cli.done(&["run", "job"]).says("done: job");
    assert!(db.is("(SELECT indisvalid FROM pg_index WHERE indexrelid = 'b_n'::regclass)"));
}

#[test]
fn nobody_queues_for_long_behind_a_statement_that_waits_and_its_blocker_is_named() {
    let db = Db::with(POSTS);
    let reader = db.session();
    reader.exec("BEGIN; SELECT count(*) FROM t /* a long report */");
    let pid = reader.number("SELECT pg_backend_pid()");
    reader.exec("SELECT count(*) FROM t /* a long report */");
    let cli = Cli::new(&db, "job", &posts().text());
    let run = cli.start(&["run", "job", "-y"]);
    run.until_it_says(&format!("waiting: public.t is in use by pid {pid} ("));
    run.until_it_says("a long report");
    let (began, lasts) = (Instant::now(), Duration::from_secs(long("READER").unwrap_or(3).into()));
    let mut waits = Vec::new();
    while began.elapsed() < lasts {
        let asked = Instant::now();
        db.exec("SELECT id FROM t LIMIT 1");
        waits.push(asked.elapsed());
    }
    waits.sort();
    let (p99, longest) = (waits[waits.len() * 99 / 100], waits[waits.len() - 1]);
    saw(&format!("{} SELECTs in {lasts:?}: p99 {p99:?}, longest {longest:?}", waits.len()));
    assert!(p99 < Duration::from_millis(600), "{p99:?}");
    assert!(longest < Duration::from_millis(900), "{longest:?}");
    assert!(columns(&db, "t") == "id,lat,lng", "it still waits");
    // Between two attempts there is a moment in which nothing is waited for.
    until("a status that names who is waited for", || {
        let line = cli.done(&["status", "job"]).stdout;
        line.contains(&format!("pid {pid}")).then_some(())
    });
    reader.exec("ROLLBACK");
    run.wait().exits(0);
}

/// A table whose constraint takes a minute to validate, as long as there is a table `slow`.
const SLOW_TO_VALIDATE: &str = "\
    CREATE TABLE c (n int); CREATE TABLE slow ();
    CREATE FUNCTION is_fine(n int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
        IF to_regclass('slow') IS NOT NULL THEN PERFORM pg_sleep(0.1); END IF;
        RETURN n > 0; END $$;
    INSERT INTO c SELECT generate_series(1, 600);
    ALTER TABLE c ADD CONSTRAINT fine CHECK (is_fine(n)) NOT VALID;";

const VALIDATE: &str = "[expand]\nup = ['ALTER TABLE c VALIDATE CONSTRAINT fine']\n";

#[test]
fn a_validation_is_ended_by_whoever_asks_the_run_to_stop_and_begins_anew_later() {
    let db = Db::with(SLOW_TO_VALIDATE);
    let cli = Cli::new(&db, "job", VALIDATE);
    let is_validated = "(SELECT convalidated FROM pg_constraint WHERE conname = 'fine')";
    let stopped = |run: Running, code: i32| {
        let began = Instant::now();
        run.wait().exits(code);
        assert!(began.elapsed() < Duration::from_secs(20), "it waited for the whole validation");
        assert!(!db.is(is_validated));
    };
    let start = |more: &[&str]| {
        let run = cli.start(&[&["run", "job", "-y"], more].concat());
        db.until_waiting("PgSleep");
        run
    };
    stopped(start(&["--max-runtime", "2s"]), 4);
    let run = start(&[]);
    run.signal("INT");
    stopped(run, 130);
    let run = start(&[]);
    cli.done(&["pause", "job"]);
    stopped(run, 4);
    assert_eq!(cli.status("job")["shown"], "paused");
    db.exec("DROP TABLE slow");
    cli.done(&["resume", "job"]);
    assert!(db.is(is_validated));
}

#[test]
fn a_validation_gives_way_to_those_behind_whom_others_wait_and_is_tried_again() {
    let db = Db::with(SLOW_TO_VALIDATE);
    let cli = Cli::new(&db, "job", VALIDATE);
    let run = cli.start(&["run", "job", "-y"]);
    db.until_waiting("PgSleep");
    // Readers and writers pass beside this one.
    let vacuum = db.session();
    let vacuuming = vacuum.number("SELECT pg_backend_pid()");
    let vacuum = std::thread::spawn(move || vacuum.exec("VACUUM c"));
    db.until(&format!("cardinality(pg_blocking_pids({vacuuming})) > 0"));
    let other = db.session();
    let pid = other.number("SELECT pg_backend_pid()");
    other.exec("SET lock_timeout = '5s'; ALTER TABLE c ADD COLUMN other int");
    run.until_it_says(&format!("gave way to pid {pid} ("));
    run.until_it_says("which waits for public.c; tried again");
    db.exec("DROP TABLE slow");
    vacuum.join().expect("a vacuum");
    let ended = run.wait().exits(0).says("done: job, 1 statement");
    assert!(!ended.stderr.contains(&format!("pid {vacuuming} ")), "{}", ended.stderr);
    assert!(db.is("(SELECT convalidated FROM pg_constraint WHERE conname = 'fine')"));
}

#[test]
fn nobody_queues_for_long_behind_a_statement_that_waits_for_one_partition_after_the_other() {
    let db = Db::with(
        "CREATE TABLE p (id int) PARTITION BY LIST (id);
         DO $$ BEGIN FOR n IN 1..30 LOOP
             EXECUTE format('CREATE TABLE p_%s PARTITION OF p FOR VALUES IN (%s)', n, n); END LOOP; END $$",
    );
    let is_over = Arc::new(AtomicBool::new(false));
    let write = |leaf: u32| {
        let (session, is_over) = (db.session(), Arc::clone(&is_over));
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                session.exec(&format!("BEGIN; LOCK TABLE p_{leaf} IN ROW EXCLUSIVE MODE; SELECT pg_sleep(0.15); COMMIT"));
            }
        })
    };
    let writers: Vec<_> = (1..=30).map(write).collect();
    let cli = Cli::new(&db, "job", "[expand]\nup = ['ALTER TABLE p ADD COLUMN n int']\n");
    let run = cli.start(&["run", "job", "-y"]);
    run.until_it_says("waiting: public.p_");
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        db.exec("SELECT id FROM p LIMIT 1");
        longest = longest.max(asked.elapsed());
    }
    is_over.store(true, Ordering::Relaxed);
    saw(&format!("the longest SELECT of a partitioned table: {longest:?}"));
    assert!(longest < Duration::from_millis(1_200), "{longest:?}");
    run.wait().exits(0);
    assert_eq!(columns(&db, "p"), "id,n");
    for writer in writers {
        writer.join().expect("a writer");
    }
}

#[test]
fn a_wait_that_does_not_end_is_left_after_max_hold_and_goes_on_later() {
    let db = Db::with(POSTS);
    let reader = db.session();
    reader.exec("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE");
    let cli = Cli::new(&db, "job", &posts().with("[pace]\nmax_hold = '1s'").text());
    cli.call(&["run", "job", "-y"])
        .exits(4)
        .says("the trouble did not end")
        .says("is in use by pid");
    assert_eq!(phase(&db), "expand ready");
    reader.exec("ROLLBACK");
    cli.done(&["run", "job"]);
}

#[test]
fn a_run_can_be_paused_cancelled_and_left_while_a_statement_waits() {
    let db = Db::with(POSTS);
    let reader = db.session();
    reader.exec("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE");
    let cli = Cli::new(&db, "job", &posts().text());
    let run = cli.start(&["run", "job", "-y"]);
    run.until_it_says("waiting: ");
    cli.done(&["pause", "job", "--wait"]);
    run.wait().exits(4).says("`piecemeal resume job` continues");
    cli.call(&["run", "job"]).exits(4).says("is paused");
    cli.done(&["wait", "job", "--for", "paused"]);
    let run = cli.start(&["resume", "job"]);
    run.until_it_says("waiting: ");
    run.signal("TERM");
    run.wait().exits(143);
    assert_eq!(phase(&db), "expand ready");
    cli.done(&["cancel", "job", "--wait"]);
    reader.exec("ROLLBACK");
    cli.done(&["down", "job", "-y"]);
    assert_eq!(columns(&db, "t"), "id,lat,lng");
}

#[test]
fn contract_waits_for_a_verified_end_for_gates_and_for_a_word() {
    let db = Db::with(POSTS);
    db.exec("CREATE TABLE app_instance (version int); INSERT INTO app_instance VALUES (41)");
    let gates = "\
[[gate]]
before = 'contract'
sql = 'SELECT count(*) = 0 FROM app_instance WHERE version < 42'
message = 'deploy API 42'
[[gate]]
message = 'tell the analysts'
";
    let cli = Cli::new(&db, "job", &posts().with(gates).text());
    cli.call(&["contract", "job", "-y"]).exits(3).says("has no run");
    cli.call(&["run", "job", "-y", "--limit", "20"]).exits(4);
    cli.call(&["contract", "job", "-y"]).exits(3).says("cannot be contracted").says("ready");
    cli.done(&["run", "job"])
        .says("next: deploy API 42, then tell the analysts, then `piecemeal contract job`");
    let answer = cli.call(&["contract", "job", "-y"]).exits(3).says("it returned false");
    answer.says("gate \"deploy API 42\"").says("gate \"tell the analysts\": nobody has said");
    db.exec("UPDATE app_instance SET version = 42");
    cli.call(&["contract", "job", "-y"]).exits(3).says("tell the analysts");
    assert_eq!(columns(&db, "t"), "id,lat,lng,loc");
    cli.done(&["contract", "job", "-y", "--acknowledge", "Ada, by mail"])
        .says("verified once more");
    assert_eq!(columns(&db, "t"), "id,loc");
    assert!(cli.done(&["history", "job"]).stdout.contains("Ada, by mail"));
}

#[test]
fn contract_refuses_rows_that_came_in_the_old_form_and_rows_in_quarantine() {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", &posts().text());
    cli.done(&["run", "job", "-y"]);
    db.exec("INSERT INTO t VALUES (1000, 1, 1)");
    cli.call(&["contract", "job", "-y"]).exits(6).says("1000");
    db.exec("DELETE FROM t WHERE id = 1000");
    db.exec("UPDATE piecemeal.range SET quarantined = 1, changed = changed - 1");
    cli.call(&["contract", "job", "-y"]).exits(3).says("in quarantine");
    db.exec("UPDATE piecemeal.range SET quarantined = 0, changed = changed + 1");
    assert_eq!(phase(&db), "verify succeeded");
    cli.done(&["contract", "job", "-y"]);
}

#[test]
fn a_contract_that_was_killed_goes_on_and_a_run_does_not() {
    let db = Db::with(POSTS);
    db.exec("CREATE TABLE other (n int)");
    let contract =
        "[contract]\nup = ['ALTER TABLE t DROP COLUMN lat', 'ALTER TABLE other ADD m int']\n";
    let cli = Cli::new(&db, "job", &rows().with(EXPAND).with(contract).text());
    cli.done(&["run", "job", "-y"]);
    let holder = db.session();
    holder.exec("BEGIN; LOCK TABLE other IN ACCESS SHARE MODE");
    let killed = cli.start(&["contract", "job", "-y"]);
    is_blocked(&db, "ALTER TABLE other");
    cli.call(&["down", "job", "-y"]).exits(3).says("dropped `lat`");
    killed.signal("KILL");
    killed.wait();
    holder.exec("ROLLBACK");
    cli.call(&["run", "job"]).exits(3).says("its contract is under way");
    cli.call(&["resume", "job"]).exits(3).says("`piecemeal contract job` goes on");
    cli.done(&["contract", "job", "-y"]);
    assert_eq!(columns(&db, "t") + &columns(&db, "other"), "id,lng,locn,m");
    cli.done(&["wait", "job", "--for", "contracted"]);
}

#[test]
fn what_held_a_run_is_known_after_its_contract_and_after_down() {
    let db = Db::with(&format!("{POSTS} CREATE TABLE knob AS SELECT true AS shut"));
    let hold = "[[hold]]\non = 'query'\nname = 'knob'\nsql = 'SELECT shut FROM knob'\n";
    let cli = Cli::new(&db, "job", &rows().with(EXPAND).with(STRICT).with(hold).text());
    let running = cli.start(&["run", "job", "-y"]);
    running.until_it_says("holding: knob");
    db.until("SELECT (held #>> '{knob,held_s}')::float8 > 0.5 FROM piecemeal.run");
    db.exec("UPDATE knob SET shut = false");
    running.wait().exits(0);
    let held = cli.status("job")["held"].clone();
    assert!(held["knob"]["held_s"].as_f64() > Some(0.5), "{held}");
    cli.done(&["contract", "job", "-y"]);
    assert_eq!(cli.status("job")["held"], held);
    cli.done(&["down", "job", "-y"]);
    assert_eq!(cli.status("job")["held"], held);
}

#[test]
fn down_takes_a_run_back_from_where_it_is() {
    let db = Db::with(POSTS);
    let before = pg_dump(&db);
    let cli = Cli::new(&db, "job", &posts().text());
    for limit in [None, Some("40")] {
        let answer = match limit {
            Some(limit) => cli.call(&["run", "job", "-y", "--limit", limit]).exits(4),
            None => cli.done(&["run", "job", "-y"]),
        };
        assert!(answer.stderr.contains("ALTER TABLE t ADD COLUMN loc"), "{answer:?}");
        cli.done(&["down", "job", "-y"]).says("undone: job");
        assert_eq!(pg_dump(&db), before);
    }
    cli.done(&["run", "job", "-y"]);
    assert_eq!(db.number("SELECT count(*) FROM t WHERE loc = lat + lng"), 100);
}

#[test]
fn a_job_that_is_worked_on_is_not_taken_back() {
    let db = Db::with(POSTS);
    let held = Held::from(&db, 50);
    let cli = Cli::new(
        &db,
        "job",
        &rows().with(EXPAND.replace("loc int", "loc int, ADD k int").as_str()).text(),
    );
    held.release();
    let reader = db.session();
    reader.exec("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE");
    let run = cli.start(&["run", "job", "-y"]);
    run.until_it_says("waiting: ");
    cli.call(&["down", "job", "-y"]).exits(7).says("is being worked on");
    reader.exec("ROLLBACK");
    run.wait().exits(0);
}

#[test]
fn down_refuses_before_it_touches_anything_where_no_way_back_is_given() {
    let db = Db::with(POSTS);
    let before = || pg_dump(&db);
    let without = rows().with("[expand]\nup = ['ALTER TABLE t ADD COLUMN loc int']\n");
    let cli = Cli::new(&db, "job", &without.text());
    cli.done(&["run", "job", "-y"]);
    let expanded = before();
    cli.call(&["down", "job", "-y"])
        .exits(3)
        .says("there is no [expand] down")
        .says("nothing was written");
    assert_eq!(phase(&db), "verify succeeded");
    cli.write("job", &rows().with(EXPAND).text());
    let in_place = Toml::on("t").set("lat", "-lat").filter("lat > 0").rows(50).with(
        "[expand]\nup = ['ALTER TABLE t ADD COLUMN k int']\ndown = ['ALTER TABLE t DROP COLUMN k']",
    );
    cli.write("negate", &in_place.text());
    cli.done(&["run", "negate", "-y"]);
    cli.call(&["down", "negate", "-y"]).exits(3).says("[set] has overwritten `lat`");
    cli.write("plain", &Toml::on("t").set("lng", "-lng").filter("lng > 0").text());
    cli.done(&["run", "plain", "-y"]);
    cli.call(&["down", "plain", "-y"]).exits(3).says("[set] has overwritten `lng`");
    assert_eq!(columns(&db, "t"), "id,lat,lng,loc,k");
    assert!(expanded.contains("loc integer"));
    cli.done(&["down", "job", "-y"]);
    assert_eq!(columns(&db, "t"), "id,lat,lng,k");
}

#[test]
fn what_contract_only_added_is_taken_back_and_what_it_dropped_is_refused() {
    let db = Db::with(POSTS);
    let before = pg_dump(&db);
    let cli = Cli::new(&db, "job", &rows().with(EXPAND).with(STRICT).text());
    cli.done(&["run", "job", "-y"]);
    cli.done(&["contract", "job", "-y"]);
    cli.done(&["down", "job", "-y"]).says("[contract] down 1/1").says("undone: job, 2 statements");
    assert_eq!(pg_dump(&db), before);
    let dropping =
        CONTRACT.to_owned() + "down = ['ALTER TABLE t ADD COLUMN lat int, ADD COLUMN lng int']\n";
    cli.write("drop", &rows().with(EXPAND).with(&dropping).text());
    cli.done(&["run", "drop", "-y"]);
    cli.done(&["contract", "drop", "-y"]);
    let answer = cli.call(&["down", "drop", "-y"]).exits(3);
    answer.says("contract has dropped `lat`, `lng`, and `reverse` under [sync] does not say");
    assert_eq!(columns(&db, "t"), "id,loc");
}

const HALF: &str = "\
[expand]
up = ['CREATE TABLE a (id int)', 'CREATE TABLE b (id nonsense)']
down = ['DROP TABLE b', 'DROP TABLE a']
";

#[test]
fn an_expand_that_stopped_half_way_is_taken_back_or_corrected_and_gone_on_with() {
    let db = Db::new();
    let before = pg_dump(&db);
    let cli = Cli::new(&db, "half", HALF);
    let answer =
        cli.call(&["run", "half", "-y"]).exits(1).says("statement 2 of [expand] up was refused");
    answer.says("type \"nonsense\" does not exist").says("1 statement of expand");
    cli.call(&["status", "half", "--exit-code"]).exits(1);
    cli.call(&["wait", "half"]).exits(1);
    cli.call(&["run", "half"]).exits(1).says("this command has tried nothing");
    cli.call(&["resume", "half"]).exits(1).says("nonsense");
    cli.done(&["down", "half", "-y"]);
    assert_eq!(pg_dump(&db), before);
    assert!(cli.done(&["history", "half"]).stdout.contains("passed over"));
    cli.call(&["run", "half", "-y"]).exits(1);
    cli.write("half", &HALF.replace("nonsense", "int"));
    cli.call(&["run", "half", "-y"]).exits(3).says("[expand] up 2: ");
    assert!(cli.done(&["status"]).stdout.contains("failed, changed since"));
    cli.done(&["cancel", "half"]);
    let answer = cli.done(&["run", "half", "-y", "--again"]).says("[expand] up 2/2");
    assert!(!answer.stderr.contains("up 1/2"), "{}", answer.stderr);
    assert_eq!(columns(&db, "b"), "id");
    cli.done(&["down", "half", "-y"]);
    assert_eq!(pg_dump(&db), before);
}

#[test]
fn a_plan_before_expand_says_what_it_cannot_know_and_the_run_refuses_later() {
    let db = Db::with(POSTS);
    let job =
        |filter: &str| Toml::on("t").set("loc", "lat + lng").filter(filter).rows(20).with(EXPAND);
    let cli = Cli::new(&db, "job", &job("lok IS NULL").text());
    let before = pg_dump(&db);
    let answer = cli.done(&["plan", "job"]).says("column `loc` does not exist").says("may add it");
    assert!(
        answer.stdout.contains("[expand] up 1: ALTER TABLE t ADD COLUMN loc int"),
        "{answer:?}"
    );
    assert!(answer.stdout.contains("not known before expand"), "{answer:?}");
    let plan = cli.done(&["plan", "job", "-o", "json"]).json()["plan"].take();
    assert_eq!(plan["is_before_expand"], true);
    assert_eq!(pg_dump(&db), before);
    let answer = cli.call(&["run", "job", "-y"]).exits(3).says("lok");
    answer
        .says("refused after its expand")
        .says("committed: the statements of [expand]")
        .says("`piecemeal down job`");
    assert_eq!(phase(&db), "expand ready");
    cli.call(&["run", "job"]).exits(3).says("refused after its expand");
    db.exec("ALTER TABLE t ADD COLUMN lok int");
    cli.call(&["run", "job", "-y", "--limit", "100"]).exits(4);
    cli.done(&["down", "job", "-y"]);
    assert_eq!(columns(&db, "t"), "id,lat,lng,lok");
}

#[test]
fn a_table_that_expand_makes_is_filled() {
    let db = Db::new();
    let job = Toml::on("public.made").set("n", "id * 2").filter("n IS NULL").with(
        "[expand]\nup = ['CREATE TABLE made (id int PRIMARY KEY, n int)', 'INSERT INTO made SELECT generate_series(1, 10)']\ndown = ['DROP TABLE made']\n",
    );
    let cli = Cli::new(&db, "job", &job.text());
    cli.done(&["run", "job", "-y"]);
    assert_eq!(db.number("SELECT sum(n) FROM made"), 110);
    cli.done(&["down", "job", "-y"]);
    assert_eq!(columns(&db, "made"), "");
}

#[test]
fn jobs_of_a_folder_are_done_in_their_order_and_only_after_those_before_them() {
    let db = Db::new();
    let statement = |sql: &str| format!("[expand]\nup = ['{sql}']\ndown = []\n");
    let cli = Cli::new(
        &db,
        "a",
        &("after = ['z']\n".to_owned() + &statement("ALTER TABLE z ADD COLUMN a int")),
    );
    cli.write("b", &statement("CREATE TABLE b (id int)"));
    cli.write("z", &statement("CREATE TABLE z (id int)"));
    cli.call(&["run", "a", "-y"]).exits(3).says("`z` has not begun");
    let pending = cli.done(&["status", "-o", "json"]).json()["pending"].take();
    assert_eq!(pending, serde_json::json!(["a", "b", "z"]));
    cli.done(&["up", "-y"]);
    assert_eq!(columns(&db, "z"), "id,a");
    cli.done(&["up"]);
    cli.write("b", &("after = ['c']\n".to_owned() + &statement("CREATE TABLE b (id int)")));
    cli.write("c", &("after = ['b']\n".to_owned() + &statement("CREATE TABLE c (id int)")));
    cli.call(&["up"]).exits(2).says("b, c come after each other");
}

#[test]
fn an_index_that_cannot_be_built_leaves_nothing_and_one_of_another_is_not_ours() {
    let db = Db::with("CREATE TABLE t (n int); INSERT INTO t VALUES (1), (1)");
    let up = |sql: &str| format!("[expand]\nup = ['{sql}']\n");
    let unique = "CREATE UNIQUE INDEX CONCURRENTLY t_n ON t (n)";
    let cli = Cli::new(&db, "job", &up(unique));
    cli.call(&["run", "job", "-y"]).exits(1).says("could not create unique index");
    assert_eq!(db.number("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass"), 0);
    db.exec("DELETE FROM t WHERE ctid = '(0,1)'");
    cli.done(&["resume", "job"]);
    assert!(db.is("(SELECT indisvalid FROM pg_index WHERE indrelid = 't'::regclass)"));
    cli.write("again", &up(unique));
    cli.call(&["run", "again", "-y"]).exits(1).says("an index t_n is there already");
    cli.write("optional", &up(&unique.replace("t_n", "IF NOT EXISTS t_n")));
    cli.done(&["run", "optional", "-y"]);
}

#[test]
fn waiting_ends_with_what_is_waited_for_or_after_its_time() {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", &posts().text());
    cli.call(&["wait", "job"]).exits(3).says("has no run");
    cli.call(&["run", "job", "-y", "--limit", "20"]).exits(4);
    cli.call(&["status", "job", "--exit-code"]).exits(4);
    cli.call(&["wait", "job", "--for", "verified", "--timeout", "100ms"])
        .exits(4)
        .says("is still ready");
    let waiting = cli.start(&["wait", "job", "--for", "contracted"]);
    cli.done(&["run", "job"]);
    cli.done(&["wait", "job", "--for", "verified"]);
    cli.call(&["wait", "job", "--for", "done", "--timeout", "100ms"])
        .exits(4)
        .says("is still verified");
    cli.done(&["contract", "job", "-y"]);
    waiting.wait().exits(0);
    cli.done(&["wait", "job"]);
    cli.call(&["wait", "job", "--for", "paused"]).exits(3);
}

#[test]
fn two_processes_run_each_statement_once() {
    let db = Db::with(POSTS);
    db.exec("CREATE TABLE counted (n int)");
    let twice = "[expand]\nup = ['INSERT INTO counted SELECT 1', 'ALTER TABLE t ADD COLUMN loc int', 'INSERT INTO counted SELECT 2']\n";
    let cli = Cli::new(&db, "job", &rows().with(twice).text());
    let reader = db.session();
    reader.exec("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE");
    let first = cli.start(&["join", "job", "-y"]);
    first.until_it_says("waiting: ");
    let second = cli.start(&["join", "job", "-y"]);
    second.until_it_says("waiting: ");
    reader.exec("ROLLBACK");
    first.wait().exits(0);
    second.wait().exits(0);
    assert_eq!(db.text("SELECT string_agg(n::text, ',' ORDER BY n) FROM counted"), "1,2");
    assert_eq!(db.number("SELECT count(*) FROM t WHERE loc = lat + lng"), 100);
}

#[test]
fn one_that_joins_while_statements_are_run_walks_with_the_others_afterwards() {
    let db = Db::with(&numbers(5_000));
    // Some ranges, as a larger table has.
    db.exec("UPDATE pg_class SET (reltuples, relpages) = (400000, pg_relation_size(oid) / 8192) WHERE oid = 't'::regclass");
    let expand = "[expand]\nup = ['ALTER TABLE t ADD COLUMN m int8']\n[pace]\nrate = '500/s'";
    let cli = Cli::new(&db, "job", &Toml::on("t").set("m", "id").rows(10).with(expand).text());
    let reader = db.session();
    reader.exec("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE");
    let both = ["first", "second"].map(|_| {
        let joined = cli.start(&["join", "job", "-y"]);
        joined.until_it_says("waiting: ");
        joined
    });
    reader.exec("ROLLBACK");
    db.until("(SELECT count(DISTINCT lease_token) = 2 FROM piecemeal.range WHERE rev > 0)");
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    for joined in both {
        joined.wait().exits(0);
    }
    assert_eq!(db.number("SELECT count(*) FROM t WHERE m = id"), 5_000);
}

#[test]
fn a_statement_whose_answer_is_swallowed_is_found_done_and_one_that_is_swallowed_is_sent_again() {
    let up = ["CREATE DOMAIN small AS int", "DROP INDEX CONCURRENTLY e_n"];
    let job = format!("[expand]\nup = ['{}', '{}']\n", up[0], up[1]);
    for (name, lost) in [
        ("begin", b"SET LOCAL statement_timeout = 86400000".to_vec()),
        ("statement", message('Q', up[0])),
        ("answer", message('C', "CREATE DOMAIN")),
        ("statement outside", message('Q', up[1])),
        ("answer outside", message('C', "DROP INDEX")),
    ] {
        let db = Db::with(TABLES);
        let proxy = Proxy::to(port());
        let mut cli = Cli::new(&db, "job", &job);
        cli.url = proxy.url(&db);
        proxy.freeze_before(&lost);
        let began = Instant::now();
        cli.done(&["run", "job", "-y"]).says("done: job, 2 statements");
        saw(&format!("{name}: {:?}", began.elapsed()));
        assert!(proxy.has_frozen(), "{name}");
        assert_eq!(db.number("SELECT count(*) FROM piecemeal.step WHERE done_at IS NOT NULL"), 2);
        assert!(db.is("to_regtype('small') IS NOT NULL AND to_regclass('e_n') IS NULL"));
    }
}
