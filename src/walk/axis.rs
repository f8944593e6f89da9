//! What a stretch of a walk is measured along.
//!
//! Everything that a walk sends is the same text but for this: what lies above a place and up to
//! another one, and which place is the n-th.

/// The key, or the table's file.
pub(crate) trait Axis {
    /// Returns the predicate for rows above the place bound as parameter `no`.
    fn above(&self, no: usize) -> String;

    /// Returns the predicate for rows up to the place bound as parameter `no`, inclusive.
    fn upto(&self, no: usize) -> String;

    /// Returns the query for the place of the n-th row of a stretch: parameters are n - 1, the upper
    /// end, and, unless the stretch begins where the axis does, its lower end. No row, or NULL, if it
    /// has fewer; a second column says how many rows are up to that place, if it may be fewer.
    fn nth(&self, has_lower: bool) -> String;
}
