//! One bar for the run and one line beneath it, on a terminal.
//!
//! indicatif only draws: fraction, rate and ETA come from the snapshot, because its own estimate
//! takes the rows before a resume for speed.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use piecemeal::Error;
use piecemeal::engine::Report;
use piecemeal::report::words;
use piecemeal::run::{Event, Snapshot};

use super::printer::Printer;
use super::reporter::{Reporter, in_words};

/// Steps of the bar.
const STEPS: u64 = 1_000;
/// Draws a second; kind to a slow connection.
const DRAWS: u8 = 5;

/// Draws on stderr.
pub(crate) struct Bar {
    printer: Printer,
    is_verbose: bool,
    screen: MultiProgress,
    run: ProgressBar,
    below: ProgressBar,
}

impl Bar {
    pub(crate) fn new(printer: Printer, is_verbose: bool) -> Bar {
        let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS));
        let colour = if printer.has_colour { ".cyan/dim" } else { "" };
        let run = screen.add(ProgressBar::new(STEPS));
        run.set_style(style(&format!("{{prefix}}  {{bar:25{colour}}}  {{wide_msg}}")));
        let below = screen.add(ProgressBar::new(STEPS));
        below.set_style(style("           {wide_msg}"));
        Bar { printer, is_verbose, screen, run, below }
    }

    /// Draws a snapshot.
    pub(crate) fn draw(&self, snapshot: &Snapshot) {
        let fraction = snapshot.fraction();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a fraction is within [0, 1]"
        )]
        let position = (fraction.unwrap_or(0.0) * STEPS as f64) as u64;
        self.run.set_prefix(format!("{}  {}", snapshot.job, words::phase(snapshot)));
        self.run.set_message(format!(
            "{:>4}  {}   {}",
            words::percent(fraction),
            words::rows(snapshot),
            words::speed(snapshot, "   "),
        ));
        self.run.set_position(position);
        self.below.set_message(words::hold(snapshot).unwrap_or_else(|| words::batch(snapshot)));
        self.below.tick();
    }

    /// Says something above the bar.
    pub(crate) fn say(&self, text: &str) {
        self.screen.suspend(|| self.printer.say(text));
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.below.finish_and_clear();
        self.run.finish_and_clear();
    }
}

/// The templates are constants of this file and are known to parse; should one not, indicatif's
/// own bar is shown.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("█░")
}

impl Reporter for Bar {
    fn event(&mut self, event: &Event) {
        if let Some(text) = in_words(event, self.is_verbose) {
            self.say(&text);
        }
        if let Event::Started(snapshot) | Event::Progress(snapshot) = event {
            self.draw(snapshot);
        }
    }

    fn hand_on(&mut self) {
        self.clear();
    }

    fn end(&mut self, _ended: &Result<Report, Error>) {
        self.clear();
    }
}
