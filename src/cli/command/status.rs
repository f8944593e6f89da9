//! `status`: runs and their progress, from the ledger.

use piecemeal::job::{Identity, fingerprint};
use piecemeal::report::{json, words};
use piecemeal::run::{Shown, Snapshot, Status as RunStatus};
use piecemeal::{Error, Job};

use super::Done;
use crate::cli::args::{Output, Status};
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;
use crate::cli::table;

/// What the folder of the job files says of the runs.
#[derive(Default)]
struct Folder {
    /// Jobs whose file is not what their run began with.
    changed: Vec<String>,
    /// Jobs without a run, or whose run was taken back.
    pending: Vec<String>,
}

impl Folder {
    /// Compares the files that can be read with the runs; `name` leaves out all others.
    fn read(settings: &Settings, name: Option<&str>, runs: &[Snapshot]) -> Folder {
        let mut folder = Folder::default();
        for path in settings.all_jobs().unwrap_or_default() {
            // `check` says what is wrong with a file.
            let Ok(job) = Job::from_file(path) else { continue };
            if name.is_some_and(|name| name != job.name) {
                continue;
            }
            match runs.iter().find(|run| run.job == job.name) {
                None => folder.pending.push(job.name),
                Some(run) if run.shown() == Shown::Undone => folder.pending.push(job.name),
                Some(run) if run.fingerprint != fingerprint(&Identity::of(&job)) => {
                    folder.changed.push(job.name);
                }
                Some(_) => {}
            }
        }
        folder
    }
}

pub(crate) async fn run(settings: &Settings, args: &Status) -> Done {
    let name = args.job.as_ref().map(|job| settings.job_name(job));
    let desk = settings.desk(None).await?;
    let snapshots = desk.status(name.as_deref()).await?;
    let folder = Folder::read(settings, name.as_deref(), &snapshots);
    match settings.output {
        Output::Json => {
            let mut document = json::runs(&snapshots);
            document["changed"] = folder.changed.clone().into();
            document["pending"] = folder.pending.clone().into();
            settings.printer.data(&document.to_string())?;
        }
        Output::Jsonl => {
            for snapshot in &snapshots {
                settings.printer.data(&json::run(snapshot).to_string())?;
            }
        }
        Output::Human if snapshots.is_empty() && folder.pending.is_empty() => {
            settings.printer.say("no runs in this database");
        }
        Output::Human if name.is_some() => {
            for snapshot in &snapshots {
                settings.printer.data(&details(snapshot))?;
            }
        }
        Output::Human => {
            let lines = table::of_runs(&snapshots, &folder.changed, &folder.pending);
            settings.printer.data(&lines)?;
        }
    }
    Ok(if args.exit_code { worst(&snapshots, &folder) } else { Exit::Done })
}

/// Returns the exit code that says most: a failure before what stands, that before what goes on.
fn worst(snapshots: &[Snapshot], folder: &Folder) -> Exit {
    let rank = |exit: &Exit| match exit {
        Exit::Done => 0,
        Exit::Owned => 1,
        Exit::Stopped => 2,
        Exit::Refused => 3,
        Exit::BadRows
        | Exit::Unverified
        | Exit::Unexpected
        | Exit::Usage
        | Exit::Unreachable
        | Exit::Interrupted
        | Exit::Terminated => 4,
    };
    let pending = folder.pending.iter().map(|_| Exit::Refused);
    let exits = snapshots.iter().filter(|it| it.shown() != Shown::Undone).map(exit);
    exits.chain(pending).max_by_key(rank).unwrap_or(Exit::Done)
}

fn exit(snapshot: &Snapshot) -> Exit {
    match (snapshot.status, &snapshot.failure) {
        (RunStatus::Succeeded, _) => Exit::Done,
        (RunStatus::Failed, Some(failure)) => Exit::from(Error::of_failure(failure).kind()),
        (RunStatus::Failed, None) => Exit::Unexpected,
        (RunStatus::Running, _) if snapshot.shown() != Shown::Stalled => Exit::Owned,
        (RunStatus::Ready | RunStatus::Running | RunStatus::Paused | RunStatus::Cancelled, _) => {
            Exit::Stopped
        }
    }
}

fn details(snapshot: &Snapshot) -> String {
    if snapshot.status == RunStatus::Succeeded {
        let done = words::done(snapshot);
        let is_verified = snapshot.shown() == Shown::Verified;
        let next = format!("\nnext: `piecemeal contract {}`", snapshot.job);
        return if is_verified { done + &next } else { done };
    }
    if snapshot.is_of_statements() {
        let mut lines = vec![words::line(snapshot)];
        lines.extend(failure(snapshot));
        return lines.join("\n");
    }
    let mut lines = vec![words::line(snapshot), format!("  {}", words::batch(snapshot))];
    if let Some(owner) = &snapshot.owner {
        let life = if owner.is_live { "alive" } else { "gone" };
        lines.push(format!("  owner: {} {}, {life}", owner.host, owner.pid));
    }
    // One that works alone is its owner.
    for member in snapshot.members.iter().filter(|_| snapshot.members.len() > 1) {
        let life = if member.live { "alive" } else { "gone" };
        let leads = if member.leads { ", leads" } else { "" };
        let workers = words::counted(member.workers.into(), "workers");
        lines.push(format!("  member: {} {}, {workers}, {life}{leads}", member.host, member.pid));
    }
    lines.push(format!(
        "  {} batches, {} rows changed, {} unchanged; {} since {}",
        words::count(snapshot.batches),
        words::count(snapshot.rows.changed),
        words::count(snapshot.rows.unchanged),
        // A hold has a time of its own, in the first line.
        if snapshot.shown() == Shown::Holding {
            Shown::As(snapshot.status)
        } else {
            snapshot.shown()
        },
        snapshot.since,
    ));
    lines.extend(failure(snapshot));
    lines.join("\n")
}

/// Says why a run failed, if it did.
fn failure(snapshot: &Snapshot) -> Vec<String> {
    let Some(failure) = &snapshot.failure else { return Vec::new() };
    let because = failure.because.iter().map(|why| format!("  because: {why}"));
    because.chain(failure.hint.iter().map(|hint| format!("  hint: {hint}"))).collect()
}
