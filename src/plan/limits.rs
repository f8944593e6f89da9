//! How long a batch may take, or a read beside the walk, and how long it waits.

use std::time::Duration;

use super::target::Target;
use crate::job::Job;
use crate::pg::{Follow, Guards};
use crate::sync::name_of;

/// The longest wait for a lock, whatever `give_way` is: half of PostgreSQL's default `deadlock_timeout`, since whoever has
/// waited for that long looks for a deadlock, and it may be the application that is ended.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// Returns how long a batch of `job` waits for a lock.
pub(super) fn lock_timeout(job: &Job) -> Duration {
    LOCK_TIMEOUT.min(job.batch.give_way / 2)
}

/// Returns the guards of a batch: nobody waits longer on it than `give_way`, and it waits for
/// nobody longer than [`lock_timeout`] says.
pub(super) fn batch_guards(job: &Job, target: &Target, follow: Follow) -> Guards {
    Guards {
        search_path: target.search_path.clone(),
        statement_timeout: job.batch.give_way,
        lock_timeout: lock_timeout(job),
        synchronous_commit: Some(job.batch.synchronous_commit.as_str()),
        follow,
        read_only: false,
        walk: job.sync.as_ref().map(|_| name_of(&job.name)),
    }
}

/// Returns the guards of a read that goes along no index: who wants the table for himself waits no longer for
/// it than for a batch, and it takes one processor.
pub(super) fn read_guards(job: &Job, search_path: &[String]) -> Guards {
    Guards {
        search_path: search_path.to_vec(),
        statement_timeout: job.batch.give_way,
        lock_timeout: lock_timeout(job),
        follow: Follow::Alone,
        ..Guards::reading()
    }
}
