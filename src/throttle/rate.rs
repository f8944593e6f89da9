//! Rows per second, paid after the batch. The only file that knows governor.
//!
//! What is paid with is time: a row costs as long as the rate gives it, and the limiter lets a second
//! pass in a second. So the rate may change at every batch, and several workers may move it, without
//! a new limiter, which would have forgotten what the old one knew.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, FakeRelativeClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// The most that is saved up, and that one batch costs: a second, in microseconds.
const SECOND: NonZeroU32 = NonZeroU32::new(1_000_000).expect("it is not 0");

type Limiter = RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<Nanos>>;

/// The rate that applies now, and what may be done under it.
pub struct Allowance {
    /// Rows per second.
    rate: Option<f64>,
    limiter: Limiter,
    /// Goes as the caller's does, so that what happens is a function of what is said here.
    clock: FakeRelativeClock,
    at: Instant,
    /// Rows that are not paid for.
    debt: f64,
}

impl Allowance {
    /// Returns an allowance of `rate` rows per second, with nothing in it; `None` is without limit.
    pub fn new(rate: Option<f64>, now: Instant) -> Allowance {
        let clock = FakeRelativeClock::default();
        let quota = Quota::per_second(SECOND);
        let limiter = Limiter::direct_with_clock(quota, clock.clone());
        // A limiter begins full. A check for its whole burst cannot exceed its capacity.
        let _ = limiter.check_n(SECOND);
        Allowance { rate: rate.filter(|rate| *rate > 0.0), limiter, clock, at: now, debt: 0.0 }
    }

    /// Changes the rate. What is owed stays: a share that moves up and down forgives nothing. Only at
    /// less than half of the rate, what was done before is not paid for longer than a second.
    pub fn set(&mut self, rate: Option<f64>, now: Instant) {
        let rate = rate.filter(|rate| *rate > 0.0);
        match (self.rate, rate) {
            (Some(before), Some(rate)) if rate < before / 2.0 => self.debt = self.debt.min(rate),
            (Some(_), Some(_)) | (None, None) => {}
            // What was done without a limit says nothing of what may be done under one.
            (Some(_), None) | (None, Some(_)) => *self = Allowance::new(rate, now),
        }
        self.rate = rate;
    }

    /// Returns how many keys a chunk of one of so many workers may have, so that their batches are no
    /// more than half a second's worth: a run that is slowed down stays smooth, and a change is felt
    /// within a second.
    pub fn cap(&self, rows: u32, workers: u32) -> u32 {
        let Some(rate) = self.rate else { return rows };
        rows.min(whole(rate / 2.0 / f64::from(workers.max(1))))
    }

    /// Owes for `rows`; what one batch has done is not paid for longer than a second, or a row's time.
    pub fn owe(&mut self, rows: u64) {
        let Some(rate) = self.rate else { return };
        #[expect(clippy::cast_precision_loss, reason = "more rows than that are capped")]
        let rows = (rows as f64).min(rate.max(1.0));
        self.debt += rows;
    }

    /// Pays what can be paid; returns how long to wait until there is more to pay with, unless nothing
    /// is owed any more.
    pub fn due(&mut self, now: Instant) -> Option<Duration> {
        self.clock.advance(now.saturating_duration_since(self.at));
        self.at = self.at.max(now);
        let row = f64::from(SECOND.get()) / self.rate?;
        while self.debt * row >= 1.0 {
            let slice = whole(self.debt * row).min(SECOND.get());
            let price = NonZeroU32::new(slice)?;
            match self.limiter.check_n(price) {
                Ok(Ok(())) => self.debt -= f64::from(slice) / row,
                Ok(Err(not_until)) => {
                    return Some(not_until.wait_time_from(self.clock.now()));
                }
                // A slice is never more than the burst; should it be, waiting is the safe side.
                Err(_) => return Some(Duration::from_secs(1)),
            }
        }
        None
    }
}

/// The number as a whole one, at least 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast to an integer saturates"
)]
fn whole(number: f64) -> u32 {
    (number as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Hides the one in microseconds.
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_rate_nothing_is_waited_for() {
        let now = Instant::now();
        let mut allowance = Allowance::new(None, now);
        allowance.owe(u64::MAX);
        assert_eq!((allowance.due(now), allowance.cap(50_000, 4)), (None, 50_000));
    }

    #[test]
    fn a_new_rate_lets_no_burst_through() {
        let now = Instant::now();
        let mut allowance = Allowance::new(Some(1e6), now);
        allowance.set(Some(100.0), now + SECOND);
        allowance.owe(200);
        assert_eq!(allowance.due(now + SECOND), None, "a second's worth was left");
        allowance.owe(100);
        assert_eq!(allowance.due(now + SECOND), Some(SECOND));
        let mut first = Allowance::new(None, now);
        first.set(Some(100.0), now + SECOND);
        first.owe(100);
        assert_eq!(first.due(now + SECOND), Some(SECOND));
    }

    #[test]
    fn what_was_done_at_full_speed_is_paid_for_a_second_at_most() {
        let now = Instant::now();
        let mut allowance = Allowance::new(Some(1e6), now);
        allowance.owe(500_000);
        allowance.set(Some(100.0), now);
        assert_eq!(allowance.due(now), Some(SECOND));
        assert_eq!(allowance.due(now + SECOND), None);
        allowance.owe(50_000);
        assert_eq!(allowance.due(now + SECOND), Some(SECOND));
    }

    #[test]
    fn the_workers_of_a_slow_run_have_small_batches_of_at_least_a_row() {
        let now = Instant::now();
        assert_eq!(Allowance::new(Some(100.0), now).cap(1_000, 1), 50);
        assert_eq!(Allowance::new(Some(100.0), now).cap(1_000, 5), 10);
        assert_eq!(Allowance::new(Some(0.5), now).cap(1_000, 1), 1);
    }

    proptest! {
        /// Workers that do a batch whenever nothing is owed, while the rate moves up and down.
        #[test]
        fn several_workers_keep_to_one_rate(
            workers in 1u32..8, rate in 1u32..5_000, shares in prop::collection::vec(0.5f64..1.0, 1..50),
        ) {
            let (began, rate) = (Instant::now(), f64::from(rate));
            let mut allowance = Allowance::new(Some(rate), began);
            let (mut now, mut done) = (began, 0.0);
            for turn in 0..400 {
                allowance.set(Some(rate * shares[turn % shares.len()]), now);
                if let Some(wait) = allowance.due(now) {
                    now += wait;
                    continue;
                }
                for _ in 0..workers {
                    let rows = allowance.cap(u32::MAX, workers);
                    allowance.owe(rows.into());
                    done += f64::from(rows);
                }
            }
            let took = (now - began).as_secs_f64();
            let batches = rate.max(f64::from(workers));
            prop_assert!(done <= took * rate + batches + 1.0, "{done} rows in {took} s");
        }
    }
}
