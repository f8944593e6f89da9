//! The tutorial, done as its reader does it: files are saved, commands run, outputs compared.
//!
//! Numbers, times and names of hosts differ from machine to machine and are not compared. Each line
//! that the page shows must be printed, in that order; what `...` stands for, and lines of progress
//! in between, may be there as well.

use std::fs;
use std::path::Path;

use super::page::{Block, Page};
use super::server::Db;

/// Saves a block as the file that the line before it names.
fn save(block: &Block, folder: &Path) -> bool {
    let words = block.before.strip_suffix("`:").and_then(|line| line.rsplit_once('`'));
    let Some((_, name)) = words.filter(|(line, _)| line.to_lowercase().ends_with("save this as "))
    else {
        return false;
    };
    let path = folder.join(name);
    fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder");
    fs::write(path, &block.text).expect("a file");
    true
}

/// Splits a block into commands and what each should print.
fn steps(block: &Block) -> Vec<(String, Vec<String>)> {
    let mut steps: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), Vec::new())),
            (None, Some((_, printed))) => printed.push(line.to_owned()),
            (None, None) => panic!("a block begins with a command, not with `{line}`"),
        }
    }
    steps
}

/// Returns a line without what differs: numbers, blanks of alignment, who and where, and whether a
/// vacuum is under way at that moment, or put off.
fn shape(line: &str) -> String {
    let line = line.split(" · vacuum ").next().unwrap_or_default();
    let hostname = gethostname::gethostname().to_string_lossy().into_owned();
    let mut shape = String::new();
    for word in line.split_whitespace() {
        let word =
            word.replace(&format!("\"{hostname}\""), "\"host\"").replace("\"vm\"", "\"host\"");
        let is_place =
            word == hostname || word == "vm" || word.contains('@') && !word.contains("://");
        let mut last = ' ';
        for c in if is_place { "host".chars() } else { word.chars() } {
            let c = if c.is_ascii_digit() { '0' } else { c };
            // 99.1k and 101k, 0.7s and 12s are the same kind of thing.
            if !(last == '0' && matches!(c, '0' | '.' | ',' | 'k' | 'M')) {
                shape.push(c);
                last = c;
            }
        }
        shape.push(' ');
    }
    shape.replace("root@", "host@")
}

fn is_in_order(expected: &[String], printed: &str) -> Result<(), String> {
    if expected.is_empty() && !printed.is_empty() {
        return Err(format!("nothing should be printed, and this was:\n{printed}"));
    }
    let mut lines = printed.lines().map(shape);
    for line in expected.iter().filter(|line| *line != "...") {
        let wanted = shape(line);
        if !lines.any(|line| line == wanted) {
            return Err(format!("`{line}` is missing, or comes too early, in:\n{printed}"));
        }
    }
    Ok(())
}

#[test]
fn the_tutorial_prints_what_it_shows() {
    let page = Page::read("docs/tutorial/first-backfill.md");
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::postgres();
    let (mut n_files, mut n_commands) = (0, 0);
    for block in page.blocks() {
        n_files += usize::from(save(&block, folder.path()));
        let steps = if block.language == "console" { steps(&block) } else { Vec::new() };
        for (command, expected) in steps {
            let mut shell = db.command("sh", folder.path());
            let output =
                shell.arg("-c").arg(format!("{{ {command}; }} 2>&1")).output().expect("sh");
            let printed = String::from_utf8_lossy(&output.stdout);
            if let Err(difference) = is_in_order(&expected, &printed) {
                panic!("$ {command}\n{difference}");
            }
            n_commands += 1;
        }
    }
    assert_eq!((n_files, n_commands > 15), (2, true), "{n_commands} commands");
    assert_eq!(db.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'piecemeal'"), "0");
}

#[test]
fn a_line_that_is_not_printed_is_missed() {
    let printed = "a 12 b\nc 3.5s\n";
    let expected = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    assert_eq!(is_in_order(&expected(&["a 7 b", "...", "c 12s"]), printed), Ok(()));
    assert!(is_in_order(&expected(&["c 12s", "a 7 b"]), printed).is_err());
    assert!(is_in_order(&expected(&["a b"]), printed).is_err());
}
