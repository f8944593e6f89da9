//! What came of a batch.

use std::time::Duration;

/// The rows of one committed batch, as its transaction counted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// How long it took on the server, without the network.
    pub took: Duration,
    /// Rows that it went through, and no pass before it.
    pub seen: u64,
    /// Rows that were to be done.
    pub matched: u64,
    /// Rows that were rewritten.
    pub changed: u64,
    /// Those of them whose new version needed no new entry in an index.
    pub hot: u64,
    /// Bytes of WAL that the server wrote meanwhile: those of the batch, and of whoever else wrote.
    pub wal: u64,
    /// Rows that were left as they are: suppressed by a trigger, or changed by somebody meanwhile.
    pub unchanged: u64,
    /// Rows recorded in the ledger instead of written.
    pub quarantined: u64,
    /// Rows for which `where` is still true after the change.
    pub still: u64,
}

impl Outcome {
    /// Whether every row is accounted for; nothing is lost silently.
    pub fn is_balanced(&self) -> bool {
        self.matched == self.changed + self.unchanged + self.quarantined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_not_accounted_for_is_seen() {
        let whole = Outcome { matched: 3, changed: 2, unchanged: 1, ..Outcome::default() };
        assert!(whole.is_balanced());
        assert!(!Outcome { matched: 4, ..whole }.is_balanced());
    }
}
