//! Preflight: what stands against a job, and what a person should know before it runs.
//!
//! A check is a pure function of the facts and the job. All of them are asked, so that everything
//! that is wrong is shown at once (R24); a check that needs what another one misses says nothing.
//! Each finding says what, where, why it matters and what to type.
//!
//! Not here: whether the job's SQL is valid. The server says that when it explains the statements.

pub(super) mod access;
pub(super) mod collation;
pub(super) mod columns;
pub(super) mod ddl;
pub(super) mod key;
pub(super) mod order;
pub(super) mod partitions;
pub(super) mod replication;
pub(super) mod server;
pub(super) mod space;
pub(super) mod target;
pub(super) mod triggers;

use super::facts::{Column, Facts, Table};
use crate::finding::Finding;
use crate::job::{Assignment, Job, Work};

/// How alike a column's name must be to have been meant, from 0 to 1.
const LIKENESS: f64 = 0.75;

/// One question that preflight asks.
pub(super) type Check = fn(&Facts, &Job) -> Vec<Finding>;

/// All questions; findings of equal severity are shown in this order.
pub(super) const CHECKS: &[Check] = &[
    |facts, _| server::version(facts),
    |facts, _| server::writable(facts),
    target::existence,
    target::kind,
    target::family,
    partitions::fit,
    triggers::rules,
    access::row_security,
    access::privileges,
    access::search_path,
    |facts, _| access::ledger(facts),
    columns::set_columns,
    columns::moves_row,
    key::presence,
    key::shape,
    key::types,
    partitions::moves,
    order::predicate,
    order::of_blocks,
    collation::versions,
    replication::identity,
    triggers::user_triggers,
    triggers::foreign_keys,
    columns::indexes,
    order::advice,
    ddl::statements,
    space::vacuum,
    space::fillfactor,
    target::durability,
    |facts, _| server::role(facts),
    |facts, _| server::holders(facts),
    target::estimate,
];

/// Returns everything that was found, the worst first.
pub(super) fn findings(facts: &Facts, job: &Job) -> Vec<Finding> {
    let mut findings: Vec<_> = CHECKS.iter().flat_map(|check| check(facts, job)).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// The questions that a job of statements alone is asked, which may name no table.
const WITHOUT_ROWS: &[Check] = &[
    |facts, _| server::version(facts),
    |facts, _| server::writable(facts),
    access::search_path,
    |facts, _| access::ledger(facts),
    ddl::statements,
];

/// Returns what was found before the statements of expand have been run.
pub(super) fn before_expand(facts: &Facts, job: &Job) -> Vec<Finding> {
    let checks = if job.has_work() { CHECKS } else { WITHOUT_ROWS };
    checks.iter().flat_map(|check| check(facts, job)).collect()
}

/// Returns the columns that the job sets and that are there.
fn set_columns<'f>(table: &'f Table, job: &Job) -> Vec<&'f Column> {
    assignments(job).iter().filter_map(|set| table.column(&set.column)).collect()
}

pub(super) fn assignments(job: &Job) -> &[Assignment] {
    let Work::Set(assignments) = &job.work;
    assignments
}

/// Returns the numbers of `columns` that the job sets.
fn set_among(table: &Table, job: &Job, columns: &[i32]) -> Vec<i32> {
    let set = set_columns(table, job).into_iter().map(|column| column.number);
    set.filter(|number| columns.contains(number)).collect()
}

/// Returns the column that was probably meant.
fn meant<'f>(table: &'f Table, written: &str) -> Option<&'f Column> {
    let written = written.to_lowercase();
    let alike = |column: &Column| strsim::jaro_winkler(&written, &column.name.to_lowercase());
    let there = table.columns.iter().filter(|column| !column.is_dropped);
    there
        .map(|column| (alike(column), column))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, column)| column)
}

/// Says "column `a`" or "columns `a`, `b`".
fn named(columns: &[&Column]) -> String {
    let names: Vec<_> = columns.iter().map(|column| format!("`{}`", column.name)).collect();
    format!("column{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
}

/// Lists quoted columns for SQL.
fn listed(columns: &[&Column]) -> String {
    columns.iter().map(|column| column.quoted.as_str()).collect::<Vec<_>>().join(", ")
}

/// Writes a name as a string of the job file.
fn toml(name: &str) -> String {
    if name.contains('"') { format!("'{name}'") } else { format!("\"{name}\"") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A column of a table, as the catalog would describe it.
    pub(super) fn column(number: i32, name: &str) -> Column {
        let column = json!({
            "number": number, "name": name, "quoted": name, "type": "integer", "bare_type": "integer", "is_it": "true", "built_in": "int4",
            "type_kind": "b", "base": null, "is_not_null": true, "is_generated": false,
            "is_identity_always": false, "is_dropped": false, "can_select": true, "can_update": true,
            "correlation": null, "collation": null,
        });
        serde_json::from_value(column).unwrap()
    }

    /// A table without anything attached to it.
    pub(super) fn table(columns: &[&str]) -> Table {
        let table = json!({
            "is_unlogged": false, "replica_identity": "d", "estimate": 5, "relpages": 1,
            "heap_bytes": 8192, "toast_bytes": 0, "index_bytes": 16384, "fillfactor": 100, "owner": "app", "owner_is_superuser": false, "can_vacuum": true,
            "is_autovacuum_off": false, "row_security": false,
            "schema_usage": true, "columns": [], "indexes": [], "foreign_keys": [], "triggers": [],
            "rules": [], "children": [], "partition_of": null, "partition_columns": [], "publications": [],
        });
        let mut table: Table = serde_json::from_value(table).unwrap();
        table.columns = (1..).zip(columns).map(|(number, name)| column(number, name)).collect();
        table
    }

    /// A job over `t` that sets `n`, with more lines under `[table]`.
    pub(super) fn job(lines: &str) -> Job {
        let text = format!("[table]\nname = 't'\n{lines}\n[set]\nn = 'lat + 1'\n");
        Job::parse("job", crate::job::Source { path: None, text }).unwrap()
    }

    #[test]
    fn a_column_in_other_case_or_with_a_slip_was_meant() {
        let table = table(&["id", "Total", "created_at"]);
        let meant = |written| meant(&table, written).map(|column| column.name.as_str());
        assert_eq!(meant("total"), Some("Total"));
        assert_eq!(meant("createdat"), Some("created_at"));
        assert_eq!(meant("zebra"), None);
    }

    #[test]
    fn a_dropped_column_is_not_suggested() {
        let mut table = table(&["total"]);
        table.columns[0].is_dropped = true;
        assert_eq!(meant(&table, "totall"), None);
    }

    #[test]
    fn a_quoted_name_is_a_literal_string_of_the_job_file() {
        assert_eq!(toml("posts"), "\"posts\"");
        assert_eq!(toml("public.\"Posts\""), "'public.\"Posts\"'");
    }

    #[test]
    fn several_columns_are_named_with_commas() {
        let (a, b) = (column(1, "a"), column(2, "b"));
        assert_eq!(named(&[&a]), "column `a`");
        assert_eq!(named(&[&a, &b]), "columns `a`, `b`");
    }
}
