//! Walks the whole table once more and only looks: the parts of its key space side by side.
//!
//! Its cuts are its own, and its workers follow the pace like those of the walk. One that steps back leaves its part to
//! the others, who go on with it where it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::looker::{Looker, Part};
use super::staff::staffed;
use super::steering::Steering;
use super::worker::Stop;
use crate::pg::{Database, DbMessage};
use crate::plan::Plan;
use crate::run::Pending;
use crate::verify::Tally;
use crate::walk::{Key, Leg};

/// Times that a look is repeated which met no row: they may all have been deleted meanwhile, but a
/// verification that saw nothing proves nothing (R25).
const LOOKS: u32 = 3;

/// The parts of one look, at which nobody looks now.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// How many there are.
    all: usize,
    free: VecDeque<Part>,
    seen: BTreeMap<usize, Tally>,
}

impl Parts {
    /// Parts that follow each other over the whole key space up to `upto`.
    fn between(cuts: Vec<Key>, upto: Key) -> Parts {
        let afters =
            std::iter::once(None).chain(cuts.iter().cloned().map(Some)).collect::<Vec<_>>();
        let parts = afters.into_iter().zip(cuts.into_iter().chain([upto])).enumerate();
        let part = |(no, (after, end))| Part {
            no,
            left: Some(Leg { after, end, stripe: None }),
            tally: Tally::default(),
        };
        let free: VecDeque<Part> = parts.map(part).collect();
        Parts { all: free.len(), free, seen: BTreeMap::new() }
    }

    /// Takes the first one.
    fn take(&mut self) -> Option<Part> {
        self.free.pop_front()
    }

    /// Puts one back, to be gone on with unless all of it was seen.
    fn put(&mut self, part: Part) {
        if part.left.is_some() {
            self.free.push_front(part);
        } else {
            self.seen.insert(part.no, part.tally);
        }
    }

    /// What was seen, in the order of the key; `None` if a part was not seen to its end.
    fn sum(self) -> Option<Tally> {
        let is_whole = self.seen.len() == self.all;
        is_whole.then(|| self.seen.into_values().reduce(Tally::and).unwrap_or_default())
    }
}

/// Looks at the whole table.
pub(super) struct Verifier {
    pub(super) database: Database,
    pub(super) plan: Arc<Plan>,
    pub(super) steering: Steering,
    pub(super) run: i64,
    pub(super) pending: Pending,
}

impl Verifier {
    /// Looks at every row up to the last there is now.
    pub(super) async fn look(&self) -> Result<Tally, Stop> {
        for _ in 0..LOOKS {
            let Some(parts) = self.parts().await? else { return Ok(Tally::default()) };
            let tally = self.look_side_by_side(parts).await?;
            if tally.looked > 0 {
                return Ok(tally);
            }
        }
        Err(Stop::Fatal(DbMessage::local("no row was looked at, and the table has some")))
    }

    /// The table in parts; `None` if it has no row.
    async fn parts(&self) -> Result<Option<Parts>, Stop> {
        let (_halt, halted) = watch::channel(false);
        let mut looker = self.looker(self.steering.of_worker(0, halted));
        let Some(upto) = looker.last_key().await? else { return Ok(None) };
        // One worker alone looks at part after part, and others may come.
        let cuts = looker.cuts(&upto).await;
        Ok(Some(Parts::between(cuts, upto)))
    }

    async fn look_side_by_side(&self, parts: Parts) -> Result<Tally, Stop> {
        self.steering.note(|gauge| gauge.looked = 0);
        let parts = Arc::new(Mutex::new(parts));
        let work = |steering| work(self.looker(steering), Arc::clone(&parts));
        let stop = staffed(&self.steering, work, || !lock(&parts).free.is_empty()).await;
        if !matches!(stop, Stop::End) {
            return Err(stop);
        }
        let sum = std::mem::take(&mut *lock(&parts)).sum();
        let lacks = || DbMessage::local("a part of the table was not looked at to its end");
        sum.ok_or_else(|| Stop::Fatal(lacks()))
    }

    fn looker(&self, steering: Steering) -> Looker {
        let (database, plan) = (self.database.clone(), Arc::clone(&self.plan));
        Looker::new(database, plan, steering, (self.run, self.pending))
    }
}

/// Looks at part after part until none is left, or until there is a reason to stop.
async fn work(mut looker: Looker, parts: Arc<Mutex<Parts>>) -> Stop {
    loop {
        let Some(mut part) = lock(&parts).take() else { return Stop::End };
        let looked = looker.look_at(&mut part).await;
        lock(&parts).put(part);
        if let Err(stop) = looked {
            return stop;
        }
    }
}

fn lock(parts: &Mutex<Parts>) -> MutexGuard<'_, Parts> {
    parts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(at: usize) -> Key {
        Key::new(vec![at.to_string()])
    }

    proptest! {
        #[test]
        fn however_often_parts_are_left_each_place_is_seen_once_and_in_order(
            cuts in prop::collection::btree_set(1usize..40, 0..8),
            steps in prop::collection::vec(1usize..6, 0..60),
        ) {
            let cuts: Vec<usize> = cuts.into_iter().collect();
            let mut parts = Parts::between(cuts.iter().map(|at| key(*at)).collect(), key(40));
            let at = |key: &Key| key.values()[0].as_str().parse::<usize>().expect("a place");
            let (mut seen, mut steps) = (Vec::new(), steps.into_iter().chain(std::iter::repeat(40)));
            while let Some(mut part) = parts.take() {
                let leg = part.left.take().expect("a part that is not over");
                let (from, end) = (leg.after.as_ref().map_or(0, at), at(&leg.end));
                let upto = end.min(from + steps.next().unwrap_or(40));
                seen.push((from, upto));
                part.tally.looked += (upto - from) as u64;
                part.left = (upto < end).then(|| Leg { after: Some(key(upto)), ..leg });
                parts.put(part);
            }
            seen.sort_unstable();
            prop_assert!(seen.windows(2).all(|pair| pair[0].1 == pair[1].0), "{:?}", seen);
            prop_assert_eq!(parts.seen.len(), cuts.len() + 1);
            let lacks_one = Parts { all: parts.all + 1, seen: parts.seen.clone(), ..Parts::default() };
            prop_assert_eq!(lacks_one.sum(), None);
            prop_assert_eq!(parts.sum().map(|tally| tally.looked), Some(40));
        }
    }
}
