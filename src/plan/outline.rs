//! What can be said of a job before its expand: everything but what that is going to add.
//!
//! A plan needs every column. Before the statements of `[expand]` are run some may be missing, so what they may cure is
//! taken for cured, and said; the plan is made in full when they have been run.

use std::fmt;

use super::facts::Facts;
use super::{catalog, check};
use crate::error::Error;
use crate::finding::{Finding, Severity};
use crate::job::{Job, Part, Work};
use crate::pg::{Database, Fault, Lane, Session, is_direct, patiently};

/// What preflight refuses and a statement may cure.
const CURABLE: [&str; 6] = [
    "table-missing",
    "column-missing",
    "key-missing",
    "key-no-index",
    "key-column-missing",
    "expression",
];

/// A job whose expand has not been run.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The job.
    pub job: Job,
    /// What preflight found, worst first; nothing that refuses.
    pub findings: Vec<Finding>,
    /// The columns that it sets and that are not there yet.
    pub added: Vec<String>,
}

impl Outline {
    /// Looks at what can be looked at before expand, changing nothing.
    ///
    /// # Errors
    /// Every finding, if one refuses that no statement may cure; or that the catalog could not be read.
    pub async fn build(job: &Job, database: &Database) -> Result<Outline, Error> {
        let read = patiently(Fault::spoils_connection, || async {
            let mut session = database.session(Lane::Work).await?;
            let facts = catalog::read(&mut session, job).await?;
            Ok::<_, Fault>((facts, is_direct(&mut session, database).await?))
        });
        let (facts, is_direct) = read.await.map_err(|fault| {
            Error::of_fault(format!("the plan of `{}` could not be made", job.name), &fault)
        })?;
        let mut findings = check::before_expand(&facts, job);
        findings.extend(check::ddl::pooled(job, is_direct));
        findings = findings.into_iter().map(cured).collect();
        findings.sort_by_key(|finding| finding.severity);
        if findings.iter().any(|finding| finding.severity == Severity::Refuse) {
            return Err(Error::refused(&job.name, findings));
        }
        Ok(Outline { added: added(&facts, job), job: job.clone(), findings })
    }
}

/// A refusal that expand may cure is only said.
fn cured(finding: Finding) -> Finding {
    if finding.severity != Severity::Refuse || !CURABLE.contains(&finding.code) {
        return finding;
    }
    let why = "the statements of [expand] may add it; the plan is made in full when they have been run, and refuses then";
    Finding { severity: Severity::Note, why: why.into(), recipe: Vec::new(), ..finding }
}

fn added(facts: &Facts, job: &Job) -> Vec<String> {
    let Work::Set(assignments) = &job.work;
    let is_there = |name: &str| {
        let table = facts.table.as_ref();
        table.is_some_and(|table| table.column(name).is_some_and(|column| !column.is_dropped))
    };
    let set = assignments.iter().map(|set| &set.column);
    set.filter(|column| !is_there(column)).cloned().collect()
}

/// Returns the quoted schemas in which the names of a job's statements are looked up; `None` if the session's own are.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn path_of(
    session: &mut Session,
    job: &Job,
) -> Result<Option<Vec<String>>, Fault> {
    let name = &job.table.name;
    if name.name.is_empty() {
        return Ok(None);
    }
    let facts = catalog::read(session, job).await?;
    let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
    let found = facts.relation().map(|relation| relation.schema.clone());
    let Some(first) = found.or_else(|| name.schema.as_ref().map(quoted)) else { return Ok(None) };
    let more = facts.surroundings.iter().flat_map(|around| &around.search_path);
    Ok(Some(std::iter::once(first).chain(more.map(|schema| schema.quoted.clone())).collect()))
}

/// Writes the statements of a job, part by part.
pub(super) fn statements(job: &Job) -> Vec<String> {
    let line = |part: Part, no: usize, text: &str| {
        format!("  {part} {no}: {}", text.trim().replace('\n', "\n    "))
    };
    let list = |part: Part| {
        let statements = job.shape.statements(part).unwrap_or_default();
        (1..).zip(statements).map(move |(no, it)| line(part, no, &it.text)).collect::<Vec<_>>()
    };
    Part::ALL.into_iter().flat_map(list).collect()
}

impl fmt::Display for Outline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = &self.job;
        writeln!(
            f,
            "plan: {}{}",
            job.name,
            if job.has_work() { ", before its expand" } else { "" }
        )?;
        if let Some(description) = &job.description {
            writeln!(f, "  {description}")?;
        }
        writeln!(f, "\nstatements, each in a transaction of its own:")?;
        statements(job).iter().try_for_each(|line| writeln!(f, "{line}"))?;
        if job.has_work() {
            f.write_str(
                "\nnot known before expand: the SQL of the rows, how the server would do it, a rehearsal, a forecast; \
                 `plan` shows them when the statements of [expand] have been run, and `run` refuses then what does not fit",
            )?;
        }
        Ok(())
    }
}
