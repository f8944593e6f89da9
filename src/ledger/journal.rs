//! Append-only: who did what to a run, when and why.

use serde_json::Value;

use crate::pg::{Fault, Guards, Param, Session, literal};

/// Lines kept for each run; older ones go as its lease is renewed, so many at once at most. Bounds the ledger's growth
/// (R15) while leaving months of a person's actions.
const KEPT: i64 = 10_000;

/// Who acts, as people will read it: the login of the host, and the database's role is added by SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(pub String);

/// A line of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The run.
    pub run: i64,
    /// When, by the server's clock (RFC 3339).
    pub at: String,
    /// Who.
    pub who: String,
    /// What.
    pub what: String,
    /// Why, from what to what.
    pub detail: Value,
}

const WRITE: &str = "\
INSERT INTO piecemeal.journal (run_id, who, what, detail) VALUES ($1, $2 || ' as ' || session_user, $3, $4)";

/// Writes a line.
pub(crate) async fn write(
    session: &mut Session,
    run: i64,
    actor: &Actor,
    what: &str,
    detail: &Value,
) -> Result<(), Fault> {
    let params = [run.into(), actor.0.as_str().into(), what.into(), detail.into()];
    session.transact(&Guards::ledger(), WRITE, &params).await.map(drop)
}

/// The line that a table is kept in step, or is no more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept<'a> {
    /// The run.
    pub run: i64,
    /// Who sees to it.
    pub actor: &'a Actor,
    /// The table.
    pub table: &'a str,
}

const KEPT_IN_STEP: &str = "\
INSERT INTO piecemeal.journal (run_id, who, what, detail)
SELECT $1, $2 || ' as ' || session_user, 'sync', jsonb_build_object('table', $3, 'kept', true, 'writes', $4)
WHERE $5 OR NOT EXISTS (SELECT FROM piecemeal.journal WHERE run_id = $1 AND what = 'sync')";

impl Kept<'_> {
    /// Writes that the table is kept in step, and how, if that `is_new` or was not written yet.
    pub(crate) async fn write(
        self,
        session: &mut Session,
        writes: &str,
        is_new: bool,
    ) -> Result<(), Fault> {
        let Kept { run, actor: Actor(who), table } = self;
        let params =
            [run.into(), who.as_str().into(), table.into(), writes.into(), Param::Bool(is_new)];
        session.transact(&Guards::ledger(), KEPT_IN_STEP, &params).await.map(drop)
    }

    /// Returns the statement that writes that it is no more, for a transaction that takes no parameters. With the token
    /// of a lease that is lost there is no run to name, and it fails.
    pub(crate) fn ended(self, token: Option<&str>) -> String {
        let Kept { run, actor: Actor(who), table } = self;
        let fence =
            token.map(|it| format!(" AND lease_token OPERATOR(pg_catalog.=) {}", literal(it)));
        format!(
            "INSERT INTO piecemeal.journal (run_id, who, what, detail)
             VALUES ((SELECT id FROM piecemeal.run WHERE id OPERATOR(pg_catalog.=) {run}{fence}),
                     pg_catalog.concat({who}, ' as ', session_user), 'sync',
                     pg_catalog.jsonb_build_object('table', {table}::pg_catalog.text, 'kept', false))",
            fence = fence.unwrap_or_default(),
            who = literal(who),
            table = literal(table),
        )
    }
}

/// What the journal of a run says of its table being kept in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InStep {
    /// Whether it should be now.
    pub is_kept: bool,
    /// Whether the trigger had to be made again: it was away for a while.
    pub was_away: bool,
}

const IN_STEP: &str = "\
SELECT coalesce((array_agg((detail ->> 'kept')::bool ORDER BY id DESC))[1], false) AS is_kept,
       count(*) FILTER (WHERE (detail ->> 'kept')::bool) > 1 AS was_away
FROM piecemeal.journal WHERE run_id = $1 AND what = 'sync'";

/// Returns what is known of the sync trigger of a run.
pub(crate) async fn in_step(session: &mut Session, run: i64) -> Result<InStep, Fault> {
    let rows = session.transact(&Guards::reading(), IN_STEP, &[run.into()]).await?;
    Ok(rows.first().map_or(InStep { is_kept: false, was_away: false }, |row| InStep {
        is_kept: row.get("is_kept"),
        was_away: row.get("was_away"),
    }))
}

// Nobody need be alive when a change of pace expires, so nobody writes that: it follows from the line of the change, for
// it and for those that hold again after it, unless another one came before that, or the run ended.
const READ: &str = "\
WITH RECURSIVE newest AS (
    (SELECT j.id FROM piecemeal.journal j JOIN piecemeal.run r ON r.id = j.run_id WHERE r.job = $1 ORDER BY j.id DESC LIMIT $2)
    UNION
    (SELECT j.id FROM piecemeal.journal j JOIN piecemeal.run r ON r.id = j.run_id
     WHERE r.job = $1 AND j.what = 'throttle' ORDER BY j.id DESC LIMIT $2)
), line AS (
    SELECT j.*, coalesce(r.finished_at, 'infinity') AS ended
    FROM newest JOIN piecemeal.journal j USING (id) JOIN piecemeal.run r ON r.id = j.run_id
), link AS (
    SELECT id, run_id, ended, key, entry
    FROM line, jsonb_each(CASE what WHEN 'throttle' THEN detail -> 'to' END) AS change (key, entry)
    WHERE (detail -> 'from' -> key) IS DISTINCT FROM entry
    UNION ALL SELECT id, run_id, ended, key, entry -> 'then' FROM link WHERE jsonb_exists(entry, 'then')
), expired AS (
    SELECT id, until AS at, jsonb_build_object('from', jsonb_object_agg(key, entry), 'to',
           coalesce(jsonb_object_agg(key, entry -> 'then') FILTER (WHERE entry -> 'then' IS NOT NULL), '{}')) AS told
    FROM link, CAST(entry ->> 'until' AS timestamptz) AS until
    WHERE until <= least(clock_timestamp(), ended)
      AND NOT EXISTS (SELECT FROM line later WHERE later.run_id = link.run_id AND later.what = 'throttle' AND later.id > link.id
                      AND later.at < until AND (later.detail -> 'to' -> key) IS DISTINCT FROM (later.detail -> 'from' -> key))
    GROUP BY id, until
), told AS (
    SELECT id, run_id, at, who, what, detail FROM line
    UNION ALL SELECT id, run_id, expired.at, 'by itself', 'expired', detail || told FROM expired JOIN line USING (id)
)
SELECT run_id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS at, who, what, detail
FROM told ORDER BY told.at DESC, id DESC LIMIT $2";

/// Returns the newest `limit` lines of a job's runs, oldest first.
pub(crate) async fn read(session: &mut Session, job: &str, limit: i64) -> Result<Vec<Line>, Fault> {
    let rows = session.transact(&Guards::reading(), READ, &[job.into(), limit.into()]).await?;
    let line = |row: &tokio_postgres::Row| Line {
        run: row.get("run_id"),
        at: row.get("at"),
        who: row.get("who"),
        what: row.get("what"),
        detail: row.get("detail"),
    };
    Ok(rows.iter().rev().map(line).collect())
}

const PRUNE: &str = "\
DELETE FROM piecemeal.journal WHERE id IN (
    SELECT id FROM piecemeal.journal WHERE run_id = $1 AND what <> ALL ('{partitions,sync}')
    AND id <= (SELECT id FROM piecemeal.journal WHERE run_id = $1 ORDER BY id DESC OFFSET $2 LIMIT 1)
    ORDER BY id LIMIT $2)";

/// Forgets lines beyond the newest ones that are kept. What partitions there were, and since when rows are kept in
/// step, is still asked for.
pub(crate) async fn prune(session: &mut Session, run: i64) -> Result<(), Fault> {
    session.transact(&Guards::ledger(), PRUNE, &[run.into(), Param::Int(KEPT)]).await.map(drop)
}
