//! What a failed statement means for the caller. The only file that knows SQLSTATEs.
//!
//! A fault says what to *do*, not what happened: that is in its message. The table follows
//! PostgreSQL's Appendix A; every class that is not named is fatal, because an error that nobody
//! has thought about must stop the run and be read by a person.

use super::message::DbMessage;

/// The schema of the ledger, as it stands before the name of a constraint.
const LEDGER: &str = "piecemeal.";

/// What to do after a statement or a transaction failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was written; the same again may succeed (deadlock, serialization failure).
    Again(DbMessage),
    /// Nothing was written; a smaller piece may succeed (a time limit was hit).
    Smaller(DbMessage),
    /// Nothing was written; a row of this piece cannot be done (constraint, cast, trigger).
    BadRow(DbMessage),
    /// The connection or the server failed: whether it was written must be read from the ledger.
    Unknown(DbMessage),
    /// Nothing was written, and going on would not help.
    Fatal(DbMessage),
}

impl Fault {
    /// Returns what the server or the driver said.
    pub fn message(&self) -> &DbMessage {
        match self {
            Fault::Again(message)
            | Fault::Smaller(message)
            | Fault::BadRow(message)
            | Fault::Unknown(message)
            | Fault::Fatal(message) => message,
        }
    }

    /// Whether the connection must be closed after this fault.
    pub fn spoils_connection(&self) -> bool {
        matches!(self, Fault::Unknown(_))
    }
}

impl From<&tokio_postgres::Error> for Fault {
    fn from(error: &tokio_postgres::Error) -> Fault {
        classify(DbMessage::from(error))
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Fault {
        Fault::from(&error)
    }
}

/// Decides what an error means, from its SQLSTATE alone; an error without one is the connection's, and
/// a constraint of the ledger is no matter of a row.
pub(crate) fn classify(message: DbMessage) -> Fault {
    let Some(code) = message.sqlstate.clone() else {
        return Fault::Unknown(message);
    };
    if message.constraint.as_ref().is_some_and(|it| it.starts_with(LEDGER)) {
        return Fault::Fatal(message);
    }
    match code.as_str() {
        // Serialization failure, deadlock, in a failed transaction.
        "40001" | "40P01" | "25P02" => Fault::Again(message),
        // Lock not available; statement timeout or a cancel from outside; 25P04 is PostgreSQL 17's
        // transaction timeout.
        "55P03" | "57014" | "25P04" => Fault::Smaller(message),
        // A standby after a failover, or a session that was ended for being idle.
        "25006" | "25P03" => Fault::Unknown(message),
        // WITH CHECK OPTION; more than one row from a subquery; the row is too big for its page; what
        // a function raises (statements are sent unnamed, so no cached plan can be stale).
        "44000" | "21000" | "54000" | "0A000" => Fault::BadRow(message),
        _ => match &code[..2] {
            "22" | "23" | "27" | "38" | "39" | "P0" => Fault::BadRow(message),
            // Connection exceptions, out of resources, operator intervention, system errors.
            "08" | "53" | "57" | "58" => Fault::Unknown(message),
            _ => Fault::Fatal(message),
        },
    }
}

/// Whether a walk in physical order was refused because rows that are done still match `where`.
pub(crate) fn is_not_pending(message: &DbMessage) -> bool {
    message.constraint.as_deref().and_then(|it| it.strip_prefix(LEDGER))
        == Some("range_still_check")
}

/// Whether the error says that a privilege is missing.
pub(crate) fn is_denied(message: &DbMessage) -> bool {
    message.sqlstate.as_deref() == Some("42501")
}

/// Whether the statement was ended by its time limit rather than by a wait for a lock.
pub(crate) fn is_timeout(message: &DbMessage) -> bool {
    message.sqlstate.as_deref() == Some("57014")
}

/// Whether the statement waited for a lock for longer than it may.
pub(crate) fn is_lock_timeout(message: &DbMessage) -> bool {
    message.sqlstate.as_deref() == Some("55P03")
}

/// Whether the insert met a row that is already there.
pub(crate) fn is_duplicate(message: &DbMessage) -> bool {
    message.sqlstate.as_deref() == Some("23505")
}

/// Whether the statement found nothing to take away, or what it adds is there already.
pub(crate) fn is_without_effect(message: &DbMessage) -> bool {
    // Undefined column, table, object, function; then the same as duplicates.
    let codes = ["42703", "42P01", "42704", "42883", "42701", "42P07", "42710", "42723"];
    message.sqlstate.as_deref().is_some_and(|code| codes.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: &str) -> Fault {
        classify(DbMessage { sqlstate: Some(code.to_owned()), ..DbMessage::local("x") })
    }

    #[test]
    fn every_known_sqlstate_has_its_fault() {
        let table = [
            ("40001", "again"),
            ("40P01", "again"),
            ("0A000", "bad row"),
            ("55P03", "smaller"),
            ("57014", "smaller"),
            ("22001", "bad row"),
            ("22P02", "bad row"),
            ("22003", "bad row"),
            ("23502", "bad row"),
            ("23503", "bad row"),
            ("23505", "bad row"),
            ("23514", "bad row"),
            ("23P01", "bad row"),
            ("44000", "bad row"),
            ("P0001", "bad row"),
            ("P0004", "bad row"),
            ("54000", "bad row"),
            ("08006", "unknown"),
            ("53100", "unknown"),
            ("53200", "unknown"),
            ("53300", "unknown"),
            ("57P01", "unknown"),
            ("57P02", "unknown"),
            ("57P03", "unknown"),
            ("58030", "unknown"),
            ("25006", "unknown"),
            ("25P03", "unknown"),
            ("42501", "fatal"),
            ("42703", "fatal"),
            ("42P01", "fatal"),
            ("42804", "fatal"),
            ("28P01", "fatal"),
            ("XX000", "fatal"),
            ("XX001", "fatal"),
        ];
        for (code, expected) in table {
            let word = match fault(code) {
                Fault::Again(_) => "again",
                Fault::Smaller(_) => "smaller",
                Fault::BadRow(_) => "bad row",
                Fault::Unknown(_) => "unknown",
                Fault::Fatal(_) => "fatal",
            };
            assert_eq!(word, expected, "{code}");
        }
    }

    #[test]
    fn a_constraint_of_the_ledger_is_no_bad_row() {
        let broken = |constraint: &str| {
            let constraint = Some(constraint.to_owned());
            classify(DbMessage {
                sqlstate: Some("23514".into()),
                constraint,
                ..DbMessage::local("x")
            })
        };
        assert!(matches!(broken("public.range_still_check"), Fault::BadRow(_)));
        let ours = broken("piecemeal.range_still_check");
        assert!(matches!(&ours, Fault::Fatal(message) if is_not_pending(message)), "{ours:?}");
        assert!(!is_not_pending(broken("piecemeal.range_check").message()));
    }

    #[test]
    fn an_error_without_sqlstate_leaves_the_outcome_unknown() {
        assert!(matches!(classify(DbMessage::local("connection closed")), Fault::Unknown(_)));
    }
}
