//! Partitions that were attached during a run: named, and where their rows are not proved, searched for
//! those that the walk has missed.

use std::sync::Arc;

use tokio::sync::watch;

use super::looker::Looker;
use super::settle::Round;
use super::worker::{Stop, lost};
use crate::ledger::partitions::{self, Changed};
use crate::run::{Event, Failure, FailureKind, Pending};

impl Round<'_> {
    /// Says which partitions came and went.
    pub(super) async fn look_at_partitions(&self) -> Result<(), Stop> {
        let runner = self.runner;
        if !runner.plan.target.is_partitioned {
            return Ok(());
        }
        let run = runner.run;
        let changed =
            self.insist(|mut session| async move { partitions::look(&mut session, run).await });
        let Changed { attached, detached } = changed.await.map_err(lost)?;
        if !attached.is_empty() || !detached.is_empty() {
            runner.voice.say(Event::Partitions { attached, detached });
        }
        Ok(())
    }

    /// Returns why the run cannot be called done, if partitions that were attached since its beginning
    /// may have rows that the walk had passed by then.
    pub(super) async fn missed_partitions(&self) -> Result<Option<Failure>, Stop> {
        if !self.runner.plan.target.is_partitioned {
            return Ok(None);
        }
        self.look_at_partitions().await?;
        let run = self.runner.run;
        let newcomers = self
            .insist(|mut session| async move { partitions::newcomers(&mut session, run).await });
        let mut missed = Vec::new();
        for (name, oid) in newcomers.await.map_err(lost)? {
            if self.looker_at(oid).finds_broken(&name).await? {
                missed.push(name);
            }
        }
        Ok((!missed.is_empty()).then(|| self.unverified(&missed)))
    }

    fn looker_at(&self, newcomer: i64) -> Looker {
        let (database, plan) = (self.runner.database.clone(), &self.runner.plan);
        let (_halt, halted) = watch::channel(false);
        let steering = self.steering().of_worker(0, halted);
        let plan = Arc::new(plan.of_newcomer(newcomer));
        Looker::new(database, plan, steering, (self.runner.run, Pending::Absent))
    }

    fn unverified(&self, missed: &[String]) -> Failure {
        let plan = &self.runner.plan;
        let (job, table) = (&plan.job.name, &plan.target.keyset.table);
        Failure {
            kind: FailureKind::Unverified,
            message: format!(
                "verification of `{job}` failed: {} became part of {table} during the run",
                missed.join(", ")
            ),
            because: vec![
                "it came with rows that nobody has written since: the walk may have been past their keys"
                    .to_owned(),
                "without an `expect`, or a `where` that says what is left to do, they cannot be told from rows that are done"
                    .to_owned(),
            ],
            hint: Some(format!(
                "take it out (ALTER TABLE … DETACH PARTITION {}), then `piecemeal resume {job}`; do its rows with a job that names it, and attach it again",
                missed[0]
            )),
            sqlstate: None,
        }
    }
}
