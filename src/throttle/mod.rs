//! What slows a walk down: the rate that people set, and signals of the database.
//!
//! A `Throttler` reads one signal. The gate reads all of them in the background, on a connection
//! of its own, and comes to a `Verdict`: at what share of its speed the walk may go on, or why it
//! is held. A signal that cannot be read is not "fine" (R16). The rate is paid *after* a batch, with
//! the rows that were really touched.

mod rate;
mod reading;

// Each signal, and what it needs.
mod ask;
mod denied;
mod others;
mod active_sessions;
mod archive_backlog;
mod autovacuum;
mod probes;
mod latency;
mod commit_latency;
mod lock_waits;
mod oldest_transaction;
mod query;
mod history;
mod roll;
mod shared;
mod standby;
mod replica_lag;
mod slot_lag;

// All of them together.
mod ease;
mod judge;
mod gate;
mod survey;
mod build;
#[cfg(test)]
mod noise;
#[cfg(test)]
mod signal_tests;

use std::time::Duration;

use futures_util::future::BoxFuture;

pub(crate) use build::throttlers;
pub(crate) use gate::{Gate, Guarded, View};
pub(crate) use judge::Changes;
pub(crate) use others::Others;
pub use rate::Allowance;
pub(crate) use reading::{Blind, Cause, Reading, Trickle, Verdict};
pub(crate) use shared::Shared;
pub(crate) use survey::survey_in;
pub use survey::{Origin, State, Survey, Surveyed, survey};

use crate::job::Limit;
use crate::pg::Session;

/// How often a signal is read.
pub(crate) const POLL: Duration = Duration::from_secs(1);

/// Reads one signal of the database.
pub(crate) trait Throttler: Send {
    /// How it is called in output, unique within a run.
    fn name(&self) -> &str;

    /// How often it is read.
    fn every(&self) -> Duration {
        POLL
    }

    /// How often it is read while nobody asks how fast to go: through a window that pauses, or a pause.
    fn at_rest(&self) -> Duration {
        self.every()
    }

    /// Learns which limit people set, or that it is its own again; for what is read otherwise by the
    /// kind of its limit. The gate compares in any case.
    fn aim(&mut self, _limit: Option<Limit>) {}

    /// Learns that people have switched it off: what it misses, they know of.
    fn forget(&mut self) {}

    /// Reads it once, in transactions that end at once and change no data.
    ///
    /// # Errors
    /// Why it could not be read, and what would let it be. The gate then holds the run.
    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>>;
}
