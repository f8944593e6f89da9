//! What a run is held by: a signal of the database, and the limit above which the walk stands still.
//!
//! Values only. How a signal is read is in `throttle`, and where it can be read only the server knows.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fragment::Fragment;
use super::units::{
    Rate, UnitError, parse_bytes, parse_duration_in, show_bytes_exactly, show_duration,
};

/// The limit of `commit-latency` without a line in the job: so many times what a commit waited for
/// before the walk began. Traffic alone varies by half of it, and full speed ends at 60 %.
const COMMIT_TIMES: f64 = 4.0;

/// And not less than this, so that a fast disk is not guarded against what nobody feels.
const COMMIT_LEAST: Duration = Duration::from_millis(6);

/// Rows per second that go on through a hold by `autovacuum` without a line in the job.
const AUTOVACUUM_FLOOR: u32 = 100;

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
    /// The 75th percentile of how long a commit of one transaction waits for the disk.
    CommitLatency = "commit-latency",
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
    /// A multiple of what is read before the walk begins.
    Times {
        /// How many times it.
        factor: f64,
        /// What the limit comes to at least.
        least: Duration,
    },
    /// Not true: for signals that are true or false.
    Never,
}

impl Limit {
    /// Whether both are limits of the same kind: of time, of bytes, and so on.
    pub(crate) fn is_like(&self, other: &Limit) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Time(time) => f.write_str(&show_duration(*time)),
            Limit::Bytes(bytes) => f.write_str(&show_bytes_exactly(*bytes)),
            Limit::Number(number) => write!(f, "{number}"),
            Limit::Times { factor, least } => {
                let least = show_duration(*least);
                write!(f, "{factor} times what it is before the walk, at least {least}")
            }
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
            Signal::CommitLatency => {
                Some(Limit::Times { factor: COMMIT_TIMES, least: COMMIT_LEAST })
            }
            Signal::SlotLag
            | Signal::LockWaits
            | Signal::ActiveSessions
            | Signal::OldestTransaction
            | Signal::Latency
            | Signal::Query => None,
        }
    }

    /// Returns what goes on through its hold without a line in the job. A vacuum against wraparound of a
    /// large table takes hours, and neither it nor anybody else is hurt by a few rows meanwhile.
    pub fn default_floor(self) -> Option<Rate> {
        if self == Signal::Autovacuum { Rate::new(AUTOVACUUM_FLOOR) } else { None }
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
        let limit = match self {
            Signal::ReplicaLag if is_bytes(text) => Limit::Bytes(parse_bytes(text)?),
            Signal::ReplicaLag | Signal::OldestTransaction => {
                Limit::Time(parse_duration_in(text, "s")?)
            }
            Signal::Latency | Signal::CommitLatency => Limit::Time(parse_duration_in(text, "ms")?),
            Signal::SlotLag => Limit::Bytes(parse_bytes(text)?),
            Signal::ArchiveBacklog | Signal::LockWaits | Signal::ActiveSessions | Signal::Query => {
                Limit::Number(number(text)?)
            }
            Signal::Autovacuum => {
                let said = "`autovacuum` is true or false and takes no limit";
                return Err(UnitError::new(said));
            }
        };
        match limit {
            // There is always some lag; a run with such a limit would never move.
            Limit::Time(Duration::ZERO) | Limit::Bytes(0) => Err(UnitError::new(format!(
                "a limit for `{self}` is above 0, as in {}",
                self.example()
            ))),
            Limit::Time(_)
            | Limit::Bytes(_)
            | Limit::Number(_)
            | Limit::Times { .. }
            | Limit::Never => Ok(limit),
        }
    }

    /// Returns a limit as an example of what to write.
    pub(super) fn example(self) -> &'static str {
        match self {
            Signal::ReplicaLag => "\"5s\"",
            Signal::SlotLag => "\"10 GB\"",
            Signal::ArchiveBacklog => "100",
            Signal::LockWaits => "5",
            Signal::ActiveSessions | Signal::Query | Signal::Autovacuum => "40",
            Signal::OldestTransaction => "\"10min\"",
            Signal::Latency => "\"5ms\"",
            Signal::CommitLatency => "\"20ms\"",
        }
    }
}

/// Whether a text was meant as an amount of data, not as a time: it ends with the `B` that only those have.
fn is_bytes(text: &str) -> bool {
    text.trim_end().ends_with(['b', 'B'])
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
    /// The limit; the default of the signal if the job gives none, and [`Limit::Never`] for what is
    /// true or false.
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

impl Hold {
    /// Whether both limit the same. The lag of standbys may have a limit in time and one in bytes, and each
    /// standby that is asked itself has its own.
    pub(super) fn is_same(&self, other: &Hold) -> bool {
        let is_lag = self.on == Signal::ReplicaLag;
        let is_apart = is_lag && (self.url != other.url || !self.above.is_like(&other.above));
        self.name == other.name && !is_apart
    }
}

/// Where a standby is. Its `Debug` shows nothing of it (R28).
#[derive(Clone, PartialEq, Eq)]
pub struct Url(pub String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_limit_is_read_by_its_signal() {
        for (signal, text, limit) in [
            (Signal::ReplicaLag, "5s", Limit::Time(Duration::from_secs(5))),
            (Signal::ReplicaLag, "10m", Limit::Time(Duration::from_mins(10))),
            (Signal::ReplicaLag, "100 MB", Limit::Bytes(100_000_000)),
            (Signal::SlotLag, "2 GiB", Limit::Bytes(2 << 30)),
            (Signal::ArchiveBacklog, "0", Limit::Number(0.0)),
            (Signal::ActiveSessions, "40", Limit::Number(40.0)),
            (Signal::LockWaits, " 3 ", Limit::Number(3.0)),
            (Signal::OldestTransaction, "10min", Limit::Time(Duration::from_mins(10))),
            (Signal::Latency, "1.5ms", Limit::Time(Duration::from_micros(1_500))),
            (Signal::CommitLatency, "20ms", Limit::Time(Duration::from_millis(20))),
            (Signal::Query, "0.75", Limit::Number(0.75)),
        ] {
            assert_eq!(signal.parse_limit(text), Ok(limit), "{signal} {text}");
        }
    }

    #[test]
    fn what_is_no_limit_of_a_signal_is_refused_with_what_to_write() {
        for (signal, text, said) in [
            (Signal::ReplicaLag, "5", "5 has no unit; write \"5s\""),
            (Signal::ReplicaLag, "5 xB", "\"5 xB\" is not an amount of data"),
            (Signal::ReplicaLag, "0s", "a limit for `replica-lag` is above 0, as in \"5s\""),
            (Signal::SlotLag, "0 B", "is above 0, as in \"10 GB\""),
            (Signal::SlotLag, "5s", "\"5s\" is not an amount of data"),
            (Signal::Latency, "5", "5 has no unit; write \"5ms\""),
            (Signal::Latency, "-5ms", "negative"),
            (Signal::CommitLatency, "0ms", "is above 0, as in \"20ms\""),
            (Signal::ActiveSessions, "40%", "\"40%\" is not a number from 0"),
            (Signal::Query, "-1", "is not a number from 0"),
            (Signal::Query, "inf", "is not a number from 0"),
            (Signal::Query, "NaN", "is not a number from 0"),
            (Signal::Autovacuum, "1", "takes no limit"),
        ] {
            let error = signal.parse_limit(text).unwrap_err().to_string();
            assert!(error.contains(said), "{signal} {text}: {error}");
        }
    }

    #[test]
    fn each_example_and_each_default_is_a_limit() {
        for signal in Signal::ALL.iter().filter(|signal| **signal != Signal::Autovacuum) {
            let example = signal.example().trim_matches('"');
            assert!(signal.parse_limit(example).is_ok(), "{signal}");
            let default = signal.default_limit();
            let written = default.filter(|limit| !matches!(limit, Limit::Times { .. }));
            let text = written.map(|limit| limit.to_string());
            assert!(text.is_none_or(|text| signal.parse_limit(&text).is_ok()), "{signal}");
        }
    }

    #[test]
    fn a_limit_that_is_found_before_the_walk_says_how() {
        let limit = Limit::Times { factor: 2.5, least: Duration::from_millis(10) };
        assert_eq!(limit.to_string(), "2.5 times what it is before the walk, at least 10ms");
    }

    #[test]
    fn each_signal_has_one_word() {
        for signal in Signal::ALL {
            assert_eq!(Signal::from_word(signal.word()), Some(*signal));
            assert_eq!(serde_json::to_value(signal).unwrap(), signal.word());
        }
        assert_eq!(Signal::from_word("Replica-Lag"), None);
    }

    #[test]
    fn where_a_standby_is_is_not_shown() {
        assert_eq!(format!("{:?}", Url("postgres://u:secret@standby/app".into())), "Url(…)");
    }

    fn limits() -> impl Strategy<Value = (Signal, Limit)> {
        let time = (1..=u64::MAX / 4).prop_map(|nanos| Limit::Time(Duration::from_nanos(nanos)));
        let number = (0.0..1e15_f64).prop_map(Limit::Number);
        let of = |signals: &'static [Signal], limits| (prop::sample::select(signals), limits);
        prop_oneof![
            of(
                &[Signal::ReplicaLag, Signal::OldestTransaction, Signal::CommitLatency],
                time.boxed()
            ),
            of(
                &[Signal::ReplicaLag, Signal::SlotLag],
                (1..u64::MAX).prop_map(Limit::Bytes).boxed()
            ),
            of(&[Signal::Query, Signal::LockWaits, Signal::ArchiveBacklog], number.boxed()),
        ]
    }

    proptest! {
        #[test]
        fn a_shown_limit_reads_back((signal, limit) in limits()) {
            prop_assert_eq!(signal.parse_limit(&limit.to_string()), Ok(limit));
        }

        #[test]
        fn reading_a_limit_never_panics(text in "\\PC{0,20}|[0-9.kmsMB ]{0,12}") {
            for signal in Signal::ALL {
                let _ = signal.parse_limit(&text);
            }
        }
    }
}
