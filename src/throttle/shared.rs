//! What the processes of a run learn from each other about the database.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::roll::Roll;
use crate::run::Pulse;

/// All of it; its clones are one. It goes from one process to the next with the pulse.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    /// The standbys that were seen.
    pub(super) roll: Roll,
    /// What a commit usually takes.
    pub(super) usual: Usual,
}

impl Shared {
    /// Goes on from what others have learned, for one that `leads` the run or not.
    pub(crate) fn of(pulse: &Pulse, leads: bool) -> Shared {
        let shared = Shared { roll: Roll::of(pulse.standbys.clone()), usual: Usual::default() };
        shared.hear(pulse, leads);
        shared
    }

    /// Learns what whoever leads the run has found out, and whether that is this process.
    pub(crate) fn hear(&self, pulse: &Pulse, leads: bool) {
        self.usual.hear(pulse.commit_s, leads);
    }

    /// Writes what was learned into `pulse`.
    pub(crate) fn fill(&self, pulse: &mut Pulse) {
        pulse.standbys = self.roll.seen();
        pulse.commit_s = self.usual.seconds();
    }
}

/// What a commit takes without the walk. Only who leads the run finds it out, and only while nobody else
/// works on it: whoever comes later would measure what the others do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usual(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    seconds: Option<f64>,
    /// Whether another process finds it out.
    is_theirs: bool,
}

impl Usual {
    /// Returns it in seconds, if it is known.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.found().seconds
    }

    /// Whether this process is to find it out.
    pub(super) fn is_ours_to_find(&self) -> bool {
        let found = self.found();
        found.seconds.is_none() && !found.is_theirs
    }

    /// Notes what was found out.
    pub(super) fn note(&self, seconds: f64) {
        self.found().seconds = Some(seconds);
    }

    /// Learns what the ledger says, and whether this process leads the run: then it knows better.
    pub(super) fn hear(&self, seconds: Option<f64>, leads: bool) {
        let mut found = self.found();
        if !leads || found.seconds.is_none() {
            found.seconds = seconds.or(found.seconds);
        }
        found.is_theirs = !leads;
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse(commit_s: Option<f64>) -> Pulse {
        Pulse { commit_s, ..Pulse::default() }
    }

    #[test]
    fn who_leads_alone_finds_out_what_a_commit_takes_and_the_others_hear_it() {
        let leader = Shared::of(&pulse(None), true);
        let member = Shared::of(&pulse(None), false);
        assert!(leader.usual.is_ours_to_find() && !member.usual.is_ours_to_find());
        leader.usual.note(0.002);
        let mut told = Pulse::default();
        leader.fill(&mut told);
        member.hear(&told, false);
        assert_eq!(member.usual.seconds(), Some(0.002));
        // What the ledger says came from it, or from whoever led before.
        leader.hear(&pulse(Some(0.5)), true);
        assert_eq!(leader.usual.seconds(), Some(0.002));
    }

    #[test]
    fn who_leads_a_run_on_which_others_work_goes_on_from_what_they_know() {
        let next = Shared::of(&pulse(Some(0.002)), true);
        assert!(!next.usual.is_ours_to_find());
        // A member that takes the lead knows it already, and else finds it out.
        for (known, is_to_find) in [(Some(0.002), false), (None, true)] {
            let member = Shared::of(&pulse(known), false);
            member.hear(&pulse(None), true);
            assert_eq!(
                (member.usual.seconds(), member.usual.is_ours_to_find()),
                (known, is_to_find)
            );
        }
    }
}
