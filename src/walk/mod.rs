//! Nouns of the walk: where it is, what comes next, how much at a time.
//!
//! Pure values and the SQL text that asks for them. No I/O, no clock. Key values are the server's
//! own text; nothing here compares, sorts or counts with them (R9).

mod key;
mod chunk;
mod range;
mod leg;
mod axis;
mod column;
mod keyset;
mod scatter;
mod heap;
mod seen;
mod sizer;

pub(crate) use axis::Axis;
pub use chunk::{Chunk, Stripe};
pub(crate) use chunk::{DENSE, PASSES};
pub(crate) use column::KeyColumn;
#[cfg(test)]
pub(crate) use column::column;
pub(crate) use heap::Heap;
pub use key::Key;
pub(crate) use keyset::Keyset;
pub(crate) use leg::Leg;
pub(crate) use range::{Gap, Open, Range, Walk};
pub(crate) use scatter::Scatter;
pub(crate) use seen::{Seen, Stretch};
pub(crate) use sizer::{FIRST, Sizer};
