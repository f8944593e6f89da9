//! What a caller holds of a run in progress: its events, its end, and the way to leave it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::gauge::Gauge;
use super::voice::{Listener, WeakVoice};
use crate::error::{Error, ErrorKind};
use crate::ledger::Actor;
use crate::pg::Database;
use crate::run::{Event, Snapshot};

/// How this process works on a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stop, resumable, after so many changed rows.
    pub limit: Option<u64>,
    /// Rows per second, instead of the job's.
    pub rate: Option<u32>,
    /// Time of a batch, instead of the job's.
    pub target: Option<Duration>,
    /// Ranges that this process walks side by side, instead of the job's.
    pub workers: Option<u32>,
    /// Help a run that another process leads, instead of leaving it to that; without one, lead it.
    pub joins: bool,
    /// This process has begun the run, or its walk: one that leads it has come in between, and is helped.
    pub has_begun: bool,
    /// Stop, resumable, when this is up.
    pub term: Term,
    /// Who starts it, for the journal.
    pub actor: Actor,
}

impl Options {
    /// Returns options that leave everything to the job.
    pub fn new(actor: Actor) -> Options {
        Options {
            limit: None,
            rate: None,
            target: None,
            workers: None,
            joins: false,
            has_begun: false,
            term: Term::default(),
            actor,
        }
    }

    /// Whether another process that leads the run is helped.
    pub(super) fn helps(&self) -> bool {
        self.joins || self.has_begun
    }
}

/// The time that a process is given, for all that it works on: until whichever comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Term {
    /// An instant of the server's clock.
    pub until: Option<Timestamp>,
    /// One by the time that goes by here.
    pub deadline: Option<Instant>,
}

impl Term {
    /// Whether it is up, if the server's clock shows `now`.
    pub fn is_up(self, now: Timestamp) -> bool {
        self.ends(now).is_some_and(|end| end <= Instant::now())
    }

    /// Returns its end by the time that goes by here, if the server's clock shows `now`.
    pub fn ends(self, now: Timestamp) -> Option<Instant> {
        // What is over ends now.
        let left = |until: Timestamp| Duration::try_from(until.duration_since(now)).ok();
        let until = self.until.map(|until| Instant::now() + left(until).unwrap_or_default());
        until.into_iter().chain(self.deadline).min()
    }
}

/// How it ends for a process that waits for others, if it is not to wait any longer.
pub(super) fn leaves(leaving: &watch::Receiver<bool>, deadline: Option<Instant>) -> Option<Ending> {
    let is_time_up = deadline.is_some_and(|at| at <= Instant::now());
    let time_up = is_time_up.then_some(Ending::TimeUp);
    if *leaving.borrow() { Some(Ending::Left) } else { time_up }
}

/// How it ended without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Done and verified.
    Succeeded,
    /// It had changed as many rows as it may.
    Limit,
    /// The time that it was given was over.
    TimeUp,
    /// A signal held it for longer than it may; what it said, as in `replica-lag 7.2s > 5s`.
    Held(String),
    /// It was told to leave.
    Left,
    /// Somebody cancelled it.
    Cancelled,
}

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// The committed state at the end.
    pub snapshot: Snapshot,
}

/// A run in progress.
pub struct Handle {
    pub(super) events: Listener,
    pub(super) leaver: Leaver,
    pub(super) task: JoinHandle<Result<Report, Error>>,
}

/// Lets a run be left from another task.
#[derive(Clone)]
pub struct Leaver {
    pub(super) leave: watch::Sender<bool>,
    /// Weak, so that the events end with the run, and not with whoever could end it.
    pub(super) voice: WeakVoice,
    pub(super) gauge: Arc<Mutex<Gauge>>,
    pub(super) database: Database,
}

impl Handle {
    /// Returns what happened next; `None` when the run is over. Who asks too seldom loses progress, and is told
    /// when it was more than that.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.next().await
    }

    /// Returns what lets another task leave the run.
    pub fn leaver(&self) -> Leaver {
        self.leaver.clone()
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// Why it stopped before its end: a bad row, rows that verification found, another owner, a
    /// database that cannot be reached.
    pub async fn join(self) -> Result<Report, Error> {
        drop(self.events);
        self.task.await.unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Unexpected, "panic", "the engine stopped")
                .because(error.to_string()))
        })
    }
}

impl Leaver {
    /// Lets the current batch end, saves, and leaves; the run can be continued.
    pub fn leave(&self) {
        if !self.leave.send_replace(true)
            && let Some(voice) = self.voice.upgrade()
        {
            voice.say(Event::Leaving);
        }
    }

    /// Ends the statement that is running now, too.
    pub async fn leave_at_once(&self) {
        self.leave();
        let tokens = self.gauge.lock().unwrap_or_else(PoisonError::into_inner).cancel.clone();
        let cancels = tokens.values().map(|token| self.database.cancel(token));
        // The statements may have ended meanwhile; there is nothing more to do then.
        let _ = join_all(cancels).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_up_when_the_first_of_its_ends_has_come() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |seconds| Some(now + jiff::SignedDuration::from_secs(seconds));
        let (come, to_come) = (Instant::now(), Instant::now() + Duration::from_mins(1));
        for (until, deadline, is_up) in [
            (None, None, false),
            (at(-1), None, true),
            (at(0), None, true),
            (at(1), None, false),
            (at(1), Some(to_come), false),
            (at(1), Some(come), true),
            (at(0), Some(to_come), true),
        ] {
            let term = Term { until, deadline };
            assert_eq!(term.is_up(now), is_up, "{term:?}");
        }
        let term = Term { until: at(3_600), deadline: Some(to_come) };
        assert_eq!(term.ends(now), Some(to_come));
    }
}
