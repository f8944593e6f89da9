//! Whether `where` says what is left to do, or only which rows are meant.
//!
//! `loc IS NULL` is no longer true of a row that was done; `kind = 'a'` still is. Sweeping rows for
//! which a mere filter is true would do them twice, so it must be known, not guessed: every batch
//! counts, in its own statement, the rows that still match after the change.

/// What `where` has turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    /// There is none: every row is meant.
    Absent,
    /// A row that is done no longer matches: rows that match are left to do, and may be swept.
    Proven,
    /// Every row that is done still matches: nothing follows from a match, and nothing may be swept.
    Filter,
    /// Some rows that are done still match and some do not: nothing follows, and nothing may be swept.
    Mixed,
    /// No row was changed yet, so nothing is known: nothing may be swept.
    Unproven,
}

impl Pending {
    /// Decides from the rows that all committed batches changed, and those that still matched.
    pub fn of(has_where: bool, changed: u64, still: u64) -> Pending {
        match (has_where, changed, still) {
            (false, _, _) => Pending::Absent,
            (true, changed, still @ 1..) if still == changed => Pending::Filter,
            (true, _, 1..) => Pending::Mixed,
            (true, 0, 0) => Pending::Unproven,
            (true, 1.., 0) => Pending::Proven,
        }
    }

    /// Whether a row for which `where` is true after the walk has been missed.
    pub fn is_checked(self) -> bool {
        matches!(self, Pending::Proven | Pending::Unproven)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_that_still_matches_is_enough_to_know_nothing() {
        assert_eq!(Pending::of(true, 1_000_000, 1), Pending::Mixed);
        assert_eq!(Pending::of(true, 1_000_000, 1_000_000), Pending::Filter);
        assert_eq!(Pending::of(true, 1_000_000, 0), Pending::Proven);
    }

    #[test]
    fn without_a_changed_row_nothing_is_known() {
        assert_eq!(Pending::of(true, 0, 0), Pending::Unproven);
        assert_eq!(Pending::of(false, 0, 0), Pending::Absent);
    }
}
