//! The transactions of rows that the server refuses: one is recorded, recorded ones are tried again.

use std::time::{Duration, Instant};

use super::apply::{Fence, outcome, params};
use crate::ledger::runs;
use crate::pg::message::cut;
use crate::pg::{DbMessage, Fault, Param, Session};
use crate::plan::{Route, Statements};
use crate::run::Outcome;
use crate::walk::{Chunk, Key, Range};

/// What came of recording a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is in the quarantine, and the cursor is behind it.
    Done(Key),
    /// So many are there already, and no more may be.
    Full(Key, u64),
    /// The chunk is not ours, or it does not have a single row to do any more: nothing was written.
    Other,
}

/// Records the only row of `chunk` instead of writing it, after which the range is `after`.
pub(crate) async fn quarantine(
    session: &mut Session,
    route: &Route,
    fence: &Fence,
    (range, chunk, after): (&Range, &Chunk, &Range),
    (message, retries, max): (&DbMessage, u32, u32),
) -> Result<Recorded, Fault> {
    let lower = chunk.after.as_ref().map(Key::values);
    let form = if chunk.stripe.is_some() { &route.quarantine_stripe } else { &route.quarantine };
    // The order is run, then range, and what is counted is what others have committed.
    let begin = route.begin_batch.clone() + &runs::locked(fence.run);
    // Without DETAIL, which shows whole rows.
    let kept = cut(&message.message);
    let mut params = params(fence, (range, chunk, after), retries);
    params.extend([
        Param::Text(message.sqlstate.as_deref()),
        Param::Text(Some(&kept)),
        Param::Int(i64::from(max)),
    ]);
    params.extend(lower.map(|lower| Param::Texts(Some(lower))));
    let sql = form.of_stretch(lower.is_some());
    let rows = session.transact_prepared(&begin, sql, &params).await?;
    let Some(row) = rows.first() else { return Ok(Recorded::Other) };
    let (key, used) = (Key::new(row.get("key")), u64::try_from(row.get::<_, i64>("used")));
    let is_recorded = row.get("is_recorded");
    Ok(if is_recorded { Recorded::Done(key) } else { Recorded::Full(key, used.unwrap_or(0)) })
}

/// How recorded rows are tried again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requeue {
    /// The most of them.
    pub rows: u32,
    /// The attempts that failed before it.
    pub retries: u32,
    /// Whether the bound that `give_way` sets is lifted.
    pub is_lifted: bool,
}

/// What came of it: the last key that was tried and how many there were, the range after it, and how long
/// the answer took to arrive. Without a key there was nothing left.
pub(crate) type Requeued = (Option<Key>, u32, Range, Outcome, Duration);

/// Does the first rows of `range`, which are in the quarantine, in one transaction; `None` if the fence
/// found nothing.
pub(crate) async fn requeued(
    session: &mut Session,
    statements: &Statements,
    fence: &Fence,
    range: &Range,
    requeue: Requeue,
) -> Result<Option<Requeued>, Fault> {
    let params = [
        Param::Int(fence.run),
        Param::Int(range.no),
        Param::Int(range.rev),
        Param::Text(Some(&fence.token)),
        Param::Int(i64::from(requeue.rows)),
        Param::Int(i64::from(requeue.retries)),
    ];
    let begin = if requeue.is_lifted {
        &statements.begin_lifted_requeued
    } else {
        &statements.begin_requeued
    };
    let started = Instant::now();
    let rows = session.transact_prepared(begin, &statements.requeued, &params).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let taken = u32::try_from(row.get::<_, i64>("taken")).unwrap_or(u32::MAX);
    let after = Range { rev: range.rev + 1, done: row.get("done"), ..range.clone() };
    let key = row.get::<_, Option<Vec<String>>>("key").map(Key::new);
    Ok(Some((key, taken, after, outcome(row), started.elapsed())))
}
