//! The whole: starts a run, or goes on with it, and brings it to a verified end.
//!
//! ```text
//! runner ── spawns ── controller   once a second: orders in, lease and pulse out
//!    │  │  └───────── gate         reads the signals that hold the run
//!    │  └──────────── vacuumer     VACUUM beside the walk
//!    │
//!    └─ crew of workers (each the walk of a range) ─▶ verifier ─▶ sweep or end
//! ```
//!
//! A future that owns a transaction is never raced against anything (R21): time limits are the
//! server's, and stopping happens between batches. A second Ctrl-C cancels the statement from
//! another connection.

mod recover;
mod suspect;
mod gauge;
mod voice;
mod hold;
mod stride;
mod steering;
mod in_step;
mod insist;
mod pacing;
mod controller;
mod striper;
mod staff;
mod crew;
mod worker;
mod looker;
mod verifier;
mod vacuum_cost;
mod vacuumer;
mod handle;
mod runner;
mod failure;
mod settle;
mod newcomers;
mod member;
mod reverify;
mod keeper;
mod shaper;
mod shape_watch;
mod shape_step;
mod shape_sync;
#[cfg(test)]
mod scale_tests;

pub use handle::{Ending, Handle, Leaver, Options, Report, Term};
pub use reverify::{Verified, verify};
pub use runner::start;
pub use shaper::{Statements, shape};
