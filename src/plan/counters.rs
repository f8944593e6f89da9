//! What the server has counted of this connection's work: SQL for its statistics within a transaction.

use super::fence::begins_with_key;
use super::target::Target;

/// How many updates of this connection were HOT, up to now: its own counter, which the server only
/// resets between transactions.
pub(super) fn hot(target: &Target) -> String {
    counted(target, "pg_catalog.pg_stat_get_xact_tuples_hot_updated")
}

/// What the server has counted of the table's rows with `function`: of a partitioned table, with those
/// of each partition, since it counts none for the table.
pub(super) fn counted(target: &Target, function: &str) -> String {
    if !target.is_partitioned {
        return format!("{function}({})", target.oid);
    }
    let leaves: Vec<_> = target.leaves.iter().map(u32::to_string).collect();
    format!(
        "(SELECT coalesce(sum({function}(leaf)), 0)::int8 FROM pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) AS leaf)",
        leaves.join(",")
    )
}

/// How many rows of the table this connection has gone through, block after block, up to now.
pub(super) fn passed(target: &Target) -> String {
    format!("pg_catalog.pg_stat_get_xact_tuples_returned({})", target.oid)
}

/// How many rows this connection has fetched by the key's index, up to now, or by another one that has
/// the order of the key: the planner may take any of them.
pub(super) fn fetched(target: &Target) -> String {
    format!(
        "(SELECT coalesce(sum(pg_catalog.pg_stat_get_xact_tuples_fetched(indexrelid)), 0)::int8 \
         FROM pg_catalog.pg_index WHERE indrelid = {} AND {})",
        target.oid,
        begins_with_key(target)
    )
}
