//! Who used the processors meanwhile: the server, the client, and others, who tell whether a
//! measurement can be trusted.
//!
//! Others are all but the server, pgbench and this process with its children; on a virtual machine
//! the time that its host took away, too. From `/proc`, so on Linux only; elsewhere it is unknown.

use std::fs;
use std::time::Instant;

/// Ticks of a processor in a second, as `/proc` counts them on every Linux.
const TICKS: f64 = 100.0;

/// The processes that belong to a measurement, besides this one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ours {
    /// The server's first process; all its others are children of it.
    pub(crate) postmaster: u32,
    /// The traffic, if there is some.
    pub(crate) traffic: Option<u32>,
}

/// The processors' work up to now.
pub(crate) struct Cpu {
    at: Instant,
    ours: Ours,
    ticks: Ticks,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Ticks {
    busy: u64,
    server: u64,
    client: u64,
    traffic: u64,
}

/// What was used between two instants, in seconds of one processor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    /// By the server.
    pub(crate) server: f64,
    /// By this process, and by its children that have ended.
    pub(crate) client: f64,
    traffic: f64,
    /// By anybody.
    all: f64,
    /// Between the two instants.
    seconds: f64,
}

impl Cpu {
    /// Reads the counters.
    pub(crate) fn read(ours: Ours) -> Option<Cpu> {
        let busy = busy(&fs::read_to_string("/proc/stat").ok()?)?;
        let mut ticks = Ticks { busy, ..Ticks::default() };
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            // A process may end between the two.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            if let Some(process) = Process::read(&stat) {
                ticks.add(&process, pid, ours);
            }
        }
        Some(Cpu { at: Instant::now(), ours, ticks })
    }

    /// Returns what was used since.
    pub(crate) fn spent(&self) -> Option<Spent> {
        let now = Cpu::read(self.ours)?;
        Some(Spent::between(self.ticks, now.ticks, (now.at - self.at).as_secs_f64()))
    }
}

impl Ticks {
    fn add(&mut self, process: &Process, pid: u32, ours: Ours) {
        if pid == ours.postmaster || process.parent == ours.postmaster {
            self.server += process.ticks;
        } else if pid == std::process::id() {
            self.client += process.ticks;
        } else if Some(pid) == ours.traffic {
            self.traffic += process.ticks;
        }
    }
}

impl Spent {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand ticks")]
    fn between(from: Ticks, to: Ticks, seconds: f64) -> Spent {
        let since = |of: fn(Ticks) -> u64| of(to).saturating_sub(of(from)) as f64 / TICKS;
        Spent {
            server: since(|it| it.server),
            client: since(|it| it.client),
            traffic: since(|it| it.traffic),
            all: since(|it| it.busy),
            seconds,
        }
    }

    /// Returns how many processors others used, as a mean.
    pub(crate) fn foreign(&self) -> f64 {
        (self.all - self.server - self.client - self.traffic).max(0.0) / self.seconds
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

    #[test]
    fn a_process_belongs_to_the_server_by_its_parent() {
        let ours = Ours { postmaster: 1, traffic: Some(9) };
        let mut ticks = Ticks::default();
        for (pid, parent) in [(1, 0), (5, 1), (9, 7), (std::process::id(), 7), (6, 5)] {
            ticks.add(&Process { parent, ticks: 10 }, pid, ours);
        }
        assert_eq!(ticks, Ticks { busy: 0, server: 20, client: 10, traffic: 10 });
    }

    #[test]
    fn what_nobody_of_ours_used_is_foreign() {
        let to = Ticks { busy: 1_000, server: 500, client: 100, traffic: 200 };
        let spent = Spent::between(Ticks::default(), to, 4.0);
        let shown = format!("{} {} {}", spent.server, spent.client, spent.foreign());
        assert_eq!(shown, "5 1 0.5");
    }
}
