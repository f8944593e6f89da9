//! What a new job file says of its table: read from the catalog, before there is a job.
//!
//! It reads only. A table that cannot be walked is refused by the findings that a plan would have;
//! what a role lacks is for the plan to say, because the file can be written without it.

use super::catalog;
use super::check::{self, key, target, triggers};
use super::facts::{Column, Facts, Index, Table};
use crate::error::{Error, ErrorKind};
use crate::finding::{Finding, Severity};
use crate::job::{Draft, DraftColumn, Job};
use crate::pg::{Database, Fault, Lane};

/// Checks that both could be names, before anything is looked up.
///
/// # Errors
/// That one of them is none, and why.
pub fn check_names(job: &str, table: &str) -> Result<(), Error> {
    named(job, table, None).map(|_| ())
}

/// Looks at `table`, and returns what a file for the job `job` says of it.
///
/// # Errors
/// That one of the names is none; that there is no such table, or it cannot be walked; that the
/// catalog could not be read.
pub async fn draft(job: &str, table: &str, database: &Database) -> Result<Draft, Error> {
    let asked = named(job, table, None)?;
    let broken =
        |fault: Fault| Error::of_fault(format!("the file of `{job}` could not be drafted"), &fault);
    let mut session = database.session(Lane::Work).await.map_err(broken)?;
    let facts = catalog::read(&mut session, &asked).await.map_err(broken)?;
    let refused = |findings| Error::refused(job, findings);
    let stands = against(&facts, &asked, OF_TABLE);
    let Some((relation, found)) = facts.subject().filter(|_| stands.is_empty()) else {
        return Err(refused(stands));
    };
    let (walked, is_primary) = walked(&facts, found, &asked).map_err(refused)?;
    let columns = found.columns.iter().filter(|column| !column.is_dropped);
    Ok(Draft {
        job: job.to_owned(),
        table: relation.name.clone(),
        rows: found.estimate,
        bytes: found.heap_bytes,
        columns: columns.map(|column| described(column, &walked)).collect(),
        key: walked,
        is_primary,
    })
}

/// A job that is there only to be asked about: its table and key are what counts.
fn named(job: &str, table: &str, key: Option<&[String]>) -> Result<Job, Error> {
    let builder = Job::builder(job, table).set("?", "NULL");
    let builder = if let Some(key) = key { builder.key(key) } else { builder };
    builder.build().map_err(|problems| {
        let what = format!("`{}` or `{}` is no name", job.escape_debug(), table.escape_debug());
        let error = Error::new(ErrorKind::Usage, "name", what);
        problems.iter().fold(error, |error, problem| {
            let error = error.because(&problem.message);
            problem.help.iter().fold(error, Error::with_hint)
        })
    })
}

/// What stands against the table itself, and against walking it.
const OF_TABLE: &[check::Check] = &[
    |facts, _| check::server::version(facts),
    target::existence,
    target::kind,
    target::family,
    triggers::rules,
];
const OF_KEY: &[check::Check] = &[key::presence, key::shape, key::types];

fn against(facts: &Facts, job: &Job, checks: &[check::Check]) -> Vec<Finding> {
    let found = checks.iter().flat_map(|check| check(facts, job));
    found.filter(|finding| finding.severity == Severity::Refuse).collect()
}

/// Returns the columns to walk along, and whether they are the primary key: that, else the first
/// unique index that serves; or what stands against the primary key.
fn walked(facts: &Facts, table: &Table, asked: &Job) -> Result<(Vec<String>, bool), Vec<Finding>> {
    let stands = against(facts, asked, OF_KEY);
    if stands.is_empty() {
        let index = key::walked(table, asked);
        return Ok((index.and_then(|index| names(table, index)).unwrap_or_default(), true));
    }
    let unique = table.indexes.iter().filter(|index| index.is_unique && !index.is_primary);
    let mut others = unique.filter_map(|index| names(table, index));
    let fits = |columns: &Vec<String>| {
        let job = named(&asked.name, &asked.table.name.to_string(), Some(columns));
        job.is_ok_and(|job| against(facts, &job, OF_KEY).is_empty())
    };
    others.find(fits).map(|columns| (columns, false)).ok_or(stands)
}

/// The names of an index's columns; nothing if one of its parts is none.
fn names(table: &Table, index: &Index) -> Option<Vec<String>> {
    let name = |number| table.numbered(number).map(|column| column.name.clone());
    index.order().into_iter().map(name).collect()
}

fn described(column: &Column, key: &[String]) -> DraftColumn {
    let fixed = if key.contains(&column.name) {
        Some("it is in the key")
    } else if column.is_generated {
        Some("it is generated")
    } else if column.is_identity_always {
        Some("it is an identity")
    } else {
        None
    };
    DraftColumn {
        name: column.name.clone(),
        quoted: column.quoted.clone(),
        sql_type: column.sql_type.clone(),
        is_not_null: column.is_not_null,
        fixed,
    }
}
