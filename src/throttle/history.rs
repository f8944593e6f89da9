//! Where the primary's WAL was, and when: what turns a position into a lag in time. Pure.
//!
//! What a server says of a standby's `replay_lag` stands still when replay does, and is gone when
//! nothing happens. The primary's own positions do not lie: a standby that has replayed up to a
//! position is as old as the moment at which the primary was there. Between two samples the position
//! is taken to have moved evenly.

/// The most samples that are kept. When they are full they are thinned out, so that a lag of any
/// length can be told, the longer the coarser.
const MOST: usize = 1_024;

/// How far apart two samples may be, as a part of their age. At this, a week fits.
const COARSE: f64 = 0.02;

/// A position of the primary.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    /// The server's time, in seconds.
    at: f64,
    /// The position, in bytes from the beginning of all WAL.
    written: i64,
}

/// How old a position is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Age {
    /// So many seconds.
    Known(f64),
    /// At least so many; it is older than the first sample.
    AtLeast(f64),
}

/// Samples in the order of their time and position.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: Vec<Sample>,
}

impl History {
    /// Takes a sample. One that goes back, in time or in WAL, is of another server or another clock,
    /// and nothing before it counts.
    pub(super) fn note(&mut self, at: f64, written: i64) {
        let goes_back = |last: &Sample| at < last.at || written < last.written;
        if self.samples.last().is_some_and(goes_back) {
            self.samples.clear();
        }
        match self.samples.as_mut_slice() {
            // While nothing is written only the last moment counts: until then the primary was here.
            [_, .., last] if last.written == written => last.at = at,
            _ => self.samples.push(Sample { at, written }),
        }
        if self.samples.len() > MOST {
            self.thin_out();
        }
    }

    /// Leaves out what is closer to its neighbours than its age needs.
    fn thin_out(&mut self) {
        let Some(now) = self.samples.last().map(|last| last.at) else { return };
        let mut kept: Vec<Sample> = Vec::with_capacity(MOST + 1);
        for (place, sample) in self.samples.iter().enumerate() {
            let gap = match (kept.last(), self.samples.get(place + 1)) {
                (Some(before), Some(after)) => after.at - before.at,
                _ => f64::INFINITY,
            };
            if gap > (now - sample.at) * COARSE {
                kept.push(*sample);
            }
        }
        let mut place = 0;
        if kept.len() > MOST - MOST / 8 {
            // Clocks that leap could leave too many; the first one and the newer half stay.
            let half = kept.len() / 2;
            kept.retain(|_| {
                place += 1;
                place == 1 || place > half || place % 2 == 0
            });
        }
        self.samples = kept;
    }

    /// Returns how old the position is at the moment of the last sample.
    pub(super) fn age(&self, replayed: i64) -> Age {
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else {
            return Age::AtLeast(0.0);
        };
        if replayed >= last.written {
            return Age::Known(0.0);
        }
        // The first sample beyond the position, which is not the first of all if there is one before.
        let beyond = self.samples.partition_point(|sample| sample.written <= replayed);
        let Some(before) = beyond.checked_sub(1).and_then(|at| self.samples.get(at)) else {
            return Age::AtLeast(last.at - first.at);
        };
        let after = self.samples.get(beyond).unwrap_or(last);
        let part = fraction(replayed - before.written, after.written - before.written);
        Age::Known(last.at - (before.at + part * (after.at - before.at)))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a lag is not told to the byte")]
fn fraction(part: i64, whole: i64) -> f64 {
    if whole <= 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(samples: &[(f64, i64)]) -> History {
        let mut history = History::default();
        for (at, written) in samples {
            history.note(*at, *written);
        }
        history
    }

    #[test]
    fn a_position_is_as_old_as_the_moment_at_which_the_primary_was_there() {
        let history = of(&[(100.0, 1_000), (101.0, 2_000), (102.0, 4_000)]);
        assert_eq!(history.age(4_000), Age::Known(0.0));
        assert_eq!(history.age(9_000), Age::Known(0.0));
        assert_eq!(history.age(2_000), Age::Known(1.0));
        assert_eq!(history.age(3_000), Age::Known(0.5));
        assert_eq!(history.age(1_000), Age::Known(2.0));
        assert_eq!(history.age(999), Age::AtLeast(2.0));
    }

    #[test]
    fn a_standby_that_stands_still_gets_older() {
        let mut history = of(&[(0.0, 100), (1.0, 200)]);
        for second in 2..10 {
            history.note(f64::from(second), 200 + i64::from(second));
            assert_eq!(history.age(200), Age::Known(f64::from(second) - 1.0));
        }
    }

    #[test]
    fn a_quiet_time_is_not_a_lag() {
        // The standby had everything for a hundred seconds, and is behind since the last of them.
        let history = of(&[(0.0, 100), (1.0, 100), (100.0, 100), (101.0, 500)]);
        assert_eq!(history.age(100), Age::Known(1.0));
        assert_eq!(history.age(500), Age::Known(0.0));
    }

    #[test]
    fn another_server_or_clock_begins_anew() {
        let history = of(&[(100.0, 1_000), (101.0, 2_000), (102.0, 500)]);
        assert_eq!(history.age(400), Age::AtLeast(0.0));
        let history = of(&[(100.0, 1_000), (50.0, 2_000)]);
        assert_eq!(history.age(1_000), Age::AtLeast(0.0));
    }

    #[test]
    fn without_a_sample_nothing_is_known() {
        assert_eq!(History::default().age(1), Age::AtLeast(0.0));
    }

    #[test]
    fn a_long_time_needs_no_more_room_and_is_told_by_its_length() {
        let mut history = History::default();
        for second in 0..100_000 {
            history.note(f64::from(second), i64::from(second) * i64::from(second));
            assert!(history.samples.len() <= MOST);
        }
        for age in [1, 10, 100, 1_000, 10_000, 99_000] {
            let then = i64::from(99_999 - age);
            let Age::Known(found) = history.age(then * then) else { panic!("{age} is known") };
            assert!(
                (found - f64::from(age)).abs() <= f64::from(age) * COARSE + 0.01,
                "{age}: {found}"
            );
        }
        assert_eq!(history.age(-1), Age::AtLeast(99_999.0));
    }

    proptest! {
        #[test]
        fn the_further_a_standby_is_the_younger(
            steps in prop::collection::vec((0.0..10.0_f64, 0..1_000_i64), 1..50),
            positions in prop::collection::vec(0..50_000_i64, 2..20),
        ) {
            let mut history = History::default();
            let (mut at, mut written) = (0.0, 0);
            for (seconds, bytes) in steps {
                (at, written) = (at + seconds, written + bytes);
                history.note(at, written);
            }
            let mut positions = positions;
            positions.sort_unstable();
            let ages = positions.iter().map(|position| match history.age(*position) {
                Age::Known(age) | Age::AtLeast(age) => age,
            });
            let ages: Vec<_> = ages.collect();
            prop_assert!(ages.iter().all(|age| (0.0..=at).contains(age)), "{ages:?}");
            prop_assert!(ages.windows(2).all(|two| two[0] >= two[1] - 1e-9), "{ages:?}");
        }
    }
}
