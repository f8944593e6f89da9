//! Statements that a connection keeps prepared, so that the server parses and plans each of them once.
//!
//! A statement is prepared when it is sent for the second time. Behind a pooler its name may mean
//! nothing on the next backend, or be somebody else's: none is kept where a pooler is known of, and a
//! transaction that uses one checks first that the name still means it (R19).
//!
//! The plan is made without the values, or the server would plan anew each time. Guards keep the
//! planner on its path; what is called from the statement must not be planned that way, and so a
//! statement that calls anything of somebody's takes the setting back as soon as it runs
//! ([`TAKES_BACK`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::Statement;

use super::fault::{Fault, is_not_there};
use super::pool::Pooled;
use super::session::{Act, prepare};

/// An expression that sets how others' statements are planned back to what it was.
pub(crate) const TAKES_BACK: &str = "\
pg_catalog.set_config('plan_cache_mode', coalesce(NULLIF(pg_catalog.current_setting('piecemeal.plans', true), ''), \
pg_catalog.current_setting('plan_cache_mode')), true)";

/// What a connection keeps.
pub(super) struct Keeper {
    /// Whether it is known that nobody stands in front of the server, for all connections to it.
    is_direct: Arc<AtomicBool>,
    /// By its text; one that was sent once is not prepared yet.
    known: Mutex<HashMap<String, Option<Kept>>>,
}

/// A statement that is prepared.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) statement: Statement,
    /// A condition on `pg_prepared_statements` that only this one fulfils, on its own backend.
    pub(super) is_it: String,
}

impl Keeper {
    pub(super) fn new(is_direct: Arc<AtomicBool>) -> Keeper {
        Keeper { is_direct, known: Mutex::default() }
    }

    /// Whether the connection is known to be the server's, and to nobody else's use.
    pub(super) fn is_direct(&self) -> bool {
        self.is_direct.load(Ordering::Relaxed)
    }

    /// Returns the statement of `act` as it is kept; nothing if it is to be sent as it is.
    ///
    /// # Errors
    /// Only when the connection is broken.
    pub(super) async fn find(&self, client: &Pooled, act: &Act<'_>) -> Result<Option<Kept>, Fault> {
        if !act.begin.keeps() || !self.is_direct() {
            return Ok(None);
        }
        let before = self.known().get(act.sql).cloned();
        let kept = match before {
            Some(Some(kept)) => return Ok(Some(kept)),
            None => None,
            Some(None) => match prepare(client, act).await {
                Ok(kept) => kept,
                Err(fault) if fault.spoils_connection() => return Err(fault),
                // Whatever it is, the statement itself will meet it, where it is dealt with.
                Err(_) => None,
            },
        };
        self.known().insert(act.sql.to_owned(), kept.clone());
        Ok(kept)
    }

    /// Learns that a transaction with a kept statement failed: it is sent as it is the next time.
    pub(super) fn forget(&self, sql: &str) {
        self.known().remove(sql);
    }

    /// Returns what it means that a transaction with a kept statement did not begin. If that is because
    /// it is on another backend, nothing is kept any more.
    pub(super) fn not_begun(&self, fault: Fault) -> Fault {
        if !is_not_there(fault.message()) {
            return fault;
        }
        self.is_direct.store(false, Ordering::Relaxed);
        Fault::Again(fault.message().clone())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Option<Kept>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Returns what a transaction that uses it begins with. It fails where the statement's name means
    /// nothing, or another one.
    pub(super) fn begin(&self, sql: &str) -> String {
        format!(
            "{sql}; SELECT 1 / count(*) FROM pg_catalog.pg_prepared_statements WHERE {}; \
             SELECT pg_catalog.set_config('piecemeal.plans', pg_catalog.current_setting('plan_cache_mode'), true); \
             SET LOCAL plan_cache_mode = force_generic_plan",
            self.is_it
        )
    }
}
