//! Job + catalog facts = plan, or every reason why not.
//!
//! Reads only (R24): a plan, or its refusal, leaves the database as it was, and comes before the
//! ledger exists. A rehearsal, if it is asked for, is the one thing here that takes locks and leaves
//! dead rows. Nothing here decides while a run goes on.

mod found;
mod facts;
mod catalog;
mod check;
mod resolve;
mod describe;
mod explain;
mod sync;
mod outline;
mod prepare;
mod split;
mod forms;
mod limits;
mod counters;
mod statements;
mod fence;
mod sparse;
mod served;
mod quarantine;
mod target;
mod newcomer;
mod around;
mod draft;
mod rehearsal;
mod forecast;
#[cfg(test)]
mod preflight_tests;

pub(crate) use around::{Around, look_around};
pub use draft::{check_names, draft};
pub use forecast::{Forecast, Growth, Windowed};
pub use forms::Forms;
pub(crate) use found::{first_key, keys};
pub(crate) use newcomer::stretch_of;
pub use outline::Outline;
pub(crate) use outline::path_of;
pub(crate) use prepare::is_locked;
pub use prepare::{Plan, Standing, extent, last_key, standing};
pub use rehearsal::{CameTo, Fired, Looked, Measured, Rehearsal, Rehearsed};
pub(crate) use rehearsal::{READS_PER_WRITE, WINDOW};
pub use served::Served;
pub(crate) use split::{cuts, cuts_by_key};
pub use statements::{Route, Statements};
pub use target::Target;
pub(crate) use target::family;
