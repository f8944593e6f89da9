//! One hold from its beginning to its end, as a worker lives through it.

use std::time::{Duration, Instant};

use crate::run::{Event, Holding};
use crate::throttle::Cause;

/// The hold that goes on, if one does.
#[derive(Debug, Default)]
pub(super) struct Hold(Option<Going>);

#[derive(Debug)]
struct Going {
    holding: Holding,
    began: Instant,
    /// Up to when its time has been summed up.
    counted: Instant,
}

impl Hold {
    /// Learns that `cause` holds the run at `now` of the server's clock; returns what is to be told, if
    /// something is new.
    pub(super) fn go_on(&mut self, cause: Cause, floor: Option<u32>, now: f64) -> Vec<Event> {
        let holding = Holding {
            by: cause.signal,
            reason: cause.text,
            value: cause.reading.map(|reading| reading.value),
            limit: cause.reading.map(|reading| reading.limit),
            floor,
            since: now,
        };
        if let Some(going) = self.0.as_mut().filter(|going| going.holding.by == holding.by) {
            going.holding = Holding { since: going.holding.since, ..holding };
            return Vec::new();
        }
        let mut events: Vec<_> = self.end().into_iter().collect();
        events.push(Event::Held(holding.clone()));
        let now = Instant::now();
        self.0 = Some(Going { holding, began: now, counted: now });
        events
    }

    /// Learns that nothing holds the run any more; returns what is to be told.
    pub(super) fn end(&mut self) -> Option<Event> {
        let going = self.0.take()?;
        Some(Event::Released { by: going.holding.by, lasted: going.began.elapsed() })
    }

    /// Returns the time that has not been summed up yet, and by whom it was taken.
    pub(super) fn take_spent(&mut self) -> Option<(String, Duration)> {
        let going = self.0.as_mut()?;
        let spent = going.counted.elapsed();
        going.counted += spent;
        Some((going.holding.by.clone(), spent))
    }

    /// Returns what is shown of it.
    pub(super) fn shown(&self) -> Option<Holding> {
        self.0.as_ref().map(|it| it.holding.clone())
    }

    /// Returns the rows per second that go on through it.
    pub(super) fn floor(&self) -> Option<u32> {
        self.0.as_ref()?.holding.floor
    }

    /// Returns what it says.
    pub(super) fn reason(&self) -> String {
        self.0.as_ref().map(|going| going.holding.reason.clone()).unwrap_or_default()
    }
}
