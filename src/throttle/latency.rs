//! `latency`: the 95th percentile of the last probes, each the time from sending to answer of one
//! row of the table, read by its key.
//!
//! It is what a user of the table feels, the network included. A probe that the server ends took as
//! long as it was let: that is a reading, not a failure.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::probes::Probes;
use super::reading::{Blind, Reading, Unit};
use super::{Throttler, ask, denied};
use crate::job::Limit;
use crate::pg::{Begin, Fault, Follow, Guards, Param, Session};
use crate::walk::{Key, Keyset};

/// The percentile: with probes five times a second, one peak in five seconds is no reason to slow
/// down, and two are.
const PERCENTILE: usize = 95;

/// How often it is probed.
const EVERY: Duration = Duration::from_millis(200);

/// What is sent: one row by its whole key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    sql: String,
    key: Vec<String>,
}

impl Probe {
    /// Composes the probe for the row `key`, whether it is there or not; for an empty table it is
    /// whichever row there will be.
    pub(super) fn of(keyset: &Keyset, key: Option<&Key>) -> Probe {
        let Some(key) = key else { return Probe { sql: keyset.last_key(), key: Vec::new() } };
        let column = |(at, column): (usize, &crate::walk::KeyColumn)| {
            let (name, sql_type) = (&column.name, &column.sql_type);
            format!(
                "{}.{name} OPERATOR(pg_catalog.=) ($1::text[])[{}]::{sql_type}",
                keyset.table,
                at + 1
            )
        };
        let columns: Vec<_> = keyset.columns.iter().enumerate().map(column).collect();
        let sql = format!("SELECT 1 FROM {} WHERE {}", keyset.table, columns.join(" AND "));
        Probe { sql, key: key.values().to_vec() }
    }
}

/// Probes the table.
pub(super) struct Latency {
    pub(super) name: String,
    pub(super) limit: Limit,
    probe: Probe,
    begin: Begin,
    took: Probes,
}

impl Latency {
    pub(super) fn new(name: String, limit: Limit, probe: Probe) -> Latency {
        // The key's index, whatever the statistics say.
        let begin = Guards { follow: Follow::Index, ..ask::guards() }.begin();
        Latency { name, limit, probe, begin, took: Probes::default() }
    }

    async fn probe(&self, session: &mut Session) -> Result<Duration, Fault> {
        let key = Param::Texts(Some(&self.probe.key));
        let params = if self.probe.key.is_empty() { &[][..] } else { &[key][..] };
        let started = Instant::now();
        match session.transact_prepared(&self.begin, &self.probe.sql, params).await {
            Ok(_) | Err(Fault::Smaller(_)) => Ok(started.elapsed()),
            Err(fault) => Err(fault),
        }
    }
}

impl Throttler for Latency {
    fn name(&self) -> &str {
        &self.name
    }

    fn every(&self) -> Duration {
        EVERY
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        Box::pin(async move {
            match self.probe(session).await {
                Ok(took) => self.took.note(took),
                Err(fault) => return Err(denied::blind(session, &self.begin, &fault).await),
            }
            Ok(Reading::of(self.took.percentile(PERCENTILE), Unit::Seconds, self.limit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::column;

    #[test]
    fn a_probe_names_the_whole_key_and_qualifies_its_operators() {
        let columns = vec![column("tenant", "text"), column("id", "bigint")];
        let keyset = Keyset { table: "public.posts".into(), columns };
        let key = Key::new(vec!["de".into(), "7".into()]);
        let probe = Probe::of(&keyset, Some(&key));
        assert_eq!(
            probe.sql,
            "SELECT 1 FROM public.posts WHERE public.posts.tenant OPERATOR(pg_catalog.=) ($1::text[])[1]::text \
             AND public.posts.id OPERATOR(pg_catalog.=) ($1::text[])[2]::bigint"
        );
        assert_eq!(probe.key, ["de", "7"]);
    }
}
