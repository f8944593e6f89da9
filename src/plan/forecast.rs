//! What the whole will cost, from a rehearsal of a little of it.
//!
//! A pure function of plan, rehearsal and pace. What cannot be known stays `None` and is shown as
//! `unknown`. Sizes follow a model that was measured on tables of a million rows whose walk began
//! with full pages; `docs/how-to/how-long-and-how-big.md` says how good it is.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::prepare::Plan;
use super::rehearsal::{READS_PER_WRITE, Rehearsal};
use super::split::ranges;
use crate::job::{Rate, Stripes, Vacuum, show_bytes, show_duration};
use crate::run::{Course, Expiry, Overrides, Said, Schedule, Speed, count};
use crate::walk::{DENSE, PASSES};

/// What a page of the table has for rows and their pointers, in bytes.
const PAGE: f64 = 8192.0 - 24.0;

/// The room that dead rows take at the end, in budgets of the vacuum: the half at which it begins, and
/// what the walk adds while it is at work. Measured: 0.5 to 0.8 beside a walk at full speed.
const LEFT: f64 = 0.6;

/// The share of new entries that the pages of an index take as they are: they are built 90 % full.
const SPARE: f64 = 0.1;

/// By how much indexes grow beyond that. Measured: 2.0 for the primary key, 1.7 for an index in random
/// order, 2.9 for another one in the order of the walk.
const PARTED: f64 = 2.0;

/// The same with a vacuum beside the walk. Measured: 2.0, 1.0 and 2.9.
const EMPTIED: f64 = 1.6;

/// The share of HOT updates among those of all passes but the first, where a chunk is done in passes:
/// a rehearsal is a single one. Measured: 0.71 of all with four passes.
const IN_LATER_PASSES: f64 = 0.95;

/// What an update writes to WAL besides entries of indexes and images of pages, in such entries.
/// Measured with two indexes: 447 bytes a row without HOT, and 218 with 0.71 of it.
const ROW_WAL: f64 = 0.8;

/// The same in time. Measured: 9.5 seconds for a million rows, and 7.0.
const ROW_TIME: f64 = 3.4;

/// What is known of the table without rehearsing.
#[derive(Debug, Clone, Copy)]
struct Ground {
    rows: Option<u64>,
    heap_bytes: u64,
    index_bytes: u64,
    indexes: u32,
    fillfactor: u32,
    /// Passes over each chunk.
    passes: u32,
    workers: u32,
    /// The budget of dead rows in percent, if the table will be vacuumed.
    vacuum: Option<u32>,
    rate: Option<Rate>,
    /// The time of a window of the verification.
    target: Duration,
}

/// What the whole will cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Rows of the table.
    pub rows: Option<u64>,
    /// Rows that match `where`.
    pub matching: Option<u64>,
    /// Matching rows per second, as fast as the server goes.
    pub rows_per_second: Option<f64>,
    /// The limit of the job, in the same unit.
    pub limit: Option<Rate>,
    /// Workers of the job. Times are those of one: by how much several are faster depends on the
    /// processors and disks of the server, and on what else they do.
    pub workers: u32,
    /// How long the walk takes under the rate of the job, outside of its windows.
    pub time: Option<Duration>,
    /// The same for the verification that follows.
    pub verification: Option<Duration>,
    /// When both are over with the windows of the job and what people have changed; `None` if there is neither, or
    /// nothing is to do.
    pub windowed: Option<Windowed>,
    /// Bytes of WAL.
    pub wal_bytes: Option<u64>,
    /// The table's own file.
    pub heap: Growth,
    /// Its indexes.
    pub indexes: Growth,
    /// After how many dead rows it is vacuumed, in percent of its rows; `None` if it is not.
    pub vacuum: Option<u32>,
}

/// When a walk that began now would be over, and its verification as far as it is known how long that takes, with all
/// counted that changes their pace by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windowed {
    /// What that is, as in `its windows`.
    pub with: &'static str,
    /// The instant; `None` if it is not within ten years.
    pub over: Option<Timestamp>,
    /// The same by the clock of the windows, as in `Fri 02:10 Europe/Berlin`.
    pub text: String,
}

/// What decides the pace beside the job's own.
#[derive(Debug, Clone, Copy)]
struct Beside<'a> {
    schedule: &'a Schedule,
    /// What people have changed: now, and what is left of it later.
    changed: (&'a Overrides, &'a [Expiry]),
}

/// How large something is, and will be, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// Now.
    pub now: u64,
    /// After the run, with the vacuums of the job; `None` if it has none, too.
    pub vacuumed: Option<u64>,
    /// After the run, if nothing is vacuumed meanwhile.
    pub plain: Option<u64>,
}

impl Plan {
    /// Returns what the whole will cost, if the rest of the table is like what was rehearsed.
    ///
    /// This is the one place that says how a number of rows becomes a time: under the job's rate
    /// without a break, and from `now` on, which is the server's, with its windows and what people have
    /// `changed`: what of that applies now, and what is left of it later.
    pub fn forecast(
        &self,
        seen: &Rehearsal,
        now: Timestamp,
        changed: (&Overrides, &[Expiry]),
    ) -> Forecast {
        let rate = self.job.pace.rate;
        let finish = |rows: f64, speed: f64| {
            let speed = rate.map_or(speed, |rate| speed.min(f64::from(rate.rows_per_second())));
            Duration::try_from_secs_f64(rows / speed).ok()
        };
        let forecast = of(&self.ground(), seen, finish);
        let schedule = Schedule::new(self.job.pace.windows.clone());
        let beside = Beside { schedule: &schedule, changed };
        Forecast { windowed: windowed(&forecast, beside, now), ..forecast }
    }

    fn ground(&self) -> Ground {
        Ground {
            rows: self.estimate,
            heap_bytes: self.heap_bytes,
            index_bytes: self.index_bytes,
            indexes: self.indexes,
            fillfactor: self.fillfactor,
            passes: self.passes(),
            workers: self.job.pace.workers.unwrap_or(1),
            vacuum: self.vacuum_percent(),
            rate: self.job.pace.rate,
            target: self.window_target(),
        }
    }

    fn passes(&self) -> u32 {
        match self.job.batch.stripes {
            _ if !self.can_be_hot => 1,
            Stripes::Auto => PASSES,
            Stripes::Fixed(passes) => passes,
        }
    }

    /// Returns after how many dead rows, in percent of the table's rows, the walk vacuums it;
    /// `None` if it does not.
    pub fn vacuum_percent(&self) -> Option<u32> {
        match self.job.pace.vacuum {
            Vacuum::Every(percent) if self.can_vacuum && self.is_direct => Some(percent),
            Vacuum::Every(_) | Vacuum::Off => None,
        }
    }
}

/// `finish` says how long so many rows take, at so many rows per second without any hindrance.
fn of(
    ground: &Ground,
    seen: &Rehearsal,
    finish: impl Fn(f64, f64) -> Option<Duration>,
) -> Forecast {
    let rows = ground.rows.map(as_f64);
    let matching = rows.zip(seen.matching()).map(|(rows, share)| rows * share);
    let took = seen.walked().as_secs_f64() * cost(ROW_TIME, ground, seen);
    let rows_per_second = (seen.matched() > 0 && took > 0.0).then(|| as_f64(seen.matched()) / took);
    let time = match rows_per_second {
        Some(speed) => matching.and_then(|matching| finish(matching, speed)),
        // Nothing matches: the keys are passed all the same.
        None if seen.keys() > 0 => rows
            .and_then(|rows| Duration::try_from_secs_f64(rows * took / as_f64(seen.keys())).ok()),
        None => None,
    };
    let changed = share_changed(seen);
    Forecast {
        rows: ground.rows,
        matching: matching.map(as_u64),
        rows_per_second,
        limit: ground.rate,
        workers: ground.workers,
        time,
        verification: ground
            .rows
            .and_then(|rows| seen.looked.all(rows, ground.target, ground.rate)),
        windowed: None,
        wal_bytes: rows.zip(changed).and_then(|(rows, changed)| wal(rows, changed, ground, seen)),
        heap: heap(ground, changed, seen),
        indexes: indexes(ground, changed, seen),
        vacuum: ground.vacuum,
    }
}

fn windowed(forecast: &Forecast, beside: Beside<'_>, now: Timestamp) -> Option<Windowed> {
    let Beside { schedule, changed } = beside;
    let with = match (schedule.is_empty(), *changed.0 == Overrides::default()) {
        (true, true) => return None,
        (false, true) => "its windows",
        (true, false) => "what `throttle` has changed",
        (false, false) => "its windows and what `throttle` has changed",
    };
    let (rows, of_one) = (as_f64(forecast.matching?), forecast.rows_per_second?);
    let rate = forecast.limit.map(Rate::rows_per_second);
    let base = Said { rate, workers: Some(forecast.workers), ..Said::default() };
    let course = Course::new(base, schedule, changed);
    let workers: Vec<_> = course.workers().into_iter().collect();
    // One alone was measured. Where their number stays, the time is that of one, as without windows.
    let (by, what_if) = match workers[..] {
        [1] => (1, ""),
        [all] => (all, ", if one worker did all of it"),
        _ => (1, ", if each worker does as much as the first"),
    };
    let speed = Speed { rows: of_one, by, most: ranges(forecast.rows) };
    let looks = forecast.rows.zip(forecast.verification).filter(|(_, took)| !took.is_zero());
    let over = course.finish(now, rows, speed).and_then(|over| match looks {
        Some((rows, took)) => {
            let rows = as_f64(rows) / f64::from(READS_PER_WRITE);
            course.finish(over, rows, Speed { rows: rows / took.as_secs_f64(), ..speed })
        }
        None => Some(over),
    });
    let mut text =
        over.map_or("in more than ten years, or never".into(), |over| schedule.in_words(over, now));
    if over.is_some() {
        text.push_str(what_if);
        text.push_str(if looks.is_none() { ", and the verification after it" } else { "" });
    }
    Some(Windowed { with, over, text })
}

/// The share of the table's rows that get a new version.
fn share_changed(seen: &Rehearsal) -> Option<f64> {
    (seen.keys() > 0).then(|| as_f64(seen.changed()) / as_f64(seen.keys()))
}

/// The share of HOT updates: passes make of it what they can, and no less than without them. Where few
/// rows are to do, a single pass is made.
fn hot(ground: &Ground, seen: &Rehearsal) -> Option<f64> {
    if seen.matching()? < DENSE {
        return seen.hot();
    }
    let later = 1.0 - 1.0 / f64::from(ground.passes);
    Some(seen.hot()?.max(later * IN_LATER_PASSES))
}

/// What a row costs by what it cost when it was rehearsed, if without indexes it costs as much as `row`
/// entries in them: 1 where the share of HOT is the same.
fn cost(row: f64, ground: &Ground, seen: &Rehearsal) -> f64 {
    let of = |hot: f64| row + (1.0 - hot) * f64::from(ground.indexes);
    match hot(ground, seen).zip(seen.hot()) {
        Some((expected, rehearsed)) => of(expected) / of(rehearsed),
        None => 1.0,
    }
}

/// What the rows write, and once the image of each page: there is a checkpoint before or in a long run.
fn wal(rows: f64, changed: f64, ground: &Ground, seen: &Rehearsal) -> Option<u64> {
    if changed == 0.0 {
        return Some(0);
    }
    let row = seen.wal_per_row_without_images()? * cost(ROW_WAL, ground, seen);
    let in_page = rows * 8192.0 / as_f64(ground.heap_bytes).max(8192.0);
    let touched = 1.0 - (1.0 - changed).powf(in_page.max(1.0));
    let images = touched * as_f64(ground.heap_bytes + ground.index_bytes);
    Some(as_u64(rows * changed * row + images))
}

/// Without a vacuum, every new version that is not HOT goes to the end of the file. With it, the
/// file is as large as the rows need, and has the last budget of dead rows besides.
fn heap(ground: &Ground, changed: Option<f64>, seen: &Rehearsal) -> Growth {
    let now = ground.heap_bytes;
    let plain_and_vacuumed = || {
        let (rows, changed) = (as_f64(ground.rows?), changed?);
        if changed == 0.0 {
            return Some((now, now));
        }
        let (before, after) =
            (seen.row_bytes(|it| it.row_before)?, seen.row_bytes(|it| it.row_after)?);
        let moved = changed * (1.0 - hot(ground, seen)?);
        // All of the difference is in the rows that were changed.
        let new = before + (after - before) / changed;
        let plain = as_f64(now) + pages(rows * moved, new, ground.fillfactor);
        let needed = pages(rows, after, ground.fillfactor);
        let budget = f64::from(ground.vacuum.unwrap_or(0)) / 100.0;
        let left = LEFT * budget * rows * before * (1.0 - hot(ground, seen)?);
        let vacuumed = (needed + left).clamp(as_f64(now), plain.max(as_f64(now)));
        Some((as_u64(plain), as_u64(vacuumed)))
    };
    growth(now, plain_and_vacuumed(), ground)
}

/// Each new version that is not HOT gets an entry in every index; pages that are full are parted. A
/// vacuum empties pages that the walk comes back to: of an index in another order than the walk's.
fn indexes(ground: &Ground, changed: Option<f64>, seen: &Rehearsal) -> Growth {
    let now = ground.index_bytes;
    let grown = || {
        let changed = changed?;
        let entries = if changed == 0.0 { 0.0 } else { changed * (1.0 - hot(ground, seen)?) };
        let (plain, vacuumed) = if entries <= SPARE { (1.0, 1.0) } else { (PARTED, EMPTIED) };
        Some((as_u64(as_f64(now) * plain), as_u64(as_f64(now) * vacuumed)))
    };
    growth(now, grown(), ground)
}

fn growth(now: u64, plain_and_vacuumed: Option<(u64, u64)>, ground: &Ground) -> Growth {
    let vacuumed = plain_and_vacuumed.filter(|_| ground.vacuum.is_some());
    Growth {
        now,
        plain: plain_and_vacuumed.map(|(plain, _)| plain),
        vacuumed: vacuumed.map(|(_, vacuumed)| vacuumed),
    }
}

/// Bytes of whole pages for so many rows of such a size.
fn pages(rows: f64, row: f64, fillfactor: u32) -> f64 {
    let in_page = (PAGE * f64::from(fillfactor) / 100.0 / row.max(1.0)).floor().max(1.0);
    (rows / in_page).ceil() * 8192.0
}

#[expect(clippy::cast_precision_loss, reason = "a forecast")]
fn as_f64(n: u64) -> f64 {
    n as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a forecast of something that is not negative"
)]
fn as_u64(n: f64) -> u64 {
    n.round() as u64
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "unknown".to_owned();
        let about = |n: Option<u64>| n.map_or_else(unknown, |n| format!("about {}", count(n)));
        let bytes = |n: Option<u64>| n.map_or_else(unknown, show_bytes);
        writeln!(f, "forecast, if all of it is like what was rehearsed:")?;
        let of = self.rows.map_or_else(unknown, count);
        writeln!(f, "  rows to do: {} of {of}", about(self.matching))?;
        let (walk, verification) = (self.time_in_words(), self.verification_in_words());
        writeln!(f, "  time of the walk: {walk}, and {verification} after it")?;
        if let Some(windowed) = &self.windowed {
            writeln!(f, "  with {}, begun now: over {}", windowed.with, windowed.text)?;
        }
        let wal = self.wal_bytes.map_or_else(unknown, |wal| format!("about {}", show_bytes(wal)));
        writeln!(f, "  WAL: {wal}")?;
        for (name, growth) in [("table", self.heap), ("indexes", self.indexes)] {
            write!(f, "  {name}: {} now, {}", show_bytes(growth.now), bytes(growth.plain))?;
            match self.vacuum {
                Some(percent) => {
                    let vacuumed = bytes(growth.vacuumed);
                    writeln!(f, " without vacuum, {vacuumed} with a budget of {percent} %")?;
                }
                None => writeln!(f, " after it")?,
            }
        }
        Ok(())
    }
}

impl Forecast {
    fn verification_in_words(&self) -> String {
        let about = |time| format!("about {} of verification", rounded(time));
        self.verification.map_or("the verification".into(), about)
    }

    fn time_in_words(&self) -> String {
        let time = self.time.map_or("unknown".into(), |time| format!("about {}", rounded(time)));
        let speed = self.rows_per_second.map(as_u64);
        // No more of them find something to do.
        let workers = self.workers.min(ranges(self.rows));
        match (speed, self.limit) {
            (Some(speed), Some(limit)) if u64::from(limit.rows_per_second()) < speed => {
                format!("{time} at {limit}, the limit of the job")
            }
            (Some(speed), _) if workers > 1 => {
                let speed = count(speed);
                format!("{time} at {speed} rows/s by one worker, less by {workers}")
            }
            (Some(speed), _) => format!("{time} at {} rows/s", count(speed)),
            (None, _) => time,
        }
    }
}

/// A forecast of hours is not told in seconds.
fn rounded(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let step = match seconds {
        ..10.0 => return format!("{seconds:.1}s"),
        ..600.0 => 1,
        ..36_000.0 => 60,
        _ => 3_600,
    };
    show_duration(Duration::from_secs(time.as_secs().div_ceil(step) * step))
}

#[cfg(test)]
#[path = "forecast_tests.rs"]
mod tests;
