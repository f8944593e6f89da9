//! The fence: by what a statement that changes rows knows, on the server, that it still may.

use super::statements::Text;
use super::target::Target;
use crate::pg::GUARDED;

impl Text<'_> {
    /// What everything that changes rows begins with, with `columns`: the range as we remember it, locked,
    /// on the same table with the same key, in a transaction that began under guards. Where it finds nothing, nothing is
    /// changed. It takes the parameters 1 to 4: run, range, rev, token.
    pub(super) fn fence(&self, columns: &str) -> String {
        format!(
            "WITH piecemeal_fence AS MATERIALIZED (
    SELECT {columns} FROM piecemeal.range WHERE run_id = $1 AND no = $2 AND rev = $3 AND lease_token = $4
    AND {same_table} AND {same_key}{same_file}
    AND {GUARDED} FOR NO KEY UPDATE
)",
            same_table = same_table(self.target),
            same_key = same_key(self.target),
            same_file = self.same_file(),
        )
    }
}

/// Whether the name still means the table that the run was started on: a table that took its place
/// has rows that were never done (R23). The statement holds a lock on what it took the name for, so
/// the answer is about the same table as the work.
pub(super) fn same_table(target: &Target) -> String {
    let name = target.keyset.table.replace('\'', "''");
    format!("pg_catalog.to_regclass('{name}')::pg_catalog.oid = {}", target.oid)
}

/// Whether the columns of the key still have the types and collations by which their values are ordered:
/// in another order, the cursor means other rows. Each is one look into an index of the catalog.
pub(super) fn same_key(target: &Target) -> String {
    let columns = target.keyset.columns.iter();
    let columns = columns.map(|column| {
        format!("EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE {})", column.is_it)
    });
    columns.collect::<Vec<_>>().join(" AND ")
}
