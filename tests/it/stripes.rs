//! Chunks that are done in several passes: every row once, wherever the walk is interrupted.

use piecemeal::sandbox::Sandbox;

use crate::support::cli::Cli;
use crate::support::db::{Db, Held, start_server};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::done_once;

fn striped(rows: u32) -> Toml {
    Toml::increment().striped().rows(rows).batch("stripes = 4").with("[pace]\nvacuum = \"off\"")
}

/// Tables of `t (n)` along keys of every shape, of which a stripe is made in a way of its own.
const SHAPES: [(&str, &str); 6] = [
    ("numbers", "id int8 PRIMARY KEY) AS SELECT i, 0 FROM generate_series(1, 4000) i"),
    ("negative", "id int4 PRIMARY KEY) AS SELECT -i * 1000, 0 FROM generate_series(1, 4000) i"),
    (
        "uuid",
        "id uuid PRIMARY KEY) AS SELECT md5(i::text)::uuid, 0 FROM generate_series(1, 4000) i",
    ),
    (
        "text",
        "id text COLLATE \"C\" PRIMARY KEY) AS SELECT 'k' || i, 0 FROM generate_series(1, 4000) i",
    ),
    (
        "time",
        "id timestamptz PRIMARY KEY) AS SELECT '2026-03-29 00:00Z'::timestamptz + i * interval '7 min', 0 FROM generate_series(1, 4000) i",
    ),
    ("pair", ""),
];

fn table(shape: &str) -> String {
    if shape.is_empty() {
        return "CREATE TABLE t (a int2, b text COLLATE \"C\", n int NOT NULL, PRIMARY KEY (a, b));
                INSERT INTO t SELECT i % 7, i, 0 FROM generate_series(1, 4000) i"
            .to_owned();
    }
    let (key, rows) = shape.split_once(") AS ").expect("a key and its rows");
    format!("CREATE TABLE t ({key}, n int NOT NULL); INSERT INTO t {rows}")
}

#[test]
fn every_row_is_done_once_along_keys_of_any_type() {
    for (name, shape) in SHAPES {
        let db = Db::with(&table(shape));
        let cli = Cli::new(&db, "keys", &striped(100).text());
        cli.call(&["run", "keys", "-y"]).exits(0);
        let wrong = db.number("SELECT count(*) FROM t WHERE n <> 1");
        assert_eq!(wrong, 0, "{name}");
        done_once(&db, "keys");
        // Many more batches than a single pass has: it was striped.
        assert!(db.number("SELECT sum(batches) FROM piecemeal.range") > 39, "{name}");
        let seen = db.number("SELECT sum(seen) FROM piecemeal.range");
        assert_eq!(seen, 4000, "{name}: a key is counted by the first pass over it alone");
    }
}

/// A table on a server apart: an open transaction keeps old rows alive in all databases of its server.
fn apart(rows: u32) -> (Sandbox, Db) {
    let server = start_server(&[]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&numbers(rows));
    // Who analyses the table keeps them alive as well.
    db.exec("ALTER TABLE t SET (autovacuum_enabled = off)");
    (server, db)
}

#[test]
fn rows_of_later_passes_find_room_in_their_pages() {
    let (_server, db) = apart(20_000);
    db.exec("CREATE INDEX ON t ((id % 1000))");
    let cli = Cli::new(&db, "hot", &striped(2_000).text());
    cli.call(&["run", "hot", "-y"]).exits(0);
    done_once(&db, "hot");
    db.until("SELECT n_tup_upd >= 20000 FROM pg_stat_user_tables WHERE relname = 't'");
    let hot = db.number("SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 't'");
    // Without passes it is a few hundred; a busy machine keeps old rows visible for longer.
    assert!(hot > 6_000, "{hot} of 20,000");
}

fn auto() -> Toml {
    Toml::increment().striped().batch("stripes = \"auto\"")
}

/// Lets the ledger tell of each batch of which pass it was, and how many rows were updated in place so far.
const TOLD: &str = "\
CREATE TABLE told (no int GENERATED ALWAYS AS IDENTITY, pass text, rows int8, hot int8);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.told (pass, rows, hot) VALUES (coalesce(NEW.stripe::text, '-'),
        NEW.changed - OLD.changed, pg_stat_get_xact_tuples_hot_updated('public.t'::regclass));
    RETURN NULL;
END $$;
CREATE TRIGGER tell AFTER UPDATE ON piecemeal.range FOR EACH ROW WHEN (OLD.changed < NEW.changed)
    EXECUTE FUNCTION tell();";

/// Runs a job in batches of 1,000 rows, and returns the pass of each.
fn told(db: &Db, job: Toml) -> String {
    let job = job.rows(1_000).with("[pace]\nvacuum = \"off\"");
    let cli = Cli::new(db, "told", &job.text());
    cli.call(&["run", "told", "-y", "--limit", "1"]).exits(4);
    db.exec(TOLD);
    cli.done(&["run", "told"]);
    done_once(db, "told");
    db.text("SELECT string_agg(pass, '' ORDER BY no) FROM told")
}

/// The largest share of rows that were updated in place, of the batches of single and of later passes, in percent.
const BEST: &str = "\
SELECT max(100 * (hot - before) / rows)
FROM (SELECT *, lag(hot) OVER (ORDER BY no) AS before FROM told) AS batch WHERE pass <> '0'";

#[test]
fn passes_are_made_by_themselves_where_no_index_covers_what_is_set_and_nowhere_else() {
    let (_server, db) = apart(20_000);
    let passes = told(&db, auto());
    assert!(passes.starts_with("-0"), "{passes}");
    let several = db.number(BEST);
    let (_server, db) = apart(20_000);
    assert_eq!(told(&db, Toml::increment()).replace('-', ""), "");
    let single = db.number(BEST);
    assert!(single < 20 && several > 60, "{single} % in one pass, {several} % in several");
    let db = Db::with(&(numbers(20_000) + "; CREATE INDEX ON t (n)"));
    assert_eq!(told(&db, auto()).replace('-', ""), "");
}

#[test]
fn a_run_that_stops_in_the_middle_of_a_chunk_goes_on_in_its_pass() {
    let db = Db::with(&numbers(4_000));
    let cli = Cli::new(&db, "stop", &striped(100).text());
    let open = "SELECT coalesce(stripe || '/' || mark[1], 'none') FROM piecemeal.range WHERE front IS NOT NULL";
    let mut seen = Vec::new();
    for limit in ["130", "70", "170", "250", "90", "330", "10", "1", "500"] {
        cli.call(&["run", "stop", "-y", "--limit", limit]).exits(4);
        seen.extend(db.rows(open).into_iter().flatten());
    }
    let in_later_passes = seen.iter().filter(|at| !at.starts_with('0')).count();
    assert!(in_later_passes > 0, "nothing was interrupted within a pass: {seen:?}");
    cli.call(&["run", "stop", "-y"]).exits(0);
    done_once(&db, "stop");
    assert!(db.is("SELECT bool_and(front IS NULL AND done) FROM piecemeal.range"));
}

#[test]
fn rows_that_somebody_has_locked_are_put_aside_with_the_passes_that_are_left_of_them() {
    let db = Db::with(&numbers(6_000));
    // Of the stripes that are 0 and 3 of four, early and late in the first chunk.
    let hog = db.session();
    hog.exec("BEGIN; SELECT FROM t WHERE id IN (1000, 1600, 1603, 2901) FOR UPDATE");
    let cli = Cli::new(&db, "hog", &striped(200).text());
    let running = cli.start(&["run", "hog", "-y"]);
    db.until("SELECT count(*) = 5996 FROM t WHERE n = 1");
    db.until("SELECT count(*) >= 4 FROM piecemeal.range WHERE aside > 0");
    hog.exec("COMMIT");
    running.wait().exits(0);
    done_once(&db, "hog");
}

#[test]
fn a_bad_row_is_found_in_whatever_stripe_it_is() {
    for bad in [1_001, 1_002, 1_003, 1_004] {
        let db = Db::with(&numbers(3_000));
        db.exec(&format!("ALTER TABLE t ADD CHECK (id <> {bad} OR n = 0)"));
        let cli = Cli::new(&db, "bad", &striped(100).text());
        cli.call(&["run", "bad", "-y"]).exits(5).says(&format!("key (id) = ({bad})"));
        db.exec("ALTER TABLE t DROP CONSTRAINT t_check");
        cli.call(&["resume", "bad"]).exits(0);
        done_once(&db, "bad");
    }
}

#[test]
fn an_old_snapshot_makes_the_walk_fall_back_to_a_single_pass() {
    falls_back("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t LIMIT 1");
}

#[test]
fn somebody_who_has_written_and_does_nothing_makes_the_walk_fall_back_to_a_single_pass() {
    falls_back("BEGIN; CREATE TABLE other (id int)");
}

/// Somebody has begun with this, and does not end.
fn falls_back(begun: &str) {
    let (_server, db) = apart(20_000);
    let old = db.session();
    old.exec(begun);
    let passes = told(&db, auto());
    let (_, after) = passes.split_once('3').expect("a chunk in several passes");
    assert!(after.trim_start_matches('3').starts_with('-'), "{passes}");
}

#[test]
fn a_run_that_is_killed_in_a_pass_is_taken_over_in_it() {
    let db = Db::with(&numbers(2_000));
    let cli = Cli::new(&db, "killed", &striped(100).text());
    let held = Held::row(&db, 303);
    let first = cli.start(&["run", "killed", "-y"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT bool_or(aside > 0) FROM piecemeal.range");
    first.signal("KILL");
    drop(first);
    held.release();
    cli.call(&["run", "killed", "-y"]).exits(0);
    done_once(&db, "killed");
}

/// A table whose key has the same number twice, and what it notes of the passes over it.
fn twins(rows: u32) -> Db {
    let db = Db::with(&format!(
        "CREATE TABLE t (a int8, b int4, n int NOT NULL DEFAULT 0, PRIMARY KEY (a, b));
         INSERT INTO t SELECT i, i FROM generate_series(1, {rows}) i"
    ));
    Cli::new(&db, "init", &Toml::increment().text()).done(&["init"]);
    db
}

#[test]
fn rows_whose_key_has_the_same_number_twice_are_spread_over_all_passes() {
    let db = twins(4_000);
    db.exec(
        "CREATE TABLE pass (stripe int, rows int8);
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO public.pass VALUES (NEW.stripe, NEW.changed - OLD.changed); RETURN NULL; END $$;
         CREATE TRIGGER note AFTER UPDATE OF stripe ON piecemeal.range FOR EACH ROW EXECUTE FUNCTION note()",
    );
    let cli = Cli::new(&db, "twins", &striped(100).text());
    cli.call(&["run", "twins", "-y"]).exits(0);
    done_once(&db, "twins");
    let rows = db
        .rows("SELECT stripe, sum(rows) FROM pass WHERE stripe IS NOT NULL GROUP BY 1 ORDER BY 1");
    let rows: Vec<u32> = rows.iter().map(|row| row[1].parse().unwrap()).collect();
    assert!(rows.len() == 4 && rows.iter().all(|rows| (800..1_200).contains(rows)), "{rows:?}");
}

/// What an earlier release took for the stripe of a row of [`twins`], of four.
const OF_OLD: &str =
    "((a # (a >> 3) # (a >> 6) # (a >> 9)) # (c # (c >> 3) # (c >> 6) # (c >> 9))) & 3";

#[test]
fn a_chunk_that_an_earlier_release_has_opened_is_gone_on_with_in_its_stripes() {
    let db = twins(4_000);
    db.exec("UPDATE t SET b = b * 7 % 1000");
    // The run is as one of an earlier release from its first batch on.
    db.exec(
        "CREATE FUNCTION of_old() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             NEW.key := NULL; NEW.upto := NULL; RETURN NEW; END $$;
         CREATE TRIGGER of_old BEFORE INSERT ON piecemeal.run FOR EACH ROW EXECUTE FUNCTION of_old()",
    );
    let cli = Cli::new(&db, "old", &striped(100).text());
    cli.call(&["run", "old", "-y", "--limit", "330"]).exits(4);
    assert!(db.is("(SELECT stripe > 0 AND front IS NOT NULL FROM piecemeal.range)"));
    let first = "(SELECT front[1]::int8 FROM piecemeal.range)";
    let wrong = format!(
        "SELECT count(*) FROM (SELECT *, b::int8 AS c FROM t) t WHERE a <= {first} AND {OF_OLD} = 0 AND n <> 1"
    );
    assert_eq!(db.number(&wrong), 0, "its first pass is not that of the earlier release");
    db.exec(
        "DROP TRIGGER of_old ON piecemeal.run;
         ALTER TABLE piecemeal.run DROP COLUMN key, DROP COLUMN upto, DROP COLUMN verifying;
         DELETE FROM piecemeal.ledger WHERE version >= 6",
    );
    cli.call(&["run", "old", "-y"]).exits(3);
    cli.done(&["init"]);
    cli.call(&["run", "old", "-y"]).exits(0);
    done_once(&db, "old");
}

#[test]
fn a_chunk_that_is_open_keeps_its_stripes_when_a_partition_comes_that_another_column_parts() {
    let db = Db::with(
        "CREATE TABLE t (id int8, part int, n int NOT NULL DEFAULT 0, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
         CREATE TABLE t1 PARTITION OF t FOR VALUES IN (0, 1, 2, 3);
         INSERT INTO t SELECT i, i * 7 / 10 % 4 FROM generate_series(1, 2000) i",
    );
    let cli = Cli::new(&db, "parted", &striped(100).text());
    cli.call(&["run", "parted", "-y", "--limit", "330"]).exits(4);
    assert!(db.is("(SELECT stripe > 0 AND front IS NOT NULL FROM piecemeal.range)"));
    // By now both columns say in which partition a row is.
    db.exec(
        "CREATE TABLE t9 PARTITION OF t FOR VALUES IN (9) PARTITION BY HASH (id);
         CREATE TABLE t9a PARTITION OF t9 FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    );
    cli.call(&["run", "parted", "-y"]).exits(0);
    done_once(&db, "parted");
}

/// Lets the first batch that comes when a pass is whole wait for a lock.
const BETWEEN: &str = "\
CREATE FUNCTION wait_between() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF to_regclass('piecemeal.range') IS NOT NULL THEN
        IF EXISTS (SELECT FROM piecemeal.range WHERE mark = front AND stripe = TG_ARGV[0]::int) THEN
            PERFORM set_config('lock_timeout', '0', true), pg_advisory_xact_lock_shared(7);
        END IF;
    END IF;
    RETURN NULL;
END $$;";

#[test]
fn a_run_that_is_killed_between_two_passes_over_a_chunk_goes_on_with_the_next_one() {
    for stripe in 0..3 {
        let db = Db::with(&(numbers(2_000) + ";" + BETWEEN));
        db.exec(&format!(
            "CREATE TRIGGER wait_between BEFORE UPDATE ON t FOR EACH STATEMENT EXECUTE FUNCTION wait_between({stripe})"
        ));
        let cli = Cli::new(&db, "killed", &auto().rows(100).batch("give_way = \"1min\"").text());
        let gate = db.session();
        gate.exec("SELECT pg_advisory_lock(7)");
        let first = cli.start(&["run", "killed", "-y"]);
        db.until_waiting("advisory");
        first.signal("KILL");
        drop(first);
        // What was under way is undone, or it would be done without the program.
        db.exec(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event = 'advisory'",
        );
        gate.exec("SELECT pg_advisory_unlock(7)");
        let open = "SELECT stripe, mark = front, changed > 100 FROM piecemeal.range";
        assert_eq!(db.rows(open), [[stripe.to_string(), "t".into(), "t".into()]]);
        cli.done(&["run", "killed"]);
        done_once(&db, "killed");
    }
}
