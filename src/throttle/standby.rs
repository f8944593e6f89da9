//! One standby, asked by a session of its own.
//!
//! It is asked in a task of its own: a standby that does not answer is told of after two seconds,
//! and neither holds the other signals up nor is its statement dropped in the middle (R21). Its URL
//! may hold a password, and nothing of it is shown but what a failed connection says of the place
//! (R28).

use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinHandle;

use super::ask;
use super::reading::Blind;
use crate::job::Url;
use crate::pg::{Connect, Database, Environment, Lane};

const SQL: &str = "\
SELECT pg_catalog.jsonb_build_object(
    'is_standby', pg_catalog.pg_is_in_recovery(),
    'system', (SELECT c.system_identifier::text FROM pg_catalog.pg_control_system() c),
    'replayed', pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0')::int8)";

/// How long an answer is waited for before the standby counts as silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a standby says of itself.
#[derive(Debug, Deserialize)]
pub(super) struct Position {
    is_standby: bool,
    /// Which cluster it is a part of.
    pub(super) system: String,
    replayed: Option<i64>,
}

/// A standby, and the question that it has not answered yet.
pub(super) struct Standby {
    database: Result<Database, Blind>,
    asked: Option<JoinHandle<Result<Position, Blind>>>,
}

impl Standby {
    /// Prepares sessions to the server at `url`, under the name that ours have.
    pub(super) fn at(url: &Url, application_name: Option<&str>) -> Standby {
        let connect = Connect::to_standby(&url.0, &Environment::of_process());
        let database = connect
            .map(|connect| connect.application_name(application_name.unwrap_or_default()))
            .and_then(Database::new)
            .map_err(|error| Blind::new(format!("the standby at `url`: {error}")));
        Standby { database, asked: None }
    }

    /// Asks how far it is, and waits for the answer for a while.
    pub(super) async fn ask(&mut self) -> Result<Position, Blind> {
        let database = self.database.clone()?;
        let asked = self.asked.get_or_insert_with(|| tokio::spawn(ask(database)));
        let answer = tokio::select! {
            answer = asked => answer,
            () = tokio::time::sleep(PATIENCE) => {
                let silent = format!("the standby at `url` did not answer within {} s", PATIENCE.as_secs());
                return Err(Blind::new(silent));
            }
        };
        self.asked = None;
        answer.unwrap_or_else(|_| Err(Blind::new("the standby at `url` was not asked to the end")))
    }
}

impl Position {
    /// Returns up to where it has replayed, if it is a standby of the cluster `system`.
    pub(super) fn of(&self, system: &str) -> Result<i64, Blind> {
        let is_not = |what: &str| Blind::new(format!("the server at `url` {what}"));
        if !self.is_standby {
            return Err(is_not("is no standby: it is not in recovery"));
        }
        if self.system != system {
            return Err(is_not("is no standby of this one: it is of another cluster"));
        }
        self.replayed.ok_or_else(|| is_not("has replayed nothing yet"))
    }
}

async fn ask(database: Database) -> Result<Position, Blind> {
    let failed = |blind: Blind| Blind::new(format!("the standby at `url`: {}", blind.why));
    let session = database.session(Lane::Gate).await;
    let mut session = session.map_err(|fault| failed(ask::blind(&fault)))?;
    ask::one(&mut session, SQL, &[]).await.map_err(failed)
}
