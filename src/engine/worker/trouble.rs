//! What a worker does after a fault: waits, makes its chunks smaller, puts them aside, gives up.
//!
//! What it does is chosen elsewhere (`recover`). Whatever that is, the ledger is read again before
//! the next batch: it alone knows whether the last one was committed (R4). Rows that somebody else
//! has locked are put aside, and come again when the others are done.

use std::sync::Arc;
use std::time::Duration;

use super::{Next, Stop, Unfit, Worker, lost, may_be_key, misled, unfit};
use crate::batch;
use crate::engine::insist::insist;
use crate::engine::recover::{
    ATTEMPTS, Choice, FIRST_WAIT, Locked, Situation, between_asides, choose, jittered,
    may_be_table, timeouts,
};
use crate::engine::striper::Striper;
use crate::ledger::ranges;
use crate::ledger::rewrite::{self, Rewrite};
use crate::pg::fault::is_not_pending;
use crate::pg::{DbMessage, Fault, Session};
use crate::plan::{self, Standing};
use crate::run::Event;
use crate::walk::{Chunk, Key, Range};

impl Worker {
    /// Chooses what to do after a fault, and does it.
    pub(super) async fn recover(&mut self, keys: u32, chunk: Option<Chunk>, fault: Fault) -> Next {
        self.failures += 1;
        self.timeouts = timeouts(self.timeouts, &fault);
        if fault.spoils_connection() {
            self.session = None;
        }
        let message = fault.message().clone();
        if may_be_key(&message)
            && let Some(stop) = self.unfit().await
        {
            return Next::Stop(stop);
        }
        let mut pause = Duration::ZERO;
        match choose(&fault, self.situation(keys, chunk.as_ref())) {
            Choice::Again(wait) => pause = jittered(wait),
            Choice::Smaller(wait) => {
                pause = jittered(wait);
                self.shrink(keys, chunk.as_ref());
            }
            Choice::PutAside => return self.put_aside(keys, chunk, &message).await,
            Choice::Lift => self.lift(chunk.as_ref()).await,
            Choice::Bisect => self.suspect.halve(keys),
            Choice::BadRow => return self.bad_row(chunk, message).await,
            Choice::GiveUp => return Next::Stop(Stop::GaveUp(message)),
            Choice::Stop if is_not_pending(&message) => {
                return Next::Stop(Stop::Unfit(Unfit::NotPending));
            }
            Choice::Stop => return Next::Stop(Stop::Fatal(message)),
        }
        self.try_again(&message, pause).await
    }

    /// Why to stop after what may come from the key. A walk through the blocks of the file needs none.
    async fn unfit(&mut self) -> Option<Stop> {
        let is_by_key = self.plan.statements.of_range(&self.range).is_by_key();
        if !is_by_key && !self.range.is_requeued {
            return None;
        }
        let mut session = self.session().await.ok()?;
        let stop = unfit(&mut session, &self.plan).await;
        self.session = Some(session);
        stop
    }

    pub(super) fn situation(&mut self, keys: u32, chunk: Option<&Chunk>) -> Situation {
        let locked = match chunk {
            None if self.range.is_requeued => Locked::Wait,
            None => Locked::Table,
            Some(_) if self.range.aside == 0 => Locked::First,
            Some(_) => Locked::Again,
        };
        Situation {
            rows: keys,
            attempts: self.failures,
            timeouts: self.timeouts,
            stuck: self.steering.stuck_for(&mut self.stuck_since),
            max_hold: self.plan.job.pace.max_hold,
            locked,
            is_lifted: self.is_lifted,
        }
    }

    /// Makes the next chunk half as long as one of `keys`.
    fn shrink(&mut self, keys: u32, chunk: Option<&Chunk>) {
        let stripe =
            chunk.map_or_else(|| self.next_leg().and_then(|leg| leg.stripe), |chunk| chunk.stripe);
        self.striper.sizer(stripe).shrink(Striper::rows(stripe, keys));
    }

    pub(super) async fn try_again(&mut self, message: &DbMessage, pause: Duration) -> Next {
        let next = self.next_keys();
        self.steering.tell_retry(message.to_string(), pause, next);
        self.steering.back_off(pause).await;
        self.reread().await
    }

    /// A single row takes longer than others should wait. It cannot be made smaller, so it may.
    async fn lift(&mut self, chunk: Option<&Chunk>) {
        if let Some(chunk) = chunk.filter(|_| !self.is_lifted)
            && let Ok(Some(key)) = self.key_of(chunk).await
        {
            let give_way = self.plan.job.batch.give_way;
            self.steering.voice.say(Event::Lifted { key, give_way });
        }
        self.is_lifted = true;
    }

    /// Makes a range of its own of the chunk whose rows are locked, so that the others come first. Where
    /// the table itself is locked that helps nobody, so it is waited for.
    async fn put_aside(&mut self, keys: u32, chunk: Option<Chunk>, why: &DbMessage) -> Next {
        let (Some(chunk), Ok(mut session)) = (chunk, self.session().await) else {
            return self.try_again(why, between_asides(u32::MAX)).await;
        };
        let is_table = may_be_table(self.barren)
            && plan::is_locked(&mut session, &self.plan).await.unwrap_or(true);
        let parts = if is_table { None } else { self.part(&mut session, &chunk).await };
        self.session = Some(session);
        let Some(parts) = parts else {
            self.shrink(keys, Some(&chunk));
            return self.try_again(why, jittered(between_asides(self.failures))).await;
        };
        (self.failures, self.timeouts) = (0, 0);
        self.barren += 1;
        self.steering.voice.say(Event::PutAside { upto: chunk.upto, keys: chunk.keys });
        let pause = if parts > 1 { Duration::ZERO } else { between_asides(self.barren) };
        self.steering.back_off(jittered(pause)).await;
        Next::AnotherRange
    }

    /// Puts the chunk aside, or the whole range where there is no room for more of them; returns in
    /// how many parts the range then is, if that was done.
    async fn part(&self, session: &mut Session, chunk: &Chunk) -> Option<usize> {
        let fence = (self.fence.run, self.fence.token.as_str());
        let whole = Range { aside: self.range.aside + 1, ..self.range.clone() };
        let mut ways = vec![self.range.parted(chunk), vec![whole]];
        ways.dedup();
        for parts in ways {
            match ranges::put_aside(session, fence, &self.range, &parts).await {
                Ok(true) => return Some(parts.len()),
                Ok(false) => {}
                // Whether it was done is not known, and whether there is room was not said.
                Err(_) => break,
            }
        }
        None
    }

    /// Stops at the only row of `chunk`. One that is not there any more has moved, and is met where it is
    /// now; a batch that fails without a row, again and again, fails for another reason.
    pub(super) async fn name_row(&mut self, chunk: &Chunk, message: DbMessage) -> Next {
        match self.key_of(chunk).await {
            Ok(_) if chunk.keys == 0 => Next::Stop(Stop::Fatal(message)),
            Ok(Some(key)) => Next::Stop(Stop::BadRow(key, message)),
            Ok(None) if self.vain > ATTEMPTS => Next::Stop(Stop::Fatal(message)),
            Ok(None) | Err(_) => {
                self.vain += 1;
                self.try_again(&message, jittered(FIRST_WAIT)).await
            }
        }
    }

    /// Returns the key of the only row of `chunk`: in physical order it ends with a place, which nobody
    /// can look up later.
    async fn key_of(&mut self, chunk: &Chunk) -> Result<Option<Key>, Fault> {
        let plan = Arc::clone(&self.plan);
        let route = plan.statements.of_range(&self.range);
        if route.is_by_key() {
            return Ok(Some(chunk.upto.clone()));
        }
        let mut session = self.session().await?;
        let key = batch::key_of(&mut session, route, chunk).await;
        self.session = Some(session);
        key
    }

    /// The fence found nothing: the range has moved, is not ours, or the table is another one, or has
    /// another file.
    pub(super) async fn look_around(&mut self) -> Next {
        let before = self.range.rev;
        let next = self.reread().await;
        if !matches!(next, Next::GoOn) || self.range.rev != before {
            return next;
        }
        let Ok(mut session) = self.session().await else { return Next::GoOn };
        let standing = plan::standing(&mut session, &self.plan).await;
        self.session = Some(session);
        let Ok(standing) = standing else { return next };
        match misled(standing) {
            Some(stop) => Next::Stop(stop),
            None if standing == Standing::Uncounted => {
                self.plan = Arc::new(self.plan.counting());
                next
            }
            None if !self.plan.statements.of_range(&self.range).is_by_key() => {
                self.begin_again().await
            }
            None => next,
        }
    }

    /// Begins the walk again, over what is left to do, if the table has another file by now.
    async fn begin_again(&mut self) -> Next {
        let lease = (self.fence.run, self.fence.token.as_str());
        let (table, max_hold) = (self.plan.target.oid, self.plan.job.pace.max_hold);
        let leaving = &self.steering.leaving;
        let begun = insist(&self.database, leaving, max_hold, |mut session| async move {
            rewrite::begin_again(&mut session, lease, table).await
        });
        match begun.await {
            Ok(Rewrite::Begun(times)) => {
                self.steering.voice.say(Event::Rewritten { times });
                Next::AnotherRange
            }
            Ok(Rewrite::TooOften) => Next::Stop(Stop::Unfit(Unfit::Rewritten)),
            Ok(Rewrite::None) => Next::AnotherRange,
            Err(fault) => Next::Stop(lost(fault)),
        }
    }

    /// Reads where the range is: whether a batch of unknown outcome was committed, whether it is
    /// still ours. If not, it was put aside without our learning of it, or the run is somebody
    /// else's: taking the next one tells. A ledger that cannot be read leaves everything as it was,
    /// for the next attempt.
    async fn reread(&mut self) -> Next {
        let Ok(mut session) = self.session().await else { return Next::GoOn };
        let found =
            ranges::reread(&mut session, self.fence.run, self.range.no, &self.fence.token).await;
        match found {
            Ok(Some((range, true))) => {
                if range.rev != self.range.rev {
                    let changed = range.changed.saturating_sub(self.range.changed);
                    self.settle(u64::try_from(changed).unwrap_or(0));
                    self.begin(range);
                }
                self.session = Some(session);
                Next::GoOn
            }
            Ok(_) => Next::AnotherRange,
            Err(_) => Next::GoOn,
        }
    }
}
