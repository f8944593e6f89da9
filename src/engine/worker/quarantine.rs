//! What a worker does with a single row that cannot be done: it stops, or records the row and goes on;
//! and how rows that were recorded are tried again.
//!
//! A row is passed only when the record of it is committed with the cursor. Rows that are tried again are
//! a range without keys: the same fence, the same faults, the same search for the one that is bad.

use std::sync::Arc;
use std::time::Instant;

use super::{Next, Step, Stop, Worker};
use crate::batch::{self, Recorded, Requeue};
use crate::engine::recover::{ATTEMPTS, Choice, FIRST_WAIT, choose, jittered};
use crate::job::Policy;
use crate::ledger::quarantine::{self, Left};
use crate::pg::message::cut;
use crate::pg::{DbMessage, Fault};
use crate::run::{Event, Outcome};
use crate::walk::{Chunk, Key, Range};

/// The most rows that are tried again in one batch: somebody has repaired them by hand, so they are few.
const REQUEUED: u32 = 64;

impl Worker {
    /// A chunk of one key that fails names its row; without a chunk it was the read that failed, or a row
    /// of the quarantine.
    pub(super) async fn bad_row(&mut self, chunk: Option<Chunk>, message: DbMessage) -> Next {
        match chunk {
            None if self.range.is_requeued => self.leave(message).await,
            None => Next::Stop(Stop::Fatal(message)),
            Some(chunk) if self.plan.job.bad_rows.policy == Policy::Quarantine => {
                self.quarantine(chunk, message).await
            }
            Some(chunk) => self.name_row(&chunk, message).await,
        }
    }

    async fn quarantine(&mut self, chunk: Chunk, message: DbMessage) -> Next {
        let asked = Instant::now();
        let after = self.range.after_batch(&chunk);
        match self.record(&chunk, &after, &message).await {
            Ok(Recorded::Done(key)) => {
                let took = asked.elapsed();
                let outcome = Outcome { took, matched: 1, quarantined: 1, ..Outcome::default() };
                self.striper.observe(&chunk, &outcome, &after, Instant::now());
                self.pass(after, key, &message).await
            }
            Ok(Recorded::Full(key, used)) => Next::Stop(Stop::Full(key, message, used)),
            // Somebody has changed the row, or put another one beside it. If that is so each time, what
            // fails is not a row.
            Ok(Recorded::Other) if self.vain < ATTEMPTS => {
                self.vain += 1;
                self.try_again(&message, jittered(FIRST_WAIT)).await
            }
            Ok(Recorded::Other) => Next::Stop(Stop::Fatal(message)),
            Err(fault) => match self.after_record(&fault) {
                Choice::Again(wait) | Choice::Smaller(wait) => {
                    self.try_again(fault.message(), jittered(wait)).await
                }
                Choice::GiveUp => Next::Stop(Stop::GaveUp(fault.message().clone())),
                Choice::Stop => Next::Stop(Stop::Fatal(fault.message().clone())),
                // `where` itself fails for the row, so nobody can say whether it is to be done.
                Choice::BadRow => self.name_row(&chunk, message).await,
                Choice::PutAside | Choice::Lift | Choice::Bisect => {
                    self.try_again(fault.message(), jittered(FIRST_WAIT)).await
                }
            },
        }
    }

    async fn record(
        &mut self,
        chunk: &Chunk,
        after: &Range,
        message: &DbMessage,
    ) -> Result<Recorded, Fault> {
        let plan = Arc::clone(&self.plan);
        let route = plan.statements.of_range(&self.range);
        let mut session = self.session().await?;
        let (range, max) = ((&self.range, chunk, after), plan.job.bad_rows.max);
        let how = (message, self.failures, max);
        let recorded = batch::quarantine(&mut session, route, &self.fence, range, how).await;
        self.session = Some(session);
        recorded
    }

    fn after_record(&mut self, fault: &Fault) -> Choice {
        if fault.spoils_connection() {
            self.session = None;
        }
        choose(fault, self.situation(1, None))
    }

    /// The row is recorded, and the range is behind it.
    async fn pass(&mut self, after: Range, key: Key, message: &DbMessage) -> Next {
        self.suspect.pass();
        self.stand_at(after);
        let (sqlstate, message) = (message.sqlstate.clone(), cut(&message.message));
        self.steering.voice.say(Event::Quarantined { key, sqlstate, message });
        self.steering.owe(1);
        self.steering.pay().await;
        Next::GoOn
    }

    /// The rows to try again next.
    pub(super) fn rows_to_requeue(&mut self) -> u32 {
        let rows = self.steering.cap(self.striper.sizer(None).rows().min(REQUEUED));
        self.suspect.cap(rows).min(self.granted).max(1)
    }

    /// Tries the next rows of the quarantine again.
    pub(super) async fn requeued(&mut self) -> Step {
        if self.range.done {
            return Step::End;
        }
        let rows = self.rows_to_requeue();
        let mut session = match self.session().await {
            Ok(session) => session,
            Err(fault) => return Step::Failed(rows, None, fault),
        };
        let requeue = Requeue { rows, retries: self.failures, is_lifted: self.is_lifted };
        let (statements, fence) = (&self.plan.statements, &self.fence);
        let done = batch::requeued(&mut session, statements, fence, &self.range, requeue).await;
        self.session = Some(session);
        match done {
            Ok(Some((Some(upto), keys, after, outcome, answered))) => {
                let outcome = self.timed(outcome, answered);
                self.striper.sizer(None).observe(keys, outcome.took, outcome.wal);
                let chunk = Chunk { after: None, upto, keys, last: after.done, stripe: None };
                Step::Committed(chunk, after, outcome)
            }
            Ok(Some((None, ..))) => Step::End,
            Ok(None) => Step::Fenced,
            Err(fault) => Step::Failed(rows, None, fault),
        }
    }

    /// A row that was tried again is still bad: it stays in the quarantine.
    async fn leave(&mut self, message: DbMessage) -> Next {
        let mut session = match self.session().await {
            Ok(session) => session,
            Err(fault) => return self.not_left(&fault).await,
        };
        let fence = (self.fence.run, self.fence.token.as_str());
        let kept = cut(&message.message);
        let why = (message.sqlstate.as_deref(), kept.as_str());
        let left = quarantine::leave(&mut session, fence, &self.range, why).await;
        self.session = Some(session);
        match left {
            Ok(Some(Left { key, is_last })) => {
                let after = Range { rev: self.range.rev + 1, done: is_last, ..self.range.clone() };
                self.pass(after, key, &message).await
            }
            // The range may have moved. If that is so each time, it is something else.
            Ok(None) if self.vain < ATTEMPTS => {
                self.vain += 1;
                self.try_again(&message, jittered(FIRST_WAIT)).await
            }
            Ok(None) => Next::Stop(Stop::Fatal(message)),
            Err(fault) => self.not_left(&fault).await,
        }
    }

    /// It could not be written down that a row stays in the quarantine, which is no matter of a row.
    async fn not_left(&mut self, fault: &Fault) -> Next {
        match self.after_record(fault) {
            Choice::Again(wait) | Choice::Smaller(wait) => {
                self.try_again(fault.message(), jittered(wait)).await
            }
            Choice::GiveUp => Next::Stop(Stop::GaveUp(fault.message().clone())),
            Choice::Stop | Choice::BadRow => Next::Stop(Stop::Fatal(fault.message().clone())),
            Choice::PutAside | Choice::Lift | Choice::Bisect => {
                self.try_again(fault.message(), jittered(FIRST_WAIT)).await
            }
        }
    }
}
