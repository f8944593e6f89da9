//! The text of a new job file, with what is known of its table in comments.
//!
//! It promises that nothing in it changes a row before a person has said what should change, and that no name of the
//! table can end a comment or a string.

use std::fmt::Write as _;

use super::builder::{list, quoted};
use super::units::show_bytes;

/// What is known of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The job.
    pub job: String,
    /// Schema and table, as a job file names them.
    pub table: String,
    /// Rows, if somebody has counted them.
    pub rows: Option<u64>,
    /// Bytes of the table's own file.
    pub bytes: u64,
    /// The columns to walk along.
    pub key: Vec<String>,
    /// Whether they are the primary key, which needs no line in the file.
    pub is_primary: bool,
    /// The columns, in the table's order.
    pub columns: Vec<DraftColumn>,
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftColumn {
    /// Its name.
    pub name: String,
    /// Its name in SQL.
    pub quoted: String,
    /// Its type in SQL.
    pub sql_type: String,
    /// Whether no row has NULL in it.
    pub is_not_null: bool,
    /// Why it cannot be set, if it cannot.
    pub fixed: Option<&'static str>,
}

impl Draft {
    /// Returns the text of the file.
    pub fn text(&self) -> String {
        // Writing to a String cannot fail.
        let mut text = String::new();
        let Draft { job, table, .. } = self;
        let _ = writeln!(
            text,
            "# A job for {}: {}.\n#\n\
             # 1. Say under [set] what should change, and remove what you do not need.\n\
             # 2. piecemeal check {job}    reads this file\n\
             # 3. piecemeal plan {job}     shows what would happen; changes nothing\n\
             # 4. piecemeal run {job}\n",
            comment(table),
            self.size()
        );
        let _ = writeln!(text, "# description = \"What it is for\"\n");
        let _ = writeln!(text, "[table]\nname = {}", quoted(table));
        self.write_key(&mut text);
        self.write_filter(&mut text);
        self.write_set(&mut text);
        self.write_rest(&mut text);
        text
    }

    fn size(&self) -> String {
        let bytes = show_bytes(self.bytes);
        match self.rows {
            Some(rows) => format!("about {rows} rows, {bytes}"),
            None => format!("{bytes}, its rows were never counted (ANALYZE does it)"),
        }
    }

    fn write_key(&self, text: &mut String) {
        let (mark, why) = if self.is_primary { ("# ", "primary key") } else { ("", "unique key") };
        let _ = writeln!(text, "{mark}key = {}    # the {why}", list(&self.key));
    }

    /// The column that a job would most likely fill: the last one that may be NULL, for new columns come last.
    fn example(&self) -> Option<&DraftColumn> {
        let free = || self.columns.iter().rev().filter(|column| column.fixed.is_none());
        free().find(|column| !column.is_not_null).or_else(|| free().next())
    }

    fn write_filter(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "# The rows that are to do; without it, all of them. A row that is done should no longer match."
        );
        let condition = match self.example() {
            Some(column) if !column.is_not_null => format!("{} IS NULL", column.quoted),
            Some(column) => format!("{} = 'old'", column.quoted),
            None => "true".to_owned(),
        };
        let _ = writeln!(text, "# where = {}\n", quoted(&condition));
    }

    fn write_set(&self, text: &mut String) {
        let _ =
            writeln!(text, "# column = \"an SQL expression over the row\". Its columns are:\n#");
        let shown: Vec<_> = self.columns.iter().map(|column| comment(&column.quoted)).collect();
        let width = shown.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(40);
        for (column, name) in self.columns.iter().zip(shown) {
            let null = if column.is_not_null { ", not null" } else { "" };
            let fixed = column.fixed.map(|why| format!("; cannot be set: {why}"));
            let sql_type = comment(&column.sql_type);
            let fixed = fixed.unwrap_or_default();
            let _ = writeln!(text, "#   {name:width$}  {sql_type}{null}{fixed}");
        }
        let _ = writeln!(text, "[set]");
        if let Some(column) = self.example() {
            let (name, value) = (key(&column.name), quoted(&column.quoted));
            let _ = writeln!(text, "# {name} = {value}");
        }
    }

    fn write_rest(&self, text: &mut String) {
        let expect = self.example().map(|column| format!("{} IS NOT NULL", column.quoted));
        let _ = write!(
            text,
            "
# The defaults are polite: batches of 20 ms, which nobody waits for longer than 100 ms. Some of what else there is:

# [pace]
# rate = \"5k rows/s\"

# [[pace.window]]
# when = \"Mon-Fri 08:00-20:00\"
# zone = \"Europe/Berlin\"
# rate = \"500 rows/s\"

# [verify]    # what must be true for every row in the end
# expect = {}
",
            quoted(&expect.unwrap_or_else(|| "true".to_owned()))
        );
    }
}

/// Writes a key of a table of TOML.
fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// A name may hold anything, and a comment ends with its line.
fn comment(text: &str) -> String {
    let shown = text
        .chars()
        .map(|c| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Job, Source};
    use super::*;

    fn column(name: &str, is_not_null: bool) -> DraftColumn {
        DraftColumn {
            name: name.into(),
            quoted: format!("\"{}\"", name.replace('"', "\"\"")),
            sql_type: "text".into(),
            is_not_null,
            fixed: (name == "id").then_some("it is in the key"),
        }
    }

    fn draft(columns: Vec<DraftColumn>, is_primary: bool) -> String {
        let (job, table) = ("job".into(), "public.t".into());
        let key = vec!["id".into()];
        Draft { job, table, rows: Some(5), bytes: 8_192, key, is_primary, columns }.text()
    }

    fn read(text: &str) -> Result<Job, String> {
        let source = Source { path: None, text: text.to_owned() };
        Job::parse("job", source).map_err(|problems| problems.to_string())
    }

    /// Takes the marks of comments away from every line that is not prose.
    fn uncommented(text: &str) -> String {
        let is_toml = |line: &str| {
            line.contains(" = \"") && !line.contains(" an SQL") || line.starts_with('[')
        };
        let lines = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_toml(rest) && !rest.starts_with("column =") => rest,
            _ => line,
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn it_does_nothing_until_a_person_says_what() {
        let error = read(&draft(vec![column("id", true), column("new", false)], true)).unwrap_err();
        assert!(error.contains("[set]"), "{error}");
    }

    #[test]
    fn every_line_that_is_commented_out_is_right() {
        for is_primary in [true, false] {
            for last in ["new", "a \"b\"", "line\nbreak", "ünï", "a.b", "# x"] {
                for is_not_null in [true, false] {
                    let text =
                        draft(vec![column("id", true), column(last, is_not_null)], is_primary);
                    let job =
                        read(&uncommented(&text)).unwrap_or_else(|error| panic!("{error}\n{text}"));
                    assert!(job.table.filter.is_some());
                    assert_eq!(job.pace.windows.len(), 1);
                    assert_eq!(job.table.key.is_some(), !is_primary, "{text}");
                    let super::super::Work::Set(set) = &job.work;
                    assert_eq!(set[0].column, last);
                }
            }
        }
    }
}
