//! The front desk: everything that a person, or a program, can ask of runs, from anywhere.
//!
//! Starting, steering and reading go through here; working is the engine's. Whether a run may go on
//! is decided here once: same definition, same table, same cluster (R23, F73).

mod in_step;
mod install;
mod quarantine;
mod shaped;

use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, ErrorKind};
use crate::job::{Identity, Job, Order, fingerprint};
use crate::ledger::control;
use crate::ledger::journal;
use crate::ledger::runs::{self, NewRun};
use crate::ledger::{Actor, snapshot};
use crate::pg::fault::is_duplicate;
use crate::pg::{Database, Fault, Lane, Session, patiently};
use crate::plan::{Plan, cuts, extent};
use crate::run::{Expiry, Intent, Overrides, Phase, Snapshot, Status, as_timestamp};
use crate::walk::{Key, KeyColumn};

pub use self::in_step::SYNC_LOCKED;
pub use self::install::ledger_sql;
pub use self::quarantine::{Bad, Skipped};
pub use self::shaped::expands_next;
pub use crate::ledger::control::Asked;
pub use crate::ledger::journal::Line;
pub use crate::ledger::runs::Run;
pub use crate::ledger::steps::{Step, Steps};

/// Asks things of the runs in one database, in the name of somebody.
#[derive(Clone)]
pub struct Desk {
    database: Database,
    actor: Actor,
}

/// Plans `job`, and opens its run: the one that can go on, else its first.
///
/// # Errors
/// Every finding of a refusal; that the run is done, paused, failed or cancelled; that its definition
/// changed.
pub async fn open_run(job: &Job, database: &Database, actor: &Actor) -> Result<(Plan, i64), Error> {
    let desk = Desk::new(database.clone(), actor.clone());
    let plan = Plan::build(job, database).await?;
    let run = match desk.find(&job.name).await? {
        Some(run) => {
            check_open(&run)?;
            desk.check_same(&plan, &run).await?;
            desk.keep_in_step(&plan, Some(run.id), None, &mut |_| ()).await?;
            if run.is_cured() {
                desk.resume(&job.name).await?;
            }
            run.id
        }
        None => desk.create(&plan, None).await?,
    };
    Ok((plan, run))
}

/// Checks that a run may be gone on with, without anybody resuming it first: a paused run stays
/// paused, and a failed one failed, unless somebody has accepted the rows for which it did.
///
/// # Errors
/// Why not, as it is stored.
pub fn check_open(run: &Run) -> Result<(), Error> {
    let job = &run.job;
    let stopped = |code, what: String, hint: String| {
        let error = Error::new(ErrorKind::Stopped, code, what);
        let who = run.asked_by.as_ref().map(|who| format!("{who} asked for it"));
        let why = run.reason.as_ref().map(|reason| format!("reason: {reason}"));
        who.into_iter().chain(why).fold(error, Error::because).with_hint(hint)
    };
    let again = format!("`piecemeal run {job} --again` starts a new one");
    match (run.status, run.intent) {
        (Status::Succeeded, _) => Err(stopped("done", format!("run `{job}` is done"), again)),
        (Status::Cancelled, _) => {
            Err(stopped("cancelled", format!("run `{job}` was cancelled"), again))
        }
        (Status::Failed, _) if run.is_cured() => Ok(()),
        (Status::Failed, _) => {
            let failure = run.failure.as_ref().map(Error::of_failure);
            let unknown =
                || Error::new(ErrorKind::Unexpected, "failed", format!("run `{job}` failed"));
            Err(failure
                .unwrap_or_else(unknown)
                .because("that was before; this command has tried nothing"))
        }
        (Status::Paused, _) | (_, Intent::Pause) => {
            let hint = format!("`piecemeal resume {job}` continues it");
            Err(stopped("paused", format!("run `{job}` is paused"), hint))
        }
        (Status::Ready | Status::Running, _) => Ok(()),
    }
}

/// The code of the error that another run was created meanwhile.
pub const RACED: &str = "raced";

fn raced(job: &str) -> Error {
    Error::new(
        ErrorKind::Refused,
        RACED,
        format!("somebody else has just started a run of `{job}`"),
    )
    .with_hint(format!("`piecemeal status {job}` shows it"))
}

impl Desk {
    /// Returns a desk for `database` that signs as `actor`.
    pub fn new(database: Database, actor: Actor) -> Desk {
        Desk { database, actor }
    }

    /// Returns the database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    async fn session(&self) -> Result<Session, Error> {
        self.database.session(Lane::Watch).await.map_err(|fault| unreachable(&fault))
    }

    /// Returns the newest run of a job.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn find(&self, job: &str) -> Result<Option<Run>, Error> {
        patiently(Error::is_lost, || self.newest(job)).await
    }

    async fn newest(&self, job: &str) -> Result<Option<Run>, Error> {
        let Some(mut session) = self.ledger().await? else { return Ok(None) };
        runs::newest(&mut session, job).await.map_err(|fault| broken(&fault))
    }

    /// Returns the error that a job has no run here.
    pub fn no_run(&self, job: &str) -> Error {
        Error::new(
            ErrorKind::Refused,
            "no-run",
            format!("job `{job}` has no run in {}", self.database.connect().describe()),
        )
        .with_hint("`piecemeal status` lists the runs there are")
    }

    async fn existing(&self, job: &str) -> Result<(Session, Run), Error> {
        let run = self.find(job).await?.ok_or_else(|| self.no_run(job))?;
        Ok((self.session().await?, run))
    }

    /// Creates a run for `plan`, installing the ledger if that is missing. `last` is the newest run of
    /// the job that the caller knows of; the walk ends at the highest key there is now.
    ///
    /// # Errors
    /// When another run was created since `last` (its code is [`RACED`]: look again), or this role may
    /// not.
    pub async fn create(&self, plan: &Plan, last: Option<&Run>) -> Result<i64, Error> {
        self.install(None).await?;
        let nth = last.map_or(1, |run| run.nth + 1);
        let created =
            self.with_walk(plan, nth, async |session, new| runs::create(session, new).await);
        let run = created.await?.map_err(|fault| {
            if is_duplicate(fault.message()) { raced(&plan.job.name) } else { broken(&fault) }
        })?;
        self.keep_in_step(plan, Some(run), None, &mut |_| ()).await?;
        Ok(run)
    }

    /// Finds where the walk of `plan` ends and is cut now, and writes what `write` makes of it.
    async fn with_walk<T>(
        &self,
        plan: &Plan,
        nth: i64,
        write: impl AsyncFnOnce(&mut Session, &NewRun<'_>) -> Result<T, Fault>,
    ) -> Result<Result<T, Fault>, Error> {
        // Committed before the bound is taken: no row lies behind it that the trigger has not seen.
        self.keep_in_step(plan, None, None, &mut |_| ()).await?;
        let (upto, filenode, cuts) = patiently(Error::is_passing, || self.ends(plan)).await?;
        let mut session = self.session().await?;
        let new = NewRun {
            job: &plan.job.name,
            nth,
            identity: &plan.identity,
            has_where: plan.job.table.filter.is_some(),
            table_oid: plan.target.oid,
            upto: upto.as_ref(),
            key: &plan.target.keyset.columns,
            cuts: &cuts,
            filenode,
            estimate: plan.estimate.and_then(|rows| i64::try_from(rows).ok()),
            actor: &self.actor,
        };
        Ok(write(&mut session, &new).await)
    }

    /// Where the walk of `plan` ends now, the file of which that is a place, and where it is cut.
    async fn ends(&self, plan: &Plan) -> Result<(Option<Key>, Option<u32>, Vec<Key>), Error> {
        let mut session = self.session().await?;
        let (upto, filenode) =
            extent(&mut session, &plan.statements).await.map_err(|fault| broken(&fault))?;
        let cuts = match &upto {
            Some(upto) => cuts(&mut session, plan, upto).await.map_err(|fault| broken(&fault))?,
            None => Vec::new(),
        };
        Ok((upto, filenode, cuts))
    }

    /// Checks that `plan` is the same job on the same table as `run`.
    ///
    /// # Errors
    /// What is different, by name.
    pub async fn check_same(&self, plan: &Plan, run: &Run) -> Result<(), Error> {
        let job = &run.job;
        check_definition(&plan.identity, run)?;
        if run.table_oid.is_some_and(|oid| oid != plan.target.oid) {
            let table = &plan.target.keyset.table;
            return Err(refused(
                "table-replaced",
                format!("{table} is not the table that run `{job}` was started on"),
                &start_anew(run),
            )
            .because("a table of the same name was created since; its rows were never done"));
        }
        check_key(plan, run)?;
        self.check_origin(run).await
    }

    /// Checks that a run belongs to this database.
    ///
    /// # Errors
    /// When it was started in another one.
    pub async fn check_origin(&self, run: &Run) -> Result<(), Error> {
        let job = &run.job;
        let (system_id, database) = patiently(Error::is_lost, || self.origin()).await?;
        if (&run.system_id, &run.database) == (&system_id, &database) {
            return Ok(());
        }
        Err(refused(
            "other-cluster",
            format!("run `{job}` was started in another database"),
            &format!("if this is its successor (after an upgrade or a restore), `piecemeal resume {job} --adopt` goes on here"),
        )
        .because(format!("there: cluster {}, database `{}`", run.system_id, run.database))
        .because(format!("here: cluster {system_id}, database `{database}`")))
    }

    async fn origin(&self) -> Result<(String, String), Error> {
        let mut session = self.session().await?;
        runs::origin(&mut session).await.map_err(|fault| broken(&fault))
    }

    /// Lets a run that nobody works on go on in this cluster; one that belongs here stays as it is.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn adopt(&self, run: Run) -> Result<Run, Error> {
        let mut session = self.session().await?;
        let origin = runs::origin(&mut session).await.map_err(|fault| broken(&fault))?;
        if run.is_live || (&run.system_id, &run.database) == (&origin.0, &origin.1) {
            return Ok(run);
        }
        runs::adopt(&mut session, run.id, &self.actor).await.map_err(|fault| broken(&fault))?;
        Ok(Run { system_id: origin.0, database: origin.1, ..run })
    }

    /// Returns the server's time.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn clock(&self) -> Result<Timestamp, Error> {
        let mut session = self.session().await?;
        let seconds = runs::clock(&mut session).await.map_err(|fault| unreachable(&fault))?;
        Ok(as_timestamp(seconds))
    }

    /// Asks for a pause or a cancel.
    ///
    /// # Errors
    /// When there is no such run, or it has ended.
    pub async fn stop(
        &self,
        job: &str,
        intent: Intent,
        reason: Option<&str>,
    ) -> Result<Asked, Error> {
        let (mut session, run) = self.existing(job).await?;
        let asked = control::stop(&mut session, run.id, intent, reason, &self.actor).await;
        match asked.map_err(|fault| broken(&fault))? {
            Some(asked) if intent == Intent::Pause && asked.was == Status::Failed => {
                let what = format!("run `{job}` has failed: there is nothing to pause");
                Err(refused("failed", what, &format!("`piecemeal status {job}` shows why")))
            }
            Some(asked) if !asked.was.is_final() => Ok(asked),
            _ => Err(ended(&run)),
        }
    }

    /// Lets a paused or failed run go on; the caller, or the owner that stands by, goes on with it.
    ///
    /// # Errors
    /// When there is no such run, or it has ended.
    pub async fn resume(&self, job: &str) -> Result<Asked, Error> {
        let (mut session, run) = self.existing(job).await?;
        let asked = control::resume(&mut session, run.id, &self.actor)
            .await
            .map_err(|fault| broken(&fault))?;
        asked.filter(|asked| !asked.was.is_final()).ok_or_else(|| ended(&run))
    }

    /// Changes the pace of a run, for as long as `lasting` says, or until it is taken back; `None`
    /// clears every change.
    ///
    /// # Errors
    /// When there is no such run, or it has ended.
    pub async fn throttle(
        &self,
        job: &str,
        change: Option<&Overrides>,
        lasting: Option<Duration>,
    ) -> Result<(), Error> {
        let (mut session, run) = self.existing(job).await?;
        let change = change.map(|change| (change, lasting.map(|it| it.as_secs_f64())));
        let taken = control::throttle(&mut session, run.id, change, &self.actor).await;
        if taken.map_err(|fault| broken(&fault))? { Ok(()) } else { Err(ended(&run)) }
    }

    /// Returns what people have changed of the pace of a job's open run: now, and what is left of it
    /// later.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn changed(&self, job: &str) -> Result<(Overrides, Vec<Expiry>), Error> {
        let Some(mut session) = self.ledger().await? else { return Ok(Default::default()) };
        control::changed(&mut session, job).await.map_err(|fault| broken(&fault))
    }

    /// Returns the newest run of every job, or of one.
    ///
    /// # Errors
    /// When there is no run of that job.
    pub async fn status(&self, job: Option<&str>) -> Result<Vec<Snapshot>, Error> {
        if let Some(job) = job {
            self.existing(job).await?;
        }
        let Some(mut session) = self.ledger().await? else { return Ok(Vec::new()) };
        snapshot::newest(&mut session, job).await.map_err(|fault| broken(&fault))
    }

    /// Returns the newest `limit` lines of a job's journal, oldest first.
    ///
    /// # Errors
    /// When there is no such run.
    pub async fn history(&self, job: &str, limit: u32) -> Result<Vec<Line>, Error> {
        let (mut session, _) = self.existing(job).await?;
        journal::read(&mut session, job, i64::from(limit)).await.map_err(|fault| broken(&fault))
    }

    /// Removes the runs of a job from the ledger, if they have all ended, and its sync trigger.
    ///
    /// # Errors
    /// When one of them could still go on.
    pub async fn forget(&self, job: &str) -> Result<usize, Error> {
        let Some(run) = self.find(job).await? else {
            return if self.drop_sync(job).await? { Ok(0) } else { Err(self.no_run(job)) };
        };
        if !run.status.is_final() {
            return Err(refused(
                "not-ended",
                format!("run `{job}` has not ended: it is {}", run.status),
                &format!("`piecemeal cancel {job}` stops it for good; then it can be forgotten"),
            ));
        }
        self.drop_sync(job).await?;
        let mut session = self.session().await?;
        runs::forget(&mut session, job).await.map_err(|fault| broken(&fault))
    }

    /// Writes a line into the journal of a run.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn note(
        &self,
        run: i64,
        what: &str,
        detail: &serde_json::Value,
    ) -> Result<(), Error> {
        let mut session = self.session().await?;
        journal::write(&mut session, run, &self.actor, what, detail)
            .await
            .map_err(|fault| broken(&fault))
    }
}

/// Checks that a job's definition is the one that `run` was started with.
///
/// # Errors
/// What is different, by name.
pub fn check_definition(now: &Identity, run: &Run) -> Result<(), Error> {
    if run.fingerprint == fingerprint(now) {
        return Ok(());
    }
    let what = format!("the definition of job `{}` changed since its run began", run.job);
    let error = refused("definition-changed", what, &start_anew(run));
    let differences = run.identity.as_ref().map(|before| before.differences(now));
    Err(differences.unwrap_or_default().into_iter().fold(error, Error::because))
}

/// Checks that the key is still the one along which the walk of `run` is under way: where it is another, or
/// has another order, rows behind the cursor were never done. In physical order the cursor is a place, but
/// stripes, sweeps and the quarantine go by the key.
fn check_key(plan: &Plan, run: &Run) -> Result<(), Error> {
    let now = &plan.target.keyset.columns;
    let walks = matches!(run.phase, Phase::Backfill | Phase::Verify) && !run.status.is_final();
    let Some(then) = run.key.as_ref().filter(|_| walks) else { return Ok(()) };
    let is_same = |(now, then): (&KeyColumn, &KeyColumn)| now.is_still(then);
    if now.len() == then.len() && now.iter().zip(then).all(is_same) {
        return Ok(());
    }
    let (job, table) = (&run.job, &plan.target.keyset.table);
    let listed = |columns: &[KeyColumn]| {
        columns.iter().map(KeyColumn::to_string).collect::<Vec<_>>().join(", ")
    };
    let what = format!("the key of {table} is not the one along which run `{job}` walks");
    let anew = start_anew(run);
    let is_resorted = now.iter().zip(then).any(|(now, then)| now.is_resorted(then));
    let hint = if is_resorted {
        format!(
            "what the server sorts otherwise cannot be given back: {anew}, which does rows again that are done, unless `where` under [table] leaves them out"
        )
    } else {
        format!("give the table that key back, or {anew}")
    };
    Err(refused("key-replaced", what, &hint)
        .because(format!("when the walk began: {}; now: {}", listed(then), listed(now)))
        .because(match plan.job.table.order {
            Order::Key => "rows behind the cursor may never have been done",
            Order::Physical => {
                "stripes, sweeps and the quarantine go by the key, also in physical order"
            }
        }))
}

fn start_anew(run: &Run) -> String {
    let job = &run.job;
    let anew = format!("`piecemeal run {job} --again` starts a new run with it");
    if run.status.is_final() { anew } else { format!("`piecemeal cancel {job}`, then {anew}") }
}

fn refused(code: &str, message: String, hint: &str) -> Error {
    Error::new(ErrorKind::Refused, code, message).with_hint(hint)
}

fn ended(run: &Run) -> Error {
    refused(
        "ended",
        format!("run `{}` has ended: it is {}", run.job, run.status),
        &format!("`piecemeal run {} --again` starts a new one", run.job),
    )
}

fn broken(fault: &Fault) -> Error {
    Error::of_fault("the ledger could not be used", fault)
}

fn unreachable(fault: &Fault) -> Error {
    Error::of_fault("the database could not be asked", fault)
}
