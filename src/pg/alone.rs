//! A connection for one statement: one of the user's that may leave something in its session, or a long one that cannot
//! run in a transaction, such as VACUUM.
//!
//! It belongs to one caller, is opened for the statement and closed after it, and never goes to a
//! pool. Behind a pooler of transactions its session is not ours, so a transaction sets everything for itself; where
//! the settings are the session's, it is first made sure that nobody else has them (R19). The statement can be
//! cancelled from elsewhere.

use tokio_postgres::{CancelToken, Client};

use super::connect_error::ConnectError;
use super::fault::Fault;
use super::guards::Begin;
use super::message::DbMessage;
use super::pool::Database;
use super::session::{Param, Together, begin, together};

/// A connection of one's own.
pub(crate) struct Alone {
    client: Client,
    /// The server process behind it.
    pub(crate) backend: i64,
}

const SESSION: &str = "\
SELECT pg_catalog.pg_backend_pid()::int8 AS backend, pg_catalog.current_setting('piecemeal.alone', true) AS alone";

impl Alone {
    /// Opens one, and begins a transaction in which the statement is to run.
    pub(crate) async fn begin(database: &Database, how: &Begin) -> Result<Alone, Fault> {
        let (client, _) = database.connect().open().await?;
        let backend = begin(&client, how).await?;
        Ok(Alone { client, backend })
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
        let (client, _) = connect.open().await.map_err(refused)?;
        let row = client.query_typed_one(SESSION, &[]).await?;
        if row.get::<_, Option<&str>>("alone") != Some(&token) {
            return Err(pooled());
        }
        let mut sql = String::from(
            "SET statement_timeout = 0; SET lock_timeout = 0; SET search_path = pg_temp",
        );
        for (name, value) in settings {
            sql.extend(["; SET ", name, " = '", value, "'"]);
        }
        client.batch_execute(&sql).await?;
        Ok(Alone { client, backend: row.get("backend") })
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

    /// Returns what ends the statement from another connection.
    pub(crate) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }
}

fn refused(error: ConnectError) -> Fault {
    if error.is_about_settings() { pooled() } else { Fault::from(error) }
}

fn pooled() -> Fault {
    Fault::Fatal(DbMessage::local(
        "a pooler is in front of the server, and this needs a direct connection: name the server itself in the URL",
    ))
}
