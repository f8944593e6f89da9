//! How many keys the next chunk has.
//!
//! It also has a bound in bytes, for rows of megabytes under a long target: what a batch writes is
//! what standbys replay at once, and what an abort throws away.
//!
//! A batch aims at a time, because people feel row locks in milliseconds and not in rows. The size
//! grows at most twofold and shrinks at once, so that a slow stretch is felt by one batch only. Time
//! limits cut it further, below the minimum and down to one row (R14, R15, F63), and so do bytes; it then
//! grows back, as far as they allow: where the minimum itself hits the limit, it would be cut off again
//! and again.

use std::time::Duration;

/// Rows of the first batch, before anything is known of the table. Small enough for wide rows with
/// many indexes (about 10 ms each 1,000 rows on a small machine), and one doubling away from more.
pub(crate) const FIRST: u32 = 1_000;

/// Blocks that are searched first: 2 MB, which are read in a few milliseconds.
const FIRST_BLOCKS: u32 = 256;

/// The WAL that a batch may write: a segment, as the server makes them by default. At full speed,
/// twenty milliseconds are a tenth of that on a small machine.
const MOST_WAL: u64 = 16 << 20;

/// The size of chunks, following the time that batches take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizer {
    rows: u32,
    min: u32,
    max: u32,
    target: Option<Duration>,
}

impl Sizer {
    /// Returns a sizer that aims at `target` per batch, within `min` and `max` rows.
    pub fn aiming_at(target: Duration, min: u32, max: u32) -> Sizer {
        Sizer { rows: FIRST.clamp(min, max), min, max, target: Some(target) }
    }

    /// Returns a sizer for batches of `rows`, whatever they take.
    pub fn fixed(rows: u32) -> Sizer {
        Sizer { rows, min: rows, max: rows, target: None }
    }

    /// Returns one for blocks of a table's file, that aims at the same time.
    pub fn of_blocks(&self) -> Sizer {
        Sizer { rows: FIRST_BLOCKS, min: 1, max: u32::MAX, target: self.target }
    }

    /// Begins smaller if rows have so many bytes that the first batch could write more than it may. What is
    /// known of rows is an average, and of values that may not be written again: the rest is learned.
    #[must_use]
    pub fn over_rows_of(self, bytes: u64) -> Sizer {
        if self.target.is_none() {
            return self;
        }
        let first = scale(1, MOST_WAL.into(), bytes.into());
        Sizer { rows: self.rows.min(first), ..self }
    }

    /// Returns the keys that the next chunk should have; at least 1.
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// Whether the size follows the time.
    pub fn is_timed(&self) -> bool {
        self.target.is_some()
    }

    /// Aims at another time from now on; a fixed size stays fixed.
    pub fn aim_at(&mut self, target: Duration) {
        if self.target.is_some() {
            self.target = Some(target);
        }
    }

    /// Learns that a batch over `rows` keys took `took`, while `wal` bytes of WAL were written.
    pub fn observe(&mut self, rows: u32, took: Duration, wal: u64) {
        let doubled = self.rows.saturating_mul(2);
        let Some(target) = self.target else {
            self.rows = doubled.min(self.max);
            return;
        };
        let in_time = scale(rows, target.as_nanos(), took.as_nanos());
        let in_bytes = scale(rows, MOST_WAL.into(), wal.into());
        // A chunk that was short for another reason (the end of the range, a rate) proves nothing
        // about much bigger ones; one whose end was looked up ahead is one step behind.
        let ceiling = rows.saturating_mul(2).clamp(self.rows, doubled);
        let floor = self.min.min(self.rows);
        self.rows = in_time.min(ceiling).max(floor).min(self.max).min(in_bytes);
    }

    /// Learns of one that ended at `rows`, or none, for another reason than its size: however little it took,
    /// more of them are no cheaper for that. Far over the target, or full of bytes, it had too many.
    pub fn observe_cut(&mut self, rows: u32, took: Duration, wal: u64) {
        let is_late = self.target.is_some_and(|target| took > target * 2);
        if rows > 0 && (is_late || wal > MOST_WAL) {
            self.observe(rows, took, wal);
        }
    }

    /// Learns that a batch over `rows` keys hit a time limit: half of that comes next, down to one.
    pub fn shrink(&mut self, rows: u32) {
        self.rows = (rows.min(self.rows) / 2).max(1);
    }
}

/// As many rows as come to `wanted` if `rows` of them come to `measured`; at least one.
fn scale(rows: u32, wanted: u128, measured: u128) -> u32 {
    let ideal = u128::from(rows) * wanted / measured.max(1);
    u32::try_from(ideal).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TARGET: Duration = Duration::from_millis(20);

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_fast_batch_doubles_the_size_and_no_more() {
        let mut sizer = Sizer::aiming_at(TARGET, 100, 50_000);
        sizer.observe(1_000, millis(1), 0);
        assert_eq!(sizer.rows(), 2_000);
    }

    #[test]
    fn a_slow_batch_shrinks_the_size_at_once() {
        let mut sizer = Sizer::aiming_at(TARGET, 100, 50_000);
        sizer.observe(1_000, millis(80), 0);
        assert_eq!(sizer.rows(), 250);
    }

    #[test]
    fn timeouts_go_below_the_minimum_and_success_comes_back() {
        let mut sizer = Sizer::aiming_at(TARGET, 100, 50_000);
        for _ in 0..20 {
            sizer.shrink(sizer.rows());
        }
        assert_eq!(sizer.rows(), 1);
        for expected in [2, 4, 8, 16, 32, 64, 128] {
            sizer.observe(sizer.rows(), millis(5), 0);
            assert_eq!(sizer.rows(), expected);
        }
        sizer.observe(128, millis(50), 0);
        assert_eq!(sizer.rows(), 100, "no time makes it smaller than the minimum");
    }

    #[test]
    fn rows_of_which_fewer_than_the_minimum_fit_into_the_time_limit_are_not_cut_off_again() {
        let (mut sizer, mut cut) = (Sizer::aiming_at(TARGET, 100, 50_000), 0);
        for _ in 0..50 {
            let rows = sizer.rows();
            if rows > 50 {
                cut += 1;
                sizer.shrink(rows);
            } else {
                sizer.observe(rows, millis(2) * rows, 0);
            }
        }
        assert_eq!((sizer.rows(), cut), (31, 5));
    }

    #[test]
    fn a_batch_that_writes_much_shrinks_whatever_time_it_may_take() {
        let mut sizer = Sizer::aiming_at(Duration::from_secs(10), 1, 50_000);
        sizer.observe(1_000, millis(900), 1_000 << 20);
        assert_eq!(sizer.rows(), 16);
        sizer.observe(16, millis(15), 16 << 20);
        assert_eq!(sizer.rows(), 16);
    }

    #[test]
    fn rows_of_megabytes_make_batches_of_fewer_than_the_minimum_and_smaller_ones_bring_it_back() {
        let mut sizer = Sizer::aiming_at(Duration::from_secs(10), 100, 50_000);
        sizer.observe(1_000, millis(900), 2_000 << 20);
        assert_eq!(sizer.rows(), 8);
        sizer.observe(8, millis(15), 16 << 20);
        assert_eq!(sizer.rows(), 8);
        for expected in [16, 32, 64, 128] {
            sizer.observe(sizer.rows(), millis(5), 1 << 10);
            assert_eq!(sizer.rows(), expected);
        }
    }

    #[test]
    fn the_first_batch_is_small_where_rows_are_large() {
        let first = |bytes| Sizer::aiming_at(TARGET, 100, 50_000).over_rows_of(bytes).rows();
        assert_eq!([first(0), first(200), first(16 << 10)], [1_000, 1_000, 1_000]);
        assert_eq!([first(64 << 10), first(1 << 20), first(1 << 30)], [256, 16, 1]);
        assert_eq!(Sizer::fixed(500).over_rows_of(1 << 30).rows(), 500, "somebody has said so");
    }

    #[test]
    fn a_short_chunk_does_not_grow_the_size() {
        let mut sizer = Sizer::aiming_at(TARGET, 100, 50_000);
        sizer.observe(10, Duration::from_micros(10), 0);
        assert_eq!(sizer.rows(), 1_000);
    }

    #[test]
    fn a_search_that_its_clock_has_ended_says_nothing_of_its_rows_unless_they_took_longer_still() {
        let after = |rows, took, wal| {
            let mut sizer = Sizer::aiming_at(TARGET, 100, 50_000);
            sizer.observe_cut(rows, millis(took), wal);
            sizer.rows()
        };
        assert_eq!([after(0, 500, 1 << 30), after(1, 21, 1 << 20), after(999, 40, 0)], [1_000; 3]);
        assert_eq!(after(900, 60, 0), 300, "what came behind the scan took twice as long");
        assert_eq!(after(900, 21, 48 << 20), 300, "the rows are large");
        assert_eq!(after(3, 300, 0), 100, "no time makes it smaller than the minimum");
    }

    #[test]
    fn a_fixed_size_comes_back_to_itself() {
        let mut sizer = Sizer::fixed(1_000);
        sizer.observe(1_000, millis(500), 0);
        assert_eq!(sizer.rows(), 1_000);
        sizer.shrink(sizer.rows());
        sizer.observe(500, millis(500), 0);
        assert_eq!(sizer.rows(), 1_000);
    }

    /// A table where a row costs `cost` µs, with a fixed cost per batch and noise.
    fn settle(cost: u64, noise: &[u64]) -> Vec<u32> {
        let mut sizer = Sizer::aiming_at(TARGET, 1, 1_000_000);
        noise
            .iter()
            .map(|percent| {
                let rows = sizer.rows();
                let exact = 500 + u64::from(rows) * cost;
                sizer.observe(rows, Duration::from_micros(exact * percent / 100), 0);
                sizer.rows()
            })
            .collect()
    }

    proptest! {
        #[test]
        fn it_never_leaves_its_bounds(
            steps in prop::collection::vec((0u64..500_000, any::<bool>()), 1..200),
            min in 1u32..500, more in 0u32..100_000,
        ) {
            let mut sizer = Sizer::aiming_at(TARGET, min, min + more);
            for (took, timeout) in steps {
                if timeout { sizer.shrink(sizer.rows()) } else { sizer.observe(sizer.rows(), Duration::from_micros(took), 0) }
                prop_assert!((1..=min + more).contains(&sizer.rows()));
            }
        }

        #[test]
        fn it_settles_near_the_target_within_twenty_batches(
            cost in 1u64..500, noise in prop::collection::vec(80u64..120, 40),
        ) {
            let ideal = 20_000.0 / f64::from(u32::try_from(cost).unwrap());
            for rows in &settle(cost, &noise)[20..] {
                let ratio = f64::from(*rows) / ideal;
                prop_assert!((0.5..=1.6).contains(&ratio), "{rows} rows, ideal {ideal}");
            }
        }

        #[test]
        fn it_is_never_three_times_over_the_target_twice_in_a_row(
            costs in prop::collection::vec(1u64..400, 2..60),
        ) {
            let mut sizer = Sizer::aiming_at(TARGET, 1, 1_000_000);
            let mut last_over = false;
            let mut last_cost = costs[0];
            for cost in costs {
                let took = Duration::from_micros(u64::from(sizer.rows()) * cost);
                let over = took > TARGET * 3 && cost <= last_cost;
                prop_assert!(!(over && last_over), "{took:?}");
                last_over = took > TARGET * 3;
                last_cost = cost;
                sizer.observe(sizer.rows(), took, 0);
            }
        }
    }
}
