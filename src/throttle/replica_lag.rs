//! `replica-lag`: how far the slowest standby is behind, in time or in bytes.
//!
//! A standby's lag in time is the age of what it has replayed, told by the primary's own positions
//! (`history`): it grows while replay stands still, and is 0 when there is nothing left to replay. A
//! standby that was seen and is gone is not "fine", and neither is one that this role may not see.
//!
//! Not a standby: who takes a backup, a client of a logical slot, and who only receives WAL.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::ask::{Role, role, timeline};
use super::history::{Age, History};
use super::reading::{Blind, Reading, Unit};
use super::roll::{Roll, Who};
use super::standby::Standby;
use super::{Throttler, ask};
use crate::job::Limit;
use crate::pg::Session;

/// The position comes first: what is replayed meanwhile counts as nothing, not as less than nothing.
const STANDBYS: &str = concat!(
    "SELECT pg_catalog.jsonb_build_object(
    'at', extract(epoch FROM pg_catalog.clock_timestamp())::float8,
    'written', pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::int8,
    'timeline', ",
    timeline!(),
    ", ",
    role!(),
    ", 'standbys', coalesce((
        SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
            'name', r.application_name, 'address', pg_catalog.host(r.client_addr), 'state', r.state,
            'replayed', pg_catalog.pg_wal_lsn_diff(r.replay_lsn, '0/0')::int8,
            'lag', extract(epoch FROM r.replay_lag)::float8))
        FROM pg_catalog.pg_stat_replication r
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots s
                          WHERE s.active_pid = r.pid AND s.slot_type = 'logical')), '[]'))"
);

const PRIMARY: &str = "\
SELECT pg_catalog.jsonb_build_object(
    'at', extract(epoch FROM pg_catalog.clock_timestamp())::float8,
    'written', pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), '0/0')::int8,
    'system', (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() c))";

/// What the primary says of its standbys.
#[derive(Deserialize)]
struct Answer {
    at: f64,
    written: i64,
    timeline: String,
    #[serde(flatten)]
    role: Role,
    standbys: Vec<Sender>,
}

/// A row of `pg_stat_replication`; its state is none if the role may not see it.
#[derive(Deserialize)]
struct Sender {
    name: Option<String>,
    address: Option<String>,
    state: Option<String>,
    replayed: Option<i64>,
    lag: Option<f64>,
}

#[derive(Deserialize)]
struct Primary {
    at: f64,
    written: i64,
    system: String,
}

/// Reads the lag of all standbys that the primary feeds, or of one that is asked itself.
pub(super) struct ReplicaLag {
    name: String,
    /// The limit that it was made with.
    own: Limit,
    limit: Limit,
    /// Whether a limit of another kind is for another one.
    has_other: bool,
    history: History,
    roll: Roll,
    /// The timeline that the history is of.
    timeline: String,
    standby: Option<Standby>,
}

impl ReplicaLag {
    pub(super) fn new(
        name: String,
        limit: Limit,
        standby: Option<Standby>,
        roll: Roll,
    ) -> ReplicaLag {
        let history = History::default();
        let (has_other, timeline) = (false, String::new());
        ReplicaLag { name, own: limit, limit, has_other, history, roll, timeline, standby }
    }

    /// Leaves limits of another kind to the one that has such a limit, if there is one.
    pub(super) fn of_kinds(self, has_other: bool) -> ReplicaLag {
        ReplicaLag { has_other, ..self }
    }

    fn judge(&mut self, answer: &Answer) -> Result<Reading, Blind> {
        if answer.timeline != self.timeline {
            // Another server has become the primary, with other positions.
            (self.history, self.timeline) = (History::default(), answer.timeline.clone());
        }
        self.history.note(answer.at, answer.written);
        if answer.standbys.iter().any(|sender| sender.state.is_none()) {
            return Err(answer.role.lacks_stats());
        }
        let replaying: Vec<_> = answer.standbys.iter().filter_map(Sender::replaying).collect();
        let present: Vec<_> = answer.standbys.iter().filter_map(Sender::who).collect();
        if let Some(missed) = self.roll.call(&answer.timeline, answer.at, &present) {
            return Err(Blind::new(missed));
        }
        let lags =
            replaying.iter().map(|(replayed, lag)| self.lag(answer.written, *replayed, *lag));
        Ok(self.reading(lags.fold(0.0, f64::max)))
    }

    /// Returns the lag of a position, in what the limit is in; `said` is what the server says of it
    /// in time.
    fn lag(&self, written: i64, replayed: i64, said: f64) -> f64 {
        match (self.limit, self.history.age(replayed)) {
            (Limit::Bytes(_), _) => bytes(written, replayed),
            (_, Age::Known(age)) => age,
            (_, Age::AtLeast(age)) => age.max(said),
        }
    }

    fn reading(&self, lag: f64) -> Reading {
        let unit = if matches!(self.limit, Limit::Bytes(_)) { Unit::Bytes } else { Unit::Seconds };
        Reading::of(lag, unit, self.limit)
    }

    async fn read_standby(&mut self, session: &mut Session) -> Result<Reading, Blind> {
        let Some(standby) = &mut self.standby else {
            return Err(Blind::new("there is no standby"));
        };
        let position = standby.ask().await;
        // Sampled also while the standby is silent, so that its age is known when it is back.
        let primary: Primary = ask::one(session, PRIMARY, &[]).await?;
        self.history.note(primary.at, primary.written);
        let replayed = position?.of(&primary.system)?;
        Ok(self.reading(self.lag(primary.written, replayed, 0.0)))
    }
}

impl Sender {
    /// How far it has replayed, and what the server says of its lag in time.
    fn replaying(&self) -> Option<(i64, f64)> {
        let is_standby = matches!(self.state.as_deref(), Some("streaming" | "catchup"));
        let replayed = self.replayed.filter(|_| is_standby)?;
        Some((replayed, self.lag.unwrap_or(0.0)))
    }

    fn who(&self) -> Option<Who> {
        self.replaying()?;
        let name = self.name.clone().unwrap_or_default();
        Some(Who { name, address: self.address.clone() })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a lag is not told to the byte")]
fn bytes(written: i64, replayed: i64) -> f64 {
    written.saturating_sub(replayed).max(0) as f64
}

impl Throttler for ReplicaLag {
    fn name(&self) -> &str {
        &self.name
    }

    fn every(&self) -> Duration {
        super::POLL
    }

    fn aim(&mut self, limit: Option<Limit>) {
        let own = limit.filter(|limit| !self.has_other || limit.is_like(&self.own));
        self.limit = own.unwrap_or(self.own);
    }

    fn forget(&mut self) {
        self.roll.forget();
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        Box::pin(async move {
            if self.standby.is_some() {
                return self.read_standby(session).await;
            }
            let answer: Answer = ask::one(session, STANDBYS, &[]).await?;
            self.judge(&answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS_10: Limit = Limit::Time(Duration::from_secs(10));

    fn sender(state: &str, replayed: Option<i64>, lag: Option<f64>) -> Sender {
        let state = (!state.is_empty()).then(|| state.to_owned());
        Sender { name: Some("a".into()), address: None, state, replayed, lag }
    }

    fn answer(at: f64, written: i64, standbys: Vec<Sender>) -> Answer {
        let (timeline, role) = ("00000001".into(), Role { role: "app".into(), sees_all: true });
        Answer { at, written, timeline, role, standbys }
    }

    fn read(
        throttler: &mut ReplicaLag,
        at: f64,
        written: i64,
        standbys: Vec<Sender>,
    ) -> Result<f64, Blind> {
        throttler.judge(&answer(at, written, standbys)).map(|reading| reading.value)
    }

    fn replica_lag(limit: Limit) -> ReplicaLag {
        ReplicaLag::new("replica-lag".into(), limit, None, Roll::default())
    }

    #[test]
    fn a_frozen_replay_lag_is_not_believed() {
        let mut lag = replica_lag(SECONDS_10);
        let frozen = || vec![sender("streaming", Some(100), Some(0.2))];
        assert_eq!(read(&mut lag, 0.0, 100, frozen()), Ok(0.0));
        assert_eq!(read(&mut lag, 1.0, 200, frozen()), Ok(1.0));
        assert_eq!(read(&mut lag, 60.0, 900, frozen()), Ok(60.0));
    }

    #[test]
    fn before_there_is_history_the_larger_of_two_lower_bounds_counts() {
        let mut lag = replica_lag(SECONDS_10);
        let behind = |lag| vec![sender("catchup", Some(50), lag)];
        assert_eq!(read(&mut lag, 0.0, 100, behind(Some(3.0))), Ok(3.0));
        assert_eq!(read(&mut lag, 5.0, 200, behind(None)), Ok(5.0));
        assert_eq!(read(&mut lag, 6.0, 300, behind(Some(3_600.0))), Ok(3_600.0));
    }

    #[test]
    fn the_slowest_rules_in_bytes_too() {
        let mut lag = replica_lag(Limit::Bytes(1_000));
        let two = vec![sender("streaming", Some(90), None), sender("streaming", Some(40), None)];
        assert_eq!(read(&mut lag, 0.0, 100, two), Ok(60.0));
    }

    #[test]
    fn a_new_limit_of_another_kind_is_for_the_one_that_has_such_a_limit() {
        let aimed = |has_other, limit| {
            let mut lag = replica_lag(SECONDS_10).of_kinds(has_other);
            lag.aim(Some(limit));
            lag.limit
        };
        let (seconds_20, bytes) = (Limit::Time(Duration::from_secs(20)), Limit::Bytes(5));
        assert_eq!((aimed(false, seconds_20), aimed(false, bytes)), (seconds_20, bytes));
        assert_eq!((aimed(true, seconds_20), aimed(true, bytes)), (seconds_20, SECONDS_10));
    }

    #[test]
    fn who_is_no_standby_does_not_count_and_is_not_missed() {
        let mut lag = replica_lag(SECONDS_10);
        let others = vec![sender("backup", None, None), sender("streaming", None, None)];
        assert_eq!(read(&mut lag, 0.0, 100, others), Ok(0.0));
        assert_eq!(read(&mut lag, 1.0, 200, Vec::new()), Ok(0.0));
    }

    #[test]
    fn what_is_hidden_or_gone_is_not_fine() {
        let mut lag = replica_lag(SECONDS_10);
        let blind = read(&mut lag, 0.0, 100, vec![sender("", None, None)]).unwrap_err();
        assert_eq!(blind.recipe.as_deref(), Some("GRANT pg_read_all_stats TO app;"));
        assert_eq!(read(&mut lag, 1.0, 100, vec![sender("streaming", Some(100), None)]), Ok(0.0));
        assert!(read(&mut lag, 2.0, 100, Vec::new()).unwrap_err().why.contains("\"a\""));
    }

    #[test]
    fn after_a_failover_the_standby_that_is_the_primary_now_is_not_missed() {
        let mut lag = replica_lag(SECONDS_10);
        assert_eq!(read(&mut lag, 0.0, 900, vec![sender("streaming", Some(900), None)]), Ok(0.0));
        let mut promoted = answer(9.0, 500, Vec::new());
        assert!(lag.judge(&promoted).is_err());
        promoted.timeline = "00000002".into();
        assert_eq!(lag.judge(&promoted).map(|reading| reading.value), Ok(0.0));
    }
}
