//! In how many passes the next chunk is done, and how long they are.
//!
//! Between two passes the server can prune the pages of the first, so that the rows of the second
//! find room where they are, and need no new entries in the indexes (HOT). That pays only where no
//! index covers a column that is set, where the page has rows for each pass, and as long as nothing
//! pins the old versions. What pays is not predicted: the share of HOT updates says it, chunk after
//! chunk. Pure: values in, values out; the time is given.

use std::time::{Duration, Instant};

use crate::job::Stripes;
use crate::run::Outcome;
use crate::walk::{Chunk, DENSE, PASSES, Range, Sizer, Stripe};

/// The share of HOT updates in the later passes, below which they are not worth their reads.
const ENOUGH: f64 = 0.5;
/// The share of HOT updates in one pass, above which there is room enough without more of them.
const BY_ITSELF: f64 = 0.7;
/// The share of the keys below which rows are searched for, rather than chunks gone through.
const SPARSE: f64 = 0.05;
/// How long a single pass is made after several did not pay, before they are tried again; each time
/// twice as long, up to the longest.
const FIRST_BREAK: Duration = Duration::from_millis(100);
const LONGEST_BREAK: Duration = Duration::from_mins(10);
/// Batches of the first pass before it turns.
const BATCHES: u32 = 2;
/// Batches of a later pass where other workers are about. Their batches that are under way when one
/// of ours commits keep its old versions alive, so its rows must not be come back to before theirs are
/// over: with four batches in between that is so for most of them, and the rest of a range is shorter.
const IN_A_CROWD: u64 = 6;
/// Batches of it after which it turns in any case: where blocks have no rows, no number of keys is ever
/// reached, and what was read would be out of the cache when the next pass comes.
const MOST_BATCHES: u32 = 16;

/// Keys that were gone over, the rows that were to do, those that were changed, and those of them that were HOT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    keys: u64,
    matched: u64,
    changed: u64,
    hot: u64,
}

impl Share {
    fn of(chunk: &Chunk, outcome: &Outcome) -> Share {
        let mut share = Share::default();
        share.add(chunk, outcome);
        share
    }

    fn add(&mut self, chunk: &Chunk, outcome: &Outcome) {
        self.keys += u64::from(chunk.keys);
        self.matched += outcome.matched;
        self.changed += outcome.changed;
        self.hot += outcome.hot;
    }

    /// Whether few of the keys were to do, where it is one of so many passes.
    fn is_sparse(self, passes: u32) -> bool {
        ratio(self.matched * u64::from(passes), self.keys) < SPARSE
    }

    fn hot(self) -> f64 {
        ratio(self.hot, self.changed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "rows of one chunk are far below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Chooses stripes for one range after the other.
#[derive(Debug, Clone)]
pub(super) struct Striper {
    stripes: Stripes,
    /// Passes of the next chunk.
    passes: u32,
    /// The first pass over the chunk that is open, or the last single one.
    first: Share,
    /// Batches of it.
    batches: u32,
    /// Whether all of them were seen.
    is_known: bool,
    /// The other passes over it.
    later: Share,
    /// Since when a single pass has been made because several did not pay, and for how long.
    paused: Option<(Instant, Duration)>,
    /// The later passes over the chunk before, if they paid.
    before: Option<Share>,
    first_size: Sizer,
    later_size: Sizer,
    /// As they were at first.
    fresh_size: Sizer,
    /// Of a search along the key: the rows that it finds.
    found: Sizer,
    /// That of a search over blocks.
    blocks: Sizer,
    /// How often searching was stopped since the last search that was committed.
    stopped: u32,
    /// Whether few rows were to do lately.
    is_sparse: bool,
    /// Whether an index finds them: then a search says nothing of what lies in between.
    is_served: bool,
}

impl Striper {
    /// Returns the one for a walk whose batches have the size that `sizer` learns.
    pub(super) fn new(stripes: Stripes, can_be_hot: bool, sizer: Sizer) -> Striper {
        let (stripes, passes) = match stripes {
            Stripes::Auto if !can_be_hot => (Stripes::Fixed(1), 1),
            Stripes::Auto => (Stripes::Auto, 1),
            Stripes::Fixed(passes) => (stripes, passes),
        };
        Striper {
            stripes,
            passes,
            first: Share::default(),
            batches: 0,
            is_known: true,
            later: Share::default(),
            paused: None,
            before: None,
            first_size: sizer.clone(),
            later_size: sizer.clone(),
            found: sizer.clone(),
            blocks: sizer.of_blocks(),
            fresh_size: sizer,
            stopped: 0,
            is_sparse: false,
            is_served: false,
        }
    }

    /// Begins with a search, since an index finds the rows that are to do, and they should be few.
    pub(super) fn served(self, is_served: bool) -> Striper {
        Striper { is_served, is_sparse: is_served, ..self }
    }

    /// Returns the passes of a chunk that begins now.
    pub(super) fn passes(&self) -> u32 {
        self.passes
    }

    /// Whether the first pass has gone far enough: one more batch of it, and a later pass would take
    /// more than one, or more than are needed in a crowd.
    pub(super) fn has_gone_far(&self, is_alone: bool) -> bool {
        let keys = |sizer: &Sizer| u64::from(sizer.rows()) * u64::from(self.passes);
        if self.batches >= MOST_BATCHES {
            return true;
        }
        let batches = if is_alone { 1 } else { IN_A_CROWD };
        self.batches >= BATCHES
            && self.first.keys + keys(&self.first_size) > keys(&self.later_size) * batches
    }

    /// Aims at another time from now on.
    pub(super) fn aim_at(&mut self, target: Duration) {
        let Striper { first_size, later_size, fresh_size, found, blocks, .. } = self;
        for sizer in [first_size, later_size, fresh_size, found, blocks] {
            sizer.aim_at(target);
        }
    }

    /// The sizer of batches of `stripe`.
    pub(super) fn sizer(&mut self, stripe: Option<Stripe>) -> &mut Sizer {
        if stripe.is_some_and(Stripe::is_again) {
            &mut self.later_size
        } else {
            &mut self.first_size
        }
    }

    /// Whether batches are as long as a time says.
    pub(super) fn is_timed(&self) -> bool {
        self.fresh_size.is_timed()
    }

    /// Returns the keys that hold `rows` of the rows of `stripe`; a single row is a single key.
    pub(super) fn keys(stripe: Option<Stripe>, rows: u32) -> u32 {
        let passes = stripe.map_or(1, |stripe| stripe.of);
        if rows == 1 { 1 } else { rows.saturating_mul(passes) }
    }

    /// Returns the rows of `keys` that are of `stripe`; at least one.
    pub(super) fn rows(stripe: Option<Stripe>, keys: u32) -> u32 {
        stripe.map_or(keys, |stripe| keys.div_ceil(stripe.of)).max(1)
    }

    /// Whether to search for rows: if few were to do lately, and there is a time to do it in.
    pub(super) fn is_searching(&self, range: &Range) -> bool {
        self.is_sparse && range.open.is_none() && self.is_timed()
    }

    /// Returns how many rows a search along the key ends at.
    pub(super) fn rows_of_search(&self) -> u32 {
        self.found.rows()
    }

    /// Returns how many blocks a search of the file goes over.
    pub(super) fn blocks_of_search(&self) -> u32 {
        self.blocks.rows()
    }

    /// Learns what came of a search.
    pub(super) fn observe_search(&mut self, chunk: &Chunk, outcome: &Outcome) {
        self.stopped = 0;
        // Blocks without rows say nothing of those that follow. After a search by an index that found as
        // many rows as it may, a chunk tells whether they lie close together.
        self.is_sparse =
            if self.is_served { chunk.last } else { Share::of(chunk, outcome).is_sparse(1) };
        if !self.is_sparse {
            self.stop_searching();
        }
    }

    /// Learns what it took to find and do the rows of a search that ends at `rows` of them, beyond the time
    /// `before` its clock began to run: that is the price of a search, however many they are.
    pub(super) fn observe_rows(&mut self, rows: u32, outcome: &Outcome, before: Duration) {
        let matched = u32::try_from(outcome.matched).unwrap_or(u32::MAX);
        let took = outcome.took.saturating_sub(before);
        if matched >= rows {
            self.found.observe(rows, took, outcome.wal);
        } else {
            self.found.observe_cut(matched, took, outcome.wal);
        }
    }

    /// Learns that a search for so many rows took too long.
    pub(super) fn shrink_rows(&mut self, rows: u32) {
        self.found.shrink(rows);
    }

    /// Learns how long it took to search so many blocks.
    pub(super) fn observe_blocks(&mut self, blocks: u32, outcome: &Outcome) {
        self.blocks.observe(blocks, outcome.took, outcome.wal);
    }

    /// Learns that a search over so many blocks took too long.
    pub(super) fn shrink_blocks(&mut self, blocks: u32) {
        self.blocks.shrink(blocks);
    }

    /// Goes on with chunks, until they too show that few rows are to do. They are small at first, but grow from one search
    /// that is rolled back to the next: what is in its way may be far ahead.
    pub(super) fn stop_searching(&mut self) {
        self.is_sparse = false;
        self.stopped = self.stopped.saturating_add(1);
        if self.stopped == 1 && self.fresh_size.rows() < self.first_size.rows() {
            self.first_size = self.fresh_size.clone();
        }
    }

    /// Returns the keys of the chunk that is open, if its first pass was seen from the beginning.
    pub(super) fn keys_of_chunk(&self) -> Option<u32> {
        u32::try_from(self.first.keys).ok().filter(|_| self.is_known)
    }

    /// Forgets what was open: the walk goes on from `range`.
    pub(super) fn begin(&mut self, range: &Range) {
        (self.first, self.later, self.batches) = (Share::default(), Share::default(), 0);
        self.is_known = range.open.is_none();
    }

    /// Returns what it will be after a batch over `chunk`, as far as that is known before.
    pub(super) fn foreseen(&self, chunk: &Chunk) -> Striper {
        let mut next = self.clone();
        if !chunk.stripe.is_some_and(Stripe::is_again) {
            next.first.keys += u64::from(chunk.keys);
            next.batches += 1;
        }
        next
    }

    /// Learns what came of a batch, after which the walk is at `range`.
    pub(super) fn observe(
        &mut self,
        chunk: &Chunk,
        outcome: &Outcome,
        range: &Range,
        now: Instant,
    ) {
        let rows = Striper::rows(chunk.stripe, chunk.keys);
        self.sizer(chunk.stripe).observe(rows, outcome.took, outcome.wal);
        if chunk.stripe.is_some_and(Stripe::is_again) {
            self.later.add(chunk, outcome);
        } else {
            self.first.add(chunk, outcome);
            self.batches += 1;
        }
        if range.open.is_none() {
            if self.is_known {
                self.is_sparse = self.first.is_sparse(chunk.stripe.map_or(1, |stripe| stripe.of));
            }
            self.passes = self.next(chunk.stripe.is_some(), now);
            self.begin(range);
        }
    }

    /// Whether the later passes were not worth their reads, with those of the chunk before if there was one: a
    /// transaction of somebody else spoils now and then a pass, and says nothing of the next.
    fn does_not_pay(&self) -> bool {
        let hot = self.later.hot();
        let lately = self.before.map_or(hot, |before| f64::midpoint(before.hot(), hot));
        self.later.changed > 0 && lately < ENOUGH
    }

    /// Returns the passes of the next chunk.
    fn next(&mut self, was_striped: bool, now: Instant) -> u32 {
        if let Stripes::Fixed(passes) = self.stripes {
            return passes;
        }
        let is_dense = ratio(self.first.changed, self.first.keys) * f64::from(self.passes) >= DENSE;
        if was_striped && self.does_not_pay() {
            self.before = None;
            let pause = self.paused.map_or(FIRST_BREAK, |(_, last)| (last * 2).min(LONGEST_BREAK));
            self.paused = Some((now, pause));
            return 1;
        }
        if was_striped {
            self.before = Some(self.later);
            self.paused = None;
        }
        let is_pausing = self.paused.is_some_and(|(since, pause)| now - since < pause);
        let has_room = self.first.hot() >= BY_ITSELF;
        if is_pausing || has_room || !is_dense { 1 } else { PASSES }
    }
}

#[cfg(test)]
#[path = "striper_tests.rs"]
mod tests;
