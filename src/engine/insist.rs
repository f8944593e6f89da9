//! Statements of the ledger that must be made, whatever the database goes through meanwhile.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::handle::Term;
use super::recover::{ATTEMPTS, Choice, FIRST_WAIT, Situation, choose, jittered, timeouts};
use crate::ledger::runs;
use crate::pg::{Database, Fault, Lane, Session};
use crate::run::as_timestamp;

/// Attempts that are left once this process has been told to leave.
const HURRIED: u32 = 5;

/// Does `act` on a connection of the watch lane until it succeeds, going is pointless, or trouble
/// has lasted for `max_hold`. What `act` writes must be harmless when it is written twice.
pub(super) async fn insist<T, F: Future<Output = Result<T, Fault>>>(
    database: &Database,
    leaving: &watch::Receiver<bool>,
    max_hold: Duration,
    mut act: impl FnMut(Session) -> F,
) -> Result<T, Fault> {
    let started = Instant::now();
    let (mut attempts, mut limits) = (0, 0);
    loop {
        let fault = match database.session(Lane::Watch).await {
            Ok(session) => match act(session).await {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            },
            Err(fault) => fault,
        };
        attempts += 1;
        limits = timeouts(limits, &fault);
        let stuck = started.elapsed();
        let at = Situation { attempts, timeouts: limits, stuck, max_hold, ..Situation::default() };
        let wait = match choose(&fault, at) {
            Choice::Again(wait) | Choice::Smaller(wait) => wait,
            // More time than ten seconds helps no statement of the ledger; another attempt may.
            Choice::Lift if limits <= ATTEMPTS => FIRST_WAIT,
            Choice::PutAside
            | Choice::Lift
            | Choice::Bisect
            | Choice::BadRow
            | Choice::GiveUp
            | Choice::Stop => return Err(fault),
        };
        if *leaving.borrow() && attempts >= HURRIED {
            return Err(fault);
        }
        tokio::time::sleep(jittered(wait)).await;
    }
}

/// Returns when the time that a process was given is up, by the time that goes by here; asks for the server's clock as
/// [`insist`] does.
pub(super) async fn ends(
    term: Term,
    database: &Database,
    leaving: &watch::Receiver<bool>,
    max_hold: Duration,
) -> Result<Option<Instant>, Fault> {
    if term == Term::default() {
        return Ok(None);
    }
    let clock = |mut session: Session| async move { runs::clock(&mut session).await };
    let now = insist(database, leaving, max_hold, clock).await?;
    Ok(term.ends(as_timestamp(now)))
}
