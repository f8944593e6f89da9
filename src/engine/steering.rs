//! What a worker is told: orders and pace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::gauge::Gauge;
use super::stride::{Admitted, Portion, Stride};
use super::voice::Voice;
use super::worker::Stop;
use crate::job::ROOM;
use crate::ledger::control::Orders;
use crate::plan::READS_PER_WRITE;
use crate::run::{Event, Intent, Pace};
use crate::throttle::View;

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
    /// Fewer workers are wanted, or another one has met something that stops all of them.
    ToStepBack,
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

/// What a worker, or the verifier, is steered by.
pub(super) struct Steering {
    pub(super) brief: watch::Receiver<Brief>,
    pub(super) leaving: watch::Receiver<bool>,
    pub(super) gauge: Arc<Mutex<Gauge>>,
    pub(super) voice: Voice,
    /// Which worker of this process it is, from 0.
    no: u32,
    /// Whether another worker has met something that stops all of them.
    halted: Option<watch::Receiver<bool>>,
    gate: Option<View>,
    stride: Arc<Mutex<Stride>>,
    /// Since when the batch that is going to be paid for has been under way.
    began: Instant,
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
        let stride = Stride::new(Arc::clone(&gauge), voice.clone());
        Steering {
            brief,
            leaving,
            gauge,
            voice,
            no: 0,
            halted: None,
            gate: None,
            stride: Arc::new(Mutex::new(stride)),
            began: Instant::now(),
            share: 1.0,
        }
    }

    /// Obeys the signals of `gate`, and gives up when they hold for longer than `max_hold`.
    #[must_use]
    pub(super) fn held_by(mut self, gate: View, max_hold: Duration) -> Steering {
        self.stride().obey(gate.clone(), max_hold);
        self.gate = Some(gate);
        self
    }

    /// Returns the steering of one of several workers, who keep to one rate and one hold together.
    pub(super) fn of_worker(&self, no: u32, halted: watch::Receiver<bool>) -> Steering {
        Steering {
            brief: self.brief.clone(),
            leaving: self.leaving.clone(),
            gauge: Arc::clone(&self.gauge),
            voice: self.voice.clone(),
            no,
            halted: Some(halted),
            gate: self.gate.clone(),
            stride: Arc::clone(&self.stride),
            began: Instant::now(),
            share: 1.0,
        }
    }

    /// Returns how long trouble may last before the run is left.
    pub(super) fn max_hold(&self) -> Duration {
        self.stride().max_hold()
    }

    /// Returns for how long nothing has got better for one who is in trouble `since` then, or from now on.
    pub(super) fn stuck_for(&self, since: &mut Option<Instant>) -> Duration {
        self.stuck(*since.get_or_insert_with(Instant::now)).elapsed()
    }

    /// Returns since when nothing gets better for one who is in trouble `since` then: as long as another worker of
    /// this process gets on, what stands in its way is its own, and no reason to leave the run.
    pub(super) fn stuck(&self, since: Instant) -> Instant {
        let gauge = self.gauge.lock().unwrap_or_else(PoisonError::into_inner);
        gauge.got_on.map_or(since, |last| last.max(since))
    }

    /// Returns the worker's number.
    pub(super) fn no(&self) -> u32 {
        self.no
    }

    /// Whether fewer workers are wanted.
    pub(super) fn is_spare(&self) -> bool {
        self.no >= self.brief.borrow().pace.workers
    }

    fn stride(&self) -> MutexGuard<'_, Stride> {
        self.stride.lock().unwrap_or_else(PoisonError::into_inner)
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
        if brief.is_time_up {
            return Some(Asked::TimeUp);
        }
        let is_halted = self.halted.as_ref().is_some_and(|halted| *halted.borrow());
        (is_halted || self.no >= brief.pace.workers).then_some(Asked::ToStepBack)
    }

    /// Whether nothing slows the run down: neither a rate nor a signal.
    pub(super) fn is_free(&self) -> bool {
        let has_rate = self.brief.borrow().pace.rate.is_some();
        self.share >= 1.0 && !has_rate && !self.stride().is_trickling()
    }

    /// Returns the time that the next batch or window should take: what somebody has said, else what the
    /// job says, and less where that would hardly end before `give_way`, or signals slow the run down.
    pub(super) fn time(&self, of_job: Duration, give_way: Duration) -> Duration {
        let target = self.brief.borrow().pace.target.unwrap_or(of_job);
        // As long as `give_way` is allowed, and more may have been asked for while nobody could say that it is too long.
        target.min(give_way.mul_f64(ROOM)).mul_f64(self.briefness())
    }

    /// Returns how many of `rows` keys the next chunk may have under the rate.
    pub(super) fn cap(&mut self, rows: u32) -> u32 {
        let portion = self.portion();
        self.stride().cap(rows, portion)
    }

    fn portion(&self) -> Portion {
        let busy = self.gauge.lock().unwrap_or_else(PoisonError::into_inner).busy.max(1);
        let brief = self.brief.borrow();
        let all = f64::from(busy) + f64::from(brief.orders.others);
        Portion { rate: brief.pace.rate.map(f64::from), part: f64::from(busy) / all, busy }
    }

    /// Whether no other worker walks the same run.
    pub(super) fn is_alone(&self) -> bool {
        let portion = self.portion();
        portion.busy == 1 && portion.part >= 1.0
    }

    /// Waits until the next batch may begin: until no window and no signal holds the run. A hold
    /// with a floor lets it begin.
    ///
    /// # Errors
    /// Why to stop instead.
    pub(super) async fn admit(&mut self) -> Result<(), Stop> {
        loop {
            if let Some(asked) = self.asked() {
                return Err(Stop::Asked(asked));
            }
            match self.judge() {
                Admitted::Yes if self.stands_aside() => self.stand_aside().await,
                Admitted::Yes => break,
                Admitted::NotNow => self.wait(RECHECK).await,
                Admitted::Never(reason) => return Err(Stop::HeldTooLong(reason)),
            }
        }
        self.began = Instant::now();
        Ok(())
    }

    /// Learns what windows and signals say now, and lets whoever looks at this process see it.
    fn judge(&mut self) -> Admitted {
        let pace = self.brief.borrow().pace.clone();
        let admitted = self.stride().admits(pace);
        if admitted == Admitted::Yes {
            self.take_share();
        }
        admitted
    }

    /// Waits for `time` without anything to do. What holds or slows the others down is judged all the same: of all
    /// processes only the one that leads tells of it, and that may be this one.
    ///
    /// # Errors
    /// That signals have let nothing through for too long.
    pub(super) async fn idle(&mut self, time: Duration) -> Result<(), Stop> {
        let since = Instant::now();
        while let Some(left) = time.checked_sub(since.elapsed())
            && self.asked().is_none()
        {
            if let Admitted::Never(reason) = self.judge() {
                return Err(Stop::HeldTooLong(reason));
            }
            self.wait(left).await;
        }
        Ok(())
    }

    /// Whether the VACUUM beside the walk has the place of this worker.
    fn stands_aside(&self) -> bool {
        let until = self.gauge.lock().unwrap_or_else(PoisonError::into_inner).aside_until;
        let is_first = self.no == 0 && self.halted.is_some();
        is_first && until.is_some_and(|until| Instant::now() < until)
    }

    async fn stand_aside(&mut self) {
        let since = Instant::now();
        self.sleep_or_order(ASIDE).await;
        let lost = since.elapsed() / self.portion().busy;
        self.note(|gauge| gauge.held.slow("vacuum", lost));
    }

    /// Owes for rows that were touched.
    pub(super) fn owe(&mut self, rows: u64) {
        let portion = self.portion();
        self.stride().owe(rows, portion);
    }

    /// The same for rows that were only read; as for all rows, a second's worth is all that is ever owed, so that
    /// a low rate makes a verification slow, and not endless.
    pub(super) fn owe_reads(&mut self, rows: u64) {
        self.owe(rows.div_ceil(READS_PER_WRITE.into()));
    }

    /// Pays what is owed, waiting as long as the rate asks for, and as much longer as a signal that
    /// comes near its limit asks for; ends early when there is an order.
    pub(super) async fn pay(&mut self) {
        let worked = self.began.elapsed();
        let mut slowed_by = self.take_share();
        while self.asked().is_none() {
            let portion = self.portion();
            let Some(wait) = self.stride().due(portion) else { break };
            self.wait(wait).await;
            slowed_by = self.take_share();
        }
        if let Some(by) = slowed_by {
            self.slow_down(worked, by).await;
        }
    }

    /// Returns the share of a batch's usual time that the next one should take: where signals slow the
    /// run down, batches become shorter, and not only rarer, since what they hold up comes in bursts.
    fn briefness(&self) -> f64 {
        self.share.max(BRIEFEST)
    }

    /// Learns the share of its speed that the gate gives the run; returns by what it is slowed down.
    fn take_share(&mut self) -> Option<String> {
        let (share, slowed_by) = self.stride().take_share();
        self.share = share;
        slowed_by
    }

    /// Lets the time from batch to batch grow after one that took `worked`, so that the speed is the
    /// share that the gate gives, which may be another one meanwhile. The rate has been scaled already.
    async fn slow_down(&mut self, worked: Duration, by: String) {
        let spent = self.began.elapsed();
        // The rest is what the rate asks for.
        let slowed = spent.mul_f64(1.0 - self.share).min(spent.saturating_sub(worked));
        self.note_slowed(&by, slowed);
        let mut slowed_by = Some(by);
        while let Some(by) = slowed_by
            && let Some(left) = worked.div_f64(self.share).checked_sub(self.began.elapsed())
            && self.may_wait()
        {
            let since = Instant::now();
            self.sleep_or_order(left.min(RECHECK)).await;
            self.note_slowed(&by, since.elapsed());
            slowed_by = self.take_share();
        }
    }

    /// Whether neither an order nor a window makes an end to a wait for the sake of a share.
    fn may_wait(&self) -> bool {
        self.asked().is_none() && !self.brief.borrow().pace.is_closed
    }

    /// Sums up time by which `by` slowed this worker down.
    fn note_slowed(&self, by: &str, time: Duration) {
        // What goes by in a hold with a floor is summed up as that.
        if self.stride().is_trickling() {
            return;
        }
        // Of several workers each is slowed down, and the run as long as one of them.
        let time = time / self.portion().busy;
        self.note(|gauge| gauge.held.slow(by, time));
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
            () = changed(&mut self.halted) => {}
        }
    }

    /// Waits for `time` after a fault, whatever the signals say meanwhile. Of what people say, only a
    /// reason to stop ends it: a new pace makes nothing better.
    pub(super) async fn back_off(&mut self, time: Duration) {
        let since = Instant::now();
        while let Some(left) = time.checked_sub(since.elapsed())
            && self.asked().is_none()
        {
            self.sleep_or_order(left).await;
        }
    }

    async fn sleep_or_order(&mut self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            Ok(()) = self.brief.changed() => {}
            Ok(()) = self.leaving.changed() => {}
            () = changed(&mut self.halted) => {}
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

/// Waits until the worker is halted; for ever if it is one that cannot be.
async fn changed(halted: &mut Option<watch::Receiver<bool>>) {
    let is_known = match halted {
        Some(halted) => halted.changed().await.is_ok(),
        None => false,
    };
    if !is_known {
        std::future::pending::<()>().await;
    }
}

/// How often it is looked whether a hold is over, should nothing else say so, or a share another one.
const RECHECK: Duration = Duration::from_millis(250);
/// How often a worker that stands aside looks whether it has its place again.
const ASIDE: Duration = Duration::from_millis(10);
/// The smallest part of its time that a batch is left with: shorter ones mostly begin and end.
const BRIEFEST: f64 = 0.25;

#[cfg(test)]
#[path = "steering_tests.rs"]
pub(super) mod tests;
