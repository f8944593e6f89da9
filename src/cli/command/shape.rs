//! `contract`, `down`, and the expand of `run`: the schema side of a job.

use piecemeal::control::{Desk, Run, check_definition};
use piecemeal::engine::{self, Options, Statements};
use piecemeal::job::{Identity, Part};
use piecemeal::plan::Outline;
use piecemeal::report::words;
use piecemeal::run::{Phase, Status};
use piecemeal::{Error, ErrorKind, Job};
use serde_json::json;

use super::Done;
use super::plan::{build, show, show_findings};
use super::run::{How, agrees, follow, not_agreed, say, watch};
use crate::cli::args::{Contract, OneJob};
use crate::cli::exit::Exit;
use crate::cli::settings::{Problem, Settings, actor};

/// Returns what can be said of a job before its expand.
pub(super) async fn outline(job: &Job, desk: &Desk) -> Result<Outline, Problem> {
    let built = Outline::build(job, desk.database()).await;
    built.map_err(|error| Problem::Error(error, Some(Box::new(job.clone()))))
}

/// Whether the statements of a job's expand are still to be run, or it has nothing else.
pub(super) async fn is_before_walk(desk: &Desk, job: &Job) -> Result<bool, Error> {
    if !job.shape.expands() {
        return Ok(false);
    }
    let run = desk.find(&job.name).await?;
    Ok(run.is_none_or(|run| run.is_undone() || run.is_before_walk()))
}

/// Runs the statements of `[expand]`, then begins the rows.
pub(super) async fn expand(
    settings: &Settings,
    desk: &Desk,
    (job, open, last): (&Job, Option<&Run>, Option<&Run>),
    how: How<'_>,
) -> Done {
    let run = if let Some(run) = open {
        desk.check_origin(run).await?;
        run.id
    } else {
        let outline = outline(job, desk).await?;
        show(settings, job, &outline.findings);
        let question = format!("start `{}`?", job.name);
        if !agrees(settings, &outline.to_string(), &question) {
            return Err(not_agreed(&job.name).into());
        }
        desk.begin(&outline, last).await?
    };
    let options = how.options(desk).await?;
    let statements =
        Statements { parts: vec![Part::ExpandUp], is_all: !job.has_work(), lenient: Vec::new() };
    let handle =
        engine::shape(job.clone(), statements, run, desk.database().clone(), options.clone());
    let (exit, report) = watch(settings, &job.name, handle, !job.has_work()).await?;
    if exit != Exit::Done || !job.has_work() {
        say(settings, job, &report);
        return Ok(exit);
    }
    // Here new rows begin to be kept in step: after what that needs, and before the end of the walk is found.
    let plan = build(job, desk).await.map_err(|problem| after_expand(problem, job))?;
    show_findings(settings, &plan);
    desk.begin_walk(&plan, run).await?;
    follow(settings, desk, plan, run, options).await
}

/// A refusal that comes after the statements of `[expand]` says that these stand.
fn after_expand(problem: Problem, job: &Job) -> Problem {
    let Problem::Error(error, shown) = problem else { return problem };
    if error.kind() != ErrorKind::Refused {
        return Problem::Error(error, shown);
    }
    let name = &job.name;
    let error = error
        .retold(format!("job `{name}` was refused after its expand; no row was written"))
        .having_committed("the statements of [expand]")
        .with_hint(format!(
            "when that is cured, `piecemeal run {name}` goes on; `piecemeal down {name}` takes the statements back"
        ));
    Problem::Error(error, shown)
}

/// Says what comes after a verified end.
pub(super) fn next(job: &Job) -> String {
    let messages = job.shape.gates.iter().filter_map(|gate| gate.message.clone());
    let mut steps: Vec<String> = messages.collect();
    steps.push(format!("`piecemeal contract {}`", job.name));
    format!("next: {}", steps.join(", then "))
}

pub(crate) async fn contract(settings: &Settings, args: &Contract) -> Done {
    let job = settings.job(&args.job)?;
    let name = &job.name;
    let desk = settings.desk(Some(name)).await?;
    let run = desk.find(name).await?.ok_or_else(|| desk.no_run(name))?;
    check_definition(&Identity::of(&job), &run)?;
    desk.check_origin(&run).await?;
    if !job.shape.contracts() {
        return Err(nothing_to_contract(name).into());
    }
    if run.phase == Phase::Contract && run.status == Status::Succeeded {
        settings.printer.say(&format!("nothing to do: `{name}` is contracted"));
        return Ok(Exit::Done);
    }
    // What has begun was let through, and what it has dropped cannot be looked at any more.
    if !desk.steps(run.id).await?.began(Part::ContractUp) {
        pass_gates(settings, &desk, (&job, &run), args.acknowledge.as_deref()).await?;
    }
    desk.reopen(&run, Phase::Contract).await?;
    let statements =
        Statements { parts: vec![Part::ContractUp], is_all: true, lenient: Vec::new() };
    finish(settings, &desk, (&job, &run), statements).await
}

/// Looks at every row once more and at every gate, and asks.
async fn pass_gates(
    settings: &Settings,
    desk: &Desk,
    (job, run): (&Job, &Run),
    word: Option<&str>,
) -> Result<(), Problem> {
    let snapshot = desk.check_contract(job, run, word.is_some()).await?;
    if job.has_work() {
        let plan = build(job, desk).await?;
        desk.check_same(&plan, run).await?;
        let verified = engine::verify(plan, &snapshot, desk.database().clone()).await?;
        settings.printer.say(&format!(
            "verified once more: {} rows looked at in {}",
            words::count(verified.looked),
            words::span(verified.took)
        ));
    }
    let shown: Vec<&str> = job.shape.contract.up.iter().map(|it| it.text.trim()).collect();
    let question = format!("drop the old shape of `{}`?", job.name);
    if !agrees(settings, &shown.join("\n"), &question) {
        return Err(not_agreed(&job.name).into());
    }
    if let Some(word) = word {
        let gates: Vec<_> = job.shape.gates.iter().filter_map(|it| it.message.clone()).collect();
        let detail = json!({ "text": word, "gates": gates });
        desk.note(run.id, "acknowledge", &detail).await?;
    }
    Ok(())
}

fn nothing_to_contract(name: &str) -> Error {
    let what = format!("job `{name}` has no [contract]; nothing was written");
    Error::new(ErrorKind::Refused, "no-contract", what)
        .with_hint("write the statements that drop the old shape as `up` under [contract]")
}

pub(crate) async fn down(settings: &Settings, args: &OneJob) -> Done {
    let job = settings.job(&args.job)?;
    let name = &job.name;
    let desk = settings.desk(Some(name)).await?;
    let run = desk.find(name).await?.ok_or_else(|| desk.no_run(name))?;
    if run.is_undone() {
        settings.printer.say(&format!("nothing to do: `{name}` was taken back"));
        return Ok(Exit::Done);
    }
    check_definition(&Identity::of(&job), &run)?;
    desk.check_origin(&run).await?;
    let (parts, lenient) = desk.way_back(&job, &run).await?;
    let of = |part: &Part| job.shape.statements(*part).unwrap_or_default();
    let shown: Vec<&str> = parts.iter().flat_map(of).map(|it| it.text.trim()).collect();
    if !agrees(settings, &shown.join("\n"), &format!("take `{name}` back?")) {
        return Err(not_agreed(name).into());
    }
    desk.reopen(&run, Phase::Down).await?;
    finish(settings, &desk, (&job, &run), Statements { parts, is_all: true, lenient }).await
}

async fn finish(
    settings: &Settings,
    desk: &Desk,
    (job, run): (&Job, &Run),
    statements: Statements,
) -> Done {
    let database = desk.database().clone();
    let handle = engine::shape(job.clone(), statements, run.id, database, Options::new(actor()));
    let (exit, report) = watch(settings, &job.name, handle, true).await?;
    say(settings, job, &report);
    Ok(exit)
}
