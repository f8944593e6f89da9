//! `pause`, `cancel`, `throttle`, `forget`: one act each, from any terminal.

use std::time::Duration;

use piecemeal::job::{Rate, TargetBounds, show_duration};
use piecemeal::run::{HoldChange, Intent, Overrides, Pulse, Said, Schedule, Snapshot, Status};
use piecemeal::{Error, ErrorKind};

use super::Done;
use crate::cli::args::{OneJob, Stop, Throttle, WhichSchedule};
use crate::cli::exit::Exit;
use crate::cli::settings::{Problem, Settings};

/// How often it is looked whether it has happened.
const EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn pause(settings: &Settings, args: &Stop) -> Done {
    stop(settings, args, Intent::Pause, Status::Paused).await
}

pub(crate) async fn cancel(settings: &Settings, args: &Stop) -> Done {
    stop(settings, args, Intent::Cancel, Status::Cancelled).await
}

async fn stop(settings: &Settings, args: &Stop, intent: Intent, wanted: Status) -> Done {
    let name = settings.job_name(&args.job);
    let desk = settings.desk(None).await?;
    let mut asked = desk.stop(&name, intent, args.reason.as_deref()).await?;
    while args.wait && asked.is_live {
        tokio::time::sleep(EVERY).await;
        let Some(run) = desk.find(&name).await? else { return Err(desk.no_run(&name).into()) };
        if run.status == wanted {
            asked.is_live = false;
        } else if run.status.is_final() || run.status == Status::Failed || run.intent != intent {
            return Err(overtaken(&name, wanted, run.status).into());
        } else if !run.is_live {
            // Its owner went away before it could obey: nobody is left to wait for.
            asked = desk.stop(&name, intent, args.reason.as_deref()).await?;
        }
    }
    settings.printer.say(&if asked.is_live {
        format!("asked: `{name}` will be {wanted} when its batch ends")
    } else {
        format!("{wanted}: `{name}`")
    });
    Ok(Exit::Done)
}

fn overtaken(name: &str, wanted: Status, status: Status) -> Error {
    let what = format!("`{name}` was not {wanted}: it is {status}");
    Error::new(ErrorKind::Refused, "overtaken", what)
        .because("it ended, or somebody asked for something else, before its batch was over")
}

pub(crate) async fn throttle(settings: &Settings, args: &Throttle) -> Done {
    let name = settings.job_name(&args.job);
    let change = overrides(settings, args)?;
    let desk = settings.desk(None).await?;
    if !args.clear {
        let snapshots = desk.status(Some(&name)).await?;
        let live = |it: &&Snapshot| it.owner.as_ref().is_some_and(|owner| owner.is_live);
        let pulse = snapshots.iter().find(live).map(|it| &it.pulse);
        let bounds = pulse.and_then(|pulse| pulse.target_bounds);
        check_target(&name, change.said.target, bounds)?;
        if change.said.target.is_some() && bounds.is_none() {
            settings.printer.talk(&format!(
                "warn: it is not known whether batches of `{name}` can have that target: nobody walks"
            ));
        }
        check_holds(settings, &name, &change, pulse)?;
    }
    desk.throttle(&name, (!args.clear).then_some(&change), args.lasting).await?;
    settings.printer.say(&if args.clear {
        format!("pace: `{name}` goes on as it was started")
    } else {
        let lasting = args.lasting.map(|time| format!(" for {}", show_duration(time)));
        format!(
            "pace: {change}{}; `{name}` takes it up within a second; `piecemeal throttle {name} --clear` takes it back",
            lasting.unwrap_or_default()
        )
    });
    Ok(Exit::Done)
}

fn overrides(settings: &Settings, args: &Throttle) -> Result<Overrides, Problem> {
    let schedule = match args.schedule {
        None => None,
        Some(WhichSchedule::Off) => Some(Schedule::new(Vec::new())),
        Some(WhichSchedule::File) => Some(Schedule::new(settings.job(&args.job)?.pace.windows)),
    };
    let said = Said {
        rate: args.rate.map(Rate::rows_per_second),
        target: args.target,
        workers: args.workers,
    };
    Ok(Overrides { said, schedule, holds: args.holds.iter().cloned().collect() })
}

/// A time that batches cannot have cannot be asked for.
pub(super) fn check_target(
    name: &str,
    target: Option<Duration>,
    bounds: Option<TargetBounds>,
) -> Result<(), Error> {
    let Some(why) = target.zip(bounds).and_then(|(target, bounds)| bounds.against(target)) else {
        return Ok(());
    };
    let what = format!("batches of `{name}` cannot have that target");
    Err(Error::new(ErrorKind::Usage, "target", what)
        .because(why)
        .with_hint("ask for a `--rate`; or change [batch] in the job file"))
}

/// A hold that the run does not have cannot be changed, and what is true or false has no limit; who nobody
/// works on cannot be asked.
fn check_holds(
    settings: &Settings,
    name: &str,
    change: &Overrides,
    pulse: Option<&Pulse>,
) -> Result<(), Error> {
    let (known, truths) = pulse.map_or((&[][..], &[][..]), |it| (&it.signals, &it.truths));
    let is_limited = |it: &&String| matches!(change.holds.get(*it), Some(HoldChange::Above(_)));
    if let Some(truth) = truths.iter().find(is_limited) {
        let what = format!("`{truth}` of run `{name}` takes no limit");
        return Err(Error::new(ErrorKind::Usage, "no-limit", what)
            .because("it is true or false")
            .with_hint(format!("to do without it for a while: `--hold {truth}=off --for 1h`")));
    }
    for unknown in change.holds.keys().filter(|hold| !known.contains(hold)) {
        if known.is_empty() {
            settings.printer.talk(&format!(
                "warn: it is not known whether `{name}` has a hold named `{unknown}`: nobody works on it"
            ));
        } else {
            let what = format!("run `{name}` is not held by `{unknown}`");
            return Err(Error::new(ErrorKind::Usage, "no-hold", what)
                .because(format!("it is held by {}", known.join(", ")))
                .with_hint("another signal is named under [[hold]] in the job file"));
        }
    }
    Ok(())
}

pub(crate) async fn forget(settings: &Settings, args: &OneJob) -> Done {
    let name = settings.job_name(&args.job);
    let desk = settings.desk(None).await?;
    let runs = desk.forget(&name).await?;
    settings.printer.say(&if runs == 0 {
        format!("forgotten: `{name}` had no run, and its sync trigger is gone")
    } else {
        format!("forgotten: {runs} run(s) of `{name}`; its rows stay as they are")
    });
    Ok(Exit::Done)
}
