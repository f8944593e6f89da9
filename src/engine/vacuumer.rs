//! VACUUM beside the walk, so that the next batches reuse the space that the last ones left.
//!
//! It runs when this run has made as many dead rows as the job allows, on a connection of its own,
//! and never in the batch's way: it is cancelled as soon as somebody waits for it, and while the run
//! is held. It does not run behind a pooler, without the privilege, or while an old snapshot keeps
//! everything alive that it could remove; then it says why. Its faults are no faults of the run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::gauge::Gauge;
use super::runner::Runner;
use super::steering::{Brief, Voice};
use crate::job;
use crate::pg::{CancelToken, Database, Fault, Lane};
use crate::plan::Plan;
use crate::run::{Event, Intent, Snapshot, counted};
use crate::vacuum::{self, Vacuum};

/// How often it is looked whether it is time, and whether somebody waits: well below `give_way`.
const EVERY: Duration = Duration::from_millis(50);
/// How long to let others go first after a VACUUM was cancelled or could not run.
const PUT_OFF: Duration = Duration::from_secs(5);
/// Fewer dead rows than this are not worth a look at every index.
const FEWEST: u64 = 1_000;

/// Vacuums the table of one run.
pub(super) struct Vacuumer {
    database: Database,
    plan: Arc<Plan>,
    gauge: Arc<Mutex<Gauge>>,
    voice: Voice,
    brief: watch::Receiver<Brief>,
    /// Dead rows of ours that are enough; `None` if it does not run.
    enough: Option<u64>,
    /// Rows that this process had changed when the last VACUUM began.
    changed: u64,
    /// Everything that died since the last VACUUM is after this.
    mark: Option<String>,
    put_off: Option<(Instant, String)>,
}

impl Vacuumer {
    /// Returns the one for a run in progress.
    pub(super) fn new(
        runner: &Runner,
        is_direct: bool,
        snapshot: &Snapshot,
        brief: watch::Receiver<Brief>,
    ) -> Vacuumer {
        let plan = &runner.plan;
        let enough = match plan.job.pace.vacuum {
            job::Vacuum::Every(percent) if is_direct && plan.can_vacuum => {
                snapshot.total().map(|rows| (rows / 100 * u64::from(percent)).max(FEWEST))
            }
            job::Vacuum::Every(_) | job::Vacuum::Off => None,
        };
        Vacuumer {
            database: runner.database.clone(),
            plan: Arc::clone(plan),
            gauge: Arc::clone(&runner.gauge),
            voice: runner.voice.clone(),
            brief,
            enough,
            changed: 0,
            mark: None,
            put_off: None,
        }
    }

    /// Vacuums whenever it is time, until it is told to stop.
    pub(super) async fn drive(mut self, mut stop: watch::Receiver<bool>) {
        let Some(enough) = self.enough else { return };
        while !*stop.borrow() {
            let dead = self.gauge().changed.saturating_sub(self.changed);
            if self.mark.is_none() || dead >= enough && self.may_run() {
                self.take_turn(dead, &stop).await;
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                _ = stop.changed() => {}
            }
        }
    }

    fn may_run(&self) -> bool {
        let waits = self.put_off.as_ref().is_some_and(|(since, _)| since.elapsed() < PUT_OFF);
        !waits && !self.is_held()
    }

    fn is_held(&self) -> bool {
        self.gauge().holding.is_some() || self.brief.borrow().orders.intent != Intent::Run
    }

    async fn take_turn(&mut self, dead: u64, stop: &watch::Receiver<bool>) {
        let before = self.gauge().changed;
        match self.vacuum(dead, stop).await {
            Ok(None) => (self.changed, self.put_off) = (before, None),
            Ok(Some(why)) => self.put_off(why),
            Err(fault) => self.put_off(fault.message().to_string()),
        }
    }

    fn put_off(&mut self, why: String) {
        let is_new = self.put_off.as_ref().is_none_or(|(_, before)| *before != why);
        self.gauge().vacuum = Some(format!("vacuum put off: {why}"));
        if is_new {
            self.voice.say(Event::VacuumPutOff { why: why.clone() });
        }
        self.put_off = Some((Instant::now(), why));
    }

    /// Vacuums once; returns why not, if it should not run now or did not come to its end.
    async fn vacuum(
        &mut self,
        dead: u64,
        stop: &watch::Receiver<bool>,
    ) -> Result<Option<String>, Fault> {
        let mut session = self.database.session(Lane::Watch).await?;
        let mark = vacuum::mark(&mut session).await?;
        let Some(before) = self.mark.replace(mark) else { return Ok(None) };
        if let Some(who) = vacuum::pinned_by(&mut session, &before).await? {
            self.mark = Some(before);
            return Ok(Some(format!("{who} keeps the old rows alive")));
        }
        drop(session);
        let started = Instant::now();
        self.gauge().vacuum = Some(format!("vacuum of {}", counted(dead, "dead rows")));
        let vacuum = Vacuum::open(&self.database, &self.plan.target.keyset.table).await?;
        let (token, backend) = vacuum.handle();
        let running = tokio::spawn(async move { vacuum.run().await });
        let why = self.watch(running.abort_handle(), &token, backend, stop).await;
        let ended = running.await.unwrap_or(Ok(()));
        self.gauge().vacuum = None;
        if why.is_some() {
            self.mark = Some(before);
            return Ok(why);
        }
        ended?;
        self.voice.say(Event::Vacuumed { took: started.elapsed() });
        Ok(None)
    }

    /// Watches a VACUUM until it ends, or cancels it; returns why it was cancelled.
    async fn watch(
        &self,
        running: tokio::task::AbortHandle,
        token: &CancelToken,
        backend: i64,
        stop: &watch::Receiver<bool>,
    ) -> Option<String> {
        while !running.is_finished() {
            tokio::time::sleep(EVERY).await;
            if let Some(why) = self.reason_to_cancel(backend, stop).await {
                // It may have ended meanwhile; there is nothing more to do then.
                let _ = self.database.cancel(token).await;
                return Some(why);
            }
        }
        None
    }

    async fn reason_to_cancel(&self, backend: i64, stop: &watch::Receiver<bool>) -> Option<String> {
        if *stop.borrow() {
            return Some("the walk has ended".into());
        }
        if self.is_held() {
            return Some("the run is held".into());
        }
        let mut session = self.database.session(Lane::Watch).await.ok()?;
        let waited_for = vacuum::is_waited_for(&mut session, self.plan.target.oid, backend).await;
        (waited_for == Ok(true)).then(|| "somebody waited for a lock on the table".into())
    }

    fn gauge(&self) -> MutexGuard<'_, Gauge> {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
