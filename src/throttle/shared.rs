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
        let timeline = pulse.commit_timeline.clone().unwrap_or_default();
        self.usual.hear(pulse.commit_s.map(|seconds| Commit { seconds, timeline }), leads);
    }

    /// Writes what was learned into `pulse`.
    pub(crate) fn fill(&self, pulse: &mut Pulse) {
        pulse.standbys = self.roll.seen();
        let commit = self.usual.found().commit.clone();
        pulse.commit_s = commit.as_ref().map(|commit| commit.seconds);
        pulse.commit_timeline = commit.map(|commit| commit.timeline);
    }
}

/// What a commit takes without the walk. Only who leads the run finds it out, and only while nobody else
/// works on it: whoever comes later would measure what the others do. After a failover it is found out
/// anew: another server has another disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Usual(Arc<Mutex<Found>>);

#[derive(Debug, Default)]
struct Found {
    commit: Option<Commit>,
    /// Whether another process finds it out.
    is_theirs: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Commit {
    seconds: f64,
    /// Where it takes so long; empty where that was not noted.
    timeline: String,
}

impl Usual {
    /// Returns it in seconds, if it is known on the server of this timeline.
    pub(super) fn seconds(&self, timeline: &str) -> Option<f64> {
        let mut found = self.found();
        let commit = found.commit.as_mut()?;
        if commit.timeline.is_empty() {
            timeline.clone_into(&mut commit.timeline);
        }
        (commit.timeline == timeline).then_some(commit.seconds)
    }

    /// Whether this process is to find it out on the server of this timeline.
    pub(super) fn is_ours_to_find(&self, timeline: &str) -> bool {
        self.seconds(timeline).is_none() && !self.found().is_theirs
    }

    /// Notes what was found out.
    pub(super) fn note(&self, seconds: f64, timeline: &str) {
        self.found().commit = Some(Commit { seconds, timeline: timeline.to_owned() });
    }

    /// Learns what the ledger says, and whether this process leads the run: then it knows better.
    fn hear(&self, commit: Option<Commit>, leads: bool) {
        let mut found = self.found();
        if !leads || found.commit.is_none() {
            found.commit = commit.or(found.commit.take());
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

    const TIMELINE: &str = "00000001";

    /// What an older process leaves where `timeline` is none.
    fn pulse(commit_s: Option<f64>, timeline: Option<&str>) -> Pulse {
        let commit_timeline = timeline.map(str::to_owned);
        Pulse { commit_s, commit_timeline, ..Pulse::default() }
    }

    fn told(shared: &Shared) -> Pulse {
        let mut told = Pulse::default();
        shared.fill(&mut told);
        told
    }

    #[test]
    fn who_leads_alone_finds_out_what_a_commit_takes_and_the_others_hear_it() {
        let leader = Shared::of(&Pulse::default(), true);
        let member = Shared::of(&Pulse::default(), false);
        let is_to_find = |shared: &Shared| shared.usual.is_ours_to_find(TIMELINE);
        assert!(is_to_find(&leader) && !is_to_find(&member));
        leader.usual.note(0.002, TIMELINE);
        member.hear(&told(&leader), false);
        assert_eq!(member.usual.seconds(TIMELINE), Some(0.002));
        // What the ledger says came from it, or from whoever led before.
        leader.hear(&pulse(Some(0.5), Some(TIMELINE)), true);
        assert_eq!(leader.usual.seconds(TIMELINE), Some(0.002));
    }

    #[test]
    fn who_leads_a_run_on_which_others_work_goes_on_from_what_they_know() {
        let next = Shared::of(&pulse(Some(0.002), Some(TIMELINE)), true);
        assert!(!next.usual.is_ours_to_find(TIMELINE));
        // A member that takes the lead knows it already, and else finds it out.
        for (known, is_to_find) in [(Some(0.002), false), (None, true)] {
            let member = Shared::of(&pulse(known, known.map(|_| TIMELINE)), false);
            member.hear(&Pulse::default(), true);
            assert_eq!(
                (member.usual.seconds(TIMELINE), member.usual.is_ours_to_find(TIMELINE)),
                (known, is_to_find)
            );
        }
    }

    #[test]
    fn after_a_failover_who_leads_finds_it_out_anew_and_nobody_goes_by_what_was() {
        let leader = Shared::of(&Pulse::default(), true);
        leader.usual.note(0.000_3, TIMELINE);
        let member = Shared::of(&told(&leader), false);
        let promoted = "00000002";
        assert!(leader.usual.is_ours_to_find(promoted));
        assert_eq!((member.usual.seconds(promoted), leader.usual.seconds(promoted)), (None, None));
        // Who has not seen it yet still tells of the old one.
        member.hear(&told(&leader), false);
        assert!(
            member.usual.seconds(promoted).is_none() && !member.usual.is_ours_to_find(promoted)
        );
        leader.usual.note(0.008, promoted);
        member.hear(&told(&leader), false);
        assert_eq!(member.usual.seconds(promoted), Some(0.008));
    }

    #[test]
    fn what_an_older_process_has_found_is_of_the_server_that_is_there_and_of_no_other_one() {
        let shared = Shared::of(&pulse(Some(0.002), None), true);
        assert_eq!(shared.usual.seconds(TIMELINE), Some(0.002));
        assert_eq!(told(&shared), pulse(Some(0.002), Some(TIMELINE)));
        assert!(shared.usual.is_ours_to_find("00000002"));
    }
}
