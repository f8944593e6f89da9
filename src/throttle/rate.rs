//! Rows per second, paid after the batch. The only file that knows governor.
//!
//! A limiter's quota cannot be changed, and the state of an old one means nothing to a new one, so
//! a new rate is a new limiter, emptied of its first burst: a change never lets a burst through.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// The rate that applies now.
pub struct Allowance {
    rate: Option<NonZeroU32>,
    limiter: Option<DefaultDirectRateLimiter>,
    clock: DefaultClock,
}

/// What paying for rows asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payment {
    /// Nothing: go on.
    Paid,
    /// Wait so long, then pay the rest.
    Wait(Duration, u32),
}

impl Allowance {
    /// Returns an allowance of `rate` rows per second; `None` is without limit.
    pub fn new(rate: Option<u32>) -> Allowance {
        let rate = rate.and_then(NonZeroU32::new);
        let limiter = rate.map(|rate| {
            let limiter = RateLimiter::direct(Quota::per_second(rate));
            // A limiter begins full. A check for its whole burst cannot exceed its capacity.
            let _ = limiter.check_n(rate);
            limiter
        });
        Allowance { rate, limiter, clock: DefaultClock::default() }
    }

    /// Returns the rate, in rows per second.
    pub fn rate(&self) -> Option<u32> {
        self.rate.map(NonZeroU32::get)
    }

    /// Changes the rate; the same rate changes nothing.
    pub fn set(&mut self, rate: Option<u32>) {
        if rate.and_then(NonZeroU32::new) != self.rate {
            *self = Allowance::new(rate);
        }
    }

    /// Returns how many keys a chunk may have, so that no batch is more than half a second's worth:
    /// a run that is slowed down stays smooth, and a change is felt within a second.
    pub fn cap(&self, rows: u32) -> u32 {
        self.rate.map_or(rows, |rate| rows.min((rate.get() / 2).max(1)))
    }

    /// Pays for `rows`; what is more than a second's worth is paid in slices.
    pub fn pay(&self, rows: u32) -> Payment {
        let (Some(limiter), Some(rate)) = (&self.limiter, self.rate) else { return Payment::Paid };
        let Some(slice) = NonZeroU32::new(rows.min(rate.get())) else { return Payment::Paid };
        match limiter.check_n(slice) {
            Ok(Ok(())) if slice.get() == rows => Payment::Paid,
            Ok(Ok(())) => Payment::Wait(Duration::ZERO, rows - slice.get()),
            Ok(Err(not_until)) => Payment::Wait(not_until.wait_time_from(self.clock.now()), rows),
            // A slice is never more than the burst; should it be, waiting is the safe side.
            Err(_) => Payment::Wait(Duration::from_secs(1), rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_rate_nothing_is_waited_for() {
        let allowance = Allowance::new(None);
        assert_eq!(allowance.pay(u32::MAX), Payment::Paid);
        assert_eq!(allowance.cap(50_000), 50_000);
    }

    #[test]
    fn a_new_rate_lets_no_burst_through() {
        let mut allowance = Allowance::new(Some(1_000_000));
        allowance.set(Some(100));
        let Payment::Wait(wait, 100) = allowance.pay(100) else { panic!("a burst went through") };
        assert!(wait > Duration::from_millis(900), "{wait:?}");
    }

    #[test]
    fn more_than_a_second_is_paid_in_slices() {
        let allowance = Allowance::new(Some(100));
        assert!(matches!(allowance.pay(1_000), Payment::Wait(_, 1_000)));
        assert_eq!(allowance.cap(1_000), 50);
        assert_eq!(Allowance::new(Some(1)).cap(1_000), 1);
    }
}
