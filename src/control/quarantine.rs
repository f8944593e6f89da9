//! The rows of a run that are in quarantine: listing them, having them tried again, accepting them.

use super::{Desk, broken, ended, refused};
use crate::error::{Error, ErrorKind};
use crate::ledger::quarantine::{self, Decided};
use crate::ledger::runs::Run;
use crate::pg::Session;
use crate::walk::Key;

pub use crate::ledger::quarantine::{Bad, Skipped};

impl Desk {
    /// Returns the newest `limit` rows that are in the quarantine of a job's newest run, oldest first; only
    /// those with one of `keys`, if these are given.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn quarantine(
        &self,
        job: &str,
        keys: Option<&[Key]>,
        limit: u32,
    ) -> Result<Vec<Bad>, Error> {
        let (mut session, run) = self.existing(job).await?;
        let listed = quarantine::list(&mut session, run.id, keys, i64::from(limit)).await;
        listed.map_err(|fault| broken(&fault))
    }

    /// Queues rows of a quarantine to be tried again, by whoever goes on with the run: those with these
    /// keys, or all that were not skipped. Returns how many those are.
    ///
    /// # Errors
    /// When there is no such run, it has ended, somebody works on it, or one of the keys is not there.
    pub async fn retry(&self, job: &str, keys: Option<&[Key]>) -> Result<u64, Error> {
        let (mut session, run) = self.open(job).await?;
        let ids = ids(&mut session, &run, keys).await?;
        let decided = quarantine::requeue(&mut session, run.id, ids.as_deref(), &self.actor).await;
        rows_of(decided.map_err(|fault| broken(&fault))?, &run)
    }

    /// Accepts rows of a quarantine as they are, so that the run may end without them: those with these
    /// keys, or all. Returns how many those are.
    ///
    /// # Errors
    /// When there is no such run, it has ended, somebody works on it, or one of the keys is not there.
    pub async fn skip(&self, job: &str, keys: Option<&[Key]>, reason: &str) -> Result<u64, Error> {
        let (mut session, run) = self.open(job).await?;
        let ids = ids(&mut session, &run, keys).await?;
        let (ids, actor) = (ids.as_deref(), &self.actor);
        let decided = quarantine::skip(&mut session, run.id, ids, reason, actor).await;
        rows_of(decided.map_err(|fault| broken(&fault))?, &run)
    }

    async fn open(&self, job: &str) -> Result<(Session, Run), Error> {
        let (session, run) = self.existing(job).await?;
        if run.status.is_final() { Err(ended(&run)) } else { Ok((session, run)) }
    }
}

/// Returns the numbers of the rows with these keys.
async fn ids(
    session: &mut Session,
    run: &Run,
    keys: Option<&[Key]>,
) -> Result<Option<Vec<String>>, Error> {
    let Some(keys) = keys else { return Ok(None) };
    let found = quarantine::list(session, run.id, Some(keys), i64::MAX).await;
    let found = found.map_err(|fault| broken(&fault))?;
    let missing = keys.iter().find(|key| !found.iter().any(|bad| bad.key == **key));
    if let Some(key) = missing {
        let job = &run.job;
        let what = format!("no row with key {key} is in the quarantine of run `{job}`");
        let hint = format!(
            "`piecemeal quarantine {job}` shows the keys, with `-o json` as --key takes them"
        );
        return Err(refused("not-in-quarantine", what, &hint).because("nothing was changed"));
    }
    Ok(Some(found.iter().map(|bad| bad.id.to_string()).collect()))
}

fn rows_of(decided: Option<Decided>, run: &Run) -> Result<u64, Error> {
    let job = &run.job;
    match decided {
        Some(decided) if decided.is_worked_on => {
            let what = format!("run `{job}` is being worked on; nothing was changed");
            Err(Error::new(ErrorKind::Refused, "worked-on", what)
                .because("its books are the owner's while it goes on")
                .with_hint(format!("`piecemeal pause {job} --wait` first, or wait for its end")))
        }
        Some(decided) if decided.status.is_final() => Err(ended(run)),
        Some(decided) => Ok(decided.rows),
        None => Err(ended(run)),
    }
}
