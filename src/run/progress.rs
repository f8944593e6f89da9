//! How fast, how far, how long still. Unknown is a value here, never 0.
//!
//! Rates come from samples of committed state, each with the server's time, over the last minute;
//! a run that was resumed starts measuring anew. The ETA is a range between the slowest and the
//! fastest part of that minute, because one number would claim more than is known.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::holding::{Holding, Slowing};
use super::standbys::Standbys;
use crate::job::TargetBounds;

/// Samples older than this say nothing about now.
const WINDOW: f64 = 60.0;
/// The parts of the window whose rates are compared.
const PART: f64 = 10.0;
/// Less than this is not worth a rate.
const ENOUGH: f64 = 3.0;
/// Batches of which the times are kept.
const BATCHES: usize = 256;

/// The fraction done, within [0, 1]; below 1 until the walk is over. `None` if the total is unknown.
pub fn fraction(seen: u64, total: Option<u64>, is_over: bool) -> Option<f64> {
    if is_over {
        return Some(1.0);
    }
    // Estimates are exceeded by tables that grow: then the honest answer is "nearly".
    let total = total.filter(|total| *total > 0)?;
    #[expect(clippy::cast_precision_loss, reason = "a fraction for people")]
    let fraction = seen as f64 / total as f64;
    Some(fraction.clamp(0.0, 0.999))
}

/// Returns the instant that is so many seconds after 1970.
pub fn as_timestamp(seconds: f64) -> Timestamp {
    let since = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Timestamp::UNIX_EPOCH.checked_add(since).unwrap_or(Timestamp::MAX)
}

/// When it will be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Eta {
    /// The total or the rate cannot be known.
    Unknown,
    /// Not enough has been seen yet.
    Measuring,
    /// Not within ten years under the windows and rates that apply from now on.
    Never,
    /// Between these.
    Between(Duration, Duration),
}

impl Eta {
    /// Returns when `left` rows will be done at these rates.
    pub fn of(left: Option<u64>, pulse: &Pulse) -> Eta {
        let Some(left) = left else { return Eta::Unknown };
        let (Some(low), Some(high)) = (pulse.rate_low, pulse.rate_high) else {
            return Eta::Measuring;
        };
        if low <= 0.0 {
            return Eta::Unknown;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        let seconds = |rate: f64| Duration::try_from_secs_f64(left as f64 / rate);
        match (seconds(high), seconds(low)) {
            (Ok(soonest), Ok(latest)) => Eta::Between(soonest, latest),
            _ => Eta::Unknown,
        }
    }
}

/// What the owner of a run last measured; it is stored with the lease, for those who watch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pulse {
    /// Rows per second over the last minute.
    pub rate: Option<f64>,
    /// The slowest part of that minute.
    pub rate_low: Option<f64>,
    /// The fastest part of it.
    pub rate_high: Option<f64>,
    /// The limit that applies, in rows per second.
    pub limit: Option<u32>,
    /// Keys of the next batch.
    pub rows: Option<u32>,
    /// Times of the last batches, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The 95th percentile of them.
    pub p95_ms: Option<f64>,
    /// Rows looked at by the verification that goes on.
    pub looked: u64,
    /// Why it is not at full speed now: trouble that is being waited out.
    pub trouble: Option<String>,
    /// What holds it now.
    pub holding: Option<Holding>,
    /// What slows it down now.
    pub slowing: Option<Slowing>,
    /// The names of the signals by which it may be held.
    pub signals: Vec<String>,
    /// Those of them that are true or false, and so take no limit.
    pub truths: Vec<String>,
    /// What bounds the time that people may ask of a batch.
    pub target_bounds: Option<TargetBounds>,
    /// What job and flags say of what `throttle` may change, as the ledger keeps changes; a rate of null is no limit.
    pub base: Map<String, Value>,
    /// The window that applies, or when the next one does, in words.
    pub window: Option<String>,
    /// What the VACUUM beside the walk does, or why it does not run.
    pub vacuum: Option<String>,
    /// The standbys that it has seen: whoever goes on with the run misses those that are gone.
    #[serde(skip_serializing_if = "Standbys::is_unknown")]
    pub standbys: Standbys,
    /// How many seconds a commit took before anybody worked on it: whoever joins would measure what the others do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_s: Option<f64>,
    /// The timeline of the server on which it did; an older process has not noted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_timeline: Option<String>,
    /// When the phase is over, with all counted that changes by itself until then; `None` where nothing does.
    pub outlook: Option<Eta>,
}

impl Pulse {
    /// Returns what is still true of it when nobody leads the run any more: what was counted and timed, and what
    /// those know who work on it. What applied then, and what would come next, is for the next process to say.
    #[must_use]
    pub fn at_rest(self) -> Pulse {
        let Pulse { p50_ms, p95_ms, looked, standbys, commit_s, commit_timeline, .. } = self;
        let rest = Pulse::default();
        Pulse { p50_ms, p95_ms, looked, standbys, commit_s, commit_timeline, ..rest }
    }
}

/// Measures the rate from samples of committed state.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    samples: VecDeque<(f64, u64)>,
}

impl Meter {
    /// Learns that `rows` had been done at `at`, in seconds of the server's clock.
    pub fn observe(&mut self, at: f64, rows: u64) {
        if self.samples.back().is_some_and(|(last, before)| at <= *last || rows < *before) {
            // The clock or the cursor went back (a failover): what was measured is void.
            self.samples.clear();
        }
        self.samples.push_back((at, rows));
        while self.samples.front().is_some_and(|(first, _)| at - first > WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Forgets everything, after a pause.
    pub fn restart(&mut self) {
        self.samples.clear();
    }

    /// Writes the rates into `pulse`; `None` while too little has been seen.
    pub fn rate(&self, pulse: &mut Pulse) {
        (pulse.rate, pulse.rate_low, pulse.rate_high) = (None, None, None);
        let (Some(first), Some(last)) = (self.samples.front(), self.samples.back()) else { return };
        if last.0 - first.0 < ENOUGH {
            return;
        }
        let mean = speed(*first, *last);
        let (mut low, mut high) = (mean, mean);
        let mut start = *first;
        for sample in &self.samples {
            if sample.0 - start.0 >= PART {
                let part = speed(start, *sample);
                (low, high) = (low.min(part), high.max(part));
                start = *sample;
            }
        }
        (pulse.rate, pulse.rate_low, pulse.rate_high) = (Some(mean), Some(low), Some(high));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn speed((from, before): (f64, u64), (to, after): (f64, u64)) -> f64 {
    (after - before) as f64 / (to - from)
}

/// The times of the last batches.
#[derive(Debug, Clone, Default)]
pub struct Timing {
    took: VecDeque<Duration>,
    rows: VecDeque<u32>,
}

impl Timing {
    /// Learns that a batch over `rows` keys took `took`.
    pub fn observe(&mut self, rows: u32, took: Duration) {
        if self.took.len() == BATCHES {
            self.took.pop_front();
            self.rows.pop_front();
        }
        self.took.push_back(took);
        self.rows.push_back(rows);
    }

    /// Returns the keys per second of the last batches, with nothing between them.
    pub fn speed(&self) -> Option<f64> {
        let took = self.took.iter().sum::<Duration>().as_secs_f64();
        let rows = self.rows.iter().map(|rows| f64::from(*rows)).sum::<f64>();
        (took > 0.0).then(|| rows / took)
    }

    /// Returns the time that `percent` of the last batches did not exceed, in milliseconds.
    pub fn percentile(&self, percent: usize) -> Option<f64> {
        let mut sorted: Vec<_> = self.took.iter().collect();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(at).map(|took| took.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measured(samples: &[(f64, u64)]) -> Pulse {
        let mut meter = Meter::default();
        for (at, rows) in samples {
            meter.observe(*at, *rows);
        }
        let mut pulse = Pulse::default();
        meter.rate(&mut pulse);
        pulse
    }

    #[test]
    fn it_is_measuring_until_three_seconds_have_been_seen() {
        let pulse = measured(&[(0.0, 1_000_000), (2.0, 1_002_000)]);
        assert_eq!(Eta::of(Some(5_000), &pulse), Eta::Measuring);
        let pulse = measured(&[(0.0, 1_000_000), (4.0, 1_004_000)]);
        assert_eq!(pulse.rate, Some(1_000.0));
    }

    #[test]
    fn what_was_done_before_a_resume_is_not_speed() {
        let pulse = measured(&[(100.0, 900_000), (105.0, 905_000)]);
        assert_eq!(
            Eta::of(Some(10_000), &pulse),
            Eta::Between(Duration::from_secs(10), Duration::from_secs(10))
        );
    }

    #[test]
    fn a_slow_part_widens_the_range() {
        let samples: Vec<_> = (0i32..=20)
            .map(|s| (f64::from(s), if s <= 10 { 0 } else { 100 * u64::try_from(s - 10).unwrap() }))
            .collect();
        let pulse = measured(&samples);
        assert_eq!((pulse.rate_low, pulse.rate_high), (Some(0.0), Some(100.0)));
        assert_eq!(Eta::of(Some(1), &pulse), Eta::Unknown);
    }

    #[test]
    fn a_cursor_that_went_back_starts_the_measurement_anew() {
        let pulse = measured(&[(0.0, 10_000), (5.0, 20_000), (6.0, 15_000)]);
        assert_eq!(pulse.rate, None);
    }

    #[test]
    fn an_unknown_total_has_no_eta_and_no_fraction() {
        assert_eq!(Eta::of(None, &Pulse::default()), Eta::Unknown);
        assert_eq!(fraction(5, None, false), None);
        assert_eq!(fraction(0, Some(0), false), None);
    }

    #[test]
    fn the_95th_percentile_of_a_hundred_is_the_95th() {
        let mut timing = Timing::default();
        assert_eq!(timing.percentile(95), None);
        for ms in 1..=100 {
            timing.observe(1, Duration::from_millis(ms));
        }
        assert_eq!(timing.percentile(95), Some(95.0));
        assert_eq!(timing.percentile(50), Some(50.0));
    }

    proptest! {
        #[test]
        fn the_fraction_stays_below_one_until_it_is_over(seen: u64, total: Option<u64>) {
            let fraction = fraction(seen, total, false);
            prop_assert!(fraction.is_none_or(|fraction| (0.0..1.0).contains(&fraction)));
        }
    }
}
