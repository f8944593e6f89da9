//! The job file: `[pace]` and its windows.
//!
//! Which window applies when, only `run::Schedule` knows.

use std::time::Duration;

use toml::Spanned;

use super::document::Section;
use super::file::{File, RawBatch};
use super::keys::WINDOW;
use super::model::Vacuum;
use super::problem::Problem;
use super::units::{Rate, UnitError, show_duration};
use super::when::When;
use super::window::{TARGETS, WORKERS, Window, parse_zone};

/// The most windows that a job has; a schedule looks at each of them for every instant.
const MAX_WINDOWS: usize = 64;

const MAX_HOLDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(30 * 24));

/// `[pace]`, read.
#[derive(Default)]
pub(super) struct RawPace {
    pub(super) rate: Option<Rate>,
    pub(super) workers: Option<u32>,
    pub(super) vacuum: Option<Vacuum>,
    pub(super) max_hold: Option<Duration>,
    pub(super) windows: Vec<RawWindow>,
}

/// A window, with the place of its target.
pub(super) struct RawWindow {
    pub(super) window: Window,
    target: Option<Spanned<Duration>>,
}

impl File<'_> {
    pub(super) fn pace(&mut self, root: &Section<'_>) -> RawPace {
        let Some(pace) = self.reader.section(root, "pace") else { return RawPace::default() };
        let workers = self.workers(&pace);
        let rate = self.reader.measure(&pace, "rate", str::parse);
        let vacuum = self.reader.measure(&pace, "vacuum", read_vacuum);
        let windows = self.reader.sections(&pace, WINDOW, MAX_WINDOWS);
        RawPace {
            rate: rate.map(Spanned::into_inner),
            workers,
            vacuum: vacuum.map(Spanned::into_inner),
            max_hold: self.duration(&pace, "max_hold", MAX_HOLDS).map(Spanned::into_inner),
            windows: windows.iter().filter_map(|window| self.window(window)).collect(),
        }
    }

    fn workers(&mut self, section: &Section<'_>) -> Option<u32> {
        self.reader.integer(section, "workers", WORKERS).map(Spanned::into_inner)
    }

    fn window(&mut self, window: &Section<'_>) -> Option<RawWindow> {
        let workers = self.workers(window);
        self.check_window(window);
        let when = self.when(window);
        let zone = self.reader.measure(window, "zone", parse_zone);
        let has_bad_zone = zone.is_none() && window.span_of("zone").is_some();
        let rate = self.reader.measure(window, "rate", str::parse);
        let target = self.duration(window, "target", TARGETS);
        let (when, text) = when.filter(|_| !has_bad_zone)?;
        let window = Window {
            when,
            text,
            zone: zone.map_or(jiff::tz::TimeZone::UTC, Spanned::into_inner),
            rate: rate.map(Spanned::into_inner),
            target: target.as_ref().map(|target| *target.get_ref()),
            workers,
            span: window.span.clone(),
        };
        Some(RawWindow { window, target })
    }

    /// Sees to it that a window says when, and what.
    fn check_window(&mut self, window: &Section<'_>) {
        if !window.mentions("when") {
            let problem = Problem::new("missing-key", "[[pace.window]] needs `when`")
                .help("add for example when = \"Mon-Fri 08:00-20:00\"");
            self.note(problem, window.span.clone());
        }
        if !["rate", "target", "workers"].iter().any(|key| window.mentions(key)) {
            let problem = Problem::new(
                "missing-key",
                "[[pace.window]] changes nothing: it needs `rate`, `target` or `workers`",
            )
            .help("add for example rate = \"500 rows/s\", or rate = \"pause\"");
            self.note(problem, window.span.clone());
        }
    }

    fn when(&mut self, window: &Section<'_>) -> Option<(When, String)> {
        let text = self.reader.string(window, "when", "Mon-Fri 08:00-20:00")?;
        match text.get_ref().parse() {
            Ok(when) => Some((when, text.into_inner())),
            Err(error) => {
                let message = format!("`{}`: {error}", window.path("when"));
                self.note(Problem::new("when", message), text.span());
                None
            }
        }
    }
}

fn read_vacuum(text: &str) -> Result<Vacuum, UnitError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(Vacuum::Off);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UnitError::new(format!("{text} has no unit; write \"{text}%\"")));
    }
    let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
    percent.filter(|percent| (1..=100).contains(percent)).map(Vacuum::Every).ok_or_else(|| {
        let shown = super::keys::shortened(text);
        UnitError::new(format!(
            "\"{shown}\" is neither \"off\" nor a part of the table's rows from \"1%\" to \"100%\""
        ))
    })
}

/// Finds the windows whose target a batch of this job cannot have.
pub(super) fn contradictions(pace: &RawPace, batch: &RawBatch, default: Duration) -> Vec<Problem> {
    let give_way = batch.give_way.as_ref().map_or(default, |it| *it.get_ref());
    let is_default = if batch.give_way.is_some() { "" } else { ", the default" };
    let targets = pace.windows.iter().filter_map(|window| window.target.as_ref());
    targets
        .filter_map(|target| {
            let problem = if batch.rows.is_some() {
                let message = "`batch.rows` (a fixed size) excludes `pace.window.target` (a size that follows the time)";
                Problem::new("contradiction", message).help("remove `rows`, or the `target`")
            } else if give_way < *target.get_ref() {
                let (shown, target) = (show_duration(give_way), show_duration(*target.get_ref()));
                let message = format!(
                    "`batch.give_way` ({shown}{is_default}) is less than `pace.window.target` ({target}), so every batch would be cut off"
                );
                Problem::new("contradiction", message).help("make give_way at least the target, or lower the target")
            } else {
                return None;
            };
            Some(problem.at(target.span()))
        })
        .collect()
}
