//! Several workers and several processes do each row once, share the rate, and replace each other.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, Held};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::{done_once, status};
use crate::support::until;

/// Cuts the only range of a run whose first row is done, as a large table is cut at its beginning.
pub(crate) fn cut(db: &Db, key: &str, ranges: u32) {
    let texts: Vec<_> = key.split(", ").map(|column| format!("{column}::text")).collect();
    db.exec(&format!(
        "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC';
         CREATE TEMPORARY TABLE cut AS SELECT key, at FROM (
             SELECT ARRAY[{texts}] AS key, row_number() OVER (ORDER BY {key}) AS at, count(*) OVER () AS n FROM t) k
         WHERE at * {ranges} / n > (at - 1) * {ranges} / n AND at BETWEEN 2 AND n - 1;
         WITH cuts AS (SELECT row_number() OVER (ORDER BY at) AS no, key, lead(key) OVER (ORDER BY at) AS next FROM cut)
         INSERT INTO piecemeal.range (run_id, no, after, upto)
         SELECT run_id, cuts.no, key, coalesce(next, upto) FROM cuts, piecemeal.range;
         UPDATE piecemeal.range SET upto = (SELECT key FROM cut ORDER BY at LIMIT 1) WHERE no = 0",
        texts = texts.join(", "),
    ));
}

/// Begins a run of `job` over `t` with its first row, cut into so many ranges.
fn begun(db: &Db, job: &Toml, ranges: u32) -> Cli {
    let cli = Cli::new(db, "job", &job.text());
    cli.call(&["run", "job", "-y", "--limit", "1"]).exits(4);
    cut(db, "id", ranges);
    cli
}

pub(crate) fn table(rows: u32, ranges: u32, job: &Toml) -> (Db, Cli) {
    let db = Db::with(&numbers(rows));
    let cli = begun(&db, job, ranges);
    (db, cli)
}

pub(crate) fn start(cli: &Cli, command: &str, more: &[&str]) -> Running {
    let args = [&[command, "job", "--progress", "jsonl"], more].concat();
    cli.start(&args)
}

/// Waits until so many processes walk ranges.
fn until_walked_by(db: &Db, processes: u32) {
    db.until(&format!("(SELECT count(*) FROM piecemeal.member WHERE workers > 0) = {processes}"));
    db.until(&format!(
        "(SELECT count(DISTINCT lease_token) FROM piecemeal.range WHERE NOT done AND rev > 0) >= {processes}"
    ));
}

macro_rules! keys {
    ($($name:ident: $columns:expr, $key:expr, $rows:expr;)+) => {$(
        #[test]
        fn $name() {
            let db = Db::with(&format!(
                "CREATE TABLE t ({}, n int NOT NULL DEFAULT 0, PRIMARY KEY ({key})); INSERT INTO t ({key}) {}",
                $columns, $rows, key = $key
            ));
            let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
            cli.call(&["run", "job", "-y", "--limit", "1"]).exits(4);
            cut(&db, $key, 16);
            cli.done(&["run", "job", "--workers", "4"]);
            done_once(&db, "job");
            assert_eq!(db.number("SELECT count(*) FROM piecemeal.range"), 16);
            assert!(db.is("SELECT deadlocks = 0 FROM pg_stat_database WHERE datname = current_database()"));
        }
    )+};
}

keys! {
    four_workers_do_each_row_of_an_int8_key_with_gaps_once: "id int8", "id",
        "SELECT i * 1000000000000 FROM generate_series(-1000, 1000) i";
    four_workers_do_each_row_of_a_uuid_key_once: "id uuid", "id",
        "SELECT md5(i::text)::uuid FROM generate_series(1, 2000) i";
    four_workers_do_each_row_of_a_text_key_in_the_order_of_a_language_once: "id text COLLATE \"de-x-icu\"", "id",
        "SELECT chr(65 + i % 57) || md5(i::text) FROM generate_series(1, 2000) i";
    four_workers_do_each_row_of_a_timestamptz_key_once: "id timestamptz", "id",
        "SELECT '2026-03-29 01:00+01'::timestamptz + i * interval '1 microsecond' FROM generate_series(1, 2000) i";
    four_workers_do_each_row_of_a_composite_key_once: "a text, b int8", "a, b",
        "SELECT t, i FROM unnest(ARRAY['', 'a', 'A', ',', 'NULL', '}']) t, generate_series(1, 300) i";
}

#[test]
fn a_large_table_is_cut_by_rows_and_not_by_the_space_of_its_keys() {
    // Nine tenths of the rows are in a hundredth of the key space.
    let db = Db::with(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0);
         INSERT INTO t SELECT i FROM generate_series(1, 270000) i;
         INSERT INTO t SELECT 270000 + i * 1000 FROM generate_series(1, 30000) i;
         ANALYZE t",
    );
    let cli = Cli::new(&db, "job", &Toml::increment().text());
    cli.done(&["run", "job", "-y", "--workers", "4"]);
    done_once(&db, "job");
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.range"), 6);
    let sizes = "SELECT max(seen) < 1.5 * min(seen) FROM piecemeal.range";
    assert!(db.is(sizes), "{:?}", db.rows("SELECT no, seen FROM piecemeal.range ORDER BY no"));
}

#[test]
fn a_table_that_was_loaded_since_it_was_analyzed_is_cut_by_what_it_has_now() {
    let load = |rows| format!("INSERT INTO t SELECT count(*) + generate_series(1, {rows}) FROM t");
    for (first, then) in [(90_000, 235_000), (0, 325_000)] {
        let db = Db::with(
            "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (autovacuum_enabled = off)",
        );
        db.exec(&format!("{}; ANALYZE t", load(first)));
        db.exec(&load(then));
        let cli = Cli::new(&db, "job", &Toml::increment().with("[pace]\nvacuum = \"off\"").text());
        cli.call(&["run", "job", "-y", "--limit", "1"]).exits(4);
        let total = cli.status("job")["rows"]["total"].as_u64().expect("a number");
        assert!((320_000..330_000).contains(&total), "{total} from {first}");
        assert_eq!(db.number("SELECT count(*) FROM piecemeal.range"), 6, "from {first}");
    }
}

#[test]
fn all_workers_are_busy_to_the_end_where_most_rows_have_few_of_the_keys() {
    let db = Db::with(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0, by int) WITH (autovacuum_enabled = off);
         INSERT INTO t SELECT i FROM generate_series(1, 180000) i;
         INSERT INTO t SELECT 180000 + i * 1000 FROM generate_series(1, 20000) i",
    );
    // As many ranges as a larger table has.
    db.exec("UPDATE pg_class SET (reltuples, relpages) = (1600000, pg_relation_size(oid) / 8192) WHERE oid = 't'::regclass");
    let job = Toml::increment().set("by", "pg_backend_pid()").rows(200);
    let cli = Cli::new(&db, "job", &job.with("[pace]\nvacuum = \"off\"").text());
    cli.done(&["run", "job", "-y", "--workers", "4"]);
    done_once(&db, "job");
    let each = db.rows("SELECT by, count(*) FROM t GROUP BY by");
    let busy = db.is("SELECT count(*) = 4 AND 2 * min(rows) > max(rows)
         FROM (SELECT count(*) AS rows FROM t GROUP BY by) AS each");
    assert!(busy, "rows of each: {each:?}");
    // What is left when one of them has nothing to do is what the others had already begun.
    let left = db.number(
        "SELECT count(*) FROM t WHERE xmin::text::int8 >
             (SELECT min(last) FROM (SELECT max(xmin::text::int8) AS last FROM t GROUP BY by) AS each)",
    );
    let largest = db.number("SELECT max(seen) FROM piecemeal.range");
    assert!(largest < 25_000 && left <= 3 * largest, "{left} rows left, at most {largest} a range");
}

#[test]
fn ranges_that_leave_a_gap_are_not_walked() {
    let (db, cli) = table(1_000, 4, &Toml::increment().rows(10));
    db.exec("DELETE FROM piecemeal.range WHERE no = 2");
    cli.call(&["run", "job", "--workers", "2"]).exits(1).says("does not begin where");
    assert_eq!((status(&db), db.number("SELECT sum(n) FROM t")), ("failed".into(), 1));
}

#[test]
fn a_last_range_that_is_lost_in_the_middle_of_a_run_ends_it() {
    let (db, cli) = table(1_000, 4, &Toml::increment().rows(10));
    db.exec("DELETE FROM piecemeal.range WHERE no = 3");
    cli.call(&["run", "job"])
        .exits(1)
        .says("do not cover the table")
        .says("no range ends where the walk does, at key (1000)");
    assert_eq!((status(&db), db.number("SELECT sum(n) FROM t")), ("failed".into(), 1));
}

#[test]
fn a_range_that_is_lost_with_the_last_batch_is_missed_also_where_rows_are_proven() {
    // `expect` is true of rows that were not done, too.
    let (db, cli) = table(1_000, 4, &Toml::increment().rows(10).expect("n >= 0"));
    db.exec(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             DELETE FROM piecemeal.range WHERE no = 1; RETURN NULL; END $$;
         CREATE TRIGGER lose AFTER UPDATE OF done ON piecemeal.range FOR EACH ROW
         WHEN (NEW.done AND NEW.no = 3) EXECUTE FUNCTION lose()",
    );
    cli.call(&["run", "job"]).exits(1).says("does not begin where");
    assert_eq!(status(&db), "failed");
}

#[test]
fn no_two_workers_of_a_process_walk_the_same_range() {
    let (db, cli) = table(3, 2, &Toml::increment().rows(1).batch("give_way = \"300ms\""));
    // Whoever takes a range that its process has taken takes it from a sibling.
    db.exec(
        "CREATE TABLE taken (no int, aside int);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.taken VALUES (NEW.no, NEW.aside); RETURN NULL; END $$;
         CREATE TRIGGER note AFTER UPDATE OF lease_token ON piecemeal.range FOR EACH ROW
         WHEN (OLD.lease_token = NEW.lease_token) EXECUTE FUNCTION note()",
    );
    let held = db.session();
    held.exec("BEGIN; SELECT FROM t WHERE id > 1 FOR UPDATE");
    let running = start(&cli, "run", &["--workers", "3"]);
    // Both are put aside again and again, and those who did so wait longer and longer.
    db.until("(SELECT min(aside) > 6 FROM piecemeal.range WHERE NOT done)");
    held.exec("COMMIT");
    running.wait().exits(0);
    done_once(&db, "job");
    assert_eq!(db.rows("SELECT no, aside FROM taken"), Vec::<Vec<String>>::new());
}

#[test]
fn a_limit_is_kept_by_several_workers_together() {
    let (db, cli) = table(2_000, 8, &Toml::increment().rows(10));
    cli.call(&["run", "job", "--workers", "4", "--limit", "333"]).exits(4);
    assert_eq!(db.number("SELECT sum(n) FROM t"), 334);
    cli.done(&["run", "job", "--workers", "4"]);
    done_once(&db, "job");
}

#[test]
fn workers_come_and_go_while_a_run_goes_on() {
    let (db, cli) = table(50_000, 8, &Toml::increment().rows(10));
    let running = start(&cli, "run", &["--rate", "400/s"]);
    for workers in [3, 1, 4] {
        cli.done(&["throttle", "job", "--workers", &workers.to_string()]);
        running.progress("the workers", |run| run["workers"] == workers);
    }
    cli.done(&["throttle", "job", "--workers", "2", "--rate", "1M/s"]);
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn several_processes_keep_to_one_rate() {
    let job = Toml::increment().batch("max = 1000").with("[pace]\nrate = \"1000/s\"\nworkers = 2");
    let (db, cli) = table(50_000, 8, &job);
    let one = start(&cli, "run", &[]);
    one.event("started", 1);
    let other = start(&cli, "join", &[]);
    until_walked_by(&db, 2);
    one.progress("four workers", |run| run["workers"] == 4);
    let changed = "SELECT sum(changed) FROM piecemeal.range";
    let (before, started) = (db.number(changed), Instant::now());
    other.progress("rows", |_| db.number(changed) > before + 4_000);
    let took = started.elapsed().as_secs_f64();
    assert!((3.2..6.0).contains(&took), "4,000 rows in {took} s");
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    one.wait().exits(0);
    other.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_hold_is_told_and_summed_up_also_while_the_one_that_leads_has_nothing_to_walk() {
    let knob =
        "[[hold]]\non = \"query\"\nname = \"knob\"\nsql = \"SELECT value FROM knob\"\nabove = 10";
    let db = Db::with(&numbers(20_000));
    db.exec("CREATE TABLE knob (value float8); INSERT INTO knob VALUES (0)");
    let cli = begun(&db, &Toml::increment().rows(5).with(knob), 2);
    // The first range has a few rows, and the last one all others.
    db.exec(
        "UPDATE piecemeal.range SET upto = '{40}' WHERE no = 0;
         UPDATE piecemeal.range SET after = '{40}' WHERE no > 0",
    );
    let leader = start(&cli, "run", &["--rate", "20/s"]);
    db.until("(SELECT rev > 1 FROM piecemeal.range WHERE no = 0)");
    let member = start(&cli, "join", &["--rate", "200/s"]);
    until_walked_by(&db, 2);
    db.until("(SELECT done FROM piecemeal.range WHERE no = 0)");
    db.exec("UPDATE knob SET value = 99");
    member.event("held", 1);
    let told = until("the reason in `status`", || {
        let run = cli.status("job");
        (run["shown"] == "holding").then(|| run["holding"].clone())
    });
    assert_eq!(told["reason"], "knob 99 > 10");
    db.exec("UPDATE knob SET value = 0");
    leader.event("released", 1);
    cli.done(&["throttle", "job", "--hold", "knob=off", "--rate", "1M/s"]);
    leader.wait().exits(0);
    member.wait().exits(0);
    let held = cli.status("job")["held"]["knob"]["held_s"].as_f64();
    assert!(held.is_some_and(|seconds| seconds > 0.1), "{held:?}");
    done_once(&db, "job");
}

#[test]
fn processes_that_all_join_start_a_run_and_end_with_it() {
    let db = Db::with(&numbers(3_000));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    let all: Vec<_> = (0..3).map(|_| cli.start(&["join", "job", "-y", "--workers", "2"])).collect();
    for running in all {
        running.wait().exits(0).says("done: job");
    }
    done_once(&db, "job");
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.run"), 1);
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.member"), 0);
    cli.done(&["join", "job"]).says("nothing to do");
}

/// Two processes on a run that is slow enough to be looked at.
fn two(rows: u32, job: &Toml) -> (Db, Cli, Running, Running) {
    let (db, cli) = table(rows, 12, job);
    let leader = start(&cli, "join", &["--workers", "2", "--rate", "2000/s"]);
    leader.event("started", 1);
    let member = start(&cli, "join", &["--workers", "2", "--rate", "2000/s"]);
    member.event("joined", 1);
    until_walked_by(&db, 2);
    (db, cli, leader, member)
}

pub(crate) fn let_go(cli: &Cli) {
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
}

#[test]
fn when_the_one_that_leads_is_killed_another_leads_and_does_the_rest() {
    let (db, cli, leader, member) = two(20_000, &Toml::increment().rows(10));
    leader.signal("KILL");
    leader.wait();
    member.event("takeover", 1);
    let_go(&cli);
    member.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn when_one_that_does_not_lead_is_killed_its_ranges_are_walked_by_the_other() {
    let (db, cli, leader, member) = two(20_000, &Toml::increment().rows(10));
    member.signal("KILL");
    member.wait();
    let_go(&cli);
    leader.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_process_that_is_told_to_leave_leaves_the_run_to_the_others() {
    let (db, cli, leader, member) = two(20_000, &Toml::increment().rows(10));
    leader.signal("TERM");
    leader.wait().exits(143);
    let other = start(&cli, "join", &[]);
    until_walked_by(&db, 2);
    member.signal("TERM");
    member.wait().exits(143);
    let_go(&cli);
    other.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_member_that_is_told_to_leave_before_it_knows_that_another_leads_leaves_all_the_same() {
    let (db, cli, leader, member) = two(20_000, &Toml::increment().rows(10));
    // As a member does for which the leader's session is gone.
    db.exec(
        "UPDATE piecemeal.run r SET lease_token = m.token, owner = m.owner, lease_until = m.lease_until
         FROM piecemeal.member m WHERE m.run_id = r.id AND m.token <> r.lease_token",
    );
    leader.signal("TERM");
    leader.wait().exits(143);
    let_go(&cli);
    member.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn one_that_only_seemed_dead_writes_nothing_into_what_others_have_taken_over_and_joins_again() {
    let (db, cli, leader, member) = two(20_000, &Toml::increment().rows(10));
    member.signal("STOP");
    let frozen =
        "SELECT token FROM piecemeal.member m, piecemeal.run r WHERE m.token <> r.lease_token";
    let token = db.text(frozen);
    db.exec(&format!(
        "UPDATE piecemeal.member SET lease_until = clock_timestamp() - interval '1 hour' WHERE token = '{token}'"
    ));
    let_go(&cli);
    db.until(&format!("NOT EXISTS (SELECT FROM piecemeal.range WHERE lease_token = '{token}')"));
    // As whoever claims or joins does.
    db.exec(&format!("DELETE FROM piecemeal.member WHERE token = '{token}'"));
    member.signal("CONT");
    leader.wait().exits(0);
    member.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn nothing_is_written_while_a_run_is_paused_by_whoever_works_on_it() {
    let (db, cli, leader, member) = two(20_000, &Toml::increment().rows(10));
    cli.done(&["pause", "job", "--wait"]);
    let written = "SELECT sum(n) FROM t";
    let before = db.number(written);
    cli.call(&["join", "job"]).exits(4).says("is paused");
    leader.progress("a pause", |run| run["status"] == "paused");
    assert_eq!(db.number(written), before);
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.member"), 2, "they stand by");
    cli.done(&["resume", "job"]);
    until_walked_by(&db, 2);
    let_go(&cli);
    leader.wait().exits(0);
    member.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_cancel_ends_every_process() {
    let (db, cli, leader, member) = two(20_000, &Toml::increment().rows(10));
    cli.done(&["cancel", "job", "--wait"]);
    let before = db.number("SELECT sum(n) FROM t");
    leader.wait().exits(4);
    member.wait().exits(4);
    assert_eq!((status(&db), db.number("SELECT sum(n) FROM t")), ("cancelled".into(), before));
}

#[test]
fn a_row_that_cannot_be_done_ends_every_process_whoever_meets_it() {
    let (db, cli, leader, member) = two(20_000, &Toml::increment().rows(10));
    // Beyond what either has walked by now, in a range that is taken by the second one.
    db.exec("ALTER TABLE t ADD CHECK (id <> 19999 OR n = 0) NOT VALID");
    let_go(&cli);
    leader.wait().exits(5);
    member.wait().exits(5);
    assert_eq!(status(&db), "failed");
    assert_eq!(db.number("SELECT n FROM t WHERE id = 19999"), 0);
    db.exec("ALTER TABLE t DROP CONSTRAINT t_check");
    cli.done(&["resume", "job", "--workers", "2"]);
    done_once(&db, "job");
}

#[test]
fn a_run_shows_everybody_who_works_on_it() {
    let (_db, cli, leader, member) = two(20_000, &Toml::increment().rows(10));
    let members = |run: &Value| run["members"].as_array().map_or(0, Vec::len);
    let both = |run: &Value| members(run) == 2 && run["workers"] == 4;
    let run = member.progress("both", both);
    let pids: Vec<_> =
        run["members"].as_array().expect("members").iter().map(|it| &it["pid"]).collect();
    assert_eq!(pids, [leader.pid(), member.pid()]);
    let leads: Vec<_> =
        run["members"].as_array().expect("members").iter().map(|it| &it["leads"]).collect();
    assert_eq!(leads, [true, false]);
    let shown = cli.done(&["status", "job"]).stdout;
    assert!(shown.contains("4 workers") && shown.contains("alive, leads"), "{shown}");
    let_go(&cli);
    leader.wait().exits(0);
    member.wait().exits(0);
}

#[test]
fn rows_that_somebody_has_locked_are_done_last_by_whoever_comes_to_them() {
    let (db, cli) = table(2_000, 8, &Toml::increment().rows(10));
    let held = Held::row(&db, 700);
    let running = start(&cli, "run", &["--workers", "4"]);
    db.until("(SELECT count(*) FROM t WHERE n = 0) = 1");
    until("a range put aside", || {
        (db.number("SELECT max(aside) FROM piecemeal.range") > 0).then_some(())
    });
    held.release();
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_second_signal_ends_the_statements_of_all_workers() {
    let (db, cli) = table(100, 4, &Toml::increment().rows(1).batch("give_way = \"60s\""));
    db.exec(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
         CREATE TRIGGER slow BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let asleep = |workers: u32| {
        format!(
            "SELECT count(*) = {workers} FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event = 'PgSleep'"
        )
    };
    let running = cli.start(&["run", "job", "--workers", "3"]);
    db.until(&asleep(3));
    running.signal("INT");
    running.until_it_says("finishing the batch");
    running.signal("INT");
    let started = Instant::now();
    running.wait().exits(130);
    db.until(&asleep(0));
    assert!(started.elapsed() < Duration::from_secs(10));
}
