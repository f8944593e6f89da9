//! Consumers of events: a bar, lines, JSON lines, or nothing.

use piecemeal::engine::Report;
use piecemeal::job::Part;
use piecemeal::report::{history, json, words};
use piecemeal::run::{Event, Snapshot, Turn, counted};
use piecemeal::{Error, Key};
use serde_json::Value;

use super::args::Progress;
use super::bar::Bar;
use super::lines::Lines;
use super::printer::Printer;
use super::settings::Settings;

/// Shows what happens in a run.
pub(crate) trait Reporter: Send {
    /// Shows one event.
    fn event(&mut self, event: &Event);
    /// The run goes on with something else, for which there is another reporter.
    fn hand_on(&mut self) {}
    /// Shows that there is no run, as the time was up before one was begun.
    fn not_begun(&mut self) {}
    /// Shows how the run ended.
    fn end(&mut self, ended: &Result<Report, Error>);
}

/// Returns the reporter that was asked for.
pub(crate) fn of(settings: &Settings, job: &str) -> Box<dyn Reporter> {
    match settings.progress {
        Progress::Bar => Box::new(Bar::new(settings.printer, settings.is_verbose)),
        Progress::Lines | Progress::Auto => {
            Box::new(Lines::new(settings.printer, settings.is_verbose))
        }
        Progress::Jsonl => Box::new(JsonLines { job: job.to_owned(), printer: settings.printer }),
        Progress::None => Box::new(Silent),
    }
}

struct Silent;

impl Reporter for Silent {
    fn event(&mut self, _event: &Event) {}
    fn end(&mut self, _ended: &Result<Report, Error>) {}
}

/// One JSON object an event, on stdout.
struct JsonLines {
    job: String,
    printer: Printer,
}

impl JsonLines {
    fn write(&self, mut line: Value) {
        line["at"] = Value::String(jiff::Timestamp::now().to_string());
        // A reader that has gone away does not stop the walk (F81).
        let _ = self.printer.data(&line.to_string());
    }
}

impl Reporter for JsonLines {
    fn event(&mut self, event: &Event) {
        if let Some(line) = json::event(&self.job, event) {
            self.write(line);
        }
    }

    fn not_begun(&mut self) {
        self.write(json::last(&self.job, "left", None, None));
    }

    fn end(&mut self, ended: &Result<Report, Error>) {
        let (name, snapshot, error): (_, Option<&Snapshot>, _) = match ended {
            Ok(report) => (ending(report), Some(&report.snapshot), None),
            Err(error) => ("failed", None, Some(error)),
        };
        self.write(json::last(&self.job, name, snapshot, error));
    }
}

fn ending(report: &Report) -> &'static str {
    use piecemeal::engine::Ending;
    match report.ending {
        Ending::Succeeded => "finished",
        Ending::Limit | Ending::TimeUp | Ending::Held(_) | Ending::Left => "left",
        Ending::Cancelled => "cancelled",
    }
}

const REWRITTEN: &str = "the table was rewritten (VACUUM FULL, CLUSTER or ALTER TABLE); the walk begins again over what is left to do";

/// Says an event in words, for people; `None` for what a line of progress says already.
pub(crate) fn in_words(event: &Event, is_verbose: bool) -> Option<String> {
    match event {
        Event::Waiting { owner } => Some(waiting(owner)),
        Event::Joined { leader } => Some(format!("joined: {leader} leads the run")),
        Event::OneRange => Some("one range: more workers find nothing to do".into()),
        Event::Takeover { from } => {
            Some(format!("takeover: {from} is gone; going on where its last batch ended"))
        }
        Event::Retried { why, wait, rows } if is_verbose => {
            let wait = wait.as_millis();
            Some(words::plain(&format!("retry in {wait} ms with up to {rows} rows: {why}")))
        }
        Event::BatchCommitted { chunk, outcome } if is_verbose => Some(format!(
            "batch up to {}: {} rows changed in {:.1} ms",
            chunk.upto,
            outcome.changed,
            outcome.took.as_secs_f64() * 1e3
        )),
        Event::PutAside { upto, keys } => Some(put_aside(upto, *keys)),
        Event::Lifted { key, give_way } => Some(format!(
            "lifted: the row with key {key} takes longer than the {} ms of give_way by itself, and may",
            give_way.as_millis()
        )),
        Event::Quarantined { key, sqlstate, message } => {
            Some(quarantined(key, sqlstate.as_deref(), message))
        }
        Event::Paused(snapshot) => Some(paused(snapshot)),
        Event::Held(holding) => Some(format!("holding: {}", holding.reason)),
        Event::Released { by, lasted } => {
            Some(format!("going on: {by} held the run for {}", words::span(*lasted)))
        }
        Event::Slowed(slowing) => Some(words::slowing(slowing)),
        Event::Unslowed { .. } => Some("at full speed again".into()),
        Event::Window(turn) => Some(turned(turn)),
        Event::Missed { events } => Some(missed(*events)),
        Event::Vacuumed { took } if is_verbose => {
            Some(format!("vacuumed in {}", words::span(*took)))
        }
        Event::VacuumPutOff { why } => Some(format!("vacuum put off: {why}")),
        Event::Leaving => Some("leaving: finishing the batch; once more to leave at once".into()),
        Event::Resumed => Some("resumed".into()),
        Event::Throttled(turn) => Some(format!("pace: {}", turned(turn))),
        Event::Rewritten { .. } => Some(REWRITTEN.into()),
        Event::Partitions { attached, detached } => Some(partitions(attached, detached)),
        Event::Statement { part, no, of, sql } => Some(format!("{part} {no}/{of}: {sql}")),
        Event::PassedOver { part, no, why } => Some(passed_over(*part, *no, why)),
        Event::Blocked { by } => Some(format!("waiting: {by}")),
        Event::GaveWay { to } => Some(format!("gave way to {to}; tried again")),
        Event::LetGo { table } => Some(format!("sync: {table} is kept in step no more")),
        Event::Verifying => Some("verifying: looking at every row".into()),
        Event::Sweeping { pass, rows } => {
            Some(format!("sweep {pass}: {} still to do, walked once more", counted(*rows, "rows")))
        }
        Event::Started(_)
        | Event::Progress(_)
        | Event::Verified(_)
        | Event::Retried { .. }
        | Event::Vacuumed { .. }
        | Event::BatchCommitted { .. } => None,
    }
}

fn waiting(owner: &str) -> String {
    format!("waiting: {owner} holds the run; it is taken over if its lease is not renewed")
}

fn turned(turn: &Turn) -> String {
    let before = turn.was.as_ref().map(|was| format!("; before: {was}"));
    format!("{}{}", turn.now, before.unwrap_or_default())
}

fn missed(events: u64) -> String {
    format!("missed: {} that nobody read in time", counted(events, "events"))
}

fn partitions(attached: &[String], detached: &[String]) -> String {
    format!("partitions {}", history::came_and_went(attached, detached))
}

fn put_aside(upto: &Key, keys: u32) -> String {
    let keys = counted(keys.into(), "keys");
    format!("put aside: somebody has locked some of the {keys} up to {upto}; the others come first")
}

fn passed_over(part: Part, no: usize, why: &str) -> String {
    words::plain(&format!("passed over in {part} {no}: {why}"))
}

fn quarantined(key: &Key, sqlstate: Option<&str>, message: &str) -> String {
    let sqlstate = sqlstate.map(|it| format!(" (SQLSTATE {it})")).unwrap_or_default();
    words::plain(&format!("quarantined: the row with key {key}: {message}{sqlstate}"))
}

fn paused(snapshot: &Snapshot) -> String {
    let (job, reason) = (&snapshot.job, snapshot.reason.as_ref());
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("paused: {job}{reason}; `piecemeal resume {job}` continues it here")
}
