//! The transaction of a batch.
//!
//! ```text
//! BEGIN + guards │ fence ─▶ work ─▶ count ─▶ books │ COMMIT      one message, one round trip
//! ```
//!
//! In the same message, behind the COMMIT, the end of the next chunk is looked up; where a pooler may be in
//! between, in the next one. Where the network is far, the batches of the passes over a chunk, whose ends
//! are known, are sent together: a convoy. Each finds nothing unless all before it were committed.
//!
//! The fence locks the range's row if `rev` and lease are still those that we read, and finds
//! nothing otherwise; then neither rows nor cursor move, and the commit is empty.

use std::time::Duration;

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

/// One of the batches that are sent together: the first part of a leg of a range, and where the range
/// is before and after it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The range before it.
    pub range: Range,
    /// What it does.
    pub chunk: Chunk,
    /// The range after it.
    pub after: Range,
}

/// What came of one of them, and how long its answer took to arrive.
pub(crate) type Answer = (Result<Applied, Fault>, Duration);

impl Place {
    /// Returns that of `chunk`, the first part of the leg of `range`.
    pub(crate) fn new(range: Range, chunk: Chunk) -> Place {
        let after = range.after_batch(&chunk);
        Place { range, chunk, after }
    }

    fn params<'a>(&'a self, fence: &'a Fence, retries: u32) -> Vec<Param<'a>> {
        let Place { range, chunk, after } = self;
        let mut params = params(fence, (range, chunk, after), retries);
        params.push(Param::Texts(range.cursor.as_ref().map(Key::values)));
        let open = range.open.as_ref();
        let [front, mark, stripe, _] = in_part(open, open.map(|open| open.stripe));
        params.extend([front, mark, stripe]);
        params.extend(chunk.after.as_ref().map(|lower| Param::Texts(Some(lower.values()))));
        params
    }
}

/// Does the chunks of a convoy, each in one transaction, and each only if all before it were done. The
/// first has failed `attempt.retries` times before. With it comes the end of the next chunk, if that was
/// asked for.
///
/// # Errors
/// Only if nothing was sent, or the connection broke before.
pub(crate) async fn apply(
    session: &mut Session,
    route: &Route,
    fence: &Fence,
    convoy: &[Place],
    attempt: &Attempt,
) -> Result<(Vec<Answer>, Option<Ahead>), Fault> {
    let begin = if attempt.is_lifted { &route.begin_lifted_batch } else { &route.begin_batch };
    let params: Vec<_> = convoy.iter().map(|it| it.params(fence, attempt.retries)).collect();
    let works = convoy.iter().zip(&params).map(|(place, params)| {
        let form = match place.chunk.stripe {
            Some(_) => &route.stripe,
            None if attempt.is_search => &route.search,
            None => &route.batch,
        };
        Act { begin, sql: form.of_stretch(place.chunk.after.is_some()), params }
    });
    let asked = attempt.ahead.as_ref().map(|look| boundary(route, look));
    let look = asked.as_ref().map(|(sql, params)| Act { begin: &route.begin_end, sql, params });
    let acts: Vec<_> = works.chain(look).collect();
    let mut answers = session.transact_all(&acts).await?;
    // A look ahead that failed is looked up again, where its fault is dealt with.
    let ahead = attempt.ahead.clone().and_then(|look| {
        let (found, _) = answers.pop()?;
        let end = End::of(&found.ok()?).ok()?;
        Some(Ahead { look, end })
    });
    let answer =
        |(rows, took): (Result<Vec<Row>, Fault>, Duration)| (rows.map(|it| applied(&it)), took);
    Ok((answers.into_iter().map(answer).collect(), ahead))
}

/// Does one chunk, and looks for nothing.
pub(crate) async fn apply_one(
    session: &mut Session,
    route: &Route,
    fence: &Fence,
    place: &Place,
    attempt: &Attempt,
) -> Result<(Applied, Duration), Fault> {
    let alone = std::slice::from_ref(place);
    let (answers, _) = apply(session, route, fence, alone, attempt).await?;
    match answers.into_iter().next() {
        Some((applied, took)) => Ok((applied?, took)),
        None => Ok((Applied::Fenced, Duration::ZERO)),
    }
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
    params.extend(in_part(after.open.as_ref(), chunk.stripe));
    params
}

/// Keys that no pass has seen before.
fn seen(chunk: &Chunk) -> i64 {
    if chunk.stripe.is_some_and(Stripe::is_again) { 0 } else { i64::from(chunk.keys) }
}

/// What is done in part: front and mark; and a stripe: that of the batch, also if it is the last, or that
/// of what is open.
fn in_part(open: Option<&Open>, stripe: Option<Stripe>) -> [Param<'_>; 4] {
    let number = |number: Option<u32>| Param::MaybeInt(number.map(i64::from));
    [
        Param::Texts(open.map(|open| open.front.values())),
        Param::Texts(open.map(|open| open.mark.values())),
        number(stripe.map(|stripe| stripe.no)),
        number(stripe.map(|stripe| stripe.of)),
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
