//! Brings a run to its end: takes the lease, walks what is open, verifies, sweeps, ends.
//!
//! Where it is comes from the ledger in every round, so it goes on the same way after a crash, a
//! pause, or another process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Map;
use tokio::sync::watch;

use super::controller::{Controller, Shown};
use super::crew::Limit;
use super::gauge::Gauge;
use super::handle::{Ending, Handle, Leaver, Options, Report, leaves};
use super::insist::{ends, insist};
use super::pacing::{Paced, Pacing};
use super::settle::Round;
use super::steering::{Brief, Steering};
use super::vacuumer::Vacuumer;
use super::voice::{self, Voice};
use crate::batch::Fence;
use crate::error::{Error, ErrorKind};
use crate::ledger::control::{self, Orders};
use crate::ledger::lease::{self, Claim, Holder};
use crate::ledger::{members, runs, snapshot};
use crate::pg::{Database, Fault, Session, find_out};
use crate::plan::Plan;
use crate::run::{
    Event, Intent, Meter, Overrides, Phase, Pulse, Snapshot, Status, Turn, as_timestamp,
};
use crate::throttle::{self, Changes, Gate, Guarded, Shared, View};

/// How often a lease that somebody else holds is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Starts to work on the run with this number.
pub fn start(plan: Plan, run: i64, database: Database, options: Options) -> Handle {
    let (voice, events) = voice::pair();
    let (leave, leaving) = watch::channel(false);
    let gauge = Arc::new(Mutex::new(Gauge::default()));
    let weak = voice.downgrade();
    let leaver =
        Leaver { leave, voice: weak, gauge: Arc::clone(&gauge), database: database.clone() };
    let runner = Runner { plan: Arc::new(plan), run, database, options, voice, leaving, gauge };
    Handle { events, leaver, task: tokio::spawn(runner.bring_to_end()) }
}

/// One process's work on one run.
pub(super) struct Runner {
    pub(super) plan: Arc<Plan>,
    pub(super) run: i64,
    pub(super) database: Database,
    pub(super) options: Options,
    pub(super) voice: Voice,
    pub(super) leaving: watch::Receiver<bool>,
    pub(super) gauge: Arc<Mutex<Gauge>>,
}

/// What connects the controller with those whom it steers.
struct Lines {
    controller: Controller,
    brief: watch::Receiver<Brief>,
    changed: watch::Receiver<Changes>,
}

impl Runner {
    async fn bring_to_end(mut self) -> Result<Report, Error> {
        let holder = self.holder().await?;
        let deadline = self.deadline().await?;
        if let Some(ending) = self.take_lease(&holder, deadline).await? {
            return self.report(ending).await;
        }
        let run = self.run;
        let key =
            self.insist(|mut session| async move { runs::noted_key(&mut session, run).await });
        self.plan = Arc::new(self.plan.scattered_as(key.await?.as_deref()));
        let snapshot = self.snapshot().await?;
        self.voice.say(Event::Started(Box::new(snapshot.clone())));
        let mut lines = self.lines(&holder, &snapshot).await?;
        let throttlers = self.throttlers(&mut lines).await?;
        let (stop, stopped) = watch::channel(false);
        // Before the gate: the first readings may take longer than the lease lasts.
        let controlling = tokio::spawn(lines.controller.drive(stopped.clone()));
        let gate = Gate::open(throttlers, self.database.clone(), lines.changed).await;
        let vacuumer = Vacuumer::new(&self, &snapshot, lines.brief.clone());
        let vacuuming = tokio::spawn(vacuumer.drive(stopped));
        let limit = Arc::new(Mutex::new(Limit::new(self.options.limit)));
        let (brief, gate_view) = (lines.brief, gate.view());
        let mut round = Round { runner: &self, holder, brief, gate: gate_view, limit };
        let ended = round.walk_and_verify().await;
        stop.send_replace(true);
        // Whoever panicked of these has nothing to add to how the run ended.
        let _ = tokio::join!(controlling, vacuuming, gate.close());
        let ending = round.settle(ended).await;
        round.step_off().await;
        self.report(ending?).await
    }

    /// Connects those who say what to do with those who do it. A pace from outside must hold from the
    /// first batch on, not from the first look.
    async fn lines(&self, holder: &Holder, snapshot: &Snapshot) -> Result<Lines, Error> {
        let orders = self.orders(holder).await?;
        let seen = Some((snapshot.now, Instant::now()));
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner).clock = seen;
        let pacing = Pacing::new(&self.plan, &self.options);
        let now = as_timestamp(snapshot.now);
        let pace = pacing.at(now, &orders);
        let turn = |now| Turn { was: None, now, limit: pace.limit(), since: snapshot.now };
        if orders.overrides != Overrides::default() {
            self.voice.say(Event::Throttled(turn(orders.overrides.to_string())));
        }
        let is_one_range = snapshot.phase == Phase::Backfill && snapshot.ranges == (1, 0);
        if is_one_range && (pace.workers > 1 || self.options.joins) {
            self.voice.say(Event::OneRange);
        }
        if let Some(now) = pace.window.clone() {
            self.voice.say(Event::Window(turn(now)));
        }
        let shared = Shared::of(&snapshot.pulse, orders.leads());
        let (changes, changed) = watch::channel(orders.overrides.holds.clone());
        let is_time_up = pacing.is_time_up(now);
        let (sender, brief) = watch::channel(Brief { orders, pace, is_time_up });
        let controller = Controller {
            database: self.database.clone(),
            run: self.run,
            holder: holder.clone(),
            joins: self.options.joins,
            partitions: self.plan.target.is_partitioned.then(Instant::now),
            unled: 0,
            gauge: Arc::clone(&self.gauge),
            voice: self.voice.clone(),
            pacing,
            brief: sender,
            changes,
            signals: Vec::new(),
            truths: Vec::new(),
            target_bounds: self.plan.job.batch.target_bounds(),
            shared,
            base: Map::new(),
            held_before: snapshot.held.clone(),
            changed_before: snapshot.rows.changed,
            session: None,
            meter: Meter::default(),
            paced: Paced::default(),
            renewed: None,
            shown: Shown::default(),
            measured: None,
            last: Pulse::default(),
        };
        Ok(Lines { controller, brief, changed })
    }

    /// Returns the signals that are read, and tells the controller of them.
    async fn throttlers(&self, lines: &mut Lines) -> Result<Vec<Guarded>, Error> {
        let name = self.database.connect().name();
        let survey = self.insist(|mut session| {
            let plan = Arc::clone(&self.plan);
            async move { throttle::survey_in(&mut session, Some(&plan), name).await }
        });
        let survey = survey.await?;
        let throttlers =
            throttle::throttlers(&self.plan, &survey, &self.database, &lines.controller.shared);
        let signals = &mut lines.controller.signals;
        for Guarded { throttler, .. } in &throttlers {
            // Lag may be read several times: in time, in bytes, and of a standby by its URL.
            if !signals.iter().any(|name| name == throttler.name()) {
                signals.push(throttler.name().to_owned());
            }
        }
        lines.controller.truths = survey.truths();
        let size = &self.plan.job.batch.size;
        lines.controller.base = lines.controller.pacing.in_full(size, survey.limits());
        Ok(throttlers)
    }

    /// The error for a statement of the ledger that failed.
    pub(super) fn broken(&self, fault: &Fault) -> Error {
        let job = &self.plan.job.name;
        Error::of_fault(format!("run `{job}` could not go on"), fault)
            .with_hint(format!("`piecemeal run {job}` continues where it stopped"))
    }

    async fn holder(&self) -> Result<Holder, Error> {
        let database = &self.database;
        self.insist(|mut session| async move { find_out(&mut session, database).await }).await?;
        // What the pace says becomes known with the first orders.
        let workers = self.options.workers.or(self.plan.job.pace.workers).unwrap_or(1);
        Ok(Holder::here(&self.options.actor, workers))
    }

    /// Returns when the time that this process was given is up.
    async fn deadline(&self) -> Result<Option<Instant>, Error> {
        let (term, max_hold) = (self.options.term, self.plan.job.pace.max_hold);
        let end = ends(term, &self.database, &self.leaving, max_hold).await;
        end.map_err(|fault| self.broken(&fault))
    }

    /// Takes the lease: at once if nobody alive holds it, else when it is over; who joins, or has begun what
    /// the holder leads, helps it instead. Returns how it ended if there is nothing left to do: this process is to leave,
    /// its time is up, or the other one was done first.
    async fn take_lease(
        &mut self,
        holder: &Holder,
        deadline: Option<Instant>,
    ) -> Result<Option<Ending>, Error> {
        let run = self.run;
        let mut first_seen: Option<String> = None;
        loop {
            let claim = self
                .insist(|mut session| async move { lease::claim(&mut session, run, holder).await });
            match claim.await? {
                Claim::Ours(before) => {
                    if let Some(from) = before {
                        self.voice.say(Event::Takeover { from });
                    }
                    return Ok(None);
                }
                Claim::Closed => return self.closed().await.map(Some),
                Claim::Held(..) if self.options.helps() => {
                    let joined = self.insist(|mut session| async move {
                        members::join(&mut session, run, holder).await
                    });
                    // If it stands by now, the next claim says so.
                    if let Some(leader) = joined.await? {
                        self.options.joins = true;
                        self.voice.say(Event::Joined { leader });
                        return Ok(None);
                    }
                }
                Claim::Held(owner, renewed) => {
                    if first_seen.as_ref().is_some_and(|first| *first != renewed) {
                        return Err(self.owned(&owner));
                    }
                    if first_seen.is_none() {
                        self.voice.say(Event::Waiting { owner });
                        first_seen = Some(renewed);
                    }
                }
            }
            if let Some(ending) = leaves(&self.leaving, deadline) {
                return Ok(Some(ending));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn owned(&self, owner: &str) -> Error {
        let job = &self.plan.job.name;
        Error::new(
            ErrorKind::Owned,
            "owned",
            format!("run `{job}` is being worked on by another process"),
        )
        .because(format!("{owner} has just renewed its lease"))
        .with_hint(format!("`piecemeal watch {job}` follows it; `piecemeal pause {job}` stops it"))
    }

    /// The run may not be worked on any more; who waited for it to be done is told that it is.
    async fn closed(&self) -> Result<Ending, Error> {
        let snapshot = self.snapshot().await?;
        if snapshot.status == Status::Succeeded {
            return Ok(Ending::Succeeded);
        }
        if snapshot.intent == Intent::Cancel {
            // Its owner went away before it could obey.
            let (run, actor) = (self.run, &self.options.actor);
            self.insist(|mut session| async move {
                control::stop(&mut session, run, Intent::Cancel, None, actor).await
            })
            .await?;
            return Ok(Ending::Cancelled);
        }
        Err(closed(&self.plan.job.name))
    }

    pub(super) fn steering(&self, brief: &watch::Receiver<Brief>, gate: &View) -> Steering {
        let (leaving, gauge) = (self.leaving.clone(), Arc::clone(&self.gauge));
        Steering::new(brief.clone(), leaving, gauge, self.voice.clone())
            .held_by(gate.clone(), self.plan.job.pace.max_hold)
    }

    pub(super) fn fence(&self, holder: &Holder) -> Fence {
        Fence { run: self.run, token: holder.token.clone() }
    }

    /// Does `act` whatever the database goes through: once a lease may be ours, an outage is waited
    /// out.
    async fn insist<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        act: impl FnMut(Session) -> F,
    ) -> Result<T, Error> {
        let max_hold = self.plan.job.pace.max_hold;
        let done = insist(&self.database, &self.leaving, max_hold, act).await;
        done.map_err(|fault| self.broken(&fault))
    }

    async fn orders(&self, holder: &Holder) -> Result<Orders, Error> {
        let (lease, joins) = ((self.run, holder.token.as_str()), self.options.joins);
        let found = self
            .insist(|mut session| async move { control::orders(&mut session, lease, joins).await });
        found.await?.ok_or_else(gone)
    }

    async fn snapshot(&self) -> Result<Snapshot, Error> {
        let run = self.run;
        let found = self
            .insist(|mut session| async move { snapshot::of_run(&mut session, run).await })
            .await?;
        found.ok_or_else(gone)
    }

    async fn report(&self, ending: Ending) -> Result<Report, Error> {
        Ok(Report { ending, snapshot: self.snapshot().await? })
    }
}

/// The run may not be worked on.
pub(super) fn closed(job: &str) -> Error {
    let what = format!("run `{job}` was paused or ended meanwhile");
    Error::new(ErrorKind::Stopped, "closed", what)
        .with_hint(format!("`piecemeal status {job}` shows it"))
}

/// Somebody else works on the run.
pub(super) fn taken_over(job: &str) -> Error {
    let what = format!("run `{job}` was taken over by another process");
    Error::new(ErrorKind::Owned, "taken-over", what)
        .because("its lease is not ours any more; nothing of ours was written after that")
        .with_hint(format!("`piecemeal watch {job}` follows it"))
}

pub(super) fn gone() -> Error {
    Error::new(ErrorKind::Unexpected, "run-gone", "the run is not in the ledger any more")
}
