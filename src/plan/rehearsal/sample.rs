//! Where to rehearse, and how large rows are: the SQL for both.
//!
//! Positions are the middle keys of equal parts of a sample of the table's blocks, ordered by the
//! server. The sample has as many blocks as make enough rows, however large the table is; nothing
//! is skipped row by row. A row counts as it stands in the table's file, which is what bloats: values
//! that are stored apart count as the pointer to them, and are not read.

use crate::pg::{Fault, Session};
use crate::plan::Plan;
use crate::plan::found::keys;
use crate::plan::limits::read_guards;
use crate::plan::target::Target;
use crate::walk::{Heap, Key};

/// How many blocks are looked at: enough that the middle keys of a few parts are far apart. Fewer, where that
/// takes longer than others should wait.
const BLOCKS: [f64; 2] = [60.0, 10.0];

/// The most rows of the sample, whatever a block holds.
const MOST: u32 = 20_000;

/// Returns the keys after which `parts` batches are rehearsed, in order; fewer, or none, if the
/// sample has fewer rows, or takes too long.
pub(super) async fn positions(
    session: &mut Session,
    plan: &Plan,
    pages: u64,
    parts: u32,
) -> Result<Vec<Key>, Fault> {
    let guards = read_guards(&plan.job, &[]);
    for blocks in BLOCKS {
        let sql = sql(&plan.target, percent(pages, blocks), parts);
        match session.transact(&guards, &sql, &[]).await {
            Ok(rows) => return Ok(keys(&rows)?),
            Err(Fault::Smaller(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(Vec::new())
}

/// Returns the places after which `parts` batches are rehearsed in physical order: the middles of
/// equal parts of the file; none if it has fewer blocks.
pub(super) fn places(blocks: u64, parts: u32) -> Vec<Key> {
    let parts = u64::from(parts);
    if blocks < parts {
        return Vec::new();
    }
    let middle = |part: u64| (2 * part + 1) * blocks / (2 * parts);
    (0..parts).map(|part| Key::new(vec![Heap::before(middle(part))])).collect()
}

fn sql(target: &Target, percent: f64, parts: u32) -> String {
    let columns: Vec<_> = target.keyset.columns.iter().map(|column| column.name.as_str()).collect();
    let columns = columns.join(", ");
    let texts: Vec<_> =
        target.keyset.columns.iter().map(|it| format!("ranked.{}::text", it.name)).collect();
    format!(
        "WITH sample AS MATERIALIZED (\n\
         SELECT {columns} FROM {table} TABLESAMPLE SYSTEM ({percent}) LIMIT {MOST}\n\
         ), ranked AS (\n\
         SELECT {columns}, row_number() OVER (ORDER BY {columns}) AS piecemeal_place,\n\
         count(*) OVER () AS piecemeal_total FROM sample\n\
         )\n\
         SELECT ARRAY[{texts}] FROM ranked\n\
         WHERE piecemeal_place IN (SELECT ((2 * part - 1) * piecemeal_total + {double} - 1) / {double}\n\
         FROM pg_catalog.generate_series(1, {parts}) part)\n\
         ORDER BY piecemeal_place",
        table = target.keyset.table,
        texts = texts.join(", "),
        double = 2 * parts,
    )
}

/// The share of the pages that so many blocks are.
fn percent(pages: u64, blocks: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share, to be guessed from")]
    let pages = pages.max(1) as f64;
    (100.0 * blocks / pages).clamp(0.000_01, 100.0)
}

/// The average size of a row in the table's file, line pointer and alignment with it; `None` if a
/// column may not be read.
pub(super) fn row_bytes(target: &Target) -> Option<String> {
    /// Values that are longer do not stay in their row.
    const LONGEST: u32 = 2_000;
    let table = &target.keyset.table;
    let columns = target.readable_columns.as_ref()?;
    let sizes = |shorten: bool| {
        let size = |column: &String| {
            let size = format!("pg_catalog.pg_column_size({table}.{column})");
            let stays = if shorten {
                format!("CASE WHEN {size} > {LONGEST} THEN 18 ELSE {size} END")
            } else {
                size
            };
            format!("coalesce({stays}, 0)")
        };
        columns.iter().map(size).collect::<Vec<_>>().join(" + ")
    };
    // The row as a whole has its exact size, but making it reads what is stored apart.
    Some(format!(
        "avg((CASE WHEN {whole} <= {LONGEST} THEN pg_catalog.pg_column_size({table}.*)\n\
         ELSE 24 + {short} END + 7) / 8 * 8 + 4)::float8",
        whole = sizes(false),
        short = sizes(true),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_the_middles_of_equal_parts_of_the_file() {
        let places = |blocks| places(blocks, 3).iter().map(Key::to_string).collect::<Vec<_>>();
        assert_eq!(places(60), ["((10,0))", "((30,0))", "((50,0))"]);
        assert_eq!(places(2), [""; 0]);
    }

    #[test]
    fn the_sample_has_as_many_blocks_whatever_the_size_of_the_table() {
        assert!((percent(0, 60.0) - 100.0).abs() < 1e-9);
        assert!((percent(60, 60.0) - 100.0).abs() < 1e-9);
        assert!((percent(6_000_000, 60.0) - 0.001).abs() < 1e-9);
        assert!(percent(u64::MAX, 60.0) > 0.0);
    }
}
