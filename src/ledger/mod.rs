//! Our schema in the user's database: runs, ranges, journal.
//!
//! Every write here is one statement, so it is whole or not at all, and every change of a run writes
//! its line into the journal in the same statement. Nothing is decided here: what may follow what is
//! in [`crate::run::Status`], and the SQL is held to it. Only the batch moves a cursor.

pub(crate) mod schema;
pub(crate) mod runs;
pub(crate) mod shaped;
pub(crate) mod steps;
pub(crate) mod ranges;
pub(crate) mod rewrite;
pub(crate) mod quarantine;
pub(crate) mod lease;
pub(crate) mod members;
pub(crate) mod control;
pub(crate) mod journal;
pub(crate) mod partitions;
pub(crate) mod verifying;
pub(crate) mod snapshot;

pub use journal::Actor;
