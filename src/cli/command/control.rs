//! `pause`, `cancel`, `throttle`, `forget`: one act each, from any terminal.

use std::time::Duration;

use piecemeal::control::Pace;
use piecemeal::run::{Intent, Status};
use piecemeal::{Error, ErrorKind};

use super::Done;
use crate::cli::args::{OneJob, Stop, Throttle};
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;

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
    let desk = settings.desk(None).await?;
    let pace = Pace { rate: args.rate, target: args.target, lasting: args.lasting };
    desk.throttle(&name, (!args.clear).then_some(pace)).await?;
    settings.printer.say(&if args.clear {
        format!("pace: `{name}` goes on as it was started")
    } else {
        format!("pace: `{name}` takes it up within a second; `piecemeal throttle {name} --clear` takes it back")
    });
    Ok(Exit::Done)
}

pub(crate) async fn forget(settings: &Settings, args: &OneJob) -> Done {
    let name = settings.job_name(&args.job);
    let desk = settings.desk(None).await?;
    let runs = desk.forget(&name).await?;
    settings
        .printer
        .say(&format!("forgotten: {runs} run(s) of `{name}`; its rows stay as they are"));
    Ok(Exit::Done)
}
