//! `plan`: what a job would do. Changes nothing.

use piecemeal::control::Desk;
use piecemeal::report::json;
use piecemeal::{Job, Plan};
use serde_json::json;

use super::Done;
use crate::cli::args::OneJob;
use crate::cli::exit::Exit;
use crate::cli::explain;
use crate::cli::settings::{Problem, Settings};

pub(crate) async fn run(settings: &Settings, args: &OneJob) -> Done {
    let job = settings.job(&args.job)?;
    let desk = settings.desk(Some(&job.name)).await?;
    let plan = build(&job, &desk).await?;
    if settings.is_json() {
        settings.printer.data(&document(&plan).to_string())?;
    } else {
        settings.printer.data(&plan.to_string())?;
        show_findings(settings, &plan);
    }
    Ok(Exit::Done)
}

/// Builds the plan of a job; a refusal carries the job, so that its lines can be shown.
pub(crate) async fn build(job: &Job, desk: &Desk) -> Result<Plan, Problem> {
    let built = Plan::build(job, desk.database()).await;
    built.map_err(|error| Problem::Error(error, Some(Box::new(job.clone()))))
}

/// Shows what preflight found.
pub(crate) fn show_findings(settings: &Settings, plan: &Plan) {
    for finding in &plan.findings {
        settings.printer.say(&explain::with_place(finding, Some(&plan.job)));
    }
}

fn document(plan: &Plan) -> serde_json::Value {
    let columns: Vec<_> = plan.target.keyset.columns.iter().map(|column| &column.name).collect();
    json!({ "v": 1, "plan": {
        "job": plan.job.name, "table": plan.target.keyset.table, "key": columns, "index": plan.target.index,
        "rows": plan.estimate, "last_key": plan.last_key.as_ref().map(piecemeal::Key::values),
        "batch_sql": plan.statements.update.of_stretch(true),
        "boundary_sql": plan.statements.boundary.of_stretch(true),
        "batch_explain": plan.explained.batch, "boundary_explain": plan.explained.boundary,
        "findings": plan.findings.iter().map(json::finding).collect::<Vec<_>>(),
    }})
}
