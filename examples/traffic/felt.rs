//! What the traffic felt, from pgbench's log of every transaction.
//!
//! A transaction belongs to the moment at which it was due, and its latency counts from there: who
//! had to wait in a queue behind a blocked one is not forgotten. Pure, but for reading the files.

use std::fs;
use std::path::{Path, PathBuf};

use super::ground::Failure;

/// How a log's name begins; the rest is the process and the thread.
pub(crate) const PREFIX: &str = "log";

/// One transaction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Transaction {
    /// When it was due, in seconds since 1970.
    due: f64,
    /// How long it took from then, in milliseconds.
    latency: f64,
}

impl Transaction {
    /// Reads `client number latency script seconds microseconds …`, where the instant is that of
    /// the end; a line that was cut off is none.
    fn read(line: &str) -> Option<Transaction> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, _, latency, _, seconds, micros, _lag, ..] = fields[..] else { return None };
        let (latency, seconds) = (latency.parse::<f64>().ok()?, seconds.parse::<f64>().ok()?);
        let ended = seconds + micros.parse::<f64>().ok()? / 1e6;
        Some(Transaction { due: ended - latency / 1e6, latency: latency / 1e3 })
    }
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Felt {
    /// Half of the transactions took no longer.
    pub(crate) p50: f64,
    /// Of a hundred transactions, one took longer.
    pub(crate) p99: f64,
    /// The longest.
    pub(crate) max: f64,
}

impl Felt {
    /// Returns what was felt by those that were due from `from` until `until`; nothing if there
    /// were none.
    pub(crate) fn between(log: &[Transaction], (from, until): (f64, f64)) -> Option<Felt> {
        let due = log.iter().filter(|it| (from..until).contains(&it.due));
        let mut latencies: Vec<f64> = due.map(|it| it.latency).collect();
        latencies.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100);
            latencies.get(rank.saturating_sub(1)).copied()
        };
        Some(Felt { p50: at(50)?, p99: at(99)?, max: at(100)? })
    }
}

/// Returns all logs in a folder, one for each of pgbench's threads.
pub(crate) fn logs(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Reads a log.
pub(crate) fn read(path: &Path) -> Result<Vec<Transaction>, Failure> {
    Ok(fs::read_to_string(path)?.lines().filter_map(Transaction::read).collect())
}

/// Returns when the last transaction of a log was due, which tells how far it has got.
pub(crate) fn last_due(path: &Path) -> Result<Option<f64>, Failure> {
    // The last line may be half written.
    let text = fs::read_to_string(path)?;
    let tail = text.rsplit('\n').skip(1).take(1);
    Ok(tail.filter_map(Transaction::read).map(|it| it.due).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_counts_from_the_moment_at_which_it_was_due() {
        let read = Transaction::read("3 118 1500000 0 1700000010 250000 1400000").unwrap();
        assert_eq!(read, Transaction { due: 1_700_000_008.75, latency: 1500.0 });
        assert_eq!(Transaction::read("3 118 1500"), None, "half a line");
    }

    #[test]
    fn one_that_was_due_in_time_and_ends_late_is_part_of_it() {
        let it = |due, latency| Transaction { due, latency };
        let log = [it(0.9, 1.0), it(1.0, 2.0), it(1.9, 9000.0), it(2.0, 3.0)];
        let felt = Felt::between(&log, (1.0, 2.0)).unwrap();
        assert_eq!(felt, Felt { p50: 2.0, p99: 9000.0, max: 9000.0 });
        assert_eq!(Felt::between(&log, (5.0, 6.0)), None);
    }

    #[test]
    fn of_a_hundred_one_is_above_the_99th_percentile() {
        let log: Vec<_> =
            (1..=100_u32).map(|n| Transaction { due: 0.0, latency: n.into() }).collect();
        let felt = Felt::between(&log, (0.0, 1.0)).unwrap();
        assert_eq!(felt, Felt { p50: 50.0, p99: 99.0, max: 100.0 });
    }
}
