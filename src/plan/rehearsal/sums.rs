//! All batches of a rehearsal together, and what a person should know of them before the run.
//!
//! What one of them does not know, the sum does not know either.

use std::time::Duration;

use super::{CameTo, Fired, Measured, Rehearsal, Rehearsed};
use crate::finding::Finding;
use crate::job::{Job, Order};
use crate::plan::Plan;
use crate::run::{Pending, count, counted};

/// Bytes of the image of a page that is 90 % full, as those of indexes are that were just built.
const IMAGE: u64 = 7_400;

impl Rehearsal {
    /// Returns what was measured, batch by batch.
    pub fn measured(&self) -> impl Iterator<Item = &Measured> {
        self.batches.iter().filter_map(|batch| match &batch.came_to {
            CameTo::Measured(measured) => Some(measured),
            CameTo::OutOfTime(_) | CameTo::Refused { .. } => None,
        })
    }

    fn sum(&self, of: impl Fn(&Measured) -> u64) -> u64 {
        self.measured().map(of).sum()
    }

    /// Returns the keys that were covered.
    pub fn keys(&self) -> u64 {
        self.sum(|measured| measured.keys)
    }

    /// Returns the rows that matched `where`.
    pub fn matched(&self) -> u64 {
        self.sum(|measured| measured.matched)
    }

    /// Returns the rows that were rewritten, each of which is a dead one now.
    pub fn changed(&self) -> u64 {
        self.sum(|measured| measured.changed)
    }

    /// Returns the time on the server, all batches together.
    pub fn took(&self) -> Duration {
        self.measured().map(|measured| measured.took).sum()
    }

    /// Returns the time that the walk needs for all of it: to find where each batch ends, and to do
    /// it.
    pub fn walked(&self) -> Duration {
        let is_measured = |batch: &&Rehearsed| matches!(batch.came_to, CameTo::Measured(_));
        self.took() + self.batches.iter().filter(is_measured).map(|it| it.found).sum::<Duration>()
    }

    /// Returns the time that row locks were held, all batches together, seen from here.
    pub fn held(&self) -> Duration {
        self.batches.iter().map(|batch| batch.held).sum()
    }

    /// Whether everything that was written is in the sums: no try failed.
    pub fn is_whole(&self) -> bool {
        let is_measured = |came_to: &CameTo| matches!(came_to, CameTo::Measured(_));
        self.batches.iter().all(|batch| batch.tries == 1 && is_measured(&batch.came_to))
    }

    /// Returns the bytes of WAL, as far as the server says them.
    pub fn wal_bytes(&self) -> Option<u64> {
        self.measured().map(|measured| measured.wal_bytes).sum()
    }

    /// Returns the share of the keys whose rows match; `None` if no key was seen.
    pub fn matching(&self) -> Option<f64> {
        share(self.matched(), self.keys())
    }

    /// Returns the share of the updates that were HOT; `None` if there was none, or nobody counts.
    pub fn hot(&self) -> Option<f64> {
        let hot: Option<u64> = self.measured().map(|measured| measured.hot).sum();
        share(hot?, self.changed())
    }

    /// Returns the bytes of WAL for each row that was rewritten.
    pub fn wal_per_row(&self) -> Option<f64> {
        share(self.wal_bytes()?, self.changed())
    }

    /// Returns the same without the images of whole pages, of which a little of a table has more than
    /// its part.
    pub fn wal_per_row_without_images(&self) -> Option<f64> {
        let images = self.sum(|measured| measured.images) * IMAGE;
        share(self.wal_bytes()?.saturating_sub(images), self.changed())
    }

    /// Returns the average size of a row before, or after.
    pub fn row_bytes(&self, of: impl Fn(&Measured) -> Option<f64>) -> Option<f64> {
        let sizes = self.measured().filter(|it| it.keys > 0).map(|it| Some((of(it)?, it.keys)));
        let sizes: Option<Vec<_>> = sizes.collect();
        #[expect(clippy::cast_precision_loss, reason = "at most some thousand keys")]
        let sum: f64 = sizes?.iter().map(|(size, keys)| size * *keys as f64).sum();
        #[expect(clippy::cast_precision_loss, reason = "at most some thousand keys")]
        let keys = self.keys() as f64;
        (keys > 0.0).then(|| sum / keys)
    }

    /// Returns the triggers that fired, each once.
    pub fn triggers(&self) -> Vec<Fired> {
        let mut all: Vec<Fired> = Vec::new();
        for fired in self.measured().flat_map(|measured| &measured.triggers) {
            let Some(one) = all.iter_mut().find(|one| one.name == fired.name) else {
                all.push(fired.clone());
                continue;
            };
            one.calls += fired.calls;
            one.took += fired.took;
        }
        all
    }

    /// Returns what a person should know of before the run.
    pub fn findings(&self, plan: &Plan) -> Vec<Finding> {
        let table = &plan.target.keyset.table;
        let told = self.batches.iter().filter_map(|batch| batch.finding(table));
        told.chain(self.still_true(&plan.job).map(|it| it.at(table))).collect()
    }

    /// `where` is still true for rows that are done, and the run would be stopped by that, or not be proven.
    fn still_true(&self, job: &Job) -> Option<Finding> {
        let still = self.sum(|measured| measured.still);
        let pending = Pending::of(job.table.filter.is_some(), self.changed(), still);
        let why = match (pending, job.table.order) {
            (Pending::Filter | Pending::Mixed, Order::Physical) => {
                "a walk in physical order would meet such a row again, and do it twice: the run stops at the first of them"
            }
            (Pending::Mixed, Order::Key) if job.verify.expect.is_none() => {
                "of the others it is not, so it does not say which rows are left to do: the run would fail when it is verified"
            }
            (Pending::Filter | Pending::Mixed, Order::Key)
            | (Pending::Absent | Pending::Proven | Pending::Unproven, _) => return None,
        };
        let (still, changed) = (count(still), counted(self.changed(), "rows"));
        let what =
            format!("`where` is still true for {still} of {changed} that the rehearsal has done");
        let finding = Finding::warn("rehearsal-where", what)
            .because(why)
            .recipe("write under [table] a `where` that is not true of a row that is done, as in `loc IS NULL`");
        let other = match job.table.order {
            Order::Physical => "or write `order = \"key\"` under [table], or leave it out",
            Order::Key => "or say with `expect` under [verify] what must be true of each row",
        };
        Some(finding.recipe(other).span(job.table.order_span.clone()))
    }
}

impl Rehearsed {
    fn finding(&self, table: &str) -> Option<Finding> {
        let finding = match &self.came_to {
            CameTo::Measured(_) => return None,
            CameTo::OutOfTime(why) => Finding::warn(
                "rehearsal-slow",
                format!("a batch of {} does not end in time", counted(self.rows.into(), "keys")),
            )
            .because(why.as_str())
            .recipe("look what makes a row slow: triggers, foreign keys, an expression, a lock; see the rehearsal of `piecemeal plan`")
            .recipe("or let others wait longer, with `give_way` under [batch]"),
            CameTo::Refused { is_row: true, why } => {
                Finding::warn("rehearsal-bad-row", "the server refused a row of a rehearsed batch")
                    .because(why.as_str())
                    .recipe("fix the row or the SQL of the job: the run stops at such a row")
            }
            CameTo::Refused { is_row: false, why } => {
                Finding::warn("rehearsal-refused", "the server refused a rehearsed batch")
                    .because(why.as_str())
                    .recipe("the run would stop at once; what the server says has to be put right first")
            }
        };
        Some(finding.at(format!("{table}, {}", self.place())))
    }

    /// Where it was, in words.
    pub(super) fn place(&self) -> String {
        self.after.as_ref().map_or("the first keys".into(), |key| format!("after key {key}"))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
