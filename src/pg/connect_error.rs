//! Why a connection could not be made, and whether trying again can help.
//!
//! Promises the whole story in the text: the server's message, SQLSTATE, detail and hint, or the
//! chain of causes, which the driver's own text leaves out; and never a password.

use super::tls;
use std::{error::Error, fmt, io};
use tokio_postgres::error::SqlState;

/// What kind of failure it is, which decides what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectErrorKind {
    /// The settings are wrong; nothing was tried (a usage error).
    BadSettings,
    /// No server answered, or one that is starting, stopping, full or read-only: worth retrying.
    Unreachable,
    /// The server, or our check of its certificate, refused: retrying alone will not help.
    Rejected,
}

/// A connection that could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectError {
    kind: ConnectErrorKind,
    text: String,
    sqlstate: Option<String>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for ConnectError {}

impl ConnectError {
    /// Returns the kind of failure.
    pub fn kind(&self) -> ConnectErrorKind {
        self.kind
    }

    /// Returns the server's SQLSTATE, if it was the server that refused.
    pub fn sqlstate(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }

    pub(crate) fn bad_settings(cause: &dyn Error) -> Self {
        Self { kind: ConnectErrorKind::BadSettings, text: cause.to_string(), sqlstate: None }
    }

    pub(crate) fn timed_out(target: &str, after: std::time::Duration) -> Self {
        let text = format!(
            "cannot connect to {target} because it did not finish the login within {} s",
            after.as_secs()
        );
        Self { kind: ConnectErrorKind::Unreachable, text, sqlstate: None }
    }

    pub(crate) fn refused(target: &str, error: &tokio_postgres::Error) -> Self {
        let advice = advice(error).map(|advice| format!(" ({advice})")).unwrap_or_default();
        Self {
            kind: kind_of(error),
            text: format!("cannot connect to {target} because {}{advice}", full_text(error)),
            sqlstate: error.code().map(|code| code.code().to_owned()),
        }
    }
}

/// Returns all that a driver error says: the server's message with SQLSTATE, detail and hint, else
/// the chain of causes.
pub(crate) fn full_text(error: &tokio_postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        let code = refusal.code().code();
        let parts = [("detail", refusal.detail()), ("hint", refusal.hint())];
        let more =
            parts.into_iter().filter_map(|(name, text)| Some(format!("; {name}: {}", text?)));
        let head = format!("{}: {}", refusal.severity(), refusal.message());
        return format!("{head} (SQLSTATE {code}){}", more.collect::<String>());
    }
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn kind_of(error: &tokio_postgres::Error) -> ConnectErrorKind {
    if let Some(code) = error.code() {
        let passes = ["08", "53", "57P"].iter().any(|class| code.code().starts_with(class))
            && ![SqlState::DATABASE_DROPPED, SqlState::PROTOCOL_VIOLATION].contains(code);
        return if passes { ConnectErrorKind::Unreachable } else { ConnectErrorKind::Rejected };
    }
    // A refused certificate, a failed SCRAM exchange and a broken network all come as I/O errors.
    let network = io_cause(error).is_some_and(|cause| {
        let ours = matches!(cause.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Other);
        tls_cause(cause).is_none() && !ours
    });
    if network || error.is_closed() {
        ConnectErrorKind::Unreachable
    } else {
        ConnectErrorKind::Rejected
    }
}

fn io_cause(error: &tokio_postgres::Error) -> Option<&io::Error> {
    error.source().and_then(|cause| cause.downcast_ref())
}

fn tls_cause(cause: &io::Error) -> Option<&rustls::Error> {
    cause.get_ref().and_then(|inner| inner.downcast_ref())
}

fn advice(error: &tokio_postgres::Error) -> Option<&'static str> {
    let cause = error.source().map(ToString::to_string);
    match cause.as_deref() {
        Some("password missing") => {
            Some("the server wants a password; give it with PGPASSWORD or ~/.pgpass")
        }
        Some("server does not support TLS") => {
            Some("the sslmode asks for TLS; switch it on in the server, or set sslmode=prefer")
        }
        Some("database does not allow writes") => {
            Some("the server is a standby or read-only; name the primary")
        }
        _ => io_cause(error).and_then(tls_cause).and_then(tls::advice),
    }
}
