//! The document of `plan -o json`: the plan, what was rehearsed, and the forecast.
//!
//! Field names are a contract, as in [`json`](super::json). Unknown is null.

use std::time::Duration;

use serde_json::{Value, json};

use super::json;
use crate::finding::Finding;
use crate::job::Vacuum;
use crate::plan::{CameTo, Forecast, Growth, Plan, Rehearsal, Rehearsed};
use crate::walk::Key;

/// Returns a plan with its rehearsal, if there was one.
pub fn plan(plan: &Plan, seen: Option<&Rehearsal>, findings: &[Finding]) -> Value {
    let columns: Vec<_> = plan.target.keyset.columns.iter().map(|column| &column.name).collect();
    json!({ "v": json::VERSION, "plan": {
        "job": plan.job.name, "table": plan.target.keyset.table, "key": columns, "index": plan.target.index,
        "rows": plan.estimate, "last_key": plan.last_key.as_ref().map(Key::values),
        "batch_sql": plan.statements.update.of_stretch(true),
        "boundary_sql": plan.statements.boundary.of_stretch(true),
        "batch_explain": plan.explained.batch, "boundary_explain": plan.explained.boundary,
        "vacuum": {
            "every_percent": match plan.job.pace.vacuum { Vacuum::Every(percent) => Some(percent), Vacuum::Off => None },
            "is_permitted": plan.can_vacuum, "is_direct": plan.is_direct,
        },
        "rehearsal": seen.map(rehearsal),
        "forecast": seen.map(|seen| forecast(&plan.forecast(seen))),
        "findings": findings.iter().map(json::finding).collect::<Vec<_>>(),
    }})
}

fn rehearsal(seen: &Rehearsal) -> Value {
    let trigger = |fired: &crate::plan::Fired| json!({ "name": fired.name, "calls": fired.calls, "ms": ms(fired.took) });
    json!({
        "keys": seen.keys(), "matched": seen.matched(), "changed": seen.changed(), "ms": ms(seen.took()),
        "locked_ms": ms(seen.held()), "wal_bytes": seen.wal_bytes(), "wal_bytes_per_row": seen.wal_per_row(),
        "hot": seen.hot(), "row_bytes": {
            "before": seen.row_bytes(|it| it.row_before), "after": seen.row_bytes(|it| it.row_after),
        },
        "triggers": seen.triggers().iter().map(trigger).collect::<Vec<_>>(),
        "batches": seen.batches.iter().map(batch).collect::<Vec<_>>(),
    })
}

fn batch(batch: &Rehearsed) -> Value {
    let (came_to, measured, why) = match &batch.came_to {
        CameTo::Measured(measured) => ("measured", Some(measured), None),
        CameTo::OutOfTime(why) => ("out-of-time", None, Some(why)),
        CameTo::Refused { why, .. } => ("refused", None, Some(why)),
    };
    json!({
        "after": batch.after.as_ref().map(Key::values), "result": came_to, "why": why, "tries": batch.tries,
        "locked_ms": ms(batch.held), "keys": measured.map(|it| it.keys), "matched": measured.map(|it| it.matched),
        "changed": measured.map(|it| it.changed), "hot": measured.and_then(|it| it.hot),
        "ms": measured.map(|it| ms(it.took)), "wal_bytes": measured.and_then(|it| it.wal_bytes),
        "blocks_read": measured.and_then(|it| it.blocks_read),
    })
}

fn forecast(forecast: &Forecast) -> Value {
    let growth = |it: Growth| json!({ "now": it.now, "with_vacuum": it.vacuumed, "without_vacuum": it.plain });
    json!({
        "rows": forecast.rows, "matching": forecast.matching, "rows_per_s": forecast.rows_per_second,
        "limit_rows_per_s": forecast.limit.map(crate::job::Rate::rows_per_second),
        "walk_s": forecast.time.map(|time| time.as_secs_f64()), "wal_bytes": forecast.wal_bytes,
        "table_bytes": growth(forecast.heap), "index_bytes": growth(forecast.indexes),
    })
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
