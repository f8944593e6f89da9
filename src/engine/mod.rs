//! The whole: starts a run, or goes on with it, and brings it to a verified end.
//!
//! ```text
//! runner ── spawns ── controller   once a second: orders in, lease and pulse out
//!    │
//!    └─ worker (the walk of a range) ─▶ verifier ─▶ sweep or end
//! ```
//!
//! A future that owns a transaction is never raced against anything (R21): time limits are the
//! server's, and stopping happens between batches. A second Ctrl-C cancels the statement from
//! another connection.

mod recover;
mod steering;
mod insist;
mod controller;
mod worker;
mod verifier;
mod runner;
mod settle;
mod reverify;

pub use reverify::{Verified, verify};
pub use runner::{Ending, Handle, Leaver, Options, Report, start};
