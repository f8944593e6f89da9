//! What pace applies at an instant, when the time is up, and when it will all be over.

use std::time::Instant;

use jiff::Timestamp;

use super::handle::Options;
use crate::job::{Rate, Window};
use crate::ledger::control::Orders;
use crate::plan::Plan;
use crate::run::{Overrides, Pace, Phase, Pulse, Said, Schedule, Snapshot, as_timestamp};

/// What decides the pace of one process's work on a run.
#[derive(Debug, Clone)]
pub(super) struct Pacing {
    base: Said,
    schedule: Schedule,
    /// The instant by the server's clock at which this process stops.
    until: Option<Timestamp>,
    /// The same by the time that has gone by here.
    deadline: Option<Instant>,
}

impl Pacing {
    /// Takes from plan and options what decides the pace, from now on.
    pub(super) fn new(plan: &Plan, options: &Options) -> Pacing {
        let pace = &plan.job.pace;
        let rate = options.rate.or_else(|| pace.rate.map(Rate::rows_per_second));
        Pacing {
            base: Said { rate, target: options.target },
            schedule: Schedule::new(pace.windows.clone()),
            until: options.until,
            deadline: options.max_runtime.map(|time| Instant::now() + time),
        }
    }

    fn schedule<'a>(&'a self, overrides: &'a Overrides) -> &'a Schedule {
        overrides.schedule.as_ref().unwrap_or(&self.schedule)
    }

    /// Returns the pace that applies at `now`.
    pub(super) fn at(&self, now: Timestamp, orders: &Orders) -> Pace {
        let schedule = self.schedule(&orders.overrides);
        let current = schedule.at(now);
        let pace = Pace::of(self.base, orders.overrides.said, current.window);
        if schedule.is_empty() {
            return pace;
        }
        let applies = current.window.map_or_else(|| "no window".to_owned(), Window::to_string);
        Pace { applies: Some(applies), window: Some(current.to_string()), ..pace }
    }

    /// Whether this process has worked for as long as it may.
    pub(super) fn is_time_up(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
            || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Returns in how many seconds the phase will be over, at least and at most, with the hours
    /// counted in which windows allow less; `None` where there are none, or it cannot be known.
    /// `speed` is that of the batches themselves, in rows per second.
    pub(super) fn eta(
        &self,
        orders: &Orders,
        snapshot: &Snapshot,
        pulse: &Pulse,
        speed: Option<f64>,
    ) -> Option<(f64, f64)> {
        let schedule = self.schedule(&orders.overrides);
        if schedule.is_empty() || snapshot.phase != Phase::Backfill {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        let left = snapshot.left()? as f64;
        let now = as_timestamp(snapshot.now);
        let base = orders.overrides.said.rate.or(self.base.rate).map(f64::from);
        let in_seconds = |speed: f64| {
            let over = schedule.finish(now, left, speed, base)?;
            Some(over.duration_since(now).as_secs_f64())
        };
        // Under a limit the rate that was measured is the limit's, and says nothing of other hours.
        let is_limited = pulse.limit.is_some() || pulse.holding.is_some();
        let (low, high) = match (is_limited, pulse.rate_low, pulse.rate_high) {
            (false, Some(low), Some(high)) if low > 0.0 => (low, high),
            _ => (speed? * 0.7, speed?),
        };
        in_seconds(high).zip(in_seconds(low))
    }
}
