//! Making and dropping the trigger: a short wait for a lock, again and again, so that nobody queues
//! behind us for long, and whoever is in the way has a name.

use std::fmt;
use std::time::{Duration, Instant};

use super::catalog::{State, leftovers, state};
use super::design::{Trigger, name_of};
use crate::pg::fault::is_lock_timeout;
use crate::pg::{Fault, Guards, Param, Session};

/// How long a statement waits for its lock; so long everybody else waits behind it.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);
/// How long is waited after the first attempt, and at most after a later one.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Two who begin at once would fail on each other's function; it ends with the transaction.
const ONE_AT_A_TIME: &str =
    "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('piecemeal.sync'))";

/// Hears who is in the way, each time.
pub(super) type Told<'a> = &'a mut (dyn FnMut(&Blocker) + Send);

/// Somebody who holds a lock that a statement of ours needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// The server process; none for a prepared transaction.
    pub pid: Option<i64>,
    /// As whom it is logged in.
    pub user: String,
    /// For how many seconds its transaction has been open.
    pub seconds: i64,
    /// How its statement begins.
    pub query: String,
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Blocker { user, seconds, query, .. } = self;
        match self.pid {
            Some(pid) => write!(f, "pid {pid} ({user}), in a transaction for {seconds} s: {query}"),
            None => write!(f, "a prepared transaction"),
        }
    }
}

/// Sees to it that the trigger is there and committed, and says whether it had to be made.
///
/// # Errors
/// When the server refuses it, or its lock could not be had within `patience`; it is tried once in any case.
pub(crate) async fn create(
    session: &mut Session,
    trigger: &Trigger,
    patience: Duration,
    told: Told<'_>,
) -> Result<State, Fault> {
    let found = state(session, trigger).await?;
    if found == State::Same {
        return Ok(found);
    }
    let started = Instant::now();
    // The function first: alone it does nothing, and where the trigger is there it locks no table.
    let function = format!("{ONE_AT_A_TIME}; {}", trigger.function_sql);
    one(session, trigger.oid, &function, patience, told).await?;
    if state(session, trigger).await? != State::Same {
        let patience = patience.saturating_sub(started.elapsed());
        one(session, trigger.oid, &trigger.trigger_sql, patience, told).await?;
    }
    Ok(found)
}

/// Drops the trigger of a job, wherever it is, and its function; nothing is there after it. With it
/// goes `note`, a statement, if the trigger was there. Returns whether there was anything of it.
///
/// # Errors
/// When the server refuses it, or its lock could not be had within `patience`.
pub(crate) async fn drop(
    session: &mut Session,
    (job, note): (&str, Option<&str>),
    patience: Duration,
    told: Told<'_>,
) -> Result<bool, Fault> {
    let name = name_of(job);
    let note = note.map(|note| format!("; {note}")).unwrap_or_default();
    let left = leftovers(session, &name).await?;
    let was_there = !left.is_empty();
    for left in left {
        let function = left.function;
        match left.table {
            Some((oid, table)) => {
                let sql = format!(
                    "DROP TRIGGER IF EXISTS {name} ON {table}; DROP FUNCTION IF EXISTS {function}(){note}"
                );
                one(session, oid, &sql, patience, told).await?;
            }
            None => {
                session.script(&guards(), &format!("DROP FUNCTION IF EXISTS {function}()")).await?;
            }
        }
    }
    Ok(was_there)
}

fn guards() -> Guards {
    Guards { lock_timeout: LOCK_TIMEOUT, ..Guards::ledger() }
}

/// Runs one piece of DDL on a table in a transaction, as often as it takes to get its lock.
async fn one(
    session: &mut Session,
    oid: u32,
    sql: &str,
    patience: Duration,
    told: Told<'_>,
) -> Result<(), Fault> {
    // Readers are in the way only of a DROP.
    let needs_readers_gone = sql.starts_with("DROP");
    let started = Instant::now();
    let mut wait = WAITS.0;
    loop {
        let fault = match session.script(&guards(), sql).await {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        let is_in_the_way = matches!(fault, Fault::Again(_)) || is_lock_timeout(fault.message());
        if !is_in_the_way || started.elapsed() >= patience {
            return Err(fault);
        }
        if let Some(blocker) = blocker(session, oid, needs_readers_gone).await? {
            told(&blocker);
        }
        // Apart from others who wait like this.
        let apart = wait.mul_f64(0.5 + fastrand::f64());
        tokio::time::sleep(apart.min(patience.saturating_sub(started.elapsed()))).await;
        wait = (wait * 2).min(WAITS.1);
    }
}

const BLOCKER: &str = "\
SELECT a.pid::int8 AS pid, coalesce(a.usename::text, 'unknown') AS user,
       coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start), 0)::int8 AS seconds,
       pg_catalog.left(pg_catalog.regexp_replace(coalesce(a.query, ''), '\\s+', ' ', 'g'), 60) AS query
FROM (SELECT DISTINCT l.pid FROM pg_catalog.pg_locks l
      WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
      AND (l.relation = ($1::int8)::oid
           OR l.relation IN (SELECT relid FROM pg_catalog.pg_partition_tree((($1::int8)::oid)::pg_catalog.regclass)))
      AND ($2 OR l.mode NOT IN ('AccessShareLock', 'RowShareLock'))) held
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = held.pid
ORDER BY a.xact_start LIMIT 1";

/// Returns who holds the table against us for the longest time, if anybody still does.
async fn blocker(
    session: &mut Session,
    oid: u32,
    counts_readers: bool,
) -> Result<Option<Blocker>, Fault> {
    let params = [i64::from(oid).into(), Param::Bool(counts_readers)];
    let rows = session.transact(&Guards::reading(), BLOCKER, &params).await?;
    Ok(rows.first().map(|row| Blocker {
        pid: row.get("pid"),
        user: row.get("user"),
        seconds: row.get("seconds"),
        query: row.get("query"),
    }))
}
