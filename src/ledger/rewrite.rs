//! A table that was rewritten under a walk in physical order: the walk begins again.
//!
//! VACUUM FULL, CLUSTER and some forms of ALTER TABLE give a table a new file, in which no row is
//! where it was. The ranges of the walk are replaced by one over the whole new file; what they have
//! counted is kept, but for the progress, which begins anew. Rows that are done no longer match, so
//! nothing is done twice.

use crate::pg::{Fault, Guards, Session};
use crate::walk::Heap;

/// How often a walk begins again. Whoever rewrites the table more often does it for ever, and the walk
/// would never end.
const MOST: i64 = 10;

/// What came of looking whether the table was rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rewrite {
    /// It was, and the walk begins again, for the time that is given.
    Begun(u64),
    /// It was, and the walk has begun again too often.
    TooOften,
    /// It was not, or somebody else has begun the walk again.
    None,
}

// The run is locked before the statement looks at anything: who comes second finds the file noted
// there, and nobody takes or parts ranges meanwhile. A range that goes moves its `rev`, or is not there
// any more, so no batch that was composed before can be committed.
const BEGIN_AGAIN: &str = "\
WITH file AS MATERIALIZED ($extent), moved AS (
    UPDATE piecemeal.run r SET filenode = file.filenode, rewrites = rewrites + 1, updated_at = clock_timestamp(),
           upto = CASE WHEN r.upto IS NOT NULL THEN file.upto END
    FROM file WHERE id = $1 AND status = 'running' AND r.filenode <> file.filenode AND rewrites < $3
    AND EXISTS (SELECT FROM piecemeal.member m WHERE m.run_id = $1 AND m.token = $2)
    RETURNING id, rewrites, owner
), first AS (
    SELECT min(no) AS no FROM piecemeal.range WHERE run_id = $1 AND pass = 0
), gone AS (
    DELETE FROM piecemeal.range r USING moved, first WHERE run_id = id AND pass = 0 AND r.no <> first.no
    RETURNING batches, retries, matched, changed, unchanged, quarantined, skipped, r.no
), kept AS (
    SELECT coalesce(sum(batches), 0) AS batches, coalesce(sum(retries), 0) AS retries,
           coalesce(sum(matched), 0) AS matched, coalesce(sum(changed), 0) AS changed,
           coalesce(sum(unchanged), 0) AS unchanged, coalesce(sum(quarantined), 0) AS quarantined,
           coalesce(sum(skipped), 0) AS skipped FROM gone
), anew AS (
    UPDATE piecemeal.range r
    SET after = NULL, upto = file.upto, cursor = NULL, front = NULL, mark = NULL, stripe = NULL, stripes = NULL,
        rev = rev + 1, done = file.upto IS NULL, aside = 0, lease_token = NULL, lease_until = NULL, seen = 0,
        batches = r.batches + kept.batches, retries = r.retries + kept.retries, matched = r.matched + kept.matched,
        changed = r.changed + kept.changed, unchanged = r.unchanged + kept.unchanged,
        quarantined = r.quarantined + kept.quarantined, skipped = r.skipped + kept.skipped
    FROM moved, first, kept, file WHERE run_id = id AND r.no = first.no
), recorded AS (
    UPDATE piecemeal.quarantine q SET range_no = first.no FROM moved, first, gone
    WHERE q.run_id = moved.id AND q.range_no = gone.no
), noted AS (
    INSERT INTO piecemeal.journal (run_id, who, what, detail)
    SELECT id, concat_ws(' as ', owner ->> 'who', session_user), 'rewritten', jsonb_build_object('times', rewrites) FROM moved
)
SELECT (SELECT rewrites::int8 FROM moved) AS times,
       EXISTS (SELECT FROM piecemeal.run r, file WHERE id = $1 AND r.filenode <> file.filenode AND rewrites >= $3) AS is_too_often";

/// Lets the walk of `table` begin again if that was rewritten since it began. A table that was dropped
/// was not rewritten.
pub(crate) async fn begin_again(
    session: &mut Session,
    (run, token): (i64, &str),
    table: u32,
) -> Result<Rewrite, Fault> {
    let sql = BEGIN_AGAIN.replace("$extent", &Heap::extent(table));
    let params = [run.into(), token.into(), MOST.into()];
    let locked = format!("; SELECT FROM piecemeal.run WHERE id = {run} FOR UPDATE");
    let begin = Guards::ledger().begin() + &locked;
    let rows = session.transact_prepared(&begin, &sql, &params).await?;
    let Some(row) = rows.first() else { return Ok(Rewrite::None) };
    Ok(match row.get::<_, Option<i64>>("times") {
        Some(times) => Rewrite::Begun(u64::try_from(times).unwrap_or(0)),
        None if row.get("is_too_often") => Rewrite::TooOften,
        None => Rewrite::None,
    })
}
