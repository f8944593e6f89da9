//! What can be asked of jobs that change the schema: how they begin, contract, and are taken back.

use std::collections::BTreeMap;

use super::{Desk, Run, broken, raced, refused};
use crate::change::{self, Missing, Path, reverses, way_back};
use crate::error::{Error, ErrorKind};
use crate::job::{Identity, Job, Part};
use crate::ledger::shaped::{self, NewShaped, Reopened};
use crate::ledger::steps::{self, Steps};
use crate::ledger::{runs, snapshot};
use crate::pg::Guards;
use crate::pg::fault::is_duplicate;
use crate::plan::{Outline, Plan, path_of};
use crate::run::{Phase, Snapshot, Status, counted};
use crate::sync;

impl Run {
    /// Whether all of it was taken back.
    pub fn is_undone(&self) -> bool {
        self.status == Status::Succeeded && self.phase == Phase::Down
    }

    /// Whether its rows have not been begun yet.
    pub fn is_before_walk(&self) -> bool {
        matches!(self.phase, Phase::Expand | Phase::Sync)
    }
}

/// Whether the statements of a job's expand come next, as far as its newest run says.
pub fn expands_next(job: &Job, last: Option<&Run>) -> bool {
    job.shape.expands() && last.is_none_or(|run| run.is_undone() || run.is_before_walk())
}

impl Desk {
    /// Checks that the jobs that `job` comes after are done.
    ///
    /// # Errors
    /// Those that are not, by name.
    pub async fn check_after(&self, job: &Job) -> Result<(), Error> {
        let mut open = Vec::new();
        for name in &job.shape.after {
            match self.find(name).await? {
                Some(run) if run.is_undone() => open.push(format!("`{name}` was taken back")),
                Some(run) if run.status == Status::Succeeded => {}
                Some(run) => open.push(format!("`{name}` is {}", run.status)),
                None => open.push(format!("`{name}` has not begun")),
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        let what =
            format!("`{}` comes after jobs that are not done; nothing was written", job.name);
        let error = refused(
            "after",
            what,
            "`piecemeal run` without a name does all jobs of the folder in their order",
        );
        Err(open.into_iter().fold(error, Error::because))
    }

    /// Checks that a run is not in contract or down, which have commands of their own.
    ///
    /// # Errors
    /// Which command goes on with it.
    pub fn check_goes_forward(&self, run: &Run) -> Result<(), Error> {
        let (what, command) = match run.phase {
            Phase::Contract => ("its contract is under way", "contract"),
            Phase::Down => ("it is being taken back", "down"),
            Phase::Expand | Phase::Sync | Phase::Backfill | Phase::Verify => return Ok(()),
        };
        let job = &run.job;
        let hint = format!("`piecemeal {command} {job}` goes on with it");
        Err(refused("phase", format!("run `{job}` does not go on: {what}"), &hint))
    }

    /// Creates a run that begins with the statements of `[expand]`, installing the ledger if that is missing. `last` is
    /// the newest run of the job that the caller knows of; what that has added stays added.
    ///
    /// # Errors
    /// When another run was created since `last`, what stands is not what the job says, or this role may not.
    pub async fn begin(&self, outline: &Outline, last: Option<&Run>) -> Result<i64, Error> {
        self.install(None).await?;
        let job = &outline.job;
        let stands = match last {
            Some(last) if !last.is_undone() => self.check_stands(job, last).await?,
            _ => None,
        };
        let new = NewShaped {
            job: &job.name,
            nth: last.map_or(1, |run| run.nth + 1),
            identity: &Identity::of(job),
            added: &outline.added,
            stands,
            actor: &self.actor,
        };
        let mut session = self.session().await?;
        shaped::create(&mut session, &new).await.map_err(|fault| {
            if is_duplicate(fault.message()) { raced(&job.name) } else { broken(&fault) }
        })
    }

    /// Returns the run before if its statements stand; they must be the ones that the job begins with.
    async fn check_stands(&self, job: &Job, last: &Run) -> Result<Option<i64>, Error> {
        let steps = self.steps(last.id).await?;
        let name = &job.name;
        let hint = format!(
            "`piecemeal down {name}` takes back what stands; then `piecemeal run {name}` begins anew"
        );
        if steps.began(Part::ContractUp) || steps.began(Part::ExpandDown) {
            let what = format!(
                "the last run of `{name}` has contracted, or was not taken back to its end"
            );
            return Err(refused("stands", what, &hint));
        }
        for (no, statement) in (1..).zip(&job.shape.expand.up) {
            let Some(step) = steps.of(Part::ExpandUp, no) else { break };
            if step.is_done && step.sql != statement.text {
                let what = format!("statement {no} of [expand] up was run as something else");
                return Err(refused("stands", what, &hint).because(format!("it was: {}", step.sql)));
            }
        }
        if steps.done(Part::ExpandUp) > job.shape.expand.up.len() {
            let what = format!("more statements of [expand] up were run than `{name}` has now");
            return Err(refused("stands", what, &hint));
        }
        Ok(steps.began(Part::ExpandUp).then_some(last.id))
    }

    /// Returns the statements of a run that were begun.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn steps(&self, run: i64) -> Result<Steps, Error> {
        let mut session = self.session().await?;
        steps::read(&mut session, run).await.map_err(|fault| broken(&fault))
    }

    /// Notes that the statements of a run's `[expand]` have been run, and that its sync trigger comes next.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn begin_sync(&self, run: i64) -> Result<(), Error> {
        let mut session = self.session().await?;
        shaped::begin_sync(&mut session, run).await.map_err(|fault| broken(&fault))
    }

    /// Lets the rows of a run begin whose statements of `[expand]` have been run; returns whether nobody else had. The
    /// walk ends at the highest key there is now, which is after everything that keeps new rows in step was committed.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn begin_walk(&self, plan: &Plan, run: i64) -> Result<bool, Error> {
        let begun =
            self.with_walk(plan, 0, async |session, new| runs::begin_walk(session, run, new).await);
        let begun = begun.await?.map_err(|fault| broken(&fault))?;
        Ok(begun.is_some())
    }

    /// Checks that the old shape of a run may be taken away: verified, nothing in quarantine, and every gate holds.
    ///
    /// # Errors
    /// Everything that stands against it; nothing was written.
    pub async fn check_contract(
        &self,
        job: &Job,
        run: &Run,
        is_acknowledged: bool,
    ) -> Result<Snapshot, Error> {
        let mut session = self.session().await?;
        let found = snapshot::of_run(&mut session, run.id).await.map_err(|fault| broken(&fault))?;
        let snapshot = found.ok_or_else(|| self.no_run(&job.name))?;
        check_verified(job, &snapshot)?;
        let path = path_of(&mut session, job).await.map_err(|fault| broken(&fault))?;
        let path = path.map_or(Path::Own, Path::Schemas);
        let held = change::held(&mut session, &path, &job.shape.gates, is_acknowledged);
        let held = held.await.map_err(|fault| broken(&fault))?;
        if held.is_empty() {
            return Ok(snapshot);
        }
        let what = format!("contract of `{}` waits for its gates; nothing was written", job.name);
        let hint = if held.iter().any(|gate| gate.is_for_people) {
            "when they hold, the same command goes on; `--acknowledge \"who saw to it\"` gives your word for those that only a person can judge"
        } else {
            "when they hold, the same command goes on"
        };
        let error = refused("gate", what, hint);
        Err(held.iter().fold(error, |error, gate| {
            error.because(format!("gate \"{}\": {}", gate.what, gate.why))
        }))
    }

    /// Makes a run that nobody works on ready for contract or down.
    ///
    /// # Errors
    /// When somebody works on it.
    pub async fn reopen(&self, run: &Run, phase: Phase) -> Result<(), Error> {
        let mut session = self.session().await?;
        let reopened = shaped::reopen(&mut session, run.id, phase, &self.actor).await;
        match reopened.map_err(|fault| broken(&fault))? {
            Reopened::Yes => Ok(()),
            Reopened::Gone => Err(self.no_run(&run.job)),
            Reopened::Live => {
                let job = &run.job;
                let what = format!("run `{job}` is being worked on; nothing was written");
                let error = Error::new(ErrorKind::Owned, "owned", what);
                let hint = format!(
                    "`piecemeal pause {job} --wait`, or `piecemeal cancel {job} --wait`, comes before it; so does stopping its process"
                );
                let owner = run.owner.as_ref().map(|owner| format!("by {owner}"));
                Err(owner.into_iter().fold(error, Error::because).with_hint(hint))
            }
        }
    }

    /// Returns the parts whose statements take a run back, and those of them that may find nothing to undo.
    ///
    /// # Errors
    /// Everything that is missing for that; nothing was touched.
    pub async fn way_back(&self, job: &Job, run: &Run) -> Result<(Vec<Part>, Vec<Part>), Error> {
        let steps = self.steps(run.id).await?;
        let mut session = self.session().await?;
        let marks = shaped::marks(&mut session, run.id).await.map_err(|fault| broken(&fault))?;
        let parts = way_back(job, &steps, &marks).map_err(|missing| no_way(job, &missing))?;
        let is_whole = |up: Part| steps.done(up) >= job.shape.statements(up).map_or(0, <[_]>::len);
        let ups = [(Part::ContractUp, Part::ContractDown), (Part::ExpandUp, Part::ExpandDown)];
        let lenient = ups.into_iter().filter(|(up, _)| !is_whole(*up)).map(|(_, down)| down);
        Ok((parts, lenient.collect()))
    }

    /// Whether taking a run back goes over its rows: to compute the old columns from the new ones, between the
    /// statements of `[contract] down` and of `[expand] down`.
    ///
    /// # Errors
    /// When the old columns may not have what was written to the new ones, or the other way round; or the ledger cannot
    /// be read.
    pub async fn goes_back_over_rows(&self, job: &Job, run: &Run) -> Result<bool, Error> {
        let reverse = job.sync.as_ref().map_or(&[][..], |sync| &sync.reverse);
        if reverse.is_empty() {
            return Ok(false);
        }
        // As long as its trigger is at work, the old columns are in step.
        let mut session = self.session().await?;
        let is_at_work = sync::is_at_work(&mut session, &job.name).await;
        if is_at_work.map_err(|fault| broken(&fault))? {
            return Ok(false);
        }
        let marks = shaped::marks(&mut session, run.id).await.map_err(|fault| broken(&fault))?;
        if !reverse.iter().any(|it| marks.dropped.contains(&it.column)) {
            self.check_sides(&job.name, run.id).await?;
        }
        Ok(reverses(&self.steps(run.id).await?))
    }

    /// Returns the job that computes the old columns of `job`, which are there again, and whether it begins anew: it was
    /// done, and does only the rows that were missed since.
    ///
    /// # Errors
    /// Every finding, if one of them refuses; or that the catalog could not be read.
    pub async fn reversed(&self, job: &Job) -> Result<(Job, bool), Error> {
        let none = || refused("no-reverse", format!("`{}` has no `reverse`", job.name), "");
        let bare = job.reversed(|_| None).ok_or_else(none)?;
        let plan = Plan::build(&bare, self.database()).await?;
        let mut session = self.session().await?;
        let params = [i64::from(plan.target.oid).into()];
        let rows = session.transact(&Guards::reading(), TYPES, &params).await;
        let rows = rows.map_err(|fault| broken(&fault))?;
        let types: BTreeMap<String, String> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let back = job.reversed(|column| types.get(column).cloned()).ok_or_else(none)?;
        Ok(match self.find(&back.name).await? {
            Some(run) if run.status == Status::Succeeded => (back.only_missed(), true),
            Some(run) if run.nth > 1 => (back.only_missed(), false),
            _ => (back, false),
        })
    }
}

/// The types of a table's columns.
const TYPES: &str = "\
SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod) FROM pg_catalog.pg_attribute
WHERE attrelid = ($1::int8)::oid AND attnum > 0 AND NOT attisdropped";

fn check_verified(job: &Job, snapshot: &Snapshot) -> Result<(), Error> {
    let name = &job.name;
    let refuse = |code, why: &str, hint: String| {
        let what = format!("`{name}` cannot be contracted: {why}; nothing was written");
        Err(refused(code, what, &hint))
    };
    let is_over = snapshot.status == Status::Succeeded || snapshot.phase == Phase::Contract;
    if (is_over || snapshot.phase == Phase::Verify) && snapshot.rows.waiting() > 0 {
        let why = format!("{} in quarantine", counted(snapshot.rows.waiting(), "rows"));
        let hint =
            format!("`piecemeal quarantine {name}` lists them, does them again, or accepts them");
        return refuse("quarantined", &why, hint);
    }
    if !is_over || snapshot.phase == Phase::Down {
        let why = format!("it is {} in phase {}", snapshot.shown(), snapshot.phase);
        return refuse(
            "not-verified",
            &why,
            format!("`piecemeal run {name}` brings it to a verified end"),
        );
    }
    if job.has_work() && snapshot.verified.as_deref() != Some("rows") {
        let hint = format!("write `expect` under [verify], then `piecemeal run {name} --again`");
        return refuse(
            "not-verified",
            "it was verified by the books alone, so rows that came later may not be done",
            hint,
        );
    }
    Ok(())
}

fn no_way(job: &Job, missing: &[Missing]) -> Error {
    let code = missing.first().map_or("no-way-back", |it| it.code);
    let what = format!("`{}` cannot be taken back; nothing was written", job.name);
    let hints: Vec<&str> = missing.iter().map(|it| it.hint.as_str()).collect();
    let error = refused(code, what, &hints.join("; "));
    missing.iter().fold(error, |error, it| error.because(it.what.as_str()))
}
