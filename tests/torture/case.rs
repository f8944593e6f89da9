//! One run of the test, as its seed says: table, job, processes, and what goes wrong.

use fastrand::Rng;

use crate::disk::Disk;
use crate::faults::{Fault, PER_FAULT, Trouble};
use crate::shape::Shape;
use crate::wire::Rewrite;
use crate::work::Work;

/// Leaves out what a run cannot have: a second standby, one that a pooler does not know of, and a small
/// file system where none can be mounted, or where a standby would need another one.
fn possible(mut faults: Vec<Fault>, is_pooled: bool) -> Vec<Fault> {
    let mut standbys = usize::from(!is_pooled);
    faults.retain(|fault| *fault != Fault::Promote || std::mem::take(&mut standbys) > 0);
    if faults.contains(&Fault::Promote) || !Disk::is_possible() {
        faults.retain(|fault| *fault != Fault::DiskFull);
    }
    faults
}

/// Everything that is drawn before a run begins.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) shape: Shape,
    pub(crate) work: Work,
    pub(crate) rows: u32,
    pub(crate) faults: Vec<Fault>,
    /// Workers of each process.
    pub(crate) workers: u32,
    /// Whether a second process joins the first.
    pub(crate) has_peer: bool,
    /// Whether there is a pooler between program and server.
    pub(crate) is_pooled: bool,
    /// What a bug of the program would say otherwise.
    pub(crate) rewrites: &'static [Rewrite],
}

impl Case {
    /// Draws one, of the faults that `only` names, or of all.
    pub(crate) fn of_seed(seed: u64, faults: u32, only: &[String], is_pooled: bool) -> Case {
        let mut rng = Rng::with_seed(seed);
        let shape = rng.choice(Shape::ALL).unwrap_or(Shape::Int8);
        let work = rng.choice(Work::ALL).unwrap_or(Work::Plain);
        let (workers, has_peer) = (rng.u32(1..=3), rng.bool());
        let faults = possible(Fault::draw(&mut rng, faults, only), is_pooled);
        // Where nothing says what is left to do, a partition that comes is refused at the end.
        let is_growing = faults.contains(&Fault::Trouble(Trouble::Attach));
        let work = if is_growing { Work::Growing } else { work };
        Case {
            seed,
            shape,
            work,
            rows: if work == Work::Few { 24_000 } else { 3_000 },
            workers,
            has_peer,
            faults,
            is_pooled,
            rewrites: &[],
        }
    }

    /// Whether there is a standby of the server.
    pub(crate) fn has_standby(&self) -> bool {
        self.faults.contains(&Fault::Promote)
    }

    /// Whether the table lies on a small file system.
    pub(crate) fn has_disk(&self) -> bool {
        self.faults.contains(&Fault::DiskFull)
    }

    /// Returns the pace, in rows per second, at which there is time for `faults` while `rows` are left
    /// to do.
    pub(crate) fn pace(&self, rows: u64, faults: usize) -> u64 {
        // Behind a pooler a process is known to be gone when its lease is over.
        let per_fault = if self.is_pooled { PER_FAULT * 5 } else { PER_FAULT };
        let millis = faults.max(1) as u64 * per_fault;
        (rows * 800 / millis).max(5)
    }

    /// Returns the rows that are to do at the beginning.
    pub(crate) fn rows_to_do(&self) -> u64 {
        u64::from(self.rows) / self.work.one_in().unsigned_abs()
    }

    /// Returns the most rows of a batch, so that there are some ten a second.
    pub(crate) fn largest_batch(&self) -> u64 {
        (self.pace(self.rows_to_do(), self.faults.len()) / 10).clamp(12, 500)
    }

    /// Says what was drawn.
    pub(crate) fn words(&self) -> String {
        format!(
            "{:?} {:?}, {} workers{}{}",
            self.shape,
            self.work,
            self.workers,
            if self.has_peer { " and a peer" } else { "" },
            if self.is_pooled { ", pooled" } else { "" },
        )
    }
}
