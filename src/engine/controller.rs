//! Once a second: orders in, lease and pulse out, and the one picture that everybody is shown.
//!
//! Polling is the truth: there is no second mechanism by which a change arrives. A database that
//! cannot be reached is asked again; meanwhile the worker finds out for itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::steering::{Defaults, Gauge, Voice};
use crate::ledger::control::{self, Orders};
use crate::ledger::lease::{self, Holder, RENEWAL};
use crate::ledger::snapshot;
use crate::pg::{Database, Fault, Lane, Session};
use crate::run::{Event, Meter, Phase, Pulse, Snapshot, Status, count};

/// How often it looks: what people ask for takes effect within this.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the lease and reads the orders of one run.
pub(super) struct Controller {
    pub(super) database: Database,
    pub(super) run: i64,
    pub(super) holder: Holder,
    pub(super) gauge: Arc<Mutex<Gauge>>,
    pub(super) voice: Voice,
    pub(super) defaults: Defaults,
    pub(super) orders: watch::Sender<Orders>,
    pub(super) session: Option<Session>,
    pub(super) meter: Meter,
    pub(super) renewed: Option<Instant>,
    pub(super) measured: Option<Phase>,
}

impl Controller {
    /// Looks until it is told to stop.
    pub(super) async fn drive(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(fault) = self.look().await {
                self.session = None;
                let trouble = fault.message().to_string();
                self.gauge().trouble = Some(trouble);
            }
            // Only the sleep is raced: a statement is never dropped in the middle.
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.changed() => {}
            }
        }
    }

    async fn look(&mut self) -> Result<(), Fault> {
        let mut session = if let Some(session) = self.session.take() {
            session
        } else {
            // The backend that stands for us is another one from now on.
            self.renewed = None;
            self.database.session(Lane::Watch).await?
        };
        let orders = control::orders(&mut session, self.run, &self.holder.token).await?;
        let gone = Orders { is_ours: false, ..self.orders.borrow().clone() };
        let orders = orders.unwrap_or(gone);
        if let Some(mut snapshot) = snapshot::of_run(&mut session, self.run).await? {
            snapshot.pulse = self.measure(&snapshot, &orders);
            if *self.orders.borrow() != orders {
                // Whoever gave an order sees with the next look that it has arrived.
                self.renewed = None;
            }
            self.renew(&mut session, &snapshot.pulse).await?;
            self.tell(orders, snapshot);
        } else {
            self.orders.send_replace(orders);
        }
        self.session = Some(session);
        Ok(())
    }

    fn measure(&mut self, snapshot: &Snapshot, orders: &Orders) -> Pulse {
        let mut pulse = Pulse::default();
        self.gauge().fill(&mut pulse);
        if self.measured != Some(snapshot.phase) || snapshot.status != Status::Running {
            self.meter.restart();
        }
        self.measured = Some(snapshot.phase);
        let done = match snapshot.phase {
            Phase::Backfill => snapshot.rows.seen,
            Phase::Verify => pulse.looked,
        };
        self.meter.observe(snapshot.now, done);
        self.meter.rate(&mut pulse);
        pulse.limit = orders.rate.or(self.defaults.rate);
        pulse
    }

    async fn renew(&mut self, session: &mut Session, pulse: &Pulse) -> Result<(), Fault> {
        if self.renewed.is_some_and(|at| at.elapsed() < RENEWAL) {
            return Ok(());
        }
        lease::renew(session, self.run, &self.holder, pulse).await?;
        self.renewed = Some(Instant::now());
        Ok(())
    }

    fn tell(&mut self, orders: Orders, snapshot: Snapshot) {
        let before = self.orders.borrow().clone();
        if (before.rate, before.target_ms) != (orders.rate, orders.target_ms) {
            self.voice.say(Event::Throttled { now: in_words(&orders) });
        }
        self.orders.send_if_modified(|known| {
            let is_new = *known != orders;
            *known = orders;
            is_new
        });
        self.voice.say(Event::Progress(Box::new(snapshot)));
    }

    fn gauge(&self) -> std::sync::MutexGuard<'_, Gauge> {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says the pace that was set from outside.
pub(super) fn in_words(orders: &Orders) -> String {
    let mut words = Vec::new();
    words.extend(orders.rate.map(|rate| format!("rate {} rows/s", count(rate.into()))));
    words.extend(orders.target_ms.map(|target| format!("target {target} ms")));
    if words.is_empty() { "as it was started".into() } else { words.join(", ") }
}
