//! Whatever is typed is answered with what to type instead.

use super::{Answers, cases};
use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::{Toml, numbers};

#[test]
fn every_wrong_command_line_is_answered_and_nothing_is_written() {
    let db = Db::with(&numbers(10));
    let cli = Cli::new(&db, "job", &Toml::increment().text());
    let mut answers = Answers::new(db, cli);
    for (name, args) in cases("command-lines.toml") {
        let args = args.as_array().expect("a list");
        let args: Vec<&str> = args.iter().map(|arg| arg.as_str().expect("words")).collect();
        let answer = answers.ask(&name, &args, &[]);
        answers.show(&name, &answer);
        assert!(!answer.stderr.contains('\u{1b}'), "{name} writes to the terminal: {answer:?}");
    }
    assert!(answers.db.is("to_regnamespace('piecemeal') IS NULL"));
    answers.end("command-lines");
}
