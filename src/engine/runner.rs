//! Brings a run to its end: takes the lease, walks what is open, verifies, sweeps, ends.
//!
//! Where it is comes from the ledger in every round, so it goes on the same way after a crash, a
//! pause, or another process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::controller::{Controller, in_words};
use super::insist::insist;
use super::settle::Round;
use super::steering::{Defaults, Gauge, Steering, Voice};
use crate::batch::Fence;
use crate::error::{Error, ErrorKind};
use crate::ledger::control::{self, Orders};
use crate::ledger::lease::{self, Claim, Holder};
use crate::ledger::{Actor, journal, snapshot};
use crate::pg::{Database, Fault, Lane, Session};
use crate::plan::Plan;
use crate::run::{Event, Intent, Meter, Snapshot, Status};

/// Events that may wait for a listener; a second of batches at full speed is far less.
const EVENTS: usize = 1_024;
/// How often a lease that somebody else holds is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How this process works on a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stop, resumable, after so many changed rows.
    pub limit: Option<u64>,
    /// Rows per second, instead of the job's.
    pub rate: Option<u32>,
    /// Time of a batch, instead of the job's.
    pub target: Option<Duration>,
    /// Who starts it, for the journal.
    pub actor: Actor,
}

impl Options {
    /// Returns options that leave everything to the job.
    pub fn new(actor: Actor) -> Options {
        Options { limit: None, rate: None, target: None, actor }
    }
}

/// How it ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Done and verified.
    Succeeded,
    /// It had changed as many rows as it may.
    Limit,
    /// It was told to leave.
    Left,
    /// Somebody cancelled it.
    Cancelled,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// The committed state at the end.
    pub snapshot: Snapshot,
}

/// A run in progress.
pub struct Handle {
    events: mpsc::Receiver<Event>,
    leaver: Leaver,
    task: JoinHandle<Result<Report, Error>>,
}

/// Lets a run be left from another task.
#[derive(Clone)]
pub struct Leaver {
    leave: watch::Sender<bool>,
    /// Weak, so that the events end with the run, and not with whoever could end it.
    voice: mpsc::WeakSender<Event>,
    gauge: Arc<Mutex<Gauge>>,
    database: Database,
}

impl Handle {
    /// Returns what happened next; `None` when the run is over.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Returns what lets another task leave the run.
    pub fn leaver(&self) -> Leaver {
        self.leaver.clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Why it stopped before its end: a bad row, rows that verification found, another owner, a
    /// database that cannot be reached.
    pub async fn join(self) -> Result<Report, Error> {
        drop(self.events);
        self.task.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Unexpected, "panic", "the engine stopped")
                .because(error.to_string()))
        })
    }
}

impl Leaver {
    /// Lets the current batch end, saves, and leaves; the run can be continued.
    pub fn leave(&self) {
        if !self.leave.send_replace(true)
            && let Some(sender) = self.voice.upgrade()
        {
            Voice(sender).say(Event::Leaving);
        }
    }

    /// Ends the statement that is running now, too.
    pub async fn leave_at_once(&self) {
        self.leave();
        let token = self.gauge.lock().unwrap_or_else(PoisonError::into_inner).cancel.clone();
        if let Some(token) = token {
            // The statement may have ended meanwhile; there is nothing more to do then.
            let _ = self.database.cancel(&token).await;
        }
    }
}

/// Starts to work on the run with this number.
pub fn start(plan: Plan, run: i64, database: Database, options: Options) -> Handle {
    let (sender, events) = mpsc::channel(EVENTS);
    let (leave, leaving) = watch::channel(false);
    let gauge = Arc::new(Mutex::new(Gauge::default()));
    let voice = sender.downgrade();
    let leaver = Leaver { leave, voice, gauge: Arc::clone(&gauge), database: database.clone() };
    let runner = Runner {
        plan: Arc::new(plan),
        run,
        database,
        options,
        voice: Voice(sender),
        leaving,
        gauge,
    };
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

impl Runner {
    async fn bring_to_end(self) -> Result<Report, Error> {
        let mut session = self.session().await?;
        let holder = self.holder(&mut session).await.map_err(|fault| self.broken(&fault))?;
        drop(session);
        if let Some(ending) = self.take_lease(&holder).await? {
            return self.report(ending).await;
        }
        self.voice.say(Event::Started(Box::new(self.snapshot().await?)));
        // A rate from outside must hold from the first batch on, not from the first look.
        let first = self.orders(&holder).await?;
        if first.rate.is_some() || first.target_ms.is_some() {
            self.voice.say(Event::Throttled { now: in_words(&first) });
        }
        let (orders, seen) = watch::channel(first);
        let (stop, stopped) = watch::channel(false);
        let controller = self.controller(holder.clone(), orders);
        let controlling = tokio::spawn(controller.drive(stopped));
        let mut round = Round { runner: &self, holder, orders: seen };
        let ended = round.walk_and_verify().await;
        stop.send_replace(true);
        // A controller that panicked has nothing to add to how the run ended.
        let _ = controlling.await;
        let ending = round.settle(ended).await?;
        self.report(ending).await
    }

    async fn session(&self) -> Result<Session, Error> {
        self.database.session(Lane::Watch).await.map_err(|fault| self.broken(&fault))
    }

    /// The error for a statement of the ledger that failed.
    pub(super) fn broken(&self, fault: &Fault) -> Error {
        let job = &self.plan.job.name;
        Error::of_fault(format!("run `{job}` could not go on"), fault)
            .with_hint(format!("`piecemeal run {job}` continues where it stopped"))
    }

    async fn holder(&self, session: &mut Session) -> Result<Holder, Fault> {
        let (_, port) = lease::backend(session).await?;
        Ok(Holder {
            token: format!("{:032x}", fastrand::u128(..)),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            pid: std::process::id(),
            actor: self.options.actor.clone(),
            is_direct: self.database.is_direct(port),
        })
    }

    /// Takes the lease: at once if nobody alive holds it, else when it is over. Returns how it ended
    /// if there is nothing left to do: this process is to leave, or the other one was done first.
    async fn take_lease(&self, holder: &Holder) -> Result<Option<Ending>, Error> {
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
                    self.insist(
                        |mut session| async move { journal::prune(&mut session, run).await },
                    )
                    .await?;
                    return Ok(None);
                }
                Claim::Closed => return self.closed().await.map(Some),
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
            if *self.leaving.borrow() {
                return Ok(Some(Ending::Left));
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
        let job = &self.plan.job.name;
        let error = Error::new(
            ErrorKind::Stopped,
            "closed",
            format!("run `{job}` was paused or ended meanwhile"),
        );
        Err(error.with_hint(format!("`piecemeal status {job}` shows it")))
    }

    fn controller(&self, holder: Holder, orders: watch::Sender<Orders>) -> Controller {
        Controller {
            database: self.database.clone(),
            run: self.run,
            holder,
            gauge: Arc::clone(&self.gauge),
            voice: self.voice.clone(),
            defaults: self.defaults(),
            orders,
            session: None,
            meter: Meter::default(),
            renewed: None,
            measured: None,
        }
    }

    fn defaults(&self) -> Defaults {
        let job = self.plan.job.pace.rate.map(crate::job::Rate::rows_per_second);
        Defaults { rate: self.options.rate.or(job), target: self.options.target }
    }

    pub(super) fn steering(&self, orders: &watch::Receiver<Orders>) -> Steering {
        Steering::new(
            orders.clone(),
            self.leaving.clone(),
            Arc::clone(&self.gauge),
            self.voice.clone(),
            self.defaults(),
        )
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
        insist(&self.database, &self.leaving, act).await.map_err(|fault| self.broken(&fault))
    }

    async fn orders(&self, holder: &Holder) -> Result<Orders, Error> {
        let (run, token) = (self.run, holder.token.as_str());
        let found = self
            .insist(|mut session| async move { control::orders(&mut session, run, token).await })
            .await?;
        found.ok_or_else(gone)
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

fn gone() -> Error {
    Error::new(ErrorKind::Unexpected, "run-gone", "the run is not in the ledger any more")
}
