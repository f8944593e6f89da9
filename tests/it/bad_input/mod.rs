//! Bad input, from data: command lines, where the database is, SQL that tries to leave its place, hostile names.
//!
//! A case is a line in `tests/cases`, and what is answered is in a snapshot, to be read as its user will. Each is
//! answered soon, with a code of the table, without a panic, and leaves the database as it was.

mod commands;
mod connections;
mod fragments;
mod names;
mod properties;
mod shadows;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use toml::Table;

use crate::support::cli::{Answer, Cli, Running};
use crate::support::db::Db;

/// Two seconds, on a machine that does much else.
const LONGEST: Duration = Duration::from_secs(6);

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn cases(file: &str) -> Table {
    let text = fs::read_to_string(path("tests/cases").join(file)).expect("the cases");
    text.parse().unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Returns what there is in a database, but for the ledger: the catalog, every row with its place and writer,
/// sequences and large objects.
fn digest(db: &Db) -> String {
    let sources = db.text(
        "SELECT string_agg(CASE relkind WHEN 'S' THEN format('SELECT %L || last_value || is_called FROM %s', oid, oid::regclass)
             ELSE format('SELECT %L || coalesce(md5(string_agg(it::text || it.xmin || it.ctid, '','' ORDER BY it.ctid)), '''') FROM %s it',
                 oid, oid::regclass) END, ' UNION ALL ' ORDER BY oid)
         FROM pg_class WHERE relkind IN ('r', 'S') AND relnamespace::regnamespace::text !~ '^(pg_|piecemeal$|information_schema$)'",
    );
    let rows = db.rows(&sources);
    let catalog = db.text(
        "SELECT md5(string_agg(it, '|' ORDER BY it)) FROM (
             SELECT ROW(c.oid, relname, relnamespace, relkind, relfilenode, relowner, relacl, reloptions)::text FROM pg_class c
                 WHERE relnamespace::regnamespace::text NOT IN ('piecemeal', 'pg_toast') AND relnamespace::regnamespace::text !~ '_temp_'
             UNION ALL SELECT ROW(attrelid, attname, atttypid, attnotnull, attisdropped, attacl)::text FROM pg_attribute
                 JOIN pg_class c ON c.oid = attrelid
                 WHERE relnamespace::regnamespace::text NOT IN ('piecemeal', 'pg_toast') AND relnamespace::regnamespace::text !~ '_temp_'
             UNION ALL SELECT ROW(oid, proname, prosrc, proconfig)::text FROM pg_proc WHERE pronamespace::regnamespace::text <> 'piecemeal'
             UNION ALL SELECT ROW(oid, tgname, tgenabled)::text FROM pg_trigger WHERE NOT tgisinternal
             UNION ALL SELECT ROW(oid, nspname, nspacl)::text FROM pg_namespace WHERE nspname <> 'piecemeal' AND nspname !~ '_temp_'
             UNION ALL SELECT ROW(oid, rulename)::text FROM pg_rewrite
             UNION ALL SELECT s::text FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE datname = current_database()
             UNION ALL SELECT oid::text FROM pg_largeobject_metadata) all_of_it (it)",
    );
    format!("{catalog} {rows:?}")
}

/// Answers, as they are shown one below the other.
struct Answers {
    db: Db,
    cli: Cli,
    before: String,
    text: String,
    count: usize,
}

impl Answers {
    fn new(db: Db, cli: Cli) -> Answers {
        let before = digest(&db);
        Answers { db, cli, before, text: String::new(), count: 0 }
    }

    /// Calls the program, sees to it that it keeps to its promises, and shows what it says.
    #[track_caller]
    fn ask(&mut self, name: &str, args: &[&str], environment: &[(&str, &str)]) -> Answer {
        let started = Instant::now();
        let mut command = self.cli.command(args);
        command.envs(environment.iter().copied());
        let answer = Running::of(command).wait();
        let took = started.elapsed();
        assert!(took < LONGEST, "{name}: {took:?}: {answer:?}");
        let is_decided = matches!(answer.code, 0 | 2..=8);
        let is_calm =
            !answer.stderr.contains("panicked") && !answer.stderr.contains("RUST_BACKTRACE");
        assert!(is_decided && is_calm, "{name}: {answer:?}");
        assert!(!shows_a_password(&answer), "{name}: {answer:?}");
        assert_eq!(self.before, digest(&self.db), "{name} changed something: {answer:?}");
        answer
    }

    /// Adds an answer to what is shown.
    fn show(&mut self, name: &str, answer: &Answer) {
        self.count += 1;
        // What follows is the same for all of them.
        let said = answer.stderr.split("\nUsage: ").next().unwrap_or_default();
        let said = said.split("\nFor more information").next().unwrap_or_default();
        let said = said.split("\nwarn[role-superuser]").next().unwrap_or_default();
        let shown =
            if answer.code == 0 { answer.stdout.lines().next().unwrap_or_default() } else { "" };
        let text = format!("{said}{shown}");
        let code = answer.code;
        writeln!(self.text, "== {name}: exit {code}\n{}\n", text.trim_end())
            .expect("a string grows");
    }

    /// Sees to it that nothing was installed, and holds what was said to the snapshot.
    #[track_caller]
    fn end(&self, snapshot: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.set_snapshot_path(path("tests/it/snapshots"));
        for (pattern, word) in [
            (r"/\S*/\.tmp\w+", "[folder]"),
            (r"/\S+/\.s\.PGSQL\.\d+", "[socket]"),
            (r"127\.0\.0\.1:\d+", "127.0.0.1:[port]"),
            (r"127\.0\.0\.1 port \d+", "127.0.0.1 port [port]"),
            (r"\b(of_)?t\d+\b", "[database]"),
            (r"\S+@\S+ as postgres", "[who]"),
        ] {
            settings.add_filter(pattern, word);
        }
        settings.bind(|| insta::assert_snapshot!(snapshot, self.text));
    }
}

fn shows_a_password(answer: &Answer) -> bool {
    [&answer.stdout, &answer.stderr]
        .iter()
        .any(|text| text.contains("hunter2") || text.contains("s3cr"))
}

/// The cases of the whole project, counted where they are.
#[test]
fn there_are_at_least_nine_hundred_cases_of_bad_input() {
    let files = |folder: &str| fs::read_dir(path(folder)).expect("a folder").count();
    let findings =
        "src/plan/preflight_tests/snapshots/piecemeal__plan__preflight_tests__findings.snap";
    let findings = fs::read_to_string(path(findings)).expect("the snapshot");
    let fragments = cases("fragments.toml");
    let of = |part: &str| fragments[part].as_table().map_or(0, Table::len);
    let counts = [
        files("tests/cases/job-files"),
        findings.lines().filter(|line| line.starts_with("== ")).count(),
        cases("connections.toml").len(),
        of("expressions") * fragments::OF_EXPRESSIONS.len(),
        of("queries") * 2,
        names::NAMES.len(),
        commands::PARTS
            .iter()
            .map(|part| cases("commands.toml")[*part].as_table().map_or(0, Table::len))
            .sum(),
    ];
    let least = [255, 140, 50, 170, 60, 14, 200];
    assert!(
        counts.iter().zip(least).all(|(count, least)| *count >= least),
        "{counts:?}, at least {least:?}"
    );
    assert!(counts.iter().sum::<usize>() >= 900, "{counts:?}");
}
