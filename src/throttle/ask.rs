//! How every signal asks the server: one statement that returns one JSON value, in a transaction
//! that reads only, for at most a second, under a search path that holds nothing but `pg_catalog`.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::reading::Blind;
use crate::pg::{Fault, Guards, Param, Session};

/// The server ends a reading after this time: a signal that costs more is not worth it.
pub(super) const LONGEST: Duration = Duration::from_secs(1);

/// SQL: whether a row of `pg_stat_activity`, called `a`, is not a session of this process.
/// A process is known by its `application_name`, and this session by its pid.
macro_rules! of_others {
    () => {
        "(a.pid = pg_catalog.pg_backend_pid() OR (a.application_name <> '' AND \
         a.application_name = pg_catalog.current_setting('application_name'))) IS NOT TRUE"
    };
}
pub(super) use of_others;

/// SQL: the timeline that the server writes; a failover begins another one.
macro_rules! timeline {
    () => {
        "pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8)"
    };
}
pub(super) use timeline;

/// SQL: the fields of [`Role`].
macro_rules! role {
    () => {
        "'role', pg_catalog.quote_ident(CURRENT_USER), \
         'sees_all', pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')"
    };
}
pub(super) use role;

/// Who asks, and whether it is shown what other sessions do.
#[derive(Debug, serde::Deserialize)]
pub(super) struct Role {
    /// The role, quoted.
    pub(super) role: String,
    /// Whether it has `pg_read_all_stats`.
    pub(super) sees_all: bool,
}

impl Role {
    /// Says that the role is not shown what it needs, unless it is.
    pub(super) fn must_see_all(&self) -> Result<(), Blind> {
        if self.sees_all { Ok(()) } else { Err(self.lacks_stats()) }
    }

    /// Says that the role may not call a function.
    pub(super) fn may_not_call(&self, function: &str) -> Blind {
        Blind::new(format!("{} may not call {function}", self.role))
            .recipe(format!("GRANT EXECUTE ON FUNCTION {function} TO {};", self.role))
    }

    /// Says that the role is not shown what it needs.
    pub(super) fn lacks_stats(&self) -> Blind {
        Blind::new(format!("{} is not shown what other sessions do", self.role))
            .recipe(format!("GRANT pg_read_all_stats TO {};", self.role))
    }
}

/// The guards of every reading.
pub(super) fn guards() -> Guards {
    Guards { statement_timeout: LONGEST, lock_timeout: LONGEST, ..Guards::reading() }
}

/// Runs a statement that returns one JSON value, and decodes it.
pub(super) async fn one<T: DeserializeOwned>(
    session: &mut Session,
    sql: &str,
    params: &[Param<'_>],
) -> Result<T, Blind> {
    let rows = session.transact(&guards(), sql, params).await.map_err(|fault| blind(&fault))?;
    let value: Option<Value> = match rows.first().map(|row| row.try_get(0)) {
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err(Blind::new(error.to_string())),
        None => None,
    };
    serde_json::from_value(value.unwrap_or_default())
        .map_err(|error| Blind::new(format!("the server's answer is not understood: {error}")))
}

/// What the server or the driver said, as the reason why nothing could be read.
pub(super) fn blind(fault: &Fault) -> Blind {
    Blind::new(fault.message().to_string())
}
