//! Errors for users of the library: what failed, because of what, what is committed, what to do.
//!
//! The kinds are closed and few, because a caller can only do so many different things; the texts
//! are for people. No error holds a secret: connection settings never reach this place.

use std::fmt;

use crate::finding::Finding;
use crate::pg::fault::{is_denied, is_lock_timeout};
use crate::pg::{ConnectError, ConnectErrorKind, DbMessage, Fault};
use crate::run::{Failure, FailureKind, plain};

/// What a caller can do something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The settings or the job file are wrong.
    Usage,
    /// Preflight, a changed definition or the state of the run stand against it; nothing was written.
    Refused,
    /// Somebody had asked for it: the run is paused or cancelled; or the server interrupted it.
    Stopped,
    /// A row cannot be done.
    BadRow,
    /// Verification found rows that are not as the job promised.
    Unverified,
    /// Another process owns the run, or took it over.
    Owned,
    /// The database cannot be reached or logged in to.
    Unreachable,
    /// Something that should not happen.
    Unexpected,
}

/// What to do about a lock of somebody else.
const LOCKED: Option<&str> =
    Some("somebody holds a lock on what it reads; try again when that is free");
/// What to do about a statement that was cancelled, or took too long.
const INTERRUPTED: Option<&str> =
    Some("somebody cancelled it, or the server is very busy; try again");

/// The code of a connection that is lost, or cannot be made.
const UNREACHABLE: &str = "unreachable";
/// The code of a wait for somebody's lock that took too long.
const HELD: &str = "locked";

/// Why something was not done.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    code: String,
    message: String,
    because: Vec<String>,
    committed: Option<String>,
    hint: Option<String>,
    sqlstate: Option<String>,
    findings: Vec<Finding>,
}

impl Error {
    /// Returns an error with a stable `code`, as in `not-verified`, and what failed in one line.
    pub fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            code: code.into(),
            message: message.into(),
            because: Vec::new(),
            committed: None,
            hint: None,
            sqlstate: None,
            findings: Vec::new(),
        }))
    }

    /// Returns the refusal of a job, with every finding.
    pub fn refused(job: &str, findings: Vec<Finding>) -> Error {
        let mut error = Error::new(
            ErrorKind::Refused,
            findings.first().map_or("refused", |finding| finding.code),
            format!("job `{job}` was refused; nothing was written"),
        );
        error.0.findings = findings;
        error
    }

    /// Returns the error for a failed statement of ours, which was to do `what`.
    pub fn of_fault(what: impl Into<String>, fault: &Fault) -> Error {
        let message = fault.message();
        let (kind, code, hint) = match fault {
            Fault::Unknown(_) => (ErrorKind::Unreachable, UNREACHABLE, None),
            Fault::Smaller(_) if is_lock_timeout(message) => (ErrorKind::Stopped, HELD, LOCKED),
            Fault::Smaller(_) | Fault::Again(_) => (ErrorKind::Stopped, "interrupted", INTERRUPTED),
            Fault::BadRow(_) | Fault::Fatal(_) if is_denied(message) => {
                (ErrorKind::Refused, "privilege", None)
            }
            Fault::BadRow(_) | Fault::Fatal(_) => (ErrorKind::Unexpected, "database", None),
        };
        let error = Error::new(kind, code, what).because_of(message);
        hint.into_iter().fold(error, Error::with_hint)
    }

    /// Returns the error that a stored failure stands for.
    pub fn of_failure(failure: &Failure) -> Error {
        let (kind, code) = match failure.kind {
            FailureKind::BadRow => (ErrorKind::BadRow, "bad-row"),
            FailureKind::Quarantined => (ErrorKind::BadRow, "quarantined"),
            FailureKind::Unverified => (ErrorKind::Unverified, "not-verified"),
            FailureKind::Refused => (ErrorKind::Unexpected, "statement-refused"),
            FailureKind::Unfit => (ErrorKind::Refused, "order-unfit"),
            FailureKind::Unexpected => (ErrorKind::Unexpected, "unexpected"),
        };
        let mut error = Error::new(kind, code, failure.message.clone());
        error.0.because.clone_from(&failure.because);
        error.0.hint.clone_from(&failure.hint);
        error.0.sqlstate.clone_from(&failure.sqlstate);
        error
    }

    /// Adds a reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Error {
        self.0.because.push(reason.into());
        self
    }

    /// Adds what the server said as a reason.
    #[must_use]
    pub fn because_of(mut self, message: &DbMessage) -> Error {
        self.0.sqlstate.clone_from(&message.sqlstate);
        self.0.because.push(plain(&message.to_string()));
        let hint = message.hint.as_ref().map(|hint| plain(&format!("the server's hint: {hint}")));
        self.0.because.extend(hint);
        self
    }

    /// Says what failed in other words.
    #[must_use]
    pub fn retold(mut self, message: impl Into<String>) -> Error {
        self.0.message = message.into();
        self
    }

    /// Says what is safely done.
    #[must_use]
    pub fn having_committed(mut self, committed: impl Into<String>) -> Error {
        self.0.committed = Some(committed.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// Returns what a caller can tell it by.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns its stable name, as in `key-nullable`.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Returns what failed, in one line.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns why, line by line.
    pub fn reasons(&self) -> &[String] {
        &self.0.because
    }

    /// Returns what is safely done, where there is something to say.
    pub fn committed(&self) -> Option<&str> {
        self.0.committed.as_deref()
    }

    /// Returns what to do.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns the server's code, if it was the server.
    pub fn sqlstate(&self) -> Option<&str> {
        self.0.sqlstate.as_deref()
    }

    /// Returns what preflight found, worst first.
    pub fn findings(&self) -> &[Finding] {
        &self.0.findings
    }

    /// Whether the connection was lost, so that the same may be asked on another one.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.code == UNREACHABLE
    }

    /// Whether the same may be asked a little later: the connection was lost, or somebody held a lock.
    pub(crate) fn is_passing(&self) -> bool {
        self.is_lost() || self.0.code == HELD
    }

    /// Whether the same command can go on where this stopped, once its cause is gone.
    pub fn is_resumable(&self) -> bool {
        !matches!(self.0.kind, ErrorKind::Usage | ErrorKind::Refused)
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Error {
        let (kind, code, message) = match error.kind() {
            ConnectErrorKind::BadSettings => {
                (ErrorKind::Usage, "connection-settings", "the connection settings cannot be used")
            }
            ConnectErrorKind::Unreachable => {
                (ErrorKind::Unreachable, UNREACHABLE, "the database cannot be reached")
            }
            ConnectErrorKind::Rejected => {
                (ErrorKind::Unreachable, "rejected", "the database does not let us in")
            }
        };
        let mut made = Error::new(kind, code, message).because(error.to_string());
        made.0.hint = hint(error.kind()).map(str::to_owned);
        made.0.sqlstate = error.sqlstate().map(str::to_owned);
        made
    }
}

fn hint(kind: ConnectErrorKind) -> Option<&'static str> {
    match kind {
        ConnectErrorKind::BadSettings => None,
        ConnectErrorKind::Unreachable => Some(
            "check that the server runs and that host and port are right; `psql` with the same settings should reach it",
        ),
        ConnectErrorKind::Rejected => Some(
            "check user, password and database: they come from --database-url, the PG* variables, ~/.pgpass and pg_service.conf",
        ),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.0.findings {
            writeln!(f, "{finding}\n")?;
        }
        write!(f, "error: {}", self.0.message)?;
        for (no, reason) in self.0.because.iter().enumerate() {
            let label = if no == 0 { "because: " } else { "         " };
            write!(f, "\n  {label}{reason}")?;
        }
        if let Some(committed) = &self.0.committed {
            write!(f, "\n  committed: {committed}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}
