//! `watch`: progress of runs that somebody else works on. Reads only, and is safe to interrupt.

use std::collections::BTreeMap;
use std::time::Duration;

use piecemeal::control::Desk;
use piecemeal::report::{json, words};
use piecemeal::run::Snapshot;
use piecemeal::{Error, ErrorKind};

use super::Done;
use crate::cli::args::{Progress, Watch};
use crate::cli::bar::Bar;
use crate::cli::exit::Exit;
use crate::cli::lines::Lines;
use crate::cli::settings::Settings;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);
/// How often in a row the database may be away.
const PATIENCE: u32 = 60;

pub(crate) async fn run(settings: &Settings, args: &Watch) -> Done {
    let names: Vec<_> = args.jobs.iter().map(|job| settings.job_name(job)).collect();
    let desk = settings.desk(None).await?;
    let mut views: BTreeMap<String, View> = BTreeMap::new();
    loop {
        let mut snapshots = look(settings, &desk).await?;
        snapshots.retain(|it| {
            views.contains_key(&it.job)
                || if names.is_empty() { !it.status.is_final() } else { names.contains(&it.job) }
        });
        if let Some(name) = names.iter().find(|name| snapshots.iter().all(|it| it.job != **name)) {
            return Err(desk.no_run(name).into());
        }
        if snapshots.is_empty() {
            settings.printer.say("nothing to watch: no run is open");
            return Ok(Exit::Done);
        }
        for snapshot in &snapshots {
            views
                .entry(snapshot.job.clone())
                .or_insert_with(|| View::new(settings))
                .show(settings, snapshot);
        }
        if snapshots.iter().all(|snapshot| snapshot.status.is_final()) {
            return Ok(end(settings, &views, &snapshots));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Reads the runs; a database that is away for a moment is waited for.
async fn look(settings: &Settings, desk: &Desk) -> Result<Vec<Snapshot>, Error> {
    let mut tries = 0;
    loop {
        match desk.status(None).await {
            Err(error) if error.kind() == ErrorKind::Unreachable && tries < PATIENCE => {
                if tries == 0 {
                    settings
                        .printer
                        .say(&format!("waiting for the database: {}", error.reasons().join("; ")));
                }
                tries += 1;
                tokio::time::sleep(EVERY).await;
            }
            looked => return looked,
        }
    }
}

fn end(settings: &Settings, views: &BTreeMap<String, View>, snapshots: &[Snapshot]) -> Exit {
    for view in views.values() {
        if let View::Bar(bar) = view {
            bar.clear();
        }
    }
    for snapshot in snapshots {
        settings.printer.say(&match snapshot.verified {
            Some(_) => words::done(snapshot),
            None => words::line(snapshot),
        });
    }
    Exit::Done
}

/// How one run is shown.
enum View {
    Bar(Box<Bar>),
    Lines(Lines),
    Json,
}

impl View {
    fn new(settings: &Settings) -> View {
        match settings.progress {
            Progress::Bar => View::Bar(Box::new(Bar::new(settings.printer, settings.is_verbose))),
            Progress::Jsonl => View::Json,
            Progress::Auto | Progress::Lines | Progress::None => {
                View::Lines(Lines::new(settings.printer, settings.is_verbose))
            }
        }
    }

    fn show(&mut self, settings: &Settings, snapshot: &Snapshot) {
        match self {
            View::Bar(bar) => bar.draw(snapshot),
            View::Lines(lines) => lines.show(snapshot),
            // A reader that has gone away is noticed at the next command.
            View::Json => drop(settings.printer.data(&json::run(snapshot).to_string())),
        }
    }
}
