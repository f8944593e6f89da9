//! What the next transaction covers.

use super::key::Key;

/// A half-open stretch of keys, `(after, upto]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The last key that is done; `None` at the very beginning of the key space.
    pub after: Option<Key>,
    /// The last key of the chunk.
    pub upto: Key,
    /// How many keys it held when its end was looked up.
    pub keys: u32,
    /// Whether its range ends with it.
    pub last: bool,
}
