//! `status`: runs and their progress, from the ledger.

use piecemeal::report::{json, words};
use piecemeal::run::Shown;

use super::Done;
use crate::cli::args::{Output, Status};
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;
use crate::cli::table;

pub(crate) async fn run(settings: &Settings, args: &Status) -> Done {
    let name = args.job.as_ref().map(|job| settings.job_name(job));
    let desk = settings.desk(None).await?;
    let snapshots = desk.status(name.as_deref()).await?;
    match settings.output {
        Output::Json => settings.printer.data(&json::runs(&snapshots).to_string())?,
        Output::Jsonl => {
            for snapshot in &snapshots {
                settings.printer.data(&json::run(snapshot).to_string())?;
            }
        }
        Output::Human if snapshots.is_empty() => settings.printer.say("no runs in this database"),
        Output::Human if name.is_some() => {
            for snapshot in &snapshots {
                settings.printer.data(&details(snapshot))?;
            }
        }
        Output::Human => settings.printer.data(&table::of_runs(&snapshots))?,
    }
    Ok(Exit::Done)
}

fn details(snapshot: &piecemeal::run::Snapshot) -> String {
    if snapshot.status == piecemeal::run::Status::Succeeded {
        return words::done(snapshot);
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
    if let Some(failure) = &snapshot.failure {
        lines.extend(failure.because.iter().map(|why| format!("  because: {why}")));
        lines.extend(failure.hint.iter().map(|hint| format!("  hint: {hint}")));
    }
    lines.join("\n")
}
