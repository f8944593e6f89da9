//! What the last probes of a signal took, and a percentile of it. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// How many probes the percentile is of.
const PROBES: usize = 25;

/// The last probes, in seconds.
#[derive(Debug, Default)]
pub(super) struct Probes(VecDeque<f64>);

impl Probes {
    /// Takes what a probe took.
    pub(super) fn note(&mut self, took: Duration) {
        if self.0.len() == PROBES {
            self.0.pop_front();
        }
        self.0.push_back(took.as_secs_f64());
    }

    /// Returns the time that at least so many percent of the probes did not exceed; 0 of none.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let mut values: Vec<f64> = self.0.iter().copied().collect();
        values.sort_by(f64::total_cmp);
        let rank = (values.len() * percent).div_ceil(100);
        values.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    /// Returns how many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn of_twenty_five_probes_the_95th_percentile_is_the_second_and_the_75th_the_seventh() {
        let mut probes = Probes::default();
        for _ in 0..PROBES {
            probes.note(SHORT);
        }
        for (long, high) in
            [(1, [false, false]), (2, [true, false]), (6, [true, false]), (7, [true, true])]
        {
            (0..PROBES).for_each(|_| probes.note(SHORT));
            (0..long).for_each(|_| probes.note(Duration::from_secs(1)));
            assert_eq!([95, 75].map(|percent| probes.percentile(percent) > 0.9), high, "{long}");
        }
        assert_eq!(probes.count(), PROBES);
    }

    #[test]
    fn few_probes_are_judged_by_the_slowest() {
        let mut probes = Probes::default();
        assert!(probes.percentile(95).abs() < 1e-9);
        for seconds in [3, 1, 2] {
            probes.note(Duration::from_secs(seconds));
        }
        assert!((probes.percentile(95) - 3.0).abs() < 1e-9);
    }
}
