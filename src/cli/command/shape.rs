//! `contract`, `down`, and the expand of `run`: the schema side of a job.

use piecemeal::control::{Desk, Run, check_definition, expands_next};
use piecemeal::engine::{self, Options, Statements};
use piecemeal::job::{Identity, Part};
use piecemeal::plan::Outline;
use piecemeal::report::words;
use piecemeal::run::{Phase, Status};
use piecemeal::{Error, ErrorKind, Job};
use serde_json::json;

use super::Done;
use super::plan::{build, show, show_findings};
use super::run::{How, agrees, follow, go, keep_in_step, not_agreed, not_begun, say, watch};
use crate::cli::args::{Contract, OneJob, RunPace};
use crate::cli::exit::Exit;
use crate::cli::settings::{Problem, Settings, actor};

/// Returns what can be said of a job before its expand.
pub(super) async fn outline(job: &Job, desk: &Desk) -> Result<Outline, Problem> {
    let built = Outline::build(job, desk.database()).await;
    built.map_err(|error| Problem::Error(error, Some(Box::new(job.clone()))))
}

/// Whether the statements of a job's expand are still to be run, or it has nothing else.
pub(super) async fn is_before_walk(desk: &Desk, job: &Job) -> Result<bool, Error> {
    Ok(job.shape.expands() && expands_next(job, desk.find(&job.name).await?.as_ref()))
}

/// Runs the statements of `[expand]`, then begins the rows.
pub(super) async fn expand(
    settings: &Settings,
    desk: &Desk,
    (job, open, last): (&Job, Option<&Run>, Option<&Run>),
    mut options: Options,
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
        options.has_begun = true;
        desk.begin(&outline, last).await?
    };
    let statements = Statements { is_all: !job.has_work(), ..Statements::of(vec![Part::ExpandUp]) };
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
    if plan.sync.is_some() {
        desk.begin_sync(run).await?;
    }
    if !keep_in_step(settings, desk, &plan, (Some(run), options.term)).await? {
        return not_begun(settings, desk, &job.name, true).await;
    }
    options.has_begun |= desk.begin_walk(&plan, run).await?;
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
    let desk = settings.desk(Some(&job.name)).await?;
    contract_of(settings, &desk, &job, args.acknowledge.as_deref()).await
}

/// The same for a job that was read.
pub(super) async fn contract_of(
    settings: &Settings,
    desk: &Desk,
    job: &Job,
    word: Option<&str>,
) -> Done {
    let name = &job.name;
    let run = desk.find(name).await?.ok_or_else(|| desk.no_run(name))?;
    check_definition(&Identity::of(job), &run)?;
    desk.check_origin(&run).await?;
    if !job.shape.contracts() {
        return Err(nothing_to_contract(name).into());
    }
    if run.phase == Phase::Contract && run.status == Status::Succeeded {
        settings.printer.say(&format!("nothing to do: `{name}` is contracted"));
        return Ok(Exit::Done);
    }
    // What has begun was let through, and what it has dropped cannot be looked at any more. But as long as rows are kept
    // in step, both sides are there, and written.
    let has_begun = desk.steps(run.id).await?.began(Part::ContractUp);
    if !has_begun || desk.is_kept(run.id).await? {
        pass_gates(settings, desk, (job, &run), word).await?;
    }
    desk.reopen(&run, Phase::Contract).await?;
    let statements = Statements { lets_go: true, ..Statements::of(vec![Part::ContractUp]) };
    finish(settings, desk, (job, &run), statements).await
}

/// Looks at every row once more and at every gate, and asks.
async fn pass_gates(
    settings: &Settings,
    desk: &Desk,
    (job, run): (&Job, &Run),
    word: Option<&str>,
) -> Result<(), Problem> {
    let snapshot = desk.check_contract(job, run, word.is_some()).await?;
    let plan = if job.has_work() { Some(build(job, desk).await?) } else { None };
    if let Some(plan) = &plan {
        desk.check_same(plan, run).await?;
        desk.check_in_step(plan, run).await?;
        let verified = engine::verify(plan.clone(), &snapshot, desk.database().clone()).await?;
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
    // Looking at every row takes hours, and answering may, too.
    desk.check_contract(job, run, word.is_some()).await?;
    if let Some(plan) = &plan {
        desk.check_in_step(plan, run).await?;
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
    let desk = settings.desk(Some(&job.name)).await?;
    match Box::pin(Back::over_rows(settings, &desk, &job)).await? {
        Ok(back) => back.go_to_the_start().await,
        Err(exit) => Ok(exit),
    }
}

/// A job on its way back. Its old columns are there, and kept in step with the new ones.
pub(super) struct Back<'a> {
    settings: &'a Settings,
    desk: &'a Desk,
    job: &'a Job,
    run: Run,
    statements: Statements,
}

impl<'a> Back<'a> {
    /// Takes back the contract of a job, and computes its old columns; returns how it ended if it goes no further.
    pub(super) async fn over_rows(
        settings: &'a Settings,
        desk: &'a Desk,
        job: &'a Job,
    ) -> Result<Result<Back<'a>, Exit>, Problem> {
        let name = &job.name;
        let run = desk.find(name).await?.ok_or_else(|| desk.no_run(name))?;
        if run.is_undone() {
            forget_way_back(desk, job).await?;
            settings.printer.say(&format!("nothing to do: `{name}` was taken back"));
            return Ok(Err(Exit::Done));
        }
        check_definition(&Identity::of(job), &run)?;
        desk.check_origin(&run).await?;
        let (parts, lenient) = desk.way_back(job, &run).await?;
        let goes_over_rows = desk.goes_back_over_rows(job, &run).await?;
        let question = format!("take `{name}` back?");
        if !agrees(settings, &way(job, &parts, goes_over_rows), &question) {
            return Err(not_agreed(name).into());
        }
        desk.reopen(&run, Phase::Down).await?;
        let statements = Statements { lenient, lets_go: true, ..Statements::of(parts) };
        let back = Back { settings, desk, job, run, statements };
        let exit = if goes_over_rows { back.bring_back().await? } else { Exit::Done };
        Ok(if exit == Exit::Done { Ok(back) } else { Err(exit) })
    }

    /// Runs the statements that put the old columns there, and computes them from the new ones in a run of its own.
    async fn bring_back(&self) -> Done {
        let Back { settings, desk, job, run, .. } = self;
        if !desk.steps(run.id).await?.began(Part::ContractDown) {
            // Of an earlier life of the job.
            forget_way_back(desk, job).await?;
        }
        let lenient = self.statements.lenient.clone();
        let parts = vec![Part::ContractDown];
        let first = Statements { is_all: false, lenient, ..Statements::of(parts) };
        let exit = finish(settings, desk, (job, run), first).await?;
        if exit != Exit::Done {
            return Ok(exit);
        }
        let (back, again) = desk.reversed(job).await?;
        let pace = RunPace::default();
        let how = How::plain(&pace).again(again);
        let exit = Box::pin(go(settings, desk, &back, how)).await?;
        if exit != Exit::Done {
            let next = format!("`piecemeal down {}` goes on from here", job.name);
            settings.printer.say(&next);
        }
        Ok(exit)
    }

    /// Takes back the expand, and with it lets go of what keeps the old columns in step.
    pub(super) async fn go_to_the_start(self) -> Done {
        let Back { settings, desk, job, run, statements } = self;
        let exit = finish(settings, desk, (job, &run), statements).await?;
        if exit == Exit::Done {
            forget_way_back(desk, job).await?;
        }
        Ok(exit)
    }
}

/// The run that brought the old columns back is of no use once they are there.
async fn forget_way_back(desk: &Desk, job: &Job) -> Result<(), Error> {
    let name = job.name_of_way_back();
    if desk.find(&name).await?.is_some() {
        desk.forget(&name).await?;
    }
    Ok(())
}

/// What taking a job back comes to, for the question.
fn way(job: &Job, parts: &[Part], goes_over_rows: bool) -> String {
    let of = |part: &Part| job.shape.statements(*part).unwrap_or_default();
    let mut shown: Vec<String> = Vec::new();
    for part in parts {
        if *part == Part::ExpandDown && goes_over_rows {
            shown.push("-- then every row: the old columns, as `reverse` says".into());
        }
        shown.extend(of(part).iter().map(|it| it.text.trim().to_owned()));
    }
    shown.join("\n")
}

async fn finish(
    settings: &Settings,
    desk: &Desk,
    (job, run): (&Job, &Run),
    statements: Statements,
) -> Done {
    let (database, is_all) = (desk.database().clone(), statements.is_all);
    let handle = engine::shape(job.clone(), statements, run.id, database, Options::new(actor()));
    let (exit, report) = watch(settings, &job.name, handle, is_all).await?;
    if is_all || exit != Exit::Done {
        say(settings, job, &report);
    }
    Ok(exit)
}
