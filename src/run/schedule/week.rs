//! What the windows of a job leave out of the week, and what they say twice.
//!
//! Looks at one week by instants, so that windows of different zones meet as they will: once for each way in which
//! the clocks of these zones stand to each other in the course of a year. What a clock shows decides which windows
//! contain an instant, so there is nothing else to see where clocks change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::{DAY, Schedule, WEEK, wall};
use crate::job::{Rate, When, Window, zone_name};

/// Monday, 5 January 2026, 00:00 UTC.
const MONDAY: i64 = 1_767_571_200;

/// Clocks that change do so in the course of this.
const YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);

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

/// Stretches of a week, by the clock of a zone; shown as in `Mon-Thu 20:00-08:00, Fri 20:00-Mon 08:00 Europe/Berlin`,
/// and where they are not the same all year, with the days from which on clocks stand so.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretches {
    list: Vec<Range<Timestamp>>,
    /// A clock that never changes.
    clock: TimeZone,
    zone: String,
    from: Vec<Date>,
}

/// How the clocks of a schedule's zones stand to each other for a part of the year.
struct Season {
    /// The first day of it.
    from: Date,
    /// The windows, by clocks that stand so all year.
    schedule: Schedule,
}

impl Schedule {
    /// Finds which windows overlap where; of two, the first applies.
    pub fn overlaps(&self) -> Vec<Overlap> {
        let seasons = self.seasons();
        let found = self.all_year(&seasons, |season| {
            let mut pairs: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for (stretch, windows) in season.schedule.reference() {
                let Some((applies, others)) = windows.split_first() else { continue };
                for other in others {
                    pairs.entry((*applies, *other)).or_default().push(stretch.clone());
                }
            }
            pairs
        });
        let overlap = |((applies, yields), when)| Overlap { applies, yields, when };
        found.into_iter().map(overlap).collect()
    }

    /// Finds what no window covers; nothing if there are no windows at all.
    pub fn gaps(&self) -> Vec<Stretches> {
        let seasons = if self.is_empty() { Vec::new() } else { self.seasons() };
        let found = self.all_year(&seasons, |season| {
            let gaps = season.schedule.reference();
            let gaps = gaps.into_iter().filter(|(_, windows)| windows.is_empty());
            let gaps: Vec<_> = gaps.map(|(stretch, _)| stretch).collect();
            if gaps.is_empty() { BTreeMap::new() } else { BTreeMap::from([((0, 0), gaps)]) }
        });
        found.into_iter().map(|(_, gaps)| gaps).collect()
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
        let reference = self.seasons().into_iter().flat_map(|season| season.schedule.reference());
        let applying: BTreeSet<usize> =
            reference.filter_map(|(_, windows)| windows.first().copied()).collect();
        let applies = |at: usize| applying.contains(&at);
        let never = (0..self.windows.len()).filter(|at| !applies(*at));
        notes.extend(never.map(|at| {
            format!("window {} never applies: those above it cover all of it", name(at))
        }));
        let instead = base.map_or_else(
            || "nothing limits the rate there, because [pace] has no `rate`".to_owned(),
            |rate| format!("`rate` under [pace] applies there, {rate}"),
        );
        notes.extend(self.gaps().iter().map(|gaps| format!("no window {gaps}: {instead}")));
        notes
    }

    /// Finds the ways in which its clocks stand to each other. Where all change together, there is only one.
    fn seasons(&self) -> Vec<Season> {
        let from = Timestamp::from_second(MONDAY).unwrap_or_default();
        let to = from.checked_add(YEAR).unwrap_or(Timestamp::MAX);
        let jumps = self.zones.iter().flat_map(|zone| wall::jumps(zone, from, to));
        let begins: BTreeSet<Timestamp> = std::iter::once(from).chain(jumps).collect();
        let mut known = BTreeSet::new();
        let mut seasons = Vec::new();
        for at in begins {
            let offsets: Vec<_> = self.zones.iter().map(|zone| zone.to_offset(at)).collect();
            let seconds = offsets.iter().map(|offset| offset.seconds());
            let apart = seconds.map(|it| it - offsets[0].seconds()).collect::<Vec<i32>>();
            if known.insert(apart) {
                let zones = self.zone_of.iter().map(|zone| TimeZone::fixed(offsets[*zone]));
                let windows = self.windows.iter().cloned().zip(zones);
                let windows = windows.map(|(window, zone)| Window { zone, ..window }).collect();
                let first = offsets.first().copied().unwrap_or(Offset::UTC);
                let from = first.to_datetime(at).date();
                seasons.push(Season { from, schedule: Schedule::new(windows) });
            }
        }
        seasons
    }

    /// Looks for something in every season, by pairs of windows, and says once what is the same in several.
    fn all_year(
        &self,
        seasons: &[Season],
        find: impl Fn(&Season) -> BTreeMap<(usize, usize), Vec<Range<Timestamp>>>,
    ) -> Vec<((usize, usize), Stretches)> {
        let mut all: Vec<((usize, usize), Stretches)> = Vec::new();
        for season in seasons {
            for (pair, pieces) in find(season) {
                let found = self.stretches(season, pieces, pair.0);
                let is_same =
                    |it: &&mut (_, Stretches)| it.0 == pair && it.1.words() == found.words();
                match all.iter_mut().find(is_same) {
                    Some((_, known)) => known.from.push(season.from),
                    None => all.push((pair, found)),
                }
            }
        }
        for (_, found) in &mut all {
            if found.from.len() == seasons.len() {
                found.from.clear();
            }
        }
        all.sort_by_key(|(pair, _)| *pair);
        all
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
    fn stretches(
        &self,
        season: &Season,
        pieces: Vec<Range<Timestamp>>,
        window: usize,
    ) -> Stretches {
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
        let clock = season.schedule.windows[window].zone.clone();
        let zone = zone_name(&self.windows[window].zone).to_string();
        Stretches { list, clock, zone, from: vec![season.from] }
    }
}

impl Stretches {
    /// Returns the stretches, as instants of the week from 5 January 2026.
    pub fn instants(&self) -> &[Range<Timestamp>] {
        &self.list
    }

    /// Says when they are, in a week.
    fn words(&self) -> String {
        if self.list.iter().any(|it| length(it) >= WEEK) {
            return "all week".to_owned();
        }
        let day = |wall: DateTime| wall.date().weekday();
        let wall = |it: &Range<Timestamp>| {
            (self.clock.to_datetime(it.start), self.clock.to_datetime(it.end), length(it) <= DAY)
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
        format!("{} {}", texts.join(", "), self.zone)
    }
}

impl fmt::Display for Stretches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words())?;
        let days: Vec<String> = self.from.iter().map(Date::to_string).collect();
        if days.is_empty() {
            Ok(())
        } else {
            write!(f, " (as clocks stand from {} on)", days.join(", "))
        }
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

#[cfg(test)]
#[path = "week_tests.rs"]
mod tests;
