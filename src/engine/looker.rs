//! One of those who look at the table when it was walked.
//!
//! It has its own windows and its own sizer, takes orders like a worker, and pays for what it reads.
//! Faults are chosen for like a batch's; nothing is written, so a window is simply looked at again.

use std::sync::Arc;
use std::time::Instant;

use super::recover::{Choice, FIRST_WAIT, Locked, Situation, choose, jittered, timeouts};
use super::steering::Steering;
use super::worker::{Stop, may_be_key, unfit};
use crate::batch::{self, Look};
use crate::ledger::verifying;
use crate::pg::{Database, Fault, Lane, Session};
use crate::plan::{self, Plan, WINDOW};
use crate::run::{Event, Pending};
use crate::verify::{self, Tally, Window};
use crate::walk::{Chunk, Key, Leg, Seen, Sizer, Stretch};

/// A stretch of the key space, and what was seen of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// The key before it.
    after: Option<Key>,
    /// Its last key.
    end: Key,
    /// What is left of it; `None` when all of it was seen.
    pub(super) left: Option<Leg>,
    /// What was seen.
    pub(super) tally: Tally,
}

impl Part {
    /// A part of which nothing was seen.
    pub(super) fn new(after: Option<Key>, end: Key) -> Part {
        let left = Some(Leg { after: after.clone(), end: end.clone(), stripe: None });
        Part { after, end, left, tally: Tally::default() }
    }

    /// What is to be gone on with.
    pub(super) fn of(seen: Stretch) -> Part {
        let mut part = Part::new(seen.after, seen.end);
        if let Some(mark) = seen.mark {
            part.tally.looked = seen.looked;
            let is_over = mark == part.end;
            part.left = part.left.take().filter(|_| !is_over);
            part.left.iter_mut().for_each(|left| left.after = Some(mark.clone()));
        }
        part
    }

    /// What was seen of it. What was wrong may be right when it is gone on with, so nothing of such a part counts.
    pub(super) fn seen(&self, pending: Pending) -> Stretch {
        let mark = match &self.left {
            None => Some(&self.end),
            Some(left) => left.after.as_ref().filter(|at| self.after.as_ref() != Some(*at)),
        };
        let mark = mark.filter(|_| self.tally.is_clean(pending)).cloned();
        let looked = if mark.is_some() { self.tally.looked } else { 0 };
        Stretch { after: self.after.clone(), end: self.end.clone(), mark, looked }
    }
}

/// Looks at parts of the table.
pub(super) struct Looker {
    database: Database,
    plan: Arc<Plan>,
    steering: Steering,
    run: i64,
    pending: Pending,
    sizer: Sizer,
    session: Option<Session>,
}

impl Looker {
    pub(super) fn new(
        database: Database,
        plan: Arc<Plan>,
        steering: Steering,
        (run, pending): (i64, Pending),
    ) -> Looker {
        let sizer = Sizer::aiming_at(plan.window_target(), WINDOW.0, WINDOW.1);
        Looker { database, plan, steering, run, pending, sizer, session: None }
    }

    /// Looks at what is left of a part, or until there is a reason to stop.
    pub(super) async fn look_at(&mut self, part: &mut Part) -> Result<(), Stop> {
        self.steering.note(|gauge| gauge.busy += 1);
        let looked = self.look_window_by_window(part).await;
        self.steering.note(|gauge| gauge.busy -= 1);
        looked
    }

    async fn look_window_by_window(&mut self, part: &mut Part) -> Result<(), Stop> {
        while let Some(left) = part.left.clone() {
            self.steering.admit().await?;
            let (window, is_last) = self.window(&left).await?;
            self.sample(&window, &mut part.tally).await?;
            part.tally.add(&window);
            part.left = (!is_last).then(|| Leg { after: Some(window.upto.clone()), ..left });
            self.pay(&window).await;
        }
        Ok(())
    }

    /// Returns whether a row of the partition `name` breaks what is expected.
    pub(super) async fn finds_broken(&mut self, name: &str) -> Result<bool, Stop> {
        let mut left = self.stretch_of(name).await?;
        while let Some(leg) = left.take() {
            self.steering.admit().await?;
            let (window, is_last) = self.window(&leg).await?;
            self.pay(&window).await;
            if window.broken > 0 {
                return Ok(true);
            }
            left = (!is_last).then_some(Leg { after: Some(window.upto), ..leg });
        }
        Ok(false)
    }

    async fn pay(&mut self, window: &Window) {
        self.steering.note(|gauge| {
            gauge.looked += window.looked;
            gauge.looks.observe(u32::try_from(window.looked).unwrap_or(u32::MAX), window.took);
            (gauge.trouble, gauge.got_on) = (None, Some(Instant::now()));
        });
        self.steering.owe_reads(window.looked);
        self.steering.pay().await;
    }

    /// Returns the stretch in which the rows of a partition are: the whole table, where the partition cannot
    /// be asked by its name.
    async fn stretch_of(&mut self, name: &str) -> Result<Option<Leg>, Stop> {
        let mut attempts = Attempts::default();
        loop {
            let (plan, is_lifted) = (Arc::clone(&self.plan), attempts.is_lifted);
            let found = match self.session().await {
                Ok(session) => plan::stretch_of(session, &plan, name, is_lifted).await,
                Err(fault) => Err(fault),
            };
            match found {
                Ok(leg) => return Ok(leg),
                Err(Fault::Fatal(_)) => {
                    let end = self.last_key().await?;
                    return Ok(end.map(|end| Leg { after: None, end, stripe: None }));
                }
                Err(fault) => self.recover(&mut attempts, 1, &fault).await?,
            }
        }
    }

    /// Returns the last key of the table; `None` if it has no row.
    pub(super) async fn last_key(&mut self) -> Result<Option<Key>, Stop> {
        let plan = Arc::clone(&self.plan);
        let ask = |mut session: Session| {
            let plan = Arc::clone(&plan);
            async move { plan::last_key(&mut session, &plan.statements).await }
        };
        self.insist(ask).await
    }

    /// Returns the keys at which the table is cut up to `upto`.
    pub(super) async fn cuts(&mut self, upto: &Key) -> Result<Vec<Key>, Stop> {
        let plan = Arc::clone(&self.plan);
        let ask = |mut session: Session| {
            let plan = Arc::clone(&plan);
            async move { plan::cuts_by_key(&mut session, &plan, upto).await }
        };
        self.insist(ask).await
    }

    /// Returns how run and table stand, and what was seen before of a table that stood like that.
    pub(super) async fn found(&mut self) -> Result<Option<(String, Option<Seen>)>, Stop> {
        let run = self.run;
        self.insist(|mut session| async move { verifying::find(&mut session, run).await }).await
    }

    /// Does `ask` until it succeeds, or there is a reason to stop.
    async fn insist<T, F: Future<Output = Result<T, Fault>>>(
        &mut self,
        mut ask: impl FnMut(Session) -> F,
    ) -> Result<T, Stop> {
        let mut attempts = Attempts::default();
        loop {
            let answer = match self.take_session().await {
                Ok(session) => ask(session).await,
                Err(fault) => Err(fault),
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(fault) => self.recover(&mut attempts, 1, &fault).await?,
            }
        }
    }

    /// Returns the first window of what is left, and whether it is the last one.
    async fn window(&mut self, left: &Leg) -> Result<(Window, bool), Stop> {
        let mut attempts = Attempts::default();
        loop {
            let keys = self.keys();
            let (keys, fault) = match self.chunk(left.clone(), keys, &attempts).await {
                Err(fault) => (keys, fault),
                Ok(chunk) => match self.look_once(&chunk, &mut attempts).await {
                    Ok(window) => {
                        self.sizer.observe(chunk.keys.max(1), window.took, 0);
                        return Ok((window, chunk.last));
                    }
                    Err(fault) => (chunk.keys.max(1), fault),
                },
            };
            self.recover(&mut attempts, keys, &fault).await?;
            if attempts.is_lifted {
                // The row for which the bound is lifted stays alone.
                self.sizer.shrink(keys);
            }
        }
    }

    /// The keys of the next window: what the time allows.
    fn keys(&mut self) -> u32 {
        let give_way = self.plan.job.batch.give_way;
        self.sizer.aim_at(self.steering.time(self.plan.window_target(), give_way));
        self.sizer.rows()
    }

    async fn chunk(&mut self, leg: Leg, keys: u32, attempts: &Attempts) -> Result<Chunk, Fault> {
        let plan = Arc::clone(&self.plan);
        let session = self.session().await?;
        let look = Look { leg, keys };
        batch::next(session, &plan.statements.by_key, look, attempts.is_lifted).await
    }

    async fn look_once(&mut self, chunk: &Chunk, attempts: &mut Attempts) -> Result<Window, Fault> {
        if attempts.is_lifted && !std::mem::replace(&mut attempts.is_told, true) {
            let (key, give_way) = (chunk.upto.clone(), self.plan.job.batch.give_way);
            self.steering.voice.say(Event::Lifted { key, give_way });
        }
        let plan = Arc::clone(&self.plan);
        let how = (self.run, attempts.is_lifted);
        let session = self.session().await?;
        verify::look(session, &plan.statements, how, (chunk.after.as_ref(), &chunk.upto)).await
    }

    async fn sample(&mut self, window: &Window, tally: &mut Tally) -> Result<(), Stop> {
        let is_wrong = window.broken > 0 || self.pending.is_checked() && window.still > 0;
        let mut attempts = Attempts::default();
        while is_wrong && tally.samples.is_empty() {
            let plan = Arc::clone(&self.plan);
            let (how, is_checked) = ((self.run, attempts.is_lifted), self.pending.is_checked());
            let found = match self.session().await {
                Ok(session) => {
                    verify::sample(session, &plan.statements, how, window, is_checked).await
                }
                Err(fault) => Err(fault),
            };
            match found {
                Ok(keys) => {
                    tally.samples = keys;
                    return Ok(());
                }
                Err(fault) => self.recover(&mut attempts, 1, &fault).await?,
            }
        }
        Ok(())
    }

    async fn session(&mut self) -> Result<&mut Session, Fault> {
        let session = self.take_session().await?;
        Ok(self.session.insert(session))
    }

    async fn take_session(&mut self) -> Result<Session, Fault> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.database.session(Lane::Work).await,
        }
    }

    async fn unfit(&mut self) -> Option<Stop> {
        let plan = Arc::clone(&self.plan);
        unfit(self.session().await.ok()?, &plan).await
    }

    async fn recover(
        &mut self,
        attempts: &mut Attempts,
        rows: u32,
        fault: &Fault,
    ) -> Result<(), Stop> {
        if fault.spoils_connection() {
            self.session = None;
        }
        if may_be_key(fault.message())
            && let Some(stop) = self.unfit().await
        {
            return Err(stop);
        }
        let max_hold = self.plan.job.pace.max_hold;
        let stuck = self.steering.stuck_for(&mut attempts.since);
        let at = Situation { stuck, max_hold, ..attempts.count(rows, fault) };
        let wait = match choose(fault, at) {
            Choice::Again(wait) => wait,
            Choice::Smaller(wait) => {
                self.sizer.shrink(rows);
                wait
            }
            Choice::GiveUp => return Err(Stop::GaveUp(fault.message().clone())),
            Choice::Lift => {
                attempts.lift();
                FIRST_WAIT
            }
            // Reading a row cannot fail for the row's sake except in the job's own expressions, and
            // then no smaller window would help.
            Choice::PutAside | Choice::Bisect | Choice::BadRow | Choice::Stop => {
                return Err(Stop::Fatal(fault.message().clone()));
            }
        };
        let wait = jittered(wait);
        self.steering.tell_retry(fault.message().to_string(), wait, self.sizer.rows());
        self.steering.back_off(wait).await;
        match self.steering.asked() {
            Some(asked) => Err(Stop::Asked(asked)),
            None => Ok(()),
        }
    }
}

/// How often the same window failed, and since when.
#[derive(Default)]
struct Attempts {
    failures: u32,
    timeouts: u32,
    since: Option<Instant>,
    /// Whether it may take longer than others should wait: a single row that cannot be made smaller.
    is_lifted: bool,
    /// Whether that was said.
    is_told: bool,
}

impl Attempts {
    fn count(&mut self, rows: u32, fault: &Fault) -> Situation {
        self.failures += 1;
        self.timeouts = timeouts(self.timeouts, fault);
        Situation {
            rows,
            attempts: self.failures,
            timeouts: self.timeouts,
            locked: Locked::Table,
            is_lifted: self.is_lifted,
            ..Situation::default()
        }
    }

    /// Lifts the bound; what has hit it says nothing of the next one.
    fn lift(&mut self) {
        if !self.is_lifted {
            (self.is_lifted, self.timeouts) = (true, 0);
        }
    }
}

#[cfg(test)]
#[path = "looker_tests.rs"]
mod server_tests;
