//! What is there of a trigger, compared with what is to be.

use serde::Deserialize;
use serde_json::Value;

use super::design::{PREFIX, Trigger, name_of};
use crate::pg::{DbMessage, Fault, Guards, Session};

/// How a trigger is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Neither it nor its function is there, or only one of them.
    Missing,
    /// It is there, and another one: it was changed, or switched off, or the job or a default was.
    Different,
    /// It is there, and does what it should.
    Same,
}

/// Whether a trigger `g` with the function `p` fires for everybody, in each partition, too: a partition has a copy of
/// it, which may be switched off alone. No partition is locked to look.
const IS_ON: &str = "\
coalesce(g.tgenabled = 'A', false) AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_trigger copy
    WHERE copy.tgfoid = p.oid AND copy.tgenabled <> 'A'
    AND g.tgrelid IN (SELECT a.relid FROM pg_catalog.pg_partition_ancestors(copy.tgrelid) a))";

// BEFORE (2), ROW (1), INSERT (4), UPDATE (16).
const STATE: &str = "\
SELECT pg_catalog.to_jsonb(found) FROM (
    SELECT p.prosrc AS body, coalesce(p.proconfig, '{}') AS settings, p.prosecdef AS is_definer,
           g.oid IS NOT NULL AS has_trigger,
           coalesce(g.tgtype = 23 AND g.tgqual IS NULL
                    AND pg_catalog.cardinality(g.tgattr::int2[]) = 0, false) AND {is_on} AS is_trigger_same
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    LEFT JOIN pg_catalog.pg_trigger g
    ON g.tgfoid = p.oid AND g.tgrelid = ($1::int8)::oid AND g.tgname = p.proname
    WHERE p.proname = $3 AND p.pronargs = 0 AND pg_catalog.quote_ident(n.nspname) = $2
) found";

#[derive(Deserialize)]
struct Found {
    body: String,
    settings: Vec<String>,
    is_definer: bool,
    has_trigger: bool,
    is_trigger_same: bool,
}

/// Returns how `trigger` is found.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn state(session: &mut Session, trigger: &Trigger) -> Result<State, Fault> {
    let params = [
        i64::from(trigger.oid).into(),
        trigger.schema.as_str().into(),
        trigger.name.as_str().into(),
    ];
    let sql = STATE.replace("{is_on}", IS_ON);
    let rows = session.transact(&Guards::reading(), &sql, &params).await?;
    let found: Option<Value> = rows.first().map(|row| row.get(0));
    let found: Option<Found> = found.map(serde_json::from_value).transpose().map_err(|error| {
        Fault::Fatal(DbMessage::local(format!("the catalog is not as expected: {error}")))
    })?;
    Ok(found.map_or(State::Missing, |found| judge(trigger, &found)))
}

fn judge(trigger: &Trigger, found: &Found) -> State {
    if !found.has_trigger {
        return State::Missing;
    }
    let plain =
        |name: &str, value: &str| format!("{}={}", name.to_lowercase(), value.trim_matches('\''));
    let wanted: Vec<_> = trigger.settings.iter().map(|(name, value)| plain(name, value)).collect();
    let settings: Vec<_> = found
        .settings
        .iter()
        .map(|it| it.split_once('=').map_or_else(String::new, |(name, value)| plain(name, value)))
        .collect();
    let is_same = found.body == trigger.body
        && settings == wanted
        && found.is_trigger_same
        && !found.is_definer;
    if is_same { State::Same } else { State::Different }
}

/// A table that has a trigger of some name, and a function of that name.
pub(super) struct Leftover {
    /// Schema and name of the table, quoted; none if only the function is left.
    pub(super) table: Option<(u32, String)>,
    /// Schema and name of the function, quoted.
    pub(super) function: String,
    /// Whether it fires for everybody.
    pub(super) is_on: bool,
}

const LEFT: &str = "\
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname) AS function,
       c.oid::int8 AS oid, {is_on} AS is_on,
       pg_catalog.quote_ident(tn.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS table
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
LEFT JOIN pg_catalog.pg_trigger g ON g.tgfoid = p.oid AND g.tgparentid = 0
LEFT JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = c.relnamespace
WHERE p.proname = $1 AND p.pronargs = 0 AND p.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype";

/// Returns what there is of that name, wherever it is: the job may have named another table before.
pub(super) async fn leftovers(session: &mut Session, name: &str) -> Result<Vec<Leftover>, Fault> {
    let sql = LEFT.replace("{is_on}", IS_ON);
    let rows = session.transact(&Guards::reading(), &sql, &[name.into()]).await?;
    let leftover = |row: &tokio_postgres::Row| Leftover {
        table: row
            .get::<_, Option<i64>>("oid")
            .and_then(|oid| u32::try_from(oid).ok())
            .zip(row.get("table")),
        function: row.get("function"),
        is_on: row.get("is_on"),
    };
    Ok(rows.iter().map(leftover).collect())
}

/// Returns the tables that the trigger of a job is on, quoted; none if it is nowhere.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn tables(session: &mut Session, job: &str) -> Result<Vec<String>, Fault> {
    let left = leftovers(session, &name_of(job)).await?;
    Ok(left.into_iter().filter_map(|it| it.table.map(|(_, table)| table)).collect())
}

/// Whether the trigger of a job is there, and fires for everybody.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn is_at_work(session: &mut Session, job: &str) -> Result<bool, Fault> {
    let left = leftovers(session, &name_of(job)).await?;
    Ok(left.iter().any(|it| it.table.is_some() && it.is_on))
}

const MADE: &str = "\
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS table, pg_catalog.substring(d.description, 'for job (.*)$') AS job
FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_description d ON d.objoid = g.oid AND d.classoid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
WHERE g.tgparentid = 0 AND pg_catalog.starts_with(g.tgname::text, $1) AND d.description LIKE 'piecemeal: %for job %'
ORDER BY 2 LIMIT 100";

/// Returns the jobs that have a trigger in this database, each with its table, quoted.
///
/// # Errors
/// When the server cannot be asked.
pub(crate) async fn made(session: &mut Session) -> Result<Vec<(String, String)>, Fault> {
    let rows = session.transact(&Guards::reading(), MADE, &[PREFIX.into()]).await?;
    Ok(rows.iter().map(|row| (row.get("job"), row.get("table"))).collect())
}
