//! The walk, range after range, one committed batch at a time.
//!
//! Where it stands is what the ledger said last: after every fault it is read again, also if it has
//! gone backwards (R3). What came of batches that were sent together (`convoy`) is gone through before
//! anything else is sent, so there is nothing else to remember.
//! Not here: what it does after a fault (`trouble`), and the choice of that (`recover`).

mod convoy;
mod quarantine;
mod search;
mod trouble;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crew::{Crew, Grant};
use super::steering::{Asked, Steering};
use super::striper::Striper;
use super::suspect::Suspect;
use crate::batch::{self, Ahead, Attempt, Fence, Look};
use crate::ledger::ranges::Taken;
use crate::pg::fault::{is_keyless, is_timeout};
use crate::pg::{Database, DbMessage, Fault, Lane, Session};
use crate::plan::{self, Plan, Standing};
use crate::run::{Event, Outcome};
use crate::walk::{Chunk, Gap, Key, Leg, Range};

/// What is said when the name of the table means another one.
const REPLACED: &str = "another table has taken the place of the one that the run was started on; its rows were never done";

/// Why a walk ended.
#[derive(Debug)]
pub(super) enum Stop {
    /// Every range is at its end.
    End,
    /// It was asked to.
    Asked(Asked),
    /// It has changed as many rows as it was allowed to.
    Limit,
    /// This row cannot be done.
    BadRow(Key, DbMessage),
    /// This row cannot be done either, and so many are in quarantine already.
    Full(Key, DbMessage, u64),
    /// Signals have let nothing through for too long; what the last one said.
    HeldTooLong(String),
    /// It has not got better for too long.
    GaveUp(DbMessage),
    /// The order of the walk is not for this table.
    Unfit(Unfit),
    /// The ranges in the ledger do not cover the walk.
    Torn(Gap),
    /// A fault that going on would not help.
    Fatal(DbMessage),
}

/// How often it is looked whether others have left something of the limit.
const GRANTED: Duration = Duration::from_millis(20);

/// Why a walk in its order cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Rows that are done still match `where`.
    NotPending,
    /// The table is rewritten again and again.
    Rewritten,
    /// The key is not what it was when the walk was planned, or may be NULL.
    OtherKey,
    /// The key has no index any more.
    Unindexed,
}

/// What one step came to.
pub(super) enum Step {
    Committed(Chunk, Range, Outcome),
    End,
    Fenced,
    /// A search was rolled back, and what it looked through is left to chunks.
    CutOff(Fault),
    Failed(u32, Option<Chunk>, Fault),
}

/// What follows a fault.
enum Next {
    GoOn,
    AnotherRange,
    Stop(Stop),
}

/// Walks the ranges of a run.
pub(super) struct Worker {
    pub(super) database: Database,
    pub(super) plan: Arc<Plan>,
    pub(super) fence: Fence,
    pub(super) steering: Steering,
    crew: Arc<Crew>,
    /// The most keys of the next chunk, by the limit of this process.
    granted: u32,
    /// The same as long as it is not known what came of it: the ledger tells, and no other gets it before.
    unsettled: Option<u32>,
    range: Range,
    striper: Striper,
    /// The time of a batch that the job says; of no matter if it says its rows.
    target: Duration,
    session: Option<Session>,
    ahead: Option<Ahead>,
    /// What came of batches that were sent with the last one that was gone through.
    came: VecDeque<Step>,
    suspect: Suspect,
    failures: u32,
    timeouts: u32,
    /// Stretches put aside since the last committed batch.
    barren: u32,
    /// Times that a row which failed alone could not be recorded, since then.
    vain: u32,
    is_lifted: bool,
    stuck_since: Option<Instant>,
    /// The time of an empty transaction: what a batch takes beyond it is the server's.
    round_trip: Duration,
}

impl Worker {
    pub(super) fn new(
        database: Database,
        plan: Arc<Plan>,
        fence: Fence,
        steering: Steering,
        crew: Arc<Crew>,
    ) -> Worker {
        let striper = Striper::new(plan.job.batch.stripes, plan.can_be_hot, plan.sizer())
            .served(plan.served.is_some() && plan.statements.physical.is_none());
        let target = plan.window_target();
        Worker {
            database,
            plan,
            fence,
            steering,
            crew,
            granted: u32::MAX,
            unsettled: None,
            range: Range::default(),
            striper,
            target,
            session: None,
            ahead: None,
            came: VecDeque::new(),
            suspect: Suspect::default(),
            failures: 0,
            timeouts: 0,
            barren: 0,
            vain: 0,
            is_lifted: false,
            stuck_since: None,
            round_trip: Duration::ZERO,
        }
    }

    /// Walks range after range until none is left, or until there is a reason to stop between two
    /// batches.
    pub(super) async fn work(&mut self) -> Stop {
        let crew = Arc::clone(&self.crew);
        loop {
            match self.take().await {
                Ok(Taken::Range(range)) => self.begin(range),
                Ok(Taken::NothingLeft | Taken::NothingFree) => return Stop::End,
                Ok(Taken::NotOurs) => return Stop::Asked(Asked::TakenOver),
                Err(stop) => return stop,
            }
            if let Err(fault) = self.open().await {
                // Whoever has a connection may walk it meanwhile.
                crew.put_down(self.range.no, true).await;
                let keys = self.next_keys();
                match self.recover(keys, None, fault).await {
                    Next::Stop(stop) => return stop,
                    Next::GoOn | Next::AnotherRange => continue,
                }
            }
            self.steering.note(|gauge| gauge.busy += 1);
            let stop = self.walk().await;
            self.steering.note(|gauge| gauge.busy -= 1);
            // If nobody can tell any more, all of it was changed.
            self.settle(self.unsettled.unwrap_or(0).into());
            crew.put_down(self.range.no, stop.is_some() && self.steering.is_spare()).await;
            if let Some(stop) = stop {
                return stop;
            }
        }
    }

    /// Takes a range as soon as one is free.
    async fn take(&mut self) -> Result<Taken, Stop> {
        let crew = Arc::clone(&self.crew);
        let taken = crew.take_now(&self.steering).await?;
        if taken != Taken::NothingFree {
            return Ok(taken);
        }
        // Others of this process may wait for one.
        self.session = None;
        let (stuck, idle) = (self.stuck(), Instant::now());
        let taken = crew.take(&mut self.steering).await;
        self.stuck_since = stuck.map(|since| since + idle.elapsed());
        taken
    }

    fn begin(&mut self, range: Range) {
        self.striper.begin(&range);
        (self.range, self.ahead) = (range, None);
        debug_assert!(self.came.is_empty(), "what came is gone through first");
    }

    /// Walks the range to its end, or as far as it can be walked now; returns why to stop, if there
    /// is a reason.
    async fn walk(&mut self) -> Option<Stop> {
        loop {
            let step = match self.came.pop_front() {
                Some(step) => step,
                None => match self.send().await {
                    Ok(Some(step)) => step,
                    Ok(None) => continue,
                    Err(stop) => return Some(stop),
                },
            };
            match &step {
                Step::Committed(.., outcome) => self.settle(outcome.changed),
                Step::Failed(.., fault) if fault.spoils_connection() => {}
                Step::Failed(..) | Step::CutOff(_) | Step::End => self.settle(0),
                Step::Fenced => {}
            }
            let next = match step {
                Step::Committed(chunk, range, outcome) => self.advance(chunk, range, outcome).await,
                Step::End => Next::AnotherRange,
                Step::Fenced => self.look_around().await,
                Step::CutOff(fault) => self.leave_search(&fault).await,
                Step::Failed(rows, chunk, fault) => self.recover(rows, chunk, fault).await,
            };
            match next {
                Next::GoOn => {}
                Next::AnotherRange => return None,
                Next::Stop(stop) => return Some(stop),
            }
        }
    }

    /// Sends the next batch as soon as one may begin; nothing was sent if the limit leaves none for now.
    async fn send(&mut self) -> Result<Option<Step>, Stop> {
        let (stuck, asked) = (self.stuck(), Instant::now());
        self.steering.admit().await?;
        // A hold is no trouble: how long it may last is counted by itself.
        self.stuck_since = stuck.map(|since| since + asked.elapsed());
        let wanted = self.wanted();
        match self.unsettled.map_or_else(|| self.crew.grant(wanted), Grant::Keys) {
            Grant::Keys(keys) => (self.granted, self.unsettled) = (keys, Some(keys)),
            Grant::Later => {
                self.steering.wait(GRANTED).await;
                return Ok(None);
            }
            Grant::Nothing => return Err(Stop::Limit),
        }
        Ok(Some(self.step().await))
    }

    /// Settles what is granted, if that is still to do.
    fn settle(&mut self, changed: u64) {
        if let Some(granted) = self.unsettled.take() {
            self.crew.settle(granted, changed);
        }
    }

    async fn step(&mut self) -> Step {
        if self.range.is_requeued {
            return self.requeued().await;
        }
        self.striper.aim_at(self.time());
        let Some(leg) = self.next_leg() else { return Step::End };
        if let Some(search) = self.wanted_search() {
            return self.search(search).await;
        }
        let keys = self.keys(&leg);
        let mut session = match self.session().await {
            Ok(session) => session,
            Err(fault) => return Step::Failed(keys, None, fault),
        };
        let chunk = match self.chunk(&mut session, leg, keys).await {
            Ok(chunk) => chunk,
            Err(fault) => return Step::Failed(keys, None, fault),
        };
        let (mut convoy, ahead) = self.convoy(chunk, session.is_direct());
        let attempt =
            Attempt { retries: self.failures, is_lifted: self.is_lifted, is_search: false, ahead };
        let route = self.plan.statements.of_range(&self.range);
        let applied = batch::apply(&mut session, route, &self.fence, &convoy, &attempt).await;
        self.session = Some(session);
        match applied {
            Ok((answers, ahead)) => {
                self.came = self.steps(convoy, answers);
                self.ahead = ahead;
                self.came.pop_front().unwrap_or(Step::Fenced)
            }
            Err(fault) => {
                let chunk = convoy.swap_remove(0).chunk;
                Step::Failed(chunk.keys.max(1), Some(chunk), fault)
            }
        }
    }

    /// The time that the next batch should take.
    fn time(&self) -> Duration {
        self.steering.time(self.target, self.plan.job.batch.give_way)
    }

    /// What came of a batch that was sent alone.
    fn timed(&self, outcome: Outcome, answered: Duration) -> Outcome {
        lasted(outcome, answered.saturating_sub(self.round_trip))
    }

    fn next_leg(&self) -> Option<Leg> {
        self.leg(&self.striper, &self.range)
    }

    /// The keys of the next chunk, wherever it is.
    fn next_keys(&mut self) -> u32 {
        self.next_leg().map_or(1, |leg| self.keys(&leg))
    }

    fn leg(&self, striper: &Striper, range: &Range) -> Option<Leg> {
        range.leg(striper.passes(), striper.has_gone_far(self.steering.is_alone()))
    }

    /// The next chunk: the one whose end was looked up with the batch before, if that is still what
    /// is wanted.
    async fn chunk(&mut self, session: &mut Session, leg: Leg, keys: u32) -> Result<Chunk, Fault> {
        let route = self.plan.statements.of_range(&self.range);
        let most = self.most(keys);
        if let Some(ahead) = self.ahead.take().filter(|ahead| ahead.fits(&leg, most)) {
            return Ok(ahead.into());
        }
        match self.whole_pass(&self.striper, &self.range, &leg, most) {
            Some(chunk) => Ok(chunk),
            None => batch::next(session, route, Look { leg, keys }, self.is_lifted).await,
        }
    }

    /// The keys that a chunk whose end is known may have where `keys` are wanted: to ask once more, for
    /// a few less, takes a round trip. In trouble it is exact.
    fn most(&self, keys: u32) -> u32 {
        let is_well = self.failures == 0 && !self.suspect.is_on();
        if is_well { keys.saturating_add(keys / 2).min(self.granted) } else { keys }
    }

    /// Has a connection.
    async fn open(&mut self) -> Result<(), Fault> {
        self.session = Some(self.session().await?);
        Ok(())
    }

    async fn session(&mut self) -> Result<Session, Fault> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let mut session = self.database.session(Lane::Work).await?;
        // The first statement also opens the connection; those behind it are bare round trips, of which a
        // busy machine may delay one.
        let mut trips = [Duration::ZERO; 3];
        for trip in &mut trips {
            let started = Instant::now();
            session
                .transact_prepared(&self.plan.statements.by_key.begin_read, "SELECT 1", &[])
                .await?;
            *trip = started.elapsed();
        }
        self.round_trip = trips[1].min(trips[2]);
        let cancel = session.cancel_token();
        let no = self.steering.no();
        self.steering.note(|gauge| gauge.cancel.extend(cancel.map(|cancel| (no, cancel))));
        Ok(session)
    }

    /// The most rows that the next batch may change.
    fn wanted(&mut self) -> u32 {
        self.granted = u32::MAX;
        if self.range.is_requeued {
            return self.rows_to_requeue();
        }
        match (self.wanted_search(), self.next_leg()) {
            (Some(search), _) => search.most(),
            (None, Some(leg)) => self.keys(&leg),
            (None, None) => 1,
        }
    }

    /// The keys of the next chunk: what the time allows, the rate, the search for a bad row, the
    /// limit.
    fn keys(&mut self, leg: &Leg) -> u32 {
        let rows = self.steering.cap(self.striper.sizer(leg.stripe).rows());
        self.suspect.cap(Striper::keys(leg.stripe, rows)).min(self.granted).max(1)
    }

    /// Since when it has been in trouble, and nobody of this process has committed anything.
    fn stuck(&self) -> Option<Instant> {
        self.stuck_since.map(|since| self.steering.stuck(since))
    }

    /// Something was committed: whatever was in the way is not there any more.
    fn stand_at(&mut self, range: Range) {
        self.steering.note(|gauge| gauge.got_on = Some(Instant::now()));
        (self.failures, self.timeouts, self.barren, self.vain) = (0, 0, 0, 0);
        (self.is_lifted, self.stuck_since) = (false, None);
        self.range = range;
    }

    async fn advance(&mut self, chunk: Chunk, range: Range, outcome: Outcome) -> Next {
        self.suspect.clear(chunk.keys);
        let changed = self.range.changed.saturating_add_unsigned(outcome.changed);
        self.stand_at(Range { changed, ..range });
        let rows = self.striper.sizer(chunk.stripe).rows();
        self.steering.note(|gauge| {
            gauge.timing.observe(Striper::rows(chunk.stripe, chunk.keys), outcome.took);
            gauge.changed += outcome.changed;
            gauge.hot += outcome.hot;
            (gauge.rows, gauge.trouble) = (Some(rows), None);
        });
        self.steering.owe(outcome.matched);
        self.steering.voice.say(Event::BatchCommitted { chunk, outcome });
        if self.came.is_empty() {
            self.steering.pay().await;
        }
        Next::GoOn
    }
}

/// What came of a batch, with the time that it took as a whole: what runs after the statement
/// (triggers, foreign keys, the commit) shows only in when the answer came.
fn lasted(outcome: Outcome, time: Duration) -> Outcome {
    Outcome { took: outcome.took.max(time), ..outcome }
}

/// Why to stop where the table stands like this.
pub(super) fn misled(standing: Standing) -> Option<Stop> {
    match standing {
        // Whether that is too slow, its time limit tells.
        Standing::Same | Standing::Uncounted | Standing::Unindexed => None,
        Standing::OtherTable => Some(Stop::Fatal(DbMessage::local(REPLACED))),
        Standing::OtherKey => Some(Stop::Unfit(Unfit::OtherKey)),
    }
}

/// Whether the key may be what a fault comes from: a time limit, or a row without one.
pub(super) fn may_be_key(message: &DbMessage) -> bool {
    is_timeout(message) || is_keyless(message)
}

/// Why to stop after such a fault: smaller batches are no faster where each reads the whole table, and lead
/// to no row whose key is NULL.
pub(super) async fn unfit(session: &mut Session, plan: &Plan) -> Option<Stop> {
    match plan::standing(session, plan).await.ok()? {
        Standing::Unindexed => Some(Stop::Unfit(Unfit::Unindexed)),
        standing @ (Standing::Same
        | Standing::OtherTable
        | Standing::OtherKey
        | Standing::Uncounted) => misled(standing),
    }
}

/// Why to stop when the ledger could not be asked.
pub(super) fn lost(fault: Fault) -> Stop {
    match fault {
        // The ledger has no rows of anybody's that could be bad.
        Fault::Fatal(message) | Fault::BadRow(message) => Stop::Fatal(message),
        Fault::Again(message) | Fault::Smaller(message) | Fault::Unknown(message) => {
            Stop::GaveUp(message)
        }
    }
}
