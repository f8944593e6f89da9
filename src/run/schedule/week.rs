//! What the windows of a job leave out of the week, and what they say twice.
//!
//! Looks at one week without a change of clocks, by instants, so that windows of different zones meet as they will.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{DAY, Schedule, WEEK};
use crate::job::{Rate, When, zone_name};

/// Monday, 5 January 2026, 00:00 UTC.
const MONDAY: i64 = 1_767_571_200;

/// More overlaps than these are counted, not named.
const MOST: usize = 20;

/// Two windows that contain the same instants.
#[derive(Debug, Clone, PartialEq)]
pub struct Overlap {
    /// The window that applies: its place among [`Schedule::windows`].
    pub applies: usize,
    /// The one that does not.
    pub yields: usize,
    /// Where they overlap.
    pub when: Stretches,
}

/// Stretches of a week, by the clock of a zone; shown as in `Mon-Thu 20:00-08:00, Fri 20:00-Mon 08:00 Europe/Berlin`.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretches {
    list: Vec<Range<Timestamp>>,
    zone: TimeZone,
}

impl Schedule {
    /// Finds which windows overlap where; of two, the first applies.
    pub fn overlaps(&self) -> Vec<Overlap> {
        let mut pairs: BTreeMap<(usize, usize), Vec<Range<Timestamp>>> = BTreeMap::new();
        for (stretch, windows) in self.reference() {
            if let [applies, others @ ..] = &windows[..] {
                for other in others {
                    pairs.entry((*applies, *other)).or_default().push(stretch.clone());
                }
            }
        }
        let overlap = |((applies, yields), list)| {
            let when = self.stretches(list, applies);
            Overlap { applies, yields, when }
        };
        pairs.into_iter().map(overlap).collect()
    }

    /// Finds what no window covers; nothing if there are no windows at all.
    pub fn gaps(&self) -> Option<Stretches> {
        let gaps = self.reference().into_iter().filter(|(_, windows)| windows.is_empty());
        let list: Vec<_> = gaps.map(|(stretch, _)| stretch).collect();
        (!self.is_empty() && !list.is_empty()).then(|| self.stretches(list, 0))
    }

    /// Says in words where windows overlap, which of them never apply, and what applies where there is none.
    pub fn notes(&self, base: Option<Rate>) -> Vec<String> {
        let name = |at: usize| format!("{} ({})", at + 1, self.windows[at].when);
        let overlaps = self.overlaps();
        let mut notes: Vec<String> = overlaps
            .iter()
            .take(MOST)
            .map(|overlap| {
                let (first, other) = (name(overlap.applies), name(overlap.yields));
                let number = overlap.applies + 1;
                format!(
                    "windows {first} and {other} overlap {}: window {number} applies",
                    overlap.when
                )
            })
            .collect();
        if overlaps.len() > MOST {
            notes.push(format!("and {} more overlaps of windows", overlaps.len() - MOST));
        }
        let reference = self.reference();
        let applies = |at| reference.iter().any(|(_, windows)| windows.first() == Some(&at));
        let never = (0..self.windows.len()).filter(|at| !applies(*at));
        notes.extend(never.map(|at| {
            format!("window {} never applies: those above it cover all of it", name(at))
        }));
        notes.extend(self.gaps().map(|gaps| {
            let instead = base.map_or_else(
                || "nothing limits the rate there, because [pace] has no `rate`".to_owned(),
                |rate| format!("`rate` under [pace] applies there, {rate}"),
            );
            format!("no window {gaps}: {instead}")
        }));
        notes
    }

    /// Cuts the week wherever something changes, and says which windows contain each piece.
    fn reference(&self) -> Vec<(Range<Timestamp>, Vec<usize>)> {
        let from = Timestamp::from_second(MONDAY).unwrap_or_default();
        let to = from.checked_add(WEEK).unwrap_or(Timestamp::MAX);
        let mut ends = self.edges(from, to);
        ends.push(to);
        ends.dedup();
        let starts = std::iter::once(from).chain(ends.iter().copied());
        starts.zip(&ends).map(|(at, end)| (at..*end, self.containing(at).collect())).collect()
    }

    /// Joins pieces that touch, around the end of the week as well.
    fn stretches(&self, pieces: Vec<Range<Timestamp>>, window: usize) -> Stretches {
        let mut list: Vec<Range<Timestamp>> = Vec::new();
        for piece in pieces {
            match list.last_mut() {
                Some(last) if last.end == piece.start => last.end = piece.end,
                _ => list.push(piece),
            }
        }
        if let [first, .., last] = &list[..]
            && first.start.checked_add(WEEK).is_ok_and(|end| end == last.end)
            && let Ok(end) = first.end.checked_add(WEEK)
        {
            let start = last.start;
            list.pop();
            list[0] = start..end;
        }
        Stretches { list, zone: self.windows[window].zone.clone() }
    }
}

impl Stretches {
    /// Returns the stretches, as instants of the week from 5 January 2026.
    pub fn instants(&self) -> &[Range<Timestamp>] {
        &self.list
    }
}

impl fmt::Display for Stretches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.list.iter().any(|it| length(it) >= WEEK) {
            return f.write_str("all week");
        }
        let day = |wall: DateTime| wall.date().weekday();
        let wall = |it: &Range<Timestamp>| {
            (self.zone.to_datetime(it.start), self.zone.to_datetime(it.end), length(it) <= DAY)
        };
        let mut walls: Vec<_> = self.list.iter().map(wall).collect();
        walls.sort_by_key(|(from, ..)| (day(*from).to_monday_zero_offset(), from.time()));
        let mut told: Vec<Told> = Vec::new();
        for (from, to, is_short) in walls {
            let hours = (from.time(), to.time());
            let same = told.iter_mut().find_map(|it| match it {
                Told::Hours(when) if is_short && (when.from, when.to) == hours => Some(when),
                Told::Hours(_) | Told::Days(..) => None,
            });
            if let Some(when) = same {
                when.days.push(day(from));
            } else if is_short {
                let days = vec![day(from)];
                told.push(Told::Hours(When { days, from: hours.0, to: hours.1 }));
            } else {
                told.push(Told::Days(from, to));
            }
        }
        let texts: Vec<String> = told.iter().map(Told::text).collect();
        write!(f, "{} {}", texts.join(", "), zone_name(&self.zone))
    }
}

fn length(stretch: &Range<Timestamp>) -> SignedDuration {
    stretch.start.duration_until(stretch.end)
}

/// A part of what is told of a week.
enum Told {
    /// The same hours, on one day or several.
    Hours(When),
    /// More than a day, from one to another.
    Days(DateTime, DateTime),
}

impl Told {
    fn text(&self) -> String {
        match self {
            Told::Hours(when) => when.to_string(),
            Told::Days(from, to) => {
                format!("{}-{}", from.strftime("%a %H:%M"), to.strftime("%a %H:%M"))
            }
        }
    }
}
