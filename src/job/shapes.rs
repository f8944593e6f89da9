//! The job file: its statements, its gates, and the jobs that it comes after.
//!
//! Promises that each statement is one, and can be run by itself. Whether the server takes it, only the server knows.

use std::ops::Range;

use toml::Spanned;

use super::document::Section;
use super::file::File;
use super::fragment::{Fragment, scan_query, scan_statement};
use super::keys::{GATE, header, shortened};
use super::name::is_word;
use super::problem::Problem;
use super::shape::{Gate, Shape, Steps};

/// The most gates that a job has; each needs somebody who looks after it.
const MAX_GATES: usize = 32;

/// What only rows have, of the tables of a job file.
const OF_ROWS: [&str; 4] = ["batch", "hold", "bad_rows", "verify"];

impl File<'_> {
    /// Takes the schema side of the job named `job`.
    pub(super) fn shape(&mut self, root: &Section<'_>) -> Shape {
        let shape = Shape {
            expand: self.steps(root, "expand"),
            contract: self.steps(root, "contract"),
            gates: self.gates(root),
            after: self.after(root),
        };
        self.check_shape(root);
        shape
    }

    fn steps(&mut self, root: &Section<'_>, name: &'static str) -> Steps {
        let Some(section) = self.reader.section(root, name) else { return Steps::default() };
        let up = self.statements(&section, "up");
        let is_empty = up.as_ref().is_some_and(Vec::is_empty);
        if is_empty || !section.mentions("up") {
            let message = format!("[{name}] needs `up`, its statements");
            let problem = Problem::new("missing-key", message)
                .help("add for example up = [\"ALTER TABLE posts ADD COLUMN loc point\"]");
            self.note(problem, section.span.clone());
        }
        Steps { up: up.unwrap_or_default(), down: self.statements(&section, "down") }
    }

    fn statements(&mut self, section: &Section<'_>, key: &str) -> Option<Vec<Fragment>> {
        let list = self.reader.strings(section, key)?.into_inner();
        let path = section.path(key);
        let statements = list.into_iter().map(|text| {
            let fragment = Fragment { span: text.span(), text: text.into_inner() };
            self.check_fragment(&path, &fragment, scan_statement);
            fragment
        });
        Some(statements.collect())
    }

    fn gates(&mut self, root: &Section<'_>) -> Vec<Gate> {
        let sections = self.reader.sections(root, GATE, MAX_GATES);
        sections.iter().filter_map(|gate| self.gate(gate)).collect()
    }

    fn gate(&mut self, gate: &Section<'_>) -> Option<Gate> {
        if let Some(before) = self.reader.string(gate, "before", "contract")
            && before.get_ref() != "contract"
        {
            self.not_a_choice("gate.before", &before, &["contract"]);
        }
        let sql = self.reader.string(gate, "sql", "SELECT count(*) = 0 FROM …").map(|sql| {
            let fragment = Fragment { span: sql.span(), text: sql.into_inner() };
            self.check_fragment("gate.sql", &fragment, scan_query);
            fragment
        });
        let message = self.reader.string(gate, "message", "deploy API 42");
        let message = message.map(Spanned::into_inner);
        if !gate.mentions("sql") && !gate.mentions("message") {
            let problem = Problem::new("missing-key", "[[gate]] needs `sql`, `message` or both")
                .help("add for example message = \"deploy API 42, which reads loc\"");
            self.note(problem, gate.span.clone());
            return None;
        }
        Some(Gate { sql, message, span: gate.span.clone() })
    }

    fn after(&mut self, root: &Section<'_>) -> Vec<String> {
        let list = self.reader.strings(root, "after").map(Spanned::into_inner).unwrap_or_default();
        let mut names: Vec<String> = Vec::new();
        for name in list {
            let (span, name) = (name.span(), name.into_inner());
            let shown = shortened(&name);
            if !is_word(&name) {
                let problem =
                    Problem::new("name", format!("`{shown}` cannot be the name of a job"))
                        .help("name the job as its file is called, without `.toml`");
                self.note(problem, span);
            } else if names.contains(&name) {
                let problem =
                    Problem::new("contradiction", format!("`after` names `{shown}` twice"))
                        .help("remove one of the two");
                self.note(problem, span);
            } else {
                names.push(name);
            }
        }
        names
    }

    /// Sees to it that nothing is written that could have no effect, and nothing taken away unproven.
    fn check_shape(&mut self, root: &Section<'_>) {
        let expand = root.span_of("expand");
        let contract = root.span_of("contract");
        let has_work = root.mentions("set");
        if let (Some(contract), None, false) = (&contract, &expand, has_work) {
            let message = "nothing comes before the [contract] of this job";
            let help = "write its statements under [expand], or add the work that comes before";
            self.note(Problem::new("contradiction", message).help(help), contract.clone());
        }
        if let (Some(span), None) = (root.span_of(GATE), &contract) {
            let message = "a [[gate]] is what [contract] waits for, and this job has none";
            let help = "add [contract], or remove the gate";
            self.note(Problem::new("contradiction", message).help(help), span);
        }
        if !has_work && expand.is_some() {
            for name in OF_ROWS {
                if let Some(span) = root.span_of(name) {
                    self.note(without_rows(&header(name)), span);
                }
            }
        }
    }
}

/// What is wrong where a job that has only statements says something of rows.
pub(super) fn without_rows(what: &str) -> Problem {
    let message = format!("{what} is about rows, and this job changes none");
    Problem::new("contradiction", message).help("remove it, or add [set]")
}

/// What is wrong where nothing would prove that the old shape may go.
pub(super) fn unproven(contract: Range<usize>) -> Problem {
    let message = "[contract] needs `table.where` or `verify.expect`: without them nothing proves that every row is done";
    Problem::new("missing-key", message).at(contract).help(
        "add for example under [table]: where = \"loc IS NULL\", if a row that is done no longer matches",
    )
}
