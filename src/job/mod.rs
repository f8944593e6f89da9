//! The job: what a person wrote down that should change, read from a file or built in Rust.
//!
//! Promises that every problem of a file is found at once, each with its place and what to do about it, and that
//! a [`Job`] is complete: defaults filled in, units read, every SQL fragment known to be one expression. Pure but
//! for [`Job::from_file`]: no database, no clock, no environment.
//!
//! Not here: whether the table, its columns and the SQL exist. Only the server knows; the plan asks it.

mod builder;
mod document;
mod draft;
mod entry;
mod file;
mod fingerprint;
mod fragment;
mod hold;
mod holds;
mod keys;
mod model;
mod name;
mod pace;
mod problem;
mod read;
mod resolve;
mod reversed;
mod schema;
mod secret;
mod sequence;
mod shape;
mod shapes;
mod source;
mod sync;
mod statement;
mod syntax;
mod units;
mod when;
mod window;

pub use builder::Builder;
pub use draft::{Draft, DraftColumn};
pub use entry::{GateBuilder, HoldBuilder, WindowBuilder};
pub use fingerprint::{Identity, SyncIdentity, fingerprint};
pub use fragment::{Fragment, Refusal, scan, scan_query, scan_statement};
pub use hold::{Hold, Limit, Signal, Url};
pub(crate) use model::ROOM;
pub use model::{
    Assignment, BadRows, Batch, Job, Order, Pace, Policy, Size, Stripes, Sync, SynchronousCommit,
    Table, TargetBounds, Vacuum, Verify, Work,
};
pub use name::{NameError, TableName};
pub use problem::{Problem, Problems};
pub use schema::SCHEMA;
pub use sequence::{Knot, in_order};
pub use shape::{Gate, Part, Shape, Steps};
pub use source::Source;
pub use statement::{Manner, Outside, manner};
pub(crate) use statement::{apart, is_validation};
pub use units::{Rate, UnitError, parse_bytes, parse_duration, show_bytes, show_duration};
pub use when::When;
pub(crate) use when::parse_clock;
pub(crate) use window::zone_name;
pub use window::{Window, WindowRate, parse_zone};
