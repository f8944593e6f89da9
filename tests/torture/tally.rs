//! What came of runs: in a line for one of them, and as the table of `docs/reference/reliability.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use piecemeal::run::count;

/// Faults that had an effect, and how long it took to get over them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    pub(crate) faults: BTreeMap<&'static str, u32>,
    pub(crate) late: u64,
    pub(crate) batches: i64,
    /// Batches that a failover took back.
    pub(crate) lost: i64,
    /// The most batches that a process had under way when it was killed, for each of its workers.
    pub(crate) repeated: f64,
    pub(crate) worst: Longest,
}

/// The longest that something took.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Longest {
    /// From a kill to a batch of the next process.
    pub(crate) takeover: Duration,
    /// From any other fault to the next batch.
    pub(crate) recovery: Duration,
    /// From SIGTERM to the end of the process.
    pub(crate) leaving: Duration,
    /// A transaction of the program.
    pub(crate) transaction: Duration,
}

impl Tally {
    /// Adds what came of another run.
    pub(crate) fn add(&mut self, other: &Tally) {
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        self.late += other.late;
        self.batches += other.batches;
        self.lost += other.lost;
        self.repeated = self.repeated.max(other.repeated);
        let (ours, theirs) = (&mut self.worst, &other.worst);
        ours.takeover = ours.takeover.max(theirs.takeover);
        ours.recovery = ours.recovery.max(theirs.recovery);
        ours.leaving = ours.leaving.max(theirs.leaving);
        ours.transaction = ours.transaction.max(theirs.transaction);
    }

    /// Says it in one line.
    pub(crate) fn words(&self) -> String {
        let faults = self.faults.iter().map(|(name, count)| format!("{count} {name}, "));
        let Longest { takeover, recovery, transaction, .. } = self.worst;
        format!(
            "{}{} late batches, {} batches, worst takeover {takeover:.1?}, worst recovery {recovery:.1?}, \
             worst transaction {transaction:.1?}",
            faults.collect::<String>(),
            self.late,
            self.batches
        )
    }

    /// Says it as the table, and the faults by kind.
    pub(crate) fn table(&self, runs: usize, failed: usize) -> String {
        let typed: Vec<_> = std::env::args().skip(1).collect();
        let rows = [
            ("command", format!("`cargo torture {}`", typed.join(" "))),
            ("runs, failed", format!("{runs}, {failed}")),
            ("faults", count(self.faults.values().copied().map(u64::from).sum())),
            ("batches committed under them", count(self.batches.unsigned_abs())),
            ("batches that reached the server late", self.late.to_string()),
            ("batches that a failover took back", count(self.lost.unsigned_abs())),
            (
                "longest time until a batch of the next process, after a kill",
                seconds(self.worst.takeover),
            ),
            (
                "longest time until the next batch, after any other fault",
                seconds(self.worst.recovery),
            ),
            ("longest time from SIGTERM to the end of the process", seconds(self.worst.leaving)),
            (
                "batches to do again after a kill, at most, for each worker",
                format!("{:.1}", self.repeated),
            ),
            ("longest transaction of the program", seconds(self.worst.transaction)),
        ];
        let rows = rows.map(|(what, value)| format!("| {what} | {value} |\n"));
        format!("| | |\n|---|---|\n{}\nBy kind: {}.", rows.concat(), self.by_kind())
    }

    /// The most frequent first.
    fn by_kind(&self) -> String {
        let mut kinds: Vec<_> = self.faults.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let kinds: Vec<_> = kinds.iter().map(|(name, count)| format!("{count} `{name}`")).collect();
        kinds.join(", ")
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
