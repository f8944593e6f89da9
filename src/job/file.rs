//! The job file: what each key says by itself.
//!
//! Promises that every key was looked at, that each value has its kind, unit and bounds, and that all that is wrong
//! is noted. The pace and the holds have files of their own. What the keys say together, and what holds when they say
//! nothing, is in `resolve`.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Reader, Section};
use super::fragment::{Fragment, Refusal, scan};
use super::hold::Hold;
use super::keys::{self, nearest};
use super::model::{Assignment, Order, Policy, Stripes, SynchronousCommit};
use super::name::{NameError, TableName, check_name};
use super::pace::RawPace;
use super::problem::Problem;
use super::shape::Shape;
use super::source::Source;
use super::sync::RawSync;
use super::units::{parse_duration_in, show_duration};
use super::window::TARGETS;

const MAX_ROWS: u32 = 1_000_000;

const GIVE_WAYS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_mins(1));

/// An index has at most so many columns.
const MAX_KEY: usize = 32;

/// So many choices are listed in a message; more are left to its help, so that its line fits a screen.
const MAX_LISTED: usize = 6;

/// A job file whose values are read, each by itself; what is missing or wrong is `None`.
#[derive(Default)]
pub(super) struct RawJob {
    pub(super) description: Option<String>,
    pub(super) table: RawTable,
    pub(super) set: Vec<Assignment>,
    pub(super) batch: RawBatch,
    pub(super) pace: RawPace,
    pub(super) holds: Vec<Hold>,
    pub(super) bad_rows: (Option<Policy>, Option<u32>),
    pub(super) expect: Option<Fragment>,
    pub(super) sync: Option<RawSync>,
    pub(super) shape: Shape,
    /// Where [contract] is.
    pub(super) contract: Option<Range<usize>>,
    /// Where the jobs are that it comes after.
    pub(super) after: Option<Range<usize>>,
}

/// `[table]`, read.
#[derive(Default)]
pub(super) struct RawTable {
    pub(super) name: Option<Spanned<TableName>>,
    pub(super) key: Option<Spanned<Vec<String>>>,
    pub(super) order: Option<Spanned<Order>>,
    pub(super) filter: Option<Fragment>,
    pub(super) search_path: Vec<String>,
}

/// `[batch]`, read.
#[derive(Default)]
pub(super) struct RawBatch {
    pub(super) target: Option<Spanned<Duration>>,
    pub(super) min: Option<Spanned<u32>>,
    pub(super) max: Option<Spanned<u32>>,
    pub(super) give_way: Option<Spanned<Duration>>,
    pub(super) rows: Option<Spanned<u32>>,
    pub(super) synchronous_commit: Option<SynchronousCommit>,
    pub(super) stripes: Option<Stripes>,
}

/// Reads a document, and returns what it says together with everything that is wrong with it.
pub(super) fn read(document: &DeTable<'_>, source: &Source) -> (RawJob, Vec<Problem>) {
    let mut file = File { reader: Reader::default(), source };
    let root = file.reader.root(document);
    file.check_work(&root);
    let raw = RawJob {
        shape: file.shape(&root),
        contract: root.span_of("contract"),
        after: root.span_of("after"),
        description: file.description(&root),
        table: file.table(&root),
        set: file.set(&root),
        batch: file.batch(&root),
        pace: file.pace(&root),
        holds: file.holds(&root),
        bad_rows: file.bad_rows(&root),
        expect: file.verify(&root),
        sync: file.sync(&root),
    };
    (raw, file.reader.problems)
}

/// What has been read, and from where.
pub(super) struct File<'s> {
    pub(super) reader: Reader,
    source: &'s Source,
}

impl File<'_> {
    /// Notes what is wrong at a place.
    pub(super) fn note(&mut self, problem: Problem, span: Range<usize>) {
        self.reader.problems.push(problem.at(span));
    }

    fn description(&mut self, root: &Section<'_>) -> Option<String> {
        let description = self.reader.string(root, "description", "what this job is for")?;
        if description.get_ref().contains('\0') {
            let problem = Problem::new("name", "`description` contains a NUL byte");
            self.note(problem.help("remove the `\\u0000`"), description.span());
        }
        Some(description.into_inner())
    }

    /// Sees to it that there is one kind of work.
    fn check_work(&mut self, root: &Section<'_>) {
        let mut found: Vec<(&str, Range<usize>)> = keys::WORK
            .into_iter()
            .filter_map(|kind| root.span_of(kind).map(|span| (kind, span)))
            .collect();
        found.sort_by_key(|(_, span)| span.start);
        if found.is_empty() && !["set", "expand", "contract"].iter().any(|key| root.mentions(key)) {
            let message = "a job needs exactly one of [set], [delete], [copy], [sql], [transform]";
            let problem = Problem::new("missing-key", message)
                .help("add for example\n[set]\ncolumn = \"an SQL expression over the row\"");
            self.note(problem, root.span.clone());
        }
        if let [.., (_, last)] = &found[..]
            && found.len() > 1
        {
            let kinds: Vec<String> = found.iter().map(|(kind, _)| format!("[{kind}]")).collect();
            let message =
                format!("{} are in one job, and a job does one kind of work", kinds.join(" and "));
            let problem = Problem::new("contradiction", message)
                .help("keep one of them, and write a second job file for the other");
            self.note(problem, last.clone());
        }
    }

    fn table(&mut self, root: &Section<'_>) -> RawTable {
        let Some(table) = self.reader.section(root, "table") else {
            let has_statements = ["expand", "contract"].iter().any(|key| root.mentions(key));
            let has_rows = root.mentions("set") || !has_statements;
            if !root.mentions("table") && has_rows {
                let problem =
                    Problem::new("missing-key", "a job needs a [table] with the name of the table")
                        .help("add for example\n[table]\nname = \"public.posts\"");
                self.note(problem, root.span.clone());
            }
            return RawTable::default();
        };
        RawTable {
            name: self.table_name(&table),
            key: self.key(&table),
            order: self.order(&table),
            filter: self.fragment(&table, "where"),
            search_path: self.names(&table, "search_path").unwrap_or_default().1,
        }
    }

    fn table_name(&mut self, table: &Section<'_>) -> Option<Spanned<TableName>> {
        if !table.mentions("name") {
            let problem = Problem::new("missing-key", "[table] needs the `name` of the table")
                .help("add for example name = \"public.posts\"");
            self.note(problem, table.span.clone());
        }
        let name = self.reader.string(table, "name", "public.posts")?;
        match name.get_ref().parse() {
            Ok(parsed) => Some(Spanned::new(name.span(), parsed)),
            Err(error) => {
                self.bad_name("table.name", &error, name.span());
                None
            }
        }
    }

    fn bad_name(&mut self, key: &str, error: &NameError, span: Range<usize>) {
        let problem = Problem::new("name", format!("`{key}`: {}", error.message));
        self.note(problem.help(error.help), span);
    }

    fn key(&mut self, table: &Section<'_>) -> Option<Spanned<Vec<String>>> {
        let (span, names) = self.names(table, "key")?;
        let (message, help) = if names.is_empty() {
            (
                "`table.key` names no column".to_owned(),
                "name the columns, or leave it out to walk by the primary key",
            )
        } else if names.len() > MAX_KEY {
            let message =
                format!("`table.key` has at most {MAX_KEY} columns, found {}", names.len());
            (message, "name the columns of one unique index")
        } else {
            return Some(Spanned::new(span, names));
        };
        self.note(Problem::new("out-of-range", message).help(help), span);
        None
    }

    /// Takes a list of names, each fit for `PostgreSQL` and there once.
    fn names(&mut self, table: &Section<'_>, key: &str) -> Option<(Range<usize>, Vec<String>)> {
        let list = self.reader.strings(table, key)?;
        let span = list.span();
        let shown = keys::path("table", key);
        let mut names: Vec<String> = Vec::new();
        for name in list.into_inner() {
            let place = name.span();
            if let Err(error) = check_name(name.get_ref()) {
                self.bad_name(&shown, &error, place);
            } else if names.contains(name.get_ref()) {
                let message = format!("`{shown}` names `{}` twice", name.get_ref());
                self.note(
                    Problem::new("contradiction", message).help("remove one of the two"),
                    place,
                );
            }
            // The count is checked later; a list of a whole megabyte need not be compared with itself.
            if names.len() <= MAX_KEY {
                names.push(name.into_inner());
            }
        }
        Some((span, names))
    }

    fn order(&mut self, table: &Section<'_>) -> Option<Spanned<Order>> {
        let written = self.reader.string(table, "order", "key")?;
        let chosen = Order::ALL.into_iter().find(|order| order.as_str() == written.get_ref());
        if chosen.is_none() {
            self.not_a_choice("table.order", &written, &Order::ALL.map(Order::as_str));
        }
        chosen.map(|order| Spanned::new(written.span(), order))
    }

    /// Notes a word that is none of those that a key takes.
    pub(super) fn not_a_choice(&mut self, key: &str, written: &Spanned<String>, choices: &[&str]) {
        let listed: Vec<String> = choices.iter().map(|choice| format!("\"{choice}\"")).collect();
        let kind = if choices.len() == 1 { "must be" } else { "must be one of" };
        let found = keys::shortened(written.get_ref());
        let is_long = choices.len() > MAX_LISTED;
        let message = if is_long {
            format!("`{key}` cannot be \"{found}\"")
        } else {
            format!("`{key}` {kind} {}, found \"{found}\"", listed.join(", "))
        };
        let mut problem = Problem::new("wrong-value", message);
        if let Some(near) = nearest(written.get_ref(), choices) {
            problem = problem.help(format!("did you mean \"{near}\"?"));
        } else if is_long {
            problem = problem.help(format!("it is one of {}", choices.join(", ")));
        }
        self.note(problem, written.span());
    }

    fn set(&mut self, root: &Section<'_>) -> Vec<Assignment> {
        let Some(set) = self.reader.free_section(root, "set") else { return Vec::new() };
        self.assignments(&set, "set")
    }

    /// Takes columns and the expressions that they are set to, at least one.
    pub(super) fn assignments(&mut self, section: &Section<'_>, name: &str) -> Vec<Assignment> {
        let entries = section.entries();
        let header = keys::header(name);
        if entries.is_empty() {
            let problem = Problem::new("missing-key", format!("{header} names no column"))
                .help("add below it for example loc = \"point(lng, lat)\"");
            self.note(problem, section.span.clone());
        }
        let mut assignments = Vec::new();
        for (column, value) in entries {
            if let Err(error) = check_name(column.get_ref()) {
                self.bad_name(&header, &error, column.span());
            }
            if let Some(expression) = self.expression(&keys::path(name, column.get_ref()), value) {
                let column_span = column.span();
                let column = column.into_inner().to_owned();
                assignments.push(Assignment { column, expression, column_span });
            }
        }
        assignments
    }

    pub(super) fn fragment(&mut self, section: &Section<'_>, key: &str) -> Option<Fragment> {
        let (_, value) = section.entries().into_iter().find(|(name, _)| *name.get_ref() == key)?;
        self.expression(key, value)
    }

    /// Takes a value that is one SQL expression.
    fn expression(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Fragment> {
        let key = keys::shortened(key);
        let Some(text) = value.get_ref().as_str() else {
            let help = self.as_expression(value);
            self.reader.mismatch(&key, "an SQL expression", value, help);
            return None;
        };
        let fragment = Fragment { text: text.to_owned(), span: value.span() };
        self.check_fragment(&key, &fragment, scan);
        Some(fragment)
    }

    /// Sees to it that a piece of SQL stays within the parentheses that are put around it.
    pub(super) fn check_fragment(
        &mut self,
        key: &str,
        fragment: &Fragment,
        scan: fn(&str) -> Result<(), Refusal>,
    ) {
        if let Err(refusal) = scan(&fragment.text) {
            let problem = Problem::new("expression", format!("`{key}`: {}", refusal.message));
            let place = self.source.locate(fragment, refusal.at);
            self.note(problem.help(refusal.help), place);
        }
    }

    /// Says how a value that is not a string is written as SQL.
    fn as_expression(&self, value: &Spanned<DeValue<'_>>) -> String {
        let raw = self.source.text.get(value.span()).unwrap_or("…");
        let example = match value.get_ref() {
            DeValue::Table(_) => {
                return "a column whose name has a dot is written in quotes: \"a.b\" = \"…\""
                    .to_owned();
            }
            DeValue::Array(_) => "ARRAY['a', 'b']".to_owned(),
            // Without quotes of its own, SQL would read a date as a subtraction.
            DeValue::Datetime(_) => format!("'{raw}'"),
            DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                raw.to_owned()
            }
        };
        format!("write it as an SQL expression in quotes: \"{example}\"")
    }

    fn batch(&mut self, root: &Section<'_>) -> RawBatch {
        let Some(batch) = self.reader.section(root, "batch") else { return RawBatch::default() };
        let rows = (1, MAX_ROWS);
        RawBatch {
            target: self.duration(&batch, "target", TARGETS),
            min: self.reader.integer(&batch, "min", rows),
            max: self.reader.integer(&batch, "max", rows),
            give_way: self.duration(&batch, "give_way", GIVE_WAYS),
            rows: self.reader.integer(&batch, "rows", rows),
            synchronous_commit: self.synchronous_commit(&batch),
            stripes: self.stripes(&batch),
        }
    }

    /// Takes a length of time within bounds.
    pub(super) fn duration(
        &mut self,
        section: &Section<'_>,
        key: &str,
        (low, high): (Duration, Duration),
    ) -> Option<Spanned<Duration>> {
        // Who leaves the unit out of a longer time means seconds.
        let unit = if low < Duration::from_secs(1) { "ms" } else { "s" };
        let read = |text: &str| parse_duration_in(text, unit);
        let duration = self.reader.measure(section, key, read)?;
        if (low..=high).contains(duration.get_ref()) {
            return Some(duration);
        }
        let found = show_duration(*duration.get_ref());
        let (low, high) = (show_duration(low), show_duration(high));
        let key = section.path(key);
        let message = format!("`{key}` must be from {low} to {high}, found {found}");
        self.note(Problem::new("out-of-range", message), duration.span());
        None
    }

    fn synchronous_commit(&mut self, batch: &Section<'_>) -> Option<SynchronousCommit> {
        let written = self.reader.string(batch, "synchronous_commit", "off")?;
        let choices = SynchronousCommit::ALL;
        let chosen = choices.into_iter().find(|choice| choice.as_str() == written.get_ref());
        if chosen.is_none() {
            let names = choices.map(SynchronousCommit::as_str);
            self.not_a_choice("batch.synchronous_commit", &written, &names);
        }
        chosen
    }

    fn stripes(&mut self, batch: &Section<'_>) -> Option<Stripes> {
        self.reader.measure(batch, "stripes", str::parse).map(Spanned::into_inner)
    }

    fn bad_rows(&mut self, root: &Section<'_>) -> (Option<Policy>, Option<u32>) {
        let Some(bad_rows) = self.reader.section(root, "bad_rows") else { return (None, None) };
        let written = self.reader.string(&bad_rows, "policy", "stop");
        let policy = written.and_then(|written| {
            let chosen = Policy::ALL.into_iter().find(|it| it.as_str() == written.get_ref());
            if chosen.is_none() {
                self.not_a_choice("bad_rows.policy", &written, &Policy::ALL.map(Policy::as_str));
            }
            chosen
        });
        let max = self.reader.integer(&bad_rows, "max", (0, u32::MAX)).map(Spanned::into_inner);
        (policy, max)
    }

    fn verify(&mut self, root: &Section<'_>) -> Option<Fragment> {
        let verify = self.reader.section(root, "verify")?;
        self.fragment(&verify, "expect")
    }
}
