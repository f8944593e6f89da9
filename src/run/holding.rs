//! What a run was held and slowed by, and for how long, summed up by reason.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The reason under which pauses of windows are summed up.
pub const WINDOW: &str = "window";

/// A hold that goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Holding {
    /// The signal, or `window`.
    pub by: String,
    /// What it says, as in `replica-lag 7.2s > 5s`.
    pub reason: String,
    /// The value that was read last, in the signal's unit; `None` if it could not be read.
    pub value: Option<f64>,
    /// The limit that it is above.
    pub limit: Option<f64>,
    /// Rows per second that go on all the same, at most.
    pub floor: Option<u32>,
    /// Since when, in seconds of the server's clock.
    pub since: f64,
}

/// What slows a run down without holding it, also what goes on through a hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slowing {
    /// The signal.
    pub by: String,
    /// What it says, as in `replica-lag 4.1s of 5s`.
    pub reason: String,
    /// The value that was read last, in the signal's unit; `None` if it could not be read.
    pub value: Option<f64>,
    /// The limit that it is near.
    pub limit: Option<f64>,
    /// The share of its speed that the run has, from 0 to 1.
    pub share: f64,
    /// Since when this signal slows it down, in seconds of the server's clock.
    pub since: f64,
}

impl Slowing {
    /// Whether the signal is above its limit: one that leaves a share of the speed there holds nothing.
    pub fn is_above(&self) -> bool {
        self.value.zip(self.limit).is_some_and(|(value, limit)| value > limit)
    }
}

/// Seconds by reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Held(BTreeMap<String, Spent>);

/// How long one reason held a run, and slowed it down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Seconds in which it stood still, or went on at a floor.
    pub held_s: f64,
    /// Seconds that it waited between batches to be slower.
    pub slowed_s: f64,
}

impl Held {
    /// Adds time in which `by` held the run.
    pub fn hold(&mut self, by: &str, time: Duration) {
        self.0.entry(by.to_owned()).or_default().held_s += time.as_secs_f64();
    }

    /// Adds time by which `by` slowed the run down.
    pub fn slow(&mut self, by: &str, time: Duration) {
        self.0.entry(by.to_owned()).or_default().slowed_s += time.as_secs_f64();
    }

    /// Returns the seconds that `of` picks, by reason, the longest first; less than a tenth of a
    /// second is left out.
    pub fn by_reason(&self, of: impl Fn(&Spent) -> f64) -> Vec<(&str, Duration)> {
        let mut found: Vec<_> = self
            .0
            .iter()
            .map(|(by, spent)| (by.as_str(), of(spent)))
            .filter(|(_, seconds)| *seconds >= 0.1)
            .map(|(by, seconds)| (by, Duration::try_from_secs_f64(seconds).unwrap_or_default()))
            .collect();
        found.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
        found
    }

    /// Returns the sums with those of another, later part of the run.
    #[must_use]
    pub fn plus(mut self, later: &Held) -> Held {
        for (by, spent) in &later.0 {
            let sum = self.0.entry(by.clone()).or_default();
            sum.held_s += spent.held_s;
            sum.slowed_s += spent.slowed_s;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up_by_reason_and_the_longest_comes_first() {
        let mut held = Held::default();
        held.hold(WINDOW, Duration::from_secs(22));
        held.hold("replica-lag", Duration::from_mins(5));
        held.hold("replica-lag", Duration::from_secs(50));
        held.slow("latency", Duration::from_secs(9));
        held.hold("lock-waits", Duration::from_millis(20));
        let (lag, window) = (Duration::from_secs(350), Duration::from_secs(22));
        let by_reason = held.by_reason(|spent| spent.held_s);
        assert_eq!(by_reason, [("replica-lag", lag), (WINDOW, window)]);
        let twice = held.clone().plus(&held);
        assert_eq!(twice.by_reason(|it| it.slowed_s), [("latency", Duration::from_secs(18))]);
    }

    #[test]
    fn the_sums_survive_the_ledger() {
        let mut held = Held::default();
        held.hold("replica-lag", Duration::from_millis(1_500));
        let stored = serde_json::to_string(&held).unwrap();
        assert_eq!(stored, r#"{"replica-lag":{"held_s":1.5,"slowed_s":0.0}}"#);
        assert_eq!(serde_json::from_str::<Held>(&stored).unwrap(), held);
    }
}
