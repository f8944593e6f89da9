//! The most memory that a process has used. From `/proc`, so on Linux only; elsewhere it is unknown.

use std::fs;

/// Lets the peak of this process begin anew.
pub(crate) fn forget() -> bool {
    fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Returns the peak of a process in MB.
pub(crate) fn peak(process: &str) -> Option<f64> {
    read(&fs::read_to_string(format!("/proc/{process}/status")).ok()?)
}

fn read(status: &str) -> Option<f64> {
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = kib.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1_024.0 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_units_that_are_not_what_they_say() {
        assert_eq!(read("VmPeak:\t9 kB\nVmHWM:\t   15625 kB\nVmRSS:\t1 kB"), Some(16.0));
        assert_eq!(read("Name:\tbench"), None, "a process that has ended");
    }
}
