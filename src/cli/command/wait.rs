//! `wait`: returns when a run is where it should be.

use std::time::{Duration, Instant};

use piecemeal::report::{json, words};
use piecemeal::run::{Phase, Shown, Snapshot, Status};
use piecemeal::{Error, ErrorKind};

use super::Done;
use crate::cli::args::{Goal, Wait};
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);

/// What a run is, as far as it is waited for.
enum Way {
    /// There.
    There,
    /// Not yet.
    NotYet,
    /// It will not get there by itself.
    Never(Error),
}

pub(crate) async fn run(settings: &Settings, args: &Wait) -> Done {
    let name = settings.job_name(&args.job);
    let desk = settings.desk(None).await?;
    let started = Instant::now();
    loop {
        let snapshots = desk.status(Some(&name)).await?;
        let Some(snapshot) = snapshots.first() else { return Err(desk.no_run(&name).into()) };
        match way(snapshot, args.goal) {
            Way::There => {
                if settings.is_json() {
                    settings.printer.data(&json::runs(&snapshots).to_string())?;
                }
                settings.printer.say(&words::line(snapshot));
                return Ok(Exit::Done);
            }
            Way::Never(error) => return Err(error.having_committed(snapshot.committed()).into()),
            Way::NotYet => {}
        }
        if args.timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
            return Err(too_long(snapshot).into());
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn way(snapshot: &Snapshot, goal: Goal) -> Way {
    let shown = snapshot.shown();
    let is_there = match goal {
        Goal::Paused => shown == Shown::As(Status::Paused),
        Goal::Verified => snapshot.status == Status::Succeeded && snapshot.phase != Phase::Down,
        Goal::Contracted => shown == Shown::Contracted,
        Goal::Done => matches!(shown, Shown::As(Status::Succeeded) | Shown::Contracted),
    };
    if is_there {
        return Way::There;
    }
    if let (Status::Failed, Some(failure)) = (snapshot.status, &snapshot.failure) {
        return Way::Never(Error::of_failure(failure));
    }
    let is_over = match goal {
        Goal::Paused => snapshot.status.is_final(),
        Goal::Contracted => shown == Shown::As(Status::Succeeded),
        Goal::Verified | Goal::Done => false,
    };
    let is_over = is_over || shown == Shown::Undone || snapshot.status == Status::Cancelled;
    if is_over { Way::Never(never(snapshot, goal)) } else { Way::NotYet }
}

fn never(snapshot: &Snapshot, goal: Goal) -> Error {
    let what = format!(
        "`{}` will not be {} any more: it is {}",
        snapshot.job,
        format!("{goal:?}").to_lowercase(),
        snapshot.shown()
    );
    let is_cancelled = snapshot.status == Status::Cancelled;
    let kind = if is_cancelled { ErrorKind::Stopped } else { ErrorKind::Refused };
    Error::new(kind, "overtaken", what)
}

fn too_long(snapshot: &Snapshot) -> Error {
    let what = format!("`{}` is still {}", snapshot.job, snapshot.shown());
    Error::new(ErrorKind::Stopped, "timeout", what)
        .because("it was waited for as long as --timeout says; the run was left as it is")
        .having_committed(snapshot.committed())
}
