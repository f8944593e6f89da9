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
    /// Database, servers and user; none where it did not come to that.
    target: Option<String>,
    reason: String,
    sqlstate: Option<String>,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some(target) => write!(f, "cannot connect to {target} because {}", self.reason),
            None => f.write_str(&self.reason),
        }
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

    /// Whether somebody refused us, so that trying the same again at once is of no use.
    pub(crate) fn is_refusal(&self) -> bool {
        self.kind == ConnectErrorKind::Rejected
    }

    /// Whether it was user or password that a server refused.
    pub(crate) fn is_login(&self) -> bool {
        self.sqlstate.as_ref().is_some_and(|code| code.starts_with("28"))
    }

    /// Whether it was a setting that came with the login that somebody refused; the server itself takes any of ours.
    pub(crate) fn is_about_settings(&self) -> bool {
        self.sqlstate.as_deref() == Some(SqlState::PROTOCOL_VIOLATION.code())
    }

    pub(crate) fn bad_settings(cause: &dyn Error) -> Self {
        let reason = cause.to_string();
        Self { kind: ConnectErrorKind::BadSettings, target: None, reason, sqlstate: None }
    }

    pub(crate) fn timed_out(target: &str, after: std::time::Duration) -> Self {
        let reason = format!("it did not finish the login within {} s", after.as_secs());
        Self::unreachable(target, reason)
    }

    pub(crate) fn unknown_host(target: &str, error: &io::Error) -> Self {
        Self::unreachable(target, format!("its address cannot be looked up: {error}"))
    }

    pub(crate) fn no_address(target: &str) -> Self {
        Self::unreachable(target, "its name has no address".to_owned())
    }

    fn unreachable(target: &str, reason: String) -> Self {
        let target = Some(target.to_owned());
        Self { kind: ConnectErrorKind::Unreachable, target, reason, sqlstate: None }
    }

    pub(crate) fn refused(target: &str, error: &tokio_postgres::Error) -> Self {
        let advice = advice(error).map(|advice| format!(" ({advice})")).unwrap_or_default();
        Self {
            kind: kind_of(error),
            target: Some(target.to_owned()),
            reason: format!("{}{advice}", full_text(error)),
            sqlstate: error.code().map(|code| code.code().to_owned()),
        }
    }

    /// Sums up why none of the servers can be used: one that refused us weighs more than one that
    /// cannot be reached. A warning about the password file may be the reason of a refusal.
    pub(crate) fn of_servers(
        target: &str,
        failures: Vec<(String, ConnectError)>,
        warnings: &[String],
    ) -> Self {
        let refused = failures.iter().find(|(_, failure)| failure.is_refusal());
        let (kind, sqlstate) =
            refused.or(failures.last()).map_or((ConnectErrorKind::Unreachable, None), |(_, it)| {
                (it.kind, it.sqlstate.clone())
            });
        let is_one = failures.len() == 1;
        let reasons = failures.into_iter().map(|(server, failure)| {
            if is_one { failure.reason } else { format!("{server}: {}", failure.reason) }
        });
        let mut reason = reasons.collect::<Vec<_>>().join("; ");
        if kind == ConnectErrorKind::Rejected {
            reason.extend(warnings.iter().map(|warning| format!("; {warning}")));
        }
        Self { kind, target: Some(target.to_owned()), reason, sqlstate }
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

/// What PgBouncer says, in parts, when it is in trouble with its server, or has no room; it has one SQLSTATE for everything.
const POOLER_IN_TROUBLE: [&str; 6] = [
    "server_login_retry",
    "cannot connect to server",
    "invalid server parameter",
    "server conn crashed",
    "no more connections allowed",
    "shutting down",
];

/// Whether a refusal of the login is about the state of the server, which passes.
fn passes(code: &SqlState, message: &str) -> bool {
    if *code == SqlState::PROTOCOL_VIOLATION {
        return POOLER_IN_TROUBLE.iter().any(|it| message.contains(it));
    }
    let classes = ["08", "53", "57P"];
    *code != SqlState::DATABASE_DROPPED && classes.iter().any(|it| code.code().starts_with(it))
}

fn kind_of(error: &tokio_postgres::Error) -> ConnectErrorKind {
    if let Some(said) = error.as_db_error() {
        let passes = passes(said.code(), said.message());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_or_its_pooler_says_of_its_state_passes() {
        let pooler = "08P01";
        for (code, message, expected) in [
            ("57P03", "the database system is starting up", true),
            ("53300", "sorry, too many clients already", true),
            ("3D000", "database \"x\" does not exist", false),
            ("28P01", "password authentication failed for user \"x\"", false),
            ("57P04", "database \"x\" was dropped", false),
            (pooler, "server login has been failing, try again later (server_login_retry)", true),
            (pooler, "pgbouncer cannot connect to server", true),
            (pooler, "invalid server parameter", true),
            (pooler, "no more connections allowed (max_client_conn)", true),
            (pooler, "the database system is shutting down", true),
            (pooler, "unsupported startup parameter: options", false),
            (pooler, "no such database: x", false),
            (pooler, "password authentication failed", false),
        ] {
            assert_eq!(passes(&SqlState::from_code(code), message), expected, "{message}");
        }
    }
}
