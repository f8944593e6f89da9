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
const FIRST_BREAK: Duration = Duration::from_secs(1);
const LONGEST_BREAK: Duration = Duration::from_mins(10);
/// Batches of the first pass before it turns.
const BATCHES: u32 = 2;
/// Batches of a later pass where other workers are about. Their batches that are under way when one
/// of ours commits keep its old versions alive, so its rows must not be come back to before theirs are
/// over: with four batches in between, that is so for most of them.
const IN_A_CROWD: u64 = 4;
/// Batches of it after which it turns in any case: where blocks have no rows, no number of keys is ever
/// reached, and what was read would be out of the cache when the next pass comes.
const MOST_BATCHES: u32 = 16;

/// Rows that were changed, and those of them that were HOT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Share {
    keys: u64,
    changed: u64,
    hot: u64,
}

impl Share {
    fn add(&mut self, keys: u32, outcome: &Outcome) {
        self.keys += u64::from(keys);
        self.changed += outcome.changed;
        self.hot += outcome.hot;
    }

    fn hot(self) -> f64 {
        ratio(self.hot, self.changed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "rows of one chunk are far below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn is_sparse(chunk: &Chunk, outcome: &Outcome) -> bool {
    ratio(outcome.matched, chunk.keys.into()) < SPARSE
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
    first_size: Sizer,
    later_size: Sizer,
    /// As they were at first.
    fresh_size: Sizer,
    /// Of a search along the key: the rows that it finds.
    found: Sizer,
    /// That of a search over blocks.
    blocks: Sizer,
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
            first_size: sizer.clone(),
            later_size: sizer.clone(),
            found: sizer.clone(),
            blocks: sizer.of_blocks(),
            fresh_size: sizer,
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
        let chunks = [&mut self.first_size, &mut self.later_size, &mut self.fresh_size];
        for sizer in chunks.into_iter().chain([&mut self.found, &mut self.blocks]) {
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
        // Blocks without rows say nothing of those that follow. After a search by an index that found as
        // many rows as it may, a chunk tells whether they lie close together.
        self.is_sparse =
            if self.is_served { chunk.last } else { chunk.keys == 0 || is_sparse(chunk, outcome) };
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

    /// Goes on with chunks, small at first, until they too show that few rows are to do.
    pub(super) fn stop_searching(&mut self) {
        self.is_sparse = false;
        if self.fresh_size.rows() < self.first_size.rows() {
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
            self.later.add(chunk.keys, outcome);
        } else {
            self.first.add(chunk.keys, outcome);
            self.batches += 1;
        }
        if chunk.stripe.is_none() {
            self.is_sparse = is_sparse(chunk, outcome);
        }
        if range.open.is_none() {
            self.passes = self.next(chunk.stripe.is_some(), now);
            self.begin(range);
        }
    }

    /// Returns the passes of the next chunk.
    fn next(&mut self, was_striped: bool, now: Instant) -> u32 {
        if let Stripes::Fixed(passes) = self.stripes {
            return passes;
        }
        let is_dense = ratio(self.first.changed, self.first.keys) * f64::from(self.passes) >= DENSE;
        if was_striped && self.later.changed > 0 && self.later.hot() < ENOUGH {
            let pause = self.paused.map_or(FIRST_BREAK, |(_, last)| (last * 2).min(LONGEST_BREAK));
            self.paused = Some((now, pause));
            return 1;
        }
        if was_striped {
            self.paused = None;
        }
        let is_pausing = self.paused.is_some_and(|(since, pause)| now - since < pause);
        let has_room = self.first.hot() >= BY_ITSELF;
        if is_pausing || has_room || !is_dense { 1 } else { PASSES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::{Key, Open};

    fn striper(stripes: Stripes) -> Striper {
        Striper::new(stripes, true, Sizer::fixed(100))
    }

    fn key() -> Key {
        Key::new(vec!["1".into()])
    }

    /// A batch over `keys` of `stripe` of four, none if it is a single pass, that changed `changed`
    /// rows, of which `hot` were HOT.
    fn batch(
        striper: &mut Striper,
        stripe: Option<u32>,
        keys: u32,
        (changed, hot): (u64, u64),
        now: Instant,
    ) {
        let stripe = stripe.map(|no| Stripe { no, of: 4 });
        let chunk = Chunk { after: None, upto: key(), keys, last: false, stripe };
        let outcome =
            Outcome { changed, hot, took: Duration::from_millis(20), ..Outcome::default() };
        let is_last = stripe.is_none_or(|stripe| stripe.no == 3);
        let open = stripe.map(|stripe| Open { front: key(), mark: key(), stripe });
        let range = Range { open: open.filter(|_| !is_last), ..Range::default() };
        striper.observe(&chunk, &outcome, &range, now);
    }

    /// A chunk of four passes over 400 keys, of which `hot` rows of each later pass were HOT.
    fn chunk(striper: &mut Striper, hot: u64, now: Instant) {
        batch(striper, Some(0), 400, (100, 0), now);
        for no in 1..4 {
            batch(striper, Some(no), 400, (100, hot), now);
        }
    }

    #[test]
    fn a_single_pass_comes_first_and_four_follow() {
        let (mut striper, now) = (striper(Stripes::Auto), Instant::now());
        assert_eq!(striper.passes(), 1);
        batch(&mut striper, None, 100, (100, 2), now);
        assert_eq!(striper.passes(), PASSES);
        chunk(&mut striper, 80, now);
        assert_eq!(striper.passes(), PASSES);
    }

    #[test]
    fn passes_that_do_not_pay_are_left_at_once_and_tried_again_later_and_later() {
        let (mut striper, now) = (striper(Stripes::Auto), Instant::now());
        batch(&mut striper, None, 100, (100, 0), now);
        for pause in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
            chunk(&mut striper, 20, now);
            assert_eq!(striper.passes(), 1);
            let after = |millis: u64| now + Duration::from_millis(millis);
            batch(&mut striper, None, 100, (100, 0), after(pause * 1_000 - 1));
            assert_eq!(striper.passes(), 1, "after {pause} s");
            batch(&mut striper, None, 100, (100, 0), after(pause * 1_000));
            assert_eq!(striper.passes(), PASSES, "after {pause} s");
        }
        chunk(&mut striper, 90, now);
        chunk(&mut striper, 20, now);
        batch(&mut striper, None, 100, (100, 0), now + FIRST_BREAK);
        assert_eq!(striper.passes(), PASSES, "once they have paid, the breaks begin anew");
    }

    #[test]
    fn a_table_with_room_or_with_few_rows_to_do_gets_a_single_pass() {
        for (changed, hot) in [(100, 80), (10, 0), (0, 0)] {
            let (mut striper, now) = (striper(Stripes::Auto), Instant::now());
            batch(&mut striper, None, 100, (changed, hot), now);
            assert_eq!(striper.passes(), 1, "{changed} rows, {hot} HOT");
        }
    }

    #[test]
    fn an_index_on_a_column_that_is_set_forbids_them_and_a_number_insists() {
        let now = Instant::now();
        let mut indexed = Striper::new(Stripes::Auto, false, Sizer::fixed(100));
        batch(&mut indexed, None, 100, (100, 0), now);
        assert_eq!(indexed.passes(), 1);
        let mut insisted = Striper::new(Stripes::Fixed(4), false, Sizer::fixed(100));
        chunk(&mut insisted, 0, now);
        assert_eq!(insisted.passes(), 4);
    }

    #[test]
    fn the_first_pass_turns_before_a_later_one_takes_more_than_a_batch() {
        let (mut striper, now) = (striper(Stripes::Fixed(4)), Instant::now());
        batch(&mut striper, Some(0), 400, (100, 0), now);
        assert!(!striper.has_gone_far(true));
        batch(&mut striper, Some(0), 400, (100, 0), now);
        assert!(striper.has_gone_far(true));
        assert_eq!(striper.keys_of_chunk(), Some(800));
        for _ in 0..2 {
            assert!(!striper.has_gone_far(false), "others are about");
            batch(&mut striper, Some(0), 400, (100, 0), now);
        }
        assert!(striper.has_gone_far(false));
    }

    #[test]
    fn what_is_foreseen_of_a_first_pass_turns_as_what_is_seen() {
        let (mut striper, now) = (striper(Stripes::Fixed(4)), Instant::now());
        let stripe = Some(Stripe { no: 0, of: 4 });
        let chunk = Chunk { after: None, upto: key(), keys: 400, last: false, stripe };
        for _ in 0..2 {
            let foreseen = striper.foreseen(&chunk);
            batch(&mut striper, Some(0), 400, (100, 0), now);
            let both = [&foreseen, &striper];
            assert_eq!(both.map(|it| it.has_gone_far(true)), [striper.has_gone_far(true); 2]);
            assert_eq!(both.map(Striper::keys_of_chunk), [striper.keys_of_chunk(); 2]);
        }
        assert!(striper.has_gone_far(true));
    }

    #[test]
    fn the_first_pass_turns_after_some_batches_however_few_keys_they_had() {
        let (mut striper, now) = (striper(Stripes::Fixed(4)), Instant::now());
        for _ in 1..MOST_BATCHES {
            batch(&mut striper, Some(0), 0, (0, 0), now);
        }
        assert!(!striper.has_gone_far(true));
        batch(&mut striper, Some(0), 0, (0, 0), now);
        assert!(striper.has_gone_far(true));
    }

    #[test]
    fn the_keys_of_a_chunk_that_somebody_else_began_are_not_known() {
        let mut striper = striper(Stripes::Fixed(4));
        let open = Open { front: key(), mark: key(), stripe: Stripe { no: 0, of: 4 } };
        striper.begin(&Range { open: Some(open), ..Range::default() });
        batch(&mut striper, Some(0), 400, (100, 0), Instant::now());
        assert_eq!(striper.keys_of_chunk(), None);
    }

    /// What came of a search that has found so many rows in so many milliseconds.
    fn found(matched: u64, took: u64) -> Outcome {
        Outcome { matched, took: Duration::from_millis(took), ..Outcome::default() }
    }

    #[test]
    fn a_search_learns_from_its_rows_and_not_from_the_clock_that_ends_it() {
        let sizer = Sizer::aiming_at(Duration::from_millis(20), 100, 50_000);
        let mut striper = Striper::new(Stripes::Auto, true, sizer);
        let none = Duration::ZERO;
        for (rows, matched, took, expected) in [
            (1_000, 1_000, 5, 2_000),
            (2_000, 3, 21, 2_000),
            (2_000, 0, 90, 2_000),
            (2_000, 1_500, 60, 500),
            (500, 500, 40, 250),
        ] {
            striper.observe_rows(rows, &found(matched, took), none);
            assert_eq!(striper.rows_of_search(), expected, "{matched} of {rows} in {took} ms");
        }
        striper.shrink_rows(250);
        assert_eq!(striper.rows_of_search(), 125);
        striper.observe_rows(125, &found(125, 90), Duration::from_millis(80));
        assert_eq!(striper.rows_of_search(), 250, "sorting them takes as long for fewer of them");
        striper.aim_at(Duration::from_millis(5));
        striper.observe_rows(250, &found(250, 10), none);
        assert_eq!(striper.rows_of_search(), 125, "what somebody says holds for them as well");
    }

    #[test]
    fn after_a_search_chunks_are_no_longer_than_the_first_and_no_longer_than_they_were() {
        let now = Instant::now();
        for (seen, expected) in [(100_000, 1_000), (200, 200)] {
            let sizer = Sizer::aiming_at(Duration::from_millis(20), 100, 50_000);
            let mut striper = Striper::new(Stripes::Fixed(1), true, sizer);
            for _ in 0..10 {
                let keys = striper.sizer(None).rows();
                let chunk = Chunk { after: None, upto: key(), keys, last: false, stripe: None };
                let took = Duration::from_millis(20) * keys / seen;
                let outcome = Outcome { took, ..Outcome::default() };
                striper.observe(&chunk, &outcome, &Range::default(), now);
            }
            striper.stop_searching();
            assert_eq!(striper.sizer(None).rows(), expected, "{seen} keys in the time of a batch");
        }
    }

    #[test]
    fn a_single_row_is_a_single_key_in_every_stripe() {
        let stripe = Some(Stripe { no: 2, of: 4 });
        assert_eq!((Striper::keys(stripe, 1), Striper::keys(stripe, 25)), (1, 100));
        assert_eq!((Striper::rows(stripe, 1), Striper::rows(stripe, 100)), (1, 25));
        assert_eq!((Striper::keys(None, 25), Striper::rows(None, 25)), (25, 25));
    }
}
