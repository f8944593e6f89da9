//! How busy others kept the machine meanwhile, which tells whether a measurement can be trusted.
//!
//! Others are all but the server, pgbench and this process; on a virtual machine the time that its
//! host took away, too. From `/proc`, so on Linux only; elsewhere it is unknown.

use std::fs;
use std::time::Instant;

/// Ticks of a processor in a second, as `/proc` counts them on every Linux.
const TICKS: f64 = 100.0;

/// The processes that belong to a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ours {
    /// The server's first process; all its others are children of it.
    pub(crate) postmaster: u32,
    /// The traffic.
    pub(crate) pgbench: u32,
}

/// The processors' work up to now.
pub(crate) struct Cpu {
    at: Instant,
    ours: Ours,
    busy: u64,
    own: u64,
}

impl Cpu {
    /// Reads the counters.
    pub(crate) fn read(ours: Ours) -> Option<Cpu> {
        let busy = busy(&fs::read_to_string("/proc/stat").ok()?)?;
        let mut own = 0;
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            // A process may end between the two.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            own += Process::read(&stat).filter(|it| it.is_ours(pid, ours)).map_or(0, |it| it.ticks);
        }
        Some(Cpu { at: Instant::now(), ours, busy, own })
    }

    /// Returns how many processors others used since, as a mean.
    #[expect(clippy::cast_precision_loss, reason = "a few thousand ticks")]
    pub(crate) fn foreign_since(&self) -> Option<f64> {
        let now = Cpu::read(self.ours)?;
        let foreign = (now.busy - self.busy).saturating_sub(now.own.saturating_sub(self.own));
        Some(foreign as f64 / TICKS / (now.at - self.at).as_secs_f64())
    }
}

/// Sums what all processors did, but for being idle: the first line of `/proc/stat`.
fn busy(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|it| it.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = ticks[..] else {
        return None;
    };
    Some(user + nice + system + irq + softirq + steal)
}

/// A process, from its `stat`.
#[derive(Debug, PartialEq)]
struct Process {
    parent: u32,
    /// Its own, and those of its children that have ended.
    ticks: u64,
}

impl Process {
    fn read(stat: &str) -> Option<Process> {
        // The name before it may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Some(Process { parent: fields.get(1)?.parse().ok()?, ticks })
    }

    fn is_ours(&self, pid: u32, ours: Ours) -> bool {
        self.parent == ours.postmaster
            || [ours.postmaster, ours.pgbench, std::process::id()].contains(&pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "77 (a) b) S 12 1 1 0 -1 0 0 0 0 0 5 6 7 8 20 0 1 0";
        assert_eq!(Process::read(stat), Some(Process { parent: 12, ticks: 26 }));
    }

    #[test]
    fn waiting_is_not_work() {
        assert_eq!(busy("cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 1"), Some(63));
    }
}
