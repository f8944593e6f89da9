//! A slice of the key space that one worker walks, and the proof that slices leave no gap.

use super::key::Key;

/// A range as the ledger has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    /// Its number within the run.
    pub no: i64,
    /// 0 for the walk itself, from 1 for a sweep.
    pub pass: i64,
    /// Keys up to here belong to somebody else; `None` at the beginning of the key space.
    pub after: Option<Key>,
    /// Its last key; `None` only if the table was empty.
    pub upto: Option<Key>,
    /// The last key committed; `None` before the first batch.
    pub cursor: Option<Key>,
    /// How many times the cursor moved: the fence of the next batch.
    pub rev: i64,
    /// Whether no key is left between cursor and end.
    pub done: bool,
}

impl Range {
    /// Returns the key after which the next chunk begins.
    pub(crate) fn position(&self) -> Option<&Key> {
        self.cursor.as_ref().or(self.after.as_ref())
    }
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
    /// One has not been walked to its end.
    #[error("range {0} is not at its end")]
    Unfinished(i64),
}

/// Checks that `ranges`, in the order of their numbers, begin at the start of the key space, follow
/// each other without gap or overlap, and have all been walked to their ends.
///
/// # Errors
/// The first range at which that is not so.
pub(crate) fn tiles(ranges: &[Range]) -> Result<(), Gap> {
    let first = ranges.first().ok_or(Gap::Nothing)?;
    if first.after.is_some() {
        return Err(Gap::Start(first.no));
    }
    for pair in ranges.windows(2) {
        if pair[0].upto.is_none() || pair[0].upto != pair[1].after {
            return Err(Gap::Between(pair[1].no));
        }
    }
    match ranges.iter().find(|range| !range.done || range.cursor != range.upto) {
        Some(range) => Err(Gap::Unfinished(range.no)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &str) -> Key {
        Key::new(vec![value.to_owned()])
    }

    fn range(no: i64, after: Option<Key>, upto: Option<Key>) -> Range {
        Range { no, pass: 0, after, cursor: upto.clone(), upto, rev: 1, done: true }
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
    fn an_empty_table_has_one_range_without_end() {
        assert_eq!(tiles(&[range(0, None, None)]), Ok(()));
    }
}
