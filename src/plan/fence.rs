//! The fence: by what a statement that changes rows knows, on the server, that it still may.

use super::statements::{Text, same_table};
use crate::pg::GUARDED;

impl Text<'_> {
    /// What everything that changes rows begins with, with `columns`: the range as we remember it, locked,
    /// on the same table, in a transaction that began under guards. Where it finds nothing, nothing is
    /// changed. It takes the parameters 1 to 4: run, range, rev, token.
    pub(super) fn fence(&self, columns: &str) -> String {
        format!(
            "WITH piecemeal_fence AS MATERIALIZED (
    SELECT {columns} FROM piecemeal.range WHERE run_id = $1 AND no = $2 AND rev = $3 AND lease_token = $4
    AND {same_table}{same_file}
    AND {GUARDED} FOR NO KEY UPDATE
)",
            same_table = same_table(self.target),
            same_file = self.same_file(),
        )
    }
}
