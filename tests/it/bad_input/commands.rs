//! Command lines that are wrong, or come at the wrong time.

use std::fs;

use super::{Answers, cases};
use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::Toml;

/// The parts of the file, each with a snapshot.
pub(super) const PARTS: [&str; 5] = ["everywhere", "files", "starting", "steering", "ending"];

const TABLE: &str =
    "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0, CHECK (n < 3 OR id <> 3));
INSERT INTO t SELECT generate_series(1, 9)";

fn sets(value: &str) -> Toml {
    Toml::on("t").set("n", value).rows(2)
}

/// A job with a contract, and a gate that nobody can ask.
fn with_contract(column: &str) -> String {
    let expand = format!("up = ['ALTER TABLE t ADD COLUMN {column} int']");
    let down = format!("down = ['ALTER TABLE t DROP COLUMN {column}']");
    let rest = "[contract]\nup = ['ALTER TABLE t DROP COLUMN n']\n[[gate]]\nmessage = 'deploy'";
    let job = Toml::on("t").set(column, "n").filter(&format!("{column} IS NULL"));
    job.expect(&format!("{column} = n")).with(&format!("[expand]\n{expand}\n{down}\n{rest}")).text()
}

/// A run in every state.
fn scene() -> Answers {
    let db = Db::with(TABLE);
    let cli = Cli::new(&db, "fresh", &sets("n + 1").text());
    for job in ["paused", "changed", "lost"] {
        cli.write(job, &sets("n + 0").text());
        cli.call(&["run", job, "-y", "--limit", "2"]).exits(4);
        cli.done(&["pause", job, "--reason", "lunch"]);
    }
    cli.write("changed", &sets("n + 4").text());
    fs::remove_file(cli.path("lost")).expect("the file was there");
    cli.write("cancelled", &sets("n + 0").text());
    cli.call(&["run", "cancelled", "-y", "--limit", "2"]).exits(4);
    cli.done(&["cancel", "cancelled"]);
    cli.write("done", &sets("n + 0").text());
    cli.done(&["run", "done", "-y"]);
    cli.write("failed", &sets("n + 3").quarantine(5).text());
    cli.call(&["run", "failed", "-y"]).exits(5);
    cli.write("shaped", &with_contract("m"));
    cli.done(&["run", "shaped", "-y"]);
    cli.write("shapes", &with_contract("o"));
    cli.write("wrong", "[table]\nnam = 't'\n");
    Answers::new(db, cli)
}

/// Returns every row of the ledger.
fn ledger(db: &Db) -> String {
    let tables = ["ledger", "run", "range", "member", "quarantine", "step", "journal"];
    let of = |table| {
        format!(
            "SELECT md5(coalesce(string_agg(it::text || xmin, '|' ORDER BY ctid), '')) FROM piecemeal.{table} it"
        )
    };
    format!("{:?}", db.rows(&tables.map(of).join(" UNION ALL ")))
}

/// Splits a line at its blanks, but for what stands within `'…'`.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 0 { words.extend(part.split_whitespace()) } else { words.push(part) }
    }
    words
}

#[test]
fn a_command_line_that_is_wrong_says_so_and_writes_nothing() {
    let mut answers = scene();
    let before = ledger(&answers.db);
    for part in PARTS {
        for (line, code) in cases("commands.toml")[part].as_table().expect("a table") {
            let answer = answers.ask(line, &words(line), &[]);
            assert_eq!(Some(i64::from(answer.code)), code.as_integer(), "{line}: {answer:?}");
            assert!(!answer.stderr.is_empty(), "{line}");
            assert_eq!(before, ledger(&answers.db), "{line} wrote into the ledger: {answer:?}");
            answers.show(line, &answer);
        }
        answers.end(&format!("commands-{part}"));
        answers.text.clear();
    }
}
