//! What the VACUUM beside the walk costs the walk: a pure account.
//!
//! Beside an idle core it costs nothing, beside a busy one it takes what the walk would have had. So
//! it is measured: how much slower rows were changed while it ran than between two of them. The time
//! that the walk lost by it may be a tenth of its time; until then the next VACUUM waits.

use std::time::{Duration, Instant};

/// The part of the walk's time that may be lost, in percent.
const MOST: u32 = 10;

/// For so long a worker stands aside in any case: most are over by then.
const ANY: Duration = Duration::from_secs(2);

/// Rows changed, and in what time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Stretch {
    /// Rows changed.
    pub(super) rows: u64,
    /// The time that took.
    pub(super) time: Duration,
}

impl Stretch {
    #[expect(clippy::cast_precision_loss, reason = "a speed")]
    fn speed(self) -> f64 {
        self.rows as f64 / self.time.as_secs_f64().max(1e-6)
    }
}

/// What the walk did without a VACUUM, while nothing held it: a closed window is no time that one may make longer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walked {
    /// All of it.
    pub(super) stretch: Stretch,
    /// Rows that were changed when it was looked last, and when that was.
    pub(super) seen: (u64, Instant),
}

impl Walked {
    /// Begins where so many rows are changed.
    pub(super) fn from(rows: u64, now: Instant) -> Walked {
        Walked { stretch: Stretch::default(), seen: (rows, now) }
    }

    /// Learns how many rows are changed now, and whether the walk is held.
    pub(super) fn look(&mut self, is_held: bool, rows: u64, now: Instant) {
        let (before, since) = self.seen;
        if !is_held {
            self.stretch.rows += rows - before;
            self.stretch.time += now - since;
        }
        self.seen = (rows, now);
    }
}

/// What was gained and lost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Cost {
    walked: Duration,
    lost: Duration,
}

impl Cost {
    /// Learns how the walk went without a VACUUM, and then with one.
    pub(super) fn learn(&mut self, without: Stretch, with: Stretch) {
        self.walked += without.time + with.time;
        let share = 1.0 - with.speed() / without.speed().max(1e-6);
        // A walk that stood still before the VACUUM, or was faster with it, has lost nothing.
        self.lost += with.time.mul_f64(share.clamp(0.0, 1.0));
    }

    /// How long a worker may stand aside for the next one, `since` the walk has gone on without one.
    pub(super) fn patience(&self, since: Duration) -> Duration {
        self.budget(since).saturating_sub(self.lost).max(ANY)
    }

    /// Whether another one may begin, `since` the walk has gone on without one.
    pub(super) fn allows(&self, since: Duration) -> bool {
        self.lost <= self.budget(since)
    }

    fn budget(&self, since: Duration) -> Duration {
        (self.walked + since) * MOST / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(rows: u64, seconds: u64) -> Stretch {
        Stretch { rows, time: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_vacuum_that_nobody_feels_may_run_for_ever() {
        let mut cost = Cost::default();
        for _ in 0..100 {
            cost.learn(stretch(1_000, 1), stretch(10_000, 10));
        }
        assert!(cost.allows(Duration::ZERO));
    }

    #[test]
    fn one_that_halves_the_speed_waits_until_the_walk_has_made_up_for_it() {
        let mut cost = Cost::default();
        // Ten seconds at half of the speed are five lost ones, which fifty may have.
        cost.learn(stretch(10_000, 10), stretch(5_000, 10));
        assert!(!cost.allows(Duration::from_secs(29)));
        assert!(cost.allows(Duration::from_secs(30)));
    }

    #[test]
    fn a_worker_stands_aside_for_what_a_vacuum_may_cost() {
        let mut cost = Cost::default();
        assert_eq!(cost.patience(Duration::from_secs(1)), ANY);
        assert_eq!(cost.patience(Duration::from_secs(100)), Duration::from_secs(10));
        // The walk stood still for seven seconds of the ten that hundred and seven may have.
        cost.learn(stretch(10_000, 100), stretch(0, 7));
        assert_eq!(cost.patience(Duration::ZERO), Duration::from_millis(3_700));
    }

    #[test]
    fn what_a_closed_window_takes_is_no_time_of_the_walk_and_a_trickle_none_of_its_rows() {
        let (began, hours) = (Instant::now(), |hours| Duration::from_hours(hours));
        let mut walked = Walked::from(7, began);
        walked.look(false, 1_007, began + hours(1));
        walked.look(true, 1_017, began + hours(15));
        walked.look(false, 1_517, began + hours(16));
        assert_eq!(walked.stretch, Stretch { rows: 1_500, time: hours(2) });
        assert_eq!(walked.seen, (1_517, began + hours(16)));
    }

    #[test]
    fn a_walk_that_stood_still_has_lost_nothing() {
        let mut cost = Cost::default();
        cost.learn(stretch(0, 10), stretch(100, 10));
        assert!(cost.allows(Duration::ZERO));
    }
}
