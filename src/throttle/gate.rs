//! The gate: reads the signals in the background, and says at what speed the walk may go.
//!
//! One task, on a connection of its own, reads one signal at a time, whichever is due the longest.
//! It is never in a worker's way: a [`View`] looks at what was read last. A statement is never
//! dropped in the middle (R21), only sleeps are; a connection that broke is replaced at the next
//! reading. A task that hangs, or is no more, leaves readings that get old, and so holds.
//!
//! Not here: what readings mean (`judge`), and what a hold does to a run (`engine`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Throttler;
use super::ask;
use super::judge::{Changes, Floor, Watched, verdict};
#[cfg(test)]
use super::reading::Unit;
use super::reading::{Blind, Reading, Verdict};
#[cfg(test)]
use crate::job::Limit;
use crate::pg::{Database, Lane};
use crate::run::HoldChange;

/// How long the first readings are waited for. A signal that says nothing until then holds.
const FIRST: Duration = Duration::from_secs(10);

/// How long a reading may go on when the gate is closed, before it is left alone.
const CLOSING: Duration = Duration::from_secs(3);

/// Whoever works asks for a verdict before and after each batch, and again and again while it waits in
/// between. When nobody has for so long, nobody works: longer than most batches.
const AT_REST: Duration = Duration::from_secs(5);

/// A signal, and what goes on while it is above its limit.
pub(crate) struct Guarded {
    /// What reads it.
    pub(crate) throttler: Box<dyn Throttler>,
    /// What goes on above its limit; without one, nothing.
    pub(crate) floor: Option<Floor>,
}

/// Reads signals until it is closed or dropped.
pub(crate) struct Gate {
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
    view: View,
}

/// What a worker sees of the gate.
#[derive(Clone)]
pub(crate) struct View {
    readings: watch::Receiver<Vec<Watched>>,
    changes: watch::Receiver<Changes>,
    /// When somebody asked last.
    asked: Arc<watch::Sender<Instant>>,
}

impl Gate {
    /// Begins to read; returns when everything was read once, or is known not to answer.
    pub(crate) async fn open(
        guarded: Vec<Guarded>,
        database: Database,
        changes: watch::Receiver<Changes>,
    ) -> Gate {
        let now = Instant::now();
        let watch = |guarded: &Guarded| {
            let throttler = &guarded.throttler;
            Watched::new(throttler.name().to_owned(), guarded.floor, throttler.every(), now)
        };
        let watched: Vec<Watched> = guarded.iter().map(watch).collect();
        let (publish, mut readings) = watch::channel(watched.clone());
        let (closing, is_closing) = watch::channel(false);
        let (asks, asked) = watch::channel(now);
        let view =
            View { readings: readings.clone(), changes: changes.clone(), asked: Arc::new(asks) };
        let all = guarded.into_iter().zip(watched);
        let signals = all.map(|(guarded, watched)| Source::new(guarded, watched, now)).collect();
        let reader =
            Reader { signals, database, changes: changes.clone(), is_closing, asked, publish };
        let task = tokio::spawn(reader.run());
        let is_done = |all: &Vec<Watched>| {
            let changes = changes.borrow();
            all.iter().all(|one| one.is_read() || is_off(&changes, &one.name))
        };
        tokio::select! {
            _ = readings.wait_for(is_done) => {}
            () = tokio::time::sleep(FIRST) => {}
        }
        Gate { closing, task, view }
    }

    /// Returns a view, one for each worker.
    pub(crate) fn view(&self) -> View {
        self.view.clone()
    }

    /// Ends the reading; one that takes too long ends by itself.
    pub(crate) async fn close(self) {
        self.closing.send_replace(true);
        tokio::select! {
            _ = self.task => {}
            () = tokio::time::sleep(CLOSING) => {}
        }
    }
}

impl View {
    /// Returns at what speed the walk may go at this moment, or why it is held.
    pub(crate) fn verdict(&mut self, now: Instant) -> Verdict {
        self.asked.send_replace(now);
        let changes = self.changes.borrow_and_update();
        verdict(&self.readings.borrow_and_update(), &changes, now)
    }

    /// Returns a view of signals with these floors, which are called by their numbers, and what tells which parts of
    /// their limits are used up, as if they had been for long.
    #[cfg(test)]
    pub(crate) fn told(floors: &[Option<u32>]) -> (View, impl Fn(&[f64])) {
        let now = Instant::now();
        let of = |(no, floor): (usize, &Option<u32>)| {
            Watched::new(no.to_string(), floor.map(Floor::Rows), super::POLL, now)
        };
        let (publish, readings) = watch::channel(floors.iter().enumerate().map(of).collect());
        let (asks, _) = watch::channel(now);
        let changes = watch::channel(Changes::new()).1;
        let view = View { readings, changes, asked: Arc::new(asks) };
        let tell = move |parts: &[f64]| {
            publish.send_modify(|all: &mut Vec<Watched>| {
                for (watched, part) in all.iter_mut().zip(parts) {
                    let (unit, limit) = (Unit::Things(""), Limit::Number(1.0));
                    watched.settle(Reading::of(*part, unit, limit));
                }
            });
        };
        (view, tell)
    }

    /// Waits for something that the last verdict did not know.
    pub(crate) async fn changed(&mut self) {
        tokio::select! {
            Ok(()) = self.readings.changed() => {}
            Ok(()) = self.changes.changed() => {}
            // Nothing will change but ages, so whoever asks again and again asks calmly.
            else => tokio::time::sleep(super::POLL).await,
        }
    }
}

fn is_off(changes: &Changes, name: &str) -> bool {
    changes.get(name) == Some(&HoldChange::Off)
}

/// How long it is until a signal is read again, where nobody has asked for a verdict for so long.
pub(super) fn pause(throttler: &dyn Throttler, unasked: Duration) -> Duration {
    if unasked > AT_REST { throttler.at_rest() } else { throttler.every() }
}

/// A signal, as the task has it.
struct Source {
    throttler: Box<dyn Throttler>,
    watched: Watched,
    due: Instant,
    /// What people had changed about it when it was read last.
    change: Option<HoldChange>,
}

impl Source {
    fn new(guarded: Guarded, watched: Watched, due: Instant) -> Source {
        Source { throttler: guarded.throttler, watched, due, change: None }
    }

    /// Learns what people change; a new limit may have to be read otherwise, so it is read at once.
    fn learn(&mut self, change: Option<HoldChange>, now: Instant) {
        if change == Some(HoldChange::Off) || self.change == Some(HoldChange::Off) {
            self.watched.forget(now);
            self.throttler.forget();
        }
        let limit = match change {
            Some(HoldChange::Above(limit)) => Some(limit),
            Some(HoldChange::Off) | None => None,
        };
        self.throttler.aim(limit);
        (self.change, self.due) = (change, now);
    }

    async fn read(&mut self, database: &Database) -> Result<Reading, Blind> {
        let session = database.session(Lane::Gate).await;
        let mut session = session.map_err(|fault| {
            Blind::new(format!("the database cannot be reached: {}", ask::blind(&fault).why))
        })?;
        self.throttler.read(&mut session).await
    }
}

/// The task.
struct Reader {
    signals: Vec<Source>,
    database: Database,
    changes: watch::Receiver<Changes>,
    is_closing: watch::Receiver<bool>,
    asked: watch::Receiver<Instant>,
    publish: watch::Sender<Vec<Watched>>,
}

impl Reader {
    async fn run(mut self) {
        while !*self.is_closing.borrow() && self.is_wanted() {
            let now = Instant::now();
            self.learn(now);
            match self.next() {
                Some((at, due)) if due <= now => self.read(at).await,
                next => self.wait(next.map(|(_, due)| due)).await,
            }
        }
    }

    /// Whether somebody still holds the gate or a view.
    fn is_wanted(&self) -> bool {
        self.is_closing.has_changed().is_ok() && !self.publish.is_closed()
    }

    fn learn(&mut self, now: Instant) {
        let changes = self.changes.borrow_and_update().clone();
        for at in 0..self.signals.len() {
            let signal = &mut self.signals[at];
            let change = changes.get(&signal.watched.name).copied();
            if change != signal.change {
                signal.learn(change, now);
                self.publish(at);
            }
        }
    }

    fn publish(&self, at: usize) {
        self.publish.send_modify(|all| {
            if let (Some(place), Some(signal)) = (all.get_mut(at), self.signals.get(at)) {
                *place = signal.watched.clone();
            }
        });
    }

    /// The signal that is due first, of those that count.
    fn next(&self) -> Option<(usize, Instant)> {
        let counts = |signal: &&Source| signal.change != Some(HoldChange::Off);
        let all = self.signals.iter().enumerate().filter(|(_, signal)| counts(signal));
        all.map(|(at, signal)| (at, signal.due)).min_by_key(|(_, due)| *due)
    }

    async fn read(&mut self, at: usize) {
        let Some(signal) = self.signals.get_mut(at) else { return };
        let now = Instant::now();
        let unasked = now.saturating_duration_since(*self.asked.borrow());
        signal.due = now + pause(signal.throttler.as_ref(), unasked);
        let seen = signal.read(&self.database).await;
        let read = Instant::now();
        signal.watched.took(read.saturating_duration_since(now));
        signal.watched.note(seen, signal.change, read);
        self.publish(at);
    }

    async fn wait(&mut self, due: Option<Instant>) {
        // Without any signal that counts, only people change anything.
        let is_due = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = is_due => {}
            _ = self.is_closing.changed() => {}
            Ok(()) = self.changes.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Limit, Signal};
    use crate::throttle::commit_latency::CommitLatency;
    use crate::throttle::shared::Usual;
    use crate::throttle::slot_lag::SlotLag;

    #[test]
    fn what_costs_something_is_read_less_often_while_nobody_works() {
        let name = Signal::CommitLatency.to_string();
        let commits = CommitLatency::new(name, Limit::Never, Usual::default());
        let slots = SlotLag { name: "slot-lag".into(), limit: Limit::Never };
        let (working, resting) = (Duration::from_secs(5), Duration::from_secs(6));
        assert_eq!(pause(&commits, working), Duration::from_millis(100));
        assert_eq!(pause(&commits, resting), Duration::from_secs(2));
        assert_eq!(pause(&slots, resting), pause(&slots, working));
    }
}
