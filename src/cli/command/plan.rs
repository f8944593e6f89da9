//! `plan`: what a job would do, what a few batches of it were like, and what the whole will cost.

use piecemeal::control::Desk;
use piecemeal::finding::Finding;
use piecemeal::report;
use piecemeal::report::plan::Preview;
use piecemeal::throttle::survey;
use piecemeal::{Job, Plan};

use super::{Done, shape};
use crate::cli::args::Plan as PlanArgs;
use crate::cli::exit::Exit;
use crate::cli::explain;
use crate::cli::settings::{Problem, Settings};

pub(crate) async fn run(settings: &Settings, args: &PlanArgs) -> Done {
    let job = settings.job(&args.job)?;
    let desk = settings.desk(Some(&job.name)).await?;
    let plan = match build(&job, &desk).await {
        Ok(plan) if job.has_work() => plan,
        Err(problem) if !shape::is_before_walk(&desk, &job).await? => return Err(problem),
        Ok(_) | Err(_) => return outline(settings, &job, &desk).await,
    };
    let database = desk.database();
    let survey = survey(database, Some(&plan)).await?;
    let seen = if args.no_rehearsal { None } else { Some(plan.rehearse(database).await?) };
    let now = desk.clock().await?;
    // Who may not read the ledger has no run, and a finding says so.
    let (changed, later) = desk.changed(&job.name).await.unwrap_or_default();
    let changed = (&changed, &later[..]);
    let preview = Preview { plan: &plan, now, survey: &survey, seen: seen.as_ref(), changed };
    if settings.is_json() {
        settings.printer.data(&report::plan::plan(&preview).to_string())?;
    } else {
        settings.printer.data(&preview.to_string())?;
        show(settings, &plan.job, &preview.findings());
    }
    Ok(Exit::Done)
}

/// Shows what can be said before the statements of `[expand]` have been run.
async fn outline(settings: &Settings, job: &Job, desk: &Desk) -> Done {
    let outline = shape::outline(job, desk).await?;
    if settings.is_json() {
        settings.printer.data(&report::plan::outline(&outline).to_string())?;
    } else {
        settings.printer.data(&outline.to_string())?;
        show(settings, job, &outline.findings);
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
    show(settings, &plan.job, &plan.findings);
}

pub(super) fn show(settings: &Settings, job: &Job, findings: &[Finding]) {
    for finding in findings {
        settings.printer.say(&explain::with_place(finding, Some(job)));
    }
}
