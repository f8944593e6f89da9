//! The walk of one range, one committed batch at a time.
//!
//! Where it stands is what the ledger said last: after every fault it is read again, also if it has
//! gone backwards (R3). One batch is in flight at a time, so there is nothing else to remember.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::recover::{Choice, Situation, Suspect, choose, jittered, timeouts};
use super::steering::{Asked, Steering};
use crate::batch::{self, Applied, Fence};
use crate::ledger::ranges;
use crate::pg::{Database, DbMessage, Fault, Lane, Session};
use crate::plan::{self, Plan};
use crate::run::{Event, Outcome};
use crate::walk::{Chunk, Key, Range, Sizer};

/// What is said when the name of the table means another one.
pub(super) const REPLACED: &str = "another table has taken the place of the one that the run was started on; its rows were never done";

/// Why a walk ended.
#[derive(Debug)]
pub(super) enum Stop {
    /// The range is at its end.
    End,
    /// It was asked to.
    Asked(Asked),
    /// It has changed as many rows as it was allowed to.
    Limit,
    /// This row cannot be done.
    BadRow(Key, DbMessage),
    /// It has not got better for too long.
    GaveUp(DbMessage),
    /// A fault that going on would not help.
    Fatal(DbMessage),
}

/// What one step came to.
enum Step {
    Committed(Chunk, Outcome),
    End,
    Fenced,
    Failed(u32, Option<Key>, Fault),
}

/// Walks one range.
pub(super) struct Worker {
    pub(super) database: Database,
    pub(super) plan: Arc<Plan>,
    pub(super) fence: Fence,
    pub(super) range: Range,
    pub(super) sizer: Sizer,
    pub(super) steering: Steering,
    /// Rows that may still be changed by this process.
    pub(super) limit: Option<u64>,
    session: Option<Session>,
    suspect: Suspect,
    failures: u32,
    timeouts: u32,
    stuck_since: Option<Instant>,
    /// The time of an empty transaction: what a batch takes beyond it is the server's.
    round_trip: Duration,
}

impl Worker {
    pub(super) fn new(
        database: Database,
        plan: Arc<Plan>,
        fence: Fence,
        range: Range,
        steering: Steering,
    ) -> Worker {
        let sizer = plan.sizer();
        Worker {
            database,
            plan,
            fence,
            range,
            sizer,
            steering,
            limit: None,
            session: None,
            suspect: Suspect::default(),
            failures: 0,
            timeouts: 0,
            stuck_since: None,
            round_trip: Duration::ZERO,
        }
    }

    /// Walks the range to its end, or until there is a reason to stop between two batches.
    pub(super) async fn walk(&mut self) -> Stop {
        loop {
            if let Some(asked) = self.steering.asked() {
                return Stop::Asked(asked);
            }
            if self.limit == Some(0) {
                return Stop::Limit;
            }
            match self.step().await {
                Step::Committed(chunk, outcome) => self.advance(chunk, outcome).await,
                Step::End => return Stop::End,
                Step::Fenced => {
                    if let Some(stop) = self.look_around().await {
                        return stop;
                    }
                }
                Step::Failed(rows, key, fault) => {
                    if let Some(stop) = self.recover(rows, key, fault).await {
                        return stop;
                    }
                }
            }
        }
    }

    async fn step(&mut self) -> Step {
        if let Some(target) = self.steering.target() {
            self.sizer.aim_at(target);
        }
        let rows = self.rows();
        let mut session = match self.session().await {
            Ok(session) => session,
            Err(fault) => return Step::Failed(rows, None, fault),
        };
        let statements = &self.plan.statements;
        let chunk = match batch::next(&mut session, statements, &self.range, rows).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Step::End,
            Err(fault) => return Step::Failed(rows, None, fault),
        };
        let started = Instant::now();
        let applied = batch::apply(
            &mut session,
            statements,
            &self.fence,
            (&self.range, &chunk),
            self.failures,
        )
        .await;
        self.session = Some(session);
        match applied {
            Ok(Applied::Committed(mut outcome)) => {
                // What runs after the statement (triggers, foreign keys, the commit) shows only here.
                outcome.took = outcome.took.max(started.elapsed().saturating_sub(self.round_trip));
                Step::Committed(chunk, outcome)
            }
            Ok(Applied::Fenced) => Step::Fenced,
            Err(fault) => Step::Failed(rows, Some(chunk.upto), fault),
        }
    }

    async fn session(&mut self) -> Result<Session, Fault> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let mut session = self.database.session(Lane::Work).await?;
        // The first statement also opens the connection; the second one is a bare round trip.
        for _ in 0..2 {
            let started = Instant::now();
            session.transact_prepared(&self.plan.statements.begin_read, "SELECT 1", &[]).await?;
            self.round_trip = started.elapsed();
        }
        let cancel = session.cancel_token();
        self.steering.note(|gauge| gauge.cancel = cancel);
        Ok(session)
    }

    /// The keys of the next chunk: what the time allows, the rate, the search for a bad row, the
    /// limit.
    fn rows(&mut self) -> u32 {
        let rows = self.suspect.cap(self.steering.cap(self.sizer.rows()));
        let limit = self.limit.map_or(u32::MAX, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
        rows.min(limit).max(1)
    }

    async fn advance(&mut self, chunk: Chunk, outcome: Outcome) {
        self.range.cursor = Some(chunk.upto.clone());
        self.range.rev += 1;
        self.range.done = chunk.last;
        (self.failures, self.timeouts, self.stuck_since) = (0, 0, None);
        self.suspect.clear(chunk.keys);
        self.sizer.observe(chunk.keys, outcome.took);
        self.limit = self.limit.map(|limit| limit.saturating_sub(outcome.changed));
        let rows = self.sizer.rows();
        self.steering.note(|gauge| {
            gauge.timing.observe(outcome.took);
            (gauge.rows, gauge.trouble) = (Some(rows), None);
        });
        self.steering.owe(outcome.matched);
        self.steering.voice.say(Event::BatchCommitted { chunk, outcome });
        self.steering.pay().await;
    }

    /// Chooses what to do after a fault and does it; returns why to stop, if that is the choice.
    async fn recover(&mut self, rows: u32, key: Option<Key>, fault: Fault) -> Option<Stop> {
        self.failures += 1;
        self.timeouts = timeouts(self.timeouts, &fault);
        if fault.spoils_connection() {
            self.session = None;
        }
        let stuck = self.stuck_since.get_or_insert_with(Instant::now).elapsed();
        let at = Situation { rows, attempts: self.failures, timeouts: self.timeouts, stuck };
        let mut pause = Duration::ZERO;
        match choose(&fault, at) {
            Choice::Again(wait) => pause = jittered(wait),
            Choice::Smaller(wait) => {
                pause = jittered(wait);
                self.sizer.shrink(rows);
            }
            Choice::Bisect => self.suspect.halve(rows),
            Choice::BadRow => return Some(name_row(key, fault.message())),
            Choice::GiveUp => return Some(Stop::GaveUp(fault.message().clone())),
            Choice::Stop => return Some(Stop::Fatal(fault.message().clone())),
        }
        let next = self.rows();
        self.steering.tell_retry(fault.message().to_string(), pause, next);
        self.steering.wait(pause).await;
        self.reread().await
    }

    /// The fence found nothing: the range has moved, is somebody else's, or the table is another one.
    async fn look_around(&mut self) -> Option<Stop> {
        let before = self.range.rev;
        if let Some(stop) = self.reread().await {
            return Some(stop);
        }
        if self.range.rev != before {
            return None;
        }
        let mut session = self.session().await.ok()?;
        let is_same = plan::is_same_table(&mut session, &self.plan).await;
        self.session = Some(session);
        (is_same == Ok(false)).then(|| Stop::Fatal(DbMessage::local(REPLACED)))
    }

    /// Reads where the range is: whether a batch of unknown outcome was committed, whether it is
    /// still ours. A ledger that cannot be read leaves everything as it was, for the next attempt.
    async fn reread(&mut self) -> Option<Stop> {
        let mut session = self.session().await.ok()?;
        let found =
            ranges::reread(&mut session, self.fence.run, self.range.no, &self.fence.token).await;
        match found {
            Ok(Some((range, true))) => {
                self.range = range;
                self.session = Some(session);
                None
            }
            Ok(_) => Some(Stop::Asked(Asked::TakenOver)),
            Err(_) => None,
        }
    }
}

/// A chunk of one key that fails names its row; without a chunk it was the read that failed.
fn name_row(key: Option<Key>, message: &DbMessage) -> Stop {
    match key {
        Some(key) => Stop::BadRow(key, message.clone()),
        None => Stop::Fatal(message.clone()),
    }
}
