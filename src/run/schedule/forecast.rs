//! When rows will be done, with all counted that changes by itself: hours in which less or nothing is allowed, and
//! what people have changed for a while.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::{Schedule, WEEK, WEEKS};
use crate::job::Window;
use crate::run::{Expiry, Overrides, Pace, Said};

/// Who has to wait for longer is told that it is unknown.
const MOST: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// So many weeks are taken to be like the one before them; more would carry the hour of a change of clocks too far.
const LEAP: f64 = 8.0;

/// What a walk keeps to from now on.
#[derive(Debug, Clone)]
pub struct Course<'s> {
    base: Said,
    stages: Vec<Stage<'s>>,
}

/// What people have changed, up to an instant.
#[derive(Debug, Clone)]
struct Stage<'s> {
    schedule: &'s Schedule,
    people: Said,
    until: Option<Timestamp>,
}

/// What a walk can do where nothing limits it.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Rows per second.
    pub rows: f64,
    /// By so many workers; others are taken to be as fast.
    pub by: u32,
    /// The most workers that find something to do.
    pub most: u32,
}

impl Speed {
    fn of(self, workers: u32) -> f64 {
        let most = |workers: u32| f64::from(workers.min(self.most).max(1));
        self.rows * most(workers) / most(self.by)
    }
}

impl<'s> Course<'s> {
    /// Takes what job and flags say, the windows of the job, and what people have changed: now, and what is left of it
    /// later.
    pub fn new(
        base: Said,
        schedule: &'s Schedule,
        (now, later): (&'s Overrides, &'s [Expiry]),
    ) -> Self {
        let ends = later.iter().map(|it| Some(it.at)).chain([None]);
        let changes = std::iter::once(now).chain(later.iter().map(|it| &it.then));
        let stage = |(changed, until): (&'s Overrides, _)| Stage {
            schedule: changed.schedule.as_ref().unwrap_or(schedule),
            people: changed.said,
            until,
        };
        Course { base, stages: changes.zip(ends).map(stage).collect() }
    }

    /// Whether nothing changes by itself.
    pub fn is_even(&self) -> bool {
        self.stages.len() == 1 && self.stages[0].schedule.is_empty()
    }

    /// Returns the numbers of workers that there will be.
    pub fn workers(&self) -> BTreeSet<u32> {
        let of = |stage: &Stage<'s>| {
            let windows = stage.schedule.windows().iter().map(Some).chain([None]);
            windows.map(|window| self.pace(stage, window).workers).collect::<Vec<_>>()
        };
        self.stages.iter().flat_map(of).collect()
    }

    /// Says when so many rows will be done; `None` if that is never, or more than ten years away.
    pub fn finish(&self, now: Timestamp, rows: f64, speed: Speed) -> Option<Timestamp> {
        let most = now.checked_add(MOST).ok()?;
        let (mut at, mut left) = (now, rows);
        for stage in &self.stages {
            let end = stage.until.unwrap_or(most).min(most);
            match self.walk(stage, (at, end), left, speed) {
                Ok(done) => return Some(done),
                Err(rows) => left = rows,
            }
            at = at.max(end);
        }
        None
    }

    fn pace(&self, stage: &Stage<'_>, window: Option<&Window>) -> Pace {
        Pace::of(self.base, stage.people, window)
    }

    /// Goes from an instant to another: when the rows are done, or how many are left.
    fn walk(
        &self,
        stage: &Stage<'_>,
        (from, end): (Timestamp, Timestamp),
        rows: f64,
        speed: Speed,
    ) -> Result<Timestamp, f64> {
        let (mut at, mut left, mut idle) = (from, rows, 0);
        // Something that is not a number is never done.
        while speed.rows > 0.0 && at < end && idle < WEEKS {
            let to = at.checked_add(WEEK).unwrap_or(end).min(end);
            let done = match self.week(stage, (at, to), left, speed) {
                Ok(done) => return Ok(done),
                Err(done) => done,
            };
            idle = if done > 0.0 { 0 } else { idle + 1 };
            // What is left for less than two weeks is always gone through.
            let room = at.duration_until(end).as_secs_f64() / WEEK.as_secs_f64();
            let weeks = if done > 0.0 { (left / done).min(room) } else { 0.0 };
            let leap = (weeks.floor() - 2.0).clamp(0.0, LEAP);
            left -= done * (leap + 1.0);
            let leapt = SignedDuration::try_from_secs_f64(WEEK.as_secs_f64() * leap);
            at = leapt.ok().and_then(|leapt| to.checked_add(leapt).ok()).unwrap_or(end);
        }
        Err(left)
    }

    /// Goes through at most a week: when the rows are done, or how many are.
    fn week(
        &self,
        stage: &Stage<'_>,
        (from, to): (Timestamp, Timestamp),
        rows: f64,
        speed: Speed,
    ) -> Result<Timestamp, f64> {
        let mut edges = stage.schedule.edges(from, to);
        edges.push(to);
        let (mut at, mut done) = (from, 0.0);
        for edge in edges {
            let window = stage.schedule.first(at).map(|index| &stage.schedule.windows[index]);
            let pace = self.pace(stage, window);
            let limit = if pace.is_closed { 0.0 } else { pace.rate.map_or(f64::MAX, f64::from) };
            let speed = speed.of(pace.workers).min(limit);
            let length = at.duration_until(edge).as_secs_f64();
            if done + speed * length >= rows {
                let needed = if rows > done { (rows - done) / speed } else { 0.0 };
                let needed = SignedDuration::try_from_secs_f64(needed).map_err(|_| done)?;
                return at.checked_add(needed).map_err(|_| done);
            }
            done += speed * length;
            at = edge;
        }
        Err(done)
    }
}
