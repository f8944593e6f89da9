//! The search for rows that cannot be done, by whole transactions (R14, R17).
//!
//! A chunk that failed holds one, and so does the rest of it when its first half could be done: each
//! transaction halves what is left to look through. Where one row is bad, those beside it often are,
//! too, so behind it chunks are as long as the stretch that was good before it, and grow from there.
//! Rows one beside the other cost one try each; one in a thousand costs a dozen. Pure.

/// The keys of a chunk beyond which bad rows are far apart, and nothing is said of it any more.
const FAR: u32 = 1 << 16;

/// What is known of bad rows ahead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Suspect {
    /// The next keys, of which at least one is known to be bad; 0 when nothing is suspected.
    left: u32,
    /// The most keys of a chunk after a bad row; 0 for any number.
    reach: u32,
    /// Keys that were good since the last bad row.
    since: u32,
}

impl Suspect {
    /// Returns the keys that the next chunk may have.
    pub(super) fn cap(self, rows: u32) -> u32 {
        match self {
            Suspect { left: 1.., .. } => rows.min((self.left / 2).max(1)),
            Suspect { reach: 1.., .. } => rows.min(self.reach),
            Suspect { .. } => rows,
        }
    }

    /// Whether bad rows are searched for, or may be near.
    pub(super) fn is_on(self) -> bool {
        self.left > 0 || self.reach > 0
    }

    /// A chunk of `keys` holds a row that cannot be done.
    pub(super) fn halve(&mut self, keys: u32) {
        self.left = keys;
    }

    /// A chunk of `keys` was committed.
    pub(super) fn clear(&mut self, keys: u32) {
        self.since = self.since.saturating_add(keys);
        if self.left > 0 {
            self.left = self.left.saturating_sub(keys);
        } else {
            self.reach = self.reach.checked_mul(2).filter(|reach| *reach <= FAR).unwrap_or(0);
        }
    }

    /// The next key was bad, and was passed.
    pub(super) fn pass(&mut self) {
        *self = Suspect { left: 0, reach: self.since.max(1), since: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Walks over `keys` in chunks of `rows`; returns the bad ones in the order in which they were met,
    /// and the transactions: batches that were committed or failed, and one for each record.
    fn walk(keys: u32, rows: u32, bad: &BTreeSet<u32>) -> (Vec<u32>, u32) {
        let (mut suspect, mut cursor, mut met, mut transactions) =
            (Suspect::default(), 0, Vec::new(), 0);
        while cursor < keys {
            let chunk = suspect.cap(rows).min(keys - cursor);
            transactions += 1;
            if bad.range(cursor..cursor + chunk).next().is_none() {
                suspect.clear(chunk);
                cursor += chunk;
            } else if chunk > 1 {
                suspect.halve(chunk);
            } else {
                suspect.pass();
                met.push(cursor);
                transactions += 1;
                cursor += 1;
            }
        }
        (met, transactions)
    }

    fn every(nth: usize, from: u32, to: u32) -> BTreeSet<u32> {
        (from..to).step_by(nth).collect()
    }

    #[test]
    fn a_single_bad_row_costs_a_dozen_transactions() {
        for at in [0, 1, 499, 500, 999] {
            let (met, transactions) = walk(1_000, 1_000, &BTreeSet::from([at]));
            assert_eq!(met, [at]);
            // Eleven to find it, one to record it, and those that grow again behind it.
            assert!(transactions <= 12 + 10, "{transactions} for {at}");
        }
    }

    #[test]
    fn neighbours_cost_two_transactions_each() {
        let (met, transactions) = walk(100_000, 1_000, &every(1, 50_000, 50_100));
        assert_eq!(met.len(), 100);
        assert!(transactions < 100 + 2 * 100 + 30, "{transactions}");
        let (met, transactions) = walk(200, 100_000, &every(1, 0, 200));
        assert_eq!(met.len(), 200);
        assert!(transactions < 2 * 200 + 20, "{transactions}");
    }

    #[test]
    fn the_farther_they_are_apart_the_more_each_costs_by_a_logarithm() {
        for (nth, each) in [(10, 8), (100, 13), (1_000, 16)] {
            let (met, transactions) = walk(100_000, 1_000, &every(nth, 3, 100_000));
            let all = u32::try_from(met.len()).unwrap();
            assert!(transactions <= all * each + 100, "{transactions} for every {nth}th");
        }
    }

    proptest! {
        #[test]
        fn every_bad_row_is_met_once_and_in_bounds(
            keys in 1u32..5_000, rows in 1u32..5_000, bad in prop::collection::btree_set(0u32..5_000, 0..60),
        ) {
            let bad: BTreeSet<_> = bad.into_iter().filter(|at| *at < keys).collect();
            let (met, transactions) = walk(keys, rows, &bad);
            prop_assert_eq!(&met, &bad.iter().copied().collect::<Vec<_>>());
            // What each bad row costs at most: to fail, to halve, to record, and to grow again.
            let each = 2 * (33 - rows.leading_zeros()) + 3;
            let all = u32::try_from(bad.len()).unwrap();
            prop_assert!(transactions <= keys.div_ceil(rows) + all * each, "{} transactions", transactions);
        }
    }
}
