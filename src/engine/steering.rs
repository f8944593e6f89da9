//! What a worker is told, and what it says: orders, pace, and the engine's voice.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::ledger::control::Orders;
use crate::pg::CancelToken;
use crate::run::{Event, Intent, Pulse, Timing};
use crate::throttle::{Allowance, Payment};

/// Why a worker stopped where it was, between two batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Somebody asked for it.
    For(Intent),
    /// This process is to leave.
    ToLeave,
    /// The lease is somebody else's.
    TakenOver,
}

/// What is measured while working, for the pulse.
#[derive(Default)]
pub(super) struct Gauge {
    /// Times of batches.
    pub(super) timing: Timing,
    /// Keys of the next chunk.
    pub(super) rows: Option<u32>,
    /// Rows that the verification has looked at.
    pub(super) looked: u64,
    /// What is being waited out.
    pub(super) trouble: Option<String>,
    /// Ends the statement that the worker runs.
    pub(super) cancel: Option<CancelToken>,
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

/// The pace that this process was started with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Defaults {
    pub(super) rate: Option<u32>,
    pub(super) target: Option<Duration>,
}

/// What worker and verifier share.
pub(super) struct Steering {
    pub(super) orders: watch::Receiver<Orders>,
    pub(super) leaving: watch::Receiver<bool>,
    pub(super) gauge: Arc<Mutex<Gauge>>,
    pub(super) voice: Voice,
    pub(super) defaults: Defaults,
    allowance: Allowance,
    debt: u32,
}

impl Steering {
    pub(super) fn new(
        orders: watch::Receiver<Orders>,
        leaving: watch::Receiver<bool>,
        gauge: Arc<Mutex<Gauge>>,
        voice: Voice,
        defaults: Defaults,
    ) -> Steering {
        let allowance = Allowance::new(orders.borrow().rate.or(defaults.rate));
        Steering { orders, leaving, gauge, voice, defaults, allowance, debt: 0 }
    }

    /// Returns why to stop now, if there is a reason.
    pub(super) fn asked(&self) -> Option<Asked> {
        let orders = self.orders.borrow();
        if !orders.is_ours {
            return Some(Asked::TakenOver);
        }
        if *self.leaving.borrow() && orders.intent != Intent::Cancel {
            return Some(Asked::ToLeave);
        }
        (orders.intent != Intent::Run).then_some(Asked::For(orders.intent))
    }

    /// Returns the time that a batch should take, if somebody set it from outside or by a flag.
    pub(super) fn target(&self) -> Option<Duration> {
        self.orders.borrow().target_ms.map(Duration::from_millis).or(self.defaults.target)
    }

    /// Returns how many of `rows` keys the next chunk may have under the rate.
    pub(super) fn cap(&mut self, rows: u32) -> u32 {
        let rate = self.orders.borrow().rate.or(self.defaults.rate);
        self.allowance.set(rate);
        self.allowance.cap(rows)
    }

    /// Owes for rows that were touched.
    pub(super) fn owe(&mut self, rows: u64) {
        self.debt = self.debt.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX));
    }

    /// Pays what is owed, waiting as long as the rate asks for; ends early when there is an order
    /// or a new rate.
    pub(super) async fn pay(&mut self) {
        while self.debt > 0 && self.asked().is_none() {
            let rate = self.orders.borrow().rate.or(self.defaults.rate);
            if rate != self.allowance.rate() {
                self.allowance.set(rate);
            }
            match self.allowance.pay(self.debt) {
                Payment::Paid => self.debt = 0,
                Payment::Wait(wait, debt) => {
                    self.debt = debt;
                    self.wait(wait).await;
                }
            }
        }
    }

    /// Waits for `time`, or until there is something new to know.
    pub(super) async fn wait(&mut self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            _ = self.orders.changed() => {}
            _ = self.leaving.changed() => {}
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

impl Gauge {
    /// Writes what was measured into `pulse`.
    pub(super) fn fill(&self, pulse: &mut Pulse) {
        pulse.rows = self.rows;
        pulse.p50_ms = self.timing.percentile(50);
        pulse.p95_ms = self.timing.percentile(95);
        pulse.looked = self.looked;
        pulse.trouble.clone_from(&self.trouble);
    }
}
