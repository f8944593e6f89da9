//! Lets everything on the menu go wrong, while the run is open, until all of it had an effect.
//!
//! A fault counts only if it hit a worker that held the run; else it is tried again. The run is
//! slowed down for as long as there are faults left, and then let go.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::select_all;
use tokio_postgres::Client;

use crate::Outcome;
use crate::faults::Fault;
use crate::ledger::Ledger;
use crate::program::{BAD_ROWS, JOB, LEFT, UNREACHABLE, Worker};
use crate::scene::Scene;
use crate::tally::Tally;
use crate::work::Work;
use crate::writers::Writers;

/// Ranges that the table is cut into for more than one worker.
const RANGES: u32 = 12;

/// How long a run may make no progress before that is a failure.
pub(crate) const STALL: Duration = Duration::from_secs(40);

const VIEW: &str = "\
SELECT r.status, CASE WHEN r.lease_token IS NOT NULL THEN (r.owner ->> 'pid')::int8 END AS owner,
       sum(g.batches)::int8 AS batches
FROM piecemeal.run r JOIN piecemeal.range g ON g.run_id = r.id GROUP BY r.id";

/// Where the run is.
#[derive(Debug)]
pub(crate) struct View {
    status: String,
    pub(crate) owner: Option<i64>,
    pub(crate) batches: i64,
}

/// Who holds the run.
enum Held {
    /// A process of ours, and where the run is.
    ByUs(View),
    /// Nobody of ours, or the server is away.
    ByNobody,
    /// Nobody any more: it is done.
    ToItsEnd,
}

/// One run of the job, from its beginning to its end.
pub(crate) struct Storm<'a> {
    pub(crate) scene: &'a Scene,
    pub(crate) writers: &'a Writers,
    pub(crate) rng: Rng,
    todo: Vec<Fault>,
    pub(crate) pace: u64,
    pub(crate) worker: Worker,
    /// The second process, if there is one.
    pub(crate) peer: Option<Worker>,
    pub(crate) eye: Option<Client>,
    pub(crate) tally: Tally,
    /// Rows of partitions that were attached.
    pub(crate) attached: Ledger,
    pub(crate) attempts: u32,
}

impl<'a> Storm<'a> {
    /// Begins the run with a single row, slows it down, and starts the first worker.
    pub(crate) async fn begin(
        scene: &'a Scene,
        writers: &'a Writers,
        rng: Rng,
    ) -> Outcome<Storm<'a>> {
        // The trigger is made once, at the very beginning.
        if scene.case.work == Work::Synced {
            scene.proxy.sabotage();
        }
        let canary = ["run", JOB, "--yes", "--progress", "none", "--limit", "1"];
        let left = scene.program.call(&canary).await?;
        if left != Some(LEFT) {
            return Err(format!("the first row: exit {left:?}").into());
        }
        let case = &scene.case;
        // Its ranges are places, which nobody can cut from outside.
        if (case.workers > 1 || case.has_peer) && case.work != Work::Physical {
            scene.connect().await?.batch_execute(&case.shape.cut(RANGES)).await?;
        }
        let pace = case.pace(case.rows_to_do(), case.faults.len());
        let rate = format!("{pace}/s");
        scene.program.call(&["throttle", JOB, "--rate", &rate]).await?;
        scene.proxy.sabotage();
        let start = |command| scene.program.work(command, case.workers);
        let worker = start(if case.has_peer { "join" } else { "run" })?;
        let peer = case.has_peer.then(|| start("join")).transpose()?;
        let (todo, tally) = (case.faults.clone(), Tally::default());
        Ok(Storm {
            scene,
            writers,
            rng,
            todo,
            pace,
            worker,
            peer,
            eye: None,
            tally,
            attached: Ledger::new(),
            attempts: 0,
        })
    }

    /// Starts the process that takes the place of one that is gone.
    pub(crate) fn start(&self) -> Outcome<Worker> {
        let command = if self.peer.is_some() { "join" } else { "run" };
        self.scene.program.work(command, self.scene.case.workers)
    }

    /// Injects every fault, lets the run go, and waits for its end.
    pub(crate) async fn rage(&mut self) -> Outcome<()> {
        let mut last_effect = Instant::now();
        while let Some(fault) = self.todo.last().copied() {
            let view = match self.held().await? {
                Held::ByUs(view) => view,
                Held::ByNobody if last_effect.elapsed() > STALL => {
                    return Err(format!("nobody holds the run before {fault:?}").into());
                }
                Held::ByNobody => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
                // It was faster than the faults: what it did is judged all the same.
                Held::ToItsEnd => break,
            };
            self.slow_down().await?;
            let struck = self.strike(fault, &view).await;
            if struck.map_err(|error| format!("{fault:?}: {error}"))? {
                *self.tally.faults.entry(fault.name()).or_default() += 1;
                self.todo.pop();
                last_effect = Instant::now();
            } else if last_effect.elapsed() > STALL {
                return Err(format!("{fault:?} had no effect for too long").into());
            }
        }
        self.scene.program.call(&["throttle", JOB, "--clear"]).await?;
        self.until_all_end().await?;
        if self.scene.case.work == Work::Quarantined {
            self.mend().await?;
        }
        self.tally.late = self.scene.proxy.counts().late;
        Ok(())
    }

    async fn until_all_end(&mut self) -> Outcome<()> {
        let started = Instant::now();
        loop {
            let work = self.scene.case.work;
            let peer = self.peer.as_mut().map_or(Ok(true), |peer| done(peer, work))?;
            if done(&mut self.worker, work)? && peer {
                return Ok(());
            }
            self.replace_the_unlucky()?;
            let limit = (STALL * 3).saturating_sub(started.elapsed());
            if !self.another_ends(limit).await? {
                return Err("the last worker does not end".into());
            }
        }
    }

    /// Waits until one of those that still work has ended; whether one has within `limit`.
    async fn another_ends(&mut self, limit: Duration) -> Outcome<bool> {
        let mut working = Vec::new();
        for process in std::iter::once(&mut self.worker).chain(&mut self.peer) {
            if process.ended()?.is_none() {
                working.push(Box::pin(process.end(limit)));
            }
        }
        if working.is_empty() {
            return Ok(true);
        }
        let (ended, ..) = select_all(working).await;
        Ok(ended?.is_some())
    }

    /// Looks at the run; `None` while the server is away.
    pub(crate) async fn look(&mut self) -> Option<View> {
        if self.eye.as_ref().is_none_or(Client::is_closed) {
            self.eye = self.scene.connect().await.ok();
        }
        let row = self.eye.as_ref()?.query_one(VIEW, &[]).await.ok()?;
        Some(View {
            status: row.get("status"),
            owner: row.get("owner"),
            batches: row.get("batches"),
        })
    }

    /// Returns who holds the run.
    async fn held(&mut self) -> Outcome<Held> {
        let ended = self.ended()?;
        let view = self.look().await;
        let end = end(self.scene.case.work);
        if view.as_ref().is_some_and(|view| view.status == end.0) {
            return Ok(Held::ToItsEnd);
        }
        if let Some(ended) = ended {
            return Err(format!("the worker ended by itself: {ended}").into());
        }
        let ours = [Some(self.worker.pid()), self.peer.as_ref().map(Worker::pid)];
        let is_ours =
            |it: &View| it.status == "running" && it.owner.is_some() && ours.contains(&it.owner);
        Ok(view.filter(is_ours).map_or(Held::ByNobody, Held::ByUs))
    }

    /// Returns how a process ended by itself, if one did.
    fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        self.replace_the_unlucky()?;
        for process in std::iter::once(&mut self.worker).chain(&mut self.peer) {
            if let Some(ended) = process.ended()?.filter(|it| !is_unlucky(it.code())) {
                return Ok(Some(ended));
            }
        }
        Ok(None)
    }

    /// Faults also hit a process that is only about to begin. If it then says that it could not reach
    /// the database, or that the table was locked, it is started again, as any supervisor does.
    fn replace_the_unlucky(&mut self) -> Outcome<()> {
        let command = if self.peer.is_some() { "join" } else { "run" };
        let (workers, program) = (self.scene.case.workers, &self.scene.program);
        for process in std::iter::once(&mut self.worker).chain(&mut self.peer) {
            if process.ended()?.is_some_and(|it| is_unlucky(it.code())) {
                *process = program.work(command, workers)?;
            }
        }
        Ok(())
    }

    /// Sees to it that there are rows left for all faults.
    async fn slow_down(&mut self) -> Outcome<()> {
        let left = self.scene.case.work.left();
        let sql = format!("SELECT count(*) FROM torture WHERE {left}");
        let Some(eye) = &self.eye else { return Ok(()) };
        let Ok(row) = eye.query_one(&sql, &[]).await else { return Ok(()) };
        let left = u64::try_from(row.get::<_, i64>(0)).unwrap_or(0);
        let pace = self.scene.case.pace(left, self.todo.len());
        if pace * 10 < self.pace * 7 {
            let rate = format!("{pace}/s");
            if self.scene.program.call(&["throttle", JOB, "--rate", &rate]).await? == Some(0) {
                self.pace = pace;
            }
        }
        Ok(())
    }

    /// Waits until the run goes on, unless the next fault is to hit before this one is over.
    pub(crate) async fn see_recovery(&mut self, before: i64) -> Outcome<()> {
        if self.rng.u32(..4) > 0 {
            let started = Instant::now();
            self.until_batches_after(before).await?;
            let worst = &mut self.tally.worst.recovery;
            *worst = (*worst).max(started.elapsed());
        }
        Ok(())
    }

    /// Waits until our worker holds the run and batches have been committed.
    pub(crate) async fn until_batches_after(&mut self, before: i64) -> Outcome<()> {
        let started = Instant::now();
        loop {
            match self.held().await? {
                Held::ByUs(view) if view.batches > before => return Ok(()),
                Held::ToItsEnd => return Ok(()),
                Held::ByUs(_) | Held::ByNobody => {}
            }
            if started.elapsed() > STALL {
                return Err(format!("no batch for {STALL:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn is_unlucky(code: Option<i32>) -> bool {
    matches!(code, Some(UNREACHABLE | LEFT))
}

/// How a run ends if nothing is wrong: its status, and the exit code of each process.
fn end(work: Work) -> (&'static str, i32) {
    if work == Work::Quarantined { ("failed", BAD_ROWS) } else { ("succeeded", 0) }
}

/// Whether a process has ended well.
fn done(process: &mut Worker, work: Work) -> Outcome<bool> {
    let ended = process.ended()?.map(|status| status.code());
    match ended {
        None => Ok(false),
        Some(Some(code)) if code == end(work).1 => Ok(true),
        Some(code) if is_unlucky(code) => Ok(false),
        Some(code) => Err(format!("the last worker ended with {code:?}").into()),
    }
}
