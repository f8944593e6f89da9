//! A connection for one statement: one of the user's that may leave something in its session, or a long one that cannot
//! run in a transaction, such as VACUUM.
//!
//! It belongs to one caller, is opened for the statement and closed after it, and never goes to a
//! pool. Behind a pooler of transactions its session is not ours, so a transaction sets everything for itself; where
//! the settings are the session's, it is first made sure that nobody else has them (R19). The statement can be
//! cancelled from elsewhere.

use std::time::{Duration, Instant};

use tokio::task::AbortHandle;
use tokio_postgres::{CancelToken, Client};

use super::connect::{Connect, Driver};
use super::connect_error::ConnectError;
use super::fault::Fault;
use super::guards::{Begin, Guards};
use super::message::DbMessage;
use super::pool::Database;
use super::session::{Param, Session, Together, begin, together, within};

/// How long the server may take for what it does at once; a pooler may have to find a connection first.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A connection of one's own.
pub(crate) struct Alone {
    client: Client,
    driver: AbortHandle,
    patience: Option<Duration>,
    /// The server process behind it.
    backend: i64,
    /// Since when its transaction is, if it has one.
    since: Option<String>,
}

const SESSION: &str = "\
SELECT pg_catalog.pg_backend_pid()::int8 AS backend, pg_catalog.current_setting('piecemeal.alone', true) AS alone";

impl Alone {
    /// Opens one, and begins a transaction in which the statement is to run.
    pub(crate) async fn begin(database: &Database, how: &Begin) -> Result<Alone, Fault> {
        let connect = database.connect();
        let (client, driver, release) = connect.enter().await?;
        let (backend, since) = at_once(connect, &driver, begin(&client, &how.on(release))).await?;
        let (driver, patience) = (driver.abort_handle(), connect.patience());
        Ok(Alone { client, driver, patience, backend, since: Some(since) })
    }

    /// Opens one with a session of its own, which has these settings; time limits of the role do not hold in it.
    ///
    /// # Errors
    /// [`Fault::Fatal`] if the session is a pooler's: the next who gets it would have the settings, too.
    pub(crate) async fn session(
        database: &Database,
        settings: &[(&str, &str)],
    ) -> Result<Alone, Fault> {
        // A pooler refuses what comes with a login, or leaves it out: its server processes have logged in before.
        let token = format!("{:016x}", fastrand::u64(..));
        let connect = database.connect().clone().with_setting("piecemeal.alone", &token);
        let (client, driver, release) = connect.enter().await.map_err(refused)?;
        let row = at_once(&connect, &driver, client.query_typed_one(SESSION, &[])).await?;
        if row.get::<_, Option<&str>>("alone") != Some(&token) {
            return Err(pooled());
        }
        let mut sql = String::from(
            "SET statement_timeout = 0; SET lock_timeout = 0; SET search_path = pg_temp",
        );
        sql.extend(release.unlimited().into_iter().flat_map(|setting| ["; SET ", setting]));
        for (name, value) in settings {
            sql.extend(["; SET ", name, " = '", value, "'"]);
        }
        at_once(&connect, &driver, client.batch_execute(&sql)).await?;
        let (driver, patience) = (driver.abort_handle(), connect.patience());
        Ok(Alone { client, driver, patience, backend: row.get("backend"), since: None })
    }

    /// Runs a statement outside any transaction of ours.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), Fault> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Runs statements in the transaction that has begun, with one of ours, and commits it.
    pub(crate) async fn together(
        &self,
        ours: (&str, &[Param<'_>]),
        statements: &[&str],
    ) -> Together {
        together(&self.client, ours, statements).await
    }

    /// Returns what notices when its answer is overdue.
    pub(crate) fn overdue(&self) -> Overdue {
        let (driver, since) = (self.driver.clone(), self.since.clone());
        Overdue { backend: self.backend, since, driver, patience: self.patience, idle: None }
    }

    /// Returns what ends the statement from another connection.
    pub(crate) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }
}

/// Notices that the answer to a statement is overdue, by its server process, which does nothing for it any more: how long
/// the statement itself takes is not known.
pub(crate) struct Overdue {
    /// The server process.
    pub(crate) backend: i64,
    since: Option<String>,
    driver: AbortHandle,
    patience: Option<Duration>,
    idle: Option<Instant>,
}

// Behind a pooler, the process may be at work for somebody else by then. What is hidden counts as work.
const AT_WORK: &str = "\
SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity
               WHERE pid = $1::int8::int4 AND (state LIKE 'idle%' OR xact_start::text <> $2) IS NOT TRUE)";

impl Overdue {
    /// Looks, and closes the connection when it has been so for too long: whoever waits learns that there will be no answer.
    pub(crate) async fn look(&mut self, session: &mut Session) {
        let Some(patience) = self.patience else { return };
        let params = [self.backend.into(), self.since.as_deref().into()];
        // As long as nobody can be asked, nothing is known.
        let Ok(rows) = session.transact(&Guards::reading(), AT_WORK, &params).await else { return };
        if rows.first().is_some_and(|row| row.get(0)) {
            self.idle = None;
        } else if self.idle.get_or_insert_with(Instant::now).elapsed() > patience {
            self.driver.abort();
        }
    }
}

/// Waits for what the server does at once.
async fn at_once<T>(connect: &Connect, driver: &Driver, act: impl Future<Output = T>) -> T {
    let limit = connect.patience().map(|patience| AT_ONCE + patience);
    within(limit, || driver.abort(), act).await
}

fn refused(error: ConnectError) -> Fault {
    if error.is_about_settings() { pooled() } else { Fault::from(error) }
}

fn pooled() -> Fault {
    Fault::Fatal(DbMessage::local(
        "a pooler is in front of the server, and this needs a direct connection: name the server itself in the URL",
    ))
}
