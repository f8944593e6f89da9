//! Whether the rows of a run were kept in step all the while, which no look at them shows.

use super::settle::Round;
use super::worker::{Stop, lost};
use crate::ledger::journal;
use crate::run::{Failure, FailureKind};
use crate::sync::{self, State};

impl Round<'_> {
    /// Returns why the run cannot be called done, if its sync trigger is away, or was: a row whose old side was written
    /// meanwhile may look as if it were done. Where the trigger is there again, `expect` finds such rows.
    pub(super) async fn out_of_step(&self) -> Result<Option<Failure>, Stop> {
        let plan = &self.runner.plan;
        let Some(trigger) = &plan.sync else { return Ok(None) };
        let run = self.runner.run;
        let looked = self.insist(|mut session| {
            let trigger = trigger.clone();
            async move {
                let found = sync::state(&mut session, &trigger).await?;
                let was_away = journal::in_step(&mut session, run).await?.was_away;
                Ok((found, was_away))
            }
        });
        let (found, was_away) = looked.await.map_err(lost)?;
        let has_expect = plan.job.verify.expect.is_some();
        let what = match (found, was_away) {
            (State::Same, true) if !has_expect => "was away for a while before it was made again",
            (State::Same, _) => return Ok(None),
            _ => "was dropped, changed or switched off",
        };
        let job = &plan.job.name;
        let hint = if has_expect {
            format!("`piecemeal resume {job}` makes the trigger again, and verifies again")
        } else {
            format!(
                "{}; then `piecemeal cancel {job}`, and {}",
                trigger.set_right(),
                sync::made_again(job)
            )
        };
        Ok(Some(Failure {
            kind: FailureKind::Unverified,
            message: format!("run `{job}` is not verified: its sync trigger {what}"),
            because: vec![
                "a row whose old side was written meanwhile may look as if it were done".to_owned(),
            ],
            hint: Some(hint),
            sqlstate: None,
        }))
    }
}
