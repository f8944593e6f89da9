//! What to do after a fault: a pure choice.
//!
//! Trouble with the infrastructure is waited out; a fault of the batch makes it smaller, down to the
//! single row that cannot be done. Everything is bounded: attempts, waits, and the time for which
//! nothing gets better (R15).

use std::time::Duration;

use crate::pg::Fault;
use crate::pg::fault::is_timeout;

/// Attempts at the same size before it is made smaller.
const ATTEMPTS: u32 = 5;
/// The first wait; it doubles with every attempt.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// The longest wait between attempts at a batch.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait between attempts to reach the database.
const LONGEST_OUTAGE_WAIT: Duration = Duration::from_secs(5);
/// How long trouble may last without a committed batch before the run is left, resumable.
pub(super) const MAX_HOLD: Duration = Duration::from_hours(1);

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Wait, then try the same size.
    Again(Duration),
    /// Wait, then try half the size, and grow again from there.
    Smaller(Duration),
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
    /// How long nothing has been committed.
    pub(super) stuck: Duration,
}

/// Chooses what to do after `fault`.
pub(super) fn choose(fault: &Fault, at: Situation) -> Choice {
    let wait = backoff(at.attempts, LONGEST_WAIT);
    if at.stuck >= MAX_HOLD && !matches!(fault, Fault::Fatal(_) | Fault::BadRow(_)) {
        return Choice::GiveUp;
    }
    match fault {
        Fault::Fatal(_) => Choice::Stop,
        Fault::Unknown(_) => Choice::Again(backoff(at.attempts, LONGEST_OUTAGE_WAIT)),
        Fault::BadRow(_) if at.rows > 1 => Choice::Bisect,
        Fault::BadRow(_) => Choice::BadRow,
        Fault::Smaller(_) if at.rows > 1 => Choice::Smaller(FIRST_WAIT),
        // A row that takes longer than `give_way` all by itself, again and again, cannot be done.
        // One that somebody else has locked can: its wait ends with a lock timeout instead, and a
        // statement that a person cancels in between proves nothing about the row.
        Fault::Smaller(_) if at.timeouts > ATTEMPTS => Choice::BadRow,
        Fault::Again(_) if at.rows > 1 && at.attempts > ATTEMPTS => Choice::Smaller(wait),
        Fault::Smaller(_) | Fault::Again(_) => Choice::Again(wait),
    }
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

/// The search for a row that cannot be done, by whole transactions (R14, R17).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Suspect {
    /// Keys of the next chunk; 0 when nothing is suspected.
    rows: u32,
    /// Keys that may still hold the row.
    left: u32,
}

impl Suspect {
    /// Returns the keys that the next chunk may have.
    pub(super) fn cap(self, rows: u32) -> u32 {
        if self.left == 0 { rows } else { rows.min(self.rows) }
    }

    /// A chunk of `keys` holds a row that cannot be done.
    pub(super) fn halve(&mut self, keys: u32) {
        self.left = if self.left == 0 { keys } else { self.left };
        self.rows = (keys / 2).max(1);
    }

    /// A chunk of `keys` was committed.
    pub(super) fn clear(&mut self, keys: u32) {
        self.left = self.left.saturating_sub(keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::DbMessage;
    use proptest::prelude::*;

    fn message(sqlstate: &str) -> DbMessage {
        DbMessage { sqlstate: Some(sqlstate.into()), ..DbMessage::local("x") }
    }

    fn at(rows: u32, attempts: u32) -> Situation {
        Situation { rows, attempts, timeouts: 0, stuck: Duration::ZERO }
    }

    #[test]
    fn a_lock_timeout_shrinks_down_to_one_row_and_then_waits() {
        let fault = Fault::Smaller(message("55P03"));
        assert!(matches!(choose(&fault, at(2, 1)), Choice::Smaller(_)));
        assert_eq!(choose(&fault, at(1, 100)), Choice::Again(LONGEST_WAIT));
    }

    #[test]
    fn a_single_row_that_always_times_out_is_a_bad_row() {
        let fault = Fault::Smaller(message("57014"));
        let after = |timeouts| Situation { timeouts, ..at(1, timeouts) };
        assert!(matches!(choose(&fault, after(ATTEMPTS)), Choice::Again(_)));
        assert_eq!(choose(&fault, after(ATTEMPTS + 1)), Choice::BadRow);
    }

    #[test]
    fn a_locked_row_whose_wait_was_cancelled_once_is_waited_for() {
        let (locked, cancelled) =
            (Fault::Smaller(message("55P03")), Fault::Smaller(message("57014")));
        assert_eq!(timeouts(3, &locked), 0);
        let once = Situation { timeouts: timeouts(0, &cancelled), ..at(1, 100) };
        assert_eq!(choose(&cancelled, once), Choice::Again(LONGEST_WAIT));
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

    proptest! {
        #[test]
        fn bisecting_finds_the_row_in_few_transactions(keys in 1u32..50_000, bad in any::<prop::sample::Index>()) {
            let bad = u32::try_from(bad.index(keys as usize)).unwrap();
            let (mut suspect, mut cursor, mut batches) = (Suspect::default(), 0, 0);
            loop {
                let rows = suspect.cap(keys).min(keys - cursor);
                batches += 1;
                if (cursor..cursor + rows).contains(&bad) {
                    if rows == 1 { break }
                    suspect.halve(rows);
                } else {
                    suspect.clear(rows);
                    cursor += rows;
                }
            }
            prop_assert_eq!(cursor, bad, "all rows before the bad one are committed");
            prop_assert!(batches <= 2 * (33 - keys.leading_zeros()) + 2, "{} batches", batches);
        }
    }
}
