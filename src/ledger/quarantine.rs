//! Rows that the server refused: which they are, and what people decide about them.
//!
//! They come here in the batch that passes them, and leave it in the batch that does them. Here they are
//! listed, queued to be tried again, and accepted as they are. The last two are for a run that nobody works
//! on: an owner that only seemed dead loses its lease with it. Run and ranges are locked before the
//! statement looks at anything, so what is counted is what is there.

use serde_json::json;
use tokio_postgres::Row;

use super::journal::Actor;
use super::lease::{IS_LIVE, TTL};
use super::runs;
use crate::pg::{Fault, Guards, Param, Session};
use crate::run::Status;
use crate::walk::{Key, Range};

/// A row in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Its number.
    pub id: i64,
    /// Its key.
    pub key: Key,
    /// The server's code.
    pub sqlstate: Option<String>,
    /// What the server said, at most 1,000 characters of it.
    pub message: String,
    /// When it was met first, by the server's clock (RFC 3339).
    pub seen_at: String,
    /// When it was tried last.
    pub tried_at: String,
    /// How often it was tried.
    pub tries: i64,
    /// Whether it is about to be tried again.
    pub is_queued: bool,
    /// Who accepted it as it is, when, and why.
    pub skipped: Option<Skipped>,
}

/// That a bad row was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// When.
    pub at: String,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Bad {
    /// Returns what becomes of it, in a word.
    pub fn state(&self) -> &'static str {
        match (self.is_queued, &self.skipped) {
            (true, _) => "queued",
            (false, Some(_)) => "skipped",
            (false, None) => "waiting",
        }
    }
}

/// Returns the newest `limit` rows of a run's quarantine, oldest first; only those with one of `keys`, if
/// these are given.
pub(crate) async fn list(
    session: &mut Session,
    run: i64,
    keys: Option<&[Key]>,
    limit: i64,
) -> Result<Vec<Bad>, Fault> {
    let instant = |name: &str| {
        format!("to_char({name} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS {name}")
    };
    let sql = format!(
        "SELECT id, key, sqlstate, message, {seen_at}, {tried_at}, tries::int8 AS tries, is_queued,
                {skipped_at}, skipped_by, skip_reason
         FROM piecemeal.quarantine
         WHERE run_id = $1 AND ($2 IS NULL OR key = ANY (
             SELECT ARRAY(SELECT jsonb_array_elements_text(k)) FROM jsonb_array_elements($2) AS wanted (k)))
         ORDER BY id DESC LIMIT $3",
        seen_at = instant("seen_at"),
        tried_at = instant("tried_at"),
        skipped_at = instant("skipped_at"),
    );
    let keys = keys.map(|keys| json!(keys));
    let params = [run.into(), Param::Json(keys.as_ref()), limit.into()];
    let rows = session.transact(&Guards::reading(), &sql, &params).await?;
    Ok(rows.iter().rev().map(bad).collect())
}

fn bad(row: &Row) -> Bad {
    let skipped = row.get::<_, Option<String>>("skipped_at").map(|at| Skipped {
        at,
        by: row.get("skipped_by"),
        reason: row.get("skip_reason"),
    });
    Bad {
        id: row.get("id"),
        key: Key::new(row.get("key")),
        sqlstate: row.get("sqlstate"),
        message: row.get("message"),
        seen_at: row.get("seen_at"),
        tried_at: row.get("tried_at"),
        tries: row.get("tries"),
        is_queued: row.get("is_queued"),
        skipped,
    }
}

/// A row that was tried again and is still bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    /// Its key.
    pub key: Key,
    /// Whether no other one is queued.
    pub is_last: bool,
}

const LEAVE: &str = "\
WITH fence AS MATERIALIZED (
    SELECT FROM piecemeal.range WHERE run_id = $1 AND no = $2 AND rev = $3 AND lease_token = $4 FOR NO KEY UPDATE
), queued AS MATERIALIZED (
    SELECT id FROM piecemeal.quarantine WHERE run_id = $1 AND range_no = $2 AND is_queued AND EXISTS (SELECT FROM fence)
    ORDER BY id LIMIT 2
), first AS (
    SELECT min(id) AS id, count(*) = 1 AS is_last FROM queued HAVING count(*) > 0
), books AS (
    UPDATE piecemeal.range SET rev = rev + 1, done = first.is_last, batches = batches + 1,
           lease_until = clock_timestamp() + $7 * interval '1 second'
    FROM first WHERE run_id = $1 AND no = $2
)
UPDATE piecemeal.quarantine q
SET is_queued = false, sqlstate = $5, message = $6, tries = tries + 1, tried_at = clock_timestamp()
FROM first WHERE q.id = first.id RETURNING q.key, first.is_last";

/// Leaves the first row of `range`, which was tried again, in the quarantine; `None` if the range has moved.
pub(crate) async fn leave(
    session: &mut Session,
    (run, token): (i64, &str),
    range: &Range,
    (sqlstate, message): (Option<&str>, &str),
) -> Result<Option<Left>, Fault> {
    let params = [
        run.into(),
        range.no.into(),
        range.rev.into(),
        token.into(),
        sqlstate.into(),
        message.into(),
        Param::Float(TTL.as_secs_f64()),
    ];
    let rows = session.transact(&Guards::ledger(), LEAVE, &params).await?;
    Ok(rows.first().map(|row| Left { key: Key::new(row.get("key")), is_last: row.get("is_last") }))
}

/// What came of a decision about rows in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decided {
    /// The rows that it is about.
    pub rows: u64,
    /// The status of the run.
    pub status: Status,
    /// Whether somebody works on the run, so that nothing was decided.
    pub is_worked_on: bool,
}

/// The beginning of both decisions: run, the ids of the rows or NULL for all, the actor, and the detail for
/// the journal. `$which` says which of all rows are meant, `$phase` how far the run is then.
const CHOOSE: &str = "\
WITH old AS (
    SELECT id, status, $live AS is_live, status = 'running' AND $live AS is_worked_on FROM piecemeal.run old WHERE id = $1
), chosen AS MATERIALIZED (
    SELECT q.id, q.range_no, q.skipped_at IS NOT NULL AS was_skipped FROM piecemeal.quarantine q, old
    WHERE q.run_id = old.id AND NOT old.is_worked_on AND old.status NOT IN ('succeeded', 'cancelled')
    AND CASE WHEN $2 IS NULL THEN q.skipped_at IS NULL ELSE q.id::text = ANY ($2) AND $which END
), counted AS (
    SELECT range_no, count(*) AS rows, count(*) FILTER (WHERE was_skipped) AS skipped FROM chosen GROUP BY range_no
), moved AS (
    UPDATE piecemeal.run r SET updated_at = clock_timestamp(), phase = $phase,
           lease_token = CASE WHEN old.is_live THEN lease_token END, lease_until = CASE WHEN old.is_live THEN lease_until END
    FROM old WHERE r.id = old.id AND EXISTS (SELECT FROM chosen) RETURNING r.id
), noted AS (
    INSERT INTO piecemeal.journal (run_id, who, what, detail)
    SELECT id, $3 || ' as ' || session_user, '$what', $4::jsonb || jsonb_build_object('rows', (SELECT count(*) FROM chosen))
    FROM moved
), ";

/// They leave the books of the ranges that recorded them for those of the range in which they are tried
/// again. There is one such in a run.
const REQUEUE: &str = "\
place AS MATERIALIZED (
    SELECT coalesce((SELECT no FROM piecemeal.range WHERE run_id = $1 AND is_requeued), max(no) + 1) AS no
    FROM piecemeal.range WHERE run_id = $1
), queued AS (
    UPDATE piecemeal.quarantine q
    SET range_no = place.no, is_queued = true, skipped_at = NULL, skipped_by = NULL, skip_reason = NULL
    FROM chosen, place WHERE q.id = chosen.id
), given AS (
    UPDATE piecemeal.range r SET rev = rev + 1, matched = matched - c.rows, quarantined = quarantined - c.rows,
           skipped = r.skipped - c.skipped
    FROM counted c WHERE r.run_id = $1 AND r.no = c.range_no AND NOT r.is_requeued
), come AS (
    SELECT coalesce(sum(rows) FILTER (WHERE range_no <> place.no), 0) AS rows,
           coalesce(sum(skipped) FILTER (WHERE range_no = place.no), 0) AS skipped FROM counted, place HAVING count(*) > 0
), taken AS (
    INSERT INTO piecemeal.range (run_id, no, pass, is_requeued, matched, quarantined)
    SELECT $1, place.no, 1, true, come.rows, come.rows FROM place, come
    ON CONFLICT (run_id, no) DO UPDATE
    SET rev = range.rev + 1, done = false, lease_token = NULL, lease_until = NULL,
        matched = range.matched + excluded.matched, quarantined = range.quarantined + excluded.quarantined,
        skipped = range.skipped - (SELECT skipped FROM come)
)
SELECT (SELECT count(*) FROM chosen) AS rows, status, is_worked_on FROM old";

const SKIP: &str = "\
accepted AS (
    UPDATE piecemeal.quarantine q SET is_queued = false, skipped_at = clock_timestamp(),
           skipped_by = $3 || ' as ' || session_user, skip_reason = $4::jsonb ->> 'reason'
    FROM chosen WHERE q.id = chosen.id
), given AS (
    UPDATE piecemeal.range r SET rev = rev + 1, skipped = r.skipped + c.rows
    FROM counted c WHERE r.run_id = $1 AND r.no = c.range_no
)
SELECT (SELECT count(*) FROM chosen) AS rows, status, is_worked_on FROM old";

/// Queues rows of a run's quarantine to be tried again: those with these ids, or all that nobody has
/// accepted.
pub(crate) async fn requeue(
    session: &mut Session,
    run: i64,
    ids: Option<&[String]>,
    actor: &Actor,
) -> Result<Option<Decided>, Fault> {
    let sql = chosen("true", "retry", "'backfill'") + REQUEUE;
    decide(session, run, ids, actor, (&sql, &json!({}))).await
}

/// Accepts rows of a run's quarantine as they are.
pub(crate) async fn skip(
    session: &mut Session,
    run: i64,
    ids: Option<&[String]>,
    reason: &str,
    actor: &Actor,
) -> Result<Option<Decided>, Fault> {
    let sql = chosen("q.skipped_at IS NULL", "skip", "r.phase") + SKIP;
    decide(session, run, ids, actor, (&sql, &json!({ "reason": reason }))).await
}

fn chosen(which: &str, what: &str, phase: &str) -> String {
    let sql = CHOOSE.replace("$which", which).replace("$what", what).replace("$phase", phase);
    sql.replace("$live", IS_LIVE)
}

async fn decide(
    session: &mut Session,
    run: i64,
    ids: Option<&[String]>,
    actor: &Actor,
    (sql, detail): (&str, &serde_json::Value),
) -> Result<Option<Decided>, Fault> {
    let ranges =
        format!("SELECT FROM piecemeal.range WHERE run_id = {run} ORDER BY no FOR NO KEY UPDATE");
    let begin = Guards::ledger().begin() + &runs::locked(run) + &ranges;
    let params = [run.into(), Param::Texts(ids), actor.0.as_str().into(), detail.into()];
    let rows = session.transact_prepared(&begin, sql, &params).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let Some(status) = Status::from_word(row.get("status")) else { return Ok(None) };
    Ok(Some(Decided {
        rows: u64::try_from(row.get::<_, i64>("rows")).unwrap_or(0),
        status,
        is_worked_on: row.get("is_worked_on"),
    }))
}
