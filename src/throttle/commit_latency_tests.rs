//! What commits wait for beside a walk, simulated in a loop with the real percentile, limit and
//! verdict: where the share settles, how far it swings, and what is left to a run on a full disk.

use super::*;
use crate::job::Signal;
use crate::throttle::judge::{Changes, Floor, Watched, verdict};
use crate::throttle::noise::Noise;
use crate::throttle::reading::Verdict;

/// The limit that holds without a line in the job, where a commit usually takes so many seconds.
fn default_limit(usual: f64) -> Duration {
    let Some(Limit::Times { factor, least }) = Signal::CommitLatency.default_limit() else {
        panic!("the limit is a multiple");
    };
    limit(usual, factor, least)
}

/// Each commit takes up to a quarter more or less, and this part of them thrice as long.
struct Peaks(Noise, f64);

impl Peaks {
    fn next(&mut self) -> f64 {
        let unit = self.0.next();
        if unit < self.1 { 3.0 } else { 0.75 + unit / 2.0 }
    }
}

/// A disk: what a commit takes, in seconds, after the shares so far and at a moment in seconds.
type Disk = Box<dyn Fn(&[f64], f64) -> f64>;

/// Probes that wait in a queue before a disk that others use up to `others`, and a walk at full speed
/// by `ours` more; `alone` is what a commit takes on an idle one. It never takes longer than 50 times
/// that.
fn queue(alone: f64, others: f64, ours: f64) -> Disk {
    Box::new(move |shares, _| {
        // What the walk wrote is flushed a fifth of a second later.
        let share = shares[shares.len().saturating_sub(3)];
        alone / (1.0 - others - ours * share).max(0.02)
    })
}

/// What it came to after the first minute.
#[derive(Debug)]
struct Settled {
    /// From the highest share to the lowest, of means of a second: what a batch or two see.
    swing: f64,
    mean: f64,
    /// The part of the probes above the limit.
    above: f64,
}

struct Loop {
    disk: Disk,
    noise: Option<Peaks>,
    shares: Vec<f64>,
    took: Vec<f64>,
    limit: Duration,
}

impl Loop {
    /// Calibrates on the disk without a walk.
    fn on(disk: Disk, noise: Option<Peaks>) -> Loop {
        let mut closed =
            Loop { disk, noise, shares: vec![0.0], took: Vec::new(), limit: Duration::ZERO };
        let mut usual = Probes::default();
        for _ in 0..FIRST_PROBES {
            usual.note(closed.probe(0.0));
        }
        closed.limit = default_limit(usual.percentile(PERCENTILE));
        closed.shares = vec![1.0];
        closed.took.clear();
        closed
    }

    fn probe(&mut self, at: f64) -> Duration {
        let took = (self.disk)(&self.shares, at) * self.noise.as_mut().map_or(1.0, Peaks::next);
        self.took.push(took);
        Duration::from_secs_f64(took)
    }

    /// Walks for so many seconds; a hold is a share of 0.
    fn walk(mut self, seconds: u32, floor: Option<Floor>) -> Loop {
        let began = Instant::now();
        let mut all = [Watched::new("commit-latency".into(), floor, EVERY, began)];
        let mut probes = Probes::default();
        for no in 1..=seconds * 10 {
            let now = began + EVERY * no;
            let took = self.probe((EVERY * no).as_secs_f64());
            probes.note(took);
            let reading =
                Reading::of(probes.percentile(PERCENTILE), Unit::Seconds, Limit::Time(self.limit));
            all[0].note(Ok(reading), None, now);
            self.shares.push(match verdict(&all, &Changes::new(), now) {
                Verdict::Go(share, _) => share,
                Verdict::Hold(..) => 0.0,
            });
        }
        self
    }

    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    fn settled(&self) -> Settled {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let shares = &self.shares[self.shares.len() / 3..];
        let means: Vec<f64> = shares.chunks_exact(10).map(mean).collect();
        let low = means.iter().copied().fold(f64::MAX, f64::min);
        let high = means.iter().copied().fold(f64::MIN, f64::max);
        let took = &self.took[self.took.len() / 3..];
        let above = took.iter().filter(|took| **took > self.limit.as_secs_f64()).count();
        Settled { swing: high - low, mean: mean(shares), above: above as f64 / took.len() as f64 }
    }
}

/// What is left above the limit without a line in the job.
const DEFAULT: Option<Floor> = Some(Floor::Share(LEAST_SHARE));

/// What a commit takes on the idle disk; how much of the disk others use, and a walk at full speed.
const DISKS: [(f64, f64, f64); 9] = [
    (0.001_2, 0.1, 0.5),
    (0.001_2, 0.3, 0.9),
    (0.002, 0.3, 0.4),
    (0.002, 0.3, 0.65),
    (0.002, 0.3, 0.9),
    (0.002, 0.3, 2.0),
    (0.002, 0.7, 0.5),
    (0.01, 0.5, 0.3),
    (0.01, 0.5, 0.9),
];

/// Ten minutes on each disk.
fn settle(floor: Option<Floor>, peaks: Option<f64>) -> Vec<Settled> {
    let settle = |&(alone, others, ours): &(f64, f64, f64)| {
        let noise = peaks.map(|peaks| Peaks(Noise(7), peaks));
        Loop::on(queue(alone, others, ours), noise).walk(600, floor).settled()
    };
    DISKS.iter().map(settle).collect()
}

#[test]
fn the_limit_is_a_multiple_of_what_is_usual_and_never_tiny() {
    let least = Duration::from_millis(5);
    for (usual, expected) in [(0.0, 5), (0.001, 5), (0.002, 8), (0.08, 320)] {
        assert_eq!(limit(usual, 4.0, least), Duration::from_millis(expected), "{usual}");
    }
    assert_eq!(limit(f64::MAX, 4.0, least), Duration::MAX);
    // What is usual alone never slows a run down, with room for half as much again.
    for usual in [0.000_1, 0.003, 0.5] {
        assert!(usual * 1.5 < 0.6 * default_limit(usual).as_secs_f64(), "{usual}");
    }
}

#[test]
fn a_walk_settles_on_every_disk_without_a_swing_and_below_the_limit() {
    let means = [1.0, 0.49, 1.0, 0.66, 0.49, 0.23, 0.39, 0.97, 0.36];
    for floor in [DEFAULT, None] {
        for ((settled, disk), mean) in settle(floor, None).iter().zip(DISKS).zip(means) {
            assert!(settled.swing < 0.001, "{disk:?}: {settled:?}");
            assert!(settled.above <= 0.0, "{disk:?}: {settled:?}");
            assert!(settled.mean >= mean, "{disk:?}: {settled:?}");
        }
    }
}

#[test]
fn commits_that_vary_by_a_quarter_cost_a_twentieth_of_the_speed_and_rare_peaks_nothing() {
    let calm = settle(DEFAULT, None);
    let noisy = settle(DEFAULT, Some(0.0));
    for ((noisy, calm), disk) in noisy.iter().zip(&calm).zip(DISKS) {
        assert!(noisy.swing < 0.13 && noisy.above <= 0.0, "{disk:?}: {noisy:?}");
        assert!(noisy.mean >= 0.95 * calm.mean, "{disk:?}: {noisy:?}");
    }
    // One probe in a hundred takes thrice as long.
    for ((peaks, noisy), disk) in settle(DEFAULT, Some(0.01)).iter().zip(&noisy).zip(DISKS) {
        assert!(peaks.mean >= 0.99 * noisy.mean, "{disk:?}: {peaks:?}");
    }
}

#[test]
fn a_disk_that_others_fill_slows_a_run_to_a_tenth_and_never_stops_it() {
    let filled = |shares: &[f64], at: f64| {
        let others = if (60.0..660.0).contains(&at) { 1.0 } else { 0.3 };
        queue(0.002, others, 0.2)(shares, at)
    };
    let walked = Loop::on(Box::new(filled), None).walk(800, DEFAULT);
    let share = |at: usize| walked.shares[at * 10];
    assert!((share(59) - 1.0).abs() < 1e-9);
    let full = &walked.shares[65 * 10..660 * 10];
    assert!(full.iter().all(|share| (share - LEAST_SHARE).abs() < 1e-9), "{full:?}");
    // Two seconds until the percentile has forgotten it, and half a minute until all is as before.
    assert!(share(662) < 0.12 && share(690) > 0.9, "{} {}", share(662), share(690));
}

#[test]
fn a_hold_of_the_job_stops_at_a_disk_that_others_fill() {
    let walked = Loop::on(queue(0.002, 0.3, 0.2), None);
    let filled = Loop { disk: queue(0.002, 1.0, 0.2), ..walked }.walk(60, None);
    assert!(filled.shares[10..].iter().all(|share| *share <= 0.0), "{:?}", filled.shares);
}

#[test]
fn where_commits_are_far_below_the_least_limit_a_few_probes_are_enough() {
    let least = Duration::from_millis(10);
    assert_eq!([0.0, 0.001, 0.00125].map(|usual| enough(usual, 4.0, least)), [FEW_PROBES; 3]);
    assert_eq!([0.0013, 0.1].map(|usual| enough(usual, 4.0, least)), [FIRST_PROBES; 2]);
}
