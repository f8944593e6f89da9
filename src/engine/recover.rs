//! What to do after a fault: a pure choice.
//!
//! Trouble with the infrastructure is waited out; a fault of the batch makes it smaller, down to the
//! single row that cannot be done. Rows that somebody else has locked are put aside, and the others
//! are done first. Everything is bounded: attempts, waits, and the time for which nothing gets
//! better (R15).

use std::time::Duration;

use crate::pg::Fault;
use crate::pg::fault::{is_lock_timeout, is_timeout};

/// Attempts at the same size before it is made smaller.
pub(super) const ATTEMPTS: u32 = 5;
/// The first wait; it doubles with every attempt.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(20);
/// The longest wait between attempts at a batch.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait between attempts to reach the database.
const LONGEST_OUTAGE_WAIT: Duration = Duration::from_secs(5);
/// How long trouble may last without a committed batch before the run is left, resumable, where no
/// job says it.
pub(super) const MAX_HOLD: Duration = Duration::from_hours(1);
/// Stretches that are put aside with no batch committed in between, before it is looked whether it
/// is the table that somebody holds, and not a few rows.
const ASIDES: u32 = 3;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Wait, then try the same size.
    Again(Duration),
    /// Wait, then try half the size, and grow again from there.
    Smaller(Duration),
    /// Do the other rows first, and come back to these.
    PutAside,
    /// Try the single row without the bound that `give_way` sets.
    Lift,
    /// Halve around a row that cannot be done.
    Bisect,
    /// The single row is found.
    BadRow,
    /// It has not got better for too long.
    GiveUp,
    /// Going on would not help.
    Stop,
}

/// What is known when a choice is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Situation {
    /// Keys of the chunk that failed.
    pub(super) rows: u32,
    /// Failures in a row, with this one.
    pub(super) attempts: u32,
    /// How many of them, up to this one, hit a time limit rather than wait for a lock.
    pub(super) timeouts: u32,
    /// How long it has been in trouble, and nobody of this process has committed anything.
    pub(super) stuck: Duration,
    /// How long that may be.
    pub(super) max_hold: Duration,
    /// What is done with rows that somebody has locked.
    pub(super) locked: Locked,
    /// Whether the last attempt was without the bound of `give_way`.
    pub(super) is_lifted: bool,
}

/// How a chunk stands to the rows around it, should some of its own be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Locked {
    /// There is nothing else to do: it is waited for.
    #[default]
    Wait,
    /// Its rows are only read, so it is the table that is locked, and fewer of them would wait as long.
    Table,
    /// It was met for the first time.
    First,
    /// It was put aside before.
    Again,
}

impl Default for Situation {
    fn default() -> Situation {
        Situation {
            rows: 1,
            attempts: 1,
            timeouts: 0,
            stuck: Duration::ZERO,
            max_hold: MAX_HOLD,
            locked: Locked::Wait,
            is_lifted: false,
        }
    }
}

/// Chooses what to do after `fault`.
pub(super) fn choose(fault: &Fault, at: Situation) -> Choice {
    if at.stuck >= at.max_hold && !matches!(fault, Fault::Fatal(_) | Fault::BadRow(_)) {
        return Choice::GiveUp;
    }
    match fault {
        Fault::Fatal(_) => Choice::Stop,
        Fault::Unknown(_) => Choice::Again(backoff(at.attempts, LONGEST_OUTAGE_WAIT)),
        Fault::BadRow(_) if at.rows > 1 => Choice::Bisect,
        Fault::BadRow(_) => Choice::BadRow,
        Fault::Smaller(message) if is_lock_timeout(message) => after_lock(at),
        Fault::Smaller(_) => after_timeout(at),
        Fault::Again(_) if at.rows > 1 && at.attempts > ATTEMPTS => {
            Choice::Smaller(backoff(at.attempts, LONGEST_WAIT))
        }
        Fault::Again(_) => Choice::Again(backoff(at.attempts, LONGEST_WAIT)),
    }
}

/// Somebody has locked rows of the chunk. The first time may be chance, so it is tried once more;
/// then the other rows come first. What was put aside before is cut smaller, until only the rows
/// that are locked are left, and waits its turn again.
fn after_lock(at: Situation) -> Choice {
    match at.locked {
        Locked::Table => Choice::Again(backoff(at.attempts, LONGEST_WAIT)),
        Locked::Wait if at.rows == 1 => Choice::Again(backoff(at.attempts, LONGEST_WAIT)),
        Locked::First | Locked::Again if at.attempts == 1 => Choice::Again(FIRST_WAIT),
        Locked::First => Choice::PutAside,
        Locked::Again if at.rows == 1 => Choice::PutAside,
        Locked::Wait | Locked::Again => Choice::Smaller(FIRST_WAIT),
    }
}

/// The chunk took longer than it may. A single row gets more time; one that cannot be done even so
/// is a bad row. One that somebody else has locked is not: its wait ends with a lock timeout, and a
/// statement that a person cancels in between proves nothing about the row.
fn after_timeout(at: Situation) -> Choice {
    match at {
        Situation { rows: 2.., .. } => Choice::Smaller(FIRST_WAIT),
        Situation { is_lifted: true, timeouts, .. } if timeouts > ATTEMPTS => Choice::BadRow,
        _ => Choice::Lift,
    }
}

/// Whether it may be the table that is locked, after `barren` stretches in a row were put aside.
pub(super) fn may_be_table(barren: u32) -> bool {
    barren >= ASIDES
}

/// Returns how long to wait after `barren` stretches in a row were put aside as a whole.
pub(super) fn between_asides(barren: u32) -> Duration {
    if may_be_table(barren) { backoff(barren, LONGEST_WAIT) } else { Duration::ZERO }
}

/// Returns how many time limits have been hit in a row, after `before` of them and `fault`.
pub(super) fn timeouts(before: u32, fault: &Fault) -> u32 {
    if is_timeout(fault.message()) { before + 1 } else { 0 }
}

fn backoff(attempts: u32, longest: Duration) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    doubled.min(longest)
}

/// Spreads a wait over its upper half, so that those who failed together do not return together.
pub(super) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::DbMessage;

    fn message(sqlstate: &str) -> DbMessage {
        DbMessage { sqlstate: Some(sqlstate.into()), ..DbMessage::local("x") }
    }

    fn at(rows: u32, attempts: u32) -> Situation {
        Situation { rows, attempts, ..Situation::default() }
    }

    fn locked(rows: u32, attempts: u32, locked: Locked) -> Choice {
        choose(&Fault::Smaller(message("55P03")), Situation { locked, ..at(rows, attempts) })
    }

    #[test]
    fn rows_that_somebody_has_locked_are_put_aside_at_the_second_attempt() {
        let first = Locked::First;
        assert_eq!(locked(1_000, 1, first), Choice::Again(FIRST_WAIT));
        assert_eq!(locked(1_000, 2, first), Choice::PutAside);
        assert_eq!(locked(1, 2, first), Choice::PutAside);
    }

    #[test]
    fn what_was_put_aside_is_cut_down_to_the_locked_rows_and_waits_its_turn() {
        assert_eq!(locked(1_000, 1, Locked::Again), Choice::Again(FIRST_WAIT));
        assert_eq!(locked(1_000, 2, Locked::Again), Choice::Smaller(FIRST_WAIT));
        assert_eq!(locked(1, 2, Locked::Again), Choice::PutAside);
    }

    #[test]
    fn when_stretch_after_stretch_is_locked_it_is_asked_why_and_waited() {
        assert!(!may_be_table(ASIDES - 1) && may_be_table(ASIDES));
        assert_eq!(between_asides(ASIDES - 1), Duration::ZERO);
        assert!(between_asides(ASIDES) > Duration::ZERO);
    }

    #[test]
    fn where_nothing_else_is_left_a_lock_is_waited_for() {
        assert_eq!(locked(1, 100, Locked::Wait), Choice::Again(LONGEST_WAIT));
        assert_eq!(locked(2, 2, Locked::Wait), Choice::Smaller(FIRST_WAIT));
    }

    #[test]
    fn a_read_that_waits_for_the_table_does_not_get_smaller() {
        assert_eq!(locked(1_000, 1, Locked::Table), Choice::Again(FIRST_WAIT));
        assert_eq!(locked(1_000, 100, Locked::Table), Choice::Again(LONGEST_WAIT));
    }

    #[test]
    fn a_single_row_that_times_out_gets_more_time_before_it_is_a_bad_row() {
        let [fault, of_transaction] = ["57014", "25P04"].map(|code| Fault::Smaller(message(code)));
        assert_eq!([timeouts(1, &fault), timeouts(1, &of_transaction)], [2, 2]);
        let lifted = |timeouts| Situation { timeouts, is_lifted: true, ..at(1, timeouts) };
        assert_eq!(choose(&fault, at(1, 1)), Choice::Lift);
        assert_eq!(choose(&fault, lifted(ATTEMPTS)), Choice::Lift);
        assert_eq!(choose(&fault, lifted(ATTEMPTS + 1)), Choice::BadRow);
    }

    #[test]
    fn a_locked_row_whose_wait_was_cancelled_once_is_waited_for() {
        let (locked, cancelled) =
            (Fault::Smaller(message("55P03")), Fault::Smaller(message("57014")));
        assert_eq!(timeouts(3, &locked), 0);
        let once = Situation { timeouts: timeouts(0, &cancelled), ..at(1, 100) };
        assert_eq!(choose(&cancelled, once), Choice::Lift);
    }

    #[test]
    fn a_deadlock_is_tried_again_then_made_smaller() {
        let fault = Fault::Again(message("40P01"));
        assert!(matches!(choose(&fault, at(1_000, ATTEMPTS)), Choice::Again(_)));
        assert!(matches!(choose(&fault, at(1_000, ATTEMPTS + 1)), Choice::Smaller(_)));
    }

    #[test]
    fn an_outage_is_waited_out_but_not_for_ever() {
        let fault = Fault::Unknown(message("57P01"));
        assert_eq!(choose(&fault, at(1_000, 1)), Choice::Again(FIRST_WAIT));
        assert_eq!(choose(&fault, at(1_000, u32::MAX)), Choice::Again(LONGEST_OUTAGE_WAIT));
        let stuck = Situation { stuck: MAX_HOLD, ..at(1_000, 900) };
        assert_eq!(choose(&fault, stuck), Choice::GiveUp);
    }

    #[test]
    fn a_fatal_fault_stops_at_once() {
        assert_eq!(choose(&Fault::Fatal(message("42703")), at(1_000, 1)), Choice::Stop);
    }
}
