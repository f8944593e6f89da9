//! The standbys that a run has seen, as its ledger keeps them from one process to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The standbys of one primary.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standbys {
    /// The timeline of that primary; empty while nobody has looked.
    pub timeline: String,
    /// What was seen of each, by its `application_name`.
    pub seen: BTreeMap<String, Seen>,
}

/// What was seen of the standbys of one name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// The most addresses that there were at once.
    pub addresses: Vec<String>,
    /// When so many were last there, in seconds of the server's clock.
    pub last: f64,
}

impl Standbys {
    /// Whether nobody has looked yet.
    pub fn is_unknown(&self) -> bool {
        self.timeline.is_empty()
    }
}
