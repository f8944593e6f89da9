//! What a process does that works on a run which another one leads.
//!
//! It walks; when nothing is left to take, or the run stands, it waits: for ranges, for the lead, or
//! for the end, and ends like the run.

use std::time::Duration;

use super::handle::Ending;
use super::settle::{Ended, Round};
use super::steering::Asked;
use super::worker::Stop;
use crate::error::Error;
use crate::ledger::control;
use crate::ledger::members;
use crate::run::{Intent, Snapshot, Status};

/// How long nothing new is waited for.
const EVERY: Duration = Duration::from_secs(1);

impl Round<'_> {
    /// Whether what stopped the walk is waited out: it is for the one that leads to act on it.
    pub(super) fn waits_after(&self, stop: &Stop) -> bool {
        let is_waited_out = matches!(
            stop,
            Stop::End | Stop::Asked(Asked::TakenOver | Asked::ToStepBack | Asked::For(_))
        );
        // Whoever has just lost the lead does not know it yet where nothing was left to take.
        self.runner.options.joins
            && is_waited_out
            && (!self.leads() || matches!(stop, Stop::Asked(Asked::TakenOver)))
    }

    /// Waits until there is something to walk, or to lead; returns how it ended if it did.
    pub(super) async fn wait_for_the_run(&mut self) -> Result<Option<Ended>, Error> {
        let mut steering = self.steering();
        loop {
            steering.wait(EVERY).await;
            let brief = self.brief.borrow().clone();
            let orders = brief.orders;
            if *steering.leaving.borrow() {
                return Ok(Some(Ended::Stopped(Stop::Asked(Asked::ToLeave))));
            }
            if brief.is_time_up {
                return Ok(Some(Ended::Stopped(Stop::Asked(Asked::TimeUp))));
            }
            let is_over = orders.status.is_final() || orders.status == Status::Failed;
            if is_over || !orders.is_ours || orders.intent == Intent::Cancel && orders.is_unled() {
                if let Some(ended) = self.end_or_join_again().await? {
                    return Ok(Some(ended));
                }
                continue;
            }
            if orders.intent == Intent::Cancel && orders.leads() {
                return Ok(Some(Ended::Stopped(Stop::Asked(Asked::For(Intent::Cancel)))));
            }
            let goes_on = orders.status == Status::Running && orders.intent == Intent::Run;
            if orders.leads() || goes_on && orders.is_open {
                return Ok(None);
            }
        }
    }

    /// Ends like the run; where it has not ended, this process was taken for dead and joins again.
    async fn end_or_join_again(&self) -> Result<Option<Ended>, Error> {
        let runner = self.runner;
        let found = self.snapshot().await.map_err(|fault| runner.broken(&fault))?;
        match found {
            None => return Err(super::runner::gone()),
            Some(Snapshot { status: Status::Succeeded, .. }) => {
                return Ok(Some(Ended::Elsewhere(Ending::Succeeded)));
            }
            Some(Snapshot { status: Status::Cancelled, .. }) => {
                return Ok(Some(Ended::Elsewhere(Ending::Cancelled)));
            }
            Some(Snapshot { status: Status::Failed, failure: Some(failure), .. }) => {
                return Err(Error::of_failure(&failure));
            }
            Some(Snapshot { intent: Intent::Cancel, .. }) => {
                // Whoever led it may have gone away before it could obey.
                let (run, actor) = (runner.run, &runner.options.actor);
                let stopped = self.insist(|mut session| async move {
                    control::stop(&mut session, run, Intent::Cancel, None, actor).await
                });
                stopped.await.map_err(|fault| runner.broken(&fault))?;
            }
            Some(_) => {
                let (run, holder) = (runner.run, &self.holder);
                let joined = self.insist(|mut session| async move {
                    members::join(&mut session, run, holder).await
                });
                joined.await.map_err(|fault| runner.broken(&fault))?;
            }
        }
        Ok(None)
    }

    /// Takes this process off the run. It is tried once: whoever cannot be taken off is known to be
    /// gone by its connection, or when its lease is over.
    pub(super) async fn step_off(&self) {
        let (run, token) = self.lease();
        if let Ok(mut session) = self.runner.database.session(crate::pg::Lane::Watch).await {
            let _ = members::leave(&mut session, run, token).await;
        }
    }
}
