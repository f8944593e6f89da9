//! `check`: job files, without a database.

use std::path::PathBuf;

use piecemeal::run::Schedule;
use piecemeal::{Error, ErrorKind, Job};
use serde_json::json;

use super::Done;
use crate::cli::args::Check;
use crate::cli::exit::Exit;
use crate::cli::explain;
use crate::cli::settings::{Problem, Settings};

pub(crate) fn run(settings: &Settings, args: &Check) -> Done {
    let paths: Vec<_> = if args.jobs.is_empty() {
        all(settings)?
    } else {
        args.jobs.iter().map(|job| settings.job_path(job)).collect()
    };
    let mut exit = Exit::Done;
    let mut good = Vec::new();
    for path in &paths {
        match Job::from_file(path) {
            Ok(job) => good.push(job),
            Err(problems) => exit = explain::problem(settings, &Problem::File(problems)),
        }
    }
    let notes: Vec<(&str, String)> = good
        .iter()
        .flat_map(|job| notes(job).into_iter().map(|note| (job.name.as_str(), note)))
        .collect();
    if settings.is_json() {
        let names: Vec<&str> = good.iter().map(|job| job.name.as_str()).collect();
        let notes = notes.iter().map(|(job, note)| json!({ "job": job, "note": note }));
        let notes: Vec<_> = notes.collect();
        settings.printer.data(&json!({ "v": 1, "jobs": names, "notes": notes }).to_string())?;
    } else {
        for job in &good {
            settings.printer.say(&format!("ok: {}", job.name));
            for (_, note) in notes.iter().filter(|(name, _)| *name == job.name) {
                settings.printer.say(&format!("note: {note}"));
            }
        }
    }
    Ok(exit)
}

/// Returns the files of the jobs folder, of which there is at least one.
pub(super) fn all(settings: &Settings) -> Result<Vec<PathBuf>, Problem> {
    let paths = settings.all_jobs().map_err(|error| no_folder(settings, &error))?;
    if paths.is_empty() { Err(nothing(settings).into()) } else { Ok(paths) }
}

/// Says what is right, but perhaps not what was meant.
fn notes(job: &Job) -> Vec<String> {
    Schedule::new(job.pace.windows.clone()).notes(job.pace.rate)
}

fn no_folder(settings: &Settings, error: &std::io::Error) -> Problem {
    let folder = settings.jobs_dir().display();
    Error::new(
        ErrorKind::Usage,
        "jobs-dir",
        format!("the folder of the job files, {folder}, cannot be read"),
    )
    .because(error.to_string())
    .with_hint("name the job's file, or the folder with --jobs-dir")
    .into()
}

fn nothing(settings: &Settings) -> Error {
    let folder = settings.jobs_dir().display();
    Error::new(ErrorKind::Usage, "jobs-dir", format!("there is no job file in {folder}"))
        .with_hint("a job file is a TOML file, as in jobs/NAME.toml")
}
