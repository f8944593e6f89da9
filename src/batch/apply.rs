//! The transaction of a batch.
//!
//! ```text
//! BEGIN + guards │ fence ─▶ work ─▶ count ─▶ books │ COMMIT      one message, one round trip
//! ```
//!
//! In the same message, behind the COMMIT, the end of the next chunk is looked up; where a pooler may be in
//! between, in the next one.
//!
//! The fence locks the range's row if `rev` and lease are still those that we read, and finds
//! nothing otherwise; then neither rows nor cursor move, and the commit is empty.

use std::time::{Duration, Instant};

use tokio_postgres::Row;

use super::chunker::{Ahead, End, Look, boundary};
use crate::pg::{Act, Fault, Param, Session};
use crate::plan::Route;
use crate::run::Outcome;
use crate::walk::{Chunk, Key, Open, Range, Stripe};

/// By what the server knows that a range is ours.
#[derive(Debug, Clone)]
pub(crate) struct Fence {
    /// The run.
    pub run: i64,
    /// The token of our lease.
    pub token: String,
}

/// What came of a batch that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// Rows, cursor and counts are committed.
    Committed(Outcome),
    /// Nothing was written: the range has moved, or is somebody else's.
    Fenced,
}

/// How a batch is tried.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempt {
    /// The attempts that failed before it.
    pub retries: u32,
    /// Whether the bound that `give_way` sets is lifted.
    pub is_lifted: bool,
    /// Whether nobody has counted the keys of the chunk.
    pub is_search: bool,
    /// Look this up behind it.
    pub ahead: Option<Look>,
}

/// What came of a batch, how long its answer took to arrive, and the end of the next chunk if that
/// was asked for, too.
pub(crate) type Answer = (Applied, Duration, Option<Ahead>);

/// Does `chunk`, the first part of a leg of `range`, in one transaction, after which the range is
/// `after`.
pub(crate) async fn apply(
    session: &mut Session,
    route: &Route,
    fence: &Fence,
    (range, chunk, after): (&Range, &Chunk, &Range),
    attempt: Attempt,
) -> Result<Answer, Fault> {
    let lower = chunk.after.as_ref().map(Key::values);
    let begin = if attempt.is_lifted { &route.begin_lifted_batch } else { &route.begin_batch };
    let form = match chunk.stripe {
        Some(_) => &route.stripe,
        None if attempt.is_search => &route.search,
        None => &route.batch,
    };
    let mut params = params(fence, (range, chunk, after), attempt.retries);
    params.extend(lower.map(|lower| Param::Texts(Some(lower))));
    let work = Act { begin, sql: form.of_stretch(lower.is_some()), params: &params };
    let Some(look) = attempt.ahead else {
        let started = Instant::now();
        let rows = session.transact_prepared(work.begin, work.sql, work.params).await?;
        return Ok((applied(&rows), started.elapsed(), None));
    };
    let (sql, params) = boundary(route, &look);
    let asked = Act { begin: &route.begin_end, sql, params: &params };
    let (rows, took, found) = session.transact_both(&work, &asked).await?;
    // A look ahead that failed is looked up again, where its fault is dealt with.
    let ahead = found.ok().map(|found| Ahead { end: End::of(&found), look });
    Ok((applied(&rows), took, ahead))
}

/// Fence, chunk, and the range as it will be: what is bound to whatever moves a cursor, but for the lower
/// end.
pub(super) fn params<'a>(
    fence: &'a Fence,
    (range, chunk, after): (&Range, &'a Chunk, &'a Range),
    retries: u32,
) -> Vec<Param<'a>> {
    let mut params = vec![
        Param::Int(fence.run),
        Param::Int(range.no),
        Param::Int(range.rev),
        Param::Text(Some(&fence.token)),
        Param::Texts(Some(chunk.upto.values())),
        Param::Int(seen(chunk)),
        Param::Int(i64::from(retries)),
        Param::Bool(after.done),
        Param::Texts(after.cursor.as_ref().map(Key::values)),
    ];
    params.extend(in_part(chunk, after.open.as_ref()));
    params
}

/// Keys that no pass has seen before.
fn seen(chunk: &Chunk) -> i64 {
    if chunk.stripe.is_some_and(Stripe::is_again) { 0 } else { i64::from(chunk.keys) }
}

/// What will be done in part: front and mark; and the stripe of the batch, also if it is the last.
fn in_part<'a>(chunk: &Chunk, open: Option<&'a Open>) -> [Param<'a>; 4] {
    let number = |number: Option<u32>| Param::MaybeInt(number.map(i64::from));
    [
        Param::Texts(open.map(|open| open.front.values())),
        Param::Texts(open.map(|open| open.mark.values())),
        number(chunk.stripe.map(|stripe| stripe.no)),
        number(chunk.stripe.map(|stripe| stripe.of)),
    ]
}

fn applied(rows: &[Row]) -> Applied {
    rows.first().map_or(Applied::Fenced, |row| Applied::Committed(outcome(row)))
}

/// Reads what a batch that was committed came to.
pub(super) fn outcome(row: &Row) -> Outcome {
    let count = |name: &str| u64::try_from(row.get::<_, i64>(name)).unwrap_or(0);
    let (matched, changed) = (count("matched"), count("changed"));
    Outcome {
        took: took(row),
        seen: count("seen"),
        matched,
        changed,
        hot: count("hot"),
        wal: count("wal"),
        unchanged: matched.saturating_sub(changed),
        quarantined: 0,
        still: count("still"),
    }
}

/// Returns the time that a statement took on the server; nothing, should its clock have gone back.
pub(crate) fn took(row: &Row) -> Duration {
    Duration::try_from_secs_f64(row.get("took")).unwrap_or_default()
}
