//! A run as one [`Snapshot`], read in one statement: all numbers are of the same moment.

use serde_json::Value;
use tokio_postgres::Row;

use super::lease::IS_LIVE;
use super::members::IS_ALIVE;
use crate::pg::{Fault, Guards, Session};
use crate::run::{Intent, Owner, Phase, Pulse, Rows, Snapshot, Status};

const READ: &str = "\
SELECT r.job, r.id, r.phase, r.status, r.intent, r.reason, r.failure, r.estimate, r.pass::int8 AS pass, r.pulse, r.owner,
       r.verified, r.looked, r.looked_s, r.held, r.has_where, r.spec ->> 'expect' IS NOT NULL AS has_expect,
       $live AS is_live, r.fingerprint, r.spec -> 'contract' IS NOT NULL AS contracts,
       (SELECT count(*) FROM piecemeal.step s WHERE s.run_id = r.id AND s.done_at IS NOT NULL
        AND CASE r.phase WHEN 'expand' THEN s.part = 'expand.up' WHEN 'contract' THEN s.part = 'contract.up'
                         WHEN 'down' THEN s.part IN ('contract.down', 'expand.down') END) AS steps,
       r.lease_token IS NOT NULL AS is_owned,
       extract(epoch FROM coalesce(r.finished_at, clock_timestamp()) - r.started_at)::float8 AS elapsed,
       extract(epoch FROM clock_timestamp())::float8 AS now,
       to_char(r.changed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since,
       to_char(r.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS started_at,
       to_char(r.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS updated_at,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('host', old.owner ->> 'host', 'pid', (old.owner ->> 'pid')::int8,
                                                     'workers', old.workers, 'live', $is_alive,
                                                     'leads', old.token IS NOT DISTINCT FROM r.lease_token)
                                  ORDER BY old.joined_at), '[]')
        FROM piecemeal.member old WHERE old.run_id = r.id) AS members,
       g.*
FROM piecemeal.run r, LATERAL (
    SELECT count(*) FILTER (WHERE pass = 0) AS ranges, count(*) FILTER (WHERE pass = 0 AND done) AS ranges_done,
           sum(batches)::int8 AS batches, sum(retries)::int8 AS retries,
           count(*) FILTER (WHERE pass > 0 AND NOT done) AS sweeps,
           coalesce(sum(seen) FILTER (WHERE pass = 0), 0)::int8 AS seen, sum(seen) FILTER (WHERE pass > 0)::int8 AS swept,
           sum(matched)::int8 AS matched, sum(changed)::int8 AS changed, sum(unchanged)::int8 AS unchanged,
           sum(quarantined)::int8 AS quarantined, sum(skipped)::int8 AS skipped, sum(still)::int8 AS still
    FROM piecemeal.range WHERE run_id = r.id
) g";

/// The lease's own words know the run as `old`.
fn read() -> String {
    READ.replace("$live", &IS_LIVE.replace("old.", "r.")).replace("$is_alive", IS_ALIVE)
}

/// Returns the run with this number.
pub(crate) async fn of_run(session: &mut Session, run: i64) -> Result<Option<Snapshot>, Fault> {
    let sql = format!("{} WHERE r.id = $1", read());
    let rows = session.transact(&Guards::reading(), &sql, &[run.into()]).await?;
    Ok(rows.first().and_then(snapshot))
}

/// Returns the newest run of each job, or of the one named, newest first; at most 1,000.
pub(crate) async fn newest(
    session: &mut Session,
    job: Option<&str>,
) -> Result<Vec<Snapshot>, Fault> {
    let sql = format!(
        "{} WHERE r.id IN (SELECT max(id) FROM piecemeal.run WHERE $1 IS NULL OR job = $1 GROUP BY job)
         ORDER BY r.id DESC LIMIT 1000",
        read()
    );
    let rows = session.transact(&Guards::reading(), &sql, &[job.into()]).await?;
    Ok(rows.iter().filter_map(snapshot).collect())
}

fn snapshot(row: &Row) -> Option<Snapshot> {
    let count = |name: &str| row.get::<_, Option<i64>>(name).and_then(|n| u64::try_from(n).ok());
    let sum = |name: &str| count(name).unwrap_or(0);
    let looked = count("looked")
        .map(|looked| (looked, row.get::<_, Option<f64>>("looked_s").unwrap_or(0.0)));
    let pulse: Pulse = serde_json::from_value(row.get("pulse")).unwrap_or_default();
    Some(Snapshot {
        job: row.get("job"),
        run: row.get("id"),
        phase: Phase::from_word(row.get("phase"))?,
        status: Status::from_word(row.get("status"))?,
        intent: Intent::from_word(row.get("intent"))?,
        reason: row.get("reason"),
        failure: row
            .get::<_, Option<Value>>("failure")
            .and_then(|failure| serde_json::from_value(failure).ok()),
        since: row.get("since"),
        rows: Rows {
            seen: sum("seen"),
            swept: sum("swept"),
            matched: sum("matched"),
            changed: sum("changed"),
            unchanged: sum("unchanged"),
            quarantined: sum("quarantined"),
            skipped: sum("skipped"),
            still: sum("still"),
        },
        total: count("estimate"),
        batches: sum("batches"),
        retries: sum("retries"),
        pass: sum("pass"),
        ranges: (sum("ranges"), sum("ranges_done")),
        sweeps: sum("sweeps"),
        pulse: if row.get("is_live") { pulse } else { pulse.at_rest() },
        owner: owner(row),
        members: serde_json::from_value(row.get("members")).unwrap_or_default(),
        verified: row.get("verified"),
        looked,
        held: serde_json::from_value(row.get("held")).unwrap_or_default(),
        elapsed: row.get::<_, Option<f64>>("elapsed").unwrap_or(0.0),
        started_at: row.get("started_at"),
        updated_at: row.get("updated_at"),
        now: row.get("now"),
        has_where: row.get("has_where"),
        has_expect: row.get("has_expect"),
        contracts: row.get("contracts"),
        steps: sum("steps"),
        fingerprint: row.get("fingerprint"),
    })
}

fn owner(row: &Row) -> Option<Owner> {
    let owner = row.get::<_, Option<Value>>("owner").filter(|_| row.get("is_owned"))?;
    Some(Owner {
        host: owner["host"].as_str()?.to_owned(),
        pid: owner["pid"].as_i64()?,
        is_live: row.get("is_live"),
    })
}
