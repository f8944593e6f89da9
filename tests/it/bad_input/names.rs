//! Hostile names of schema, table, columns and index, through every command that makes SQL of them.

use std::thread;

use crate::support::cli::Cli;
use crate::support::db::{Db, pg_dump};

/// Names that break what is not quoted, what is formatted twice, and what is written to a terminal.
pub(super) const NAMES: [&str; 16] = [
    "order",
    "Order",
    "a\"b\"\"c",
    "a.b",
    "it's",
    "line\nbreak",
    "tab\there",
    "\u{1b}[2J",
    "'); DROP TABLE victim; --",
    "\"; DROP TABLE victim; --",
    "$$ $1 $x$",
    "%s %n %I {} {0} \\",
    "/* never closed",
    "\u{202e}right to left",
    "🦀 né",
    "a name of sixty-three bytes, which is as long as a name can be.",
];

fn in_quotes(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn of_toml(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A table of which everything has the name, and a column that is to become another, in all but one row.
fn scene(it: &str) -> Db {
    Db::with(&format!(
        "CREATE TABLE victim (); CREATE SCHEMA {it};
         CREATE TABLE {it}.{it} ({it} int CONSTRAINT \"the key\" PRIMARY KEY, old int);
         CREATE SCHEMA other; CREATE TABLE other.t (n int); CREATE INDEX {it} ON other.t (n);
         INSERT INTO {it}.{it} SELECT i, i FROM generate_series(1, 40) i;
         UPDATE {it}.{it} SET old = 2147483647 WHERE old = 20; ANALYZE"
    ))
}

/// A job that uses everything: statements, a trigger, a quarantine.
fn job(it: &str, column: &str) -> String {
    let (table, new) = (format!("{it}.{it}"), in_quotes(column));
    let add = of_toml(&format!("ALTER TABLE {table} ADD COLUMN {new} int"));
    let index = of_toml(&format!("CREATE INDEX CONCURRENTLY {new} ON {table} (old)"));
    let undo = of_toml(&format!("ALTER TABLE {table} DROP COLUMN {new}"));
    let drop_old = of_toml(&format!("ALTER TABLE {table} DROP COLUMN old"));
    let add_old = of_toml(&format!("ALTER TABLE {table} ADD COLUMN old int"));
    let (name, is_left) = (of_toml(&table), of_toml(&format!("{new} IS NULL")));
    let set: toml::Table = [(column.to_owned(), "old + 1".into())].into_iter().collect();
    let back = of_toml(&format!("{new} - 1"));
    format!(
        "[table]\nname = {name}\nwhere = {is_left}\n
         [expand]\nup = [{add}, {index}]\ndown = [{undo}]\n
         [set]\n{set}\n[sync.reverse]\nold = {back}\n[batch]\nrows = 10\n
         [bad_rows]\npolicy = 'quarantine'\n[contract]\nup = [{drop_old}]\ndown = [{add_old}]\n"
    )
}

/// Every command that makes SQL of the names, in an order in which each has something to do.
const BEFORE_THE_REPAIR: &[(i32, &[&str])] = &[
    (0, &["check", "job"]),
    (0, &["plan", "job"]),
    (0, &["plan", "job", "-o", "json"]),
    (4, &["run", "job", "-y", "--limit", "5"]),
    (0, &["doctor", "job"]),
    (0, &["status", "job"]),
    (0, &["history", "job"]),
    (5, &["run", "job", "-v"]),
    (0, &["quarantine", "job"]),
];

const AFTER_THE_REPAIR: &[(i32, &[&str])] = &[
    (0, &["quarantine", "job", "--retry"]),
    (0, &["verify", "job"]),
    (0, &["status", "job", "-o", "json"]),
    (0, &["contract", "job", "-y"]),
    (0, &["down", "job", "-y"]),
    (0, &["forget", "job", "-y"]),
];

fn are_answered(cli: &Cli, name: &str, commands: &[(i32, &[&str])]) {
    for (code, args) in commands {
        let answer = cli.call(args);
        assert_eq!(answer.code, *code, "{name:?} {args:?}:\n{}\n{}", answer.stdout, answer.stderr);
        let is_plain = !answer.stdout.contains('\u{1b}') && !answer.stderr.contains('\u{1b}');
        assert!(is_plain, "{name:?} reaches the terminal: {args:?}: {answer:?}");
    }
}

fn is_only_a_name(name: &str) {
    let it = in_quotes(name);
    // Backwards it is as hostile, and another.
    let column: String = name.chars().rev().collect();
    let db = scene(&it);
    let before = pg_dump(&db);
    let cli = Cli::new(&db, "job", &job(&it, &column));
    let draft = cli.done(&["new", "draft", "--print", "--table", &format!("{it}.{it}")]);
    assert!(!draft.stdout.contains('\u{1b}'), "{draft:?}");
    are_answered(&cli, name, BEFORE_THE_REPAIR);
    db.exec(&format!("UPDATE {it}.{it} SET old = 20 WHERE {it} = 20"));
    are_answered(&cli, name, AFTER_THE_REPAIR);
    let kept = db.number(&format!("SELECT count(*) FROM {it}.{it} WHERE old = {it}"));
    assert_eq!(kept, 40, "{name:?}");
    assert_eq!(pg_dump(&db), before, "{name:?}");
}

fn are_only_names(names: &'static [&'static str]) {
    for name in names {
        is_only_a_name(name);
    }
}

#[test]
fn hostile_names_are_only_names_to_every_command() {
    let halves = [&NAMES[..NAMES.len() / 2], &NAMES[NAMES.len() / 2..]];
    let workers = halves.map(|half| thread::spawn(|| are_only_names(half)));
    for worker in workers {
        worker.join().expect("only names");
    }
}
