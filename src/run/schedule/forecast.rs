//! When rows will be done, with the hours counted in which less or nothing is allowed.

use jiff::{SignedDuration, Timestamp};

use super::{Schedule, WEEK, WEEKS, limit};

/// Who has to wait for longer is told that it is unknown.
const MOST: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// So many weeks are taken to be like the one before them; more would carry the hour of a change of clocks too far.
const LEAP: f64 = 8.0;

/// What a walk can do: what it does unhindered, and its own limit where no window sets one, in rows per second.
#[derive(Clone, Copy)]
struct Pace {
    speed: f64,
    base: Option<f64>,
}

impl Schedule {
    /// Says when so many rows will be done, if the walk does `speed` rows per second where nothing limits it; `base` is
    /// the rate where no window sets one. `None` if that is never, or more than ten years away.
    pub fn finish(
        &self,
        now: Timestamp,
        rows: f64,
        speed: f64,
        base: Option<f64>,
    ) -> Option<Timestamp> {
        let pace = Pace { speed, base };
        let end = now.checked_add(MOST).ok()?;
        let (mut at, mut left, mut idle) = (now, rows, 0);
        // Something that is not a number is never done.
        while speed > 0.0 && at < end && idle < WEEKS {
            let done = match self.week(at, left, pace) {
                Ok(done) => return Some(done).filter(|done| *done <= end),
                Err(done) => done,
            };
            idle = if done > 0.0 { 0 } else { idle + 1 };
            // What is left for less than two weeks is always gone through.
            let leap =
                if done > 0.0 { ((left / done).floor() - 2.0).clamp(0.0, LEAP) } else { 0.0 };
            left -= done * (leap + 1.0);
            let weeks = WEEK.as_secs_f64() * (leap + 1.0);
            at = at.checked_add(SignedDuration::try_from_secs_f64(weeks).ok()?).ok()?;
        }
        None
    }

    /// Goes through the week from an instant: when the rows are done, or how many are.
    fn week(&self, from: Timestamp, rows: f64, pace: Pace) -> Result<Timestamp, f64> {
        let to = from.checked_add(WEEK).unwrap_or(Timestamp::MAX);
        let mut edges = self.edges(from, to);
        edges.push(to);
        let (mut at, mut done) = (from, 0.0);
        for edge in edges {
            let window = self.first(at).map(|index| &self.windows[index]);
            let speed = limit(window, pace.base).map_or(pace.speed, |limit| limit.min(pace.speed));
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
