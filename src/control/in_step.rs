//! The sync trigger of a job, from the front desk: made before the walk has a bound, dropped when its
//! runs are forgotten.

use std::time::{Duration, Instant};

use super::{Desk, Run, broken, refused};
use crate::error::{Error, ErrorKind};
use crate::ledger::journal;
use crate::pg::Fault;
use crate::pg::fault::is_lock_timeout;
use crate::plan::Plan;
use crate::sync::{self, Blocker, State, Trigger};

/// How long a trigger that is to be dropped waits for those who hold its table.
const PATIENCE: Duration = Duration::from_mins(1);

/// The code of the error that others have used the table of a sync trigger all the while.
pub const SYNC_LOCKED: &str = "sync-locked";

impl Desk {
    /// Sees to it that the sync trigger of a job is there as the plan has it, and committed; does
    /// nothing for a job without one. Returns whether it had to be made; the journal of `run` has it
    /// then. `told` hears who holds the table against it, at each attempt, up to `max_hold` of the job, or
    /// until `deadline`.
    ///
    /// # Errors
    /// When the server refuses it, or its lock could not be had.
    pub async fn keep_in_step(
        &self,
        plan: &Plan,
        run: Option<i64>,
        deadline: Option<Instant>,
        told: &mut (dyn FnMut(&Blocker) + Send),
    ) -> Result<bool, Error> {
        let Some(trigger) = &plan.sync else { return Ok(false) };
        let mut session = self.session().await?;
        let mut last = None;
        let mut remember = |blocker: &Blocker| {
            last = Some(blocker.clone());
            told(blocker);
        };
        let max_hold = plan.job.pace.max_hold;
        let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let patience = left.map_or(max_hold, |left| left.min(max_hold));
        let made = sync::create(&mut session, trigger, patience, &mut remember).await;
        let found =
            made.map_err(|fault| not_made(&plan.job.name, trigger, &fault, last.as_ref()))?;
        let is_new = found != State::Same;
        if let Some(run) = run {
            self.note_kept(trigger, run, is_new).await?;
        }
        Ok(is_new)
    }

    async fn note_kept(&self, trigger: &Trigger, run: i64, is_new: bool) -> Result<(), Error> {
        let mut session = self.session().await?;
        let line = journal::Kept { run, actor: &self.actor, table: &trigger.table };
        let written = line.write(&mut session, &trigger.writes, is_new).await;
        written.map_err(|fault| broken(&fault))
    }

    /// Checks that the sync trigger of a verified run has been there all the while. Where it was away, a row may say
    /// something else than its other side, and look as if it were done.
    ///
    /// # Errors
    /// That it is not there as the plan has it.
    pub async fn check_in_step(&self, plan: &Plan, run: &Run) -> Result<(), Error> {
        let Some(trigger) = &plan.sync else { return Ok(()) };
        let mut session = self.session().await?;
        let found = sync::state(&mut session, trigger).await.map_err(|fault| broken(&fault))?;
        if found == State::Same {
            return Ok(());
        }
        let job = &plan.job.name;
        let what = format!(
            "`{job}` cannot be contracted: its sync trigger was dropped, changed or switched off; nothing was written"
        );
        let hint = format!(
            "{set_right}; then {cancel}{again}, and `piecemeal contract {job}` goes on",
            set_right = trigger.set_right(),
            again = sync::made_again(job),
            cancel = if run.status.is_final() {
                String::new()
            } else {
                format!("`piecemeal cancel {job}`, and ")
            },
        );
        Err(refused("sync-off", what, &hint).because(
            "rows that were written since may be out of step, and the old side is about to go",
        ))
    }

    /// Whether the rows of a run should be in step now: nobody has let go of its sync trigger on purpose.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn is_kept(&self, run: i64) -> Result<bool, Error> {
        let mut session = self.session().await?;
        let found = journal::in_step(&mut session, run).await.map_err(|fault| broken(&fault))?;
        Ok(found.is_kept)
    }

    /// Checks that old and new columns say the same before a run is taken back, or that it is known which side is right.
    ///
    /// # Errors
    /// That its sync trigger is not at work, and nobody has let go of it on purpose.
    pub(super) async fn check_sides(&self, job: &str, run: i64) -> Result<(), Error> {
        if !self.is_kept(run).await? {
            return Ok(());
        }
        let mut session = self.session().await?;
        let tables = sync::tables(&mut session, job).await.map_err(|fault| broken(&fault))?;
        let again = tables.first().map_or_else(
            || format!("`piecemeal cancel {job}`, and `piecemeal run {job} --again` makes the trigger again"),
            |table| format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {};", sync::name_of(job)),
        );
        let what = format!(
            "`{job}` cannot be taken back: its sync trigger was dropped or switched off; nothing was written"
        );
        let hint = format!(
            "set right the rows whose sides differ; then {again} after that, `piecemeal down {job}` goes on"
        );
        Err(refused("sync-off", what, &hint).because(
            "rows that were written since may be out of step, and it is not known which side is right",
        ))
    }

    /// Drops the sync trigger of a job that nobody needs any more; returns whether there was anything of it.
    pub(super) async fn drop_sync(&self, job: &str) -> Result<bool, Error> {
        let mut session = self.session().await?;
        let dropped = sync::drop(&mut session, (job, None), PATIENCE, &mut |_| ()).await;
        dropped.map_err(|fault| {
            if is_lock_timeout(fault.message()) {
                let what = format!("the sync trigger of `{job}` could not be dropped");
                return Error::new(ErrorKind::Refused, SYNC_LOCKED, what)
                    .because("others have used its table all the while")
                    .with_hint("try again when the long transactions on it have ended");
            }
            broken(&fault)
        })
    }
}

fn not_made(job: &str, trigger: &Trigger, fault: &Fault, blocker: Option<&Blocker>) -> Error {
    let what = format!("the sync trigger of `{job}` could not be made");
    if !is_lock_timeout(fault.message()) {
        return Error::of_fault(what, fault);
    }
    let error = Error::new(ErrorKind::Refused, SYNC_LOCKED, what)
        .because(format!("writers have held {} all the while", trigger.table))
        .with_hint(format!(
            "`piecemeal run {job}` tries again; nothing but its function is there yet"
        ));
    blocker
        .into_iter()
        .fold(error, |error, blocker| error.because(format!("the last was {blocker}")))
}
