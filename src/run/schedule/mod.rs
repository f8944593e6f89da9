//! Which window applies at an instant, and when that changes.
//!
//! The rule: a window contains an instant if the clock on the wall of its zone then shows a time from its beginning up
//! to its end, of a day on which it begins; over midnight, the tail belongs to the day before. So a 02:30 that does not
//! exist begins at the jump, and one that comes twice applies both times. The first window that contains an instant
//! applies.
//!
//! Pure: instants are given, and are the server's. Nothing here reads a clock.

mod forecast;
mod wall;
mod week;

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

pub use forecast::{Course, Speed};
pub use wall::until;
pub use week::{Overlap, Stretches};

use crate::job::{Window, WindowRate, zone_name};

const DAY: SignedDuration = SignedDuration::from_hours(24);
const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Every time of the week comes once in so many weeks, even where a zone leaves some out.
const WEEKS: usize = 5;

/// The windows of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    windows: Vec<Window>,
    /// Their zones, each once.
    zones: Vec<TimeZone>,
    /// Which zone each window has.
    zone_of: Vec<usize>,
}

/// Which window applies, and until when.
#[derive(Debug, Clone, Copy)]
pub struct Current<'s> {
    /// The window that applies; none if the job's own pace does.
    pub window: Option<&'s Window>,
    /// The instant at which another one applies, or none; `None` if that never happens.
    pub until: Option<Timestamp>,
    /// What applies then.
    pub next: Option<&'s Window>,
    now: Timestamp,
}

impl Schedule {
    /// Takes windows in the order in which they are asked.
    pub fn new(windows: Vec<Window>) -> Self {
        let mut zones: Vec<TimeZone> = Vec::new();
        let mut zone_of = Vec::new();
        for window in &windows {
            let known = zones.iter().position(|zone| *zone == window.zone);
            zone_of.push(known.unwrap_or(zones.len()));
            if known.is_none() {
                zones.push(window.zone.clone());
            }
        }
        Self { windows, zones, zone_of }
    }

    /// Whether there is no window at all.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Returns the windows, in the order in which they are asked.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Writes an instant by the clock of the first window, as in `Fri 02:10 Europe/Berlin`.
    pub fn in_words(&self, at: Timestamp, now: Timestamp) -> String {
        in_words(at, now, self.zones.first().unwrap_or(&TimeZone::UTC))
    }

    /// Says which window applies now, and until when. It stays true until then, so there is no need to ask again.
    pub fn at(&self, now: Timestamp) -> Current<'_> {
        let (window, change) = (self.first(now), self.change(now));
        let get = |index: Option<usize>| index.map(|index| &self.windows[index]);
        Current {
            window: get(window),
            until: change.map(|(at, _)| at),
            next: get(change.and_then(|(_, next)| next)),
            now,
        }
    }

    /// Finds the next instant at which another window applies, or none, and which that is.
    fn change(&self, now: Timestamp) -> Option<(Timestamp, Option<usize>)> {
        let applies = self.first(now);
        let mut from = now;
        for length in std::iter::once(DAY).chain([WEEK; WEEKS]) {
            let to = from.checked_add(length).ok()?;
            let edges = self.edges(from, to).into_iter().map(|at| (at, self.first(at)));
            let change = edges.into_iter().find(|(_, window)| *window != applies);
            if change.is_some() {
                return change;
            }
            from = to;
        }
        None
    }

    /// Returns the first window that contains an instant.
    fn first(&self, at: Timestamp) -> Option<usize> {
        self.containing(at).next()
    }

    /// Goes through the windows that contain an instant.
    fn containing(&self, at: Timestamp) -> impl Iterator<Item = usize> {
        let walls: Vec<_> = self.zones.iter().map(|zone| zone.to_datetime(at)).collect();
        let windows = self.windows.iter().zip(&self.zone_of).enumerate();
        windows
            .filter(move |(_, (window, zone))| wall::contains(&window.when, walls[**zone]))
            .map(|(index, _)| index)
    }

    /// Collects every instant after `from`, and up to `to`, at which a window may begin or end.
    fn edges(&self, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let mut edges = Vec::new();
        for zone in &self.zones {
            edges.extend(wall::jumps(zone, from, to));
        }
        for window in &self.windows {
            edges.extend(wall::edges(window, from, to));
        }
        edges.sort_unstable();
        edges.dedup();
        edges
    }
}

impl Current<'_> {
    /// Returns the rows per second that apply, 0 for a pause; `base` is the job's own rate. `None` is no limit.
    pub fn limit(&self, base: Option<f64>) -> Option<f64> {
        match self.window.and_then(|window| window.rate) {
            Some(WindowRate::Pause) => Some(0.0),
            Some(WindowRate::Rate(rate)) => Some(f64::from(rate.rows_per_second())),
            None => base,
        }
    }

    /// Whether the walk stands still now.
    pub fn is_paused(&self) -> bool {
        self.window.is_some_and(|window| window.rate == Some(WindowRate::Pause))
    }
}

/// Says what applies and until when, as in `window Mon-Fri 08:00-20:00: 500 rows/s until 20:00 Europe/Berlin`.
impl fmt::Display for Current<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.window {
            Some(window) => window.fmt(f)?,
            None => f.write_str("no window")?,
        }
        let zone = self.window.or(self.next).map(|window| &window.zone);
        let (Some(until), Some(zone)) = (self.until, zone) else { return Ok(()) };
        write!(f, " until {}", in_words(until, self.now, zone))
    }
}

/// Writes an instant by the clock of a zone, with the day where it is not within a day from now.
fn in_words(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let away = now.duration_until(at);
    let form = if away < DAY {
        "%H:%M"
    } else if away < WEEK {
        "%a %H:%M"
    } else {
        "%a %Y-%m-%d %H:%M"
    };
    format!("{} {}", zone.to_datetime(at).strftime(form), zone_name(zone))
}

#[cfg(test)]
mod tests;
