//! Takes values out of a TOML document by their kind, and notes what is of another kind.
//!
//! The document is walked instead of deserialized, because a deserializer stops at the first problem and people want
//! all of them. A key that is missing gives `None` and no problem; one that is wrong gives `None` and a problem.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::keys::{header, is_meant, judge, path, shortened};
use super::problem::Problem;

type Value<'d> = Spanned<DeValue<'d>>;

/// One table of the document, whose keys have been judged.
pub(super) struct Section<'d> {
    name: &'static str,
    table: &'d DeTable<'d>,
    /// Its header, or the key that holds it.
    pub(super) span: Range<usize>,
}

impl<'d> Section<'d> {
    /// Shows one of its keys with the table, as in `batch.max`.
    pub(super) fn path(&self, key: &str) -> String {
        path(self.name, key)
    }

    /// Says where a key has its value, if it is there.
    pub(super) fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(Spanned::span)
    }

    /// Says whether a key is there, or one that was meant to be it.
    pub(super) fn mentions(&self, key: &str) -> bool {
        self.table.keys().any(|written| is_meant(self.name, written.get_ref(), key))
    }

    /// Lists the keys and values in the order of the file.
    pub(super) fn entries(&self) -> Vec<(Spanned<&'d str>, &'d Value<'d>)> {
        let mut entries: Vec<_> = self
            .table
            .iter()
            .map(|(key, value)| (Spanned::new(key.span(), key.get_ref().as_ref()), value))
            .collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }
}

/// Reads sections, and keeps what is wrong with them.
#[derive(Default)]
pub(super) struct Reader {
    /// What has been found wrong so far, in no order.
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    /// Begins with the document itself.
    pub(super) fn root<'d>(&mut self, table: &'d DeTable<'d>) -> Section<'d> {
        let root = Section { name: "", table, span: 0..0 };
        self.judge_keys(&root);
        root
    }

    /// Takes a table of which every key must be known.
    pub(super) fn section<'d>(
        &mut self,
        root: &Section<'d>,
        name: &'static str,
    ) -> Option<Section<'d>> {
        let section = self.free_section(root, name)?;
        self.judge_keys(&section);
        Some(section)
    }

    /// Takes a table whose keys are the user's own.
    pub(super) fn free_section<'d>(
        &mut self,
        parent: &Section<'d>,
        name: &'static str,
    ) -> Option<Section<'d>> {
        let value = parent.table.get(last_word(name))?;
        if let DeValue::Table(table) = value.get_ref() {
            return Some(Section { name, table, span: value.span() });
        }
        let help = if is_list_of_tables(value.get_ref()) {
            format!("write `[{name}]`, with single brackets")
        } else {
            format!("write `[{name}]` on a line of its own, and its keys on the lines below")
        };
        self.mismatch(name, "a table", value, help);
        None
    }

    /// Takes the tables of a list, such as each `[[hold]]`, in the order of the file; beyond `most` they are refused.
    pub(super) fn sections<'d>(
        &mut self,
        parent: &Section<'d>,
        name: &'static str,
        most: usize,
    ) -> Vec<Section<'d>> {
        let Some(value) = parent.table.get(last_word(name)) else { return Vec::new() };
        let header = header(name);
        let Some(list) = value.get_ref().as_array() else {
            let help = if value.get_ref().is_table() {
                format!("write `{header}`, with double brackets")
            } else {
                format!("write `{header}` on a line of its own, and its keys on the lines below")
            };
            self.mismatch(name, "a list of tables", value, help);
            return Vec::new();
        };
        if let Some(first) = list.get(most) {
            let message = format!("a job has at most {most} {header}, found {}", list.len());
            self.problems.push(Problem::new("out-of-range", message).at(first.span()));
        }
        let mut sections = Vec::new();
        for item in list.iter().take(most) {
            if let DeValue::Table(table) = item.get_ref() {
                let section = Section { name, table, span: item.span() };
                self.judge_keys(&section);
                sections.push(section);
            } else {
                let help = format!("write `{header}`, and its keys on the lines below");
                self.mismatch(name, "a list of tables", item, help);
            }
        }
        sections
    }

    fn judge_keys(&mut self, section: &Section<'_>) {
        let name = section.name;
        let problems = section.entries().into_iter().filter_map(|(key, _)| {
            judge(name, key.get_ref()).map(|problem| problem.at(key.span()))
        });
        self.problems.extend(problems);
    }

    /// Takes a string, of which the example is one.
    pub(super) fn string(
        &mut self,
        section: &Section<'_>,
        key: &str,
        example: &str,
    ) -> Option<Spanned<String>> {
        let value = section.table.get(key)?;
        if let DeValue::String(text) = value.get_ref() {
            return Some(Spanned::new(value.span(), text.to_string()));
        }
        let help = format!("write for example {key} = \"{example}\"");
        self.mismatch(&path(section.name, key), "a string", value, help);
        None
    }

    /// Takes a list of strings, each with its place.
    pub(super) fn strings(
        &mut self,
        section: &Section<'_>,
        key: &str,
    ) -> Option<Spanned<Vec<Spanned<String>>>> {
        let value = section.table.get(key)?;
        let shown = path(section.name, key);
        let DeValue::Array(list) = value.get_ref() else {
            let example = value.get_ref().as_str().map_or_else(|| "…".to_owned(), shortened);
            let help = format!("write {key} = [\"{example}\"]");
            self.mismatch(&shown, "a list of strings", value, help);
            return None;
        };
        let before = self.problems.len();
        let mut strings = Vec::new();
        for item in list {
            if let Some(text) = item.get_ref().as_str() {
                strings.push(Spanned::new(item.span(), text.to_owned()));
            } else {
                let help = "put each name into quotes".to_owned();
                self.mismatch(&shown, "a list of strings", item, help);
            }
        }
        (self.problems.len() == before).then(|| Spanned::new(value.span(), strings))
    }

    /// Takes a whole number within bounds.
    pub(super) fn integer(
        &mut self,
        section: &Section<'_>,
        key: &str,
        (low, high): (u32, u32),
    ) -> Option<Spanned<u32>> {
        let value = section.table.get(key)?;
        let shown = path(section.name, key);
        let DeValue::Integer(integer) = value.get_ref() else {
            let digits = value.get_ref().as_str().filter(|text| text.parse::<u32>().is_ok());
            let help = digits.map_or_else(
                || "write a whole number, without a fraction and without quotes".to_owned(),
                |digits| format!("write {key} = {digits}, without quotes"),
            );
            self.mismatch(&shown, "a whole number", value, help);
            return None;
        };
        let number = number(integer).filter(|number| (low..=high).contains(number));
        if number.is_none() {
            let (low, high) = (grouped(low), grouped(high));
            let message = format!("`{shown}` must be from {low} to {high}, found {integer}");
            self.problems.push(Problem::new("out-of-range", message).at(value.span()));
        }
        number.map(|number| Spanned::new(value.span(), number))
    }

    /// Takes a text with a unit; a bare number gets to the same function, which refuses it in its own words.
    pub(super) fn measure<T, E: std::fmt::Display>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Spanned<T>> {
        let value = section.table.get(key)?;
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.to_string(), |number| number.to_string()),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                let help = format!("write {key} = \"…\", a number and its unit");
                self.mismatch(&path(section.name, key), "a text with a unit", value, help);
                return None;
            }
        };
        match read(&text) {
            Ok(measured) => Some(Spanned::new(value.span(), measured)),
            Err(error) => {
                let message = format!("`{}`: {error}", path(section.name, key));
                self.problems.push(Problem::new("unit", message).at(value.span()));
                None
            }
        }
    }

    /// Notes a value of the wrong kind.
    pub(super) fn mismatch(&mut self, what: &str, expected: &str, value: &Value<'_>, help: String) {
        let message = format!("`{what}` must be {expected}, found {}", found(value.get_ref()));
        self.problems.push(Problem::new("wrong-type", message).at(value.span()).help(help));
    }
}

/// The key of a table within the one that holds it.
fn last_word(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn is_list_of_tables(value: &DeValue<'_>) -> bool {
    value.as_array().is_some_and(|list| list.iter().any(|item| item.get_ref().is_table()))
}

fn number(integer: &DeInteger<'_>) -> Option<u32> {
    u32::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Says what a value is, for a person who expected something else.
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string \"{}\"", shortened(text)),
        DeValue::Integer(number) => format!("the number {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(date) => format!("the date {date}"),
        DeValue::Array(_) if is_list_of_tables(value) => "a list of tables".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Writes a number with commas, as in 50,000.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}
