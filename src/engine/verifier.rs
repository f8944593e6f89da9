//! Walks the whole table once more and only looks: the parts of its key space side by side.
//!
//! Its cuts are its own, and its workers follow the pace like those of the walk. One that steps back leaves its part to
//! the others, who go on with it where it is; and so does the next process with all of them, unless something was
//! written meanwhile.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::looker::{Looker, Part};
use super::staff::staffed;
use super::steering::Steering;
use super::worker::Stop;
use crate::ledger::verifying;
use crate::pg::{Database, DbMessage, Lane};
use crate::plan::Plan;
use crate::run::Pending;
use crate::verify::Tally;
use crate::walk::{Key, Seen};

/// Times that a look is repeated which met no row: they may all have been deleted meanwhile, but a
/// verification that saw nothing proves nothing (R25).
const LOOKS: u32 = 3;

/// How often it is noted how far they are.
const NOTED: Duration = Duration::from_mins(1);

/// The parts of one look, in the order of the key.
#[derive(Debug, Default)]
pub(super) struct Parts {
    all: Vec<Part>,
    /// Those at which somebody looks now; what he has seen is known when he puts it back.
    taken: BTreeSet<usize>,
    /// How long those before us have looked.
    before: Duration,
    /// How run and table stood when the look began; `None` if nobody is to go on with it.
    stand: Option<String>,
}

impl Parts {
    /// Parts that follow each other over the whole key space up to `upto`.
    fn between(cuts: Vec<Key>, upto: Key) -> Parts {
        let afters =
            std::iter::once(None).chain(cuts.iter().cloned().map(Some)).collect::<Vec<_>>();
        let stretches = afters.into_iter().zip(cuts.into_iter().chain([upto]));
        let all = stretches.map(|(after, end)| Part::new(after, end)).collect();
        Parts { all, ..Parts::default() }
    }

    /// Goes on with what was seen before, and with the rows up to `upto` that have come since.
    fn beyond(seen: Seen, upto: Key) -> Parts {
        let end = seen.parts.last().map(|last| last.end.clone());
        let news = (end.as_ref() != Some(&upto)).then(|| Part::new(end, upto));
        let before = Duration::try_from_secs_f64(seen.seconds).unwrap_or_default();
        let all = seen.parts.into_iter().map(Part::of).chain(news).collect();
        Parts { all, before, ..Parts::default() }
    }

    /// Takes the first one that is not seen to its end, and at which nobody looks.
    fn take(&mut self) -> Option<(usize, Part)> {
        let (no, part) = self.free().next().map(|(no, part)| (no, part.clone()))?;
        self.taken.insert(no);
        Some((no, part))
    }

    fn free(&self) -> impl Iterator<Item = (usize, &Part)> {
        let all = self.all.iter().enumerate();
        all.filter(|(no, part)| part.left.is_some() && !self.taken.contains(no))
    }

    /// Puts one back, to be gone on with unless all of it was seen.
    fn put(&mut self, no: usize, part: Part) {
        self.taken.remove(&no);
        if let Some(place) = self.all.get_mut(no) {
            *place = part;
        }
    }

    /// Returns how many rows were looked at.
    fn looked(&self) -> u64 {
        self.all.iter().map(|part| part.tally.looked).sum()
    }

    /// Returns what whoever goes on after `took` need not look at again.
    fn seen(&self, took: Duration, pending: Pending) -> Seen {
        let seconds = (self.before + took).as_secs_f64();
        Seen { parts: self.all.iter().map(|part| part.seen(pending)).collect(), seconds }
    }

    /// What was seen, in the order of the key; `None` if a part was not seen to its end.
    fn sum(self) -> Option<Tally> {
        let is_whole = self.all.iter().all(|part| part.left.is_none());
        let tallies = self.all.into_iter().map(|part| part.tally);
        is_whole.then(|| tallies.reduce(Tally::and).unwrap_or_default())
    }
}

/// Looks at the whole table.
pub(super) struct Verifier {
    pub(super) database: Database,
    pub(super) plan: Arc<Plan>,
    pub(super) steering: Steering,
    pub(super) run: i64,
    pub(super) pending: Pending,
    /// By what it signs how far it is; `None` if nobody is to go on with it.
    pub(super) token: Option<String>,
}

impl Verifier {
    /// Looks at every row up to the last there is now, or goes on with that. Returns what was seen, and how long
    /// that took.
    pub(super) async fn look(&self) -> Result<(Tally, Duration), Stop> {
        for _ in 0..LOOKS {
            // What was looked at before a sweep is none of it.
            self.steering.note(|gauge| (gauge.looked, gauge.looked_before) = (0, 0));
            let Some(parts) = self.parts().await? else { return Ok(Default::default()) };
            let (before, started) = (parts.before, Instant::now());
            let tally = self.look_side_by_side(parts).await?;
            if tally.looked > 0 {
                return Ok((tally, before + started.elapsed()));
            }
        }
        Err(Stop::Fatal(DbMessage::local("no row was looked at, and the table has some")))
    }

    /// The table in parts; `None` if it has no row.
    async fn parts(&self) -> Result<Option<Parts>, Stop> {
        let (_halt, halted) = watch::channel(false);
        let mut looker = self.looker(self.steering.of_worker(0, halted));
        let Some(upto) = looker.last_key().await? else { return Ok(None) };
        let found = if self.token.is_some() { looker.found().await? } else { None };
        let (stand, seen) = found.unzip();
        if let Some(seen) = seen.flatten() {
            return Ok(Some(Parts { stand, ..Parts::beyond(seen, upto) }));
        }
        // One worker alone looks at part after part, and others may come.
        let cuts = looker.cuts(&upto).await?;
        Ok(Some(Parts { stand, ..Parts::between(cuts, upto) }))
    }

    async fn look_side_by_side(&self, parts: Parts) -> Result<Tally, Stop> {
        let looked = parts.looked();
        self.steering.note(|gauge| (gauge.looked, gauge.looked_before) = (looked, looked));
        let (parts, started) = (Arc::new(Mutex::new(parts)), Instant::now());
        let work = |steering| work(self.looker(steering), Arc::clone(&parts));
        let mut looking =
            pin!(staffed(&self.steering, work, || lock(&parts).free().next().is_some()));
        let stop = loop {
            tokio::select! {
                stop = &mut looking => break stop,
                () = tokio::time::sleep(NOTED) => self.note(&parts, started).await,
            }
        };
        if !matches!(stop, Stop::End) {
            self.note(&parts, started).await;
            return Err(stop);
        }
        let sum = std::mem::take(&mut *lock(&parts)).sum();
        let lacks = || DbMessage::local("a part of the table was not looked at to its end");
        sum.ok_or_else(|| Stop::Fatal(lacks()))
    }

    /// Notes how far it is. If that fails, whoever goes on looks at more of it again.
    async fn note(&self, parts: &Mutex<Parts>, started: Instant) {
        let Some(token) = &self.token else { return };
        let (stand, seen, looked) = {
            let parts = lock(parts);
            let seen = parts.seen(started.elapsed(), self.pending);
            (parts.stand.clone(), seen, parts.looked())
        };
        if let Some(stand) = stand.filter(|_| looked > 0)
            && let Ok(mut session) = self.database.session(Lane::Watch).await
        {
            let _ = verifying::note(&mut session, (self.run, token), (&stand, &seen)).await;
        }
    }

    fn looker(&self, steering: Steering) -> Looker {
        let (database, plan) = (self.database.clone(), Arc::clone(&self.plan));
        Looker::new(database, plan, steering, (self.run, self.pending))
    }
}

/// Looks at part after part until none is left, or until there is a reason to stop.
async fn work(mut looker: Looker, parts: Arc<Mutex<Parts>>) -> Stop {
    loop {
        let Some((no, mut part)) = lock(&parts).take() else { return Stop::End };
        let looked = looker.look_at(&mut part).await;
        lock(&parts).put(no, part);
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
    use crate::walk::Leg;
    use proptest::prelude::*;

    fn key(at: usize) -> Key {
        Key::new(vec![at.to_string()])
    }

    proptest! {
        #[test]
        fn however_often_parts_are_left_each_place_is_seen_once_and_in_order(
            cuts in prop::collection::btree_set(1usize..40, 0..8),
            steps in prop::collection::vec((1usize..6, any::<bool>()), 0..60),
            longer in 0usize..5,
        ) {
            let cuts: Vec<usize> = cuts.into_iter().collect();
            let mut parts = Parts::between(cuts.iter().map(|at| key(*at)).collect(), key(40));
            let at = |key: &Key| key.values()[0].as_str().parse::<usize>().expect("a place");
            let (mut seen, mut upto) = (Vec::new(), 40);
            let mut steps = steps.into_iter().chain(std::iter::repeat((60, false)));
            while let Some((no, mut part)) = parts.take() {
                let left = part.left.take().expect("a part that is not over");
                let (from, end) = (left.after.as_ref().map_or(0, at), at(&left.end));
                let (keys, is_another) = steps.next().unwrap_or((60, false));
                let mark = end.min(from + keys);
                seen.push((from, mark));
                part.tally.looked += (mark - from) as u64;
                part.left = (mark < end).then(|| Leg { after: Some(key(mark)), ..left });
                parts.put(no, part);
                if is_another {
                    // Another process goes on, when the table may have become longer.
                    upto = upto.max(40 + longer);
                    parts = Parts::beyond(parts.seen(Duration::ZERO, Pending::Absent), key(upto));
                }
            }
            seen.sort_unstable();
            prop_assert!(seen.windows(2).all(|pair| pair[0].1 == pair[1].0), "{:?}", seen);
            let lacks_one = Parts { all: vec![Part::new(None, key(1))], ..Parts::default() };
            prop_assert_eq!(lacks_one.sum(), None);
            prop_assert_eq!(parts.sum().map(|tally| tally.looked), Some(upto as u64));
        }
    }

    #[test]
    fn a_part_in_which_something_was_wrong_is_looked_at_again_and_what_is_in_hand_from_where_it_was()
     {
        let mut parts = Parts::between(vec![key(10), key(20)], key(30));
        let (wrong, mut part) = parts.take().expect("a part");
        part.left = None;
        part.tally = Tally { looked: 10, broken: 1, samples: vec![key(3)], ..Tally::default() };
        parts.put(wrong, part);
        let (whole, mut part) = parts.take().expect("a part");
        (part.left, part.tally.looked) = (None, 10);
        let mut filtered = part.clone();
        filtered.tally.still = 10;
        let mark = |pending| filtered.seen(pending).mark.map(|mark| mark.to_string());
        assert_eq!((mark(Pending::Filter).as_deref(), mark(Pending::Proven)), (Some("(20)"), None));
        parts.put(whole, part);
        let (_, mut in_hand) = parts.take().expect("a part");
        in_hand.tally.looked = 5;
        let mut parts = Parts::beyond(parts.seen(Duration::from_secs(3), Pending::Proven), key(30));
        assert_eq!((parts.looked(), parts.before), (10, Duration::from_secs(3)));
        let again = [parts.take(), parts.take()].map(|part| part.expect("a part").1);
        assert_eq!(again, [Part::new(None, key(10)), Part::new(Some(key(20)), key(30))]);
        assert_eq!(parts.take(), None);
    }
}
