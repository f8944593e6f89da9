//! What the partitions of a table add to it, as the catalog has it.
//!
//! The fields are those that `catalog/partitions.sql` returns. What is the same for an ordinary table
//! (sizes, triggers, foreign keys) is merged into the facts of the table, so that most checks need not
//! know of partitions.

use serde::Deserialize;

use super::{ForeignKey, Table, Trigger};

/// What a partitioned table has besides its own catalog entries.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Partitions {
    /// `partstrat`: `r` for ranges, `l` for lists, `h` for hashes.
    pub strategy: String,
    /// The first column of the table's partition key; `None` if that is an expression.
    pub leading: Option<String>,
    /// The names of all columns that say in which partition a row is, on any level.
    pub columns: Vec<String>,
    /// The partitions that hold rows, on any level.
    pub leaves: Vec<u32>,
    /// Some of their names, quoted.
    pub names: Vec<String>,
    /// Those of them that are foreign tables, quoted.
    pub foreign: Vec<String>,
    /// Rows of all of them, as estimated; `None` if one that has some was never analyzed with any.
    pub estimate: Option<u64>,
    /// Pages when they were last analyzed.
    pub relpages: u64,
    /// Bytes of their own files.
    pub heap_bytes: u64,
    /// Bytes of the values stored apart.
    pub toast_bytes: u64,
    /// Bytes of their indexes.
    pub index_bytes: u64,
    /// How full a page is made by new rows, in percent, where it is emptiest.
    pub fillfactor: u32,
    /// Those that a crash empties, quoted.
    pub unlogged: Vec<String>,
    /// Whether autovacuum was switched off for one of them.
    pub is_autovacuum_off: bool,
    /// Whether this role may vacuum all of them.
    pub can_vacuum: bool,
    /// How many relations a statement locks that cannot leave out any of them.
    pub locks: u64,
    /// How many locks the server has room for, those of all sessions together.
    pub max_locks: u64,
    /// Indexes that only one of them has.
    pub indexes: Vec<OwnIndex>,
    /// Foreign keys that only one of them has.
    pub foreign_keys: Vec<ForeignKey>,
    /// Row triggers that only one of them has.
    pub triggers: Vec<Trigger>,
    /// Publications that name one of them, quoted.
    pub publications: Vec<String>,
    /// Those whose updates a publication could not publish, quoted.
    pub unidentified: Vec<String>,
    /// Those that are published with the whole old row, quoted.
    pub fully_identified: Vec<String>,
}

/// An index that only one partition has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnIndex {
    /// Schema and name, quoted.
    pub name: String,
    /// As in `btree`.
    pub method: String,
    /// Whether it is unique, or belongs to an exclusion constraint.
    pub is_strict: bool,
    /// The numbers of the table's columns that are in it, however.
    pub touches: Vec<i32>,
}

impl Partitions {
    /// Whether keys that follow each other by `leading` are in few partitions, so that a batch needs
    /// only those.
    pub(crate) fn follow(&self, leading: &str) -> bool {
        self.strategy != "h" && self.leading.as_deref() == Some(leading)
    }
}

impl Table {
    /// Adds what the partitions of the table have to what it has itself.
    pub(crate) fn with_partitions(self, partitions: Partitions) -> Table {
        let mut table = Table {
            estimate: partitions.estimate,
            relpages: partitions.relpages,
            heap_bytes: partitions.heap_bytes,
            toast_bytes: partitions.toast_bytes,
            index_bytes: partitions.index_bytes,
            fillfactor: partitions.fillfactor,
            is_unlogged: !partitions.unlogged.is_empty(),
            is_autovacuum_off: partitions.is_autovacuum_off,
            can_vacuum: partitions.can_vacuum,
            ..self
        };
        table.foreign_keys.extend(partitions.foreign_keys.iter().cloned());
        table.triggers.extend(partitions.triggers.iter().cloned());
        table.publications.extend(partitions.publications.iter().cloned());
        table.publications.sort();
        table.publications.dedup();
        table.partitions = Some(partitions);
        table
    }
}
