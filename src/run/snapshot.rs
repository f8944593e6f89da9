//! Everything that is shown about a run, read from the ledger in one statement.
//!
//! Bar, lines, `status`, `watch` and JSON all render this, so they cannot disagree (R26).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Failure;
use super::figures::counted;
use super::holding::Held;
use super::pending::Pending;
use super::progress::{Eta, Pulse, fraction};
use super::status::{Intent, Phase, Shown, Status, shown};

/// Who works on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The name of the host.
    pub host: String,
    /// The process.
    pub pid: i64,
    /// Whether its lease is alive by the server's clock.
    pub is_live: bool,
}

/// A process that works on a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The name of the host.
    pub host: String,
    /// The process.
    pub pid: i64,
    /// How many of its workers walk a range.
    pub workers: u32,
    /// Whether its lease is alive by the server's clock.
    pub live: bool,
    /// Whether it leads the run.
    pub leads: bool,
}

/// Counts over all ranges of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rows {
    /// Keys that the walk has passed.
    pub seen: u64,
    /// Keys that sweeps have passed after it.
    pub swept: u64,
    /// Rows that were to be done.
    pub matched: u64,
    /// Rows rewritten.
    pub changed: u64,
    /// Rows left as they are.
    pub unchanged: u64,
    /// Rows recorded instead of written.
    pub quarantined: u64,
    /// Those of them that somebody has accepted as they are.
    pub skipped: u64,
    /// Rows for which `where` was still true after the change.
    pub still: u64,
}

/// A run at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The job's name.
    pub job: String,
    /// The run's number.
    pub run: i64,
    /// How far it is.
    pub phase: Phase,
    /// What happened.
    pub status: Status,
    /// What people want.
    pub intent: Intent,
    /// Why it is as it is, if there is a reason.
    pub reason: Option<String>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// Since when, by the server's clock (RFC 3339).
    pub since: String,
    /// Counts of the committed batches.
    pub rows: Rows,
    /// The rows that the table had at the start, as far as is known; an estimate.
    pub total: Option<u64>,
    /// Committed batches.
    pub batches: u64,
    /// Batches that were tried again.
    pub retries: u64,
    /// The sweep that goes on; 0 for the walk itself.
    pub pass: u64,
    /// Ranges, and how many of them are at their end.
    pub ranges: (u64, u64),
    /// Ranges beside them that are not at their end: of a sweep, or of rows that are tried again.
    pub sweeps: u64,
    /// What the owner last measured.
    pub pulse: Pulse,
    /// Who leads it.
    pub owner: Option<Owner>,
    /// Every process that works on it, in the order in which they joined.
    pub members: Vec<Member>,
    /// How it was verified: `rows` or `books`.
    pub verified: Option<String>,
    /// Rows that the verification looked at, and how long it took in seconds.
    pub looked: Option<(u64, f64)>,
    /// What held and slowed it, up to now.
    pub held: Held,
    /// Seconds from start to end, or to now.
    pub elapsed: f64,
    /// When it was started (RFC 3339).
    pub started_at: Option<String>,
    /// When it was last written (RFC 3339).
    pub updated_at: String,
    /// The server's clock, in seconds since 1970.
    pub now: f64,
    /// Whether the job has a `where`.
    pub has_where: bool,
    /// Whether the job has an `expect`.
    pub has_expect: bool,
    /// Whether the job takes something away in the end.
    pub contracts: bool,
    /// Statements run in the phase that the run is in.
    pub steps: u64,
    /// The job's definition, as it was when the run began.
    pub fingerprint: String,
}

impl Rows {
    /// Returns how many rows are in quarantine and wait for somebody.
    pub fn waiting(&self) -> u64 {
        self.quarantined.saturating_sub(self.skipped)
    }
}

impl Snapshot {
    /// Returns how many workers walk a range, in all processes.
    pub fn workers(&self) -> u32 {
        self.members.iter().filter(|member| member.live).map(|member| member.workers).sum()
    }

    /// Returns what people are shown.
    pub fn shown(&self) -> Shown {
        match (self.status, self.phase) {
            (Status::Succeeded, Phase::Contract) => return Shown::Contracted,
            (Status::Succeeded, Phase::Down) => return Shown::Undone,
            (Status::Succeeded, _) if self.contracts => return Shown::Verified,
            _ => {}
        }
        let is_live = self.owner.as_ref().is_some_and(|owner| owner.is_live);
        shown(self.status, self.intent, is_live, self.pulse.holding.is_some())
    }

    /// Whether the phase that the run is in is one of statements, and not of rows.
    pub fn is_of_statements(&self) -> bool {
        matches!(self.phase, Phase::Expand | Phase::Sync | Phase::Contract | Phase::Down)
    }

    /// Returns the rows that the phase the run is in has passed.
    pub fn done(&self) -> u64 {
        match (self.phase, self.looked) {
            (Phase::Backfill, _) if self.is_sweeping() => self.rows.swept,
            (Phase::Backfill, _) => self.rows.seen,
            (_, Some((looked, _))) => looked,
            (Phase::Verify, None) => self.pulse.looked,
            (Phase::Expand | Phase::Sync | Phase::Contract | Phase::Down, None) => self.rows.seen,
        }
    }

    /// Returns the fraction done of the phase that the run is in; `None` if it cannot be known.
    pub fn fraction(&self) -> Option<f64> {
        fraction(self.done(), self.total(), self.status == Status::Succeeded)
    }

    /// Whether every range of the walk is at its end; one that has not begun is not over.
    pub fn is_walked(&self) -> bool {
        self.ranges.0 == self.ranges.1 && self.ranges.0 > 0
    }

    /// Whether the walk is over, and some of its rows are gone through once more: how many keys lie between them is
    /// not known.
    pub fn is_sweeping(&self) -> bool {
        self.phase == Phase::Backfill && self.is_walked() && self.sweeps > 0
    }

    /// Returns the keys of the table: the estimate, corrected by what has been seen since.
    pub fn keys(&self) -> Option<u64> {
        let known = if self.is_walked() { Some(self.rows.seen) } else { self.total };
        // A sweep passes keys that the walk has passed before.
        known.map(|keys| if self.is_sweeping() { keys } else { keys.max(self.done()) })
    }

    /// Returns the rows that the phase the run is in has to pass; `None` if that is unknown.
    pub fn total(&self) -> Option<u64> {
        if self.is_sweeping() { None } else { self.keys() }
    }

    /// Whether its rows go on: somebody works on it, and nobody has asked for anything else. A hold ends by itself.
    pub fn goes_on(&self) -> bool {
        matches!(self.shown(), Shown::As(Status::Running) | Shown::Holding)
    }

    /// Returns when the phase will be over; unknown while it does not go on.
    pub fn eta(&self) -> Eta {
        if !self.goes_on() {
            return Eta::Unknown;
        }
        self.pulse.outlook.unwrap_or_else(|| Eta::of(self.left(), &self.pulse))
    }

    /// Returns the rows that are left of the phase that the run is in; `None` if that is unknown.
    pub fn left(&self) -> Option<u64> {
        self.total().map(|total| total - self.done())
    }

    /// Returns for how long the hold goes on, by the server's clock.
    pub fn held_for(&self) -> Option<Duration> {
        let since = self.pulse.holding.as_ref()?.since;
        Some(Duration::try_from_secs_f64(self.now - since).unwrap_or_default())
    }

    /// Writes what is committed, as in `16 batches, 34,210 rows`.
    pub fn committed(&self) -> String {
        if self.is_of_statements() {
            return format!("{} of {}", counted(self.steps, "statements"), self.phase);
        }
        format!("{}, {}", counted(self.batches, "batches"), counted(self.rows.changed, "rows"))
    }

    /// Returns what `where` has turned out to be.
    pub fn pending(&self) -> Pending {
        Pending::of(self.has_where, self.rows.changed, self.rows.still)
    }
}
