//! Whether an index knows which rows are to do.
//!
//! A walk goes along the key, whatever `where` says. Where an index serves `where`, and the rows that it
//! selects are few, they are found by it instead: the planner is asked, since it alone knows which
//! conditions an index implies. It goes by statistics, so what it says decides how rows are looked for
//! and never which.

use serde_json::Value;

use super::target::Target;
use crate::job::{Job, Size};
use crate::pg::{Fault, Guards, Session};

/// The share of the rows, up to which they are few.
const FEW: f64 = 0.05;

/// An index that serves `where`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Its name.
    pub index: String,
    /// Rows that `where` selects, as the planner estimates.
    pub rows: u64,
}

/// Returns the index by which the few rows that are to do are found, if there is one.
pub(super) async fn served(
    session: &mut Session,
    job: &Job,
    target: &Target,
) -> Result<Option<Served>, Fault> {
    let (Some(filter), Some(all)) = (&job.table.filter, target.estimate) else { return Ok(None) };
    // Neither over several partitions nor with a fixed size is searched for rows.
    if target.is_partitioned || matches!(job.batch.size, Size::Fixed(_)) {
        return Ok(None);
    }
    let guards = Guards { search_path: target.search_path.clone(), ..Guards::reading() };
    let table = &target.keyset.table;
    let sql = format!("EXPLAIN (FORMAT JSON) SELECT FROM {table} WHERE (\n{}\n)", filter.text);
    let rows = session.transact(&guards, &sql, &[]).await?;
    let plan = rows.first().and_then(|row| row.get::<_, Value>(0).pointer("/0/Plan").cloned());
    Ok(plan.and_then(|plan| found(&plan)).filter(|served| are_few(served.rows, all)))
}

#[expect(clippy::cast_precision_loss, reason = "a share of an estimate")]
fn are_few(rows: u64, all: u64) -> bool {
    rows as f64 <= all as f64 * FEW
}

/// Reads a plan: the index that it scans, if it scans one and nothing else.
fn found(plan: &Value) -> Option<Served> {
    let below = || plan.get("Plans")?.get(0);
    let kind = plan.get("Node Type")?.as_str()?;
    if kind == "Gather" {
        return found(below()?);
    }
    let scan = match kind {
        "Index Scan" | "Index Only Scan" => plan,
        "Bitmap Heap Scan" => below()?,
        _ => return None,
    };
    let index = scan.get("Index Name")?.as_str()?.to_owned();
    Some(Served { index, rows: plan.get("Plan Rows")?.as_u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_index_is_that_of_the_scan_and_a_scan_of_the_table_has_none() {
        let index = json!({ "Node Type": "Index Scan", "Index Name": "i", "Plan Rows": 7 });
        let served = Some(Served { index: "i".into(), rows: 7 });
        assert_eq!(found(&index), served);
        let bitmap = json!({ "Node Type": "Bitmap Heap Scan", "Plan Rows": 7,
            "Plans": [{ "Node Type": "Bitmap Index Scan", "Index Name": "i", "Plan Rows": 9 }] });
        assert_eq!(found(&bitmap), served);
        assert_eq!(found(&json!({ "Node Type": "Gather", "Plans": [bitmap] })), served);
        let either = json!({ "Node Type": "Bitmap Heap Scan", "Plan Rows": 7,
            "Plans": [{ "Node Type": "BitmapOr", "Plans": [] }] });
        assert_eq!(found(&either), None);
        assert_eq!(found(&json!({ "Node Type": "Seq Scan", "Plan Rows": 7 })), None);
    }

    #[test]
    fn one_row_in_twenty_is_few() {
        assert!(are_few(0, 0) && are_few(50, 1_000) && !are_few(51, 1_000));
    }
}
