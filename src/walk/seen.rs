//! What was seen of the table by those who look at it when it was walked. Values only.

use serde::{Deserialize, Serialize};

use super::key::Key;

/// A look at the whole key space that was left before its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Its parts, in the order of the key.
    pub(crate) parts: Vec<Stretch>,
    /// How long it took so far.
    pub(crate) seconds: f64,
}

/// A stretch of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stretch {
    /// The key before it; `None` at the beginning of the key space.
    pub(crate) after: Option<Key>,
    /// Its last key.
    pub(crate) end: Key,
    /// Every row up to it was as it should be; `None` if nothing of the stretch was seen.
    pub(crate) mark: Option<Key>,
    /// Rows that were looked at.
    pub(crate) looked: u64,
}
