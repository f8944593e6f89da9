//! The batch where few rows match: its end is found by the same statement that does its rows.

use std::time::{Duration, Instant};

use super::apply::{Fence, outcome};
use crate::pg::{Fault, Param, Session};
use crate::plan::Statements;
use crate::run::Outcome;
use crate::walk::{Chunk, Key, Range};

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search {
    /// The most rows that are done.
    pub rows: u32,
    /// How long it may look for them.
    pub time: Duration,
    /// The attempts that failed before it.
    pub retries: u32,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The chunk that was done.
    pub chunk: Chunk,
    /// The range after it.
    pub after: Range,
    pub outcome: Outcome,
    /// How long the answer took to arrive.
    pub answered: Duration,
    /// The time that had gone by when its clock began to run.
    pub before: Duration,
}

/// Searches for rows from where `range` is, and does them, in one transaction; `None` if the fence
/// found nothing. The range has no chunk that is open.
pub(crate) async fn search(
    session: &mut Session,
    statements: &Statements,
    fence: &Fence,
    range: &Range,
    search: Search,
) -> Result<Option<Found>, Fault> {
    let lower = range.position();
    let end = range.upto.as_ref().map(Key::values);
    let mut params = vec![
        Param::Int(fence.run),
        Param::Int(range.no),
        Param::Int(range.rev),
        Param::Text(Some(&fence.token)),
        Param::Texts(end),
        Param::Int(i64::from(search.rows)),
        Param::Int(i64::from(search.retries)),
        Param::Float(search.time.as_secs_f64()),
    ];
    params.extend(lower.map(|lower| Param::Texts(Some(lower.values()))));
    let sql = statements.sparse.of_stretch(lower.is_some());
    let started = Instant::now();
    let rows = session.transact_prepared(&statements.begin_sparse_batch, sql, &params).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (upto, last) = (Key::new(row.get("cursor")), row.get("done"));
    let outcome = outcome(row);
    let keys = u32::try_from(outcome.seen).unwrap_or(u32::MAX);
    let chunk = Chunk { after: lower.cloned(), upto, keys, last, stripe: None };
    let after = range.after_batch(&chunk);
    let before = Duration::try_from_secs_f64(row.get("before")).unwrap_or_default();
    Ok(Some(Found { chunk, after, outcome, answered: started.elapsed(), before }))
}
