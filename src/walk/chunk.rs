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
    /// Whether the stretch that it was cut from ends with it.
    pub last: bool,
    /// The stripe of its keys that is done; `None` for all of them.
    pub stripe: Option<Stripe>,
}

/// The passes over a chunk that are tried first: with four, three quarters of the rows can be HOT.
pub(crate) const PASSES: u32 = 4;

/// The share of the keys that must be to do for several passes: over rows of which few are to do, each
/// pass finds them far apart.
pub(crate) const DENSE: f64 = 0.25;

/// One pass of several over the same keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripe {
    /// Which one, from 0.
    pub no: u32,
    /// Of how many: a power of two.
    pub of: u32,
}

impl Stripe {
    /// Whether it goes once more over keys that an earlier pass has seen.
    pub fn is_again(self) -> bool {
        self.no > 0
    }

    /// Whether no other pass follows.
    pub fn is_last(self) -> bool {
        self.no + 1 == self.of
    }
}
