//! Nouns of a run: its status, what came of a batch, how far it is, what it says.
//!
//! Pure values and decisions. No I/O, no clock of its own: instants are the server's.

mod figures;
mod status;
mod outcome;
mod pending;
mod progress;
mod snapshot;
mod schedule;
mod event;

pub use event::{Event, Failure, FailureKind};
pub use figures::{count, counted};
pub use outcome::Outcome;
pub use pending::Pending;
pub use progress::{Eta, Meter, Pulse, Timing, fraction};
pub use schedule::{Current, Overlap, Schedule, Stretches, until};
pub use snapshot::{Owner, Rows, Snapshot};
pub use status::{IllegalTransition, Intent, Phase, Shown, Status, Transition, shown};
