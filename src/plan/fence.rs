//! The fence: by what a statement that changes rows knows, on the server, that it still may.

use super::statements::{STANDS, Text};
use super::target::Target;
use crate::job::Job;
use crate::pg::{GUARDED, literal};
use crate::sync::name_of;
use crate::walk::KeyColumn;

impl Text<'_> {
    /// What everything that changes rows begins with, with `columns`: the range as we remember it, locked,
    /// on the same table with the same key, in a transaction that began under guards, and without a trigger
    /// that is not counted with. Where it finds nothing, nothing is changed. It takes the parameters 1 to 4:
    /// run, range, rev, token.
    pub(super) fn fence(&self, columns: &str) -> String {
        self.fence_if(columns, &all_counted(self.job, self.target))
    }

    /// The same for a batch, which is one of several that were sent together: the batches before it must
    /// have been committed. `rev` alone would not say so, since others move it too. It takes the
    /// parameters from [`STANDS`] on as well: cursor, front, mark and stripe as they are now.
    pub(super) fn fence_of_batch(&self, columns: &str) -> String {
        // Where nothing is open, the stripe is that of the last batch. No key is an empty array.
        let stripe = "CASE WHEN front IS NOT NULL THEN stripe END::pg_catalog.int8";
        let places = [("cursor", "'{}'"), ("front", "'{}'"), ("mark", "'{}'"), (stripe, "-1")];
        let is_as_it_was = |(no, (column, none)): (usize, &(&str, &str))| {
            let now = STANDS + no;
            format!("coalesce({column}, {none}) OPERATOR(pg_catalog.=) coalesce(${now}, {none})")
        };
        let stands: Vec<_> = places.iter().enumerate().map(is_as_it_was).collect();
        let counted = all_counted(self.job, self.target);
        self.fence_if(columns, &format!("{} AND {counted}", stands.join(" AND ")))
    }

    /// The same for what changes no row of the table, and so has nothing to count.
    pub(super) fn fence_of_record(&self) -> String {
        self.fence_if("", "true")
    }

    fn fence_if(&self, columns: &str, condition: &str) -> String {
        format!(
            "WITH piecemeal_fence AS MATERIALIZED (
    SELECT {columns} FROM piecemeal.range WHERE run_id = $1 AND no = $2 AND rev = $3 AND lease_token = $4
    AND {same_table} AND {same_key} AND {condition}{same_file}
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
/// in another order, the cursor means other rows. And whether none of them may be NULL by now: such a row is
/// in no stretch of keys. Each is one look into an index of the catalog.
pub(super) fn same_key(target: &Target) -> String {
    let columns = target.keyset.columns.iter();
    let columns = columns.map(|column| {
        format!(
            "EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE {} AND attnotnull)",
            column.is_it
        )
    });
    columns.collect::<Vec<_>>().join(" AND ")
}

/// Whether an index leads to the rows of the key, by the form that preflight asks for; not by its identity,
/// since REINDEX makes another one. Without it each batch reads the whole table, and none is wrong.
pub(super) fn has_index(target: &Target) -> String {
    let others: Vec<_> = target.partition_numbers.iter().map(i32::to_string).collect();
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = {oid} AND indisunique AND indimmediate \
         AND indisvalid AND indisready AND indislive AND indpred IS NULL AND indnkeyatts >= {many} AND {begins} \
         AND (indkey::pg_catalog.int2[])[{many}:indnkeyatts - 1] OPERATOR(pg_catalog.<@) \
         '{{{others}}}'::pg_catalog.int2[])",
        oid = target.oid,
        many = target.keyset.columns.len(),
        begins = begins_with_key(target),
        others = others.join(","),
    )
}

/// Whether an index in `pg_index` begins with the columns of the key.
pub(super) fn begins_with_key(target: &Target) -> String {
    let is_at = |(at, column): (usize, &KeyColumn)| format!("indkey[{at}] = {}", column.number);
    let columns = target.keyset.columns.iter().enumerate().map(is_at);
    columns.collect::<Vec<_>>().join(" AND ")
}

/// Whether every row that a trigger could suppress is counted: there is none that could, or the batches
/// count with it. One that comes has waited for the batches before it, and those after it see it.
pub(super) fn all_counted(job: &Job, target: &Target) -> String {
    if target.has_before_update_trigger {
        return "true".into();
    }
    let tables: Vec<_> = target.leaves.iter().chain([&target.oid]).map(u32::to_string).collect();
    // The columns of partitions have numbers of their own.
    let fires = if target.is_partitioned {
        String::new()
    } else {
        let numbers: Vec<_> = target.set_numbers.iter().map(i32::to_string).collect();
        format!(
            " AND (pg_catalog.cardinality(tgattr) = 0 OR tgattr::pg_catalog.int2[] OPERATOR(pg_catalog.&&) \
             '{{{}}}'::pg_catalog.int2[])",
            numbers.join(",")
        )
    };
    // For each row, before, at an UPDATE; the job's own lets the walk by.
    format!(
        "NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid IN ({}) AND tgtype & 19 = 19 \
         AND tgenabled IN ('O', 'A') AND tgname <> {}{fires})",
        tables.join(", "),
        literal(&name_of(&job.name)),
    )
}
