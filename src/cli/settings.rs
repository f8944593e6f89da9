//! What was typed, with environment and defaults: ready to use.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use piecemeal::control::Desk;
use piecemeal::job::Problems;
use piecemeal::{Actor, Connect, ConnectError, Database, Environment, Error, Job};

use super::args::{Args, Color, Output, Progress};
use super::printer::Printer;

/// Why a command did not do what it says.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The job file.
    File(Problems),
    /// Anything else, and the job that it is about if its file can be shown.
    Error(Error, Option<Box<Job>>),
    /// stdout could not be written.
    Output(io::Error),
}

impl From<Problems> for Problem {
    fn from(problems: Problems) -> Problem {
        Problem::File(problems)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem::Error(error, None)
    }
}

impl From<ConnectError> for Problem {
    fn from(error: ConnectError) -> Problem {
        Problem::Error(error.into(), None)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Problem {
        Problem::Output(error)
    }
}

/// The settings of one call.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) printer: Printer,
    pub(crate) output: Output,
    pub(crate) progress: Progress,
    pub(crate) is_yes: bool,
    pub(crate) is_verbose: bool,
    jobs_dir: PathBuf,
    database_url: Option<String>,
}

impl Settings {
    /// Resolves them; cannot fail, because nothing is looked up yet.
    pub(crate) fn resolve(args: &Args) -> Settings {
        let global = &args.global;
        let is_terminal = io::stderr().is_terminal();
        let wants_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let progress = match (global.progress, global.output) {
            (Progress::Auto, Output::Jsonl) => Progress::Jsonl,
            (Progress::Auto, _) if global.quiet => Progress::None,
            (Progress::Auto, _)
                if is_terminal && std::env::var("TERM").is_ok_and(|term| term != "dumb") =>
            {
                Progress::Bar
            }
            (Progress::Auto, _) => Progress::Lines,
            (chosen, _) => chosen,
        };
        Settings {
            printer: Printer {
                is_quiet: global.quiet,
                has_colour: match global.color {
                    Color::Always => true,
                    Color::Never => false,
                    Color::Auto => is_terminal && wants_colour,
                },
            },
            output: global.output,
            progress,
            is_yes: global.yes,
            is_verbose: global.verbose,
            jobs_dir: global.jobs_dir.clone(),
            database_url: global.database_url.clone(),
        }
    }

    /// Returns the same settings for another database.
    pub(crate) fn with_database(&self, url: &str) -> Settings {
        Settings { database_url: Some(url.to_owned()), ..self.clone() }
    }

    /// Whether data goes to stdout as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.output != Output::Human
    }

    /// Reads the file of a job.
    pub(crate) fn job(&self, job: &str) -> Result<Job, Problems> {
        Job::from_file(self.job_path(job))
    }

    /// Returns the file of a job: a path is taken as it is, a name is looked up.
    pub(crate) fn job_path(&self, job: &str) -> PathBuf {
        let path = Path::new(job);
        let is_path =
            job.contains('/') || path.extension().is_some_and(|extension| extension == "toml");
        if is_path { path.to_owned() } else { self.jobs_dir.join(format!("{job}.toml")) }
    }

    /// Returns the name of a job that was named or whose path was given.
    pub(crate) fn job_name(&self, job: &str) -> String {
        let path = self.job_path(job);
        path.file_stem().map_or_else(|| job.to_owned(), |stem| stem.to_string_lossy().into_owned())
    }

    /// Returns all job files of the jobs folder, by name.
    pub(crate) fn all_jobs(&self) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(&self.jobs_dir)?;
        let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
        Ok(paths)
    }

    /// Returns the folder of the job files.
    pub(crate) fn jobs_dir(&self) -> &Path {
        &self.jobs_dir
    }

    /// Connects, trying for 30 s if nobody answers, and returns a desk.
    pub(crate) async fn desk(&self, job: Option<&str>) -> Result<Desk, Error> {
        let connect = Connect::resolve(self.database_url.as_deref(), &Environment::of_process())?;
        for warning in connect.warnings() {
            self.printer.say(&format!("warn: {warning}"));
        }
        let name = job.map_or_else(|| "piecemeal".to_owned(), |job| format!("piecemeal {job}"));
        let database = Database::new(connect.application_name(&name))?;
        let printer = self.printer;
        database
            .reach(|error, wait| {
                printer.say(&format!(
                    "waiting for the database, next try in {} ms: {error}",
                    wait.as_millis()
                ));
            })
            .await?;
        Ok(Desk::new(database, actor()))
    }
}

/// Returns what was typed, word by word.
pub(crate) fn typed() -> impl Iterator<Item = String> {
    std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned())
}

/// Returns who types, as the journal will have it: the login, whatever the environment says.
pub(crate) fn actor() -> Actor {
    let uid = nix::unistd::Uid::current();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let name = user.map_or_else(|| uid.to_string(), |user| user.name);
    Actor(format!("{name}@{}", gethostname::gethostname().to_string_lossy()))
}
