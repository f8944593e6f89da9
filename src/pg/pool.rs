//! Connections in three lanes, so that steering never waits behind work, nor behind a signal.
//!
//! The work lane is for batches, the watch lane for the lease, control and progress, the gate's for
//! the signals of the database. The only file that knows the pool. A connection that failed is closed; a new one is made on the next request.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime};
use tokio_postgres::CancelToken;

use super::connect::Connect;
use super::connect_error::{ConnectError, ConnectErrorKind};
use super::fault::Fault;
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
    work: Pool,
    watch: Pool,
    gate: Pool,
}

impl Database {
    /// Returns a database whose connections are made when they are needed.
    ///
    /// # Errors
    /// Never with the settings that are made here; the pool's builder could refuse others.
    pub fn new(connect: Connect) -> Result<Database, ConnectError> {
        let work = pool(&connect, WORKERS + 2)?;
        let watch = pool(&connect, 4)?;
        let gate = pool(&connect, 1)?;
        Ok(Database { connect, work, watch, gate })
    }

    /// Whether the server that says that it listens on `port` is the one that we connected to, and
    /// not one behind a pooler. A forwarded port looks like a pooler, which only makes a takeover
    /// wait for the lease.
    pub fn is_direct(&self, port: i64) -> bool {
        self.connect.config().get_ports().iter().any(|ours| i64::from(*ours) == port)
    }

    /// Asks the server to end the statement behind `token`.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn cancel(&self, token: &CancelToken) -> Result<(), Fault> {
        token.cancel_query(self.connect.tls()).await.map_err(Fault::from)
    }

    /// Returns the settings that it was made of.
    pub fn connect(&self) -> &Connect {
        &self.connect
    }

    /// Checks that the database can be reached and lets us in; retries for 30 s while it cannot be
    /// reached, and not at all when it refuses us.
    ///
    /// # Errors
    /// The last reason for which it could not be reached, or why it refused.
    pub async fn reach(
        &self,
        mut say: impl FnMut(&ConnectError, Duration),
    ) -> Result<(), ConnectError> {
        let waits = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times()
            .with_total_delay(Some(FIRST_CONNECTION))
            .build();
        for wait in waits {
            match self.connect.open().await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == ConnectErrorKind::Unreachable => say(&error, wait),
                Err(error) => return Err(error),
            }
            tokio::time::sleep(wait).await;
        }
        self.connect.open().await.map(|_| ())
    }

    /// Returns a connection of `lane`.
    ///
    /// # Errors
    /// [`Fault::Unknown`] while the database cannot be reached, [`Fault::Fatal`] when it refuses us.
    pub(crate) async fn session(&self, lane: Lane) -> Result<Session, Fault> {
        let pool = match lane {
            Lane::Work => &self.work,
            Lane::Watch => &self.watch,
            Lane::Gate => &self.gate,
        };
        match pool.get().await {
            Ok(client) => Ok(Session::new(client)),
            Err(PoolError::Backend(error)) => Err(Fault::from(&error)),
            Err(error) => Err(Fault::Unknown(DbMessage::local(error.to_string()))),
        }
    }
}

fn pool(connect: &Connect, size: usize) -> Result<Pool, ConnectError> {
    let settings = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(connect.config().clone(), connect.tls(), settings);
    Pool::builder(manager)
        .max_size(size)
        .create_timeout(connect.deadline())
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| ConnectError::bad_settings(&error))
}
