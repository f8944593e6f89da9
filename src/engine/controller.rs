//! Once a second: orders in, lease and pulse out, and the one picture that everybody is shown.
//!
//! Polling is the truth: there is no second mechanism by which a change arrives. A database that
//! cannot be reached is asked again; meanwhile the worker finds out for itself, and windows open and
//! close by the server's clock as it was last seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tokio::sync::watch;

use super::gauge::Gauge;
use super::pacing::{Paced, Pacing};
use super::steering::Brief;
use super::voice::Voice;
use crate::job::TargetBounds;
use crate::ledger::control::{self, Lead, Orders};
use crate::ledger::lease::{self, Claim, Holder, RENEWAL};
use crate::ledger::partitions::{self, Changed};
use crate::ledger::{journal, snapshot};
use crate::pg::{Database, Fault, Lane, Session};
use crate::run::{
    Event, Held, Intent, Meter, Pace, Phase, Pulse, Snapshot, Status, Turn, as_timestamp,
};
use crate::throttle::{Changes, Shared};

/// How often it looks: what people ask for takes effect within this.
const EVERY: Duration = Duration::from_secs(1);

/// How often it is looked whether partitions came or went; they are looked at before the end, too.
const PARTITIONS: Duration = Duration::from_secs(10);

/// Looks at which a run must have lost the one that led it, before another member does.
const LOOKS: u32 = 4;

/// What of a pulse is shown at once, and not with the next renewal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    held_by: Option<String>,
    is_slowed: bool,
    window: Option<String>,
    is_in_trouble: bool,
    vacuum: Option<String>,
    /// On which server it is known what a commit takes: the others wait for it.
    commit_timeline: Option<String>,
    busy: u32,
}

impl Shown {
    fn of(pulse: &Pulse, busy: u32) -> Shown {
        Shown {
            held_by: pulse.holding.as_ref().map(|holding| holding.by.clone()),
            is_slowed: pulse.slowing.is_some(),
            window: pulse.window.clone(),
            is_in_trouble: pulse.trouble.is_some(),
            vacuum: pulse.vacuum.clone(),
            commit_timeline: pulse.commit_timeline.clone(),
            busy,
        }
    }
}

/// Keeps the lease and reads the orders of one run.
pub(super) struct Controller {
    pub(super) database: Database,
    pub(super) run: i64,
    pub(super) holder: Holder,
    /// Whether the run may go on without this process leading it.
    pub(super) joins: bool,
    /// When it was last looked at the partitions of the table; `None` if it has none.
    pub(super) partitions: Option<Instant>,
    /// Looks in a row at which nobody alive led it.
    pub(super) unled: u32,
    pub(super) gauge: Arc<Mutex<Gauge>>,
    pub(super) voice: Voice,
    pub(super) pacing: Pacing,
    pub(super) brief: watch::Sender<Brief>,
    pub(super) changes: watch::Sender<Changes>,
    /// The names of the signals that are read.
    pub(super) signals: Vec<String>,
    /// Those of them that take no limit.
    pub(super) truths: Vec<String>,
    /// What bounds the time that people may ask of a batch.
    pub(super) target_bounds: TargetBounds,
    /// What the processes of the run have learned from each other.
    pub(super) shared: Shared,
    /// What applies where nobody has changed anything.
    pub(super) base: Map<String, Value>,
    /// What held the run before this process began to work on it.
    pub(super) held_before: Held,
    /// Rows that had been changed by then.
    pub(super) changed_before: u64,
    pub(super) session: Option<Session>,
    pub(super) meter: Meter,
    pub(super) paced: Paced,
    pub(super) renewed: Option<Instant>,
    /// What was shown when the lease was last renewed.
    pub(super) shown: Shown,
    pub(super) measured: Option<Phase>,
    /// What was measured last.
    pub(super) last: Pulse,
}

impl Controller {
    /// Looks until it is told to stop.
    pub(super) async fn drive(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow() {
            if let Err(fault) = self.look().await {
                self.session = None;
                let trouble = fault.message().to_string();
                self.gauge().trouble = Some(trouble);
                let orders = self.brief.borrow().orders.clone();
                self.tell(orders);
            }
            // Only the sleep is raced: a statement is never dropped in the middle.
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                // Whoever was to say so is gone: a lease without a worker is nobody's.
                changed = stop.changed() => if changed.is_err() { break },
            }
        }
        // The sums of the holds must reach the ledger, also those of the last seconds. If they do
        // not, because the connection is gone, the run has ended all the same.
        let session = match self.session.take() {
            Some(session) => Ok(session),
            None => self.database.session(Lane::Watch).await,
        };
        if let Ok(mut session) = session {
            let (base, last) = (self.base.clone(), self.last.clone());
            let last = Pulse { base, holding: None, slowing: None, vacuum: None, ..last };
            let _ = self.write(&mut session, &last).await;
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
        let mut orders = self.orders(&mut session).await?;
        if self.is_to_lead(&orders) && self.take_the_lead(&mut session).await? {
            orders = self.orders(&mut session).await?;
        }
        let found = snapshot::of_run(&mut session, self.run).await?;
        if let Some(found) = &found {
            self.gauge().clock = Some((found.now, Instant::now()));
            self.account(found, orders.leads());
        }
        let has_new_orders = self.tell(orders);
        if let Some(mut snapshot) = found {
            snapshot.pulse = self.measure(&mut snapshot);
            let shown = Shown::of(&snapshot.pulse, self.gauge().busy);
            if has_new_orders || shown != self.shown {
                // Whoever watches sees with the next look that it has arrived.
                self.renewed = None;
                self.shown = shown;
            }
            self.renew(&mut session, &snapshot.pulse).await?;
            self.look_at_partitions(&mut session).await?;
            self.last = snapshot.pulse.clone();
            self.voice.say(Event::Progress(Box::new(snapshot)));
        }
        self.session = Some(session);
        Ok(())
    }

    async fn orders(&self, session: &mut Session) -> Result<Orders, Fault> {
        let lease = (self.run, self.holder.token.as_str());
        let gone =
            Orders { is_ours: false, lead: Lead::Others, ..self.brief.borrow().orders.clone() };
        Ok(control::orders(session, lease, self.joins).await?.unwrap_or(gone))
    }

    async fn look_at_partitions(&mut self, session: &mut Session) -> Result<(), Fault> {
        let is_due = self.partitions.is_some_and(|last| last.elapsed() >= PARTITIONS);
        if is_due && self.brief.borrow().orders.leads() {
            let Changed { attached, detached } = partitions::look(session, self.run).await?;
            self.partitions = Some(Instant::now());
            if !attached.is_empty() || !detached.is_empty() {
                self.voice.say(Event::Partitions { attached, detached });
            }
        }
        Ok(())
    }

    /// Whether the run has lost the one that led it. One that has left has said so; one that seems to
    /// be gone may only have lost a connection, so it is looked at again first.
    fn is_to_lead(&mut self, orders: &Orders) -> bool {
        let may_be_led = self.joins && orders.is_ours && orders.intent == Intent::Run;
        let is_alone = may_be_led && orders.is_unled();
        self.unled = if is_alone { self.unled + 1 } else { 0 };
        let looks = if orders.status == Status::Ready { 1 } else { LOOKS };
        is_alone && self.unled >= looks && !orders.status.is_final()
    }

    async fn take_the_lead(&mut self, session: &mut Session) -> Result<bool, Fault> {
        let claim = lease::claim(session, self.run, &self.holder).await?;
        if let Claim::Ours(Some(from)) = &claim {
            self.voice.say(Event::Takeover { from: from.clone() });
        }
        Ok(matches!(claim, Claim::Ours(_)))
    }

    /// Learns what other processes have done; who leads the run sums up its holds, and goes on from
    /// the sums of whoever led it before.
    fn account(&mut self, found: &Snapshot, leads: bool) {
        self.shared.hear(&found.pulse, leads);
        let mut gauge = self.gauge.lock().unwrap_or_else(PoisonError::into_inner);
        let elsewhere = found.rows.changed.saturating_sub(self.changed_before + gauge.changed);
        // Alone, the difference is a batch that is committed, and whose answer is under way.
        if found.members.len() > 1 {
            gauge.changed_elsewhere = gauge.changed_elsewhere.max(elsewhere);
        }
        if !leads {
            gauge.held = Held::default();
            self.held_before.clone_from(&found.held);
        }
    }

    fn measure(&mut self, snapshot: &mut Snapshot) -> Pulse {
        let mut pulse = Pulse::default();
        self.gauge().fill(&mut pulse);
        if !self.brief.borrow().orders.leads() {
            // Verifying and vacuuming are for the one that leads.
            pulse.looked = snapshot.pulse.looked;
            pulse.vacuum.clone_from(&snapshot.pulse.vacuum);
        }
        // The ledger has what was looked at when the lease was last renewed.
        snapshot.pulse.looked = pulse.looked;
        if self.measured != Some(snapshot.phase) || snapshot.status != Status::Running {
            self.meter.restart();
            self.paced.restart();
        }
        self.measured = Some(snapshot.phase);
        let done = match snapshot.phase {
            // What others have looked at before is not what this process does.
            Phase::Verify => pulse.looked.saturating_sub(self.gauge().looked_before),
            Phase::Backfill | Phase::Expand | Phase::Sync | Phase::Contract | Phase::Down => {
                snapshot.rows.seen + snapshot.rows.swept
            }
        };
        self.meter.observe(snapshot.now, done);
        self.meter.rate(&mut pulse);
        let brief = self.brief.borrow();
        let floor = pulse.holding.as_ref().and_then(|it| it.floor);
        pulse.limit = brief.pace.limit().into_iter().chain(floor).min();
        pulse.window.clone_from(&brief.pace.window);
        pulse.signals.clone_from(&self.signals);
        pulse.truths.clone_from(&self.truths);
        pulse.target_bounds = Some(self.target_bounds);
        self.shared.fill(&mut pulse);
        pulse.base.clone_from(&self.base);
        let speed = self.gauge().speed(snapshot.phase);
        let paced = self.paced.measure(brief.pace.limit(), (snapshot.now, done), &pulse);
        pulse.outlook = self.pacing.outlook(&brief.orders, snapshot, &paced, speed);
        pulse
    }

    async fn renew(&mut self, session: &mut Session, pulse: &Pulse) -> Result<(), Fault> {
        if self.renewed.is_some_and(|at| at.elapsed() < RENEWAL) {
            return Ok(());
        }
        self.write(session, pulse).await?;
        if self.brief.borrow().orders.leads() {
            journal::prune(session, self.run).await?;
        }
        self.renewed = Some(Instant::now());
        Ok(())
    }

    async fn write(&self, session: &mut Session, pulse: &Pulse) -> Result<bool, Fault> {
        let (held, busy) = {
            let gauge = self.gauge();
            (self.held_before.clone().plus(&gauge.held), gauge.busy)
        };
        lease::renew(session, self.run, &self.holder, (pulse, Some(&held), busy)).await
    }

    /// Tells workers and gate what holds from now on; returns whether people asked for something
    /// new.
    fn tell(&mut self, orders: Orders) -> bool {
        let before = self.brief.borrow().clone();
        let since = self.gauge().now();
        let now = as_timestamp(since);
        let brief = Brief {
            pace: self.pacing.at(now, &orders),
            is_time_up: self.pacing.is_time_up(now),
            orders,
        };
        let is_new = brief.orders != before.orders;
        let turn = |was: String, now: String| Turn {
            was: Some(was),
            now,
            limit: brief.pace.limit(),
            since,
        };
        if brief.orders.overrides != before.orders.overrides {
            let (was, now) = (&before.orders.overrides, &brief.orders.overrides);
            self.voice.say(Event::Throttled(turn(was.to_string(), now.to_string())));
        }
        if brief.pace.applies != before.pace.applies {
            let words = |pace: &Pace| pace.window.clone().unwrap_or_else(|| "no windows".into());
            self.voice.say(Event::Window(turn(words(&before.pace), words(&brief.pace))));
        }
        self.changes.send_if_modified(|known| {
            let is_new = *known != brief.orders.overrides.holds;
            known.clone_from(&brief.orders.overrides.holds);
            is_new
        });
        self.brief.send_if_modified(|known| {
            let is_new = *known != brief;
            *known = brief;
            is_new
        });
        is_new
    }

    fn gauge(&self) -> MutexGuard<'_, Gauge> {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
