//! VACUUM of the table beside its walk, so that the next batches reuse the space of the last ones.
//!
//! A walk that rewrites every row doubles a table that nobody vacuums in time. This module knows how
//! one VACUUM is run, and what would make it useless; when to run it is the engine's. It needs a direct connection, and the privilege to vacuum the table.

use crate::pg::{Alone, CancelToken, Database, Fault, Guards, Overdue, Param, Session};

/// Pages that are read or dirtied are paid with these pauses, so that traffic does not feel a
/// VACUUM in one piece. Measured beside traffic on two cores: see `docs/reference/performance.md`.
const SETTINGS: &[(&str, &str)] =
    &[("vacuum_cost_delay", "2ms"), ("vacuum_cost_limit", "1000"), ("vacuum_cost_page_miss", "2")];

/// `SKIP_LOCKED`, because waiting for its lock would make others wait behind us; no truncation,
/// which locks everybody out; no parallel workers, which would take the cores of the traffic.
const OPTIONS: &str = "(SKIP_LOCKED, TRUNCATE false, INDEX_CLEANUP auto, PARALLEL 0)";

/// A VACUUM that can run.
pub(crate) struct Vacuum {
    alone: Alone,
    sql: String,
}

impl Vacuum {
    /// Opens its connection.
    pub(crate) async fn open(database: &Database, table: &str) -> Result<Vacuum, Fault> {
        let alone = Alone::session(database, SETTINGS).await?;
        Ok(Vacuum { alone, sql: format!("VACUUM {OPTIONS} {table}") })
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self) -> Result<(), Fault> {
        self.alone.run(&self.sql).await
    }

    /// Returns what ends it, and by what it is seen from elsewhere.
    pub(crate) fn handle(&self) -> (CancelToken, Overdue) {
        (self.alone.cancel_token(), self.alone.overdue())
    }
}

const LOCKED_BY: &str = "\
SELECT coalesce('the session with pid ' || l.pid, 'a prepared transaction')
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database
WHERE l.granted AND l.locktype = 'relation' AND l.relation = ($1::int8)::oid AND d.datname = pg_catalog.current_database()
  AND l.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
LIMIT 1";

/// Returns who holds a lock on the table with which a VACUUM would skip it, and say that it is done. Of a
/// partitioned one it skips the partitions that are locked, and does the others.
pub(crate) async fn locked_by(session: &mut Session, oid: u32) -> Result<Option<String>, Fault> {
    let rows = session.transact(&Guards::reading(), LOCKED_BY, &[i64::from(oid).into()]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

const MARK: &str = "SELECT pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text";

/// Returns a mark in the order of transactions: everything that happens later is after it.
pub(crate) async fn mark(session: &mut Session) -> Result<String, Fault> {
    let rows = session.transact(&Guards::reading(), MARK, &[]).await?;
    Ok(rows.first().map_or_else(|| "3".to_owned(), |row| row.get(0)))
}

// Who has written and looks at nothing has no snapshot, and pins what came after it by its own number.
// Another VACUUM has a snapshot that keeps nothing alive, and our own sessions have none for long. What
// is hidden from this role cannot pin anything as far as we know: the VACUUM then runs, and removes
// what it can.
const PINNED_BY: &str = "\
SELECT holder.who FROM (
    SELECT CASE a.backend_type WHEN 'walsender' THEN 'a standby, served by pid ' ELSE 'the session with pid ' END
           || a.pid || coalesce(', since ' || pg_catalog.date_trunc('second', a.xact_start)::text, '') AS who,
           pin.xmin
    FROM pg_catalog.pg_stat_activity a, LATERAL (VALUES (a.backend_xmin), (a.backend_xid)) AS pin (xmin)
    WHERE pin.xmin IS NOT NULL
    AND a.application_name IS DISTINCT FROM pg_catalog.current_setting('application_name')
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_vacuum v WHERE v.pid = a.pid) AND (a.datname = pg_catalog.current_database() OR a.backend_type = 'walsender')
    UNION ALL
    SELECT 'the prepared transaction ' || x.gid, x.transaction FROM pg_catalog.pg_prepared_xacts x
    WHERE x.database = pg_catalog.current_database()
    UNION ALL
    SELECT 'the replication slot ' || s.slot_name, s.xmin FROM pg_catalog.pg_replication_slots s
    WHERE s.xmin IS NOT NULL
) holder WHERE pg_catalog.age(holder.xmin) > pg_catalog.age($1::xid8::xid)
ORDER BY pg_catalog.age(holder.xmin) DESC LIMIT 1";

/// Returns who keeps everything alive that has died since `mark`: a VACUUM would remove nothing of it.
pub(crate) async fn pinned_by(session: &mut Session, mark: &str) -> Result<Option<String>, Fault> {
    let params = [Param::Text(Some(mark))];
    let rows = session.transact(&Guards::reading(), PINNED_BY, &params).await?;
    Ok(rows.first().map(|row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{Connect, Environment, Lane};
    use crate::sandbox;

    #[tokio::test]
    async fn what_a_vacuum_needs_is_the_table_and_no_row_and_no_page_of_it() {
        let sandbox = sandbox::start(&[]);
        let url = sandbox.url("postgres");
        let connect = || Connect::resolve(Some(&url), &Environment::default()).unwrap();
        let [(holder, _), (waiter, _)] =
            [connect().open().await.unwrap(), connect().open().await.unwrap()];
        holder.batch_execute("CREATE TABLE t AS SELECT 1 AS id").await.unwrap();
        let oid = holder.query_one("SELECT 't'::regclass::oid", &[]).await.unwrap().get(0);
        let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let database = Database::new(connect()).unwrap();
        let mut session = database.session(Lane::Watch).await.unwrap();
        // Who waits for a row holds a lock on it that is as strong as one on the table.
        holder.batch_execute("BEGIN; UPDATE t SET id = 1").await.unwrap();
        tokio::spawn(async move { waiter.batch_execute("UPDATE t SET id = 1").await });
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 't'::regclass AND granted
                     AND locktype = 'tuple' AND mode = 'ExclusiveLock')";
        while !holder.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {}
        assert_eq!(locked_by(&mut session, oid).await, Ok(None));
        let lock = "COMMIT; BEGIN; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE";
        holder.batch_execute(lock).await.unwrap();
        let who = format!("the session with pid {pid}");
        assert_eq!(locked_by(&mut session, oid).await, Ok(Some(who)));
    }
}
