//! What can be typed. The doc comments here are the help.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Effects};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use piecemeal::Key;
use piecemeal::job::{Rate, parse_duration};
use piecemeal::run::HoldChange;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .usage(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// Change a large, live PostgreSQL table without stopping anybody
#[derive(Debug, Parser)]
#[command(name = "piecemeal", version, styles = STYLES, propagate_version = true, max_term_width = 100)]
#[command(after_help = "A JOB is a name, looked up in --jobs-dir, or a path to a job file.\n\
Commands that only steer or show a run need its name and no file.")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the database is, and how to show things.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where the database is: a URL or key=value pairs, as psql takes them; PG* variables,
    /// ~/.pgpass and the service file fill in what is missing
    #[arg(
        short = 'd',
        long,
        global = true,
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) database_url: Option<String>,
    /// The folder of the job files
    #[arg(
        long,
        global = true,
        env = "PIECEMEAL_JOBS_DIR",
        default_value = "jobs",
        value_name = "DIR"
    )]
    pub(crate) jobs_dir: PathBuf,
    /// Answer yes wherever a question would be asked
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// The form of what is printed to stdout
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Human, value_name = "FORM")]
    pub(crate) output: Output,
    /// How progress is shown
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto, value_name = "HOW")]
    pub(crate) progress: Progress,
    /// When to use colour; NO_COLOR is respected
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub(crate) color: Color,
    /// Say only what is wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more: every batch and every retry
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    pub(crate) verbose: bool,
}

/// The form of data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Text for people
    Human,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// A bar on a terminal, lines elsewhere
    Auto,
    /// A bar on stderr
    Bar,
    /// A line every ten seconds, on every change and at the end, on stderr
    Lines,
    /// One JSON object an event, on stdout
    Jsonl,
    /// Nothing
    None,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a job file for a table
    New(New),
    /// Check job files without a database
    Check(Check),
    /// Show what a job would do, and rehearse it; change no visible row
    Plan(Plan),
    /// Start a job, or continue it where it stopped, up to its contract
    #[command(visible_alias = "up")]
    Run(Run),
    /// Help a live run from this process and host, or start it
    Join(Join),
    /// Show runs and their progress
    Status(Status),
    /// Follow progress live; safe to interrupt
    Watch(Watch),
    /// Return when it is paused, verified, contracted or done
    Wait(Wait),
    /// Stop after the current batch
    Pause(Stop),
    /// Continue a paused, interrupted or failed run
    Resume(Resume),
    /// Change rate, batches, windows or holds while it runs
    Throttle(Throttle),
    /// Stop for good
    Cancel(Stop),
    /// Prove that every row was done
    Verify(OneJob),
    /// List, retry or skip the rows that were set aside
    Quarantine(Quarantine),
    /// Show who did what, when and why
    History(History),
    /// Drop the old shape; refuses unless verified
    Contract(Contract),
    /// Undo: expanded schema, and what contract dropped
    Down(OneJob),
    /// Remove a finished or cancelled run from the ledger
    Forget(OneJob),
    /// Try it on a throw-away PostgreSQL
    Demo(Demo),
    /// Install the ledger
    Init(Init),
    /// Check connection, pooler, privileges, clock and what can be observed
    Doctor(Doctor),
    /// Print the JSON Schema of job files, for editors
    Schema,
    /// Print what a shell needs to complete the command line
    Completions(Completions),
}

#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// The name of the job, and of its file
    #[arg(value_name = "NAME")]
    pub(crate) job: String,
    /// The table, as in public.posts
    #[arg(short, long)]
    pub(crate) table: String,
    /// Print the file instead of writing it
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct OneJob {
    /// The job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Plan {
    /// The job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Leave out the rehearsal, the only part that takes row locks, writes WAL and leaves dead rows:
    /// a few batches that are rolled back
    #[arg(long)]
    pub(crate) no_rehearsal: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// A job, whose table and privileges are to be looked at, too
    #[arg(value_name = "JOB")]
    pub(crate) job: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The jobs; all files of --jobs-dir if none is named
    #[arg(value_name = "JOB")]
    pub(crate) jobs: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The jobs, one after the other; all files of --jobs-dir, by name and by what they come after,
    /// if none is named
    #[arg(value_name = "JOB")]
    pub(crate) jobs: Vec<String>,
    /// Start a new run of a job whose last run has ended
    #[arg(long)]
    pub(crate) again: bool,
    #[command(flatten)]
    pub(crate) pace: RunPace,
}

#[derive(Debug, Default, clap::Args)]
pub(crate) struct RunPace {
    /// Rows per second, instead of the job's, as in 5k/s
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<Rate>,
    /// Time that a batch may take, instead of the job's, as in 50ms
    #[arg(long, value_parser = target, value_name = "TIME")]
    pub(crate) target: Option<Duration>,
    /// Ranges that this process walks side by side, instead of the job's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: Option<u32>,
    /// Stop, resumable, after so many changed rows: a canary
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Stop, resumable, so long after the start of this command, as in 2h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) max_runtime: Option<Duration>,
    /// Stop, resumable, at this hour by the server's clock, as in 06:00 or "06:00 Europe/Berlin"; in
    /// the zone of this machine if none is named
    #[arg(long, value_name = "HOUR")]
    pub(crate) until: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    #[command(flatten)]
    pub(crate) pace: RunPace,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Go on in this cluster with a run that was started in another: after an upgrade or a restore
    #[arg(long)]
    pub(crate) adopt: bool,
    #[command(flatten)]
    pub(crate) pace: RunPace,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// The job; all of them if none is named
    #[arg(value_name = "JOB")]
    pub(crate) job: Option<String>,
    /// Exit with what `run` would have: 0 if all that is shown is done, 7 if it is being worked on,
    /// 4 if it stands, and the code of its failure if it failed; 3 if it has not begun
    #[arg(long)]
    pub(crate) exit_code: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// The job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value_t = Goal::Done, value_name = "WHAT")]
    pub(crate) goal: Goal,
    /// Give up after so long, with exit code 4
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub(crate) timeout: Option<Duration>,
}

/// What can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    /// It stands, because a pause was asked for
    Paused,
    /// Every row is done and verified, or every statement run
    Verified,
    /// The old shape is gone
    Contracted,
    /// Contracted, or verified if there is nothing to contract
    Done,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Contract {
    /// The job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Give your word that what the gates without a query ask for is done; it is kept in the history
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) acknowledge: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// The jobs; all that have not ended if none is named
    #[arg(value_name = "JOB")]
    pub(crate) jobs: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// The job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Why; it is shown to whoever wonders
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Return when it has happened
    #[arg(long)]
    pub(crate) wait: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Throttle {
    /// The job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Rows per second, as in 500/s; a window that allows less still holds
    #[arg(long, value_parser = rate, required_unless_present_any = ["target", "workers", "holds", "schedule", "clear"])]
    pub(crate) rate: Option<Rate>,
    /// Time that a batch may take, as in 50ms
    #[arg(long, value_parser = target, value_name = "TIME")]
    pub(crate) target: Option<Duration>,
    /// Ranges that each process of the run walks side by side
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) workers: Option<u32>,
    /// Another limit for a hold, as in replica-lag=20s, or replica-lag=off
    #[arg(long = "hold", value_parser = hold, value_name = "NAME=LIMIT")]
    pub(crate) holds: Vec<(String, HoldChange)>,
    /// No windows, or those that the job's file has now
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) schedule: Option<WhichSchedule>,
    /// How long the change lasts, as in 2h; for ever if it is not given
    #[arg(long = "for", value_parser = duration, value_name = "TIME", conflicts_with = "clear")]
    pub(crate) lasting: Option<Duration>,
    /// Go back to what the job, or `run`, says
    #[arg(long, conflicts_with_all = ["rate", "target", "workers", "holds", "schedule"])]
    pub(crate) clear: bool,
}

/// Which windows apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhichSchedule {
    /// None
    Off,
    /// Those that the job's file has now
    File,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Quarantine {
    /// The job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// Try them again, and go on with the run: those that can be done now leave the quarantine
    #[arg(long, conflicts_with_all = ["skip", "last"])]
    pub(crate) retry: bool,
    /// Accept them as they are: the run may end without them
    #[arg(long, requires = "reason", conflicts_with = "last")]
    pub(crate) skip: bool,
    /// Why they are accepted
    #[arg(long, requires = "skip", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) reason: Option<String>,
    /// Only the row with this key, as in 42, "(de, 42)" or '["de", 42]'; may be repeated
    #[arg(long = "key", value_name = "KEY")]
    pub(crate) keys: Vec<Key>,
    /// The newest rows to show
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) last: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// The job
    #[arg(value_name = "JOB")]
    pub(crate) job: String,
    /// The newest lines to show
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) last: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Rows of the table
    #[arg(long, default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..=50_000_000))]
    pub(crate) rows: u32,
    /// Show the whole life of a change: expand, sync, backfill, contract, and all the way back, with an
    /// old and a new version of the application at work
    #[arg(long)]
    pub(crate) full: bool,
    /// Leave the server running at the end, and say how to connect and how to stop it
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// Print the DDL instead of running it, for those who apply DDL by hand
    #[arg(long)]
    pub(crate) print_sql: bool,
    /// Print only what upgrades a ledger of this version
    #[arg(long, value_name = "VERSION", default_value_t = 0, hide_default_value = true, requires = "print_sql", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) from: i32,
    /// Let this role run and steer jobs
    #[arg(long, value_name = "ROLE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) operator: Option<String>,
}

fn rate(text: &str) -> Result<Rate, String> {
    text.parse().map_err(|error: piecemeal::job::UnitError| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn hold(text: &str) -> Result<(String, HoldChange), String> {
    let (name, change) = text
        .split_once('=')
        .filter(|(name, _)| !name.trim().is_empty())
        .ok_or("write a name and a limit, as in replica-lag=20s or latency=off")?;
    let name = name.trim();
    Ok((name.to_owned(), HoldChange::parse(name, change)?))
}

fn target(text: &str) -> Result<Duration, String> {
    let target = duration(text)?;
    let bounds = Duration::from_millis(1)..=Duration::from_secs(10);
    if bounds.contains(&target) { Ok(target) } else { Err("it must be between 1ms and 10s".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }

    #[test]
    fn no_help_shows_the_value_of_an_environment_variable() {
        let mut command = Args::command();
        command.build();
        for arg in command.get_arguments().filter(|arg| arg.get_id() == "database_url") {
            assert!(arg.is_hide_env_values_set());
        }
    }
}
