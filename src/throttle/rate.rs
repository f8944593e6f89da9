//! Rows per second, paid after the batch.
//!
//! An account of rows: it grows by the rate, up to a second's worth, and may be overdrawn; who has
//! overdrawn it waits. Several workers may share one, so a change of the rate keeps what is in it: it
//! is never more than a second's worth, at the old rate or at the new.

use std::time::{Duration, Instant};

/// The rate that applies now, and what may be done under it.
#[derive(Debug, Clone)]
pub struct Allowance {
    /// Rows per second.
    rate: Option<f64>,
    /// Rows that may be done; less than nothing is owed.
    left: f64,
    /// Up to when it has grown.
    at: Instant,
}

impl Allowance {
    /// Returns an allowance of `rate` rows per second, with nothing in it; `None` is without limit.
    pub fn new(rate: Option<f64>, now: Instant) -> Allowance {
        Allowance { rate: rate.filter(|rate| *rate > 0.0), left: 0.0, at: now }
    }

    /// Changes the rate. What was done under another one is not paid at this one for longer than a
    /// second, and no burst is let through.
    pub fn set(&mut self, rate: Option<f64>, now: Instant) {
        self.grow(now);
        let rate = rate.filter(|rate| *rate > 0.0);
        if rate == self.rate {
            return;
        }
        self.left = match (self.rate, rate) {
            (Some(before), Some(rate)) if self.left > 0.0 => self.left * (rate / before).min(1.0),
            // A share that moves up and down must not forgive anything.
            (Some(before), Some(rate)) if rate < before / 2.0 => self.left.max(-rate),
            (Some(_), Some(_)) => self.left,
            _ => 0.0,
        };
        self.rate = rate;
    }

    /// Returns how many keys a chunk of one of so many workers may have, so that their batches are no
    /// more than half a second's worth: a run that is slowed down stays smooth, and a change is felt
    /// within a second.
    pub fn cap(&self, rows: u32, workers: u32) -> u32 {
        let Some(rate) = self.rate else { return rows };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast to an integer saturates"
        )]
        let most = (rate / 2.0 / f64::from(workers.max(1))) as u32;
        rows.min(most.max(1))
    }

    /// Owes for `rows`; what one batch has done is not paid for longer than a second, or a row's time.
    pub fn owe(&mut self, rows: u64, now: Instant) {
        self.grow(now);
        let Some(rate) = self.rate else { return };
        #[expect(clippy::cast_precision_loss, reason = "more rows than that are capped")]
        let rows = (rows as f64).min(rate.max(1.0));
        self.left -= rows;
    }

    /// Returns how long to wait until nothing is owed.
    pub fn due(&mut self, now: Instant) -> Option<Duration> {
        self.grow(now);
        let owed = self.rate.filter(|_| self.left < 0.0).map(|rate| -self.left / rate)?;
        // A wait that is rounded to nothing would be asked for again and again.
        let wait = Duration::try_from_secs_f64(owed).unwrap_or(Duration::MAX);
        Some(wait.max(Duration::from_micros(100)))
    }

    fn grow(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        if let Some(rate) = self.rate {
            self.left = (self.left + since * rate).min(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn without_a_rate_nothing_is_waited_for() {
        let now = Instant::now();
        let mut allowance = Allowance::new(None, now);
        allowance.owe(u64::MAX, now);
        assert_eq!((allowance.due(now), allowance.cap(50_000, 4)), (None, 50_000));
    }

    #[test]
    fn a_new_rate_lets_no_burst_through() {
        let now = Instant::now();
        let mut allowance = Allowance::new(Some(1e6), now);
        allowance.set(Some(100.0), now + SECOND);
        allowance.owe(200, now + SECOND);
        assert_eq!(allowance.due(now + SECOND), None, "a second's worth was left");
        allowance.owe(100, now + SECOND);
        assert_eq!(allowance.due(now + SECOND), Some(SECOND));
        let mut first = Allowance::new(None, now);
        first.set(Some(100.0), now + SECOND);
        first.owe(100, now + SECOND);
        assert_eq!(first.due(now + SECOND), Some(SECOND));
    }

    #[test]
    fn what_was_done_at_full_speed_is_paid_for_a_second_at_most() {
        let now = Instant::now();
        let mut allowance = Allowance::new(Some(1e6), now);
        allowance.owe(500_000, now);
        allowance.set(Some(100.0), now);
        assert_eq!(allowance.due(now), Some(SECOND));
        allowance.owe(50_000, now + SECOND);
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
                    allowance.owe(rows.into(), now);
                    done += f64::from(rows);
                }
            }
            let took = (now - began).as_secs_f64();
            let batches = rate.max(f64::from(workers));
            prop_assert!(done <= took * rate + batches + 1.0, "{done} rows in {took} s");
        }
    }
}
