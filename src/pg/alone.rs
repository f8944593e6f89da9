//! A connection for one statement: a long one that cannot run in a transaction, such as VACUUM, or one of the user's
//! that may leave something in its session.
//!
//! It belongs to one caller, is opened for the statement and closed after it, and never goes to a
//! pool. So its settings may belong to the session: a direct connection is a condition, which the
//! caller checks. The statement can be cancelled from elsewhere.

use tokio_postgres::{CancelToken, Client};

use super::fault::Fault;
use super::message::DbMessage;
use super::pool::Database;
use super::session::{Act, Together, together};

/// A connection of one's own.
pub(crate) struct Alone {
    client: Client,
    /// The server process behind it.
    pub(crate) backend: i64,
}

impl Alone {
    /// Opens one with these settings; time limits of the role do not hold on it.
    pub(crate) async fn open(
        database: &Database,
        settings: &[(&str, &str)],
    ) -> Result<Alone, Fault> {
        let opened = database.connect().open().await;
        let (client, _) =
            opened.map_err(|error| Fault::Unknown(DbMessage::local(error.to_string())))?;
        let mut sql = String::from(
            "SET statement_timeout = 0; SET lock_timeout = 0; SET search_path = pg_temp",
        );
        for (name, value) in settings {
            sql.extend(["; SET ", name, " = '", value, "'"]);
        }
        client.batch_execute(&sql).await?;
        let row = client.query_typed("SELECT pg_catalog.pg_backend_pid()::int8", &[]).await?;
        let backend = row.first().map_or(0, |row| row.get(0));
        Ok(Alone { client, backend })
    }

    /// Runs a statement outside any transaction of ours.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), Fault> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Runs statements in one transaction with one of ours.
    pub(crate) async fn together(&self, act: &Act<'_>, statements: &[&str]) -> Together {
        together(&self.client, act, statements).await
    }

    /// Whether the same server process still answers: behind a pooler of transactions, it may be another one.
    pub(crate) async fn is_steady(&self) -> Result<bool, Fault> {
        let rows = self.client.query_typed("SELECT pg_catalog.pg_backend_pid()::int8", &[]).await?;
        Ok(rows.first().is_some_and(|row| row.get::<_, i64>(0) == self.backend))
    }

    /// Returns what ends the statement from another connection.
    pub(crate) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }
}
