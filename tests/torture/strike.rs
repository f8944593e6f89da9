//! How each fault is injected.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::faults::{Fault, Moment, Trouble};
use crate::program::{JOB, OWNED, TERMINATED, Worker};
use crate::proxy::Weather;
use crate::storm::{STALL, Storm, View};
use crate::tricks::Trick;
use crate::trouble;
use crate::writers::Book;

/// How long a process may take to leave after SIGTERM.
const LEAVING: Duration = Duration::from_secs(10);

impl Storm<'_> {
    /// Injects one fault; returns whether it had an effect.
    pub(crate) async fn strike(&mut self, fault: Fault, view: &View) -> Outcome<bool> {
        let had_effect = match fault {
            Fault::Kill(moment) => return self.kill(moment).await,
            Fault::Term => return self.term().await,
            Fault::Zombie => return self.freeze().await,
            Fault::Terminate { all, moment } => {
                self.wait_for(moment).await;
                trouble::terminate(self.eye.as_ref(), if all { 100 } else { 1 }).await? > 0
            }
            Fault::Cancel => {
                self.wait_for(Moment::InFlight).await;
                trouble::cancel(self.eye.as_ref()).await? > 0
            }
            Fault::Crash => self.crash().await?,
            Fault::Stop(moment) => self.stop_and_start(moment).await?,
            Fault::Promote => return self.promote().await,
            Fault::Cut(trick) => self.scene.proxy.play(trick).await,
            Fault::CutAll(moment) => {
                self.wait_for(moment).await;
                self.scene.proxy.cut_all() > 0
            }
            Fault::Freeze | Fault::Slow => self.bad_weather(fault == Fault::Freeze).await,
            Fault::DiskFull => self.fill_the_disk().await?,
            Fault::Trouble(Trouble::Attach) => self.attach().await?,
            Fault::Trouble(what) => trouble::make(self.scene, what, &mut self.rng).await?,
        };
        if had_effect {
            self.see_recovery(view.batches).await?;
        }
        Ok(had_effect)
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

    /// Sometimes it is the second process that is hit.
    fn choose_victim(&mut self) {
        if let Some(peer) = self.peer.as_mut().filter(|_| self.rng.bool()) {
            std::mem::swap(&mut self.worker, peer);
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
        self.choose_victim();
        let before = self.scene.proxy.counts().unanswered;
        self.worker.kill().await?;
        self.count_repeated(before).await?;
        if matches!(moment, Moment::Late(_)) && self.peer.is_some() {
            // It is not known whose batch is held, and only a dead process lets go of it.
            self.peer = Some(self.start()?);
        }
        self.replace().await?;
        Ok(true)
    }

    /// What was under way when a process died is done again, unless the server has done it all the same.
    async fn count_repeated(&mut self, before: u64) -> Outcome<()> {
        // The wire notices a moment later.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let lost = self.scene.proxy.counts().unanswered - before;
        let each = u32::try_from(lost).map_or(0.0, f64::from) / f64::from(self.scene.case.workers);
        self.tally.repeated = self.tally.repeated.max(each);
        // What breaks at the same moment may be a connection of the other process.
        if each <= 1.0 || self.peer.is_some() {
            Ok(())
        } else {
            Err(format!("{lost} batches were under way").into())
        }
    }

    async fn term(&mut self) -> Outcome<bool> {
        self.wait_for(Moment::Any).await;
        self.choose_victim();
        let started = Instant::now();
        self.worker.signal("TERM")?;
        let ended = self.worker.end(LEAVING).await?;
        let worst = &mut self.tally.worst.leaving;
        *worst = (*worst).max(started.elapsed());
        // One that has just begun dies of it.
        let is_right = ended.is_some_and(|it| it.code().is_none_or(|code| code == TERMINATED));
        if !is_right {
            return Err(format!("SIGTERM: {ended:?}").into());
        }
        self.replace().await?;
        Ok(true)
    }

    /// Starts another process, and sees it take over; sometimes the next fault hits before that.
    async fn replace(&mut self) -> Outcome<()> {
        let started = Instant::now();
        self.worker = self.start()?;
        let before = self.look().await.map_or(0, |view| view.batches);
        if self.rng.u32(..4) > 0 {
            self.until_batches_after(before).await?;
            let worst = &mut self.tally.worst.takeover;
            *worst = (*worst).max(started.elapsed());
        }
        Ok(())
    }

    async fn crash(&mut self) -> Outcome<bool> {
        self.wait_for(Moment::InFlight).await;
        let Some(pid) = trouble::backend(self.eye.as_ref()).await else { return Ok(false) };
        let killed = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status()?;
        Ok(killed.success())
    }

    async fn stop_and_start(&mut self, moment: Moment) -> Outcome<bool> {
        self.wait_for(moment).await;
        let server = &self.scene.server;
        tokio::task::block_in_place(|| server.stop_immediate())?;
        tokio::time::sleep(Duration::from_millis(self.rng.u64(..400))).await;
        let started = Instant::now();
        loop {
            match tokio::task::block_in_place(|| server.start_again()) {
                Ok(()) => return Ok(true),
                Err(error) if started.elapsed() > STALL => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Lets the table grow no more, until the program has been told so.
    async fn fill_the_disk(&mut self) -> Outcome<bool> {
        let Some(disk) = &self.scene.disk else { return Ok(false) };
        let before = self.scene.proxy.counts().full;
        // A run that goes slowly may need no new page for a long time.
        self.scene.program.call(&["throttle", JOB, "--clear"]).await?;
        self.pace = u64::from(u32::MAX);
        tokio::task::block_in_place(|| disk.fill())?;
        let is_felt = self.scene.proxy.until(|now| now.full > before).await;
        tokio::time::sleep(Duration::from_millis(self.rng.u64(..1_500))).await;
        disk.free()?;
        Ok(is_felt)
    }

    /// A failover that loses the last of what was committed: what the writers were told since then is
    /// void, and what they did before that is there.
    async fn promote(&mut self) -> Outcome<bool> {
        let server = &self.scene.server;
        let books = self.writers.hold().await;
        let Some(written) = server.written().await else { return Ok(false) };
        server.part(&written).await?;
        let kept: Vec<_> = books.iter().map(|book| Book::clone(book)).collect();
        drop(books);
        tokio::time::sleep(Duration::from_millis(self.rng.u64(..2_000))).await;
        let seen = self.look().await.map_or(0, |view| view.batches);
        tokio::task::block_in_place(|| server.stop_immediate())?;
        let books = self.writers.hold().await;
        server.promote()?;
        for (mut book, kept) in books.into_iter().zip(kept) {
            *book = kept;
        }
        let left = self.look().await.ok_or("the new primary does not answer")?.batches;
        self.tally.lost += (seen - left).max(0);
        // The order to be slow may be among what was lost.
        self.pace = u64::from(u32::MAX);
        self.see_recovery(left).await?;
        Ok(true)
    }

    async fn bad_weather(&mut self, is_frozen: bool) -> bool {
        let proxy = &self.scene.proxy;
        let latency = Duration::from_millis(self.rng.u64(50..300));
        proxy.weather(Weather { is_frozen, latency });
        tokio::time::sleep(Duration::from_millis(self.rng.u64(500..2_500))).await;
        proxy.weather(Weather::default());
        if is_frozen && self.rng.bool() {
            proxy.cut_all();
        }
        true
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
            return Ok(true);
        }
        let successor = self.start()?;
        let mut zombie: Worker = std::mem::replace(&mut self.worker, successor);
        self.until_batches_after(before).await?;
        zombie.signal("CONT")?;
        let ended = zombie.end(STALL).await?.and_then(|status| status.code());
        if ended != Some(OWNED) {
            return Err(format!("the zombie ended with {ended:?}").into());
        }
        Ok(true)
    }
}
