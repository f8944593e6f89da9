//! Runs the statements of a run, one after the other: expand, contract, down.
//!
//! ```text
//!   lease ─▶ for each statement that is not done:  asked to stop? ─▶ try ─▶ recorded with it
//!                                                         ▲           │ its lock was not free
//!                                                         └── wait, naming who holds it
//! ```
//!
//! Where it is comes from the ledger, so it goes on the same way after a crash or in another process.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::gauge::Gauge;
use super::handle::{Ending, Handle, Leaver, Options, Report, leaves};
use super::insist::{ends, insist};
use super::keeper::Keeper;
use super::runner::{closed, gone, taken_over};
use super::steering::Asked;
use super::voice::{self, Voice};
use crate::change::Path;
use crate::error::{Error, ErrorKind};
use crate::job::{Job, Part};
use crate::ledger::control::Orders;
use crate::ledger::lease::{self, Claim, Holder};
use crate::ledger::runs::{self, Ending as Record};
use crate::ledger::steps::{self, Steps};
use crate::ledger::{Actor, members, snapshot};
use crate::pg::{Database, DbMessage, Fault, Lane, Session, find_out};
use crate::plan::path_of;
use crate::run::{Event, Failure, FailureKind, Intent, Snapshot, Status, Transition};

/// How often a lease that somebody else holds is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What is run, and what that means for the run.
#[derive(Debug, Clone)]
pub struct Statements {
    /// The parts of the job, in their order.
    pub parts: Vec<Part>,
    /// Whether the run is done with them; else it goes on with its rows.
    pub is_all: bool,
    /// The parts of which a statement is passed over that finds nothing to undo, because it was never all there.
    pub lenient: Vec<Part>,
    /// Whether nothing is kept in step any more when they have been run.
    pub lets_go: bool,
}

impl Statements {
    /// Returns these parts as all that there is to do, of which nothing is passed over, and nothing let go.
    pub fn of(parts: Vec<Part>) -> Statements {
        Statements { parts, is_all: true, lenient: Vec::new(), lets_go: false }
    }
}

/// Why statements were not run to their end.
pub(super) enum Halt {
    /// Somebody asked for it.
    Asked(Asked),
    /// It did not get better for too long; what stood against it.
    GaveUp(Box<DbMessage>),
    /// A statement cannot be run.
    Refused(Box<Failure>),
    /// The ledger could not be used.
    Broken(Box<Fault>),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Halt {
        Halt::Broken(Box::new(fault))
    }
}

/// Starts to run the statements of a run.
pub fn shape(
    job: Job,
    statements: Statements,
    run: i64,
    database: Database,
    options: Options,
) -> Handle {
    let (voice, events) = voice::pair();
    let (leave, leaving) = watch::channel(false);
    let gauge = Arc::new(Mutex::new(Gauge::default()));
    let weak = voice.downgrade();
    let leaver =
        Leaver { leave, voice: weak, gauge: Arc::clone(&gauge), database: database.clone() };
    let shaper = Shaper { job, statements, run, database, options, voice, leaving, gauge };
    Handle { events, leaver, task: tokio::spawn(shaper.bring_to_end()) }
}

/// One process's work on the statements of one run.
pub(super) struct Shaper {
    pub(super) job: Job,
    pub(super) statements: Statements,
    pub(super) run: i64,
    pub(super) database: Database,
    pub(super) options: Options,
    pub(super) voice: Voice,
    pub(super) leaving: watch::Receiver<bool>,
    pub(super) gauge: Arc<Mutex<Gauge>>,
}

/// What a statement is run by.
pub(super) struct Hand {
    pub(super) holder: Holder,
    pub(super) path: Path,
    orders: watch::Receiver<Orders>,
    deadline: Option<Instant>,
}

/// How far those are whom a process joins.
enum Ahead {
    /// They run the statements.
    Runs,
    /// They are done with them and plan the walk, without the lease: it is for them to lead it.
    Plans,
    /// They walk: there are rows to help with.
    Walks,
}

impl Shaper {
    async fn bring_to_end(self) -> Result<Report, Error> {
        let holder = self.holder().await?;
        let deadline = self.deadline().await?;
        if let Some(ending) = self.take_lease(&holder, deadline).await? {
            return self.report(ending).await;
        }
        self.voice.say(Event::Started(Box::new(self.snapshot().await?)));
        let (sender, orders) = watch::channel(Orders::at_will());
        let keeper = Keeper {
            database: self.database.clone(),
            run: self.run,
            holder: holder.clone(),
            gauge: Arc::clone(&self.gauge),
            voice: self.voice.clone(),
            orders: sender,
        };
        let (stop, stopped) = watch::channel(false);
        let keeping = tokio::spawn(keeper.drive(stopped));
        let ended = match self.path().await {
            Ok(path) => {
                let hand = Hand { holder: holder.clone(), path, orders, deadline };
                self.all_and_let_go(&hand).await
            }
            Err(fault) => Err(Halt::from(fault)),
        };
        stop.send_replace(true);
        // Should it have panicked, the lease runs out by itself.
        let _ = keeping.await;
        let ending = self.settle(&holder, ended).await;
        // Tried once: whoever cannot be taken off is known to be gone by its connection, or when its lease is over.
        if let Ok(mut session) = self.database.session(Lane::Watch).await {
            let _ = members::leave(&mut session, self.run, &holder.token).await;
        }
        self.report(ending?).await
    }

    async fn path(&self) -> Result<Path, Fault> {
        let mut session = self.database.session(Lane::Watch).await?;
        let path = path_of(&mut session, &self.job).await?;
        Ok(path.map_or(Path::Own, Path::Schemas))
    }

    /// Returns when the time that this process was given is up.
    async fn deadline(&self) -> Result<Option<Instant>, Error> {
        let (term, max_hold) = (self.options.term, self.job.pace.max_hold);
        let end = ends(term, &self.database, &self.leaving, max_hold).await;
        end.map_err(|fault| self.broken(&fault))
    }

    async fn all_and_let_go(&self, hand: &Hand) -> Result<(), Halt> {
        self.all(hand).await?;
        if !self.statements.is_all {
            // Whoever is asked to stop during the last one does not begin with the rows.
            self.asked(hand)?;
        }
        if self.statements.lets_go { self.let_go(hand).await } else { Ok(()) }
    }

    async fn all(&self, hand: &Hand) -> Result<(), Halt> {
        for part in self.statements.parts.clone() {
            let list = self.job.shape.statements(part).unwrap_or_default();
            for (no, statement) in (1..).zip(list) {
                self.asked(hand)?;
                let known = self.steps().await.map_err(Halt::from)?;
                match known.of(part, no) {
                    Some(step) if step.sql != statement.text => {
                        return Err(Halt::Refused(Box::new(self.changed(part, no))));
                    }
                    Some(step) if step.is_done => {}
                    known => {
                        self.run_one(hand, (part, no, list.len()), &statement.text, known).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns why to stop now, if there is a reason.
    pub(super) fn asked(&self, hand: &Hand) -> Result<(), Halt> {
        let orders = hand.orders.borrow();
        let asked = if !orders.is_ours {
            Asked::TakenOver
        } else if orders.intent != Intent::Run {
            Asked::For(orders.intent)
        } else if *self.leaving.borrow() {
            Asked::ToLeave
        } else if hand.deadline.is_some_and(|at| at <= Instant::now()) {
            Asked::TimeUp
        } else {
            return Ok(());
        };
        Err(Halt::Asked(asked))
    }

    pub(super) async fn steps(&self) -> Result<Steps, Fault> {
        let run = self.run;
        self.insist(|mut session| async move { steps::read(&mut session, run).await }).await
    }

    pub(super) async fn insist<T, F: Future<Output = Result<T, Fault>>>(
        &self,
        act: impl FnMut(Session) -> F,
    ) -> Result<T, Fault> {
        insist(&self.database, &self.leaving, self.job.pace.max_hold, act).await
    }

    pub(super) fn actor(&self) -> &Actor {
        &self.options.actor
    }

    async fn holder(&self) -> Result<Holder, Error> {
        let database = &self.database;
        self.insist(|mut session| async move { find_out(&mut session, database).await })
            .await
            .map_err(|fault| self.broken(&fault))?;
        Ok(Holder::here(self.actor(), 0))
    }

    /// Takes the lease; returns how it ended if the run was brought to an end by somebody else.
    async fn take_lease(
        &self,
        holder: &Holder,
        deadline: Option<Instant>,
    ) -> Result<Option<Ending>, Error> {
        let run = self.run;
        let (mut first_seen, mut planned_since): (Option<String>, _) = (None, None);
        loop {
            if self.options.helps() && first_seen.is_some() {
                match self.ahead().await? {
                    Ahead::Runs => planned_since = None,
                    Ahead::Plans => planned_since = planned_since.or_else(|| Some(Instant::now())),
                    Ahead::Walks => return Ok(Some(Ending::Succeeded)),
                }
            }
            if planned_since.is_some_and(|since| since.elapsed() < lease::TTL) {
                if let Some(ending) = leaves(&self.leaving, deadline) {
                    return Ok(Some(ending));
                }
                tokio::time::sleep(LOOK).await;
                continue;
            }
            let claim = self
                .insist(|mut session| async move { lease::claim(&mut session, run, holder).await });
            match claim.await.map_err(|fault| self.broken(&fault))? {
                Claim::Ours(before) => {
                    if let Some(from) = before {
                        self.voice.say(Event::Takeover { from });
                    }
                    return Ok(None);
                }
                Claim::Closed => return self.closed().await.map(Some),
                Claim::Held(owner, renewed) => {
                    let is_renewed = first_seen.as_ref().is_some_and(|first| *first != renewed);
                    if is_renewed && !self.options.helps() {
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

    /// How far those are whom this process joins.
    async fn ahead(&self) -> Result<Ahead, Error> {
        let snapshot = self.snapshot().await?;
        if !snapshot.is_of_statements() {
            return Ok(Ahead::Walks);
        }
        let has_rows = snapshot.status == Status::Ready && !self.statements.is_all;
        let steps = self.steps().await.map_err(|fault| self.broken(&fault))?;
        let is_done = |part: &Part| {
            steps.done(*part) >= self.job.shape.statements(*part).map_or(0, <[_]>::len)
        };
        let is_planned = has_rows && self.statements.parts.iter().all(is_done);
        Ok(if is_planned { Ahead::Plans } else { Ahead::Runs })
    }

    async fn closed(&self) -> Result<Ending, Error> {
        if self.snapshot().await?.status == Status::Succeeded {
            return Ok(Ending::Succeeded);
        }
        Err(closed(&self.job.name))
    }

    async fn settle(&self, holder: &Holder, ended: Result<(), Halt>) -> Result<Ending, Error> {
        let none = Record::default();
        match ended {
            Ok(()) if self.statements.is_all => {
                self.write(holder, Transition::Finished, &none).await?;
                Ok(Ending::Succeeded)
            }
            Ok(()) => {
                self.write(holder, Transition::Yielded, &none).await?;
                Ok(Ending::Succeeded)
            }
            Err(Halt::Asked(asked)) => self.stop(holder, asked).await,
            Err(Halt::Refused(failure)) => {
                let record = Record {
                    reason: Some(&failure.message),
                    failure: Some(&failure),
                    ..Record::default()
                };
                self.write(holder, Transition::Failed, &record).await?;
                Err(self.with_committed(Error::of_failure(&failure)).await)
            }
            Err(Halt::GaveUp(message)) => Err(self.give_up(holder, &message).await),
            Err(Halt::Broken(fault)) => {
                // If it cannot be written, the lease runs out by itself.
                let _ = self.write(holder, Transition::Yielded, &none).await;
                Err(self.broken(&fault))
            }
        }
    }

    async fn stop(&self, holder: &Holder, asked: Asked) -> Result<Ending, Error> {
        let none = Record::default();
        match asked {
            Asked::For(intent) if intent != Intent::Run => {
                self.write(holder, Transition::Stopped(intent), &none).await?;
                if intent == Intent::Cancel {
                    return Ok(Ending::Cancelled);
                }
                let (run, token) = (self.run, holder.token.as_str());
                let released = self.insist(|mut session| async move {
                    lease::release(&mut session, run, token).await
                });
                released.await.map_err(|fault| self.broken(&fault))?;
                Ok(Ending::Left)
            }
            Asked::TakenOver => Err(taken_over(&self.job.name)),
            Asked::TimeUp => {
                self.write(holder, Transition::Yielded, &none).await?;
                Ok(Ending::TimeUp)
            }
            Asked::For(_) | Asked::ToLeave | Asked::ToStepBack => {
                self.write(holder, Transition::Yielded, &none).await?;
                Ok(Ending::Left)
            }
        }
    }

    async fn write(
        &self,
        holder: &Holder,
        transition: Transition,
        record: &Record<'_>,
    ) -> Result<(), Error> {
        let (lease, actor) = ((self.run, holder.token.as_str()), self.actor());
        let mut tries = 0;
        let written = self.insist(|mut session| {
            tries += 1;
            async move { runs::settle(&mut session, lease, transition, record, actor).await }
        });
        if written.await.map_err(|fault| self.broken(&fault))? {
            return Ok(());
        }
        // After a commit of unknown outcome the second try finds it done.
        let is_settled = self.snapshot().await?.status != Status::Running;
        if tries > 1 && is_settled { Ok(()) } else { Err(taken_over(&self.job.name)) }
    }

    async fn give_up(&self, holder: &Holder, message: &DbMessage) -> Error {
        let job = &self.job.name;
        let reason = message.to_string();
        let record = Record { reason: Some(&reason), ..Record::default() };
        // If it cannot be written, the lease runs out by itself: the run is stalled, and resumable.
        let _ = self.write(holder, Transition::Yielded, &record).await;
        let error = Error::new(
            ErrorKind::Stopped,
            "max-hold",
            format!("run `{job}` was left: the trouble did not end"),
        )
        .because_of(message)
        .with_hint("when the cause is gone, the same command continues where it stopped");
        self.with_committed(error).await
    }

    async fn with_committed(&self, error: Error) -> Error {
        match self.snapshot().await {
            Ok(snapshot) => error.having_committed(snapshot.committed()),
            Err(_) => error,
        }
    }

    async fn snapshot(&self) -> Result<Snapshot, Error> {
        let run = self.run;
        let found = self
            .insist(|mut session| async move { snapshot::of_run(&mut session, run).await })
            .await;
        found.map_err(|fault| self.broken(&fault))?.ok_or_else(gone)
    }

    async fn report(&self, ending: Ending) -> Result<Report, Error> {
        Ok(Report { ending, snapshot: self.snapshot().await? })
    }

    fn changed(&self, part: Part, no: usize) -> Failure {
        let job = &self.job.name;
        Failure {
            kind: FailureKind::Refused,
            message: format!(
                "run `{job}` stopped: statement {no} of {part} is not the one that was begun"
            ),
            because: vec!["the job file has changed since".into()],
            hint: Some("write it as it was, and add what is new behind it".into()),
            sqlstate: None,
        }
    }

    fn broken(&self, fault: &Fault) -> Error {
        let job = &self.job.name;
        Error::of_fault(format!("run `{job}` could not go on"), fault)
            .with_hint("the same command continues where it stopped")
    }

    fn owned(&self, owner: &str) -> Error {
        let what = format!("run `{}` is being worked on by another process", self.job.name);
        Error::new(ErrorKind::Owned, "owned", what)
            .because(format!("{owner} has just renewed its lease"))
            .with_hint(format!("`piecemeal watch {}` follows it", self.job.name))
    }
}
