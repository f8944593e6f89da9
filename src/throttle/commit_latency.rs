//! `commit-latency`: the 75th percentile of how long the commit of a tiny transaction waits for its
//! WAL to be on the disk. It is most of what those who write feel beside a walk.
//!
//! A probe is two transactions: one that has nothing to commit, and one that has to be flushed. By how
//! much longer the second takes is the time of the commit alone, since both have the same way to come.
//! A standby is not waited for: that is what `replica-lag` is for.
//!
//! What a commit takes is the machine's affair, so the limit can be a multiple of what it took
//! before the walk began, as the process found that worked on it first; after a failover the machine is
//! another one, and it is found anew. Such a limit guards others, and so it counts only while there are some.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::ask::timeline;
use super::probes::Probes;
use super::reading::{Blind, Reading, Unit};
use super::shared::Usual;
use super::{Others, Throttler, ask};
use crate::job::Limit;
use crate::pg::{Begin, Fault, Guards, Session};

/// The share of the speed that is left above the limit, where no job names the signal: an application
/// that fills the disk by itself must slow a run down and not end it.
pub(super) const LEAST_SHARE: f64 = 0.1;

/// The percentile: what most of those feel who write. Where the cores are busy a commit in ten waits for
/// one of them, walk or not, and a percentile that sees those calls noise a reason.
const PERCENTILE: usize = 75;

/// How often it is probed: the percentile is of two and a half seconds, and sees what lasts for more than
/// half a second.
const EVERY: Duration = Duration::from_millis(100);

/// How often it is probed while nobody works: each probe costs a transaction id.
const AT_REST: Duration = Duration::from_secs(2);

/// How many probes tell what a commit takes before the walk: so many that one peak does not count.
const FIRST_PROBES: usize = 20;

/// How many do where commits are far below the least limit: whatever the others took, it would stand.
const FEW_PROBES: usize = 5;

/// How far they are apart.
const FIRST_EVERY: Duration = Duration::from_millis(5);

/// How long they may take all together, where commits are slow.
const FIRST_LONGEST: Duration = Duration::from_secs(1);

/// Commits nothing; says of which timeline the server is, that is, whether it still is the same one.
const BARE: &str = concat!("SELECT ", timeline!());

/// Writes a few bytes of WAL that change nothing. A transaction id alone would not do: the server
/// flushes the commit of one that wrote nothing whenever it likes.
const COMMIT: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'piecemeal', '') IS NOT NULL";

/// Probes commits.
pub(super) struct CommitLatency {
    pub(super) name: String,
    /// The limit, or of what is usual which multiple it is.
    limit: Limit,
    begin: Begin,
    took: Probes,
    usual: Usual,
    /// The timeline of the server that was probed last.
    timeline: String,
    others: Others,
}

impl CommitLatency {
    pub(super) fn new(name: String, limit: Limit, usual: Usual) -> CommitLatency {
        let begin = Guards { synchronous_commit: Some("local"), ..ask::guards() }.begin();
        let (took, others) = (Probes::default(), Others::since(Instant::now()));
        CommitLatency { name, limit, begin, took, usual, timeline: String::new(), others }
    }

    /// The limit as it is now: a multiple of what nobody has found out yet is the least that it can be.
    fn limit(&self) -> Limit {
        if let Limit::Times { factor, least } = self.limit
            && let Some(usual) = self.usual.seconds(&self.timeline)
        {
            return Limit::Time(limit(usual, factor, least));
        }
        self.limit
    }

    /// Returns how much longer the transaction took that had something to commit.
    async fn probe(&mut self, session: &mut Session) -> Result<Duration, Fault> {
        let started = Instant::now();
        let rows = session.transact_prepared(&self.begin, BARE, &[]).await?;
        let bare = started.elapsed();
        self.timeline = rows.first().map(|row| row.get(0)).unwrap_or_default();
        let started = Instant::now();
        match session.transact_prepared(&self.begin, COMMIT, &[]).await {
            // What the server ends took as long as it was let.
            Ok(_) | Err(Fault::Smaller(_)) => Ok(started.elapsed().saturating_sub(bare)),
            Err(fault) => Err(fault),
        }
    }

    /// Probes until it is known what is usual; the first took so long.
    async fn calibrate(
        &mut self,
        session: &mut Session,
        first: Duration,
        (factor, least): (f64, Duration),
    ) -> Result<(), Fault> {
        let started = Instant::now();
        let mut usual = Probes::default();
        usual.note(first);
        while usual.count() < enough(usual.percentile(PERCENTILE), factor, least)
            && started.elapsed() < FIRST_LONGEST
        {
            tokio::time::sleep(FIRST_EVERY).await;
            usual.note(self.probe(session).await?);
        }
        self.usual.note(usual.percentile(PERCENTILE), &self.timeline);
        self.took = usual;
        Ok(())
    }

    /// Probes, and returns what commits take, and whether anybody feels it: a multiple guards others.
    async fn value(&mut self, session: &mut Session) -> Result<(f64, bool), Blind> {
        let blind = |fault: Fault| ask::blind(&fault);
        let took = self.probe(session).await.map_err(blind)?;
        if let Limit::Times { factor, least } = self.limit
            && self.usual.is_ours_to_find(&self.timeline)
        {
            self.calibrate(session, took, (factor, least)).await.map_err(blind)?;
            return Ok((self.took.percentile(PERCENTILE), true));
        }
        self.took.note(took);
        let is_for_others = matches!(self.limit, Limit::Times { .. });
        let is_felt = !is_for_others || self.others.are_at_work(session).await?;
        Ok((self.took.percentile(PERCENTILE), is_felt))
    }
}

/// The limit where a commit usually takes so many seconds.
fn limit(usual: f64, factor: f64, least: Duration) -> Duration {
    Duration::try_from_secs_f64(usual * factor).unwrap_or(Duration::MAX).max(least)
}

/// How many probes tell what is usual, where a commit has taken so many seconds.
fn enough(usual: f64, factor: f64, least: Duration) -> usize {
    if limit(2.0 * usual, factor, least) == least { FEW_PROBES } else { FIRST_PROBES }
}

impl Throttler for CommitLatency {
    fn name(&self) -> &str {
        &self.name
    }

    fn every(&self) -> Duration {
        EVERY
    }

    fn at_rest(&self) -> Duration {
        AT_REST
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        Box::pin(async move {
            let (value, is_felt) = self.value(session).await?;
            Ok(Reading::of(if is_felt { value } else { 0.0 }, Unit::Seconds, self.limit()))
        })
    }
}

#[cfg(test)]
#[path = "commit_latency_tests.rs"]
mod tests;
