//! Nouns of a run: its status, what came of a batch, how far it is, what it says.
//!
//! Pure values and decisions. No I/O, no clock of its own: instants are the server's.

mod figures;
mod status;
mod outcome;
mod pace;
mod holding;
mod pending;
mod standbys;
mod progress;
mod overrides;
mod snapshot;
mod schedule;
mod event;

pub use event::{Event, Failure, FailureKind, Turn};
pub use figures::{count, counted, plain};
pub use holding::{Held, Holding, Slowing, Spent, WINDOW};
pub use outcome::Outcome;
pub use overrides::{Expiry, HoldChange, Overrides};
pub use pace::{Pace, Said};
pub use pending::Pending;
pub use progress::{Eta, Meter, Pulse, Timing, as_timestamp, fraction};
pub use schedule::{Course, Current, Overlap, Schedule, Speed, Stretches, until};
pub use snapshot::{Member, Owner, Rows, Snapshot};
pub use standbys::{Seen, Standbys};
pub use status::{IllegalTransition, Intent, Phase, Shown, Status, Transition, shown};
