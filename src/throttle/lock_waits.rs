//! `lock-waits`: how many sessions wait for a lock on the table or on a row of it, but for those of
//! this process. A partition of it counts as the table.
//!
//! Who waits for a row waits for the transaction that holds it, and the row's page and place show
//! only in the tuple lock that it holds meanwhile. Who waits to insert a key that somebody else is
//! inserting holds none, and is not seen.

use futures_util::future::BoxFuture;

use super::ask::of_others;
use super::reading::{Blind, Reading, Unit};
use super::{Throttler, ask};
use crate::job::Limit;
use crate::pg::{Param, Session};
use crate::plan::family;

const SQL: &str = concat!(
    "WITH lock AS MATERIALIZED (
    SELECT l.pid, l.granted, l.locktype,
           l.relation IN ($tables) AND d.oid IS NOT NULL AS is_ours
    FROM pg_catalog.pg_locks l
    LEFT JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
)
SELECT pg_catalog.to_jsonb(count(DISTINCT w.pid))
FROM lock w LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid
WHERE NOT w.granted AND (w.is_ours OR (w.locktype = 'transactionid' AND EXISTS (
    SELECT FROM lock h WHERE h.pid = w.pid AND h.granted AND h.locktype = 'tuple' AND h.is_ours)))
AND ",
    of_others!()
);

/// Counts sessions that wait.
pub(super) struct LockWaits {
    pub(super) name: String,
    pub(super) limit: Limit,
    /// The table.
    pub(super) table: u32,
}

impl Throttler for LockWaits {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        Box::pin(async move {
            let table = Param::Int(i64::from(self.table));
            let sql = SQL.replace("$tables", &family("$1::pg_catalog.oid"));
            let waiting = ask::one(session, &sql, &[table]).await?;
            Ok(Reading::of(waiting, Unit::Things(""), self.limit))
        })
    }
}
