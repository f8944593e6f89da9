//! The clock on the wall of a zone: what it shows at an instant, and at which instants it shows something.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::job::{UnitError, When, Window, parse_clock, parse_zone};

/// Whether a window contains what a clock shows.
pub(super) fn contains(when: &When, wall: DateTime) -> bool {
    let (today, time) = (wall.date().weekday(), wall.time());
    let has_begun = when.days.contains(&today) && when.from <= time;
    if when.from < when.to {
        return has_begun && time < when.to;
    }
    // It goes on to midnight, and then as the tail of the day before.
    has_begun || (when.days.contains(&today.previous()) && time < when.to)
}

/// Finds the jumps of a zone's clock after `from` and up to `to`.
pub(super) fn jumps(
    zone: &TimeZone,
    from: Timestamp,
    to: Timestamp,
) -> impl Iterator<Item = Timestamp> {
    // A zone's file without any jump gives one before all time, again and again.
    let mut last = from;
    let is_next = move |at: &Timestamp| *at <= to && std::mem::replace(&mut last, *at) < *at;
    zone.following(from).map(|jump| jump.timestamp()).take_while(is_next)
}

/// Finds the instants after `from` and up to `to` at which the clock shows the beginning or the end of a window.
pub(super) fn edges(window: &Window, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let zone = &window.zone;
    let is_within = |at: &Timestamp| from < *at && *at <= to;
    // The clock may jump over a day, or show one twice.
    days(zone, from, to)
        .flat_map(|day| [day.to_datetime(window.when.from), day.to_datetime(window.when.to)])
        .flat_map(|wall| instants(zone, wall))
        .filter(is_within)
        .collect()
}

/// Goes through the days that a zone's clock shows between two instants, and the one before and after.
fn days(zone: &TimeZone, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Date> {
    let date = |at| zone.to_datetime(at).date();
    let first = date(from).yesterday().unwrap_or(Date::MIN);
    let last = date(to).tomorrow().unwrap_or(Date::MAX);
    std::iter::successors(Some(first), |day| day.tomorrow().ok())
        .take_while(move |day| *day <= last)
}

/// Finds the instants at which a clock shows a time: one, both of a time that comes twice, and where it is jumped
/// over, the jump.
fn instants(zone: &TimeZone, wall: DateTime) -> Vec<Timestamp> {
    let at = |offset: jiff::tz::Offset| offset.to_timestamp(wall).ok();
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => at(offset).into_iter().collect(),
        AmbiguousOffset::Fold { before, after } => {
            [before, after].into_iter().filter_map(at).collect()
        }
        AmbiguousOffset::Gap { before, after } => {
            // Read by the later offset, a time within the gap is before the jump.
            let (Some(early), Some(late)) = (at(after), at(before)) else { return Vec::new() };
            jumps(zone, early, late).collect()
        }
    }
}

/// Finds the next instant at which a clock shows a time: `06:00`, or `06:00 Europe/Berlin`.
///
/// A time that is jumped over is the jump; of one that comes twice, the first that is still to come.
///
/// # Errors
/// What to write instead.
pub fn until(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, UnitError> {
    let mut words = text.split_whitespace();
    let clock = parse_clock(words.next().unwrap_or_default())?;
    let zone = words.next().map_or_else(|| Ok(zone.clone()), parse_zone)?;
    if words.next().is_some() {
        let shown = text.escape_debug();
        let said = format!("\"{shown}\" is not a time; write for example \"06:00 Europe/Berlin\"");
        return Err(UnitError::new(said));
    }
    next(clock, now, &zone)
        .ok_or_else(|| UnitError::new("the clock of that zone never shows this time again"))
}

fn next(clock: Time, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let to = now.checked_add(super::DAY * 2).ok()?;
    let shown = days(zone, now, to).flat_map(|day| instants(zone, day.to_datetime(clock)));
    shown.filter(|at| *at > now).min()
}
