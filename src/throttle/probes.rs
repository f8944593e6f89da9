//! What the last probes of a signal took, and their 95th percentile. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// How many probes the percentile is of: five seconds of them, so that one peak a minute is no
/// reason to slow down, and two in five seconds are.
const PROBES: usize = 25;

/// How often it is probed.
pub(super) const EVERY: Duration = Duration::from_millis(200);

/// The last probes, in seconds.
#[derive(Debug, Default)]
pub(super) struct Probes(VecDeque<f64>);

impl Probes {
    /// Takes what a probe took; returns the percentile.
    pub(super) fn note(&mut self, took: Duration) -> f64 {
        if self.0.len() == PROBES {
            self.0.pop_front();
        }
        self.0.push_back(took.as_secs_f64());
        self.percentile_95()
    }

    /// Returns the time that at least 95 % of the probes did not exceed; 0 of none.
    pub(super) fn percentile_95(&self) -> f64 {
        let mut values: Vec<f64> = self.0.iter().copied().collect();
        values.sort_by(f64::total_cmp);
        let rank = (values.len() * 95).div_ceil(100);
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

    #[test]
    fn one_peak_in_five_seconds_does_not_count_and_two_do() {
        let mut probes = Probes::default();
        for _ in 0..PROBES {
            probes.note(Duration::from_millis(1));
        }
        assert!(probes.note(Duration::from_secs(1)) < 0.002);
        assert!(probes.note(Duration::from_secs(1)) > 0.9);
        // They are forgotten once there are enough others.
        for _ in 0..PROBES - 2 {
            assert!(probes.note(Duration::from_millis(1)) > 0.9);
        }
        assert!(probes.note(Duration::from_millis(1)) < 0.002);
        assert_eq!(probes.count(), PROBES);
    }

    #[test]
    fn few_probes_are_judged_by_the_slowest() {
        let mut probes = Probes::default();
        assert!(probes.percentile_95().abs() < 1e-9);
        let all = [3, 1, 2].map(|seconds| probes.note(Duration::from_secs(seconds)));
        assert!((all[2] - 3.0).abs() < 1e-9);
    }
}
