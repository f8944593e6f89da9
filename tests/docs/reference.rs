//! The pages of reference list what there is: keys of a job file, findings, the ledger's columns.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use piecemeal::control::ledger_sql;
use piecemeal::job::{Job, Source};

use super::page::{self, Page};

fn parse(text: &str) -> Result<Job, String> {
    let source = Source { path: None, text: text.to_owned() };
    Job::parse("example", source).map_err(|problems| problems.to_string())
}

#[test]
fn every_job_of_the_pages_is_read() {
    let mut n_jobs = 0;
    for page in page::all() {
        for block in page.blocks().iter().filter(|block| block.language == "toml") {
            if block.text.contains("[table]") && block.text.contains("[set]") {
                n_jobs += 1;
                if let Err(problems) = parse(&block.text) {
                    panic!("{}: {problems}", page.path.display());
                }
            }
        }
    }
    assert!(n_jobs >= 3, "the pages have jobs");
}

#[test]
fn every_part_of_a_job_on_the_pages_is_read_in_a_job() {
    let mut n_parts = 0;
    for page in page::all() {
        for block in page.blocks().iter().filter(|block| block.language == "toml") {
            let is_whole = block.text.contains("[table]");
            if !is_whole {
                n_parts += 1;
                let job = format!("[table]\nname = 't'\n[set]\nn = '1'\n{}", block.text);
                if let Err(problems) = parse(&job) {
                    panic!("{}: {problems}", page.path.display());
                }
            }
        }
    }
    assert!(n_parts >= 5, "{n_parts} parts of jobs were found");
}

/// The tables of a job file whose keys are its own; of the last three there may be several.
const TABLES: [&str; 11] = [
    "table",
    "batch",
    "pace",
    "bad_rows",
    "verify",
    "sync",
    "expand",
    "contract",
    "pace.window",
    "hold",
    "gate",
];

/// Returns the keys of a table of the job file, as the message about an unknown one lists them.
fn keys_of(table: &str) -> BTreeSet<String> {
    let is_list = TABLES[8..].contains(&table);
    let header = if is_list { format!("[[{table}]]") } else { format!("[{table}]") };
    let text = format!("{header}\nnosuchthing = 1\n[set]\na = '1'\n");
    let said = parse(&text).expect_err("the key is unknown");
    let start = format!("the keys under {header} are ");
    let (_, list) = said.split_once(&start).unwrap_or_else(|| panic!("{said}"));
    let list = list.split(['\n', ';']).next().unwrap_or_default();
    list.split(", ").map(|key| format!("{table}.{key}")).collect()
}

#[test]
fn the_page_of_the_job_file_has_every_key_and_no_other() {
    let page = Page::read("docs/reference/job-file.md");
    let rows = page.text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let shown: BTreeSet<_> = rows.filter(|key| key.contains('.')).map(str::to_owned).collect();
    let known: BTreeSet<_> = TABLES.into_iter().flat_map(keys_of).collect();
    assert_eq!(shown, known);
}

/// Returns the codes of all findings that the sources can make.
fn findings(folder: &Path, codes: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains("tests") {
            continue;
        }
        if path.is_dir() {
            findings(&path, codes);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = fs::read_to_string(path).expect("a source");
            let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            for quoted in text.split('"').skip(1).step_by(2) {
                let is_word = |c: char| c.is_ascii_lowercase() || c == '-';
                let begins = [
                    "key-", "column-", "table-", "server-", "role-", "old-", "replica-", "hold-",
                    "sync-", "ddl-",
                ];
                let is_code = quoted.chars().all(is_word)
                    && begins.iter().any(|begin| quoted.starts_with(begin) && quoted != *begin);
                codes.extend(is_code.then(|| quoted.to_owned()));
            }
        }
    }
}

#[test]
fn the_page_of_findings_has_every_code() {
    let mut codes = BTreeSet::new();
    findings(&page::root("src/plan"), &mut codes);
    findings(&page::root("src/throttle"), &mut codes);
    assert!(codes.contains("hold-blind"), "{codes:?}");
    assert!(codes.len() > 40, "{codes:?}");
    let page = Page::read("docs/reference/findings.md");
    let missing: Vec<_> =
        codes.iter().filter(|it| !page.text.contains(&format!("`{it}`"))).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
}

#[test]
fn the_page_of_the_ledger_has_every_table_and_column() {
    let page = Page::read("docs/reference/ledger.md");
    let mut n_columns = 0;
    for line in ledger_sql(0, None).lines() {
        let name = match (line.strip_prefix("CREATE TABLE "), line.strip_prefix("    ")) {
            (Some(table), _) => table.trim_end_matches(" ("),
            (_, Some(column)) if column.starts_with(|c: char| c.is_ascii_lowercase()) => {
                n_columns += 1;
                column.split_whitespace().next().unwrap_or_default()
            }
            _ => continue,
        };
        assert!(page.text.contains(&format!("`{name}`")), "`{name}` is not on the page");
    }
    assert!(n_columns > 50, "{n_columns} columns were found");
}

#[test]
fn the_page_of_the_ledger_counts_its_tables_and_has_every_version_up_to_ours() {
    let page = Page::read("docs/reference/ledger.md");
    let sql = ledger_sql(0, None);
    let words = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
    let tables = words[sql.matches("CREATE TABLE ").count()];
    assert!(page.text.contains(&format!("{tables} ordinary, logged tables")), "{tables} tables");
    let noted = sql.split("INSERT INTO piecemeal.ledger (version) VALUES (").skip(1);
    let known: Vec<_> = noted.filter_map(|rest| rest.split(')').next()).collect();
    let shown = page.text.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let shown: Vec<_> =
        shown.map(|(cell, _)| cell).filter(|it| it.parse::<u32>().is_ok()).collect();
    assert_eq!(shown, known);
    let ours = known.last().expect("a version");
    assert!(page.text.contains(&format!("works with version {ours}.")), "ours is {ours}");
}

#[test]
fn the_page_of_output_has_every_event_and_ending() {
    let page = Page::read("docs/reference/output.md");
    let source = Page::read("src/report/json.rs").text;
    let told = source.split("fn told(").nth(1).and_then(|rest| rest.split("\n}\n").next());
    // A name is followed by a comma, and what belongs to it by a colon.
    let pieces: Vec<_> = told.unwrap_or_default().split('"').collect();
    let literals = pieces.iter().skip(1).step_by(2).zip(pieces.iter().skip(2).step_by(2));
    let events = literals.filter(|(_, next)| next.starts_with(',')).map(|(name, _)| *name);
    let events: BTreeSet<_> = events.collect();
    assert!(events.len() >= 10, "{events:?}");
    for event in events.into_iter().chain(["finished", "left", "cancelled", "failed"]) {
        assert!(page.text.contains(&format!("| `{event}` |")), "`{event}` is not on the page");
    }
}
