//! What a caller holds of a run in progress: its events, its end, and the way to leave it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
    /// Stop, resumable, after so long.
    pub max_runtime: Option<Duration>,
    /// Stop, resumable, at this instant of the server's clock.
    pub until: Option<Timestamp>,
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
            max_runtime: None,
            until: None,
            actor,
        }
    }
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
