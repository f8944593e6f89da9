//! Keeps the lease of a run whose statements are being run, and hears what people ask meanwhile.
//!
//! A statement may take hours, and nobody else may take the run for dead. What keeps it waiting is stored with the lease,
//! for those who watch.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::gauge::Gauge;
use super::voice::Voice;
use crate::ledger::control::{self, Orders};
use crate::ledger::lease::{self, Holder};
use crate::ledger::snapshot;
use crate::pg::{Database, Fault, Lane};
use crate::run::{Event, Pulse};

/// How often it looks, and renews the lease.
const EVERY: Duration = Duration::from_secs(1);

/// What keeps the lease.
pub(super) struct Keeper {
    pub(super) database: Database,
    pub(super) run: i64,
    pub(super) holder: Holder,
    pub(super) gauge: Arc<Mutex<Gauge>>,
    pub(super) voice: Voice,
    pub(super) orders: watch::Sender<Orders>,
}

impl Keeper {
    /// Works until it is told to stop. Trouble with the database is met again in the next second.
    pub(super) async fn drive(self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            let _ = self.look().await;
            // Nobody is left to stop for when the other end is gone.
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                changed = stop.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn look(&self) -> Result<(), Fault> {
        let mut session = self.database.session(Lane::Watch).await?;
        let trouble = self.gauge.lock().unwrap_or_else(PoisonError::into_inner).trouble.clone();
        let pulse = Pulse { trouble, ..Pulse::default() };
        lease::renew(&mut session, self.run, &self.holder, (&pulse, None, 0)).await?;
        let lease = (self.run, self.holder.token.as_str());
        if let Some(orders) = control::orders(&mut session, lease, false).await? {
            self.orders.send_replace(orders);
        }
        if let Some(snapshot) = snapshot::of_run(&mut session, self.run).await? {
            self.voice.say(Event::Progress(Box::new(snapshot)));
        }
        Ok(())
    }
}
