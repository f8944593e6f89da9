//! Batches that are sent together where the network is far, so that it is waited for once.
//!
//! The passes over a chunk that is open have ends that are known, so they need not wait for each other's
//! answers. Each finds nothing unless all before it were committed (`plan::fence`), so what is sent in vain
//! is lost in vain. Where the network is near, a batch is answered before the next is sent: who slows a run
//! down, or stops it, waits for one batch then, and not for all passes.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Step, Worker, lasted};
use crate::batch::{Answer, Applied, Look, Place};
use crate::engine::striper::Striper;
use crate::walk::{Chunk, Leg, Range};

/// A network is far if a round trip takes this part of a batch, in percent.
const FAR: u32 = 5;

/// The most batches of a convoy: who slows a run down, or stops it, waits for all of them.
const MOST: usize = 4;

impl Worker {
    /// Returns what to send together with the batch over `chunk`, which comes first, and what to look up
    /// behind it.
    pub(super) fn convoy(&mut self, chunk: Chunk, is_direct: bool) -> (Vec<Place>, Option<Look>) {
        let mut place = Place::new(self.range.clone(), chunk);
        let mut striper = self.striper.foreseen(&place.chunk);
        let mut convoy = Vec::new();
        let most = if is_direct && self.may_send_several() { MOST } else { 1 };
        while convoy.len() + 1 < most
            && let Some(chunk) = self.follows(&striper, &place)
        {
            striper = striper.foreseen(&chunk);
            let next = Place::new(place.after.clone(), chunk);
            convoy.push(std::mem::replace(&mut place, next));
        }
        let look = self.look(&striper, &place);
        convoy.push(place);
        (convoy, look)
    }

    fn may_send_several(&self) -> bool {
        // How long a batch takes is not known where its rows are given.
        let is_far = self.striper.is_timed() && self.round_trip * 100 >= self.time() * FAR;
        let is_well = self.failures == 0 && !self.suspect.is_on() && self.range.aside == 0;
        let is_free = self.steering.is_free() && !self.crew.is_limited();
        is_far && is_well && is_free
    }

    /// The chunk that can be sent without waiting for what comes of the one before it: a whole pass.
    fn follows(&mut self, striper: &Striper, before: &Place) -> Option<Chunk> {
        let leg = self.leg(striper, &before.after).filter(Leg::is_again)?;
        let keys = self.keys(&leg);
        self.whole_pass(striper, &before.after, &leg, self.most(keys))
    }

    /// What to look up together with a batch: the end of the next chunk, if that begins where the
    /// batch ends. If it does not, a pass begins anew, and its keys are known.
    fn look(&mut self, striper: &Striper, last: &Place) -> Option<Look> {
        let leg = self.leg(striper, &last.after);
        let leg = leg.filter(|leg| leg.after.as_ref() == Some(&last.chunk.upto))?;
        let keys = self.keys(&leg);
        Some(Look { leg, keys })
    }

    /// Returns the chunk of a pass that begins anew, whose keys are known: all of it, if those are not more
    /// than `most`.
    pub(super) fn whole_pass(
        &self,
        striper: &Striper,
        range: &Range,
        leg: &Leg,
        most: u32,
    ) -> Option<Chunk> {
        let is_new = leg.is_again() && leg.after.as_ref() == range.position();
        // Blocks may be many where keys are few.
        let is_known = is_new && self.plan.statements.of_range(range).is_by_key();
        let keys = striper.keys_of_chunk().filter(|all| is_known && *all <= most)?;
        let Leg { after, end, stripe } = leg.clone();
        Some(Chunk { after, upto: end, keys, last: true, stripe })
    }

    /// Learns what came of a convoy, up to the first batch that was not committed: those behind it were
    /// sent in vain.
    pub(super) fn steps(&mut self, convoy: Vec<Place>, answers: Vec<Answer>) -> VecDeque<Step> {
        let mut steps = VecDeque::new();
        // The first answer has come through the network, and each other one behind it.
        let mut before = self.round_trip;
        for (Place { chunk, after, .. }, (result, answered)) in convoy.into_iter().zip(answers) {
            let took = answered.saturating_sub(before);
            before = answered;
            let step = match result {
                Ok(Applied::Committed(outcome)) => {
                    let outcome = lasted(outcome, took);
                    self.striper.observe(&chunk, &outcome, &after, Instant::now());
                    Step::Committed(chunk, after, outcome)
                }
                Ok(Applied::Fenced) => Step::Fenced,
                Err(fault) => Step::Failed(chunk.keys.max(1), Some(chunk), fault),
            };
            let goes_on = matches!(step, Step::Committed(..));
            steps.push_back(step);
            if !goes_on {
                break;
            }
        }
        steps
    }
}
