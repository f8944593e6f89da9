//! Job + catalog facts = plan, or every reason why not.
//!
//! Reads only (R24): a plan, or its refusal, leaves the database as it was, and comes before the
//! ledger exists. Nothing here decides while a run goes on.

mod facts;
mod catalog;
mod check;
mod resolve;
mod describe;
mod explain;
mod prepare;
mod statements;
mod target;
#[cfg(test)]
mod preflight_tests;

pub use prepare::{Plan, is_same_table, last_key};
pub use statements::{Forms, Statements};
pub use target::Target;
