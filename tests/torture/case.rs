//! One run of the test, as its seed says: table, job, processes, and what goes wrong.

use fastrand::Rng;

use crate::faults::{Fault, PER_FAULT};
use crate::shape::Shape;
use crate::wire::Rewrite;

/// What the job does, and to which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Every row, whatever it holds; also those that are born meanwhile, if the walk meets them.
    Plain,
    /// The same in several passes, in wide rows, with an index on the column that is set.
    Indexed,
    /// Every other row that was there at the beginning.
    Half,
    /// One in sixteen of them.
    Few,
    /// All of them, block after block.
    Physical,
}

impl Work {
    pub(crate) const ALL: [Work; 5] =
        [Work::Plain, Work::Indexed, Work::Half, Work::Few, Work::Physical];

    fn one_in(self) -> i64 {
        match self {
            Work::Plain | Work::Indexed | Work::Physical => 1,
            Work::Half => 2,
            Work::Few => 16,
        }
    }

    /// Returns the condition on rows that are to do, if the job has one.
    pub(crate) fn filter(self) -> Option<String> {
        let has_filter = !matches!(self, Work::Plain | Work::Indexed);
        has_filter.then(|| format!("n = 0 AND NOT born AND tag % {} = 0", self.one_in()))
    }

    /// Returns how often a row may have been changed in the end.
    pub(crate) fn changes(
        self,
        tag: i64,
        born: bool,
        is_alive: bool,
    ) -> std::ops::RangeInclusive<i32> {
        let is_meant = tag % self.one_in() == 0 && !(born && self.filter().is_some());
        match (is_meant, !born && is_alive) {
            (false, _) => 0..=0,
            (true, true) => 1..=1,
            (true, false) => 0..=1,
        }
    }
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
        Case {
            seed,
            shape,
            work,
            rows: if work == Work::Few { 24_000 } else { 3_000 },
            workers: rng.u32(1..=3),
            has_peer: rng.bool(),
            faults: Fault::draw(&mut rng, faults, only),
            is_pooled,
            rewrites: &[],
        }
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
