//! Every command line of the pages is one that the program takes.

use std::collections::BTreeSet;
use std::process::Command;

use super::generated;
use super::page::{self, Page};

/// Splits a line into words as a shell would, up to what is not part of the command.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#' | '|' | ';' | '&' | '>') if word.is_none() => break,
            (None, ';') => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Returns the arguments, if the line calls the program: `NAME=value`, `$` and a schedule may stand
/// before it.
fn arguments(line: &str) -> Option<Vec<String>> {
    let words = words(line);
    let at = words.iter().position(|word| word == "piecemeal")?;
    let is_schedule = |word: &str| word.chars().all(|c| matches!(c, '0'..='9' | '*' | '-' | ','));
    let is_prefix =
        |word: &str| matches!(word, "$" | "timeout" | "-s" | "KILL") || word.contains('=');
    let is_called = words[..at].iter().all(|word| is_prefix(word) || is_schedule(word));
    is_called.then(|| words[at + 1..].to_vec())
}

fn lines(page: &Page) -> Vec<String> {
    let is_shell = |language: &str| matches!(language, "sh" | "console" | "text");
    let mut lines: Vec<String> = Vec::new();
    for block in page.blocks().iter().filter(|block| is_shell(&block.language)) {
        let is_console = block.language == "console";
        let called = block.text.lines().filter(|line| !is_console || line.starts_with("$ "));
        lines.extend(called.map(str::to_owned));
    }
    lines.extend(page.spans());
    lines
}

/// The parser stops at `--help`, so what stands before it has been taken.
fn is_taken(arguments: &[String]) -> Result<(), String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_piecemeal"));
    let output = command.env_clear().args(arguments).arg("--help").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn every_command_line_is_taken() {
    let known = generated::commands();
    let mut seen = BTreeSet::new();
    for page in page::all() {
        for line in lines(&page) {
            let Some(arguments) = arguments(&line) else { continue };
            let is_elided = arguments.iter().any(|it| it.contains('…') || it == "COMMAND");
            // "piecemeal JOB" is the name of a session, and says so where it stands.
            let is_name = arguments.len() == 1 && matches!(&*arguments[0], "JOB" | "posts-loc");
            if arguments.is_empty() || is_elided || is_name {
                continue;
            }
            if let Err(said) = is_taken(&arguments) {
                panic!("{}: `{line}` is not taken\n{said}", page.path.display());
            }
            seen.extend(arguments.into_iter().find(|it| known.contains(it)));
        }
    }
    let unseen: Vec<_> = known.iter().filter(|command| !seen.contains(*command)).collect();
    assert!(unseen.is_empty(), "no page shows how to call {unseen:?}");
}

#[test]
fn a_wrong_flag_is_not_taken() {
    for line in ["piecemeal run x --worker 2", "$ piecemeal throttle x --rate 5", "piecemeal rnu x"]
    {
        let arguments = arguments(line).expect("a call");
        assert!(is_taken(&arguments).is_err(), "{line}");
    }
    assert_eq!(arguments("the binary piecemeal is small"), None);
    assert_eq!(words("a 'b c' --d=\"e f\" # g"), ["a", "b c", "--d=e f"]);
}
