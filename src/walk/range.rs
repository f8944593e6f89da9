//! A slice of the key space that one worker walks, and the proof that slices leave no gap.

use super::chunk::Stripe;
use super::key::Key;

/// A range as the ledger has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// Its number within the run.
    pub no: i64,
    /// 0 for the walk itself, from 1 for a sweep.
    pub pass: i64,
    /// Keys up to here belong to somebody else; `None` at the beginning of the key space.
    pub after: Option<Key>,
    /// Its last key; `None` only if the table was empty.
    pub upto: Option<Key>,
    /// The last key up to which everything is done; `None` before the first batch.
    pub cursor: Option<Key>,
    /// What is done in part behind it.
    pub open: Option<Open>,
    /// How many times it moved: the fence of the next batch.
    pub rev: i64,
    /// Whether no key is left between cursor and end.
    pub done: bool,
    /// How many times it was put aside, because somebody had locked its rows.
    pub aside: i64,
    /// Whether it has no keys of its own, but rows of the quarantine that are tried again.
    pub is_requeued: bool,
    /// How many rows were changed in it.
    pub changed: i64,
}

/// A chunk that is being done in stripes, and how far that is.
///
/// Between the range's position and `front`, the stripes before `stripe` are done; and this one is,
/// up to `mark`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Open {
    /// Its last key so far: the first pass moves it.
    pub front: Key,
    /// The last key of the pass under way that is done.
    pub mark: Key,
    /// The pass under way.
    pub stripe: Stripe,
}

impl Open {
    /// Whether the pass under way has done all of it, so that the next one may begin.
    pub(crate) fn is_whole(&self) -> bool {
        self.mark == self.front
    }
}

impl Range {
    /// Returns the key up to which everything is done.
    pub(crate) fn position(&self) -> Option<&Key> {
        self.cursor.as_ref().or(self.after.as_ref())
    }
}

/// The ranges of a walk, and where it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Its ranges.
    pub ranges: Vec<Range>,
    /// Its last key, noted apart from them; `None` if that is not known, or the table was empty.
    pub upto: Option<Key>,
}

/// Why ranges do not cover the key space once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Gap {
    /// No range at all.
    #[error("the run has no range")]
    Nothing,
    /// The first does not begin where the key space does.
    #[error("range {0} does not begin at the start of the key space")]
    Start(i64),
    /// One does not begin where the one before it ends.
    #[error("range {0} does not begin where the range before it ends")]
    Between(i64),
    /// The last does not end where the walk does.
    #[error("no range ends where the walk does, at key {0}")]
    End(Key),
    /// One has not been walked to its end.
    #[error("range {0} is not at its end")]
    Unfinished(i64),
}

impl Walk {
    /// Checks that its ranges begin at the start of the key space, and follow each other without gap or
    /// overlap to its end. Their numbers say nothing of their order.
    ///
    /// # Errors
    /// The first range at which that is not so.
    pub(crate) fn follows(&self) -> Result<(), Gap> {
        let mut left: Vec<&Range> = self.ranges.iter().collect();
        let first = left.first().ok_or(Gap::Nothing)?.no;
        let mut end: Option<&Key> = None;
        while !left.is_empty() {
            let next = left.iter().position(|range| range.after.as_ref() == end);
            let Some(next) = next else {
                return Err(end.map_or(Gap::Start(first), |_| Gap::Between(left[0].no)));
            };
            let range = left.swap_remove(next);
            if range.upto.is_none() && !left.is_empty() {
                return Err(Gap::Between(left[0].no));
            }
            end = range.upto.as_ref();
        }
        match self.upto.as_ref().filter(|upto| end != Some(*upto)) {
            Some(upto) => Err(Gap::End(upto.clone())),
            None => Ok(()),
        }
    }

    /// Checks that its ranges [follow](Walk::follows) each other, and have all been walked to their ends.
    ///
    /// # Errors
    /// The first range at which that is not so.
    pub(crate) fn tiles(&self) -> Result<(), Gap> {
        self.follows()?;
        match self.ranges.iter().find(|range| !range.done || range.cursor != range.upto) {
            Some(range) => Err(Gap::Unfinished(range.no)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(value: &str) -> Key {
        Key::new(vec![value.to_owned()])
    }

    fn range(no: i64, after: Option<Key>, upto: Option<Key>) -> Range {
        Range { no, after, cursor: upto.clone(), upto, rev: 1, done: true, ..Range::default() }
    }

    fn tiles(ranges: &[Range]) -> Result<(), Gap> {
        Walk { ranges: ranges.to_vec(), upto: None }.tiles()
    }

    #[test]
    fn ranges_that_follow_each_other_tile() {
        let ranges = [range(0, None, Some(key("5"))), range(1, Some(key("5")), Some(key("9")))];
        assert_eq!(tiles(&ranges), Ok(()));
    }

    #[test]
    fn a_gap_or_an_overlap_of_one_is_seen() {
        let ranges = [range(0, None, Some(key("5"))), range(1, Some(key("6")), Some(key("9")))];
        assert_eq!(tiles(&ranges), Err(Gap::Between(1)));
        assert_eq!(tiles(&ranges[1..]), Err(Gap::Start(1)));
        assert_eq!(tiles(&[]), Err(Gap::Nothing));
    }

    #[test]
    fn a_range_whose_cursor_is_not_at_its_end_is_seen() {
        let mut short = range(0, None, Some(key("5")));
        short.cursor = Some(key("4"));
        assert_eq!(tiles(&[short]), Err(Gap::Unfinished(0)));
    }

    #[test]
    fn the_numbers_of_ranges_need_not_follow_the_keys() {
        let ranges = [
            range(0, None, Some(key("2"))),
            range(1, Some(key("5")), Some(key("9"))),
            range(2, Some(key("2")), Some(key("5"))),
        ];
        assert_eq!(tiles(&ranges), Ok(()));
    }

    #[test]
    fn two_ranges_over_the_same_keys_do_not_tile() {
        let twice = [
            range(0, None, Some(key("5"))),
            range(1, Some(key("5")), Some(key("9"))),
            range(2, Some(key("5")), Some(key("9"))),
        ];
        assert!(matches!(tiles(&twice), Err(Gap::Between(_))));
        let whole_twice = [range(0, None, Some(key("5"))), range(1, None, Some(key("5")))];
        assert!(matches!(tiles(&whole_twice), Err(Gap::Between(_))));
    }

    proptest! {
        #[test]
        fn ranges_cut_anywhere_and_told_in_any_order_tile_and_without_one_they_do_not(
            cuts in prop::collection::btree_set(0u32..1_000, 0..63), seed: u64,
        ) {
            let ends: Vec<_> = cuts.iter().map(|cut| key(&cut.to_string())).chain([key("end")]).collect();
            let starts = std::iter::once(None).chain(ends.iter().cloned().map(Some));
            let ranges = starts.zip(&ends).enumerate();
            let mut ranges: Vec<_> =
                ranges.map(|(no, (after, upto))| range(i64::try_from(no).unwrap(), after, Some(upto.clone()))).collect();
            fastrand::Rng::with_seed(seed).shuffle(&mut ranges);
            let mut walk = Walk { ranges, upto: ends.last().cloned() };
            prop_assert_eq!(walk.tiles(), Ok(()));
            let lost = fastrand::Rng::with_seed(seed).usize(..walk.ranges.len());
            walk.ranges.remove(lost);
            prop_assert!(walk.follows().is_err());
        }
    }

    #[test]
    fn a_lost_last_range_is_seen_where_the_end_was_noted() {
        let ranges = vec![range(0, None, Some(key("5")))];
        let walk = |upto| Walk { ranges: ranges.clone(), upto };
        assert_eq!(walk(Some(key("9"))).follows(), Err(Gap::End(key("9"))));
        assert_eq!(walk(Some(key("5"))).follows(), Ok(()));
        assert_eq!(walk(None).follows(), Ok(()), "an older release has noted no end");
    }

    #[test]
    fn an_empty_table_has_one_range_without_end() {
        assert_eq!(tiles(&[range(0, None, None)]), Ok(()));
    }
}
