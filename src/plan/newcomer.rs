//! Whether a partition that was attached during a run has rows that the walk has missed.

use std::time::Duration;

use super::prepare::Plan;
use super::statements::matches;
use super::target::family;
use crate::pg::fault::is_denied;
use crate::pg::{Fault, Guards, Session};

/// How long a partition may be searched for such a row.
const PATIENCE: Duration = Duration::from_mins(1);

/// Returns whether the partition `name`, which is `oid`, has a row to be done that was there before it
/// was attached, and that nobody has written since: the walk has not. A row that was written into it
/// later is one that the application has written into the table. What cannot be known is a yes.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn may_have_missed(
    session: &mut Session,
    plan: &Plan,
    (name, oid): (&str, i64),
) -> Result<bool, Fault> {
    let table = &plan.target.keyset.table;
    let schema = plan.target.search_path.first();
    // The columns of `where` may be qualified by the name of the table.
    let alias = schema
        .and_then(|schema| table.strip_prefix(schema.as_str())?.strip_prefix('.'))
        .unwrap_or("piecemeal_partition");
    let within = format!("{table}.tableoid IN ({})", family(&format!("{oid}::pg_catalog.oid")));
    // Who may read the table need not be allowed to read its partitions by their names.
    let ways =
        [(format!("{name} AS {alias}"), alias, "true"), (table.clone(), table.as_str(), &within)];
    let search_path = plan.target.search_path.clone();
    let guards = Guards { search_path, statement_timeout: PATIENCE, ..Guards::reading() };
    for (rows, row, among) in ways {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM {rows} WHERE {among} AND {older} AND {})",
            matches(&plan.job),
            older = older(row, oid),
        );
        match session.transact(&guards, &sql, &[]).await {
            Ok(rows) => return Ok(rows.first().is_none_or(|row| row.get(0))),
            Err(Fault::Unknown(message)) => return Err(Fault::Unknown(message)),
            Err(fault) if is_denied(fault.message()) => {}
            Err(_) => return Ok(true),
        }
    }
    Ok(true)
}

/// Whether a row, of what is called `row`, was written before the table `oid` became a partition.
fn older(row: &str, oid: i64) -> String {
    format!(
        "pg_catalog.age({row}.xmin) OPERATOR(pg_catalog.>) \
         (SELECT pg_catalog.age(h.xmin) FROM pg_catalog.pg_inherits h WHERE h.inhrelid OPERATOR(pg_catalog.=) {oid})"
    )
}
