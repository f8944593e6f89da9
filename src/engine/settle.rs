//! The rounds of a run, and how each end is written down.
//!
//! ```text
//!   open range? ── walk ──▶ (again)
//!        │ none
//!        ▼
//!     verify ── rows left to do, fewer than three sweeps ──▶ a range over them, and again
//!        │
//!        └── clean ──▶ succeeded        └── anything else ──▶ failed, with keys and cause
//! ```

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::crew::{Crew, Limit};
use super::failure::{bad_row, full, refused, torn, unfit};
use super::handle::Ending;
use super::insist::insist;
use super::runner::{Runner, taken_over};
use super::steering::{Asked, Brief, Steering};
use super::verifier::Verifier;
use super::worker::{Stop, lost, misled};
use crate::error::{Error, ErrorKind};
use crate::ledger::lease::{self, Claim, Holder};
use crate::ledger::ranges::{self, Sweep};
use crate::ledger::runs::{self, Ending as Record};
use crate::ledger::snapshot;
use crate::pg::fault::is_unreachable;
use crate::pg::{DbMessage, Fault, Lane, Session};
use crate::plan::standing;
use crate::run::{
    Event, Failure, FailureKind, Intent, Pending, Phase, Snapshot, Status, Transition, count,
};
use crate::throttle::View;
use crate::verify::{self, Question, Tally};

/// Sweeps after the walk. Rows that still appear after three are being made faster than they are
/// done, and no number of sweeps would end that.
const SWEEPS: u64 = 3;

/// Why the rounds ended.
pub(super) enum Ended {
    Verified {
        how: &'static str,
        looked: u64,
        took: Duration,
    },
    Unverified(Failure),
    Stopped(Stop),
    /// The one that leads the run has brought it to its end.
    Elsewhere(Ending),
    Broken(Error),
}

/// One owner's rounds.
pub(super) struct Round<'a> {
    pub(super) runner: &'a Runner,
    pub(super) holder: Holder,
    pub(super) brief: watch::Receiver<Brief>,
    pub(super) gate: View,
    pub(super) limit: Arc<Mutex<Limit>>,
}

impl Round<'_> {
    pub(super) fn steering(&self) -> Steering {
        self.runner.steering(&self.brief, &self.gate)
    }

    pub(super) fn lease(&self) -> (i64, &str) {
        (self.runner.run, &self.holder.token)
    }

    /// Walks what is open, verifies, sweeps; stands still through pauses.
    pub(super) async fn walk_and_verify(&mut self) -> Ended {
        loop {
            let stop = match self.round().await {
                Ok(Some(ended)) => return ended,
                Ok(None) => continue,
                Err(stop) => stop,
            };
            let is_pause = matches!(stop, Stop::Asked(Asked::For(Intent::Pause)));
            if self.waits_after(&stop) {
                match self.wait_for_the_run().await {
                    Ok(None) if is_pause => self.runner.voice.say(Event::Resumed),
                    Ok(None) => {}
                    Ok(Some(ended)) => return ended,
                    Err(error) => return Ended::Broken(error),
                }
                continue;
            }
            if !is_pause {
                return Ended::Stopped(stop);
            }
            match self.stand().await {
                Ok(None) => self.runner.voice.say(Event::Resumed),
                Ok(Some(asked)) => return Ended::Stopped(Stop::Asked(asked)),
                Err(error) => return Ended::Broken(error),
            }
        }
    }

    async fn round(&mut self) -> Result<Option<Ended>, Stop> {
        let runner = self.runner;
        let (database, fence) = (runner.database.clone(), runner.fence(&self.holder));
        let crew = Arc::new(Crew::new(database, fence, Arc::clone(&self.limit)));
        let stop = crew.walk(&runner.plan, &self.steering()).await;
        let is_over = matches!(stop, Stop::End);
        if is_over && self.leads() {
            return self.verify().await;
        }
        let is_lost = is_over && !runner.options.joins;
        Err(if is_lost { Stop::Asked(Asked::TakenOver) } else { stop })
    }

    /// Whether this process leads the run, as far as it knows.
    pub(super) fn leads(&self) -> bool {
        self.brief.borrow().orders.leads()
    }

    pub(super) async fn insist<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        act: impl FnMut(Session) -> F,
    ) -> Result<T, Fault> {
        let max_hold = self.runner.plan.job.pace.max_hold;
        insist(&self.runner.database, &self.runner.leaving, max_hold, act).await
    }

    pub(super) async fn snapshot(&self) -> Result<Option<Snapshot>, Fault> {
        let run = self.runner.run;
        self.insist(|mut session| async move { snapshot::of_run(&mut session, run).await }).await
    }

    async fn verify(&mut self) -> Result<Option<Ended>, Stop> {
        let lease = self.lease();
        let entered = self.insist(|mut session| async move {
            runs::enter(&mut session, lease, Phase::Verify).await
        });
        if !entered.await.map_err(lost)? {
            return Err(Stop::Asked(Asked::TakenOver));
        }
        let snapshot = self.snapshot().await.map_err(lost)?;
        let Some(snapshot) = snapshot else { return Err(Stop::Asked(Asked::TakenOver)) };
        self.look_at_partitions().await?;
        self.runner.voice.say(Event::Verifying);
        let pending = snapshot.pending();
        let verifier = Verifier {
            database: self.runner.database.clone(),
            plan: Arc::clone(&self.runner.plan),
            steering: self.steering(),
            run: self.runner.run,
            pending,
            token: Some(self.holder.token.clone()),
        };
        let (tally, took) = verifier.look().await?;
        self.judge(&snapshot, pending, tally, took).await
    }

    async fn judge(
        &mut self,
        snapshot: &Snapshot,
        pending: Pending,
        tally: Tally,
        took: Duration,
    ) -> Result<Option<Ended>, Stop> {
        if let (Pending::Proven, Some((after, upto))) = (pending, &tally.stretch)
            && snapshot.pass < SWEEPS
        {
            let actor = &self.runner.options.actor;
            let lease = self.lease();
            let sweep =
                &Sweep { after: after.as_ref(), upto, rows: tally.still, pass: snapshot.pass };
            let swept = self.insist(|mut session| async move {
                ranges::sweep(&mut session, lease, sweep, actor).await
            });
            swept.await.map_err(lost)?;
            self.runner.voice.say(Event::Sweeping { pass: snapshot.pass + 1, rows: tally.still });
            return Ok(None);
        }
        let run = self.runner.run;
        let walk =
            self.insist(|mut session| async move { ranges::of_walk(&mut session, run).await });
        let walk = walk.await.map_err(lost)?;
        // Whatever proves the rows: this run has not done those that no range led to.
        walk.tiles().map_err(Stop::Torn)?;
        let books = verify::books(&walk, &snapshot.rows);
        let standing = self.insist(|mut session| {
            let plan = Arc::clone(&self.runner.plan);
            async move { standing(&mut session, &plan).await }
        });
        if let Some(stop) = misled(standing.await.map_err(lost)?) {
            return Err(stop);
        }
        if let Some(failure) = self.out_of_step().await? {
            return Ok(Some(Ended::Unverified(failure)));
        }
        let question = Question {
            job: &self.runner.plan.job.name,
            pending,
            has_expect: self.runner.plan.job.verify.expect.is_some(),
            rows: &snapshot.rows,
            sweeps: snapshot.pass,
            is_open: true,
        };
        let verdict = question.verdict(&tally, books);
        if verdict.is_ok()
            && !question.proves_rows()
            && let Some(failure) = self.missed_partitions().await?
        {
            return Ok(Some(Ended::Unverified(failure)));
        }
        Ok(Some(match verdict {
            Ok(how) => Ended::Verified { how, looked: tally.looked, took },
            Err(failure) => Ended::Unverified(failure),
        }))
    }

    /// Writes the pause down and waits, keeping the lease, until somebody asks for something else.
    async fn stand(&mut self) -> Result<Option<Asked>, Error> {
        let mut steering = self.steering();
        let lease = self.lease();
        let actor = &self.runner.options.actor;
        let pause = Transition::Stopped(Intent::Pause);
        let paused = self.insist(|mut session| async move {
            runs::settle(&mut session, lease, pause, &Record::default(), actor).await
        });
        if !paused.await.map_err(|fault| self.runner.broken(&fault))? {
            // Somebody has taken the pause back before it was written, or the lease is lost: the
            // next look at the orders tells.
            steering.wait(Duration::from_secs(2)).await;
            return Ok(steering.asked().filter(|asked| *asked != Asked::For(Intent::Pause)));
        }
        if let Ok(Some(snapshot)) = self.snapshot().await {
            self.runner.voice.say(Event::Paused(Box::new(snapshot)));
        }
        loop {
            let is_ready = {
                let orders = self.brief.borrow().orders.clone();
                orders.leads() && orders.intent == Intent::Run && orders.status == Status::Ready
            };
            if is_ready && self.reclaim().await? {
                return Ok(None);
            }
            if self.runner.options.joins && !self.leads() {
                // Another member leads it now; the next round finds out what is to be done.
                return Ok(None);
            }
            let is_time_up = self.brief.borrow().is_time_up;
            match steering.asked() {
                Some(Asked::For(Intent::Pause)) if is_time_up => {
                    return Ok(Some(Asked::TimeUp));
                }
                Some(Asked::For(Intent::Pause)) | None => {}
                Some(asked) => return Ok(Some(asked)),
            }
            steering.wait(Duration::from_secs(1)).await;
        }
    }

    async fn reclaim(&self) -> Result<bool, Error> {
        let (run, holder) = (self.runner.run, &self.holder);
        let claim =
            self.insist(|mut session| async move { lease::claim(&mut session, run, holder).await });
        Ok(matches!(claim.await.map_err(|fault| self.runner.broken(&fault))?, Claim::Ours(_)))
    }

    /// Writes down how it ended.
    pub(super) async fn settle(&self, ended: Ended) -> Result<Ending, Error> {
        match ended {
            Ended::Verified { how, looked, took } => {
                let record = Record {
                    verified: Some(how),
                    looked: Some((looked, took.as_secs_f64())),
                    ..Record::default()
                };
                self.write(Transition::Finished, &record).await?;
                if let Ok(Some(snapshot)) = self.snapshot().await {
                    self.runner.voice.say(Event::Verified(Box::new(snapshot)));
                }
                Ok(Ending::Succeeded)
            }
            Ended::Unverified(failure) => Err(self.fail(failure).await?),
            Ended::Elsewhere(ending) => Ok(ending),
            Ended::Broken(error) => Err(error),
            Ended::Stopped(stop) => self.settle_stop(stop).await,
        }
    }

    async fn settle_stop(&self, stop: Stop) -> Result<Ending, Error> {
        let plan = &self.runner.plan;
        match stop {
            Stop::End | Stop::Limit => self.leave(Ending::Limit).await,
            Stop::Asked(Asked::For(Intent::Cancel)) => {
                self.write(Transition::Stopped(Intent::Cancel), &Record::default()).await?;
                Ok(Ending::Cancelled)
            }
            Stop::Asked(Asked::TakenOver) => Err(self.taken_over_or_failed().await),
            Stop::Asked(Asked::For(_) | Asked::ToLeave | Asked::ToStepBack) => {
                self.leave(Ending::Left).await
            }
            Stop::Asked(Asked::TimeUp) => self.leave(Ending::TimeUp).await,
            // Where nothing can be read, every signal holds.
            Stop::HeldTooLong(reason) => match self.runner.database.session(Lane::Watch).await {
                Ok(_) => self.leave(Ending::Held(reason)).await,
                Err(fault) => Err(self.give_up(fault.message()).await),
            },
            Stop::GaveUp(message) => Err(self.give_up(&message).await),
            Stop::BadRow(key, message) => Err(self.fail(bad_row(plan, &key, &message)).await?),
            Stop::Full(key, message, used) => {
                let rows = self.snapshot().await.ok().flatten().map(|it| it.rows);
                let rows = rows.unwrap_or_default();
                Err(self.fail(full(plan, (&key, &message), used, &rows)).await?)
            }
            Stop::Unfit(why) => Err(self.fail(unfit(&plan.job.name, why)).await?),
            Stop::Torn(gap) => Err(self.fail(torn(&plan.job.name, &gap)).await?),
            Stop::Fatal(message) => Err(self.fail(refused(&plan.job.name, &message)).await?),
        }
    }

    /// Leaves the run for whoever continues it; a paused one stays paused, and one that is to be
    /// cancelled is.
    async fn leave(&self, ending: Ending) -> Result<Ending, Error> {
        if !self.leads() {
            return Ok(ending);
        }
        // The orders may be a second old, and a pause that was just written is not in them.
        let found = self.snapshot().await.map_err(|fault| self.runner.broken(&fault))?;
        let (status, intent) =
            found.map_or((Status::Running, Intent::Run), |it| (it.status, it.intent));
        if intent == Intent::Cancel {
            self.write(Transition::Stopped(Intent::Cancel), &Record::default()).await?;
            return Ok(Ending::Cancelled);
        }
        if status != Status::Paused {
            let reason =
                if let Ending::Held(reason) = &ending { Some(reason.as_str()) } else { None };
            let record = Record { reason, ..Record::default() };
            return match self.write(Transition::Yielded, &record).await {
                // Another member leads it by now, so it is not ours to give back.
                Err(error) if self.runner.options.joins && error.kind() == ErrorKind::Owned => {
                    Ok(ending)
                }
                written => written.map(|()| ending),
            };
        }
        let (run, token) = self.lease();
        let released = self
            .insist(|mut session| async move { lease::release(&mut session, run, token).await });
        released.await.map_err(|fault| self.runner.broken(&fault))?;
        Ok(ending)
    }

    /// Writes a transition.
    async fn write(&self, transition: Transition, record: &Record<'_>) -> Result<(), Error> {
        let actor = &self.runner.options.actor;
        let lease = self.lease();
        let mut tries = 0;
        let written = self.insist(|mut session| {
            tries += 1;
            async move { runs::settle(&mut session, lease, transition, record, actor).await }
        });
        if written.await.map_err(|fault| self.runner.broken(&fault))? {
            return Ok(());
        }
        // After a commit of unknown outcome the second try finds it done.
        let found = self.snapshot().await;
        let is_settled = matches!(found, Ok(Some(snapshot)) if snapshot.status != Status::Running);
        if tries > 1 && is_settled { Ok(()) } else { Err(taken_over(&self.runner.plan.job.name)) }
    }

    async fn fail(&self, failure: Failure) -> Result<Error, Error> {
        let record =
            Record { reason: Some(&failure.message), failure: Some(&failure), ..Record::default() };
        self.write(Transition::Failed, &record).await?;
        let mut error = Error::of_failure(&failure);
        if let Ok(Some(snapshot)) = self.snapshot().await {
            error = error.having_committed(committed(&snapshot, failure.kind));
        }
        Ok(error)
    }

    async fn give_up(&self, message: &DbMessage) -> Error {
        let job = &self.runner.plan.job.name;
        let reason = message.to_string();
        let record = Record { reason: Some(&reason), ..Record::default() };
        // Tried once, for it was insisted for long enough. If it cannot be written, the lease runs
        // out by itself: the run is stalled, and resumable.
        if let Ok(mut session) = self.runner.database.session(Lane::Watch).await {
            let (lease, actor) = (self.lease(), &self.runner.options.actor);
            let _ = runs::settle(&mut session, lease, Transition::Yielded, &record, actor).await;
        }
        let is_gone = is_unreachable(message);
        let kind = if is_gone { ErrorKind::Unreachable } else { ErrorKind::Stopped };
        Error::new(kind, "max-hold", format!("run `{job}` was left: the trouble did not end"))
            .because_of(message)
            .with_hint(format!(
                "when the cause is gone, `piecemeal run {job}` continues where it stopped"
            ))
    }

    /// A member has failed the run, or somebody else leads it.
    async fn taken_over_or_failed(&self) -> Error {
        match self.snapshot().await {
            Ok(Some(Snapshot { status: Status::Failed, failure: Some(failure), .. })) => {
                Error::of_failure(&failure)
            }
            _ => taken_over(&self.runner.plan.job.name),
        }
    }
}

fn committed(snapshot: &Snapshot, kind: FailureKind) -> String {
    let done = snapshot.committed();
    if kind == FailureKind::BadRow {
        return format!("{done}; nothing of batch {} was written", count(snapshot.batches + 1));
    }
    done
}
