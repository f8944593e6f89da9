//! What `plan` shows: the plan, its windows and holds, what was rehearsed, and the forecast.
//!
//! As text, and as a document whose field names are a contract, as in [`json`](mod@super::json).
//! Unknown is null. A pure view: what the database says of it is given.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json::{self, instant};
use crate::finding::Finding;
use crate::job::{Vacuum, Window};
use crate::plan::{CameTo, Forecast, Growth, Outline, Plan, Rehearsal, Rehearsed};
use crate::run::{Expiry, Overrides, Schedule};
use crate::throttle::{Origin, Survey, Surveyed};
use crate::walk::Key;

/// A plan, and what the database says of the time, the signals, and a few batches.
#[derive(Debug, Clone, Copy)]
pub struct Preview<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The server's now.
    pub now: Timestamp,
    /// What holds a run.
    pub survey: &'a Survey,
    /// What was rehearsed, if something was.
    pub seen: Option<&'a Rehearsal>,
    /// What people have changed of the pace of its run: now, and what is left of it later.
    pub changed: (&'a Overrides, &'a [Expiry]),
}

impl Preview<'_> {
    /// Returns everything that was found, worst first.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = self.plan.findings.clone();
        findings.extend(self.survey.findings(&self.plan.job));
        findings.extend(self.seen.into_iter().flat_map(|seen| seen.findings(self.plan)));
        findings.sort_by_key(|finding| finding.severity);
        findings
    }

    fn schedule(&self) -> Schedule {
        Schedule::new(self.plan.job.pace.windows.clone())
    }

    fn notes(&self) -> Vec<String> {
        self.schedule().notes(self.plan.job.pace.rate)
    }
}

impl fmt::Display for Preview<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(f)?;
        let schedule = self.schedule();
        if !schedule.is_empty() {
            let current = schedule.at(self.now);
            writeln!(f, "\nwindows:\n  now: {current}")?;
            if current.until.is_some() {
                writeln!(f, "  then: {}", name(current.next))?;
            }
            self.notes().iter().try_for_each(|note| writeln!(f, "  note: {note}"))?;
        }
        writeln!(f, "\nholds:")?;
        self.survey.to_string().lines().try_for_each(|line| writeln!(f, "  {line}"))?;
        let Some(seen) = self.seen else { return Ok(()) };
        write!(f, "\n{seen}\n{}", self.plan.forecast(seen, self.now, self.changed))
    }
}

fn name(window: Option<&Window>) -> String {
    window.map_or_else(|| "no window".into(), Window::to_string)
}

/// Returns the document of `plan -o json`.
pub fn plan(preview: &Preview<'_>) -> Value {
    let Preview { plan, now, survey, seen, changed } = *preview;
    let columns: Vec<_> = plan.target.keyset.columns.iter().map(|column| &column.name).collect();
    json!({ "v": json::VERSION, "plan": {
        "job": plan.job.name, "table": plan.target.keyset.table, "key": columns, "index": plan.target.index, "order": plan.job.table.order.as_str(),
        "rows": plan.estimate, "last_key": plan.last_key.as_ref().map(Key::values),
        "sync": plan.sync.as_ref().map(|it| json!({
            "name": it.name, "writes": it.writes, "function_sql": it.function_sql, "trigger_sql": it.trigger_sql,
        })),
        "batch_sql": plan.statements.of_walk().update.of_stretch(true),
        "boundary_sql": plan.statements.of_walk().boundary.of_stretch(true),
        "batch_explain": plan.explained.batch, "boundary_explain": plan.explained.boundary,
        "vacuum": {
            "every_percent": match plan.job.pace.vacuum { Vacuum::Every(percent) => Some(percent), Vacuum::Off => None },
            "is_permitted": plan.can_vacuum, "is_direct": plan.is_direct,
        },
        "pace": pace(preview),
        "holds": survey.0.iter().map(hold).collect::<Vec<_>>(),
        "rehearsal": seen.map(rehearsal),
        "forecast": seen.map(|seen| forecast(&plan.forecast(seen, now, changed))),
        "findings": preview.findings().iter().map(json::finding).collect::<Vec<_>>(),
    }})
}

/// Returns the document of `plan -o json` before the statements of `[expand]` have been run.
pub fn outline(outline: &Outline) -> Value {
    let job = &outline.job;
    let statements =
        job.shape.all().map(|(part, it)| json!({ "part": part.word(), "sql": it.text }));
    json!({ "v": json::VERSION, "plan": {
        "job": job.name, "is_before_expand": true, "statements": statements.collect::<Vec<_>>(),
        "findings": outline.findings.iter().map(json::finding).collect::<Vec<_>>(),
    }})
}

fn pace(preview: &Preview<'_>) -> Value {
    let schedule = preview.schedule();
    let current = schedule.at(preview.now);
    let windows: Vec<_> = schedule.windows().iter().map(Window::to_string).collect();
    let base = preview.plan.job.pace.rate.map(crate::job::Rate::rows_per_second);
    let has_windows = !schedule.is_empty();
    json!({
        "limit_rows_per_s": base, "workers": preview.plan.job.pace.workers, "ranges": preview.plan.ranges(), "windows": windows,
        "now": has_windows.then(|| current.to_string()), "is_paused": current.is_paused(),
        "now_limit_rows_per_s": current.limit(base.map(f64::from)),
        "until": current.until.map(instant), "then": current.until.map(|_| name(current.next)),
        "notes": preview.notes(),
    })
}

fn hold(surveyed: &Surveyed) -> Value {
    let state = &surveyed.state;
    json!({
        "signal": surveyed.signal.word(), "name": surveyed.name, "state": state.word(),
        "by": state.origin().map(Origin::word), "why": state.why(), "recipe": state.recipe(),
    })
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
        "walk_s": forecast.time.map(|time| time.as_secs_f64()),
        "verification_s": forecast.verification.map(|time| time.as_secs_f64()),
        "with_windows_over_at": forecast.windowed.as_ref().and_then(|it| it.over).map(instant), "wal_bytes": forecast.wal_bytes,
        "table_bytes": growth(forecast.heap), "index_bytes": growth(forecast.indexes),
    })
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
