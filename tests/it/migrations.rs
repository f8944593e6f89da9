//! Whole migrations, forward and back: the cases of `tests/cases/migrations` and the examples of `jobs/`.
//!
//! A case is a job and a file of SQL in sections, each behind `--- NAME`. `old` and `new` are written in the
//! middle of the walk, by applications that know one side only; `both` looks at the rows before contract. After
//! it the schema is that of `shape`, and the rows are those of `after`. `undone` is what `down` leaves before
//! contract, and `back` what it leaves after it: without `undone` the same, and without `back` there is no way.
//! Queries are followed by the rows that they return, each behind `-->`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use crate::support::cli::Cli;
use crate::support::db::{Db, pg_dump};

struct Case {
    name: String,
    toml: String,
    sections: BTreeMap<String, String>,
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the names in a folder without what stands behind the dot, in order.
fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(root(folder)).expect("a folder of cases");
    let path = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").path();
    let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(|entry| stem(path(entry))).collect();
    names.sort();
    names
}

impl Case {
    fn new(name: &str, toml: String, sql: &str) -> Case {
        let parts = sql.split("--- ").skip(1).map(|part| part.split_once('\n').expect("a section"));
        let sections = parts.map(|(name, text)| (name.trim().to_owned(), text.to_owned()));
        Case { name: name.to_owned(), toml, sections: sections.collect() }
    }

    /// Reads a folder of `tests/cases/migrations`.
    fn of_folder(name: &str) -> Case {
        let folder = root("tests/cases/migrations").join(name);
        Case::new(name, read(&folder.join("job.toml")), &read(&folder.join("case.sql")))
    }

    /// Reads an example of `jobs/`, whose head has the table.
    fn of_example(name: &str) -> Case {
        let toml = read(&root("jobs").join(format!("{name}.toml")));
        let head = toml.lines().filter_map(|line| line.strip_prefix("#   "));
        let table = head.collect::<Vec<_>>().join("\n");
        let sql = read(&root("tests/cases/recipes").join(format!("{name}.sql")));
        Case::new(name, toml, &sql.replacen("--- before\n", &format!("--- before\n{table}\n"), 1))
    }

    fn section(&self, name: &str) -> &str {
        let section = self.sections.get(name);
        section.unwrap_or_else(|| panic!("{}: no section `{name}`", self.name))
    }

    /// Looks at the rows that a section expects.
    fn check(&self, db: &Db, section: &str) {
        let (mut query, mut expected, mut n_queries) = (String::new(), Vec::new(), 0);
        let mut settle = |query: &mut String, expected: &mut Vec<String>| {
            let found: Vec<_> = db.rows(query).iter().map(|row| row.join("|")).collect();
            assert_eq!(found, *expected, "{}, {section}: {query}", self.name);
            query.clear();
            expected.clear();
            n_queries += 1;
        };
        for line in self.section(section).lines() {
            match line.strip_prefix("-->") {
                Some(row) => expected.push(row.trim_start().to_owned()),
                None if expected.is_empty() => query.extend([line, "\n"]),
                None => {
                    settle(&mut query, &mut expected);
                    query.extend([line, "\n"]);
                }
            }
        }
        settle(&mut query, &mut expected);
        assert!(n_queries > 0);
    }

    /// Brings the job to its verified end, with writers of both kinds in the middle of its walk.
    fn run(&self) -> (Db, Cli, Vec<String>) {
        let db = Db::with(self.section("before"));
        let before = shape(&db);
        let cli = Cli::new(&db, &self.name, &self.toml);
        cli.call(&["run", &self.name, "-y", "--limit", "2"]).exits(4);
        db.exec(self.section("old"));
        db.exec(self.section("new"));
        cli.done(&["run", &self.name]);
        self.check(&db, "both");
        (db, cli, before)
    }

    fn goes_forward_and_back_after_contract(&self) {
        let (db, cli, before) = self.run();
        cli.done(&["contract", &self.name, "-y", "--acknowledge", "it is everywhere"]);
        let expected = Db::with(self.section("shape"));
        assert_eq!(shape(&db), shape(&expected), "{} after contract", self.name);
        self.check(&db, "after");
        if !self.sections.contains_key("back") {
            let contracted = shape(&db);
            cli.call(&["down", &self.name, "-y"]).exits(3).says("cannot be taken back");
            assert_eq!(shape(&db), contracted, "{}: nothing was written", self.name);
            return;
        }
        cli.done(&["down", &self.name, "-y"]);
        assert_eq!(shape(&db), before, "{} after down", self.name);
        self.check(&db, "back");
    }

    fn goes_back_before_contract(&self) {
        let (db, cli, before) = self.run();
        cli.done(&["down", &self.name, "-y"]);
        assert_eq!(shape(&db), before, "{} after down", self.name);
        let is_apart = self.sections.contains_key("undone");
        self.check(&db, if is_apart { "undone" } else { "back" });
    }
}

/// Returns the lines of the schema: a column that is added again is the last one, and that is no difference.
fn shape(db: &Db) -> Vec<String> {
    let dump = pg_dump(db);
    let lines = dump.lines().map(|line| line.trim().trim_end_matches(',').to_owned());
    let mut lines: Vec<String> = lines.filter(|line| !line.starts_with("--")).collect();
    lines.sort();
    lines
}

/// Does each case on a database of its own, side by side.
fn each(cases: &[Case], does: fn(&Case)) {
    thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || does(case));
        }
    });
}

fn migrations() -> Vec<Case> {
    names("tests/cases/migrations").iter().map(|name| Case::of_folder(name)).collect()
}

fn examples() -> Vec<Case> {
    names("tests/cases/recipes").iter().map(|name| Case::of_example(name)).collect()
}

#[test]
fn every_migration_goes_forward_and_back_after_contract() {
    let cases = migrations();
    assert!(cases.len() >= 7, "a case for each operation that fills rows");
    each(&cases, Case::goes_forward_and_back_after_contract);
}

#[test]
fn every_migration_goes_back_before_contract() {
    each(&migrations(), Case::goes_back_before_contract);
}

#[test]
fn every_example_goes_forward_and_back_after_contract() {
    let cases = examples();
    assert!(cases.len() >= 6, "an example for each recipe");
    each(&cases, Case::goes_forward_and_back_after_contract);
}

#[test]
fn every_example_goes_back_before_contract() {
    each(&examples(), Case::goes_back_before_contract);
}
