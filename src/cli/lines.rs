//! One plain line per interval, on every change and at the end: for logs and pipes.

use std::time::{Duration, Instant};

use piecemeal::Error;
use piecemeal::engine::Report;
use piecemeal::report::words;
use piecemeal::run::{Event, Shown, Snapshot};

use super::printer::Printer;
use super::reporter::{Reporter, in_words};

/// The time between two lines in which nothing changed.
const INTERVAL: Duration = Duration::from_secs(10);

/// Writes lines to stderr.
pub(crate) struct Lines {
    printer: Printer,
    is_verbose: bool,
    last: Option<(Instant, Shown, String)>,
}

impl Lines {
    pub(crate) fn new(printer: Printer, is_verbose: bool) -> Lines {
        Lines { printer, is_verbose, last: None }
    }

    /// Shows a snapshot if it is time, or if something other than the counts is new.
    pub(crate) fn show(&mut self, snapshot: &Snapshot) {
        let (shown, phase) = (snapshot.shown(), words::phase(snapshot));
        let is_new = self.last.as_ref().is_none_or(|(at, before, phase_before)| {
            at.elapsed() >= INTERVAL || *before != shown || *phase_before != phase
        });
        if is_new {
            self.printer.say(&words::line(snapshot));
            self.last = Some((Instant::now(), shown, phase));
        }
    }
}

impl Reporter for Lines {
    fn event(&mut self, event: &Event) {
        if let Some(text) = in_words(event, self.is_verbose) {
            self.printer.say(&text);
        }
        if let Event::Started(snapshot) | Event::Progress(snapshot) = event {
            self.show(snapshot);
        }
    }

    fn end(&mut self, ended: &Result<Report, Error>) {
        if let Ok(report) = ended {
            self.printer.say(&words::line(&report.snapshot));
        }
    }
}
