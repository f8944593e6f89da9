//! The pace that applies now, from what the job, the flags, its windows and people say.
//!
//! A pure choice. A window replaces the pace of the job and of the flags while it applies. What
//! people say with `throttle` replaces that, but for the rate of a window: under it they can slow a
//! run down, and to be faster than it allows they must turn the windows off.

use std::time::Duration;

use crate::job::{Window, WindowRate};

/// The most workers of a process: a run has hardly more ranges.
const MOST_WORKERS: u32 = 64;

/// A rate, a target and workers, as far as somebody said them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// Rows per second.
    pub rate: Option<u32>,
    /// Time of a batch.
    pub target: Option<Duration>,
    /// Ranges that each process walks side by side.
    pub workers: Option<u32>,
}

/// The pace that applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// Rows per second; `None` is without limit.
    pub rate: Option<u32>,
    /// Time of a batch; `None` leaves it to the job.
    pub target: Option<Duration>,
    /// Ranges that each process walks side by side, at least 1.
    pub workers: u32,
    /// Whether a window stops the walk.
    pub is_closed: bool,
    /// The window that applies, or that none does, in words; `None` where there are no windows.
    pub applies: Option<String>,
    /// The same, and until when.
    pub window: Option<String>,
}

impl Default for Pace {
    /// Returns the pace of somebody of whom nobody said anything.
    fn default() -> Pace {
        Pace::of(Said::default(), Said::default(), None)
    }
}

impl Pace {
    /// Returns the rows per second that are allowed, 0 while a window pauses; `None` is no limit.
    pub fn limit(&self) -> Option<u32> {
        if self.is_closed { Some(0) } else { self.rate }
    }

    /// Chooses from what job and flags say, what people said since, and the window that applies.
    pub fn of(base: Said, people: Said, window: Option<&Window>) -> Pace {
        let limit = match window.and_then(|window| window.rate) {
            Some(WindowRate::Rate(rate)) => Some(rate.rows_per_second()),
            Some(WindowRate::Pause) | None => None,
        };
        let rate = match (limit, people.rate) {
            (Some(limit), Some(rate)) => Some(limit.min(rate)),
            (limit, rate) => limit.or(rate).or(base.rate),
        };
        Pace {
            rate,
            target: people.target.or_else(|| window?.target).or(base.target),
            workers: people
                .workers
                .or_else(|| window?.workers)
                .or(base.workers)
                .map_or(1, |workers| workers.clamp(1, MOST_WORKERS)),
            is_closed: window.is_some_and(|window| window.rate == Some(WindowRate::Pause)),
            applies: None,
            window: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Rate, When};
    use jiff::civil::{Time, Weekday};
    use jiff::tz::TimeZone;

    fn window(rate: Option<WindowRate>) -> Window {
        let when =
            When { days: vec![Weekday::Monday], from: Time::midnight(), to: Time::midnight() };
        let target = Some(Duration::from_millis(5));
        let text = "Mon".to_owned();
        Window { when, text, zone: TimeZone::UTC, rate, target, workers: Some(3), span: 0..0 }
    }

    fn at(rate: u32) -> Window {
        window(Some(WindowRate::Rate(Rate::new(rate).unwrap())))
    }

    fn rate(rate: u32) -> Said {
        Said { rate: Some(rate), ..Said::default() }
    }

    #[test]
    fn people_say_the_workers_before_a_window_and_a_window_before_the_job() {
        let said = |workers| Said { workers, ..Said::default() };
        let window = at(500);
        let of = |base, people, window| Pace::of(said(base), said(people), window).workers;
        assert_eq!(of(Some(2), Some(4), Some(&window)), 4);
        assert_eq!(of(Some(2), None, Some(&window)), 3);
        assert_eq!((of(Some(2), None, None), of(None, None, None)), (2, 1));
    }

    #[test]
    fn a_window_replaces_the_pace_of_the_job_in_both_directions() {
        let open = Pace::of(rate(500), Said::default(), Some(&at(20_000)));
        assert_eq!((open.rate, open.target), (Some(20_000), Some(Duration::from_millis(5))));
        assert_eq!(Pace::of(rate(500), Said::default(), None).rate, Some(500));
    }

    #[test]
    fn people_can_be_slower_than_a_window_and_not_faster() {
        let busy = at(500);
        assert_eq!(Pace::of(Said::default(), rate(100), Some(&busy)).rate, Some(100));
        assert_eq!(Pace::of(Said::default(), rate(9_000), Some(&busy)).rate, Some(500));
        assert_eq!(Pace::of(rate(10), rate(9_000), None).rate, Some(9_000));
    }

    #[test]
    fn a_pause_stays_a_pause_whatever_people_say_of_the_rate() {
        let pace = Pace::of(rate(10), rate(9_000), Some(&window(Some(WindowRate::Pause))));
        assert!(pace.is_closed);
    }

    #[test]
    fn a_window_without_a_rate_leaves_the_rate_alone() {
        assert_eq!(Pace::of(rate(10), Said::default(), Some(&window(None))).rate, Some(10));
    }
}
