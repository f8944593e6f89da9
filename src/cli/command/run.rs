//! `run`, `join` and `resume`: starts a job or goes on with it, in the foreground, with progress.

use std::io;
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use piecemeal::control::{
    Desk, RACED, Run as LedgerRun, SYNC_LOCKED, check_definition, check_open,
};
use piecemeal::engine::{self, Ending, Handle, Options, Report, Term};
use piecemeal::job::{Identity, in_order};
use piecemeal::report::{json, words};
use piecemeal::run::{Shown, Snapshot, Status};
use piecemeal::sync::Blocker;
use piecemeal::{Error, ErrorKind, Job, Plan};

use super::Done;
use super::control::check_target;
use super::plan::{build, show_findings};
use super::{check, shape};
use crate::cli::args::{Join, Output, Resume, Run, RunPace};
use crate::cli::exit::Exit;
use crate::cli::settings::{Problem, Settings, actor};
use crate::cli::{reporter, signals};

/// How often it is looked again when others begin the same job at the same time.
const LOOKS: u32 = 5;

/// How a run is begun, or gone on with.
#[derive(Clone, Copy)]
pub(super) struct How<'a> {
    again: bool,
    joins: bool,
    pace: &'a RunPace,
    term: Term,
}

impl<'a> How<'a> {
    /// Begins it if need be, and works on it alone.
    pub(super) fn plain(pace: &'a RunPace) -> How<'a> {
        How { again: false, joins: false, pace, term: Term::default() }
    }

    /// Begins a new run if `again`, after one that is done.
    pub(super) fn again(self, again: bool) -> How<'a> {
        How { again, ..self }
    }

    /// Returns how this process works on the run.
    fn options(self) -> Options {
        Options { joins: self.joins, ..options(self.pace, self.term) }
    }
}

pub(crate) async fn run(settings: &Settings, args: &Run) -> Done {
    let began = Instant::now();
    // All files are read before anything is done.
    let jobs = if args.jobs.is_empty() { all_in_order(settings)? } else { named(settings, args)? };
    let mut known = None;
    for job in &jobs {
        let desk = settings.desk(Some(&job.name)).await?;
        let term = match known {
            Some(term) => term,
            None => *known.insert(term(&desk, &args.pace, began).await?),
        };
        let how = How { again: args.again, joins: false, pace: &args.pace, term };
        let exit = go(settings, &desk, job, how).await?;
        if exit != Exit::Done {
            return Ok(exit);
        }
    }
    Ok(Exit::Done)
}

/// Returns the jobs that were named, in the order of their names.
fn named(settings: &Settings, args: &Run) -> Result<Vec<Job>, Problem> {
    Ok(args.jobs.iter().map(|job| settings.job(job)).collect::<Result<_, _>>()?)
}

/// Returns all jobs of the folder, in the order in which they can be done.
fn all_in_order(settings: &Settings) -> Result<Vec<Job>, Problem> {
    let paths = check::all(settings)?;
    let jobs = paths.iter().map(Job::from_file).collect::<Result<Vec<_>, _>>()?;
    in_order(jobs).map_err(|knot| {
        let error = Error::new(ErrorKind::Usage, "after", knot.to_string());
        error.with_hint("leave one of them out of `after` in its job file").into()
    })
}

pub(crate) async fn join(settings: &Settings, args: &Join) -> Done {
    let began = Instant::now();
    let job = settings.job(&args.job)?;
    let desk = settings.desk(Some(&job.name)).await?;
    let term = term(&desk, &args.pace, began).await?;
    go(settings, &desk, &job, How { again: false, joins: true, pace: &args.pace, term }).await
}

/// Looks, plans and begins; looks again if somebody else began meanwhile, who may even be done.
pub(super) async fn go(settings: &Settings, desk: &Desk, job: &Job, how: How<'_>) -> Done {
    for _ in 1..LOOKS {
        match Box::pin(begin(settings, desk, job, how)).await {
            Err(Problem::Error(error, _)) if error.code() == RACED => {}
            done => return done,
        }
    }
    Box::pin(begin(settings, desk, job, how)).await
}

async fn begin(settings: &Settings, desk: &Desk, job: &Job, how: How<'_>) -> Done {
    let found = desk.find(&job.name).await?;
    let open = found.as_ref().filter(|run| !run.status.is_final());
    if let Some(run) = open {
        if how.again {
            return Err(not_ended(run).into());
        }
        desk.check_goes_forward(run)?;
        check_definition(&Identity::of(job), run)?;
        if let Err(error) = check_open(run) {
            return Err(with_committed(error, desk, &job.name).await?.into());
        }
    } else if let Some(run) = found.as_ref().filter(|run| !how.again && !run.is_undone()) {
        if run.status == Status::Succeeded {
            check_definition(&Identity::of(job), run)?;
            return already_done(settings, desk, job).await;
        }
        check_open(run)?;
    }
    if open.is_none() {
        desk.check_after(job).await?;
    }
    // What was typed is read in full before anything is written.
    check_target(&job.name, how.pace.target, Some(job.batch.target_bounds()))?;
    if is_time_up(desk, how.term).await? {
        return not_begun(settings, desk, &job.name, open.is_some()).await;
    }
    let mut options = how.options();
    if job.shape.expands() && open.is_none_or(LedgerRun::is_before_walk) {
        let expanding = shape::expand(settings, desk, (job, open, found.as_ref()), options);
        return Box::pin(expanding).await;
    }
    let plan = build(job, desk).await?;
    let run = if let Some(run) = open {
        desk.check_same(&plan, run).await?;
        if !keep_in_step(settings, desk, &plan, (Some(run.id), how.term)).await? {
            return not_begun(settings, desk, &job.name, true).await;
        }
        if run.is_cured() {
            desk.resume(&job.name).await?;
            let name = &job.name;
            settings.printer.say(&format!("resumed: every bad row of `{name}` was skipped"));
        }
        run.id
    } else {
        show_findings(settings, &plan);
        if !agreed(settings, &plan) {
            return Err(not_agreed(&job.name).into());
        }
        desk.install(None).await?;
        if !keep_in_step(settings, desk, &plan, (None, how.term)).await? {
            return not_begun(settings, desk, &job.name, false).await;
        }
        options.has_begun = true;
        desk.create(&plan, found.as_ref()).await?
    };
    follow(settings, desk, plan, run, options).await
}

/// Makes the sync trigger of a job that has one, and says who is in the way; returns whether it is there, as the time may
/// be up before.
pub(super) async fn keep_in_step(
    settings: &Settings,
    desk: &Desk,
    plan: &Plan,
    (run, term): (Option<i64>, Term),
) -> Result<bool, Error> {
    let printer = settings.printer;
    let table = &plan.target.keyset.table;
    let mut told = |blocker: &Blocker| {
        printer.say(&format!("waiting to make the sync trigger: {table} is held by {blocker}"));
    };
    let deadline = if plan.sync.is_some() { ends(desk, term).await? } else { None };
    let is_new = match desk.keep_in_step(plan, run, deadline, &mut told).await {
        Err(error) if error.code() == SYNC_LOCKED && is_time_up(desk, term).await? => {
            return Ok(false);
        }
        made => made?,
    };
    if is_new {
        let writes = plan.sync.as_ref().map_or("", |trigger| &trigger.writes);
        printer.say(&format!("sync: a trigger keeps {table} in step, {writes}"));
    }
    Ok(true)
}

fn not_ended(run: &LedgerRun) -> Error {
    let job = &run.job;
    let what = format!("run `{job}` has not ended: it is {}", run.status);
    Error::new(ErrorKind::Refused, "not-ended", what)
        .with_hint(format!("`piecemeal cancel {job}`, then `piecemeal run {job} --again`"))
}

pub(crate) async fn resume(settings: &Settings, args: &Resume) -> Done {
    let began = Instant::now();
    let name = settings.job_name(&args.job);
    let desk = settings.desk(Some(&name)).await?;
    let Some(mut run) = desk.find(&name).await? else { return Err(desk.no_run(&name).into()) };
    if run.is_live || run.status.is_final() {
        return hand_over(settings, &desk, &run).await;
    }
    desk.check_goes_forward(&run)?;
    // What stands against going on is said before the pause, or the failure, is taken back.
    let job = settings.job(&args.job)?;
    check_target(&name, args.pace.target, Some(job.batch.target_bounds()))?;
    let term = term(&desk, &args.pace, began).await?;
    if run.is_before_walk() {
        check_definition(&Identity::of(&job), &run)?;
        desk.resume(&name).await?;
        let how = How { again: false, joins: false, pace: &args.pace, term };
        return Box::pin(begin(settings, &desk, &job, how)).await;
    }
    let plan = build(&job, &desk).await?;
    if args.adopt {
        check_definition(&Identity::of(&plan.job), &run)?;
        run = desk.adopt(run).await?;
    }
    desk.check_same(&plan, &run).await?;
    if !keep_in_step(settings, &desk, &plan, (Some(run.id), term)).await? {
        return not_begun(settings, &desk, &name, true).await;
    }
    Box::pin(go_on(settings, &desk, plan, &run, options(&args.pace, term))).await
}

/// Takes back what made a run stand, and goes on with it here, unless somebody stands by to do so.
pub(super) async fn go_on(
    settings: &Settings,
    desk: &Desk,
    plan: Plan,
    run: &LedgerRun,
    options: Options,
) -> Done {
    if run.is_live || desk.resume(&run.job).await?.is_live {
        return hand_over(settings, desk, run).await;
    }
    Box::pin(follow(settings, desk, plan, run.id, options)).await
}

/// The owner that stands by goes on with the run.
async fn hand_over(settings: &Settings, desk: &Desk, run: &LedgerRun) -> Done {
    let asked = desk.resume(&run.job).await?;
    let (name, owner) = (&run.job, run.owner.as_deref().unwrap_or("its owner"));
    settings.printer.say(&if asked.was == Status::Paused {
        format!("resumed: `{name}` goes on in {owner}")
    } else {
        format!("running: `{name}` is being worked on by {owner}")
    });
    Ok(Exit::Done)
}

fn options(pace: &RunPace, term: Term) -> Options {
    Options {
        limit: pace.limit,
        rate: pace.rate.map(piecemeal::job::Rate::rows_per_second),
        target: pace.target,
        workers: pace.workers,
        term,
        ..Options::new(actor())
    }
}

/// Returns the time that a process is given that began then: all its jobs and their phases have it together.
async fn term(desk: &Desk, pace: &RunPace, began: Instant) -> Result<Term, Error> {
    let deadline = pace.max_runtime.and_then(|time| began.checked_add(time));
    let until = match &pace.until {
        Some(hour) => Some(until(hour, desk.clock().await?)?),
        None => None,
    };
    Ok(Term { until, deadline })
}

/// Returns when it ends, by the time that goes by here.
async fn ends(desk: &Desk, term: Term) -> Result<Option<Instant>, Error> {
    if term == Term::default() {
        return Ok(None);
    }
    Ok(term.ends(desk.clock().await?))
}

async fn is_time_up(desk: &Desk, term: Term) -> Result<bool, Error> {
    Ok(ends(desk, term).await?.is_some_and(|end| end <= Instant::now()))
}

/// Says that a job is not begun, or not gone on with, as the time is up.
pub(super) async fn not_begun(settings: &Settings, desk: &Desk, job: &str, is_open: bool) -> Done {
    let snapshots = if is_open { desk.status(Some(job)).await? } else { Vec::new() };
    let mut reporter = reporter::of(settings, job);
    if let Some(snapshot) = snapshots.first() {
        let report = Report { ending: Ending::TimeUp, snapshot: snapshot.clone() };
        settings.printer.say(&in_words(job, &report));
        reporter.end(&Ok(report));
    } else {
        let what = format!("time is up\nnot begun: {job}; `piecemeal run {job}` begins it");
        settings.printer.say(&what);
        reporter.not_begun();
    }
    show_json(settings, &snapshots)?;
    Ok(Exit::Stopped)
}

/// Shows runs as they are in the end, if one document was asked for.
fn show_json(settings: &Settings, snapshots: &[Snapshot]) -> io::Result<()> {
    if settings.output != Output::Json {
        return Ok(());
    }
    settings.printer.data(&json::runs(snapshots).to_string())
}

fn until(hour: &str, now: Timestamp) -> Result<Timestamp, Error> {
    piecemeal::run::until(hour, now, &TimeZone::system()).map_err(|error| {
        Error::new(ErrorKind::Usage, "until", format!("`--until {hour}` is no hour"))
            .because(error.to_string())
    })
}

/// Works on a run until it ends, showing what happens.
pub(super) async fn follow(
    settings: &Settings,
    desk: &Desk,
    plan: Plan,
    run: i64,
    options: Options,
) -> Done {
    let job = plan.job.clone();
    let (exit, report) = work(settings, desk, plan, run, options).await?;
    say(settings, &job, &report);
    Ok(exit)
}

/// Says how a run ended, and what comes next.
pub(super) fn say(settings: &Settings, job: &Job, report: &Report) {
    settings.printer.say(&in_words(&job.name, report));
    if report.snapshot.shown() == Shown::Verified {
        settings.printer.say(&shape::next(job));
    }
}

/// Works on a run until it ends, showing what happens, and returns how it ended.
pub(crate) async fn work(
    settings: &Settings,
    desk: &Desk,
    plan: Plan,
    run: i64,
    options: Options,
) -> Result<(Exit, Report), Problem> {
    let job = plan.job.name.clone();
    let handle = engine::start(plan, run, desk.database().clone(), options);
    watch(settings, &job, handle, true).await
}

/// Shows what happens until it is over, and returns how it ended; if that is not the last of this command, and it went
/// well, nothing is said of an end.
pub(super) async fn watch(
    settings: &Settings,
    job: &str,
    mut handle: Handle,
    is_last: bool,
) -> Result<(Exit, Report), Problem> {
    let mut reporter = reporter::of(settings, job);
    let seen = signals::listen(handle.leaver(), settings.printer, format!("`piecemeal run {job}`"));
    while let Some(event) = handle.next_event().await {
        reporter.event(&event);
    }
    let ended = handle.join().await;
    if let (Ok(report), false) = (&ended, is_last)
        && report.ending == Ending::Succeeded
    {
        reporter.hand_on();
        return Ok((Exit::Done, report.clone()));
    }
    reporter.end(&ended);
    let report = ended?;
    show_json(settings, std::slice::from_ref(&report.snapshot))?;
    let exit = match (&report.ending, seen.exit()) {
        (Ending::Succeeded, _) => Exit::Done,
        (Ending::Left, Some(exit)) => exit,
        (
            Ending::Left | Ending::Limit | Ending::TimeUp | Ending::Held(_) | Ending::Cancelled,
            _,
        ) => Exit::Stopped,
    };
    Ok((exit, report))
}

fn in_words(job: &str, report: &Report) -> String {
    match &report.ending {
        Ending::Succeeded => words::done(&report.snapshot),
        Ending::Limit | Ending::Left => left(job, report),
        Ending::TimeUp => format!("time is up\n{}", left(job, report)),
        Ending::Held(reason) => format!("held for too long: {reason}\n{}", left(job, report)),
        Ending::Cancelled => {
            let changed = words::counted(report.snapshot.rows.changed, "rows");
            format!("cancelled: {job}; what is done stays done: {changed}")
        }
    }
}

fn left(job: &str, report: &Report) -> String {
    let held = words::held(&report.snapshot).map(|held| held + "\n").unwrap_or_default();
    format!(
        "{held}left: {job}; committed: {}; `piecemeal {} {job}` continues",
        report.snapshot.committed(),
        if report.snapshot.status == Status::Paused { "resume" } else { "run" },
    )
}

async fn already_done(settings: &Settings, desk: &Desk, job: &Job) -> Done {
    let snapshots = desk.status(Some(&job.name)).await?;
    if settings.is_json() {
        settings.printer.data(&json::runs(&snapshots).to_string())?;
    }
    for snapshot in &snapshots {
        settings.printer.say(&words::done(snapshot));
        if snapshot.shown() == Shown::Verified {
            settings.printer.say(&shape::next(job));
        } else {
            settings.printer.say("nothing to do; `--again` starts a new run");
        }
    }
    Ok(Exit::Done)
}

/// Adds how far the run is to the reason for which it does not go on.
async fn with_committed(error: Error, desk: &Desk, job: &str) -> Result<Error, Error> {
    let snapshots = desk.status(Some(job)).await?;
    Ok(snapshots.iter().fold(error, |error, snapshot| error.having_committed(snapshot.committed())))
}

fn agreed(settings: &Settings, plan: &Plan) -> bool {
    let question = format!("start `{}` on {}?", plan.job.name, plan.target.keyset.table);
    agrees(settings, &plan.to_string(), &question)
}

/// Shows what is going to happen and asks, where somebody could answer.
pub(super) fn agrees(settings: &Settings, shown: &str, question: &str) -> bool {
    if settings.is_yes {
        return true;
    }
    if !settings.printer.can_ask() {
        settings.printer.say(shown);
        return true;
    }
    settings.printer.talk(shown);
    settings.printer.ask(question)
}

pub(super) fn not_agreed(job: &str) -> Error {
    Error::new(
        ErrorKind::Refused,
        "not-agreed",
        format!("`{job}` was not started; nothing was written"),
    )
}
