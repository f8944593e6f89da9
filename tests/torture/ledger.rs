//! What a writer was told by the server, row by row.

use std::collections::HashMap;

/// Whether a row is there, as far as its writer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    /// Its insert was acknowledged, and no delete was tried.
    Yes,
    /// Its delete was acknowledged.
    No,
    /// The connection broke during its insert or its delete.
    Unsure,
}

/// What is known of one row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) there: There,
    pub(crate) born: bool,
    /// Increments that were acknowledged.
    pub(crate) acked: i32,
    /// Increments during which the connection broke.
    pub(crate) unsure: i32,
}

/// A row as it was found at the end, alive or in its grave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) tag: i64,
    pub(crate) n: i32,
    pub(crate) app_ver: i32,
    pub(crate) born: bool,
    pub(crate) is_alive: bool,
}

impl Entry {
    /// Returns an entry for a row that is there, or may be.
    pub(crate) fn new(there: There, born: bool) -> Entry {
        Entry { there, born, acked: 0, unsure: 0 }
    }

    /// Says what is wrong with a row that was found, or with one that was not.
    pub(crate) fn judge(&self, tag: i64, found: Option<&Found>) -> Option<String> {
        let Some(found) = found else {
            let may_be_missing = self.there == There::Unsure && self.born;
            return (!may_be_missing).then(|| format!("row {tag} is lost: {self:?}"));
        };
        let is_where_it_should_be = match self.there {
            There::Yes => found.is_alive,
            There::No => !found.is_alive,
            There::Unsure => true,
        };
        let versions = self.acked..=self.acked + self.unsure;
        let is_right =
            is_where_it_should_be && found.born == self.born && versions.contains(&found.app_ver);
        (!is_right).then(|| format!("{found:?} contradicts {self:?}"))
    }
}

/// What one writer knows of its rows, by tag.
pub(crate) type Ledger = HashMap<i64, Entry>;
