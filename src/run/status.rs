//! Status × intent × phase: what happened, what people want, how far it is.
//!
//! ```text
//!             claimed            stopped(pause)
//!   ready ───────────▶ running ────────────────▶ paused
//!     ▲ ◀── yielded ──  │  │  ── failed ──▶ failed │
//!     └──────────────── resumed ─────────────┴─────┘
//!                running ── finished ──▶ succeeded
//!   ready, running, paused, failed ── stopped(cancel) ──▶ cancelled
//!   any of them, worked on by nobody ── reopened ──▶ ready, in phase contract or down
//! ```
//!
//! The status is written by the holder of the lease, or by a control command when nobody holds it;
//! the intent by people. Pausing, cancelling, stalled are derived and never stored: liveness comes
//! from the lease and the server's clock (F17). This table is the only one: the ledger's CHECK and
//! `docs/reference/states.md` are held to it by tests.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// All of them, in the order of a run's life.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// Returns the word that ledger, output and documentation use.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }

            /// Returns what `word` stands for, if it is one of ours.
            pub fn from_word(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

words! {
    /// What happened to a run.
    Status {
        /// It may be worked on, and nobody does.
        Ready = "ready",
        /// An owner holds its lease, or held it when it was last heard of.
        Running = "running",
        /// It stopped because somebody asked for a pause.
        Paused = "paused",
        /// It stopped at a fault that it may not pass.
        Failed = "failed",
        /// It is done and verified. Final, but for contract and down.
        Succeeded = "succeeded",
        /// Somebody stopped it for good. Final, but for down.
        Cancelled = "cancelled",
    }
}

words! {
    /// What people want of a run.
    Intent {
        /// That it goes on.
        Run = "run",
        /// That it stops after the current batch and can go on later.
        Pause = "pause",
        /// That it stops for good.
        Cancel = "cancel",
    }
}

words! {
    /// How far a run is.
    Phase {
        /// The new shape is added.
        Expand = "expand",
        /// New rows are kept in step.
        Sync = "sync",
        /// Rows are rewritten.
        Backfill = "backfill",
        /// The whole table is looked at.
        Verify = "verify",
        /// The old shape is taken away.
        Contract = "contract",
        /// All of it is taken back.
        Down = "down",
    }
}

/// Something that changes a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// An owner took the lease.
    Claimed,
    /// The owner stopped at a batch boundary, because a pause or a cancel was asked for.
    Stopped(Intent),
    /// The owner left on its own: a signal, a limit.
    Yielded,
    /// A fault that it may not pass.
    Failed,
    /// Every range is at its end and verification passed.
    Finished,
    /// A person asked that it goes on.
    Resumed,
    /// A person asked for contract or down.
    Reopened,
}

/// A change of status that the table does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {from} run cannot be {transition}")]
pub struct IllegalTransition {
    /// The status it has.
    pub from: Status,
    /// What should have happened to it.
    pub transition: Transition,
}

impl Transition {
    /// All of them that are meaningful.
    pub const ALL: &[Transition] = &[
        Transition::Claimed,
        Transition::Stopped(Intent::Pause),
        Transition::Yielded,
        Transition::Failed,
        Transition::Finished,
        Transition::Resumed,
        Transition::Stopped(Intent::Cancel),
        Transition::Reopened,
    ];

    /// Returns why it happens, for the documentation.
    pub fn because(self) -> &'static str {
        match self {
            Transition::Claimed => {
                "an owner took the lease; a running one's had run out, or its owner was gone"
            }
            Transition::Stopped(Intent::Cancel) => "somebody asked to stop it for good",
            Transition::Stopped(_) => "a pause was asked for, and a batch had ended",
            Transition::Yielded => {
                "the owner left on its own: a signal, a limit, trouble with the database"
            }
            Transition::Failed => "a fault that it may not pass; the reason is stored",
            Transition::Finished => {
                "every range is at its end and verification passed; or the last statement was run"
            }
            Transition::Resumed => "a person asked that it goes on",
            Transition::Reopened => "`contract` or `down` was asked for, and nobody worked on it",
        }
    }

    /// Returns every status from which it is legal.
    pub fn sources(self) -> Vec<Status> {
        Status::ALL.iter().copied().filter(|from| from.after(self).is_ok()).collect()
    }
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transition::Claimed => "claimed",
            Transition::Stopped(Intent::Cancel) => "cancelled",
            Transition::Stopped(_) => "paused",
            Transition::Yielded => "yielded",
            Transition::Failed => "failed",
            Transition::Finished => "finished",
            Transition::Resumed => "resumed",
            Transition::Reopened => "reopened",
        })
    }
}

impl Status {
    /// Returns the status after `transition`.
    ///
    /// # Errors
    /// When the table has no such transition; the run is then left as it is.
    pub fn after(self, transition: Transition) -> Result<Status, IllegalTransition> {
        use Status::{Cancelled, Failed, Paused, Ready, Running, Succeeded};
        match (self, transition) {
            (Ready | Running, Transition::Claimed) => Ok(Running),
            (Running, Transition::Stopped(Intent::Pause)) => Ok(Paused),
            (Running, Transition::Yielded) => Ok(Ready),
            (Running, Transition::Failed) => Ok(Failed),
            (Running, Transition::Finished) => Ok(Succeeded),
            (Ready | Running | Paused | Failed, Transition::Stopped(Intent::Cancel)) => {
                Ok(Cancelled)
            }
            (Paused | Failed, Transition::Resumed) => Ok(Ready),
            (_, Transition::Reopened) => Ok(Ready),
            (from, transition) => Err(IllegalTransition { from, transition }),
        }
    }

    /// Whether nothing can happen to the run any more by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Succeeded | Status::Cancelled)
    }
}

/// What people are shown: the status, or what it means right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The status as it is.
    As(Status),
    /// Running, and a pause has been asked for.
    Pausing,
    /// Running, and a cancel has been asked for.
    Cancelling,
    /// Running, and standing still because of a signal or a window.
    Holding,
    /// Running by its status, but its lease is over: nobody works on it.
    Stalled,
    /// Done and verified, and the old shape is still there.
    Verified,
    /// The old shape was taken away.
    Contracted,
    /// All of it was taken back.
    Undone,
}

/// Derives what is shown from what is stored, from whether the lease is alive by the server's clock,
/// and from whether its holder says that it is held.
pub fn shown(status: Status, intent: Intent, is_live: bool, is_held: bool) -> Shown {
    match (status, intent, is_live) {
        (Status::Running, _, false) => Shown::Stalled,
        (Status::Running, Intent::Pause, true) => Shown::Pausing,
        (Status::Running, Intent::Cancel, true) => Shown::Cancelling,
        (Status::Running, Intent::Run, true) if is_held => Shown::Holding,
        // Nobody may claim it: the table has no arrow from ready to paused, and needs none.
        (Status::Ready, Intent::Pause, _) => Shown::As(Status::Paused),
        (status, _, _) => Shown::As(status),
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Shown::As(status) => status.word(),
            Shown::Pausing => "pausing",
            Shown::Cancelling => "cancelling",
            Shown::Holding => "holding",
            Shown::Stalled => "stalled",
            Shown::Verified => "verified",
            Shown::Contracted => "contracted",
            Shown::Undone => "undone",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_twelve_pairs_are_legal_and_each_status_can_be_reopened() {
        let legal: usize =
            Transition::ALL.iter().map(|transition| transition.sources().len()).sum();
        assert_eq!(legal, 12 + Status::ALL.len());
    }

    #[test]
    fn a_final_status_never_changes_but_for_contract_and_down() {
        for status in Status::ALL.iter().filter(|status| status.is_final()) {
            for transition in Transition::ALL.iter().filter(|it| **it != Transition::Reopened) {
                assert!(status.after(*transition).is_err(), "{status} {transition}");
            }
        }
    }

    #[test]
    fn every_word_reads_back() {
        for status in Status::ALL {
            assert_eq!(Status::from_word(status.word()), Some(*status));
        }
        assert_eq!(Status::from_word("pausing"), None);
    }

    #[test]
    fn a_running_run_whose_lease_is_over_is_stalled() {
        assert_eq!(shown(Status::Running, Intent::Pause, false, true), Shown::Stalled);
        assert_eq!(shown(Status::Running, Intent::Pause, true, true), Shown::Pausing);
        assert_eq!(shown(Status::Paused, Intent::Pause, false, true), Shown::As(Status::Paused));
    }

    #[test]
    fn only_a_run_that_is_worked_on_can_be_held() {
        assert_eq!(shown(Status::Running, Intent::Run, true, true), Shown::Holding);
        assert_eq!(shown(Status::Running, Intent::Run, true, false), Shown::As(Status::Running));
        assert_eq!(shown(Status::Ready, Intent::Run, true, true), Shown::As(Status::Ready));
    }
}
