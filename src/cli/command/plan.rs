//! `plan`: what a job would do, what a few batches of it were like, and what the whole will cost.

use piecemeal::control::Desk;
use piecemeal::finding::Finding;
use piecemeal::plan::Rehearsal;
use piecemeal::report;
use piecemeal::{Job, Plan};

use super::Done;
use crate::cli::args::Plan as PlanArgs;
use crate::cli::exit::Exit;
use crate::cli::explain;
use crate::cli::settings::{Problem, Settings};

pub(crate) async fn run(settings: &Settings, args: &PlanArgs) -> Done {
    let job = settings.job(&args.job)?;
    let desk = settings.desk(Some(&job.name)).await?;
    let plan = build(&job, &desk).await?;
    let seen = if args.no_rehearsal { None } else { Some(plan.rehearse(desk.database()).await?) };
    let findings = all_findings(&plan, seen.as_ref());
    if settings.is_json() {
        let document = report::plan::plan(&plan, seen.as_ref(), &findings);
        settings.printer.data(&document.to_string())?;
    } else {
        settings.printer.data(&in_words(&plan, seen.as_ref()))?;
        show(settings, &plan.job, &findings);
    }
    Ok(Exit::Done)
}

fn in_words(plan: &Plan, seen: Option<&Rehearsal>) -> String {
    match seen {
        Some(seen) => format!("{plan}\n{seen}\n{}", plan.forecast(seen)),
        None => plan.to_string(),
    }
}

fn all_findings(plan: &Plan, seen: Option<&Rehearsal>) -> Vec<Finding> {
    let mut findings = plan.findings.clone();
    findings.extend(seen.into_iter().flat_map(|seen| seen.findings(&plan.target.keyset.table)));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Builds the plan of a job; a refusal carries the job, so that its lines can be shown.
pub(crate) async fn build(job: &Job, desk: &Desk) -> Result<Plan, Problem> {
    let built = Plan::build(job, desk.database()).await;
    built.map_err(|error| Problem::Error(error, Some(Box::new(job.clone()))))
}

/// Shows what preflight found.
pub(crate) fn show_findings(settings: &Settings, plan: &Plan) {
    show(settings, &plan.job, &plan.findings);
}

fn show(settings: &Settings, job: &Job, findings: &[Finding]) {
    for finding in findings {
        settings.printer.say(&explain::with_place(finding, Some(job)));
    }
}
