//! What a run is held by: a signal of the database, and the limit above which the walk stands still.
//!
//! Values only. How a signal is read is in `throttle`, and where it can be read only the server knows.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fragment::Fragment;
use super::units::{Rate, UnitError, parse_bytes, parse_duration, show_bytes, show_duration};

macro_rules! signals {
    ($($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// Something of the database that a run slows down for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        pub enum Signal { $($(#[$doc])* $variant),+ }

        impl Signal {
            /// All of them, in the order in which they are shown.
            pub const ALL: &[Signal] = &[$(Signal::$variant),+];

            /// Returns the word that job files, flags and output use.
            pub fn word(self) -> &'static str {
                match self { $(Signal::$variant => $word),+ }
            }

            /// Returns the signal that `word` stands for.
            pub fn from_word(word: &str) -> Option<Signal> {
                match word { $($word => Some(Signal::$variant),)+ _ => None }
            }
        }
    };
}

signals! {
    /// How far the slowest standby is behind, in time or in bytes.
    ReplicaLag = "replica-lag",
    /// WAL that the replication slots keep, in bytes.
    SlotLag = "slot-lag",
    /// WAL segments that wait to be archived.
    ArchiveBacklog = "archive-backlog",
    /// Sessions that wait for a lock on the table, but for ours.
    LockWaits = "lock-waits",
    /// Sessions that run a statement, but for ours.
    ActiveSessions = "active-sessions",
    /// The age of the oldest transaction that keeps old rows alive.
    OldestTransaction = "oldest-transaction",
    /// Whether autovacuum works on the table against wraparound.
    Autovacuum = "autovacuum",
    /// The 95th percentile of a tiny probe: one indexed read of the table.
    Latency = "latency",
    /// What a query of the job returns: a number or a boolean.
    Query = "query",
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The value above which a run is held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A length of time.
    Time(Duration),
    /// An amount of data, in bytes.
    Bytes(u64),
    /// A plain number.
    Number(f64),
    /// Not true: for signals that are true or false.
    Never,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Time(time) => f.write_str(&show_duration(*time)),
            Limit::Bytes(bytes) => f.write_str(&show_bytes(*bytes)),
            Limit::Number(number) => write!(f, "{number}"),
            Limit::Never => f.write_str("never"),
        }
    }
}

impl Signal {
    /// Returns the limit that holds without a line in the job; `None` if the job must say one.
    pub fn default_limit(self) -> Option<Limit> {
        match self {
            Signal::ReplicaLag => Some(Limit::Time(Duration::from_secs(10))),
            Signal::ArchiveBacklog => Some(Limit::Number(100.0)),
            Signal::Autovacuum => Some(Limit::Never),
            Signal::SlotLag
            | Signal::LockWaits
            | Signal::ActiveSessions
            | Signal::OldestTransaction
            | Signal::Latency
            | Signal::Query => None,
        }
    }

    /// Whether a run is held by it without a line in the job, where it can be observed.
    pub fn is_default(self) -> bool {
        self.default_limit().is_some()
    }

    /// Reads a limit as people write it for this signal, as in `5s`, `100 MB` or `40`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse_limit(self, text: &str) -> Result<Limit, UnitError> {
        match self {
            Signal::ReplicaLag if parse_bytes(text).is_ok() => parse_bytes(text).map(Limit::Bytes),
            Signal::ReplicaLag | Signal::OldestTransaction | Signal::Latency => {
                parse_duration(text).map(Limit::Time)
            }
            Signal::SlotLag => parse_bytes(text).map(Limit::Bytes),
            Signal::ArchiveBacklog
            | Signal::LockWaits
            | Signal::ActiveSessions
            | Signal::Query => number(text).map(Limit::Number),
            Signal::Autovacuum => {
                Err(UnitError::new("`autovacuum` is true or false and takes no limit"))
            }
        }
    }
}

fn number(text: &str) -> Result<f64, UnitError> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number.filter(|number| *number >= 0.0).ok_or_else(|| {
        let shown = text.escape_debug();
        UnitError::new(format!("\"{shown}\" is not a number from 0; write a plain one, as in 40"))
    })
}

/// One `[[hold]]` of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// What is read.
    pub on: Signal,
    /// How it is called in output and by `throttle --hold`; the signal's word if the job gives none.
    pub name: String,
    /// The limit; [`Limit::Never`] for what is true or false.
    pub above: Limit,
    /// Rows per second that go on through a hold; `None` stands still.
    pub floor: Option<Rate>,
    /// The standby to ask, for `replica-lag`; may hold a password and is never shown or stored.
    pub url: Option<Url>,
    /// The query of `query`.
    pub sql: Option<Fragment>,
    /// Where `on` is in the source.
    pub span: Range<usize>,
}

/// Where a standby is. Its `Debug` shows nothing of it (R28).
#[derive(Clone, PartialEq, Eq)]
pub struct Url(pub String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(…)")
    }
}
