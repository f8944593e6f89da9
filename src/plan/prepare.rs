//! Job + catalog facts, ready to run.

use std::time::Duration;

use super::explain::{self, Explained};
use super::facts::Table;
use super::found::first_key;
use super::limits::read_guards;
use super::served::{Served, served};
use super::statements::Statements;
use super::target::{Target, family};
use super::{catalog, check, split, sync};
use crate::error::Error;
use crate::finding::{Finding, Severity};
use crate::job::{Identity, Job, Size};
use crate::pg::fault::is_timeout;
use crate::pg::{Database, Fault, Guards, Lane, Session, is_direct, patiently};
use crate::sync::Trigger;
use crate::walk::{Key, KeyColumn, Sizer};

/// A job that may run, and everything it needs for it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The job.
    pub job: Job,
    /// What makes it the same job later.
    pub identity: Identity,
    /// Its table.
    pub target: Target,
    /// What will be sent.
    pub statements: Statements,
    /// The trigger that keeps rows in step, if the job has one.
    pub sync: Option<Trigger>,
    /// What preflight found, worst first; nothing that refuses.
    pub findings: Vec<Finding>,
    /// How the server would do it.
    pub explained: Explained,
    /// The highest key there is now.
    pub last_key: Option<Key>,
    /// Where a walk that began now would end: there, or at the end of the table's file.
    pub upto: Option<Key>,
    /// Rows expected; `None` if that is unknown.
    pub estimate: Option<u64>,
    /// The index by which the rows that are to do are found, if they are few.
    pub served: Option<Served>,
    /// Whether the server can write new versions without new entries in the indexes, because none of
    /// them covers a column that is set.
    pub can_be_hot: bool,
    /// Whether this role may vacuum the table.
    pub can_vacuum: bool,
    /// Whether the server itself answers, and no pooler in front of it.
    pub is_direct: bool,
    /// Bytes of the table's own file.
    pub heap_bytes: u64,
    /// Bytes of the values that are stored apart from it.
    pub toast_bytes: u64,
    /// Bytes of its indexes.
    pub index_bytes: u64,
    /// How many there are; of a partitioned table, on each partition.
    pub indexes: u32,
    /// How full new pages become, in percent.
    pub fillfactor: u32,
}

impl Plan {
    /// Resolves `job` against the database, changing nothing. A connection that breaks meanwhile is replaced.
    ///
    /// # Errors
    /// Every finding, if one of them refuses; or that the catalog could not be read.
    pub async fn build(job: &Job, database: &Database) -> Result<Plan, Error> {
        patiently(Error::is_lost, || Plan::look(job, database)).await
    }

    async fn look(job: &Job, database: &Database) -> Result<Plan, Error> {
        let broken = |fault: Fault| {
            Error::of_fault(format!("the plan of `{}` could not be made", job.name), &fault)
        };
        let mut session = database.session(Lane::Work).await.map_err(broken)?;
        let facts = catalog::read(&mut session, job).await.map_err(broken)?;
        let mut findings = check::findings(&facts, job);
        let (Some(target), Some(subject)) = (facts.resolve(job), facts.subject()) else {
            return Err(Error::refused(&job.name, findings));
        };
        let table = subject.1;
        let trials = explain::trials(job, &target);
        findings
            .extend(explain::compile(&mut session, job, &target, &trials).await.map_err(broken)?);
        let (sync, found) =
            sync::look(&mut session, job, subject, &target).await.map_err(broken)?;
        findings.extend(found);
        if refuses(&findings) {
            return Err(Error::refused(&job.name, sorted(findings)));
        }
        let served = served(&mut session, job, &target).await.map_err(broken)?;
        let mut findings = check::order::with_index(findings, served.as_ref(), (&facts, job));
        let statements = Statements::compose(job, &target, served.is_some());
        let last_key = last_key(&mut session, &statements).await.map_err(broken)?;
        let (upto, _) = extent(&mut session, &statements).await.map_err(broken)?;
        let ends = (last_key.as_ref(), upto.as_ref());
        let (explained, strays) =
            explain::judge(&mut session, &target, &statements, ends).await.map_err(broken)?;
        findings.extend(strays);
        if refuses(&findings) {
            return Err(Error::refused(&job.name, sorted(findings)));
        }
        let estimate = estimate(&mut session, job, &target, table).await.map_err(broken)?;
        let is_direct = is_direct(&mut session, database).await.map_err(broken)?;
        findings.extend(check::ddl::pooled(job, is_direct));
        Ok(Plan {
            can_be_hot: check::columns::can_be_hot(&facts, table, job),
            can_vacuum: table.can_vacuum,
            is_direct,
            heap_bytes: table.heap_bytes,
            toast_bytes: table.toast_bytes,
            index_bytes: table.index_bytes,
            indexes: u32::try_from(table.indexes.len()).unwrap_or(u32::MAX),
            fillfactor: table.fillfactor,
            identity: Identity::of(job),
            job: job.clone(),
            target,
            statements,
            sync,
            findings: sorted(findings),
            explained,
            last_key,
            upto,
            estimate,
            served,
        })
    }

    /// The same with batches that count the rows that match, because a trigger could suppress some.
    pub(crate) fn counting(&self) -> Plan {
        self.on(Target { has_before_update_trigger: true, ..self.target.clone() })
    }

    /// The same for a run that noted these columns of the key when its walk began: what it has open is
    /// parted by their stripes.
    pub(crate) fn scattered_as(&self, noted: Option<&[KeyColumn]>) -> Plan {
        let keyset = self.target.keyset.clone().scattered_as(noted);
        self.on(Target { keyset, ..self.target.clone() })
    }

    fn on(&self, target: Target) -> Plan {
        let statements = Statements::compose(&self.job, &target, self.served.is_some());
        Plan { target, statements, ..self.clone() }
    }

    /// Returns the sizer of its batches.
    pub fn sizer(&self) -> Sizer {
        match self.job.batch.size {
            Size::Target { target, min, max } => {
                Sizer::aiming_at(target, min, max).over_rows_of(self.row_bytes())
            }
            Size::Fixed(rows) => Sizer::fixed(rows),
        }
    }

    /// The bytes of a row, on average, with those of what is stored apart; 0 if that is unknown.
    fn row_bytes(&self) -> u64 {
        let all = self.heap_bytes + self.toast_bytes;
        all.checked_div(self.estimate.unwrap_or(0)).unwrap_or(0)
    }

    /// Returns how many ranges a walk that began now would be cut into, and so how many workers would be busy.
    pub fn ranges(&self) -> u32 {
        split::ranges(self.estimate)
    }

    /// Returns the time that a window of the verification should take.
    pub fn window_target(&self) -> Duration {
        match self.job.batch.size {
            Size::Target { target, .. } => target,
            Size::Fixed(_) => Duration::from_millis(20),
        }
    }

    /// Returns the key's columns, for messages.
    pub fn key_names(&self) -> String {
        let names: Vec<_> =
            self.target.keyset.columns.iter().map(|column| column.name.as_str()).collect();
        names.join(", ")
    }
}

fn refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Refuse)
}

fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// The catalog's estimate. What a table has grown by since may be rows or dead ones, so such a table is counted, if
/// that is quick, else what a sample of its pages says, a smaller one where a larger one takes too long; so is one
/// that has no estimate.
async fn estimate(
    session: &mut Session,
    job: &Job,
    target: &Target,
    table: &Table,
) -> Result<Option<u64>, Fault> {
    let known = target.estimate;
    if known.is_some() && !has_grown(table.heap_bytes / split::PAGE, table.relpages) {
        return Ok(known);
    }
    let name = &target.keyset.table;
    let samples = split::percents_of_unknown(table.heap_bytes).map(Some);
    for percent in std::iter::once(None).chain(samples) {
        if let Some(rows) = counted(session, job, name, percent).await? {
            return Ok(Some(rows));
        }
    }
    Ok(known)
}

/// Decides whether a table has so many pages more than when it was analyzed that it should be looked at: a tenth,
/// as autovacuum has it.
fn has_grown(pages: u64, then: u64) -> bool {
    pages > then + then / 10
}

/// Counts the rows of a table, or takes all pages to have as many as so many percent of them; nothing
/// if that takes longer than others should wait.
pub(super) async fn counted(
    session: &mut Session,
    job: &Job,
    table: &str,
    percent: Option<f64>,
) -> Result<Option<u64>, Fault> {
    let guards = read_guards(job, &[]);
    let sql = match percent {
        None => format!("SELECT count(*) FROM {table}"),
        Some(percent) => format!(
            "SELECT (count(*) * 100.0 / {percent})::int8 FROM {table} \
             TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0)"
        ),
    };
    match session.transact(&guards, &sql, &[]).await {
        Ok(rows) => Ok(rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(0)).ok())),
        Err(fault) if is_timeout(fault.message()) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Returns the highest key there is now; `None` if the table is empty.
pub async fn last_key(
    session: &mut Session,
    statements: &Statements,
) -> Result<Option<Key>, Fault> {
    let begin = &statements.by_key.begin_rare_read;
    let rows = session.transact_prepared(begin, &statements.last_key, &[]).await?;
    Ok(first_key(&rows)?)
}

/// Returns where a walk that begins now ends, and the file of which that is a place if it goes in
/// physical order.
///
/// # Errors
/// When the server cannot be asked.
pub async fn extent(
    session: &mut Session,
    statements: &Statements,
) -> Result<(Option<Key>, Option<u32>), Fault> {
    if statements.physical.is_none() {
        return Ok((last_key(session, statements).await?, None));
    }
    let rows = session.transact(&Guards::reading(), &statements.extent, &[]).await?;
    let found = rows.first().map(|row| {
        let upto = row.get::<_, Option<Vec<String>>>("upto").map(Key::new);
        (upto, row.get("filenode"))
    });
    Ok(found.unwrap_or_default())
}

/// How a table stands to what a plan was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// As it was.
    Same,
    /// Another table has its name.
    OtherTable,
    /// Its key may have another order, or a NULL.
    OtherKey,
    /// A trigger could suppress rows, and batches do not count with that.
    Uncounted,
    /// No unique index leads to the rows of its key any more.
    Unindexed,
}

/// Returns whether the table is still the one that `plan` was made for, with the same key.
///
/// # Errors
/// When the server cannot be asked.
pub async fn standing(session: &mut Session, plan: &Plan) -> Result<Standing, Fault> {
    let rows = session.transact(&Guards::reading(), &plan.statements.standing, &[]).await?;
    let is = |at| rows.first().and_then(|row| row.get::<_, Option<bool>>(at)).unwrap_or(false);
    Ok(match (is(0), is(1), is(2), is(3)) {
        (false, ..) => Standing::OtherTable,
        (true, false, ..) => Standing::OtherKey,
        (true, true, false, _) => Standing::Uncounted,
        (true, true, true, false) => Standing::Unindexed,
        (true, true, true, true) => Standing::Same,
    })
}

const LOCKED: &str = "\
SELECT EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'relation' AND relation IN ($tables)
               AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
               AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))";

/// Whether somebody has locked the whole table against writing, or a partition that every batch needs,
/// or waits to.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn is_locked(session: &mut Session, plan: &Plan) -> Result<bool, Fault> {
    let params = [i64::from(plan.target.oid).into()];
    let table = "($1::int8)::oid";
    // Where a batch needs one partition, the others can go on while that is locked.
    let tables = if plan.target.needs_all_partitions { family(table) } else { table.to_owned() };
    let sql = LOCKED.replace("$tables", &tables);
    let rows = session.transact(&Guards::reading(), &sql, &params).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_more_pages_is_no_growth_and_any_are_where_there_were_none() {
        assert!(
            !has_grown(0, 0) && !has_grown(11, 10) && !has_grown(110, 100) && !has_grown(5, 10)
        );
        assert!(has_grown(1, 0) && has_grown(12, 10) && has_grown(111, 100));
    }
}
