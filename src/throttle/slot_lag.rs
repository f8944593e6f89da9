//! `slot-lag`: the WAL that the replication slots keep, by the slot that keeps the most.
//!
//! A slot that has lost what it needs keeps nothing, and does not count, also where the server still
//! shows from where on it once kept it.

use futures_util::future::BoxFuture;

use super::reading::{Blind, Reading, Unit};
use super::{Throttler, ask};
use crate::job::Limit;
use crate::pg::Session;

const SQL: &str = "\
SELECT pg_catalog.to_jsonb(coalesce(greatest(0, max(
    pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), s.restart_lsn))), 0)::float8)
FROM pg_catalog.pg_replication_slots s WHERE s.wal_status IS DISTINCT FROM 'lost'";

/// Reads how much WAL is kept for slots.
pub(super) struct SlotLag {
    pub(super) name: String,
    pub(super) limit: Limit,
}

impl Throttler for SlotLag {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        Box::pin(async move {
            let kept = ask::one(session, SQL, &[]).await?;
            Ok(Reading::of(kept, Unit::Bytes, self.limit))
        })
    }
}
