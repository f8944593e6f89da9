//! Connections in three lanes, so that steering never waits behind work, nor behind a signal.
//!
//! The work lane is for batches, the watch lane for the lease, control and progress, the gate's for
//! the signals of the database. The only file that knows the pool. A connection that failed is closed;
//! a new one is made on the next request, with the settings as they are then.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use deadpool::managed::{self, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use tokio_postgres::{CancelToken, Client};

use super::connect::{Connect, Driver};
use super::connect_error::{ConnectError, ConnectErrorKind};
use super::fault::Fault;
use super::guards::{Begin, Release};
use super::kept::Keeper;
use super::message::DbMessage;
use super::session::Session;

/// How long the first connection is tried for, at the start of a command.
const FIRST_CONNECTION: Duration = Duration::from_secs(30);

/// The most workers of a process, each with a connection of its own; it is made when it is needed.
const WORKERS: usize = 64;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Batches and verification.
    Work,
    /// Lease, control, progress.
    Watch,
    /// The signals that hold a run.
    Gate,
}

/// Where the database is, and the connections to it.
#[derive(Clone)]
pub struct Database {
    connect: Connect,
    is_direct: Arc<AtomicBool>,
    work: Pool<Opener>,
    watch: Pool<Opener>,
    gate: Pool<Opener>,
}

/// Makes the connections of a pool.
struct Opener {
    connect: Connect,
    is_direct: Arc<AtomicBool>,
}

/// A connection and the task that moves its messages.
struct Opened {
    client: Client,
    driver: Driver,
    release: Release,
    keeper: Keeper,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl managed::Manager for Opener {
    type Type = Opened;
    type Error = ConnectError;

    async fn create(&self) -> Result<Opened, ConnectError> {
        let (client, driver, release) = self.connect.enter().await?;
        Ok(Opened { client, driver, release, keeper: Keeper::new(Arc::clone(&self.is_direct)) })
    }

    async fn recycle(&self, opened: &mut Opened, _: &Metrics) -> RecycleResult<ConnectError> {
        if opened.client.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}

/// A connection out of a pool, to which it goes back when it is dropped.
pub(super) struct Pooled(Object<Opener>);

impl Deref for Pooled {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0.client
    }
}

impl Pooled {
    /// What a transaction begins with here.
    pub(super) fn begin<'a>(&self, begin: &'a Begin) -> Cow<'a, str> {
        begin.on(self.0.release)
    }

    /// What this connection keeps.
    pub(super) fn keeper(&self) -> &Keeper {
        &self.0.keeper
    }

    /// Closes it; whoever waits for an answer learns that there will be none.
    pub(super) fn close(&self) {
        self.0.driver.abort();
    }

    /// Closes it instead of giving it back.
    pub(super) fn discard(self) {
        drop(Object::take(self.0));
    }
}

impl Database {
    /// Returns a database whose connections are made when they are needed.
    ///
    /// # Errors
    /// Never with the settings that are made here; the pool's builder could refuse others.
    pub fn new(connect: Connect) -> Result<Database, ConnectError> {
        let is_direct = Arc::default();
        let work = pool(&connect, &is_direct, WORKERS + 2)?;
        let watch = pool(&connect, &is_direct, 4)?;
        let gate = pool(&connect, &is_direct, 1)?;
        Ok(Database { connect, is_direct, work, watch, gate })
    }

    /// Notes whether nobody stands in front of the server: then its connections keep statements prepared, and take a
    /// transaction before the one before it is answered, and one of them stands for this process.
    pub(crate) fn set_direct(&self, is_direct: bool) {
        self.is_direct.store(is_direct, Ordering::Relaxed);
    }

    /// Asks the server to end the statement behind `token`.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn cancel(&self, token: &CancelToken) -> Result<(), Fault> {
        self.connect.cancel(token).await.map_err(Fault::from)
    }

    /// Returns the settings that it was made of.
    pub fn connect(&self) -> &Connect {
        &self.connect
    }

    /// Checks that the database can be reached and lets us in; retries for 30 s while it cannot be
    /// reached, and not at all when it refuses us. The connection is kept for what is asked next.
    ///
    /// # Errors
    /// The last reason for which it could not be reached, or why it refused.
    pub async fn reach(
        &self,
        mut say: impl FnMut(&ConnectError, Duration),
    ) -> Result<(), ConnectError> {
        for wait in waits() {
            match self.try_once().await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ConnectErrorKind::Unreachable => say(&error, wait),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(wait).await;
        }
        self.try_once().await
    }

    async fn try_once(&self) -> Result<(), ConnectError> {
        match self.watch.get().await {
            Ok(_) => Ok(()),
            Err(PoolError::Backend(error)) => Err(error),
            // The pool has no limits that could be met, nor hooks; whoever asks next learns of it.
            Err(_) => Ok(()),
        }
    }

    /// Returns a connection of `lane`.
    ///
    /// # Errors
    /// [`Fault::Unknown`] while no connection can be made, for whatever reason: a password that is
    /// wrong may be one that is being changed.
    pub(crate) async fn session(&self, lane: Lane) -> Result<Session, Fault> {
        let pool = match lane {
            Lane::Work => &self.work,
            Lane::Watch => &self.watch,
            Lane::Gate => &self.gate,
        };
        match pool.get().await {
            Ok(client) => Ok(Session::new(Pooled(client), self.connect.patience())),
            Err(PoolError::Backend(error)) => Err(Fault::from(error)),
            Err(error) => Err(Fault::Unknown(DbMessage::local(error.to_string()))),
        }
    }
}

/// The waits between attempts, 30 s in all.
fn waits() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times()
        .with_total_delay(Some(FIRST_CONNECTION))
        .build()
}

/// Does `act`, which only reads, once more as long as what stands against it `is_passing`, as a lost connection
/// does, for as long as the first connection is tried for.
pub(crate) async fn patiently<T, E, F: Future<Output = Result<T, E>>>(
    is_passing: impl Fn(&E) -> bool,
    mut act: impl FnMut() -> F,
) -> Result<T, E> {
    let started = Instant::now();
    for wait in waits().take_while(|_| started.elapsed() < FIRST_CONNECTION) {
        match act().await {
            Err(error) if is_passing(&error) => tokio::time::sleep(wait).await,
            done => return done,
        }
    }
    act().await
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Fault {
        Fault::Unknown(DbMessage::local(error.to_string()))
    }
}

fn pool(
    connect: &Connect,
    is_direct: &Arc<AtomicBool>,
    size: usize,
) -> Result<Pool<Opener>, ConnectError> {
    let opener = Opener { connect: connect.clone(), is_direct: Arc::clone(is_direct) };
    let built = Pool::builder(opener).max_size(size).build();
    built.map_err(|error| ConnectError::bad_settings(&error))
}
