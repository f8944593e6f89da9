//! Lets everything on the menu go wrong, while the run is open, until all of it had an effect.
//!
//! A fault counts only if it hit a worker that held the run; else it is tried again. The run is
//! slowed down for as long as there are faults left, and then let go.

use std::fmt::Write as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio_postgres::Client;

use crate::Outcome;
use crate::faults::{Fault, Menu, Moment, PER_FAULT};
use crate::program::{JOB, OWNED, UNREACHABLE, Worker};
use crate::proxy::Trick;
use crate::scene::Scene;

/// Ranges that the table is cut into for more than one worker.
const RANGES: u32 = 12;

/// How long a run may make no progress before that is a failure.
const STALL: Duration = Duration::from_secs(40);

const VIEW: &str = "\
SELECT r.status, CASE WHEN r.lease_token IS NOT NULL THEN (r.owner ->> 'pid')::int8 END AS owner,
       sum(g.batches)::int8 AS batches, sum(g.seen)::int8 AS seen
FROM piecemeal.run r JOIN piecemeal.range g ON g.run_id = r.id GROUP BY r.id";

const TERMINATE: &str = "\
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM (
    SELECT pid FROM pg_stat_activity WHERE application_name = 'piecemeal torture'
    ORDER BY state = 'active' DESC, random() LIMIT $1
) a";

/// Where the run is.
#[derive(Debug)]
struct View {
    status: String,
    owner: Option<i64>,
    batches: i64,
    seen: i64,
}

/// Faults that had an effect.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    terminates: u32,
    stops: u32,
    cuts: u32,
    zombies: u32,
    worst_takeover: Duration,
    worst_recovery: Duration,
}

/// One run of the job, from its beginning to its end.
pub(crate) struct Storm<'a> {
    scene: &'a Scene,
    rng: Rng,
    todo: Vec<Fault>,
    pace: u64,
    worker: Worker,
    /// The second process, if there is one.
    peer: Option<Worker>,
    workers: u32,
    eye: Option<Client>,
    tally: Tally,
}

impl<'a> Storm<'a> {
    /// Begins the run with a single row, slows it down, and starts the first worker.
    pub(crate) async fn begin(scene: &'a Scene, menu: &Menu, mut rng: Rng) -> Outcome<Storm<'a>> {
        let canary = ["run", JOB, "--yes", "--progress", "none", "--limit", "1"];
        let left = scene.program.call(&canary).await?;
        if left != Some(4) {
            return Err(format!("the first row: exit {left:?}").into());
        }
        if menu.workers > 1 || menu.has_peer {
            scene.connect().await?.batch_execute(&scene.shape.cut(RANGES)).await?;
        }
        let pace = menu.pace();
        let rate = format!("{pace}/s");
        scene.program.call(&["throttle", JOB, "--rate", &rate]).await?;
        let start = |command| scene.program.work(command, menu.workers);
        let worker = start(if menu.has_peer { "join" } else { "run" })?;
        let peer = menu.has_peer.then(|| start("join")).transpose()?;
        let todo = menu.faults(&mut rng);
        let (workers, tally) = (menu.workers, Tally::default());
        Ok(Storm { scene, rng, todo, pace, worker, peer, workers, eye: None, tally })
    }

    /// Starts the process that takes the place of one that is gone.
    fn start(&self) -> Outcome<Worker> {
        let command = if self.peer.is_some() { "join" } else { "run" };
        self.scene.program.work(command, self.workers)
    }

    /// Injects every fault, lets the run go, and waits for its end.
    pub(crate) async fn rage(&mut self) -> Outcome<()> {
        let mut last_effect = Instant::now();
        while let Some(fault) = self.todo.last().copied() {
            let Some(view) = self.held().await? else {
                if last_effect.elapsed() > STALL {
                    return Err("nobody holds the run".into());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            self.slow_down(&view).await?;
            if self.strike(fault, &view).await? {
                self.todo.pop();
                last_effect = Instant::now();
            } else if last_effect.elapsed() > STALL {
                return Err(format!("{fault:?} had no effect for too long").into());
            }
        }
        self.scene.program.call(&["throttle", JOB, "--clear"]).await?;
        for process in std::iter::once(&mut self.worker).chain(&mut self.peer) {
            let ended = process.end(STALL * 3).await?;
            let code = ended.and_then(|status| status.code());
            if code != Some(0) {
                return Err(format!("the last worker ended with {code:?}").into());
            }
        }
        Ok(())
    }

    /// Says what was injected.
    pub(crate) fn tally(&self) -> String {
        let tally = &self.tally;
        let mut text = format!(
            "{} kills, {} terminates, {} stops, {} cuts",
            tally.kills, tally.terminates, tally.stops, tally.cuts
        );
        if tally.zombies > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {} zombies", tally.zombies);
        }
        let peer = if self.peer.is_some() { " and a peer" } else { "" };
        let _ = write!(text, ", {} workers{peer}", self.workers);
        let late = self.scene.proxy.counts().late;
        let (takeover, recovery) = (tally.worst_takeover, tally.worst_recovery);
        let _ = write!(
            text,
            ", {late} late batches, worst takeover {takeover:.0?}, worst recovery {recovery:.0?}"
        );
        text
    }

    /// Looks at the run; `None` while the server is away.
    async fn look(&mut self) -> Option<View> {
        if self.eye.as_ref().is_none_or(Client::is_closed) {
            self.eye = self.scene.connect().await.ok();
        }
        let row = self.eye.as_ref()?.query_one(VIEW, &[]).await.ok()?;
        Some(View {
            status: row.get("status"),
            owner: row.get("owner"),
            batches: row.get("batches"),
            seen: row.get("seen"),
        })
    }

    /// Returns where the run is if a process of ours holds it.
    async fn held(&mut self) -> Outcome<Option<View>> {
        let ended = self.ended()?;
        let view = self.look().await;
        if let Some(View { status, seen, .. }) = &view
            && status == "succeeded"
        {
            let left = self.todo.len();
            return Err(format!("done after {seen} rows, with {left} faults left").into());
        }
        if let Some(ended) = ended {
            return Err(format!("the worker ended by itself: {ended}").into());
        }
        let ours = [Some(self.worker.pid()), self.peer.as_ref().map(Worker::pid)];
        Ok(view
            .filter(|it| it.status == "running" && it.owner.is_some() && ours.contains(&it.owner)))
    }

    /// Returns how a process ended by itself, if one did. Beside a peer, faults also hit one that is
    /// only about to begin; it then says so, and is started again, as any supervisor does.
    fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        let (workers, program) = (self.workers, &self.scene.program);
        if let Some(peer) = self.peer.as_mut() {
            for process in [&mut self.worker, peer] {
                match process.ended()? {
                    Some(ended) if ended.code() == Some(UNREACHABLE) => {
                        *process = program.work("join", workers)?;
                    }
                    Some(ended) => return Ok(Some(ended)),
                    None => {}
                }
            }
        }
        self.worker.ended()
    }

    /// Sees to it that there are rows left for all faults.
    async fn slow_down(&mut self, view: &View) -> Outcome<()> {
        let left = u64::try_from(self.scene.rows - view.seen).unwrap_or(0) * 4 / 5;
        let millis = self.todo.len() as u64 * PER_FAULT;
        let pace = (left * 1_000 / millis).max(20);
        if pace * 10 < self.pace * 7 {
            let rate = format!("{pace}/s");
            if self.scene.program.call(&["throttle", JOB, "--rate", &rate]).await? == Some(0) {
                self.pace = pace;
            }
        }
        Ok(())
    }

    /// Injects one fault; returns whether it had an effect.
    async fn strike(&mut self, fault: Fault, view: &View) -> Outcome<bool> {
        match fault {
            Fault::Kill(moment) => return self.kill(moment).await,
            Fault::Zombie => return self.freeze().await,
            Fault::Terminate { all, moment } => {
                self.wait_for(moment).await;
                if self.terminate(all).await? == 0 {
                    return Ok(false);
                }
                self.tally.terminates += 1;
            }
            Fault::Stop(moment) => {
                self.wait_for(moment).await;
                self.stop_and_start().await?;
                self.tally.stops += 1;
            }
            Fault::Cut(trick) => {
                if !self.scene.proxy.play(trick).await {
                    return Ok(false);
                }
                self.tally.cuts += 1;
            }
            Fault::CutAll(moment) => {
                self.wait_for(moment).await;
                if self.scene.proxy.cut_all() == 0 {
                    return Ok(false);
                }
                self.tally.cuts += 1;
            }
        }
        self.see_recovery(view.batches).await?;
        Ok(true)
    }

    /// Waits for the moment; a batch on its way is recognised before the server has answered it.
    async fn wait_for(&mut self, moment: Moment) {
        match moment {
            Moment::Any | Moment::Late(_) => {
                tokio::time::sleep(Duration::from_millis(self.rng.u64(..200))).await;
            }
            Moment::InFlight => {
                let before = self.scene.proxy.counts().sent;
                self.scene.proxy.until(|now| now.sent > before).await;
                tokio::time::sleep(Duration::from_micros(self.rng.u64(..3_000))).await;
            }
        }
    }

    async fn kill(&mut self, moment: Moment) -> Outcome<bool> {
        match moment {
            Moment::Late(until) => {
                if !self.scene.proxy.play(Trick::HoldLate(until)).await {
                    return Ok(false);
                }
            }
            Moment::Any | Moment::InFlight => self.wait_for(moment).await,
        }
        if let Some(peer) = self.peer.as_mut().filter(|_| self.rng.bool()) {
            std::mem::swap(&mut self.worker, peer);
        }
        self.worker.kill()?;
        let started = Instant::now();
        self.worker = self.start()?;
        self.tally.kills += 1;
        let before = self.look().await.map_or(0, |view| view.batches);
        // Sometimes the next fault hits before this one is over.
        if self.rng.u32(..4) > 0 {
            self.until_batches_after(before).await?;
            self.tally.worst_takeover = self.tally.worst_takeover.max(started.elapsed());
        }
        Ok(true)
    }

    async fn see_recovery(&mut self, before: i64) -> Outcome<()> {
        if self.rng.u32(..4) > 0 {
            let started = Instant::now();
            self.until_batches_after(before).await?;
            self.tally.worst_recovery = self.tally.worst_recovery.max(started.elapsed());
        }
        Ok(())
    }

    /// Waits until our worker holds the run and batches have been committed.
    async fn until_batches_after(&mut self, before: i64) -> Outcome<()> {
        let started = Instant::now();
        while self.held().await?.is_none_or(|view| view.batches <= before) {
            if started.elapsed() > STALL {
                return Err(format!("no batch for {STALL:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    async fn terminate(&mut self, all: bool) -> Outcome<i64> {
        let limit: i64 = if all { 100 } else { 1 };
        let Some(eye) = &self.eye else { return Ok(0) };
        Ok(eye.query_one(TERMINATE, &[&limit]).await?.get(0))
    }

    async fn stop_and_start(&mut self) -> Outcome<()> {
        let sandbox = &self.scene.sandbox;
        tokio::task::block_in_place(|| sandbox.stop_immediate())?;
        tokio::time::sleep(Duration::from_millis(self.rng.u64(..400))).await;
        let started = Instant::now();
        loop {
            match tokio::task::block_in_place(|| sandbox.start_again()) {
                Ok(()) => return Ok(()),
                Err(error) if started.elapsed() > STALL => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Freezes the worker until another one has taken over; thawed, it must find that out. One that
    /// has a peer goes on as a member.
    async fn freeze(&mut self) -> Outcome<bool> {
        self.worker.signal("STOP")?;
        let before = self.look().await.map_or(0, |view| view.batches);
        if self.peer.is_some() {
            let started = Instant::now();
            let frozen = Some(self.worker.pid());
            while self.look().await.is_none_or(|view| view.owner == frozen || view.owner.is_none())
            {
                if started.elapsed() > STALL {
                    return Err("nobody has taken the lead".into());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.until_batches_after(before).await?;
            self.worker.signal("CONT")?;
            self.tally.zombies += 1;
            return Ok(true);
        }
        let successor = self.start()?;
        let mut zombie = std::mem::replace(&mut self.worker, successor);
        self.until_batches_after(before).await?;
        zombie.signal("CONT")?;
        let ended = zombie.end(STALL).await?.and_then(|status| status.code());
        if ended != Some(OWNED) {
            return Err(format!("the zombie ended with {ended:?}").into());
        }
        self.tally.zombies += 1;
        Ok(true)
    }
}
