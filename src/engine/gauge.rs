//! What is measured while working, for the pulse: shared by all tasks of a run in this process.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::pg::CancelToken;
use crate::run::{Held, Holding, Phase, Pulse, Slowing, Timing};

/// The measures of one process's work on one run.
#[derive(Default)]
pub(super) struct Gauge {
    /// Times of batches.
    pub(super) timing: Timing,
    /// Times of the windows of the verification.
    pub(super) looks: Timing,
    /// Keys of the next chunk.
    pub(super) rows: Option<u32>,
    /// Workers of this process that walk a range, or look at a part.
    pub(super) busy: u32,
    /// Rows that this process has changed.
    pub(super) changed: u64,
    /// Those of them that left nothing for a VACUUM, because they were HOT.
    pub(super) hot: u64,
    /// Rows that other processes have changed meanwhile, as far as is known.
    pub(super) changed_elsewhere: u64,
    /// Rows that the verification has looked at.
    pub(super) looked: u64,
    /// Those of them that were looked at before this process did.
    pub(super) looked_before: u64,
    /// When one of them last committed a batch, or has looked at a window.
    pub(super) got_on: Option<Instant>,
    /// What is being waited out.
    pub(super) trouble: Option<String>,
    /// The server's clock when it was last seen, and when that was by ours.
    pub(super) clock: Option<(f64, Instant)>,
    /// What holds the run now.
    pub(super) holding: Option<Holding>,
    /// What slows it down now.
    pub(super) slowing: Option<Slowing>,
    /// What held and slowed it in this process.
    pub(super) held: Held,
    /// What the VACUUM beside the walk does.
    pub(super) vacuum: Option<String>,
    /// Until when one worker stands aside for it, unless it ends before.
    pub(super) aside_until: Option<Instant>,
    /// Ends the statement that a worker runs, by the worker's number.
    pub(super) cancel: BTreeMap<u32, CancelToken>,
}

impl Gauge {
    /// Returns what the server's clock shows now, as far as is known, in seconds.
    pub(super) fn now(&self) -> f64 {
        self.clock.map_or(0.0, |(shown, at)| shown + at.elapsed().as_secs_f64())
    }

    /// Old versions that the run has left since this process began and that only a VACUUM removes
    /// from the indexes, as far as is known: others are taken to have as many as this process.
    pub(super) fn dead(&self) -> u64 {
        let dead = self.changed.saturating_sub(self.hot);
        let elsewhere = u128::from(self.changed_elsewhere) * u128::from(dead);
        dead + u64::try_from(elsewhere / u128::from(self.changed.max(1))).unwrap_or(u64::MAX)
    }

    /// Returns the rows per second that one worker does in a phase, with nothing between its batches or windows.
    pub(super) fn speed(&self, phase: Phase) -> Option<f64> {
        if phase == Phase::Verify { self.looks.speed() } else { self.timing.speed() }
    }

    /// Writes what was measured into `pulse`.
    pub(super) fn fill(&self, pulse: &mut Pulse) {
        pulse.rows = self.rows;
        pulse.p50_ms = self.timing.percentile(50);
        pulse.p95_ms = self.timing.percentile(95);
        pulse.looked = self.looked;
        pulse.trouble.clone_from(&self.trouble);
        pulse.holding.clone_from(&self.holding);
        pulse.slowing.clone_from(&self.slowing);
        pulse.vacuum.clone_from(&self.vacuum);
    }
}
