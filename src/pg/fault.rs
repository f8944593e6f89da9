//! What a failed statement means for the caller. The only file that knows SQLSTATEs.
//!
//! A fault says what to *do*, not what happened: that is in its message. The table has an answer for every
//! class of PostgreSQL's Appendix A. What else there is comes from functions that raise codes of their own,
//! and is about a row: the search for it ends at that row, or shows that it is about none. Where a
//! statement has nothing to do with rows of anybody's, its sender says so.

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

    /// The same for what begins a transaction: it touches no row of anybody's, so it is not a row that is
    /// bad. A server in recovery does not let it write, and says that as it says that it cannot do something
    /// at all; the primary will be there again, or this one become it.
    #[must_use]
    pub fn of_begin(self) -> Fault {
        let Fault::BadRow(message) = self else { return self };
        let is_in_recovery = message.sqlstate.as_deref() == Some("0A000");
        if is_in_recovery { Fault::Unknown(message) } else { Fault::Fatal(message) }
    }

    /// Whether a statement tried to write where only reading is allowed.
    pub fn is_refused_write(&self) -> bool {
        self.message().sqlstate.as_deref() == Some("25006")
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
        // Cannot be from a row of anybody's: in a failed transaction; a statement that a pooler does not
        // know any more; PostgreSQL 16's snapshot that was too old.
        "25P02" | "26000" | "72000" => Fault::Again(message),
        // Lock not available; statement timeout or a cancel from outside; 25P04 is PostgreSQL 17's
        // transaction timeout.
        "55P03" | "57014" | "25P04" => Fault::Smaller(message),
        // A standby after a failover, or a session that was ended for being idle.
        "25006" | "25P03" | "40003" => Fault::Unknown(message),
        // More than one row from a subquery; the row is too big for its page, or needs too deep a stack;
        // what a function raises (what ours return has one type, so no kept plan is too old); a function that
        // ends without RETURN.
        "54000" | "54001" | "0A000" | "2F005" | "40002" => Fault::BadRow(message),
        // A file that the server does not find does not come back by waiting.
        "58P01" | "58P02" => Fault::Fatal(message),
        code => by_class(&code[..2], message),
    }
}

/// What the classes of Appendix A mean, but for the codes named above. A class that is not among them is
/// none of the server's own: a function of somebody's raised it, and that is about a row.
fn by_class(class: &str, message: DbMessage) -> Fault {
    match class {
        // Serialization failure, deadlock.
        "40" => Fault::Again(message),
        // Connection exceptions, out of resources, operator intervention, system errors.
        "08" | "53" | "57" | "58" => Fault::Unknown(message),
        // What is wrong is the statement, a privilege, a transaction, the configuration, or the server
        // itself; also what has no business to be an error at all.
        "03" | "0A" | "0B" | "0F" | "0L" | "0P" | "0Z" | "24" | "25" | "26" | "28" | "2B"
        | "2D" | "2F" | "34" | "3B" | "3D" | "3F" | "42" | "54" | "55" | "72" | "F0" | "HV"
        | "XX" => Fault::Fatal(message),
        // Among them data exceptions, broken constraints, and what functions raise: 00 to 02, 09, 10, 20,
        // 21, 22, 23, 27, 38, 39, 44, P0, and whatever somebody has thought out.
        _ => Fault::BadRow(message),
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
    matches!(message.sqlstate.as_deref(), Some("57014" | "25P04"))
}

/// Whether the statement waited for a lock for longer than it may.
pub(crate) fn is_lock_timeout(message: &DbMessage) -> bool {
    message.sqlstate.as_deref() == Some("55P03")
}

/// Whether a transaction did not begin because its statement is not prepared there: it divides by the
/// number of those that are.
pub(crate) fn is_not_there(message: &DbMessage) -> bool {
    message.sqlstate.as_deref() == Some("22012")
}

/// Whether no server let us in, or it was about to go; everything else is what one says that was reached.
pub(crate) fn is_unreachable(message: &DbMessage) -> bool {
    let codes = ["08", "28", "57P"];
    message.sqlstate.as_ref().is_none_or(|code| codes.iter().any(|it| code.starts_with(it)))
}

/// What is said of a row of which nobody can say which rows come behind it.
const KEYLESS: &str = "a column of the key is NULL";

/// What comes of reading the key of such a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyless;

impl From<Keyless> for Fault {
    fn from(Keyless: Keyless) -> Fault {
        // Null value not allowed.
        let sqlstate = Some("22004".to_owned());
        Fault::Again(DbMessage { sqlstate, ..DbMessage::local(KEYLESS) })
    }
}

/// Whether a column of the key was NULL.
pub(crate) fn is_keyless(message: &DbMessage) -> bool {
    message.message == KEYLESS
}

/// Whether the insert met a row that is already there.
pub(crate) fn is_duplicate(message: &DbMessage) -> bool {
    message.sqlstate.as_deref() == Some("23505")
}

/// Whether the statement found nothing to take away, or what it adds is there already.
pub(crate) fn is_without_effect(message: &DbMessage) -> bool {
    message.sqlstate.as_deref().is_some_and(|code| WITHOUT_EFFECT.contains(&code))
}

/// Undefined column, table, object, function; then the same as duplicates.
pub(crate) const WITHOUT_EFFECT: [&str; 8] =
    ["42703", "42P01", "42704", "42883", "42701", "42P07", "42710", "42723"];

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: &str) -> Fault {
        classify(DbMessage { sqlstate: Some(code.to_owned()), ..DbMessage::local("x") })
    }

    fn word(code: &str) -> &'static str {
        match fault(code) {
            Fault::Again(_) => "again",
            Fault::Smaller(_) => "smaller",
            Fault::BadRow(_) => "bad row",
            Fault::Unknown(_) => "unknown",
            Fault::Fatal(_) => "fatal",
        }
    }

    /// Codes that mean something else than their class.
    const CODES: &[(&str, &str)] = &[
        ("0A000", "bad row"),
        ("25006", "unknown"),
        ("25P02", "again"),
        ("25P03", "unknown"),
        ("25P04", "smaller"),
        ("26000", "again"),
        ("2F005", "bad row"),
        ("40002", "bad row"),
        ("40003", "unknown"),
        ("54000", "bad row"),
        ("54001", "bad row"),
        ("55P03", "smaller"),
        ("57014", "smaller"),
        ("58P01", "fatal"),
        ("58P02", "fatal"),
        ("72000", "again"),
    ];

    /// Every class of Appendix A, of all releases since 13, and what its other codes mean.
    const CLASSES: &[(&str, &str)] = &[
        ("00", "bad row"),
        ("01", "bad row"),
        ("02", "bad row"),
        ("03", "fatal"),
        ("08", "unknown"),
        ("09", "bad row"),
        ("0A", "fatal"),
        ("0B", "fatal"),
        ("0F", "fatal"),
        ("0L", "fatal"),
        ("0P", "fatal"),
        ("0Z", "fatal"),
        ("10", "bad row"),
        ("20", "bad row"),
        ("21", "bad row"),
        ("22", "bad row"),
        ("23", "bad row"),
        ("24", "fatal"),
        ("25", "fatal"),
        ("26", "fatal"),
        ("27", "bad row"),
        ("28", "fatal"),
        ("2B", "fatal"),
        ("2D", "fatal"),
        ("2F", "fatal"),
        ("34", "fatal"),
        ("38", "bad row"),
        ("39", "bad row"),
        ("3B", "fatal"),
        ("3D", "fatal"),
        ("3F", "fatal"),
        ("40", "again"),
        ("42", "fatal"),
        ("44", "bad row"),
        ("53", "unknown"),
        ("54", "fatal"),
        ("55", "fatal"),
        ("57", "unknown"),
        ("58", "unknown"),
        ("72", "fatal"),
        ("F0", "fatal"),
        ("HV", "fatal"),
        ("P0", "bad row"),
        ("XX", "fatal"),
    ];

    #[test]
    fn every_class_of_sqlstates_has_its_fault_and_some_codes_have_one_of_their_own() {
        for (code, expected) in CODES {
            assert_eq!(word(code), *expected, "{code}");
        }
        for (class, expected) in CLASSES {
            for rest in ["000", "001", "P0X", "Z99"] {
                let code = format!("{class}{rest}");
                if CODES.iter().all(|(known, _)| *known != code) {
                    assert_eq!(word(&code), *expected, "{code}");
                }
            }
        }
    }

    #[test]
    fn what_the_server_says_every_day_is_as_it_should_be() {
        let table = [
            ("40001 40P01", "again"),
            ("22001 22P02 22003 22012 23502 23503 23505 23514 23P01 44000 P0001 P0004", "bad row"),
            ("08006 53100 53200 53300 57P01 57P02 57P03 58030", "unknown"),
            ("42501 42703 42P01 42804 28P01 XX000 XX001 54011", "fatal"),
            // What somebody's own function may raise.
            ("45000 AB123 U0001 ZZZZZ", "bad row"),
        ];
        for (codes, expected) in table {
            for code in codes.split(' ') {
                assert_eq!(word(code), expected, "{code}");
            }
        }
    }

    #[test]
    fn what_begins_a_transaction_has_no_bad_row_and_is_refused_by_a_standby() {
        assert!(matches!(fault("22023").of_begin(), Fault::Fatal(_)));
        assert!(matches!(fault("40P01").of_begin(), Fault::Again(_)));
        for code in ["0A000", "25006"] {
            assert!(matches!(fault(code).of_begin(), Fault::Unknown(_)), "{code}");
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
    fn a_server_that_says_why_was_reached_unless_it_goes() {
        for (codes, expected) in
            [("08006 28P01 57P01 57P03", true), ("40P01 25P04 53100 53300 55P03 57014", false)]
        {
            for code in codes.split(' ') {
                assert_eq!(is_unreachable(fault(code).message()), expected, "{code}");
            }
        }
        assert!(is_unreachable(&DbMessage::local("connection closed")));
    }

    #[test]
    fn an_error_without_sqlstate_leaves_the_outcome_unknown() {
        assert!(matches!(classify(DbMessage::local("connection closed")), Fault::Unknown(_)));
    }
}
