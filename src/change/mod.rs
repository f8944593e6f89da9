//! The schema side of a job: running one statement, who stands in its way, what waits before contract, and the way back.
//!
//! A statement of the user is run alone, with a short `lock_timeout`, in one transaction with its row of the ledger; what
//! cannot be run in one is run outside, and the catalog tells what came of it. Which statement comes next, and what is
//! tried again, is the engine's.

mod ddl;
mod outside;
mod gate;
mod way;

pub(crate) use ddl::{
    Attempt, Blocker, LOCKS_TIMEOUT, Path, Waiters, attempt, blocked_by, waited_for_by,
};
pub(crate) use gate::held;
pub(crate) use outside::{Found, drop_index, look, run};
pub(crate) use way::{Missing, in_parts, reverses, way_back};
