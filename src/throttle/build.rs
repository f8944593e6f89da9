//! What the gate reads for a job: its holds, and the defaults that can be observed.

use super::Throttler;
use super::active_sessions::ActiveSessions;
use super::archive_backlog::ArchiveBacklog;
use super::autovacuum::Autovacuum;
use super::commit_latency::{CommitLatency, LEAST_SHARE};
use super::gate::Guarded;
use super::judge::Floor;
use super::latency::{Latency, Probe};
use super::lock_waits::LockWaits;
use super::oldest_transaction::OldestTransaction;
use super::query::Query;
use super::replica_lag::ReplicaLag;
use super::shared::Shared;
use super::slot_lag::SlotLag;
use super::standby::Standby;
use super::survey::{Origin, State, Survey, is_named};
use crate::job::{Hold, Limit, Rate, Signal};
use crate::pg::Database;
use crate::plan::Plan;

/// Returns what the gate reads: every hold of the job, whether it can be observed or not, since one
/// that cannot holds the run; and of the defaults those that are on.
pub(crate) fn throttlers(
    plan: &Plan,
    survey: &Survey,
    database: &Database,
    shared: &Shared,
) -> Vec<Guarded> {
    let application_name = database.connect().name();
    let builder = Builder { plan, application_name, shared: shared.clone() };
    let mut all: Vec<_> = plan.job.holds.iter().map(|hold| builder.of_job(hold)).collect();
    for surveyed in &survey.0 {
        if let State::On { origin: Origin::Default, .. } = surveyed.state {
            all.extend(builder.of_default(surveyed.signal));
        }
    }
    all
}

fn rows(floor: Rate) -> Floor {
    Floor::Rows(floor.rows_per_second())
}

/// Makes throttlers for one plan.
pub(super) struct Builder<'a> {
    pub(super) plan: &'a Plan,
    /// How our sessions are called.
    pub(super) application_name: Option<&'a str>,
    /// What other processes of the run have learned.
    pub(super) shared: Shared,
}

impl Builder<'_> {
    pub(super) fn of_job(&self, hold: &Hold) -> Guarded {
        let throttler = self.throttler(hold.on, hold.name.clone(), hold.above, Some(hold));
        Guarded { throttler, floor: hold.floor.map(rows) }
    }

    fn of_default(&self, signal: Signal) -> Option<Guarded> {
        let limit = signal.default_limit()?;
        let throttler = self.throttler(signal, signal.word().to_owned(), limit, None);
        let share = (signal == Signal::CommitLatency).then_some(Floor::Share(LEAST_SHARE));
        Some(Guarded { throttler, floor: signal.default_floor().map(rows).or(share) })
    }

    /// Whether the lag of standbys has a limit of another kind as well: in bytes beside one in time, or the
    /// other way round.
    fn has_other_lag(&self, limit: Limit) -> bool {
        let (job, lag) = (&self.plan.job, Signal::ReplicaLag);
        let of_job = job.holds.iter().filter(|hold| hold.on == lag).map(|hold| hold.above);
        let default = lag.default_limit().filter(|_| !is_named(job, lag));
        of_job.chain(default).any(|other| !other.is_like(&limit))
    }

    fn throttler(
        &self,
        signal: Signal,
        name: String,
        limit: Limit,
        hold: Option<&Hold>,
    ) -> Box<dyn Throttler> {
        let target = &self.plan.target;
        let table = target.oid;
        match signal {
            Signal::ReplicaLag => {
                let url = hold.and_then(|hold| hold.url.as_ref());
                let standby = url.map(|url| Standby::at(url, self.application_name));
                Box::new(
                    ReplicaLag::new(name, limit, standby, self.shared.roll.clone())
                        .of_kinds(self.has_other_lag(limit)),
                )
            }
            Signal::SlotLag => Box::new(SlotLag { name, limit }),
            Signal::ArchiveBacklog => Box::new(ArchiveBacklog { name, limit }),
            Signal::LockWaits => Box::new(LockWaits { name, limit, table }),
            Signal::ActiveSessions => Box::new(ActiveSessions { name, limit }),
            Signal::OldestTransaction => Box::new(OldestTransaction { name, limit }),
            Signal::Autovacuum => Box::new(Autovacuum { name, table }),
            Signal::Latency => {
                let probe = Probe::of(&target.keyset, self.plan.last_key.as_ref());
                Box::new(Latency::new(name, limit, probe))
            }
            Signal::CommitLatency => {
                Box::new(CommitLatency::new(name, limit, self.shared.usual.clone()))
            }
            Signal::Query => {
                let sql = hold.and_then(|hold| hold.sql.as_ref()).map_or("NULL", |sql| &sql.text);
                Box::new(Query::new(name, limit, sql, target.search_path.clone()))
            }
        }
    }
}
