//! What slows a walk down.
//!
//! For now that is the rate that people set. It reads nothing from a server and is paid *after* a
//! batch, with the rows that were really touched.

mod rate;

pub use rate::{Allowance, Payment};
