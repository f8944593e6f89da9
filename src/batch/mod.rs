//! One batch: what it covers, and the transaction that does it.
//!
//! The only place that moves a cursor. Nothing is retried here, and nothing is remembered: what
//! failed is returned as a fault, and the caller reads the ledger again (R3).

mod chunker;
mod apply;
mod sparse;
mod quarantine;
#[cfg(test)]
mod tests;

pub(crate) use apply::{Answer, Applied, Attempt, Fence, Place, apply, apply_one, took};
pub(crate) use chunker::{Ahead, Look, key_of, next, nth_match};
pub(crate) use quarantine::{Recorded, Requeue, quarantine, requeued};
pub(crate) use sparse::{Found, Search, search};
