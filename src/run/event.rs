//! What the engine says: its only voice. Every display is a consumer of it.

use std::time::Duration;

use super::holding::{Holding, Slowing};
use super::outcome::Outcome;
use super::snapshot::Snapshot;
use crate::job::Part;
use crate::walk::{Chunk, Key};

/// Why a run stopped without being done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What happened, in one line.
    pub message: String,
    /// Why, line by line.
    pub because: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
    /// The server's code, if it was the server.
    pub sqlstate: Option<String>,
}

/// The kinds of failure that are stored with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// A row cannot be done.
    BadRow,
    /// Everything else is done, and rows wait in quarantine.
    Quarantined,
    /// Verification found rows that are not as the job promised.
    Unverified,
    /// The server refused the statement itself: a column is gone, a privilege is missing.
    Refused,
    /// The order of the walk does not fit what it met.
    Unfit,
    /// Something that should not happen.
    Unexpected,
}

/// What decides the pace from an instant on, and what did before.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// What decided it before, in words; `None` if this process has only now begun to work on the run.
    pub was: Option<String>,
    /// What decides it now.
    pub now: String,
    /// Rows per second that are allowed now, 0 while a window pauses; `None` is no limit.
    pub limit: Option<u32>,
    /// The instant, in seconds of the server's clock.
    pub since: f64,
}

/// Something that happened in a run.
#[derive(Debug, Clone)]
pub enum Event {
    /// Somebody else holds the lease: it is waited for until it is renewed or over.
    Waiting {
        /// Who, as `host pid`.
        owner: String,
    },
    /// Another process leads the run, and this one helps it.
    Joined {
        /// Who leads it, as `host pid`.
        leader: String,
    },
    /// This process began to work on the run.
    Started(Box<Snapshot>),
    /// The table is one range, and this process has more workers, or is one of several that may work on it.
    OneRange,
    /// This process took the run over from an owner that is gone.
    Takeover {
        /// The owner before, as `host pid`.
        from: String,
    },
    /// A batch was committed.
    BatchCommitted {
        /// What it covered.
        chunk: Chunk,
        /// What came of it.
        outcome: Outcome,
    },
    /// How far it is, about once a second.
    Progress(Box<Snapshot>),
    /// A batch failed and is tried again.
    Retried {
        /// What the server said.
        why: String,
        /// After this time.
        wait: Duration,
        /// With so many keys.
        rows: u32,
    },
    /// Somebody has locked rows of this stretch: the rows behind it are done first.
    PutAside {
        /// Its last key.
        upto: Key,
        /// Its keys.
        keys: u32,
    },
    /// A single row takes longer than others should wait, and may.
    Lifted {
        /// Its key.
        key: Key,
        /// The bound that does not hold for it.
        give_way: Duration,
    },
    /// A row that cannot be done was recorded instead, or is left in the quarantine.
    Quarantined {
        /// Its key.
        key: Key,
        /// The server's code.
        sqlstate: Option<String>,
        /// What the server said, at most 1,000 characters of it.
        message: String,
    },
    /// This process was told to leave, and does when its batch has ended.
    Leaving,
    /// A pause was asked for and the run stands.
    Paused(Box<Snapshot>),
    /// Somebody asked that it goes on.
    Resumed,
    /// The pace was changed.
    Throttled(Turn),
    /// A signal, or a window, holds the run.
    Held(Holding),
    /// It goes on.
    Released {
        /// What held it.
        by: String,
        /// For how long.
        lasted: Duration,
    },
    /// A signal comes near its limit, and the run slows down; or it has another share of its speed by now.
    Slowed(Slowing),
    /// It is at full speed again.
    Unslowed {
        /// What slowed it down.
        by: String,
        /// For how long.
        lasted: Duration,
    },
    /// Another window applies, or none; in words with its end.
    Window(Turn),
    /// Whoever hears this was too slow for some of it.
    Missed {
        /// So many events, without progress and batches.
        events: u64,
    },
    /// The table was vacuumed beside the walk.
    Vacuumed {
        /// How long that took.
        took: Duration,
    },
    /// The table should be vacuumed, and is not.
    VacuumPutOff {
        /// Why.
        why: String,
    },
    /// The table was rewritten, and the walk in physical order begins again.
    Rewritten {
        /// For the how-many-th time.
        times: u64,
    },
    /// Partitions of the table came or went.
    Partitions {
        /// Those that it has now, and had not before.
        attached: Vec<String>,
        /// Those that it has no more.
        detached: Vec<String>,
    },
    /// A statement of the job is going to be run.
    Statement {
        /// Which part it is of.
        part: Part,
        /// Which of its part it is, from 1.
        no: usize,
        /// How many there are.
        of: usize,
        /// Its first words.
        sql: String,
    },
    /// A statement that finds nothing to undo is passed over.
    PassedOver {
        /// Where it stands in the job.
        part: Part,
        /// Its number there.
        no: usize,
        /// What the server said to it.
        why: String,
    },
    /// A statement waits for a lock.
    Blocked {
        /// Who holds it, in words.
        by: String,
    },
    /// A statement is cancelled, and will be tried again, because somebody waits for what it holds.
    GaveWay {
        /// Who waits, and for what, in words.
        to: String,
    },
    /// Nothing keeps the rows of a table in step any more.
    LetGo {
        /// The table.
        table: String,
    },
    /// The walk is over and the table is looked at.
    Verifying,
    /// Rows were left to do and are swept.
    Sweeping {
        /// Which sweep it is, from 1.
        pass: u64,
        /// How many rows were found.
        rows: u64,
    },
    /// The verification passed.
    Verified(Box<Snapshot>),
}
