//! What the easing comes to in a loop with a database, simulated: how far it swings, how long it
//! takes to recover, and which part of the possible throughput it reaches.
//!
//! The numbers are those that the present constants reach. A change that makes one worse is seen.

use proptest::prelude::*;

use super::{FULL, LEAST, aim, step};
use crate::throttle::noise::Noise;

/// A database that answers our load: takes all shares so far, and returns a utilisation.
type Plant = Box<dyn FnMut(&[f64]) -> f64>;

/// The utilisation is `gain` × share, as it was a poll before the last.
fn instant(gain: f64) -> Plant {
    Box::new(move |shares| gain * shares[shares.len().saturating_sub(2)])
}

/// The same through the 95th percentile of the last 25 probes, as `latency` reads it.
fn probed(gain: f64) -> Plant {
    let mut probes = Vec::new();
    Box::new(move |shares| {
        probes.push(gain * shares[shares.len().saturating_sub(2)]);
        let mut last: Vec<f64> = probes.iter().rev().take(25).copied().collect();
        last.sort_by(f64::total_cmp);
        last[(last.len() * 95).div_ceil(100) - 1]
    })
}

/// A standby that replays `capacity` of our full speed; its lag in seconds, of `limit`, is seen
/// `late` polls after it was.
fn standby(capacity: f64, limit: f64, late: usize) -> Plant {
    let mut lags = vec![0.0; late + 1];
    Box::new(move |shares| {
        let share = shares[shares.len() - 1];
        lags.push((lags[lags.len() - 1] + share / capacity - 1.0).max(0.0));
        lags[lags.len() - 1 - late] / limit
    })
}

/// What a simulation came to in its last third.
#[derive(Debug)]
struct Settled {
    swing: f64,
    mean: f64,
    highest: f64,
}

/// Runs a plant for so many polls, each `seconds` long, from full speed. Above the limit we stand
/// still until nine tenths of it, as the gate does.
fn simulate(mut plant: Plant, polls: usize, seconds: f64, noise: f64) -> Settled {
    let mut around_1 = {
        let mut units = Noise(7);
        move || 1.0 + noise * (2.0 * units.next() - 1.0)
    };
    let (mut shares, mut seen) = (vec![1.0], Vec::new());
    let (mut share, mut is_held) = (1.0, false);
    for _ in 0..polls {
        let utilisation = plant(&shares) * around_1();
        seen.push(utilisation);
        is_held = utilisation > 1.0 || (is_held && utilisation > 0.9);
        share = if is_held { LEAST } else { step(share, utilisation, seconds) };
        shares.push(if is_held { 0.0 } else { share });
    }
    let last = &shares[polls - polls / 3..];
    let high = |values: &[f64]| values.iter().copied().fold(f64::MIN, f64::max);
    let low = last.iter().copied().fold(f64::MAX, f64::min);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let mean = last.iter().sum::<f64>() / last.len() as f64;
    Settled { swing: high(last) - low, mean, highest: high(&seen[polls - polls / 3..]) }
}

#[test]
fn a_signal_that_follows_our_load_at_once_settles() {
    // (gain, part of the most that would be possible without going above the limit)
    let cases =
        [(0.5, 1.0), (0.7, 0.85), (0.9, 0.70), (1.2, 0.66), (2.0, 0.72), (3.0, 0.76), (5.0, 0.82)];
    for (gain, part) in cases {
        let best = (1.0_f64 / gain).min(1.0);
        let settled = simulate(instant(gain), 600, 1.0, 0.0);
        assert!(settled.swing < 0.001, "gain {gain}: {settled:?}");
        assert!(settled.mean >= part * best, "gain {gain}: {settled:?}");
        assert!(settled.highest < 1.0, "gain {gain}: {settled:?}");
        let noisy = simulate(instant(gain), 600, 1.0, 0.05);
        assert!(noisy.swing < 0.15, "gain {gain}: {noisy:?}");
        assert!(noisy.mean >= 0.93 * settled.mean, "gain {gain}: {noisy:?}");
        let noisy = simulate(instant(gain), 600, 1.0, 0.2);
        assert!(noisy.mean >= 0.75 * settled.mean, "gain {gain}: {noisy:?}");
    }
}

#[test]
fn a_percentile_of_five_seconds_makes_it_no_worse() {
    for gain in [0.7, 1.2, 2.0, 5.0] {
        let settled = simulate(probed(gain), 3_000, 0.2, 0.0);
        assert!(settled.swing < 0.001 && settled.highest < 1.0, "gain {gain}: {settled:?}");
        let noisy = simulate(probed(gain), 3_000, 0.2, 0.2);
        assert!(noisy.swing < 0.25, "gain {gain}: {noisy:?}");
    }
}

#[test]
fn a_standby_is_fed_what_it_can_replay() {
    for capacity in [0.1, 0.2, 0.3, 0.5, 0.8] {
        for (limit, late) in [(10.0, 0), (10.0, 1), (5.0, 0), (60.0, 0), (60.0, 2)] {
            let settled = simulate(standby(capacity, limit, late), 1_500, 1.0, 0.0);
            let which = format!("capacity {capacity}, limit {limit} s, {late} late: {settled:?}");
            assert!(settled.swing < 0.15, "{which}");
            assert!(settled.mean > 0.99 * capacity, "{which}");
            assert!(settled.highest < 1.0, "{which}");
        }
        let noisy = simulate(standby(capacity, 10.0, 0), 1_500, 1.0, 0.05);
        assert!(noisy.swing < 0.25 && noisy.mean > 0.98 * capacity, "{capacity}: {noisy:?}");
    }
}

/// The share after each of these utilisations, a second apart.
fn follow(from: f64, utilisations: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut share = from;
    let step = |utilisation| {
        share = step(share, utilisation, 1.0);
        share
    };
    utilisations.into_iter().map(step).collect()
}

#[test]
fn a_step_to_nothing_is_recovered_from_within_a_quarter_of_a_minute() {
    let shares = follow(LEAST, vec![0.0; 30]);
    let until = |share: f64| shares.iter().position(|found| *found >= share).unwrap() + 1;
    assert!((5..=8).contains(&until(0.2)), "{}", until(0.2));
    assert!((11..=14).contains(&until(0.9)), "{}", until(0.9));
    assert!(until(1.0) <= 15, "{}", until(1.0));
}

#[test]
fn a_step_to_the_limit_is_answered_within_three_polls() {
    let shares = follow(1.0, vec![0.95; 10]);
    assert!(shares[0] < 0.2 && shares[2] < 0.09, "{shares:?}");
    // And a peak of one poll costs a part of the speed, not a standstill.
    let shares = follow(1.0, [0.7, 0.3, 0.3, 0.3]);
    assert!(shares[0] > 0.55 && shares[3] > shares[0], "{shares:?}");
}

#[test]
fn along_a_ramp_the_share_only_falls_and_then_only_rises() {
    let up = (0..100).map(|at| f64::from(at) / 100.0);
    let shares = follow(1.0, up.clone().chain(up.rev()));
    let (down, up) = shares.split_at(100);
    assert!(down.windows(2).all(|two| two[1] <= two[0]), "{down:?}");
    assert!(up.windows(2).skip(5).all(|two| two[1] >= two[0]), "{up:?}");
    // Up to FULL nothing is slowed down, and at nine tenths hardly anything is left.
    assert!((down[60] - 1.0).abs() < 1e-9 && down[90] < 0.15, "{down:?}");
}

#[test]
fn the_share_to_aim_at_falls_from_all_to_the_least() {
    assert!((aim(FULL) - 1.0).abs() < 1e-9 && (aim(1.0) - LEAST).abs() < 1e-9);
    for strange in [f64::NAN, f64::INFINITY, 1e300] {
        assert!((aim(strange) - LEAST).abs() < 1e-9, "{strange}");
    }
}

proptest! {
    #[test]
    fn a_share_stays_a_share(
        share in prop::num::f64::NORMAL, utilisation in prop::num::f64::ANY, seconds in 0.0..1e6_f64,
    ) {
        let share = step(share, utilisation, seconds);
        prop_assert!((LEAST..=1.0).contains(&share), "{share}");
    }

    #[test]
    fn a_share_never_passes_the_one_it_aims_at(
        share in LEAST..1.0_f64, utilisation in 0.0..1.5_f64, seconds in 0.0..100.0_f64,
    ) {
        let (next, goal) = (step(share, utilisation, seconds), aim(utilisation));
        let (low, high) = (share.min(goal) - 1e-9, share.max(goal) + 1e-9);
        prop_assert!((low..=high).contains(&next), "{share} to {goal}: {next}");
    }
}
