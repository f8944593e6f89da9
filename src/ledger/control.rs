//! What people ask of a run, written from any terminal and read by its owner.
//!
//! Pause, resume, cancel and throttle are one act: writing intent or overrides. The owner reads both
//! once a second, from the statement that also tells it whether its lease is alive. An override
//! with an end expires by the server's clock, also if nobody is alive to see it.

use serde_json::{Value, json};

use super::journal::Actor;
use super::lease::IS_LIVE;
use super::members::IS_ALIVE;
use crate::pg::{Fault, Guards, Param, Session};
use crate::run::{Expiry, Intent, Overrides, Status, Transition};

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The status before.
    pub was: Status,
    /// The status after; the owner, if there is one, changes it later.
    pub now: Status,
    /// Whether somebody works on the run.
    pub is_live: bool,
}

/// Asks for a pause or a cancel, and does it at once if nobody works on the run. An owner that only
/// seemed dead loses its lease with it, so that no batch of its is committed afterwards.
pub(crate) async fn stop(
    session: &mut Session,
    run: i64,
    intent: Intent,
    reason: Option<&str>,
    actor: &Actor,
) -> Result<Option<Asked>, Fault> {
    let transition = Transition::Stopped(intent);
    let to = if intent == Intent::Cancel { Status::Cancelled } else { Status::Paused };
    let sources: Vec<_> = transition.sources().iter().map(|from| from.word()).collect();
    let open: Vec<_> = Status::ALL
        .iter()
        // A failed run stands already; a pause would only hide why.
        .filter(|status| {
            !status.is_final() && (intent == Intent::Cancel || **status != Status::Failed)
        })
        .map(|status| status.word())
        .collect();
    let sql = format!(
        "WITH old AS (
             SELECT id, status, {IS_LIVE} AS is_live FROM piecemeal.run old WHERE id = $1 FOR NO KEY UPDATE
         ), fenced AS (
             UPDATE piecemeal.range SET lease_token = NULL, lease_until = NULL
             FROM old WHERE run_id = old.id AND lease_token IS NOT NULL AND NOT old.is_live RETURNING no
         ), gone AS (
             DELETE FROM piecemeal.member m USING old WHERE m.run_id = old.id AND NOT old.is_live AND {is_final}
             AND (SELECT count(*) FROM fenced) >= 0
         ), moved AS (
             UPDATE piecemeal.run r SET intent = $2, reason = $3, asked_by = $4 || ' as ' || session_user,
                 status = CASE WHEN NOT old.is_live AND old.status = ANY ('{{{sources}}}') THEN '{to}'
                               ELSE old.status END,
                 finished_at = CASE WHEN {is_final} AND NOT old.is_live THEN clock_timestamp() END,
                 lease_token = CASE WHEN old.is_live THEN lease_token END,
                 lease_until = CASE WHEN old.is_live THEN lease_until END,
                 changed_at = clock_timestamp(), updated_at = clock_timestamp()
             FROM old WHERE r.id = old.id AND old.status = ANY ('{{{open}}}')
             RETURNING r.id, r.status
         ), noted AS (
             INSERT INTO piecemeal.journal (run_id, who, what, detail)
             SELECT id, $4 || ' as ' || session_user, $2, $5 FROM moved
         )
         SELECT old.status AS was, coalesce(moved.status, old.status) AS now, old.is_live
         FROM old LEFT JOIN moved USING (id)",
        sources = sources.join(","),
        open = open.join(","),
        is_final = to.is_final(),
    );
    let detail = reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    let params = [
        run.into(),
        intent.word().into(),
        reason.into(),
        actor.0.as_str().into(),
        (&detail).into(),
    ];
    asked(session, &sql, &params).await
}

/// Lets a run go on: clears a pause, and makes a paused or failed run ready.
pub(crate) async fn resume(
    session: &mut Session,
    run: i64,
    actor: &Actor,
) -> Result<Option<Asked>, Fault> {
    let sources: Vec<_> = Transition::Resumed.sources().iter().map(|from| from.word()).collect();
    let sql = format!(
        "WITH old AS (
             SELECT id, status, {IS_LIVE} AS is_live FROM piecemeal.run old WHERE id = $1 FOR NO KEY UPDATE
         ), moved AS (
             UPDATE piecemeal.run r SET intent = 'run', reason = NULL, asked_by = NULL, failure = NULL,
                 pass = CASE WHEN old.status = 'failed' THEN 0 ELSE r.pass END,
                 status = CASE WHEN old.status = ANY ('{{{sources}}}') THEN 'ready' ELSE old.status END,
                 changed_at = clock_timestamp(), updated_at = clock_timestamp()
             FROM old WHERE r.id = old.id AND old.status NOT IN ('succeeded', 'cancelled')
               AND r.intent <> 'cancel'
             RETURNING r.id, r.status
         ), noted AS (
             INSERT INTO piecemeal.journal (run_id, who, what) SELECT id, $2 || ' as ' || session_user, 'resume'
             FROM moved
         )
         SELECT old.status AS was, coalesce(moved.status, old.status) AS now, old.is_live
         FROM old LEFT JOIN moved USING (id)",
        sources = sources.join(","),
    );
    asked(session, &sql, &[run.into(), actor.0.as_str().into()]).await
}

async fn asked(
    session: &mut Session,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Option<Asked>, Fault> {
    let rows = session.transact(&Guards::ledger(), sql, params).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let status = |name: &str| Status::from_word(row.get(name));
    Ok(match (status("was"), status("now")) {
        (Some(was), Some(now)) => Some(Asked { was, now, is_live: row.get("is_live") }),
        _ => None,
    })
}

/// What is changed of the pace of the run `r` now: a change that is over has given way to the one before
/// it that lasts longer, if there was one, and so on.
const IN_FORCE: &str = "(
    SELECT key, newest.entry FROM jsonb_each(r.overrides) AS each (key, value), LATERAL (
        WITH RECURSIVE link AS (
            SELECT 1 AS no, value AS entry
            UNION ALL SELECT no + 1, entry -> 'then' FROM link WHERE (entry ->> 'until')::timestamptz <= clock_timestamp()
        )
        SELECT entry FROM link ORDER BY no DESC LIMIT 1
    ) AS newest
) AS change WHERE entry IS NOT NULL";

/// Changes under one key of which one gives way to the other, at most: whoever says more of them loses the one that would
/// hold again first. Bounds the ledger's growth (R15).
const MOST_LINKS: i64 = 8;

const THROTTLE: &str = "\
WITH RECURSIVE old AS (
    SELECT id, (SELECT coalesce(jsonb_object_agg(key, entry), '{}') FROM $in_force) AS overrides, pulse -> 'base' AS base
    FROM piecemeal.run r WHERE id = $1 FOR UPDATE
),
moment AS (SELECT clock_timestamp() AS at),
expiry AS (SELECT at + $3 * interval '1 second' AS until FROM moment),
link AS (
    SELECT key, 1 AS no, entry FROM old, jsonb_each(old.overrides) AS each (key, entry)
    UNION ALL SELECT key, no + 1, entry -> 'then' FROM link WHERE jsonb_exists(entry, 'then')
),
longer AS (
    SELECT DISTINCT ON (key) key, entry
    FROM (SELECT *, count(*) OVER (PARTITION BY key ORDER BY no DESC) AS length FROM link) AS link, expiry
    WHERE length < $6 AND coalesce((entry ->> 'until')::timestamptz, 'infinity') > until ORDER BY key, no
),
wanted AS (
    SELECT coalesce(jsonb_object_agg(w.key, jsonb_build_object('value', w.value, 'until', until)
           || CASE WHEN longer.entry IS NULL THEN '{}' ELSE jsonb_build_object('then', longer.entry) END), '{}') AS overrides
    FROM jsonb_each($2) AS w CROSS JOIN expiry LEFT JOIN longer USING (key)
), moved AS (
    UPDATE piecemeal.run r
    SET overrides = CASE WHEN $4 THEN '{}' ELSE old.overrides || wanted.overrides END,
        updated_at = clock_timestamp()
    FROM old, wanted WHERE r.id = old.id AND r.status NOT IN ('succeeded', 'cancelled')
    RETURNING r.id, old.overrides AS before, r.overrides AS after, base
), noted AS (
    INSERT INTO piecemeal.journal (run_id, at, who, what, detail)
    SELECT id, at, $5 || ' as ' || session_user, 'throttle', jsonb_build_object('from', before, 'to', after, 'base', (
        SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(base)
        WHERE jsonb_exists(before || after, key)))
    FROM moved, moment
)
SELECT after FROM moved";

/// Changes the pace of a run, for so many seconds if that is said, or clears every change; returns
/// whether the run could take it.
pub(crate) async fn throttle(
    session: &mut Session,
    run: i64,
    change: Option<(&Overrides, Option<f64>)>,
    actor: &Actor,
) -> Result<bool, Fault> {
    let wanted = Value::Object(change.map(|(wanted, _)| wanted.write()).unwrap_or_default());
    let params = [
        run.into(),
        (&wanted).into(),
        Param::MaybeFloat(change.and_then(|(_, seconds)| seconds)),
        Param::Bool(change.is_none()),
        actor.0.as_str().into(),
        Param::Int(MOST_LINKS),
    ];
    let sql = THROTTLE.replace("$in_force", IN_FORCE);
    Ok(!session.transact(&Guards::ledger(), &sql, &params).await?.is_empty())
}

const CHANGED: &str = "\
SELECT (SELECT jsonb_object_agg(key, entry) FROM $in_force) AS overrides FROM piecemeal.run r
WHERE r.job = $1 AND r.status NOT IN ('succeeded', 'cancelled') ORDER BY r.id DESC LIMIT 1";

/// Returns what is changed of the pace of a job's open run: now, and what is left of it later.
pub(crate) async fn changed(
    session: &mut Session,
    job: &str,
) -> Result<(Overrides, Vec<Expiry>), Fault> {
    let sql = CHANGED.replace("$in_force", IN_FORCE);
    let rows = session.transact(&Guards::reading(), &sql, &[job.into()]).await?;
    Ok(in_force(rows.first().and_then(|row| row.get("overrides"))))
}

/// Who leads a run, as one of its members sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lead {
    /// This process.
    Ours,
    /// Another one, which is alive.
    Others,
    /// Nobody alive.
    Nobodys,
}

/// What the owner of a run must know, once a second.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Orders {
    /// Whether the process may go on: it leads the run, or is a member of one that it joined.
    pub is_ours: bool,
    /// Who leads the run.
    pub lead: Lead,
    /// Busy workers of the other processes.
    pub others: u32,
    /// Whether a range is not at its end.
    pub is_open: bool,
    /// What happened, as the ledger has it: `ready` after a resume.
    pub status: Status,
    /// What people want.
    pub intent: Intent,
    /// What people changed of its pace, as far as it has not expired.
    pub overrides: Overrides,
    /// What is left of that later, one after the other.
    pub expiries: Vec<Expiry>,
}

impl Orders {
    /// Whether this process leads the run.
    pub(crate) fn leads(&self) -> bool {
        self.lead == Lead::Ours
    }

    /// Whether nobody alive leads it.
    pub(crate) fn is_unled(&self) -> bool {
        self.lead == Lead::Nobodys
    }

    /// Returns those of somebody whom nobody gives any.
    pub(crate) fn at_will() -> Orders {
        Orders {
            is_ours: true,
            lead: Lead::Ours,
            others: 0,
            is_open: true,
            status: Status::Running,
            intent: Intent::Run,
            overrides: Overrides::default(),
            expiries: Vec::new(),
        }
    }
}

const ORDERS: &str = "\
SELECT r.lease_token IS NOT DISTINCT FROM $2 AS leads, r.status, r.intent, $is_led AS is_led,
       EXISTS (SELECT FROM piecemeal.member m WHERE m.run_id = r.id AND m.token = $2) AS is_member,
       (SELECT coalesce(sum(old.workers), 0)::int8 FROM piecemeal.member old
        WHERE old.run_id = r.id AND old.token <> $2 AND $is_alive) AS others,
       EXISTS (SELECT FROM piecemeal.range g WHERE g.run_id = r.id AND NOT g.done) AS is_open,
       (SELECT jsonb_object_agg(key, entry) FROM $in_force) AS overrides
FROM piecemeal.run r WHERE r.id = $1";

/// Reads what is wanted; `None` if the run is not there any more. A process that `joins` may also
/// work on a run that it does not lead.
pub(crate) async fn orders(
    session: &mut Session,
    (run, token): (i64, &str),
    joins: bool,
) -> Result<Option<Orders>, Fault> {
    // The lease's own words know the run as `old`.
    let sql = ORDERS
        .replace("$is_led", &IS_LIVE.replace("old.", "r."))
        .replace("$is_alive", IS_ALIVE)
        .replace("$in_force", IN_FORCE);
    let rows = session.transact(&Guards::reading(), &sql, &[run.into(), token.into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (overrides, expiries) = in_force(row.get("overrides"));
    let (status, intent) =
        (Status::from_word(row.get("status")), Intent::from_word(row.get("intent")));
    let (Some(status), Some(intent)) = (status, intent) else { return Ok(None) };
    let (leads, is_member) = (row.get("leads"), row.get("is_member"));
    Ok(Some(Orders {
        is_ours: if joins { is_member } else { leads },
        lead: match (leads, row.get("is_led")) {
            (true, _) => Lead::Ours,
            (false, true) => Lead::Others,
            (false, false) => Lead::Nobodys,
        },
        others: u32::try_from(row.get::<_, i64>("others")).unwrap_or(u32::MAX),
        is_open: row.get("is_open"),
        status,
        intent,
        overrides,
        expiries,
    }))
}

fn in_force(entries: Option<Value>) -> (Overrides, Vec<Expiry>) {
    let entries = entries.unwrap_or_default();
    entries.as_object().map(Overrides::in_force).unwrap_or_default()
}
