//! The application: four writers that never stop, and remember what they were told.
//!
//! Each has rows of its own, so nobody else explains what is found at the end. An error after a
//! write was sent leaves the write unsure; it is never repeated.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::{Mutex, OwnedMutexGuard, watch};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use crate::Outcome;
use crate::ledger::{Entry, Ledger, There};
use crate::scene::{Scene, connect};
use crate::shape::Shape;
use crate::work::{PARTS, Work};

const WRITERS: i64 = 4;

const UPDATE: &str = "UPDATE torture SET app_ver = app_ver + 1 WHERE tag = $1";

/// What is deleted is kept by the same statement, so that the books can be checked to the row.
const DELETE: &str = "\
WITH gone AS (DELETE FROM torture WHERE tag = $1 RETURNING tag, n, app_ver, born)
INSERT INTO torture_grave SELECT * FROM gone";

/// All writers at work.
pub(crate) struct Writers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Outcome<()>>>,
    books: Vec<Arc<Mutex<Book>>>,
}

/// What one writer knows; nobody has it while a write is on its way.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    ledger: Ledger,
    /// Rows that are there for sure.
    tags: Vec<i64>,
    next_tag: i64,
}

impl Book {
    fn new(no: i64, rows: i64) -> Book {
        let tags: Vec<_> = (0..rows).filter(|tag| tag % WRITERS == no).collect();
        let ledger = tags.iter().map(|tag| (*tag, Entry::new(There::Yes, false))).collect();
        Book { ledger, tags, next_tag: 1_000_000_000 + no }
    }

    fn entry(&mut self, tag: i64) -> &mut Entry {
        self.ledger.entry(tag).or_insert(Entry::new(There::Unsure, true))
    }
}

impl Writers {
    /// Lets them begin.
    pub(crate) fn start(scene: &Scene, rng: &mut Rng) -> Writers {
        let (stop, stopped) = watch::channel(false);
        let book = |no| Arc::new(Mutex::new(Book::new(no, scene.rows())));
        let books: Vec<_> = (0..WRITERS).map(book).collect();
        let start = |book: &Arc<Mutex<Book>>| {
            let writer = Writer {
                url: scene.url(),
                shape: scene.case.shape,
                work: scene.case.work,
                slots: scene.rows(),
                rng: rng.fork(),
            };
            tokio::spawn(writer.write(Arc::clone(book), stopped.clone()))
        };
        let tasks = books.iter().map(start).collect();
        Writers { stop, tasks, books }
    }

    /// Lets all of them wait between two writes, for as long as the books are held.
    pub(crate) async fn hold(&self) -> Vec<OwnedMutexGuard<Book>> {
        let books = self.books.iter().map(|book| Arc::clone(book).lock_owned());
        futures_util::future::join_all(books).await
    }

    /// Lets them end, and returns what each of them knows.
    pub(crate) async fn stop(self) -> Outcome<Vec<Ledger>> {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await??;
        }
        let ledgers = self.books.iter().map(async |book| book.lock().await.ledger.clone());
        Ok(futures_util::future::join_all(ledgers).await)
    }
}

struct Writer {
    url: String,
    shape: Shape,
    work: Work,
    slots: i64,
    rng: Rng,
}

impl Writer {
    async fn write(
        mut self,
        book: Arc<Mutex<Book>>,
        stopped: watch::Receiver<bool>,
    ) -> Outcome<()> {
        while !*stopped.borrow() {
            // During an outage there is nothing to write to.
            if let Ok(client) = connect(&self.url).await {
                while !*stopped.borrow() && !client.is_closed() {
                    self.write_once(&client, &mut *book.lock().await).await?;
                    tokio::time::sleep(Duration::from_millis(self.rng.u64(2..15))).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn write_once(&mut self, client: &Client, book: &mut Book) -> Outcome<()> {
        match self.rng.u32(..100) {
            0..20 => self.insert(client, book).await,
            20..30 => self.delete(client, book).await,
            30..40 => self.update_slowly(client, book).await,
            40..60 if self.work.is_partitioned() => self.change(&moves(), client, book).await,
            _ => self.change(UPDATE, client, book).await,
        }
    }

    fn any_row(&mut self, book: &Book) -> Option<i64> {
        self.rng.choice(book.tags.iter().copied())
    }

    async fn change(&mut self, update: &str, client: &Client, book: &mut Book) -> Outcome<()> {
        let Some(tag) = self.any_row(book) else { return Ok(()) };
        match client.execute(update, &[&tag]).await {
            Ok(1) => book.entry(tag).acked += 1,
            Ok(_) => return Err(format!("row {tag} was there and is not").into()),
            // Another row has its key in the partition that it was to move to.
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {}
            Err(error) => book.entry(tag).unsure += outage(&error)?,
        }
        Ok(())
    }

    /// Holds the row's lock for a while, so that a batch has to wait for it.
    async fn update_slowly(&mut self, client: &Client, book: &mut Book) -> Outcome<()> {
        let Some(tag) = self.any_row(book) else { return Ok(()) };
        let hold = Duration::from_millis(self.rng.u64(..60));
        let is_ready = client.batch_execute("BEGIN").await.is_ok()
            && client.execute(UPDATE, &[&tag]).await.is_ok_and(|rows| rows == 1);
        tokio::time::sleep(hold).await;
        let ended = client.batch_execute(if is_ready { "COMMIT" } else { "ROLLBACK" }).await;
        match ended {
            _ if !is_ready => {}
            Ok(()) => book.entry(tag).acked += 1,
            Err(error) => book.entry(tag).unsure += outage(&error)?,
        }
        Ok(())
    }

    /// Inserts a row behind the cursor, ahead of it, or behind the end of the walk.
    async fn insert(&mut self, client: &Client, book: &mut Book) -> Outcome<()> {
        let tag = book.next_tag;
        book.next_tag += WRITERS;
        let slot = self.rng.i64(0..self.slots * 11 / 10);
        let (a, b) = self.shape.make(&mut self.rng, slot, self.slots);
        let (keys, tags) = ([[a], [b]], [tag]);
        let params: [&(dyn ToSql + Sync); 4] = [&&keys[0][..], &&keys[1][..], &&tags[..], &true];
        match client.execute(&self.shape.insert("torture", self.work), &params).await {
            Ok(1) => {
                book.entry(tag).there = There::Yes;
                book.tags.push(tag);
            }
            // Somebody has this key already.
            Ok(_) => {}
            Err(error) => {
                outage(&error)?;
                book.entry(tag).there = There::Unsure;
            }
        }
        Ok(())
    }

    async fn delete(&mut self, client: &Client, book: &mut Book) -> Outcome<()> {
        let Some(at) = self.rng.choice(0..book.tags.len()) else { return Ok(()) };
        let tag = book.tags.swap_remove(at);
        let there = match client.execute(DELETE, &[&tag]).await {
            Ok(1) => There::No,
            Ok(_) => return Err(format!("row {tag} was there and is not").into()),
            Err(error) => {
                outage(&error)?;
                There::Unsure
            }
        };
        book.entry(tag).there = there;
        Ok(())
    }
}

/// Returns the one write that is unsure after an outage, or on a full disk; any other error must not happen.
fn outage(error: &tokio_postgres::Error) -> Outcome<i32> {
    let code = error.code().map(SqlState::code);
    let is_outage = code.is_none_or(|code| code.starts_with("57") || code == "53100");
    if is_outage { Ok(1) } else { Err(format!("a writer failed: {error:?}").into()) }
}

/// Returns the update that also moves the row to another partition.
fn moves() -> String {
    UPDATE.replace("WHERE", &format!(", part = (part + 1) % {PARTS} WHERE"))
}
