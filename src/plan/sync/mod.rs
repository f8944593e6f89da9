//! From `[sync]` to a trigger, or every reason why not.
//!
//! The server says which columns the expressions read, by what it misses when one is taken away:
//! nothing here understands SQL. Everything is read; the trigger is made when the run begins.

mod facts;
mod check;
mod reads;
mod sample;
mod zone;

use facts::Situation;
use reads::Reads;

use super::explain::{Trial, compile};
use super::facts::{Relation, Table};
use super::target::Target;
use crate::finding::{Finding, Severity};
use crate::job::{Assignment, Fragment, Job, Sync};
use crate::pg::{Fault, Session};
use crate::sync::{Column, Design, Trigger, Written};

/// What `[sync]` is looked at with.
struct Subject<'a> {
    job: &'a Job,
    sync: &'a Sync,
    relation: &'a Relation,
    table: &'a Table,
    target: &'a Target,
    situation: &'a Situation,
}

/// Returns the trigger of a job that has one, and what was found; none if a finding refuses it.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn look(
    session: &mut Session,
    job: &Job,
    (relation, table): (&Relation, &Table),
    target: &Target,
) -> Result<(Option<Trigger>, Vec<Finding>), Fault> {
    let Some(sync) = &job.sync else { return Ok((None, Vec::new())) };
    let situation = facts::read(session, job, sync, target).await?;
    let subject = Subject { job, sync, relation, table, target, situation: &situation };
    let mut findings = check::before(&subject);
    if refuses(&findings) {
        return Ok((None, findings));
    }
    findings.extend(zone::look(session, &subject).await?);
    findings.extend(compile(session, job, target, &subject.trials()).await?);
    if refuses(&findings) {
        return Ok((None, findings));
    }
    let reads = reads::read(session, &subject).await?;
    findings.extend(check::after(&subject, &reads));
    if refuses(&findings) {
        return Ok((None, findings));
    }
    let design = subject.design(&reads);
    findings.extend(sample::look(session, &subject, &design).await?);
    Ok((Some(design.trigger()), findings))
}

fn refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Refuse)
}

impl Subject<'_> {
    /// Everything that the trigger assigns.
    fn written(&self) -> impl Iterator<Item = &Assignment> {
        self.sync.forward.iter().chain(&self.sync.reverse)
    }

    /// The columns that are there, for a subquery.
    fn columns(&self) -> impl Iterator<Item = &super::facts::Column> {
        self.table.columns.iter().filter(|column| !column.is_dropped)
    }

    fn quoted(&self, name: &str) -> String {
        self.table.column(name).map_or_else(String::new, |column| column.quoted.clone())
    }

    /// Every expression, as an UPDATE and as the trigger would have it.
    fn trials(&self) -> Vec<Trial<'_>> {
        let mut trials = Vec::new();
        let names = ["forward", "reverse"];
        for (name, written) in names.into_iter().zip([&self.sync.forward, &self.sync.reverse]) {
            for it in written {
                let shown = format!("sync.{name}.{}", it.column);
                let column = self.quoted(&it.column);
                trials.push(Trial::assignment(shown.clone(), &it.expression, self.target, &column));
                trials.push(self.in_trigger(shown, &it.expression));
            }
        }
        let conditions = [("sync.where", &self.sync.filter), ("where", &self.job.table.filter)];
        for (name, fragment) in conditions {
            if let Some(fragment) = fragment {
                let suffix = format!("\n) IS TRUE {}", self.from(None, &self.situation.alias));
                trials.push(Trial { suffix, ..self.in_trigger(name.to_owned(), fragment) });
            }
        }
        trials
    }

    fn in_trigger<'f>(&self, name: String, fragment: &'f Fragment) -> Trial<'f> {
        let suffix = format!("\n) {}", self.from(None, &self.situation.alias));
        Trial { name, fragment, prefix: "SELECT (\n".to_owned(), suffix }
    }

    /// The table's rows as the trigger sees one, but for a column that is left out.
    fn from(&self, without: Option<i32>, alias: &str) -> String {
        let columns = self.columns().filter(|column| Some(column.number) != without);
        let names: Vec<_> = columns.map(|column| column.quoted.as_str()).collect();
        format!("FROM (SELECT {} FROM ONLY {}) AS {alias}", names.join(", "), self.relation.name)
    }

    fn design(&self, reads: &Reads) -> Design {
        let sync = self.sync;
        let is_written = |column: &&String| self.written().any(|it| it.column == **column);
        let column = |name: &String| self.column(name);
        let is_new = |name: &&String| sync.forward.iter().any(|it| it.column == **name);
        let inputs: Vec<_> = if sync.reverse.is_empty() {
            reads.forward.iter().filter(|name| !is_new(name)).collect()
        } else {
            reads.forward.iter().filter(|name| !is_written(name)).collect()
        };
        let shared = reads.reverse.iter().filter(|name| !is_written(name));
        let shared = shared.filter(|name| !reads.forward.contains(name));
        Design {
            job: self.job.name.clone(),
            oid: self.relation.oid,
            schema: self.relation.schema.clone(),
            table: self.relation.name.clone(),
            alias: self.situation.alias.clone(),
            search_path: self.target.search_path.clone(),
            forward: self.assigned(&sync.forward),
            reverse: self.assigned(&sync.reverse),
            inputs: inputs.into_iter().filter_map(column).collect(),
            shared: shared.filter_map(column).collect(),
            filter: sync.filter.as_ref().map(|fragment| fragment.text.clone()),
            pending: self.pending(reads).map(|fragment| fragment.text.clone()),
        }
    }

    /// The rows that are still to do, if `where` tells them from those that are done: what reads no new column stays
    /// true of a row for ever.
    fn pending(&self, reads: &Reads) -> Option<&Fragment> {
        let tells = self.sync.forward.iter().any(|it| reads.pending.contains(&it.column));
        self.job.table.filter.as_ref().filter(|_| tells)
    }

    fn assigned(&self, assignments: &[Assignment]) -> Vec<Written> {
        let written = assignments.iter().filter_map(|it| {
            let expression = it.expression.text.clone();
            Some(Written { column: self.column(&it.column)?, expression })
        });
        written.collect()
    }

    fn column(&self, name: &str) -> Option<Column> {
        let column = self.table.column(name)?;
        Some(Column {
            name: column.quoted.clone(),
            sql_type: column.sql_type.clone(),
            default: self.situation.default(column.number).and_then(|it| it.sql.clone()),
        })
    }
}
