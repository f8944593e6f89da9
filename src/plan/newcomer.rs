//! Whether a partition that was attached during a run has rows that the walk has missed.
//!
//! They are looked at as the verification looks at all rows, window by window along the key of the table, but
//! with an expectation that is about these rows alone. So nobody waits longer for it than for a batch.

use super::found::{first_key, keys};
use super::prepare::Plan;
use super::statements::{Statements, matches};
use super::target::family;
use crate::job::Fragment;
use crate::pg::{Fault, Param, Session};
use crate::walk::{Key, Keyset, Leg};

impl Plan {
    /// The same for the partition `oid`: what breaks the expectation is a row of it to be done that was there
    /// before it was attached, and that nobody has written since. The walk has not. A row that was written into
    /// it later is one that the application has written into the table.
    pub(crate) fn of_newcomer(&self, oid: i64) -> Plan {
        let table = &self.target.keyset.table;
        let text = format!(
            "NOT ({table}.tableoid IN ({}) AND {} AND {})",
            family(&format!("{oid}::pg_catalog.oid")),
            older(table, oid),
            matches(&self.job),
        );
        let mut job = self.job.clone();
        job.table.filter = None;
        job.verify.expect = Some(Fragment { text, span: 0..0 });
        let statements = Statements::compose(&job, &self.target, false);
        Plan { job, statements, ..self.clone() }
    }
}

/// Returns the stretch of the table's key in which the rows of the partition `name` are; nothing if it has
/// none. It may take longer than others should wait if it `is_lifted`.
///
/// # Errors
/// When the server does not say it. Who may read the table need not be allowed to read its partitions by
/// their names.
pub(crate) async fn stretch_of(
    session: &mut Session,
    plan: &Plan,
    name: &str,
    is_lifted: bool,
) -> Result<Option<Leg>, Fault> {
    let begin = plan.statements.by_key.begin_read(is_lifted);
    let keyset = &plan.target.keyset;
    let partition = Keyset { table: name.to_owned(), ..keyset.clone() };
    let ends = format!("({}) UNION ALL ({})", partition.first_key(), partition.last_key());
    let ends = session.transact_prepared(begin, &ends, &[]).await?;
    let Ok([first, end]) = <[Key; 2]>::try_from(keys(&ends)?) else { return Ok(None) };
    let before = [Param::Texts(Some(first.values()))];
    let before = session.transact_prepared(begin, &keyset.before(), &before).await?;
    Ok(Some(Leg { after: first_key(&before)?, end, stripe: None }))
}

/// Whether a row, of what is called `row`, was written before the table `oid` became a partition.
fn older(row: &str, oid: i64) -> String {
    format!(
        "pg_catalog.age({row}.xmin) OPERATOR(pg_catalog.>) \
         (SELECT pg_catalog.age(h.xmin) FROM pg_catalog.pg_inherits h WHERE h.inhrelid OPERATOR(pg_catalog.=) {oid})"
    )
}
