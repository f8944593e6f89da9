//! The trigger as values: what it compares, what it writes, and what it is called.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::text;

/// Where names begin that are ours in the schemas of the application. Triggers fire in the order of
/// their names, and nobody's come after these by accident.
pub(super) const PREFIX: &str = "zzz_piecemeal_";

/// A column that the trigger looks at; names and types are as the server quoted them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub sql_type: String,
    /// What an INSERT that does not mention it puts there, as SQL; NULL if none.
    pub default: Option<String>,
}

/// A column that the trigger writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The column.
    pub column: Column,
    /// What it is set to, as the job has it.
    pub expression: String,
}

/// Everything that a trigger is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Design {
    /// The job's name.
    pub job: String,
    /// The table's identity.
    pub oid: u32,
    /// The table's schema, quoted.
    pub schema: String,
    /// Schema and table, quoted.
    pub table: String,
    /// The table's own name, quoted: by it, expressions may qualify their columns.
    pub alias: String,
    /// Schemas for the names in the expressions, quoted.
    pub search_path: Vec<String>,
    /// The new columns.
    pub forward: Vec<Written>,
    /// The old columns; empty if they may fall behind.
    pub reverse: Vec<Written>,
    /// What `forward` reads, other than what `reverse` writes.
    pub inputs: Vec<Column>,
    /// What only `reverse` reads, other than what either writes.
    pub shared: Vec<Column>,
    /// The rows that are kept in step; every row if none.
    pub filter: Option<String>,
    /// The rows that the walk has still to do, if the job says.
    pub pending: Option<String>,
}

/// The trigger of a job, and its function, as they are to be in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The name of both; no quotes are needed.
    pub name: String,
    /// The schema of both, quoted.
    pub schema: String,
    /// The table, quoted.
    pub table: String,
    /// The table's identity.
    pub oid: u32,
    /// What the function does.
    pub body: String,
    /// What the function sets while it runs: names and values, as SQL writes them.
    pub settings: Vec<(&'static str, String)>,
    /// The statement that makes the function; it locks no table.
    pub function_sql: String,
    /// The statements that make the trigger, in one transaction.
    pub trigger_sql: String,
    /// The columns that it writes, for people.
    pub writes: String,
    /// A query for the rows in which the new columns are not what the old ones make them, for people.
    pub apart: String,
}

impl Trigger {
    /// What a person is to do where it was away.
    pub(crate) fn set_right(&self) -> String {
        format!("set right which rows of these are wrong: {}", self.apart)
    }
}

/// How it comes to be there again, and to be trusted.
pub(crate) fn made_again(job: &str) -> String {
    format!("`piecemeal run {job} --again` makes the trigger again and verifies")
}

/// Returns the name of a job's trigger and of its function.
pub(crate) fn name_of(job: &str) -> String {
    let mut name = String::from(PREFIX);
    for byte in Sha256::digest(job).iter().take(5) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

impl Design {
    /// Returns the trigger that it describes.
    pub fn trigger(&self) -> Trigger {
        let name = name_of(&self.job);
        let body = text::body(self, &name);
        let settings = text::settings(&self.search_path);
        let function = text::function(self, &name, &settings, &body);
        let trigger = text::trigger(self, &name);
        Trigger {
            schema: self.schema.clone(),
            table: self.table.clone(),
            oid: self.oid,
            writes: self.writes(),
            apart: text::apart(self),
            function_sql: function,
            trigger_sql: trigger,
            body,
            settings,
            name,
        }
    }

    fn writes(&self) -> String {
        let names = |written: &[Written]| {
            written.iter().map(|it| it.column.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let forward = format!("forward to {}", names(&self.forward));
        if self.reverse.is_empty() {
            return forward;
        }
        format!("{forward}; in reverse to {}", names(&self.reverse))
    }
}
