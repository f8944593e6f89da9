//! `pause`, `cancel`, `throttle`, `forget`: one act each, from any terminal.

use std::time::Duration;

use piecemeal::Error;
use piecemeal::control::{Desk, Pace};
use piecemeal::run::{Intent, Shown, Status};

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
    let asked = desk.stop(&name, intent, args.reason.as_deref()).await?;
    let has_happened = asked.now == wanted || !asked.is_live;
    if !has_happened && args.wait {
        wait(&desk, &name, wanted).await?;
    }
    settings.printer.say(&if has_happened || args.wait {
        format!("{wanted}: `{name}`")
    } else {
        format!("asked: `{name}` will be {wanted} when its batch ends")
    });
    Ok(Exit::Done)
}

async fn wait(desk: &Desk, name: &str, wanted: Status) -> Result<(), Error> {
    loop {
        let snapshots = desk.status(Some(name)).await?;
        let is_there = |shown: Shown| matches!(shown, Shown::As(status) if status == wanted || status.is_final());
        if snapshots.iter().all(|snapshot| is_there(snapshot.shown())) {
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
    }
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
