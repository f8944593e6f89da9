//! How fast this process may go: its hold, its share of the speed, its rate; one for all its workers.
//!
//! A worker looks in between two batches, and never waits in here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::gauge::Gauge;
use super::hold::Hold;
use super::voice::Voice;
use crate::run::{Event, Pace, Slowing, WINDOW};
use crate::throttle::{Allowance, Cause, Reading, Trickle, Verdict, View};

/// The smallest share that is obeyed: below it, a batch would be followed by a minute of nothing.
const SLOWEST: f64 = 0.02;

/// A share of the speed is told again when it has changed by so much.
const STEP: f64 = 0.1;
/// And not more often than this: a signal that swings tells no more than lines of progress do.
const APART: Duration = Duration::from_secs(10);

/// Whether a batch may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It may.
    Yes,
    /// Something holds the run.
    NotNow,
    /// Signals have let nothing through for too long; what the last one said.
    Never(String),
}

/// What this process may have of the run's speed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portion {
    /// The run's rate, in rows per second.
    pub(super) rate: Option<f64>,
    /// The part of it that this process has: as many workers as it has of all.
    pub(super) part: f64,
    /// Workers of this process that are busy, at least 1.
    pub(super) busy: u32,
}

/// What the workers of a process keep to together.
pub(super) struct Stride {
    gauge: Arc<Mutex<Gauge>>,
    voice: Voice,
    gate: Option<View>,
    max_hold: Duration,
    allowance: Allowance,
    hold: Hold,
    /// Since when signals have let nothing through.
    standing_since: Option<Instant>,
    /// By what it was last told that the run is slowed down, and when.
    told: Option<(Slowing, Instant)>,
    /// Whether the run was held since then.
    was_held: bool,
    /// The share of its speed that signals give the run.
    share: f64,
}

impl Stride {
    pub(super) fn new(gauge: Arc<Mutex<Gauge>>, voice: Voice) -> Stride {
        Stride {
            gauge,
            voice,
            gate: None,
            max_hold: Duration::MAX,
            allowance: Allowance::new(None, Instant::now()),
            hold: Hold::default(),
            standing_since: None,
            told: None,
            was_held: false,
            share: 1.0,
        }
    }

    pub(super) fn obey(&mut self, gate: View, max_hold: Duration) {
        (self.gate, self.max_hold) = (Some(gate), max_hold);
    }

    pub(super) fn max_hold(&self) -> Duration {
        self.max_hold
    }

    /// Whether a batch may begin under `pace`: a hold with a floor lets it.
    pub(super) fn admits(&mut self, pace: Pace) -> Admitted {
        let Some((cause, floor)) = self.holds(pace) else {
            self.release();
            return Admitted::Yes;
        };
        match self.stand(cause, floor) {
            Some(reason) => Admitted::Never(reason),
            None if floor.is_some() => Admitted::Yes,
            None => Admitted::NotNow,
        }
    }

    /// Notes that `cause` holds the run; returns what it said when signals have let nothing through
    /// for too long.
    fn stand(&mut self, cause: Cause, floor: Option<u32>) -> Option<String> {
        self.sum_up();
        let is_signal = cause.signal != WINDOW;
        let now = self.now();
        for event in self.hold.go_on(cause, floor, now) {
            self.was_held = true;
            self.voice.say(event);
        }
        self.show_hold();
        if !is_signal || floor.is_some() {
            self.standing_since = None;
            return None;
        }
        let since = *self.standing_since.get_or_insert_with(Instant::now);
        if since.elapsed() < self.max_hold {
            return None;
        }
        let reason = self.hold.reason();
        self.release();
        Some(reason)
    }

    /// What holds the run now: a window that is closed, else the signal that rules.
    fn holds(&mut self, pace: Pace) -> Option<(Cause, Option<u32>)> {
        if pace.is_closed {
            let text = pace.window.unwrap_or_else(|| WINDOW.to_owned());
            return Some((Cause { signal: WINDOW.to_owned(), text, reading: None }, None));
        }
        match self.gate.as_mut()?.verdict(Instant::now()) {
            Verdict::Hold(cause, trickle) => Some((cause, trickle.map(|it| it.floor))),
            Verdict::Go(..) => None,
        }
    }

    fn release(&mut self) {
        self.standing_since = None;
        self.sum_up();
        if let Some(event) = self.hold.end() {
            self.show_hold();
            self.voice.say(event);
        }
    }

    fn sum_up(&mut self) {
        if let Some((by, time)) = self.hold.take_spent() {
            self.note(|gauge| gauge.held.hold(&by, time));
        }
    }

    fn show_hold(&self) {
        let shown = self.hold.shown();
        self.note(|gauge| {
            if shown.as_ref().is_some_and(|it| it.floor.is_none()) {
                gauge.slowing = None;
            }
            gauge.holding = shown;
        });
    }

    /// The rate that applies: the share of the run's that the gate gives, and in a hold with a floor,
    /// no more than that; of either, the part of this process.
    fn set(&mut self, portion: Portion) {
        let rate = portion.rate.map(|rate| rate * self.share);
        let floor = self.hold.floor().map(f64::from);
        let rate = floor.map_or(rate, |floor| Some(rate.map_or(floor, |rate| rate.min(floor))));
        self.allowance.set(rate.map(|rate| rate * portion.part), Instant::now());
    }

    /// Whether a hold lets no more through than its floor.
    pub(super) fn is_trickling(&self) -> bool {
        self.hold.floor().is_some()
    }

    /// Returns how many of `rows` keys the next chunk may have.
    pub(super) fn cap(&mut self, rows: u32, portion: Portion) -> u32 {
        self.set(portion);
        self.allowance.cap(rows, portion.busy)
    }

    /// Owes for rows that were touched.
    pub(super) fn owe(&mut self, rows: u64, portion: Portion) {
        self.set(portion);
        self.allowance.owe(rows);
    }

    /// Returns how long to wait until nothing is owed.
    pub(super) fn due(&mut self, portion: Portion) -> Option<Duration> {
        self.set(portion);
        self.allowance.due(Instant::now())
    }

    /// Returns the share of its speed that the gate gives the run, and by what it is slowed down.
    pub(super) fn take_share(&mut self) -> (f64, Option<String>) {
        self.share = 1.0;
        let Some(gate) = self.gate.as_mut() else { return (1.0, None) };
        let (share, cause) = match gate.verdict(Instant::now()) {
            Verdict::Go(share, cause) => (share, cause),
            Verdict::Hold(_, Some(Trickle { share, slowed_by: Some(cause), .. })) => {
                (share, Some(cause))
            }
            // Not slowed down, which is no speed to tell of.
            Verdict::Hold(..) => {
                self.note(|gauge| gauge.slowing = None);
                return (1.0, None);
            }
        };
        self.tell_share(share, cause.as_ref());
        let Some(cause) = cause else { return (1.0, None) };
        self.share = share.max(SLOWEST);
        (self.share, Some(cause.signal))
    }

    fn tell_share(&mut self, share: f64, cause: Option<&Cause>) {
        let now = self.now();
        let was_held = std::mem::take(&mut self.was_held);
        let Some(cause) = cause else { return self.speed_up() };
        let last = self.told.take().filter(|(last, _)| !was_held && last.by == cause.signal);
        let since = last.as_ref().map_or(now, |(last, _)| last.since);
        let slowing = slowing(cause, share, since);
        self.told = Some(match last {
            Some((last, at)) if !is_news(&last, &slowing, at.elapsed()) => (last, at),
            Some(_) | None => {
                self.voice.say(Event::Slowed(slowing.clone()));
                (slowing.clone(), Instant::now())
            }
        });
        self.note(|gauge| gauge.slowing = Some(slowing));
    }

    /// Says that nothing slows the run down any more, if it was said that something does.
    fn speed_up(&mut self) {
        if let Some((last, _)) = self.told.take() {
            let lasted = Duration::try_from_secs_f64(self.now() - last.since).unwrap_or_default();
            self.voice.say(Event::Unslowed { by: last.by, lasted });
        }
        self.note(|gauge| gauge.slowing = None);
    }

    fn now(&self) -> f64 {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner).now()
    }

    fn note(&self, change: impl FnOnce(&mut Gauge)) {
        change(&mut self.gauge.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A walk can end in the trickle of a hold, or slowed down; what comes after it is neither until it is
/// told so. The last worker that leaves says it for all.
impl Drop for Stride {
    fn drop(&mut self) {
        self.release();
        self.speed_up();
    }
}

/// What a cause comes to; after a hold the speed comes back slowly, though the signal is fine.
fn slowing(cause: &Cause, share: f64, since: f64) -> Slowing {
    let reading = cause.reading.as_ref();
    let is_over = reading.is_some_and(Reading::is_fine);
    let after = if is_over { "; speeding up again" } else { "" };
    Slowing {
        by: cause.signal.clone(),
        reason: format!("{}{after}", cause.text),
        value: reading.map(|reading| reading.value),
        limit: reading.map(|reading| reading.limit),
        share,
        since,
    }
}

/// Whether a share of the speed is told, so long after the last one by the same signal.
fn is_news(last: &Slowing, slowing: &Slowing, since: Duration) -> bool {
    // Shares are floats: a tenth less a tenth is not quite a tenth.
    (last.share - slowing.share).abs() > STEP - 1e-9 && since >= APART
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::voice::{self, Listener};

    fn stride() -> (Arc<Mutex<Gauge>>, Stride, Listener) {
        let gauge: Arc<Mutex<Gauge>> = Arc::default();
        let (voice, events) = voice::pair();
        (Arc::clone(&gauge), Stride::new(gauge, voice), events)
    }

    fn busy(reading: &str) -> Cause {
        Cause { signal: "busy".into(), text: format!("busy {reading}"), reading: None }
    }

    #[test]
    fn a_share_of_the_speed_is_told_when_it_has_changed_and_not_all_the_time() {
        let of = |share| Slowing { share, ..Slowing::default() };
        for (before, now, seconds, expected) in [
            (0.5, 0.4, 10, true),
            (0.4, 0.5, 10, true),
            (0.5, 0.45, 600, false),
            (0.9, 0.1, 9, false),
        ] {
            let found = is_news(&of(before), &of(now), Duration::from_secs(seconds));
            assert_eq!(found, expected, "from {before} to {now} after {seconds} s");
        }
    }

    #[tokio::test]
    async fn a_slowing_has_a_beginning_by_the_servers_clock_and_an_end() {
        let (gauge, mut stride, mut events) = stride();
        gauge.lock().unwrap().clock = Some((1_000.0, Instant::now()));
        let cause = busy("4 of 5");
        stride.tell_share(0.5, Some(&cause));
        gauge.lock().unwrap().clock = Some((1_060.0, Instant::now()));
        stride.tell_share(0.1, Some(&cause));
        stride.tell_share(1.0, None);
        let Some(Event::Slowed(slowed)) = events.next().await else { panic!("not slowed") };
        assert_eq!((&slowed.by[..], slowed.since.floor(), slowed.share), ("busy", 1_000.0, 0.5));
        let Some(Event::Unslowed { by, lasted }) = events.next().await else { panic!("not over") };
        assert_eq!((&by[..], lasted.as_secs_f64().round()), ("busy", 60.0));
    }

    #[tokio::test]
    async fn what_slows_a_run_down_after_a_hold_is_told_again() {
        use Event::{Held, Released, Slowed, Unslowed};
        let (_gauge, mut stride, mut events) = stride();
        let cause = busy("4 > 3");
        stride.tell_share(0.5, Some(&cause));
        stride.tell_share(0.4, Some(&cause));
        assert!(stride.stand(cause.clone(), None).is_none());
        stride.release();
        stride.tell_share(0.1, Some(&cause));
        stride.tell_share(1.0, None);
        drop(stride);
        let mut told = Vec::new();
        while let Some(event) = events.next().await {
            told.push(event);
        }
        let is_told_again =
            matches!(told[..], [Slowed(_), Held(_), Released { .. }, Slowed(_), Unslowed { .. }]);
        assert!(is_told_again, "{told:?}");
    }

    #[tokio::test]
    async fn through_a_hold_with_a_floor_goes_the_lesser_of_it_and_what_others_slow_down_to() {
        use Event::{Held, Released, Slowed, Unslowed};
        let (gauge, mut stride, mut events) = stride();
        let (view, tell) = View::told(&[Some(500), None]);
        stride.obey(view, Duration::MAX);
        let portion = Portion { rate: Some(10_000.0), part: 1.0, busy: 1 };
        // The rate is twice what a batch may have; a poll is long over before each batch.
        let mut rate = |parts: [f64; 2]| {
            tell(&parts);
            assert_eq!(stride.admits(Pace::default()), Admitted::Yes);
            let (share, by) = stride.take_share();
            let slowing = gauge.lock().unwrap().slowing.clone().map(|it| it.by);
            assert_eq!(slowing, by, "what is shown");
            (2 * stride.cap(u32::MAX, portion), by.map(|by| format!("{by}: {share:.2}")))
        };
        assert_eq!(rate([0.1, 0.1]), (10_000, None));
        assert_eq!(rate([2.0, 0.1]), (500, None));
        assert_eq!(rate([2.0, 0.7]), (500, Some("1: 0.47".into())));
        assert_eq!(rate([2.0, 1.0]), (500, Some("1: 0.05".into())));
        let portion = Portion { rate: Some(2_000.0), ..portion };
        assert_eq!(stride.cap(u32::MAX, portion), 50);
        tell(&[0.1, 0.1]);
        assert_eq!((stride.admits(Pace::default()), stride.take_share().1), (Admitted::Yes, None));
        drop(stride);
        let mut told = Vec::new();
        while let Some(event) = events.next().await {
            told.push(event);
        }
        let is_told_once =
            matches!(told[..], [Held(_), Slowed(_), Released { .. }, Unslowed { .. }]);
        assert!(is_told_once, "{told:?}");
    }

    #[tokio::test]
    async fn a_slowing_that_a_walk_ends_in_is_over_when_the_last_of_its_workers_leaves() {
        let (gauge, mut stride, mut events) = stride();
        let cause = busy("4 of 5");
        stride.tell_share(0.5, Some(&cause));
        let one = Arc::new(Mutex::new(stride));
        let another = Arc::clone(&one);
        drop(one);
        assert!(gauge.lock().unwrap().slowing.is_some());
        drop(another);
        assert!(gauge.lock().unwrap().slowing.is_none());
        assert!(matches!(events.next().await, Some(Event::Slowed(_))));
        assert!(matches!(events.next().await, Some(Event::Unslowed { by, .. }) if by == "busy"));
        assert!(events.next().await.is_none());
    }

    #[tokio::test]
    async fn a_hold_that_a_walk_ends_in_ends_with_it_and_is_summed_up() {
        let (gauge, mut stride, mut events) = stride();
        let cause = busy("7 > 5");
        assert!(stride.stand(cause, Some(10)).is_none());
        assert!(gauge.lock().unwrap().holding.is_some());
        drop(stride);
        assert!(gauge.lock().unwrap().holding.is_none());
        assert_ne!(gauge.lock().unwrap().held, crate::run::Held::default());
        assert!(matches!(events.next().await, Some(Event::Held(_))));
        assert!(matches!(events.next().await, Some(Event::Released { .. })));
    }
}
