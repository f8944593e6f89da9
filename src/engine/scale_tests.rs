//! The pure core over a billion rows: the cut into ranges, legs, chunks, stripes and sizes, with a server
//! that is arithmetic.

use std::time::{Duration, Instant};

use super::striper::Striper;
use crate::job::Stripes;
use crate::run::Outcome;
use crate::walk::{Chunk, Key, Leg, Range, Sizer, Walk};

const ROWS: u64 = 1_000_000_000;
const RANGES: u64 = 64;

/// A table whose keys are a function of the place in their order.
struct Table {
    key: fn(u64) -> u128,
}

impl Table {
    fn key(&self, place: u64) -> Key {
        Key::new(vec![(self.key)(place).to_string()])
    }

    /// How many rows have keys up to this one.
    fn upto(&self, key: &Key) -> u64 {
        let key: u128 = key.values()[0].parse().unwrap();
        let (mut low, mut high) = (0, ROWS);
        while low < high {
            let middle = u64::midpoint(low, high);
            if (self.key)(middle) <= key { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// What the server finds as the end of the next chunk.
    fn chunk(&self, leg: Leg, keys: u32) -> (Chunk, u64, u64) {
        let from = leg.after.as_ref().map_or(0, |key| self.upto(key));
        let to = self.upto(&leg.end);
        let (to, last) =
            if to - from > u64::from(keys) { (from + u64::from(keys), false) } else { (to, true) };
        let upto = if last { leg.end } else { self.key(to - 1) };
        let keys = u32::try_from(to - from).unwrap();
        (Chunk { after: leg.after, upto, keys, last, stripe: leg.stripe }, from, to)
    }

    fn ranges(&self) -> Vec<Range> {
        let end = |no: u64| self.key((no + 1) * ROWS / RANGES - 1);
        let range = |no: u64| Range {
            no: no.cast_signed(),
            after: no.checked_sub(1).map(end),
            upto: Some(end(no)),
            ..Range::default()
        };
        (0..RANGES).map(range).collect()
    }
}

/// The rows in `from..to` that are of the stripe of a chunk.
fn rows(chunk: &Chunk, from: u64, to: u64) -> u64 {
    let Some(stripe) = chunk.stripe else { return to - from };
    let (no, of) = (u64::from(stripe.no), u64::from(stripe.of));
    let below = |end: u64| (end + of - 1 - no) / of;
    below(to) - below(from)
}

/// Five microseconds a row, half of it where it is HOT, one for each key that is passed.
fn outcome(chunk: &Chunk, changed: u64) -> Outcome {
    let hot = if chunk.stripe.is_some_and(|stripe| stripe.no > 0) { changed * 9 / 10 } else { 0 };
    let nanos = changed * 5_000 - hot * 2_500 + u64::from(chunk.keys) * 100;
    let took = Duration::from_nanos(nanos);
    Outcome { took, matched: changed, changed, hot, wal: changed * 100, ..Outcome::default() }
}

/// Walks all of it; returns rows done, and batches.
fn walk(table: &Table) -> (u64, u64) {
    let sizer = Sizer::aiming_at(Duration::from_millis(20), 100, 50_000);
    let mut striper = Striper::new(Stripes::Auto, true, sizer);
    let (mut done, mut batches, start) = (0, 0, Instant::now());
    let mut ranges = table.ranges();
    for range in &mut ranges {
        striper.begin(range);
        while let Some(leg) = range.leg(striper.passes(), striper.has_gone_far(true)) {
            let size = striper.sizer(leg.stripe).rows();
            let (chunk, from, to) = table.chunk(leg.clone(), Striper::keys(leg.stripe, size));
            let changed = rows(&chunk, from, to);
            let after = range.after_batch(&chunk);
            striper.observe(&chunk, &outcome(&chunk, changed), &after, start);
            (done, batches, *range) = (done + changed, batches + 1, after);
        }
    }
    let upto = ranges.last().and_then(|last| last.upto.clone());
    Walk { ranges, upto }.tiles().unwrap();
    (done, batches)
}

#[test]
fn a_billion_rows_are_done_once_each_in_batches_of_a_size_and_in_no_more_ranges() {
    type Keys = fn(u64) -> u128;
    let tables: [(&str, Keys); 4] = [
        ("dense", |place| place.into()),
        ("gaps", |place| u128::from(place) * 1_000 + u128::from(place % 7)),
        // Nine rows of ten in a hundredth of the keys.
        ("clustered", |place| {
            let dense = ROWS / 10 * 9;
            u128::from(place.min(dense)) + u128::from(place.saturating_sub(dense)) * 1_000
        }),
        ("uuid", |place| (u128::MAX / u128::from(ROWS)) * u128::from(place) + 12_345),
    ];
    for (name, key) in tables {
        let (done, batches) = walk(&Table { key });
        assert_eq!(done, ROWS, "{name}");
        let rows = ROWS / batches;
        assert!((3_000..10_000).contains(&rows), "{name}: {rows} rows a batch");
    }
}
