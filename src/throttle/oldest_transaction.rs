//! `oldest-transaction`: the age of the oldest transaction of this database, prepared ones too, but
//! for those of this process and of autovacuum. While it is open, VACUUM can remove nothing younger.
//!
//! Not here: what standbys and replication slots keep alive; that has no age in time.

use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::ask::{Role, of_others, role};
use super::reading::{Blind, Reading, Unit};
use super::{Throttler, ask};
use crate::job::Limit;
use crate::pg::Session;

const SQL: &str = concat!(
    "SELECT pg_catalog.jsonb_build_object(",
    role!(),
    ", 'age', coalesce(greatest(0, extract(
           epoch FROM pg_catalog.clock_timestamp() - min(open.since))), 0)::float8)
FROM (
    SELECT coalesce(a.xact_start, a.query_start) AS since FROM pg_catalog.pg_stat_activity a
    WHERE a.datname = pg_catalog.current_database()
    AND (a.xact_start IS NOT NULL OR a.backend_xmin IS NOT NULL)
    AND a.backend_type NOT IN ('autovacuum worker', 'autovacuum launcher', 'walsender')
    AND ",
    of_others!(),
    " UNION ALL
    SELECT x.prepared FROM pg_catalog.pg_prepared_xacts x
    WHERE x.database = pg_catalog.current_database()
) open"
);

#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    role: Role,
    age: f64,
}

/// Reads the age of the oldest transaction.
pub(super) struct OldestTransaction {
    pub(super) name: String,
    pub(super) limit: Limit,
}

impl Throttler for OldestTransaction {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        Box::pin(async move {
            let answer: Answer = ask::one(session, SQL, &[]).await?;
            answer.role.must_see_all()?;
            Ok(Reading::of(answer.age, Unit::Seconds, self.limit))
        })
    }
}
