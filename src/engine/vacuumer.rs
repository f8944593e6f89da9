//! VACUUM beside the walk, so that the next batches reuse the space that the last ones left.
//!
//! It runs on a connection of its own, and never in the batch's way: it is cancelled as soon as
//! somebody waits for it, while the run is held, or, once, when a signal is above its limit. Where others are
//! at work it takes the place of a worker: two of us at once are what they feel. It begins when half of the dead
//! rows are there that the job allows, so that the others may come while it runs. It does not run behind a pooler,
//! without the privilege, or while an old snapshot keeps everything alive that it could remove; then
//! it says why. Its faults are no faults of the run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::gauge::Gauge;
use super::runner::Runner;
use super::steering::Brief;
use super::vacuum_cost::{Cost, Stretch, Walked};
use super::voice::Voice;
use crate::change::{self, Waiters};
use crate::pg::{CancelToken, Database, Fault, Lane, Overdue};
use crate::plan::Plan;
use crate::run::{Event, Intent, Slowing, Snapshot, counted};
use crate::throttle::Others;
use crate::vacuum::{self, Vacuum};

/// How often it is looked whether it is time, and whether somebody waits: well below `give_way`.
const EVERY: Duration = Duration::from_millis(50);
/// How long to let others go first after a VACUUM was cancelled or could not run.
const PUT_OFF: Duration = Duration::from_secs(5);
/// How long a VACUUM may take to end when it is cancelled.
const ENDING: Duration = Duration::from_secs(3);
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
    /// Dead rows that the run had made when the last VACUUM began.
    dead: u64,
    /// What was done since it ended.
    walked: Walked,
    cost: Cost,
    /// Everything that died since the last VACUUM is after this.
    mark: Option<String>,
    others: Others,
    put_off: Option<(Instant, String)>,
    /// Whether the last one was ended before it was done. The next is not ended for a signal: what that sees may be
    /// the VACUUM itself, and then none would ever be done.
    gave_way: bool,
}

/// What came of a turn.
enum Turn {
    Done,
    /// Why not; whether people should know.
    PutOff(String, bool),
}

impl Vacuumer {
    /// Returns the one for a run in progress.
    pub(super) fn new(
        runner: &Runner,
        snapshot: &Snapshot,
        brief: watch::Receiver<Brief>,
    ) -> Vacuumer {
        let plan = &runner.plan;
        let enough = plan
            .vacuum_percent()
            .zip(snapshot.keys())
            .map(|(percent, rows)| (rows / 200 * u64::from(percent)).max(FEWEST));
        Vacuumer {
            database: runner.database.clone(),
            plan: Arc::clone(plan),
            gauge: Arc::clone(&runner.gauge),
            voice: runner.voice.clone(),
            brief,
            enough,
            dead: 0,
            walked: Walked::from(0, Instant::now()),
            cost: Cost::default(),
            mark: None,
            others: Others::since(Instant::now()),
            put_off: None,
            gave_way: false,
        }
    }

    /// Vacuums whenever it is time, until it is told to stop.
    pub(super) async fn drive(mut self, mut stop: watch::Receiver<bool>) {
        let Some(enough) = self.enough else { return };
        while !*stop.borrow() {
            self.look();
            let dead = self.gauge().dead().saturating_sub(self.dead);
            let is_time = self.mark.is_none() || dead >= enough && self.may_run();
            if is_time && !self.waits() {
                self.take_turn(dead, &stop).await;
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                changed = stop.changed() => if changed.is_err() { return },
            }
        }
    }

    fn look(&mut self) {
        let (is_held, rows) = (self.is_held(), self.gauge().changed);
        self.walked.look(is_held, rows, Instant::now());
    }

    fn waits(&self) -> bool {
        self.put_off.as_ref().is_some_and(|(since, _)| since.elapsed() < PUT_OFF)
    }

    fn may_run(&self) -> bool {
        !self.is_held()
            && self.brief.borrow().orders.leads()
            && self.cost.allows(self.walked.stretch.time)
    }

    fn is_held(&self) -> bool {
        self.gauge().holding.is_some() || self.brief.borrow().orders.intent != Intent::Run
    }

    /// Says what is above its limit although it holds nothing.
    fn too_much(&self) -> Option<String> {
        let slowing = self.gauge().slowing.clone().filter(Slowing::is_above)?;
        Some(format!("{} is above its limit", slowing.by))
    }

    async fn take_turn(&mut self, dead: u64, stop: &watch::Receiver<bool>) {
        let before = self.gauge().dead();
        let turn = self.vacuum(dead, stop).await;
        match turn.unwrap_or_else(|fault| Turn::PutOff(fault.message().to_string(), true)) {
            Turn::Done => (self.dead, self.put_off) = (before, None),
            Turn::PutOff(why, is_told) => self.put_off(why, is_told),
        }
    }

    fn put_off(&mut self, why: String, is_told: bool) {
        let is_new = self.put_off.as_ref().is_none_or(|(_, before)| *before != why);
        if is_told {
            self.gauge().vacuum = Some(format!("vacuum put off: {why}"));
        }
        if is_told && is_new {
            self.voice.say(Event::VacuumPutOff { why: why.clone() });
        }
        self.put_off = Some((Instant::now(), why));
    }

    /// Vacuums once, if there is no reason against it now.
    async fn vacuum(&mut self, dead: u64, stop: &watch::Receiver<bool>) -> Result<Turn, Fault> {
        let mut session = self.database.session(Lane::Watch).await?;
        let mark = vacuum::mark(&mut session).await?;
        // The first turn only notes where the walk begins.
        let Some(before) = self.mark.clone() else {
            self.mark = Some(mark);
            return Ok(Turn::Done);
        };
        if let Some(why) = self.too_much() {
            return Ok(Turn::PutOff(why, true));
        }
        if let Some(who) = vacuum::pinned_by(&mut session, &before).await? {
            return Ok(Turn::PutOff(format!("{who} keeps the old rows alive"), true));
        }
        if let Some(who) = vacuum::locked_by(&mut session, self.plan.target.oid).await? {
            return Ok(Turn::PutOff(format!("{who} holds a lock that it needs"), true));
        }
        // A rate says how much of the server the run may take. Who cannot be seen may be there.
        let has_rate = self.brief.borrow().pace.rate.is_some();
        let is_aside = !has_rate && self.others.are_at_work(&mut session).await.unwrap_or(true);
        drop(session);
        self.show(dead, is_aside);
        self.look();
        let (_, began) = self.walked.seen;
        let done = self.run(stop, is_aside).await;
        let mut gauge = self.gauge();
        (gauge.vacuum, gauge.aside_until) = (None, None);
        drop(gauge);
        self.account();
        let turn = done?;
        self.gave_way = matches!(turn, Turn::PutOff(..));
        if matches!(turn, Turn::Done) {
            self.mark = Some(mark);
            self.voice.say(Event::Vacuumed { took: began.elapsed() });
        }
        Ok(turn)
    }

    fn show(&self, dead: u64, is_aside: bool) {
        let aside = if is_aside { ", which a worker stands aside for" } else { "" };
        self.gauge().vacuum = Some(format!("vacuum of {}{aside}", counted(dead, "dead rows")));
    }

    async fn run(&self, stop: &watch::Receiver<bool>, is_aside: bool) -> Result<Turn, Fault> {
        let vacuum = Vacuum::open(&self.database, &self.plan.target.keyset.table).await?;
        let patience = self.cost.patience(self.walked.stretch.time);
        self.gauge().aside_until = is_aside.then(|| Instant::now() + patience);
        let (token, overdue) = vacuum.handle();
        let running = tokio::spawn(async move { vacuum.run().await });
        let cancelled = self.watch(&running.abort_handle(), &token, overdue, stop).await;
        let ended = running.await;
        match (cancelled, ended) {
            (Some(turn), _) => Ok(turn),
            (None, Ok(ended)) => ended.map(|()| Turn::Done),
            (None, Err(_)) => Ok(Turn::PutOff("its task has failed".into(), true)),
        }
    }

    /// Learns what it cost the walk.
    fn account(&mut self) {
        let (before, began) = self.walked.seen;
        let (rows, now) = (self.gauge().changed, Instant::now());
        let with = Stretch { rows: rows - before, time: now - began };
        self.cost.learn(self.walked.stretch, with);
        self.walked = Walked::from(rows, now);
    }

    /// Watches a VACUUM until it ends, or cancels it and returns why.
    async fn watch(
        &self,
        running: &AbortHandle,
        token: &CancelToken,
        mut overdue: Overdue,
        stop: &watch::Receiver<bool>,
    ) -> Option<Turn> {
        while !running.is_finished() {
            tokio::time::sleep(EVERY).await;
            if let Some(why) = self.reason_to_cancel(&mut overdue, stop).await {
                self.end(running, token).await;
                return Some(why);
            }
        }
        None
    }

    /// Cancels until it has ended: one that comes between two statements is lost. A server that does
    /// not answer is left alone with it, so that the run can end.
    async fn end(&self, running: &AbortHandle, token: &CancelToken) {
        let since = Instant::now();
        while !running.is_finished() && since.elapsed() < ENDING {
            let _ = self.database.cancel(token).await;
            tokio::time::sleep(EVERY).await;
        }
        running.abort();
    }

    async fn reason_to_cancel(
        &self,
        overdue: &mut Overdue,
        stop: &watch::Receiver<bool>,
    ) -> Option<Turn> {
        if *stop.borrow() || self.is_held() {
            return Some(Turn::PutOff("the walk stands still".into(), false));
        }
        if let Some(why) = self.too_much().filter(|_| !self.gave_way) {
            return Some(Turn::PutOff(why, true));
        }
        let mut session = self.database.session(Lane::Watch).await.ok()?;
        overdue.look(&mut session).await;
        change::waited_for_by(&mut session, overdue.backend, Waiters::All).await.ok()??;
        Some(Turn::PutOff("somebody waited for a lock on the table".into(), true))
    }

    fn gauge(&self) -> MutexGuard<'_, Gauge> {
        self.gauge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
