//! The workers of this process: who walks which range, and what they may change together.
//!
//! One that has nothing to do waits: others may put ranges aside, or die.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::insist::insist;
use super::staff::staffed;
use super::steering::Steering;
use super::worker::{Stop, Worker, lost};
use crate::batch::Fence;
use crate::ledger::ranges::{self, Taken};
use crate::pg::{Database, Lane};
use crate::plan::Plan;

/// How often a worker without a range looks for one that another process has put down.
const LOOK: Duration = Duration::from_millis(300);

/// Rows that may still be changed by this process, over all its walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    /// What is left of it; `None` is without limit.
    left: Option<u64>,
    /// What batches under way may take of it.
    granted: u64,
}

/// What a worker may do under the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    /// A chunk of at most so many keys.
    Keys(u32),
    /// Nothing, unless a batch under way changes less than it may.
    Later,
    /// Nothing any more.
    Nothing,
}

impl Limit {
    pub(super) fn new(left: Option<u64>) -> Limit {
        Limit { left, granted: 0 }
    }

    fn grant(&mut self, keys: u32) -> Grant {
        let Some(left) = self.left else { return Grant::Keys(u32::MAX) };
        let free = u32::try_from(left - self.granted).unwrap_or(u32::MAX);
        match keys.min(free) {
            0 if left == 0 => Grant::Nothing,
            0 => Grant::Later,
            keys => {
                self.granted += u64::from(keys);
                Grant::Keys(keys)
            }
        }
    }

    fn settle(&mut self, granted: u32, changed: u64) {
        if let Some(left) = self.left.as_mut() {
            self.granted = self.granted.saturating_sub(granted.into());
            *left = left.saturating_sub(changed).max(self.granted);
        }
    }
}

/// What the workers of a process know of each other.
pub(super) struct Crew {
    database: Database,
    fence: Fence,
    /// The ranges that they walk. Held while one is taken, so that no other takes it for left behind.
    walked: tokio::sync::Mutex<BTreeSet<i64>>,
    /// Held by the one of those without a range that looks for one.
    looking: tokio::sync::Mutex<()>,
    /// Says to it that one of the others has put a range down: there may be nothing left.
    news: Notify,
    limit: Arc<Mutex<Limit>>,
}

impl Crew {
    pub(super) fn new(database: Database, fence: Fence, limit: Arc<Mutex<Limit>>) -> Crew {
        let (walked, looking) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Crew { database, fence, walked, looking, news: Notify::new(), limit }
    }

    /// Walks with as many workers as the pace says until no range is left, or until there is a reason
    /// to stop.
    pub(super) async fn walk(self: &Arc<Crew>, plan: &Arc<Plan>, steering: &Steering) -> Stop {
        let work = |steering| {
            let mut worker = self.worker(plan, steering);
            async move { worker.work().await }
        };
        staffed(steering, work, || false).await
    }

    fn worker(self: &Arc<Crew>, plan: &Arc<Plan>, steering: Steering) -> Worker {
        let (database, fence) = (self.database.clone(), self.fence.clone());
        Worker::new(database, Arc::clone(plan), fence, steering, Arc::clone(self))
    }

    /// Takes a range for one of them that has found none free, as soon as there is one.
    ///
    /// # Errors
    /// Why to stop instead.
    pub(super) async fn take(&self, steering: &mut Steering) -> Result<Taken, Stop> {
        let _looking = self.looking.lock().await;
        loop {
            let taken = self.take_now(steering).await?;
            if taken != Taken::NothingFree {
                return Ok(taken);
            }
            tokio::select! {
                idle = steering.idle(LOOK) => idle?,
                () = self.news.notified() => {}
            }
        }
    }

    /// Takes a range for one of them, if one is free.
    ///
    /// # Errors
    /// Why to stop instead.
    pub(super) async fn take_now(&self, steering: &Steering) -> Result<Taken, Stop> {
        let mut walked = self.walked.lock().await;
        if let Some(asked) = steering.asked() {
            return Err(Stop::Asked(asked));
        }
        let known: Vec<i64> = walked.iter().copied().collect();
        let (run, known) = ((self.fence.run, self.fence.token.as_str()), known.as_slice());
        let (leaving, max_hold) = (&steering.leaving, steering.max_hold());
        let taken = insist(&self.database, leaving, max_hold, |mut session| async move {
            ranges::take(&mut session, run, known).await
        });
        let (taken, walk) = taken.await.map_err(lost)?;
        if let Taken::Range(range) = &taken {
            walk.follows().map_err(Stop::Torn)?;
            walked.insert(range.no);
        }
        Ok(taken)
    }

    /// Learns that a worker walks a range no more. One that it left in the middle, because fewer are
    /// wanted, is given back for anybody; if that does not reach the ledger, it is free for us, and for
    /// all once we are gone.
    pub(super) async fn put_down(&self, no: i64, is_left: bool) {
        let mut walked = self.walked.lock().await;
        walked.remove(&no);
        if is_left && let Ok(mut session) = self.database.session(Lane::Watch).await {
            let run = (self.fence.run, self.fence.token.as_str());
            let _ = ranges::give_back(&mut session, run, no).await;
        }
        self.news.notify_one();
    }

    fn limit(&self) -> MutexGuard<'_, Limit> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a most number of rows that may still be changed.
    pub(super) fn is_limited(&self) -> bool {
        self.limit().left.is_some()
    }

    /// Grants a worker a chunk of at most so many keys.
    pub(super) fn grant(&self, keys: u32) -> Grant {
        self.limit().grant(keys)
    }

    /// Learns how many rows were changed under a grant.
    pub(super) fn settle(&self, granted: u32, changed: u64) {
        self.limit().settle(granted, changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_one_worker_may_take_no_other_gets_until_it_is_known_to_be_left() {
        let mut limit = Limit::new(Some(10));
        assert_eq!(limit.grant(8), Grant::Keys(8));
        assert_eq!(limit.grant(8), Grant::Keys(2));
        assert_eq!(limit.grant(8), Grant::Later);
        limit.settle(8, 5);
        assert_eq!(limit.grant(8), Grant::Keys(3));
        limit.settle(2, 2);
        limit.settle(3, 3);
        assert_eq!(limit.grant(8), Grant::Nothing);
        assert_eq!(Limit::new(None).grant(8), Grant::Keys(u32::MAX));
    }

    proptest! {
        #[test]
        fn the_limit_is_reached_and_never_exceeded(
            limit in 1u64..10_000, steps in prop::collection::vec((0usize..4, 1u32..500, 0u32..=100), 0..300),
        ) {
            let (mut account, mut workers, mut changed) = (Limit::new(Some(limit)), [None; 4], 0);
            let to_the_end = (0..40_000).map(|step| (step % 4, 500, 100));
            for (no, keys, percent) in steps.into_iter().chain(to_the_end) {
                if let Some(granted) = workers[no].take() {
                    let rows = u64::from(granted * percent / 100);
                    account.settle(granted, rows);
                    changed += rows;
                } else if let Grant::Keys(granted) = account.grant(keys) {
                    workers[no] = Some(granted);
                }
            }
            prop_assert_eq!((changed, account.grant(1)), (limit, Grant::Nothing));
        }
    }
}
