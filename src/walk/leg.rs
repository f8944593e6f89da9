//! What the next batch may cover, and where a range is after it.
//!
//! A chunk may be done in several passes, each over one stripe of its keys, so that the server can
//! prune its pages in between. The first pass finds the chunk's end by walking; the others follow
//! over the same keys. Where it is, with the pass and the key within it, is part of the range and
//! commits with the rows, so that at every moment each row is either done or not. Pure: what a stripe
//! is, is the keyset's business.

use super::chunk::{Chunk, Stripe};
use super::key::Key;
use super::range::{Open, Range};

/// The stretch of which the next batch does the first part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leg {
    /// The key before it; `None` at the beginning of the key space.
    pub after: Option<Key>,
    /// Its last key.
    pub end: Key,
    /// The stripe to do; `None` for every key.
    pub stripe: Option<Stripe>,
}

impl Leg {
    /// Whether it goes once more over keys that an earlier pass has seen.
    pub(crate) fn is_again(&self) -> bool {
        self.stripe.is_some_and(Stripe::is_again)
    }
}

impl Range {
    /// Returns what comes next; `None` at the end. `stripes` is into how many a new chunk is parted,
    /// 1 for not at all, and `turn` whether the first pass over an open one has gone far enough.
    pub(crate) fn leg(&self, stripes: u32, turn: bool) -> Option<Leg> {
        let upto = self.upto.as_ref().filter(|_| !self.done)?;
        let Some(open) = &self.open else {
            let stripe = (stripes > 1).then_some(Stripe { no: 0, of: stripes });
            return Some(Leg { after: self.position().cloned(), end: upto.clone(), stripe });
        };
        let is_whole = open.is_whole();
        let is_growing = is_whole && open.stripe.no == 0 && !turn && open.front != *upto;
        if is_growing {
            let after = Some(open.front.clone());
            return Some(Leg { after, end: upto.clone(), stripe: Some(open.stripe) });
        }
        let (after, no) = if is_whole {
            (self.position().cloned(), open.stripe.no + 1)
        } else {
            (Some(open.mark.clone()), open.stripe.no)
        };
        Some(Leg { after, end: open.front.clone(), stripe: Some(Stripe { no, ..open.stripe }) })
    }

    /// Returns the range as it is when `chunk`, the first part of its leg, is done.
    pub(crate) fn after_batch(&self, chunk: &Chunk) -> Range {
        let (at, rev) = (chunk.upto.clone(), self.rev + 1);
        let is_end = |key: &Key| self.upto.as_ref() == Some(key);
        let Some(stripe) = chunk.stripe else {
            let done = chunk.last;
            return Range { cursor: Some(at), rev, done, ..self.clone() };
        };
        let front = match &self.open {
            Some(open) if stripe.no > 0 => open.front.clone(),
            _ => at.clone(),
        };
        let is_over = stripe.is_last() && at == front;
        if is_over {
            let done = is_end(&at);
            return Range { cursor: Some(at), open: None, rev, done, ..self.clone() };
        }
        Range { open: Some(Open { front, mark: at, stripe }), rev, ..self.clone() }
    }

    /// Parts the range around `chunk`, the first part of its leg, which cannot be done now. Returns
    /// what takes its place: what lies before the chunk with the passes that are left over it, if there
    /// is such, the chunk, put aside once more, and what lies behind it.
    pub(crate) fn parted(&self, chunk: &Chunk) -> Vec<Range> {
        let mut left = self.clone();
        let mut parts = Vec::new();
        // Without a chunk that is open, everything before is done.
        if let Some(at) = chunk.after.as_ref().filter(|at| self.position() != Some(*at)) {
            let (before, behind) = left.split(at);
            parts.push(before);
            left = behind;
        }
        let rest = if left.upto.as_ref() == Some(&chunk.upto) {
            None
        } else {
            let (before, behind) = left.split(&chunk.upto);
            left = before;
            Some(behind)
        };
        parts.push(Range { aside: left.aside + 1, ..left });
        parts.extend(rest);
        parts
    }

    /// Parts the range behind `at`; within its open chunk that is the mark, or, before a new pass, any
    /// key.
    fn split(&self, at: &Key) -> (Range, Range) {
        let mut before = Range { upto: Some(at.clone()), ..self.clone() };
        let after = Some(at.clone());
        let mut behind = Range { after, cursor: None, open: None, ..self.clone() };
        let Some(open) = self.open.as_ref().filter(|open| open.front != *at) else {
            return (before, behind);
        };
        let no = if open.is_whole() { open.stripe.no } else { open.stripe.no - 1 };
        let (front, mark) = (open.front.clone(), open.front.clone());
        behind.open = Some(Open { front, mark, stripe: Stripe { no, ..open.stripe } });
        let is_over = !open.is_whole() && open.stripe.is_last();
        if is_over {
            (before.cursor, before.open, before.done) = (Some(at.clone()), None, true);
        } else {
            before.open = Some(Open { front: at.clone(), mark: at.clone(), stripe: open.stripe });
        }
        (before, behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(number: u32) -> Key {
        Key::new(vec![number.to_string()])
    }

    fn number(key: Option<&Key>) -> u32 {
        key.map_or(0, |key| key.values()[0].parse().unwrap())
    }

    /// The first part of a leg, of at most `keys` of the keys 1, 2, 3, …
    fn chunk(leg: &Leg, keys: u32) -> Chunk {
        let (after, end) = (number(leg.after.as_ref()), number(Some(&leg.end)));
        let upto = end.min(after + keys);
        Chunk {
            after: leg.after.clone(),
            upto: key(upto),
            keys: upto - after,
            last: upto == end,
            stripe: leg.stripe,
        }
    }

    /// Counts how often each key is done when everything happens that can: any sizes, any number of
    /// stripes for each chunk, a turn at any time, ranges that are parted at any time.
    fn walk(upto: u32, steps: &[(u32, u32, bool, bool)]) -> BTreeMap<u32, u32> {
        let mut done = BTreeMap::new();
        let mut ranges = vec![Range { upto: Some(key(upto)), ..Range::default() }];
        let mut steps = steps.iter().cycle();
        while let Some(range) = ranges.pop() {
            let (keys, stripes, turn, part) = *steps.next().unwrap();
            let Some(leg) = range.leg(1 << stripes, turn) else {
                assert_eq!((range.cursor, range.open), (range.upto, None));
                continue;
            };
            let chunk = chunk(&leg, keys);
            if part && ranges.len() < 8 {
                let parts = range.parted(&chunk);
                assert_eq!(parts.iter().map(|part| part.aside - range.aside).sum::<i64>(), 1);
                ranges.splice(0..0, parts);
                continue;
            }
            for no in number(chunk.after.as_ref()) + 1..=number(Some(&chunk.upto)) {
                if chunk
                    .stripe
                    .is_none_or(|stripe| (no.wrapping_mul(0x9E37) >> 3) % stripe.of == stripe.no)
                {
                    *done.entry(no).or_default() += 1;
                }
            }
            ranges.push(range.after_batch(&chunk));
        }
        done
    }

    proptest! {
        #[test]
        fn every_key_is_done_exactly_once_in_whatever_passes(
            upto in 1u32..200,
            steps in prop::collection::vec((1u32..20, 0u32..4, any::<bool>(), prop::bool::weighted(0.2)), 1..60),
        ) {
            // Something must move, sooner or later.
            let mut steps = steps;
            steps.push((1, 2, true, false));
            let done = walk(upto, &steps);
            prop_assert_eq!(done.len(), upto as usize);
            prop_assert!(done.values().all(|times| *times == 1), "{:?}", done);
        }
    }

    #[test]
    fn the_first_pass_goes_on_until_it_is_turned() {
        let range = Range { upto: Some(key(9)), ..Range::default() };
        let first = range.after_batch(&chunk(&range.leg(2, false).unwrap(), 4));
        assert_eq!((&first.cursor, first.done), (&None, false));
        let on = first.leg(2, false).unwrap();
        assert_eq!((number(on.after.as_ref()), number(Some(&on.end))), (4, 9));
        let back = first.leg(2, true).unwrap();
        assert_eq!((back.after.as_ref(), number(Some(&back.end))), (None, 4));
        assert!(back.is_again());
        let over = first.after_batch(&chunk(&back, 9));
        assert_eq!((number(over.cursor.as_ref()), over.open, over.done), (4, None, false));
    }

    #[test]
    fn the_end_of_the_range_turns_by_itself_and_only_the_last_pass_ends_it() {
        let range = Range { upto: Some(key(3)), ..Range::default() };
        let first = range.after_batch(&chunk(&range.leg(2, false).unwrap(), 5));
        assert!(!first.done);
        let last = first.after_batch(&chunk(&first.leg(2, false).unwrap(), 5));
        assert!(last.done);
        assert_eq!(last.leg(2, false), None);
    }
}
