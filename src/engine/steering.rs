//! What a worker is told, and what it says: orders, pace, and the engine's voice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::gauge::Gauge;
use super::hold::Hold;
use super::worker::Stop;
use crate::ledger::control::Orders;
use crate::run::{Event, Intent, Pace, Slowing, WINDOW};
use crate::throttle::{Allowance, Cause, Payment, Verdict, View};

/// Why a worker stopped where it was, between two batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Somebody asked for it.
    For(Intent),
    /// This process is to leave.
    ToLeave,
    /// The time that this process was given is over.
    TimeUp,
    /// The lease is somebody else's.
    TakenOver,
}

/// The engine's voice. Telling never waits: a slow listener loses progress, and nothing else (F81).
#[derive(Clone)]
pub(super) struct Voice(pub(super) mpsc::Sender<Event>);

impl Voice {
    pub(super) fn say(&self, event: Event) {
        // A full channel is a listener that is slow; what is true is in the ledger.
        let _ = self.0.try_send(event);
    }
}

/// What everybody who works on the run is told, about once a second.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Brief {
    /// What the ledger says.
    pub(super) orders: Orders,
    /// The pace that applies.
    pub(super) pace: Pace,
    /// Whether the time that this process was given is over.
    pub(super) is_time_up: bool,
}

/// What worker and verifier share.
pub(super) struct Steering {
    pub(super) brief: watch::Receiver<Brief>,
    pub(super) leaving: watch::Receiver<bool>,
    pub(super) gauge: Arc<Mutex<Gauge>>,
    pub(super) voice: Voice,
    gate: Option<View>,
    max_hold: Duration,
    allowance: Allowance,
    debt: u32,
    hold: Hold,
    /// Since when signals have let nothing through.
    standing_since: Option<Instant>,
    /// Since when the batch that is going to be paid for has been under way.
    began: Instant,
    slowed_by: Option<String>,
    /// The share of its speed that signals give the run.
    share: f64,
}

impl Steering {
    pub(super) fn new(
        brief: watch::Receiver<Brief>,
        leaving: watch::Receiver<bool>,
        gauge: Arc<Mutex<Gauge>>,
        voice: Voice,
    ) -> Steering {
        let allowance = Allowance::new(brief.borrow().pace.rate);
        Steering {
            brief,
            leaving,
            gauge,
            voice,
            gate: None,
            max_hold: Duration::MAX,
            allowance,
            debt: 0,
            hold: Hold::default(),
            standing_since: None,
            began: Instant::now(),
            slowed_by: None,
            share: 1.0,
        }
    }

    /// Obeys the signals of `gate`, and gives up when they hold for longer than `max_hold`.
    #[must_use]
    pub(super) fn held_by(mut self, gate: View, max_hold: Duration) -> Steering {
        (self.gate, self.max_hold) = (Some(gate), max_hold);
        self
    }

    /// Returns why to stop now, if there is a reason.
    pub(super) fn asked(&self) -> Option<Asked> {
        let brief = self.brief.borrow();
        if !brief.orders.is_ours {
            return Some(Asked::TakenOver);
        }
        if *self.leaving.borrow() && brief.orders.intent != Intent::Cancel {
            return Some(Asked::ToLeave);
        }
        if brief.orders.intent != Intent::Run {
            return Some(Asked::For(brief.orders.intent));
        }
        brief.is_time_up.then_some(Asked::TimeUp)
    }

    /// Returns the time that a batch should take, if anybody but the job said one.
    pub(super) fn target(&self) -> Option<Duration> {
        self.brief.borrow().pace.target
    }

    /// Returns how many of `rows` keys the next chunk may have under the rate.
    pub(super) fn cap(&mut self, rows: u32) -> u32 {
        self.allowance.set(self.rate());
        self.allowance.cap(rows)
    }

    /// The rate that applies: the share of it that the gate gives, and in a hold with a floor, that.
    fn rate(&self) -> Option<u32> {
        let rate = self.brief.borrow().pace.rate.map(|rate| scaled(rate, self.share));
        match self.hold.floor() {
            Some(floor) => Some(rate.map_or(floor, |rate| rate.min(floor))),
            None => rate,
        }
    }

    /// Waits until the next batch may begin: until no window and no signal holds the run. A hold
    /// with a floor lets it begin.
    ///
    /// # Errors
    /// Why to stop instead.
    pub(super) async fn admit(&mut self) -> Result<(), Stop> {
        loop {
            if let Some(asked) = self.asked() {
                self.release();
                return Err(Stop::Asked(asked));
            }
            let Some((cause, floor)) = self.holds() else {
                self.release();
                break;
            };
            let may_trickle = floor.is_some();
            if let Some(stop) = self.stand(cause, floor) {
                return Err(stop);
            }
            if may_trickle {
                break;
            }
            self.wait(RECHECK).await;
        }
        self.began = Instant::now();
        Ok(())
    }

    /// Notes that `cause` holds the run; returns why to stop when signals have let nothing through
    /// for too long.
    fn stand(&mut self, cause: Cause, floor: Option<u32>) -> Option<Stop> {
        self.sum_up();
        let is_signal = cause.signal != WINDOW;
        for event in self.hold.go_on(cause, floor) {
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
        Some(Stop::HeldTooLong(reason))
    }

    /// What holds the run now: a window that is closed, else the signal that rules.
    fn holds(&mut self) -> Option<(Cause, Option<u32>)> {
        let pace = self.brief.borrow().pace.clone();
        if pace.is_closed {
            let text = pace.window.unwrap_or_else(|| WINDOW.to_owned());
            return Some((Cause { signal: WINDOW.to_owned(), text, reading: None }, None));
        }
        match self.gate.as_mut()?.verdict(Instant::now()) {
            Verdict::Hold(cause, floor) => Some((cause, floor)),
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
            if shown.is_some() {
                gauge.slowing = None;
            }
            gauge.holding = shown;
        });
    }

    /// Owes for rows that were touched.
    pub(super) fn owe(&mut self, rows: u64) {
        self.debt = self.debt.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX));
    }

    /// Pays what is owed, waiting as long as the rate asks for, and as much longer as a signal that
    /// comes near its limit asks for; ends early when there is an order.
    pub(super) async fn pay(&mut self) {
        let worked = self.began.elapsed();
        let mut slowed_by = self.take_share();
        while self.debt > 0 && self.asked().is_none() {
            let rate = self.rate();
            // What was done under another rate is not paid at this one for longer than a second.
            self.debt = rate.map_or(self.debt, |rate| self.debt.min(rate));
            self.allowance.set(rate);
            match self.allowance.pay(self.debt) {
                Payment::Paid => self.debt = 0,
                Payment::Wait(wait, debt) => {
                    self.debt = debt;
                    self.wait(wait).await;
                    slowed_by = self.take_share();
                }
            }
        }
        if let Some(by) = slowed_by {
            self.slow_down(worked, &by).await;
        }
    }

    /// Learns the share of its speed that the gate gives the run; returns by what it is slowed down.
    fn take_share(&mut self) -> Option<String> {
        self.share = 1.0;
        let Verdict::Go(share, cause) = self.gate.as_mut()?.verdict(Instant::now()) else {
            return None;
        };
        self.tell_share(share, cause.as_ref());
        let cause = cause?;
        self.share = share.max(SLOWEST);
        Some(cause.signal)
    }

    /// Lets the time from batch to batch grow after one that took `worked`, so that the speed is the
    /// share that the gate gives. The rate has been scaled already.
    async fn slow_down(&mut self, worked: Duration, by: &str) {
        let cycle = worked.div_f64(self.share).min(worked + LONGEST);
        while self.began.elapsed() < cycle && self.asked().is_none() {
            self.sleep_or_order(cycle.saturating_sub(self.began.elapsed())).await;
        }
        let cycle = self.began.elapsed();
        // The rest is what the rate asks for.
        let slowed = cycle.mul_f64(1.0 - self.share).min(cycle.saturating_sub(worked));
        self.note(|gauge| gauge.held.slow(by, slowed));
    }

    fn tell_share(&mut self, share: f64, cause: Option<&Cause>) {
        let slowing = cause.map(|it| Slowing { reason: slowed_by(it), share });
        let signal = cause.map(|cause| cause.signal.clone());
        if signal != self.slowed_by {
            self.voice.say(slowing.clone().map_or(Event::Unslowed, Event::Slowed));
            self.slowed_by = signal;
        }
        self.note(|gauge| gauge.slowing = slowing);
    }

    /// Waits for `time`, or until there is something new to know.
    pub(super) async fn wait(&mut self, time: Duration) {
        let Some(gate) = self.gate.as_mut() else { return self.sleep_or_order(time).await };
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = gate.changed() => {}
            // Where nobody is left who could say something new, only time goes by.
            Ok(()) = self.brief.changed() => {}
            Ok(()) = self.leaving.changed() => {}
        }
    }

    async fn sleep_or_order(&mut self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            Ok(()) = self.brief.changed() => {}
            Ok(()) = self.leaving.changed() => {}
        }
    }

    /// Changes what is measured.
    pub(super) fn note(&self, change: impl FnOnce(&mut Gauge)) {
        change(&mut self.gauge.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Tells that a batch failed and is tried again.
    pub(super) fn tell_retry(&self, why: String, wait: Duration, rows: u32) {
        self.note(|gauge| gauge.trouble = Some(why.clone()));
        self.voice.say(Event::Retried { why, wait, rows });
    }
}

/// A walk can end in the trickle of a hold; what comes after it is not held until it is told so.
impl Drop for Steering {
    fn drop(&mut self) {
        self.release();
        self.note(|gauge| gauge.slowing = None);
    }
}

/// What a cause says; after a hold the speed comes back slowly, though the signal is fine.
fn slowed_by(cause: &Cause) -> String {
    let is_over = cause.reading.is_some_and(|reading| reading.is_fine());
    let after = if is_over { "; speeding up again" } else { "" };
    format!("{}{after}", cause.text)
}

/// Returns a share of a rate; at least one row.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a rate is between one row and the rate"
)]
fn scaled(rate: u32, share: f64) -> u32 {
    (f64::from(rate) * share.clamp(0.0, 1.0)).round().max(1.0) as u32
}

/// How often it is looked whether a hold is over, should nothing else say so.
const RECHECK: Duration = Duration::from_millis(250);
/// The smallest share that is obeyed: below it, a batch would be followed by a minute of nothing.
const SLOWEST: f64 = 0.02;
/// The longest wait after one batch for the sake of a share.
const LONGEST: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Overrides, Status};

    fn steering() -> (Steering, watch::Sender<Brief>, watch::Sender<bool>, mpsc::Receiver<Event>) {
        let (status, intent) = (Status::Running, Intent::Run);
        let orders = Orders { is_ours: true, status, intent, overrides: Overrides::default() };
        let brief = Brief { orders, pace: Pace::default(), is_time_up: false };
        let ((tell, brief), (leave, leaving)) = (watch::channel(brief), watch::channel(false));
        let (voice, events) = mpsc::channel(16);
        let steering = Steering::new(brief, leaving, Arc::default(), Voice(voice));
        (steering, tell, leave, events)
    }

    #[tokio::test]
    async fn a_wait_lasts_also_when_nobody_can_say_anything_any_more() {
        let (mut steering, tell, leave, _events) = steering();
        drop((tell, leave));
        let (began, time) = (Instant::now(), Duration::from_millis(30));
        steering.wait(time).await;
        assert!(began.elapsed() >= time);
    }

    #[tokio::test]
    async fn a_hold_that_a_walk_ends_in_ends_with_it_and_is_summed_up() {
        let (mut steering, _tell, _leave, mut events) = steering();
        let gauge = Arc::clone(&steering.gauge);
        let cause = Cause { signal: "busy".into(), text: "busy 7 > 5".into(), reading: None };
        assert!(steering.stand(cause, Some(10)).is_none());
        assert!(gauge.lock().unwrap().holding.is_some());
        drop(steering);
        assert!(gauge.lock().unwrap().holding.is_none());
        assert_ne!(gauge.lock().unwrap().held, crate::run::Held::default());
        assert!(matches!(events.recv().await, Some(Event::Held(_))));
        assert!(matches!(events.recv().await, Some(Event::Released { .. })));
    }
}
