//! The trigger that keeps rows in step while old and new columns live side by side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use piecemeal::sandbox::Sandbox;

use crate::support::cli::Cli;
use crate::support::db::{Db, dump_of, start_server};
use crate::support::job::Toml;
use crate::support::{long, oracle, saw};

/// The example of the pages: `posts(lat, lng)` is to become `posts(loc point)`.
const POSTS: &str =
    "CREATE TABLE posts (id int8 PRIMARY KEY, title text, lat float8, lng float8, loc point);
    CREATE SEQUENCE ids START 10000;
    INSERT INTO posts (id, lat, lng) SELECT i, i, -i FROM generate_series(1, 300) i;";

/// Rows whose sides say different things.
const APART: &str =
    "SELECT id, lat, lng, loc FROM posts WHERE ROW(loc)::record *<> ROW(point(lng, lat))::record";

fn posts(sync: &str) -> String {
    let toml = Toml::on("public.posts").set("loc", "point(lng, lat)");
    toml.filter("loc IS NULL AND lat IS NOT NULL").rows(50).with(&format!("[sync]\n{sync}")).text()
}

const BOTH_WAYS: &str = "reverse = { lat = 'loc[1]', lng = 'loc[0]' }";

/// Runs a job to its end, after which its trigger stays.
fn run(sql: &str, toml: &str) -> (Db, Cli) {
    let db = Db::with(sql);
    let cli = Cli::new(&db, "job", toml);
    cli.done(&["run", "job", "--yes"]);
    (db, cli)
}

fn row(db: &Db, id: i64, columns: &str) -> String {
    db.rows(&format!("SELECT {columns} FROM posts WHERE id = {id}"))[0].join(" ")
}

/// A type of which both sides are, with three values of it as SQL.
const TYPES: [(&str, [&str; 3]); 6] = [
    ("int", ["1", "2", "3"]),
    ("text", ["''", "'b'", "'B'"]),
    ("point", ["'(0,0)'", "'(1,2)'", "'(NaN,1)'"]),
    // Of one area, and so equal to each other by `=`.
    ("circle", ["'<(0,0),1>'", "'<(5,5),1>'", "'<(9,9),1>'"]),
    // The second and the third are equal by `=`, too.
    ("numeric", ["'NaN'", "1.0", "1.00"]),
    ("json", ["'{}'", "'{\"a\":1}'", "'{\"a\": 1}'"]),
];

/// What is written, as old and new; `-` is left out, 0 is NULL, and 1 to 3 are the values. Then what
/// is there afterwards, with a way back and without.
type Cell = ([&'static str; 2], [&'static str; 2], [&'static str; 2]);

const INSERTS: [Cell; 9] = [
    (["-", "-"], ["0", "0"], ["0", "0"]),
    (["1", "-"], ["1", "1"], ["1", "1"]),
    (["-", "1"], ["1", "1"], ["0", "1"]),
    (["1", "2"], ["1", "2"], ["1", "2"]),
    (["0", "-"], ["0", "0"], ["0", "0"]),
    (["-", "0"], ["0", "0"], ["0", "0"]),
    (["1", "0"], ["1", "1"], ["1", "1"]),
    (["0", "1"], ["1", "1"], ["0", "1"]),
    (["0", "0"], ["0", "0"], ["0", "0"]),
];

/// The same for an UPDATE of a row with 1 on both sides.
const UPDATES: [Cell; 12] = [
    (["-", "-"], ["1", "1"], ["1", "1"]),
    (["2", "-"], ["2", "2"], ["2", "2"]),
    (["-", "2"], ["2", "2"], ["1", "2"]),
    (["3", "-"], ["3", "3"], ["3", "3"]),
    (["2", "3"], ["2", "3"], ["2", "3"]),
    (["1", "2"], ["2", "2"], ["1", "2"]),
    (["2", "1"], ["2", "2"], ["2", "2"]),
    (["1", "1"], ["1", "1"], ["1", "1"]),
    (["0", "-"], ["0", "0"], ["0", "0"]),
    (["-", "0"], ["0", "0"], ["1", "0"]),
    (["0", "0"], ["0", "0"], ["0", "0"]),
    (["0", "2"], ["0", "2"], ["0", "2"]),
];

fn value(cell: &str, values: [&str; 3], sql_type: &str) -> String {
    let literal = match cell.parse::<usize>() {
        Ok(0) | Err(_) => "NULL",
        Ok(nth) => values[nth - 1],
    };
    format!("{literal}::{sql_type}")
}

/// Lists what follows another one.
fn listed(parts: impl Iterator<Item = String>) -> String {
    parts.map(|part| format!(", {part}")).collect::<Vec<_>>().concat()
}

/// Checks what is there of both sides.
fn check(db: &Db, what: &str, expected: [&str; 2], (sql_type, values): (&str, [&str; 3])) {
    let [old, new] = expected.map(|cell| value(cell, values, sql_type));
    let is_same =
        format!("(SELECT ROW(old, new)::record *= ROW({old}, {new})::record FROM t WHERE id = 99)");
    let found = db.rows("SELECT old, new FROM t WHERE id = 99");
    assert!(db.is(&is_same), "{sql_type}, {what}: {found:?} instead of {expected:?}");
}

fn cells(way_back: bool) {
    for (sql_type, values) in TYPES {
        let reverse = if way_back { "reverse = { old = 'new' }" } else { "" };
        let toml = Toml::on("public.t").set("new", "old").filter("new IS NULL AND old IS NOT NULL");
        let toml = toml.with(&format!("[sync]\n{reverse}")).text();
        let table = format!(
            "CREATE TABLE t (id int PRIMARY KEY, other int, old {sql_type}, new {sql_type})"
        );
        let (db, _) = run(&table, &toml);
        let expected = |cell: &Cell| if way_back { cell.1 } else { cell.2 };
        for cell in &INSERTS {
            let given: Vec<_> =
                ["old", "new"].into_iter().zip(cell.0).filter(|(_, cell)| *cell != "-").collect();
            let columns = listed(given.iter().map(|(name, _)| (*name).to_owned()));
            let literals = listed(given.iter().map(|(_, cell)| value(cell, values, sql_type)));
            db.exec(&format!("INSERT INTO t (id{columns}) VALUES (99{literals})"));
            check(&db, &format!("INSERT of {:?}", cell.0), expected(cell), (sql_type, values));
            db.exec("DELETE FROM t");
        }
        for cell in &UPDATES {
            let first = value("1", values, sql_type);
            db.exec(&format!("INSERT INTO t VALUES (99, 0, {first}, {first})"));
            let set = ["old", "new"].into_iter().zip(cell.0).filter(|(_, cell)| *cell != "-");
            let set = set.map(|(name, cell)| format!("{name} = {}", value(cell, values, sql_type)));
            let set = listed(set);
            db.exec(&format!("UPDATE t SET other = 1{set}"));
            check(&db, &format!("UPDATE to {:?}", cell.0), expected(cell), (sql_type, values));
            db.exec("DELETE FROM t");
        }
    }
}

#[test]
fn with_a_way_back_each_side_follows_the_other() {
    cells(true);
}

#[test]
fn without_a_way_back_the_new_side_follows_and_may_go_on_alone() {
    cells(false);
}

#[test]
fn a_default_is_what_an_insert_does_not_give() {
    let toml = posts(BOTH_WAYS);
    let table = "CREATE TABLE posts (id int8 PRIMARY KEY, lat float8 NOT NULL DEFAULT 0,
        lng float8 NOT NULL DEFAULT 0, loc point NOT NULL DEFAULT point(9, 9))";
    let (db, cli) = run(table, &toml);
    db.exec(
        "INSERT INTO posts (id) VALUES (1); INSERT INTO posts (id, lat) VALUES (2, 5);
         INSERT INTO posts (id, loc) VALUES (3, '(7,8)'); INSERT INTO posts VALUES (4, 1, 2, '(3,4)')",
    );
    let rows = db.rows("SELECT lat, lng, loc FROM posts ORDER BY id");
    let expected =
        [["0", "0", "(0,0)"], ["5", "0", "(0,5)"], ["8", "7", "(7,8)"], ["1", "2", "(3,4)"]];
    assert_eq!(rows, expected);
    // Another default is another trigger.
    db.exec("ALTER TABLE posts ALTER loc SET DEFAULT '(1,1)'");
    cli.done(&["run", "job", "--again", "--yes"])
        .says("sync: a trigger keeps public.posts in step");
    cli.done(&["run", "job", "--again", "--yes"]);
    db.exec("INSERT INTO posts (id, loc) VALUES (5, '(9,9)'), (6, '(1,1)')");
    assert_eq!(row(&db, 5, "lat, lng"), "9 9");
    assert_eq!(row(&db, 6, "lat, lng, loc"), "0 0 (0,0)");
}

#[test]
fn a_row_that_is_still_to_do_is_done_by_whoever_writes_it() {
    let (db, _) = run(POSTS, &posts(BOTH_WAYS));
    // As if the walk had not come by yet.
    db.exec("ALTER TABLE posts DISABLE TRIGGER USER; UPDATE posts SET loc = NULL WHERE id <= 3");
    let trigger = db.text("SELECT tgname FROM pg_trigger WHERE tgrelid = 'posts'::regclass");
    db.exec(&format!("ALTER TABLE posts ENABLE ALWAYS TRIGGER {trigger}"));
    db.exec("UPDATE posts SET title = 'x' WHERE id = 1");
    assert_eq!(row(&db, 1, "lat, lng, loc"), "1 -1 (-1,1)");
    db.exec("UPDATE posts SET lat = 7 WHERE id = 2");
    assert_eq!(row(&db, 2, "lat, lng, loc"), "7 -2 (-2,7)");
    db.exec("UPDATE posts SET loc = '(5,6)' WHERE id = 3");
    assert_eq!(row(&db, 3, "lat, lng, loc"), "6 5 (5,6)");
}

#[test]
fn a_where_that_is_only_a_filter_calls_no_row_still_to_do() {
    let table = format!("{POSTS} ALTER TABLE posts ADD kind text; UPDATE posts SET kind = 'geo'");
    let toml = |reverse: &str| {
        let toml = Toml::on("public.posts").set("loc", "point(lng, lat)").filter("kind = 'geo'");
        toml.expect("loc IS NOT NULL").with(&format!("[sync]\n{reverse}")).text()
    };
    // With a way back that loses something, and without.
    for (reverse, lat) in [("", "∅"), ("reverse = { lat = 'round(loc[1])' }", "3")] {
        let (db, _) = run(&table, &toml(reverse));
        db.exec("INSERT INTO posts (id, kind, lng, loc) VALUES (5000, 'geo', 1, '(1,2.75)')");
        db.exec("UPDATE posts SET title = 'x' WHERE id = 5000");
        assert_eq!(row(&db, 5000, "lat, loc"), format!("{lat} (1,2.75)"));
    }
}

const NAMES: &str = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, fullname text, first text, last text);";

fn names() -> Toml {
    let toml = Toml::on("public.t").set("first", "split_part(fullname, ' ', 1)");
    let toml = toml.set("last", "split_part(fullname, ' ', 2)").filter("first IS NULL");
    toml.rows(10).with("[sync.reverse]\nfullname = \"first || ' ' || last\"")
}

#[test]
fn the_walk_computes_nothing_back() {
    let sql = format!(
        "{NAMES} INSERT INTO t SELECT i, 0, 'Ann  Marie Lee ' || i FROM generate_series(1, 100) i"
    );
    let (db, cli) = run(&sql, &names().text());
    assert_eq!(db.number("SELECT count(*) FROM t WHERE first = 'Ann' AND last = ''"), 100);
    let kept = "SELECT count(*) FROM t WHERE fullname = 'Ann  Marie Lee ' || id";
    assert_eq!(db.number(kept), 100, "the old names are as they were");
    cli.done(&["plan", "job"]).says("sync-reverse-lossy");
}

#[test]
fn nothing_is_computed_back_from_half_of_the_new_side() {
    let (db, _) = run(NAMES, &names().text());
    db.exec("ALTER TABLE t DISABLE TRIGGER USER; INSERT INTO t VALUES (1, 0, 'Ann Lee')");
    let trigger = db.text("SELECT tgname FROM pg_trigger WHERE tgrelid = 't'::regclass");
    db.exec(&format!("ALTER TABLE t ENABLE ALWAYS TRIGGER {trigger}; UPDATE t SET first = 'Anna'"));
    assert_eq!(db.rows("SELECT fullname, first, last FROM t"), [["Anna Lee", "Anna", "Lee"]]);
}

#[test]
fn what_other_triggers_do_in_the_walk_is_kept_in_step() {
    // One rounds before ours sees the row; one writes to another row of the table.
    let triggers = "
        CREATE TABLE walked (id int8);
        CREATE FUNCTION round_it() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN NEW.lat := round(NEW.lat); RETURN NEW; END$$;
        CREATE TRIGGER a BEFORE INSERT OR UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION round_it();
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
            $$BEGIN UPDATE posts SET loc = '(77,78)' WHERE id = NEW.id + 1000; RETURN NEW; END$$;
        CREATE TRIGGER b AFTER UPDATE ON posts FOR EACH ROW WHEN (NEW.id < 1000) EXECUTE FUNCTION touch();
        INSERT INTO posts (id, lat, lng) SELECT i + 1000, i, -i FROM generate_series(1, 300) i;
        ALTER TABLE posts DISABLE TRIGGER USER; UPDATE posts SET lat = id + 0.25 WHERE id < 1000;
        ALTER TABLE posts ENABLE TRIGGER USER";
    let (db, _) = run(&format!("{POSTS} {triggers}"), &posts(BOTH_WAYS));
    assert_eq!(db.rows(APART), Vec::<Vec<String>>::new());
    let back = "SELECT count(*) FROM posts WHERE id > 1000 AND ROW(lat, lng) = ROW(78::float8, 77::float8)";
    assert_eq!(db.number(back), 300, "what a trigger writes by the way is computed back");
    db.exec("INSERT INTO posts (id, lat, lng) VALUES (5000, 1.75, 0)");
    assert_eq!(row(&db, 5000, "loc"), "(0,2)");
}

#[test]
fn every_way_to_write_is_kept_in_step() {
    let (db, _) = run(POSTS, &posts(BOTH_WAYS));
    db.exec("COPY posts (id, lat, lng) FROM PROGRAM 'printf \"1000\\t1\\t2\\n1001\\t3\\t4\\n\"'");
    db.exec("COPY posts (id, loc) FROM PROGRAM 'printf \"1002\\t(5,6)\\n\"'");
    for (upsert, expected) in [
        (
            "(id, lat, lng) VALUES (1, 50, 51) ON CONFLICT (id) DO UPDATE SET lat = EXCLUDED.lat, lng = EXCLUDED.lng",
            "50 51 (51,50)",
        ),
        (
            "(id, loc) VALUES (1, '(60,61)') ON CONFLICT (id) DO UPDATE SET loc = EXCLUDED.loc",
            "61 60 (60,61)",
        ),
        // Whoever writes all columns as they were proposed writes both sides.
        (
            "(id, lat, lng) VALUES (1, 70, 71) ON CONFLICT (id) DO UPDATE SET (lat, lng, loc) = (EXCLUDED.lat, EXCLUDED.lng, EXCLUDED.loc)",
            "70 71 (71,70)",
        ),
    ] {
        db.exec(&format!("INSERT INTO posts {upsert}"));
        assert_eq!(row(&db, 1, "lat, lng, loc"), expected);
    }
    db.exec(
        "MERGE INTO posts p USING (VALUES (2, 9), (2000, 9)) v (id, lat) ON p.id = v.id
         WHEN MATCHED THEN UPDATE SET lat = v.lat WHEN NOT MATCHED THEN INSERT (id, lat, lng) VALUES (v.id, v.lat, 1)",
    );
    // As a subscriber, or a restore, would.
    db.exec("SET session_replication_role = replica; INSERT INTO posts (id, lat, lng) VALUES (3000, 1, 2); RESET session_replication_role");
    db.exec("SET datestyle = 'German'; SET search_path = pg_catalog; UPDATE public.posts SET lat = 5 WHERE id = 3; RESET ALL");
    assert_eq!(db.rows(APART), Vec::<Vec<String>>::new());
    assert_eq!(db.number("SELECT count(*) FROM posts WHERE loc IS NOT NULL"), 305);
}

#[test]
fn it_needs_no_ledger_and_goes_when_its_runs_are_forgotten() {
    let (db, cli) = run(POSTS, &posts(BOTH_WAYS));
    let session = db.session();
    session.exec("BEGIN; DROP SCHEMA piecemeal CASCADE; INSERT INTO posts (id, lat, lng) VALUES (1000, 1, 2)");
    assert_eq!(session.text("SELECT loc FROM posts WHERE id = 1000"), "(2,1)");
    session.exec("ROLLBACK");
    cli.done(&["forget", "job"]);
    let left = "SELECT count(*) FROM pg_proc WHERE proname LIKE '%piecemeal%'";
    assert_eq!(db.number(left), 0);
    db.exec("INSERT INTO posts (id, lat, lng) VALUES (1000, 1, 2)");
    assert_eq!(row(&db, 1000, "loc"), "∅");
}

#[test]
fn values_are_those_of_the_walk_whatever_the_session_says() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, day date, note text);
        INSERT INTO t VALUES (1, '2026-01-01 23:30 UTC')";
    let toml =
        Toml::on("public.t").set("day", "at::date").set("note", "at::text").filter("day IS NULL");
    let (db, _) = run(table, &toml.with("[sync]").text());
    db.exec("SET timezone = 'Asia/Tokyo'; SET datestyle = 'SQL, DMY'; INSERT INTO t VALUES (2, '2026-01-01 23:30 UTC')");
    assert_eq!(db.number("SELECT count(DISTINCT (day, note)) FROM t"), 1);
}

#[test]
fn names_that_need_quotes_and_names_of_the_language_are_columns() {
    let table =
        "CREATE TABLE \"old\" (id int PRIMARY KEY, \"new\" int, \"tg_op\" int, \"Ünï \"\"x\" int,
        dropped int, piecemeal_new int, \"select\" int);
        ALTER TABLE \"old\" DROP COLUMN dropped; INSERT INTO \"old\" VALUES (1, 10, 20)";
    let toml = Toml::on("public.old")
        .set("Ünï \"x", "\"new\" + \"old\".tg_op")
        .set("select", "coalesce(piecemeal_new, tg_op) /* to the end */")
        .filter("\"select\" IS NULL");
    let toml = toml.with("[sync.reverse]\nnew = '''\"old\".\"Ünï \"\"x\" - tg_op'''").text();
    let (db, _) = run(table, &toml);
    db.exec("INSERT INTO \"old\" (id, \"new\", tg_op) VALUES (2, 1, 2); UPDATE \"old\" SET \"Ünï \"\"x\" = 7 WHERE id = 2");
    // Neither side writes `tg_op`, and both read it: what is computed from it follows.
    db.exec("UPDATE \"old\" SET tg_op = 21 WHERE id = 1");
    let rows = db.rows("SELECT \"new\", tg_op, \"Ünï \"\"x\", \"select\" FROM \"old\" ORDER BY id");
    assert_eq!(rows, [["10", "21", "31", "21"], ["5", "2", "7", "2"]]);
    // A session that has used it goes on when the table changes.
    db.exec("ALTER TABLE \"old\" ADD COLUMN more int, DROP COLUMN piecemeal_new");
    assert!(db.try_exec("UPDATE \"old\" SET tg_op = 0").is_err(), "it reads a column that is gone");
    db.exec(
        "ALTER TABLE \"old\" ADD COLUMN piecemeal_new int; UPDATE \"old\" SET tg_op = 0, more = 1",
    );
    assert_eq!(db.number("SELECT count(*) FROM \"old\" WHERE \"select\" = 0"), 2);
}

#[test]
fn only_rows_that_sync_is_for_are_kept_in_step() {
    let (db, _) = run(POSTS, &posts("where = \"title IS DISTINCT FROM 'raw'\""));
    db.exec(
        "INSERT INTO posts (id, title, lat, lng) VALUES (1000, 'raw', 1, 2), (1001, 'x', 1, 2)",
    );
    assert_eq!((row(&db, 1000, "loc"), row(&db, 1001, "loc")), ("∅".into(), "(2,1)".into()));
}

#[test]
fn a_row_that_an_expression_cannot_do_is_refused_to_its_writer() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, old text, new int)";
    let toml =
        Toml::on("public.t").set("new", "old::int").filter("new IS NULL AND old IS NOT NULL");
    let (db, _) = run(table, &toml.with("[sync]").text());
    let refused = db.try_exec("INSERT INTO t VALUES (1, 'x')").expect_err("it cannot be done");
    assert!(refused.contains("invalid input syntax for type integer"), "{refused}");
    assert_eq!(db.number("SELECT count(*) FROM t"), 0);
}

/// Lets 20 writers hold transactions open around the start of a run, while the database is dumped all the while, and
/// looks for rows left behind. Without a `where` no sweep comes for them.
fn start_among_writers(server: &Sandbox, nth: u32, longest: f64) {
    let name = format!("start_{nth}");
    Db::connect("postgres", &server.url("postgres")).exec(&format!("CREATE DATABASE {name}"));
    let db = Db::connect(&name, &server.url(&name));
    db.exec(POSTS);
    let toml =
        Toml::on("public.posts").set("loc", "point(lng, lat)").expect("loc ~= point(lng, lat)");
    let cli = Cli::new(&db, "job", &toml.with("[sync]").text());
    let begun: Vec<Db> = (0..20)
        .map(|nth: i64| {
            let session = db.session();
            // Some have written and hold the table; some have only a snapshot, or nothing yet.
            session.exec(match nth % 3 {
                0 => "BEGIN",
                1 => "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM posts",
                _ => "BEGIN; INSERT INTO posts (id, lat, lng) VALUES (nextval('ids'), 1, 2)",
            });
            session
        })
        .collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let dumps = scope.spawn(|| dumped_until(&db, &is_over));
        let running = cli.start(&["run", "job", "--yes"]);
        let writes = |session: Db| {
            session.exec(&format!(
                "SELECT pg_sleep(random() * {longest});
                 INSERT INTO posts (id, lat, lng) VALUES (nextval('ids'), 3, 4);
                 SELECT pg_sleep(random() * {longest} / 10); COMMIT"
            ));
        };
        let writers: Vec<_> =
            begun.into_iter().map(|session| scope.spawn(move || writes(session))).collect();
        for writer in writers {
            writer.join().expect("a writer");
        }
        running.wait().exits(0);
        is_over.store(true, Ordering::Relaxed);
        assert!(dumps.join().expect("a dump") > 0);
    });
    assert_eq!(db.rows(APART), Vec::<Vec<String>>::new());
    assert_eq!(db.number("SELECT count(*) FROM posts"), 300 + 20 + 6);
    oracle::ended(&db, "job", "rows");
}

/// Dumps a database again and again, and returns how often.
fn dumped_until(db: &Db, is_over: &AtomicBool) -> u32 {
    let mut n_dumps = 0;
    while !is_over.load(Ordering::Relaxed) {
        assert!(dump_of(db, &[]).contains("COPY public.posts"));
        n_dumps += 1;
    }
    n_dumps
}

#[test]
fn no_row_is_missed_of_writers_who_began_before_the_trigger() {
    // On a server apart: what these transactions keep alive would keep others from pruning theirs.
    let server = start_server(&[("deadlock_timeout", "20ms")]);
    let long = long("STARTS");
    let longest = if long.is_some() { 5.0 } else { 0.3 };
    let n_starts = long.unwrap_or(10);
    for nth in 0..n_starts {
        start_among_writers(&server, nth, longest);
    }
    saw(&format!("{n_starts} starts beside 20 writers of {longest} s: no row was missed"));
}

#[test]
fn identical_processes_may_begin_at_once() {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", &posts(BOTH_WAYS));
    let pods: Vec<_> = (0..4).map(|_| cli.start(&["join", "job", "--yes"])).collect();
    for pod in pods {
        pod.wait().exits(0);
    }
    assert_eq!(db.rows(APART), Vec::<Vec<String>>::new());
    oracle::ended(&db, "job", "rows");
}

#[test]
fn a_writer_in_the_way_is_named_and_readers_do_not_matter() {
    let db = Db::with(POSTS);
    let (reader, writer) = (db.session(), db.session());
    // As a dump would.
    reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM posts");
    writer.exec("BEGIN; UPDATE posts SET title = 'x' WHERE id = 1");
    let pid = writer.number("SELECT pg_backend_pid()");
    let cli = Cli::new(&db, "job", &posts(BOTH_WAYS));
    let running = cli.start(&["run", "job", "--yes"]);
    running.until_it_says(&format!(
        "waiting to make the sync trigger: public.posts is held by pid {pid}"
    ));
    writer.exec("COMMIT");
    running
        .wait()
        .exits(0)
        .says("sync: a trigger keeps public.posts in step, forward to loc; in reverse to lat, lng");
    reader.exec("COMMIT");
    assert_eq!(db.rows(APART), Vec::<Vec<String>>::new());
}

#[test]
fn the_trigger_is_waited_for_no_longer_than_the_command_may_take() {
    let db = Db::with(POSTS);
    let writer = db.session();
    let blocked = |cli: &Cli, command: &str| {
        writer.exec("BEGIN; UPDATE posts SET title = 'x' WHERE id = 1");
        let started = Instant::now();
        let left = cli.call(&[command, "job", "--yes", "--max-runtime", "2s"]).exits(4);
        assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
        writer.exec("COMMIT");
        left.says("waiting to make the sync trigger: ").says("time is up")
    };
    let cli = Cli::new(&db, "job", &posts(BOTH_WAYS));
    blocked(&cli, "run").says("not begun: job; `piecemeal run job` begins it");
    cli.call(&["run", "job", "--yes", "--limit", "50"]).exits(4);
    db.exec("ALTER TABLE posts DISABLE TRIGGER USER");
    blocked(&cli, "run").says("left: job; committed: ").says("`piecemeal run job` continues");
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.run"), 1);
}

#[test]
fn a_trigger_that_was_switched_off_is_no_proof_and_comes_back() {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", &posts(BOTH_WAYS));
    cli.call(&["run", "job", "--yes", "--limit", "50"]).exits(4);
    db.exec("ALTER TABLE posts DISABLE TRIGGER USER; INSERT INTO posts (id, lat, lng) VALUES (1000, 1, 2)");
    // Who goes on with the run sees it.
    let answer = cli.call(&["run", "job"]).exits(6);
    answer.says("sync: a trigger keeps public.posts in step").says("was away for a while");
    assert_eq!(db.rows(APART), Vec::<Vec<String>>::new());
    assert!(
        db.is("SELECT bool_and(tgenabled = 'A') FROM pg_trigger WHERE tgrelid = 'posts'::regclass")
    );
}

#[test]
fn both_applications_see_right_values_while_the_walk_goes_on() {
    let sql = format!(
        "{POSTS} INSERT INTO posts (id, lat, lng) SELECT i, i, -i FROM generate_series(301, 3000) i"
    );
    let db = Db::with(&sql);
    let toml = posts(BOTH_WAYS) + "[pace]\nrate = \"1000/s\"\n";
    let cli = Cli::new(&db, "job", &toml);
    let running = cli.start(&["run", "job", "--yes"]);
    db.until("SELECT count(*) = 1 FROM pg_trigger WHERE tgrelid = 'posts'::regclass");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for (nth, statement) in [
            "UPDATE posts SET lat = lat + 1 WHERE id = 1 + random() * 2999",
            "UPDATE posts SET loc = point((random() * 9)::int, (random() * 9)::int) WHERE id = (SELECT (1 + random() * 2999)::int)",
            "INSERT INTO posts (id, lat, lng) VALUES (nextval('ids'), 1, 2)",
            "INSERT INTO posts (id, loc) VALUES (nextval('ids'), '(3,4)')",
        ]
        .into_iter()
        .enumerate()
        {
            let (session, is_over) = (db.session(), &is_over);
            scope.spawn(move || {
                let mut n_writes = 0;
                while !is_over.load(Ordering::Relaxed) {
                    session.exec(statement);
                    n_writes += 1;
                }
                assert!(n_writes > 10, "writer {nth} came to write");
            });
        }
        let apart = format!("{APART} AND loc IS NOT NULL");
        while db.is("SELECT count(*) = 0 FROM pg_stat_user_tables WHERE relname = 'run'")
            || db.is("SELECT bool_or(status IN ('ready', 'running')) FROM piecemeal.run")
        {
            assert_eq!(db.rows(&apart), Vec::<Vec<String>>::new());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    running.wait().exits(0);
    assert_eq!(db.rows(APART), Vec::<Vec<String>>::new());
}

#[test]
fn only_the_owner_of_a_table_can_keep_it_in_step() {
    let db = Db::with(POSTS);
    let role = format!("role_{}", db.name);
    db.exec(&format!(
        "CREATE ROLE {role} LOGIN; GRANT CREATE ON DATABASE {0} TO {role}; GRANT SELECT, UPDATE, TRIGGER ON posts TO {role}",
        db.name
    ));
    let mut cli = Cli::new(&db, "job", &posts(""));
    cli.url = db.url.replacen("postgres@", &format!("{role}@"), 1);
    cli.call(&["run", "job", "--yes"]).exits(3).says("sync-owner").says("sync-create");
    assert!(db.is("to_regnamespace('piecemeal') IS NULL"), "nothing was written");
    db.exec(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
