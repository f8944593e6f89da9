//! The application: four writers that never stop, and remember what they were told.
//!
//! Each has rows of its own, so nobody else explains what is found at the end. An error after a
//! write was sent leaves the write unsure; it is never repeated.

use std::time::Duration;

use fastrand::Rng;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::Outcome;
use crate::ledger::{Entry, Ledger, There};
use crate::scene::{Scene, connect};
use crate::shape::Shape;

const WRITERS: i64 = 4;

const UPDATE: &str = "UPDATE torture SET app_ver = app_ver + 1 WHERE tag = $1";

/// What is deleted is kept by the same statement, so that the books can be checked to the row.
const DELETE: &str = "\
WITH gone AS (DELETE FROM torture WHERE tag = $1 RETURNING tag, n, app_ver, born)
INSERT INTO torture_grave SELECT * FROM gone";

/// All writers at work.
pub(crate) struct Writers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Outcome<Ledger>>>,
}

impl Writers {
    /// Lets them begin.
    pub(crate) fn start(scene: &Scene, rng: &mut Rng) -> Writers {
        let (stop, stopped) = watch::channel(false);
        let start = |no| {
            let tags = (0..scene.rows()).filter(|tag| tag % WRITERS == no);
            let tags: Vec<_> = tags.collect();
            let writer = Writer {
                url: scene.url(),
                shape: scene.case.shape,
                slots: scene.rows(),
                ledger: tags.iter().map(|tag| (*tag, Entry::new(There::Yes, false))).collect(),
                tags,
                next_tag: 1_000_000_000 + no,
                rng: rng.fork(),
            };
            tokio::spawn(writer.write(stopped.clone()))
        };
        let tasks = (0..WRITERS).map(start).collect();
        Writers { stop, tasks }
    }

    /// Lets them end, and returns what each of them knows.
    pub(crate) async fn stop(self) -> Outcome<Vec<Ledger>> {
        self.stop.send_replace(true);
        let mut ledgers = Vec::new();
        for task in self.tasks {
            ledgers.push(task.await??);
        }
        Ok(ledgers)
    }
}

struct Writer {
    url: String,
    shape: Shape,
    slots: i64,
    ledger: Ledger,
    /// Rows that are there for sure.
    tags: Vec<i64>,
    next_tag: i64,
    rng: Rng,
}

impl Writer {
    async fn write(mut self, stopped: watch::Receiver<bool>) -> Outcome<Ledger> {
        while !*stopped.borrow() {
            // During an outage there is nothing to write to.
            if let Ok(client) = connect(&self.url).await {
                while !*stopped.borrow() && !client.is_closed() {
                    self.write_once(&client).await?;
                    tokio::time::sleep(Duration::from_millis(self.rng.u64(2..15))).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(self.ledger)
    }

    async fn write_once(&mut self, client: &Client) -> Outcome<()> {
        match self.rng.u32(..100) {
            0..20 => self.insert(client).await,
            20..30 => self.delete(client).await,
            30..40 => self.update_slowly(client).await,
            _ => self.update(client).await,
        }
    }

    fn any_row(&mut self) -> Option<i64> {
        self.rng.choice(self.tags.iter().copied())
    }

    fn entry(&mut self, tag: i64) -> &mut Entry {
        self.ledger.entry(tag).or_insert(Entry::new(There::Unsure, true))
    }

    async fn update(&mut self, client: &Client) -> Outcome<()> {
        let Some(tag) = self.any_row() else { return Ok(()) };
        match client.execute(UPDATE, &[&tag]).await {
            Ok(1) => self.entry(tag).acked += 1,
            Ok(_) => return Err(format!("row {tag} was there and is not").into()),
            Err(error) => self.entry(tag).unsure += outage(&error)?,
        }
        Ok(())
    }

    /// Holds the row's lock for a while, so that a batch has to wait for it.
    async fn update_slowly(&mut self, client: &Client) -> Outcome<()> {
        let Some(tag) = self.any_row() else { return Ok(()) };
        let hold = Duration::from_millis(self.rng.u64(..60));
        let is_ready = client.batch_execute("BEGIN").await.is_ok()
            && client.execute(UPDATE, &[&tag]).await.is_ok_and(|rows| rows == 1);
        tokio::time::sleep(hold).await;
        let ended = client.batch_execute(if is_ready { "COMMIT" } else { "ROLLBACK" }).await;
        match ended {
            _ if !is_ready => {}
            Ok(()) => self.entry(tag).acked += 1,
            Err(error) => self.entry(tag).unsure += outage(&error)?,
        }
        Ok(())
    }

    /// Inserts a row behind the cursor, ahead of it, or behind the end of the walk.
    async fn insert(&mut self, client: &Client) -> Outcome<()> {
        let tag = self.next_tag;
        self.next_tag += WRITERS;
        let slot = self.rng.i64(0..self.slots * 11 / 10);
        let (a, b) = self.shape.make(&mut self.rng, slot, self.slots);
        let (keys, tags) = ([[a], [b]], [tag]);
        let params: [&(dyn ToSql + Sync); 4] = [&&keys[0][..], &&keys[1][..], &&tags[..], &true];
        match client.execute(&self.shape.insert(), &params).await {
            Ok(1) => {
                self.entry(tag).there = There::Yes;
                self.tags.push(tag);
            }
            // Somebody has this key already.
            Ok(_) => {}
            Err(error) => {
                outage(&error)?;
                self.entry(tag).there = There::Unsure;
            }
        }
        Ok(())
    }

    async fn delete(&mut self, client: &Client) -> Outcome<()> {
        let Some(at) = self.rng.choice(0..self.tags.len()) else { return Ok(()) };
        let tag = self.tags.swap_remove(at);
        let there = match client.execute(DELETE, &[&tag]).await {
            Ok(1) => There::No,
            Ok(_) => return Err(format!("row {tag} was there and is not").into()),
            Err(error) => {
                outage(&error)?;
                There::Unsure
            }
        };
        self.entry(tag).there = there;
        Ok(())
    }
}

/// Returns the one write that is unsure after an outage; any other error must not happen.
fn outage(error: &tokio_postgres::Error) -> Outcome<i32> {
    let is_outage = error.code().is_none_or(|code| code.code().starts_with("57"));
    if is_outage { Ok(1) } else { Err(format!("a writer failed: {error:?}").into()) }
}
