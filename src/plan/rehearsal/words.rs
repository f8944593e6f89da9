//! The rehearsal as lines for people; what it left behind stands first.

use std::fmt;
use std::time::Duration;

use super::{CameTo, Measured, Rehearsal, Rehearsed};
use crate::job::show_bytes;
use crate::run::{count, counted};

impl fmt::Display for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rehearsal:")?;
        if self.batches.is_empty() {
            return writeln!(f, "  (the table is empty)");
        }
        let batches = counted(self.batches.len() as u64, "batches");
        let each = if self.batches.len() == 1 { "" } else { "each " };
        writeln!(
            f,
            "  {batches}, {each}rolled back: no visible change; {}row locks for {}, {} of WAL, {} left",
            if self.is_whole() { "" } else { "at least " },
            milliseconds(self.held()),
            self.wal_bytes().map_or("unknown".into(), show_bytes),
            counted(self.changed(), "dead rows"),
        )?;
        for batch in &self.batches {
            writeln!(f, "  {batch}")?;
        }
        for trigger in self.triggers() {
            let (calls, took) = (counted(trigger.calls, "calls"), milliseconds(trigger.took));
            writeln!(
                f,
                "  trigger {}: {calls}, {took} of the {}",
                trigger.name,
                milliseconds(self.took())
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Rehearsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place())?;
        match &self.came_to {
            CameTo::Measured(measured) => measured.fmt(f),
            CameTo::OutOfTime(why) => {
                write!(f, "not done, not even {}: {why}", counted(self.rows.into(), "keys"))
            }
            CameTo::Refused { why, .. } => write!(f, "refused: {why}"),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} to do, {}",
            counted(self.keys, "keys"),
            count(self.matched),
            milliseconds(self.took)
        )?;
        if self.changed < self.matched {
            write!(f, ", {} left as they are by a trigger", count(self.matched - self.changed))?;
        }
        if self.changed == 0 {
            return Ok(());
        }
        let wal = self.wal_bytes.map_or("unknown".into(), |wal| count(wal / self.changed));
        write!(f, ", {wal} bytes of WAL a row")?;
        match self.hot {
            Some(hot) => write!(f, ", {}% HOT", 100 * hot / self.changed),
            None => write!(f, ", HOT unknown"),
        }
    }
}

/// A short time, as in `12.3 ms`.
fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
