//! Is the order of the walk one that the job allows, and the cheaper one?
//!
//! A walk in physical order meets a row again that was done and lies in front of it by now; only a
//! `where` that is no longer true of it keeps it from being done twice. Whether it is, every batch
//! shows; that there is one is known before.
//!
//! Which order is cheaper was measured for random UUIDs (`docs/reference/performance.md`).

use super::key;
use crate::finding::Finding;
use crate::job::{Job, Order, show_bytes};
use crate::plan::catalog::OLDEST;
use crate::plan::facts::Facts;
use crate::plan::served::Served;
use crate::plan::split::PAGE;
use crate::run::counted;

/// The first version that can scan a range of a table's blocks (TID range scan).
const TID_RANGE_SCANS: i32 = 14;

/// How many blocks are read in their order for the price of one out of it, as PostgreSQL takes it to be
/// (`random_page_cost`).
const OUT_OF_ORDER: u64 = 4;

// An older server is refused whatever the order is.
const _: () = assert!(OLDEST >= TID_RANGE_SCANS);

/// A leading column whose correlation is nearer to 0 than this, in hundredths, is called random. What
/// was measured had none at all; with a tenth, a batch of 1,000 rows still meets about as many blocks.
const RANDOM: i32 = 10;

/// One whose correlation is as far from 0 as this follows the file: neighbours by the key mostly are
/// in one block, and key order reads about the same blocks.
const IN_STEP: i32 = 90;

/// A partitioned table has no file of its own, and no order of blocks.
pub(crate) fn of_blocks(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, _)) = facts.subject().filter(|(_, table)| table.partitions.is_some())
    else {
        return Vec::new();
    };
    if job.table.order == Order::Key {
        return Vec::new();
    }
    let finding = Finding::refuse("order-partitioned", "a partitioned table has no physical order")
        .at(&relation.name)
        .because(
            "each partition has a file of its own, and a place in one says nothing of the others",
        )
        .recipe(BY_KEY)
        .recipe("or make a job for each partition, and name that: it may go in physical order");
    vec![finding.span(job.table.order_span.clone())]
}

/// A walk in physical order has a `where`.
pub(crate) fn predicate(facts: &Facts, job: &Job) -> Vec<Finding> {
    if job.table.order == Order::Key || job.table.filter.is_some() {
        return Vec::new();
    }
    let name = facts.relation().map_or_else(|| job.table.name.to_string(), |it| it.name.clone());
    let finding = Finding::refuse("order-without-where", "physical order needs a `where`")
        .at(name)
        .because(
            "a row that is done may lie in front of the walk by now, and would be done twice; only a \
             `where` that is no longer true of it keeps it out",
        )
        .recipe("write under [table] a `where` that says which rows are left to do, as in `loc IS NULL`")
        .recipe(format!("or {BY_KEY}"));
    vec![finding.span(job.table.order_span.clone())]
}

/// The other order is not the cheaper one.
pub(crate) fn advice(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let Some(index) = key::walked(table, job) else { return Vec::new() };
    // Without a `where` there is no choice, nor is there between the files of partitions.
    if job.table.filter.is_none() || table.partitions.is_some() {
        return Vec::new();
    }
    let leading = index.order().first().and_then(|number| table.numbered(*number));
    let correlation = leading.and_then(|column| column.correlation).map(i32::abs);
    let (size, cache) = (table.heap_bytes, facts.server.shared_buffers);
    let sizes = format!(
        "the table has {}, and the server {} of shared_buffers",
        show_bytes(size),
        show_bytes(cache)
    );
    let finding = match job.table.order {
        Order::Key if size > cache && correlation.is_some_and(|it| it <= RANDOM) => {
            scattered(&relation.name, &sizes)
        }
        Order::Physical if size <= cache => cached(&sizes),
        Order::Physical if correlation.is_some_and(|it| it >= IN_STEP) => in_step(),
        Order::Key | Order::Physical => return Vec::new(),
    };
    vec![finding.at(&relation.name).span(job.table.order_span.clone())]
}

/// Returns what was found, with the advice that holds where an index finds the rows that are to do: if they
/// are few for the table's blocks, key order goes from one to the next, and reads nothing in between.
pub(crate) fn with_index(
    findings: Vec<Finding>,
    served: Option<&Served>,
    (facts, job): (&Facts, &Job),
) -> Vec<Finding> {
    let (Some(served), Some((relation, table))) = (served, facts.subject()) else {
        return findings;
    };
    let blocks = table.heap_bytes / PAGE;
    if served.rows * OUT_OF_ORDER > blocks {
        return findings;
    }
    let is_other = |it: &Finding| !["order-physical", "order-key"].contains(&it.code);
    let better = (job.table.order == Order::Physical)
        .then(|| indexed(served, blocks).at(&relation.name).span(job.table.order_span.clone()));
    findings.into_iter().filter(is_other).chain(better).collect()
}

fn scattered(name: &str, sizes: &str) -> Finding {
    let what = format!("rows that follow each other by the key of {name} do not lie together");
    Finding::note("order-physical", what)
        .because(format!(
            "{sizes}: a walk in key order reads and logs each block many times; with random UUIDs, and \
             memory for a sixth of the table, physical order did 2.2 times as many rows in a second, and \
             wrote an eighth of the WAL"
        ))
        .recipe(
            "if `where` is no longer true of a row that is done: write `order = \"physical\"` under [table]",
        )
}

const BY_KEY: &str = "write `order = \"key\"` under [table], or leave it out";

fn cached(sizes: &str) -> Finding {
    Finding::note("order-key", "key order is likely cheaper")
        .because(format!(
            "{sizes}, so it stays in there, and no block is read twice; a walk in key order finds room in the \
             blocks that it has been to: with random UUIDs 90% of its updates were HOT, and 61% in \
             physical order"
        ))
        .recipe(BY_KEY)
}

fn in_step() -> Finding {
    Finding::note("order-key", "key order is likely as cheap, and leaves less to the sweeps")
        .because(
            "rows that follow each other by the key mostly lie together, so it reads the same blocks in \
             the same order; and rows that others move stay where they are by the key",
        )
        .recipe(BY_KEY)
}

fn indexed(served: &Served, blocks: u64) -> Finding {
    let (index, rows) = (&served.index, counted(served.rows, "rows"));
    Finding::note("order-key", format!("index {index} finds the rows that are to do: about {rows}"))
        .because(format!(
            "a walk in key order goes from one of them to the next; physical order reads all {}",
            counted(blocks, "blocks")
        ))
        .recipe(BY_KEY)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{job, table};
    use super::*;
    use crate::plan::facts::{Index, Relation, Server};

    /// A table `t (id, n)` of so many bytes whose key has this correlation, on a server with 1,000 bytes
    /// of `shared_buffers`.
    fn facts(heap_bytes: u64, correlation: Option<i32>) -> Facts {
        let server = json!({
            "version": 150_000, "version_text": "x", "in_recovery": false, "is_read_only": false,
            "encoding": "UTF8", "database": "db", "role": "app", "is_superuser": false,
            "bypasses_row_security": false, "sees_activity": true, "shared_buffers": 1_000, "path": [],
        });
        let server: Server = serde_json::from_value(server).unwrap();
        let relation = json!({
            "oid": 1, "schema": "public", "name": "public.t", "kind": "r", "is_temporary": false,
            "is_system": false, "is_ledger": false, "place": 0,
        });
        let relation: Relation = serde_json::from_value(relation).unwrap();
        let index = json!({
            "name": "public.t_pkey", "bare": "t_pkey", "method": "btree", "is_primary": true,
            "is_unique": true, "is_exclusion": false, "is_immediate": true, "is_usable": true,
            "is_partial": false, "is_replica_identity": false, "touches": [1],
            "parts": [{
                "column": 1, "is_descending": false, "nulls_first": false, "has_default_order": true,
                "has_column_collation": true,
            }],
        });
        let index: Index = serde_json::from_value(index).unwrap();
        let mut table = table(&["id", "n"]);
        (table.heap_bytes, table.indexes) = (heap_bytes, vec![index]);
        table.columns[0].correlation = correlation;
        let (relations, near) = (vec![relation], Vec::new());
        Facts { server, relations, near, table: Some(table), surroundings: None }
    }

    fn found(lines: &str, heap_bytes: u64, correlation: Option<i32>) -> Option<&'static str> {
        advice(&facts(heap_bytes, correlation), &job(lines)).first().map(|finding| finding.code)
    }

    #[test]
    fn physical_order_is_advised_for_a_large_table_whose_key_is_random() {
        let pending = "where = 'n IS NULL'";
        for random in [-10, 0, 10] {
            assert_eq!(found(pending, 1_001, Some(random)), Some("order-physical"));
        }
        assert_eq!(found(pending, 1_000, Some(0)), None, "it fits in shared_buffers");
        assert_eq!(found(pending, 1_001, Some(-11)), None, "it follows the file a little");
        assert_eq!(found(pending, 1_001, None), None, "it was never analyzed");
        assert_eq!(found("", 1_001, Some(0)), None, "without `where` it is not allowed");
    }

    #[test]
    fn key_order_is_advised_where_physical_order_gains_nothing() {
        let physical = "where = 'n IS NULL'\norder = 'physical'";
        assert_eq!(found(physical, 1_000, Some(0)), Some("order-key"));
        assert_eq!(found(physical, 1_001, Some(-90)), Some("order-key"));
        assert_eq!(found(physical, 1_001, Some(89)), None);
        assert_eq!(found(physical, 1_001, None), None);
    }

    #[test]
    fn where_an_index_finds_few_rows_for_the_blocks_key_order_is_the_cheaper_one() {
        let facts = facts(100 * PAGE, Some(0));
        let found = |order: &str, rows| {
            let job = job(&format!("where = 'n IS NULL'\norder = '{order}'"));
            let served = Served { index: "to_do".into(), rows };
            let found = with_index(advice(&facts, &job), Some(&served), (&facts, &job));
            found.into_iter().map(|it| format!("{}: {}", it.code, it.what)).collect::<Vec<_>>()
        };
        assert_eq!(found("key", 25), [""; 0]);
        let by_index = "order-key: index to_do finds the rows that are to do: about 25 rows";
        assert_eq!(found("physical", 25), [by_index]);
        assert_eq!(found("physical", 26), [""; 0]);
        let physical = &found("key", 26)[0];
        assert!(physical.starts_with("order-physical"), "it would read as much: {physical}");
    }

    #[test]
    fn physical_order_without_where_is_refused_with_what_to_write() {
        let found = |lines: &str| predicate(&facts(1, None), &job(lines));
        assert_eq!(found("order = 'physical'")[0].code, "order-without-where");
        assert!(found("order = 'physical'\nwhere = 'n IS NULL'").is_empty());
        assert!(found("order = 'key'").is_empty());
    }
}
