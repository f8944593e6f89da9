//! The table as the walk needs it: everything resolved, nothing missing.

use crate::walk::Keyset;

/// The query for a table and its partitions on any level, without a lock on any of them: `$table` is its oid.
const FAMILY: &str = "\
WITH RECURSIVE family (oid) AS (
    SELECT $table UNION ALL
    SELECT h.inhrelid FROM family JOIN pg_catalog.pg_inherits h ON h.inhparent = family.oid
) SELECT oid FROM family";

/// Returns the query for the oids of the table that the expression `table` is the oid of, and of its
/// partitions.
pub(crate) fn family(table: &str) -> String {
    FAMILY.replace("$table", table)
}

/// A table that passed preflight. All names are as the server quoted them (R27).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The table's identity; a table of the same name that was created later is another one.
    pub oid: u32,
    /// The table and its key.
    pub keyset: Keyset,
    /// The index along which it is walked, schema-qualified.
    pub index: String,
    /// Schemas for the names in the job's SQL: the table's own, then the job's.
    pub search_path: Vec<String>,
    /// The columns that `[set]` writes, in the job's order.
    pub set_columns: Vec<String>,
    /// The numbers of those, and of the columns that are computed from others.
    pub set_numbers: Vec<i32>,
    /// All columns, if this role may read each of them: by them the size of a row is measured.
    pub readable_columns: Option<Vec<String>>,
    /// Whether a trigger could suppress the update of a row: then batches count the rows that match.
    pub has_before_update_trigger: bool,
    /// The partitions that hold its rows; the table itself if it is not partitioned.
    pub leaves: Vec<u32>,
    /// Whether it is partitioned.
    pub is_partitioned: bool,
    /// The numbers of the columns that say in which partition a row is.
    pub partition_numbers: Vec<i32>,
    /// Whether a batch goes through all partitions, and not only through those that its keys are in.
    pub needs_all_partitions: bool,
    /// Rows, as the catalog estimates; `None` if it was never counted.
    pub estimate: Option<u64>,
}

impl Target {
    /// Whether statements on the table may be kept prepared. A plan that is made without values locks
    /// every partition, and one of them may be locked by somebody else.
    pub(super) fn lets_keep(&self) -> bool {
        !self.is_partitioned
    }
}
