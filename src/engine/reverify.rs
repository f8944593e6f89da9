//! Verifies a run whose walk is over once more, from anywhere, changing nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use super::gauge::Gauge;
use super::steering::{Brief, Steering};
use super::verifier::Verifier;
use super::voice;
use super::worker::{Stop, Unfit};
use crate::error::{Error, ErrorKind};
use crate::job::Rate;
use crate::ledger::control::Orders;
use crate::ledger::ranges;
use crate::pg::{Database, Lane};
use crate::plan::Plan;
use crate::run::{Pace, Snapshot};
use crate::verify::{self, Question};

/// What a verification came to when it passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// What it was proved by: `rows` or `books`.
    pub how: &'static str,
    /// Rows looked at.
    pub looked: u64,
    /// How long it took.
    pub took: Duration,
}

/// Looks at the whole table of a run whose walk is over.
///
/// # Errors
/// What is not as the job promised, with some keys; or that the walk is not over.
pub async fn verify(
    plan: Plan,
    snapshot: &Snapshot,
    database: Database,
) -> Result<Verified, Error> {
    let job = plan.job.name.clone();
    if !snapshot.is_walked() {
        let error = Error::new(
            ErrorKind::Refused,
            "not-walked",
            format!("the walk of run `{job}` is not over"),
        );
        return Err(
            error.with_hint(format!("`piecemeal run {job}` continues it, and verifies at its end"))
        );
    }
    let broken = |fault| Error::of_fault(format!("`{job}` could not be verified"), &fault);
    let ranges = {
        let mut session = database.session(Lane::Watch).await.map_err(broken)?;
        ranges::of_walk(&mut session, snapshot.run).await.map_err(broken)?
    };
    let books = verify::books(&ranges, &snapshot.rows);
    let has_expect = plan.job.verify.expect.is_some();
    let pending = snapshot.pending();
    // Nobody steers this one: its channels stay open and silent as long as they are held here.
    // No window and no signal holds it back, so it is one worker, whatever the job says.
    let pace = Pace { rate: plan.job.pace.rate.map(Rate::rows_per_second), ..Pace::default() };
    let (_brief, brief) =
        watch::channel(Brief { orders: Orders::at_will(), pace, is_time_up: false });
    let (_leave, leaving) = watch::channel(false);
    let (voice, _nobody) = voice::pair();
    let gauge = Arc::new(Mutex::new(Gauge::default()));
    let steering = Steering::new(brief, leaving, gauge, voice);
    let verifier = Verifier {
        database,
        plan: Arc::new(plan),
        steering,
        run: snapshot.run,
        pending,
        token: None,
    };
    let (tally, took) = verifier.look().await.map_err(|stop| stopped(&job, &stop))?;
    let question = Question {
        job: &job,
        pending,
        has_expect,
        rows: &snapshot.rows,
        sweeps: snapshot.pass,
        is_open: !snapshot.status.is_final(),
    };
    match question.verdict(&tally, books) {
        Ok(how) => Ok(Verified { how, looked: tally.looked, took }),
        Err(failure) => Err(Error::of_failure(&failure)),
    }
}

fn stopped(job: &str, stop: &Stop) -> Error {
    if matches!(stop, Stop::Unfit(Unfit::Unindexed)) {
        let what = format!("`{job}` could not be verified: its key has no unique index any more");
        return Error::new(ErrorKind::Refused, "unfit", what)
            .because("without one, each look at a few rows reads the whole table")
            .with_hint(format!(
                "make its primary key, or unique index, again, then `piecemeal verify {job}`"
            ));
    }
    if matches!(stop, Stop::Unfit(Unfit::OtherKey)) {
        let what = format!("`{job}` could not be verified: somebody has just altered its key");
        return Error::new(ErrorKind::Refused, "unfit", what)
            .with_hint(format!("`piecemeal verify {job}` says what stands against it now"));
    }
    let (kind, code, message) = match stop {
        Stop::Fatal(message) | Stop::BadRow(_, message) | Stop::Full(_, message, _) => {
            (ErrorKind::Unverified, "not-verified", Some(message))
        }
        Stop::GaveUp(message) => (ErrorKind::Unreachable, "unreachable", Some(message)),
        Stop::End
        | Stop::Asked(_)
        | Stop::Limit
        | Stop::HeldTooLong(_)
        | Stop::Unfit(_)
        | Stop::Torn(_) => (ErrorKind::Unexpected, "unexpected", None),
    };
    let error = Error::new(kind, code, format!("`{job}` could not be verified"));
    message.map_or(error.clone(), |message| error.because_of(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_altered_or_has_lost_its_index_is_no_mistake_of_ours_and_no_wrong_row() {
        let error = stopped("posts", &Stop::Unfit(Unfit::Unindexed));
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("no unique index"), "{error}");
        let altered = stopped("posts", &Stop::Unfit(Unfit::OtherKey));
        assert_eq!(altered.kind(), ErrorKind::Refused);
        assert_eq!(stopped("posts", &Stop::End).kind(), ErrorKind::Unexpected);
    }
}
