//! A little of the verification, read as it will be, and timed.
//!
//! Nobody waits longer for it than for a batch. It lies between the rows that were rehearsed, so that it is not in the
//! cache because of them. What cannot be read in time is not known.

use std::time::{Duration, Instant};

use super::{BLOCK, SMALLER, texts, unsigned};
use crate::job::Rate;
use crate::pg::{Fault, Param, Session};
use crate::plan::{Plan, first_key};
use crate::walk::Key;

/// Bounds of a window of the verification, in rows. Fewer are read where a time limit was hit.
pub(crate) const WINDOW: (u32, u32) = (50, 50_000);

/// How many rows may be read for the price of one written. Skipping a row costs about a sixtieth
/// of rewriting it on a small machine; this is three times as careful.
pub(crate) const READS_PER_WRITE: u32 = 20;

/// Windows that are read: their places are the quarters of the table, and those of batches its sixths.
const WINDOWS: u32 = 2;

/// The rows of one: so many that beginning it counts for little.
const ROWS: u32 = 10_000;

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// Rows.
    pub rows: u64,
    /// How long that took, as seen from here.
    pub took: Duration,
}

impl Looked {
    /// Returns how long the verification looks at so many rows, window by window that aims at `target`, if it pays
    /// for them under `rate`.
    #[expect(clippy::cast_precision_loss, reason = "a forecast")]
    pub(crate) fn all(self, rows: u64, target: Duration, rate: Option<Rate>) -> Option<Duration> {
        if self.rows == 0 {
            return None;
        }
        let row = self.took.as_secs_f64() / self.rows as f64;
        let window = (target.as_secs_f64() / row).clamp(WINDOW.0.into(), WINDOW.1.into());
        let price = rate.map_or(0.0, |rate| {
            let paid = f64::from(rate.rows_per_second()) * f64::from(READS_PER_WRITE);
            // No window is paid for longer than a second.
            (1.0 / paid).min(1.0 / window)
        });
        Duration::try_from_secs_f64(rows as f64 * row.max(price)).ok()
    }
}

impl Plan {
    /// Looks at a little of the table as the verification will.
    pub(super) async fn look_at_some(&self, session: &mut Session) -> Result<Looked, Fault> {
        let Some(last) = &self.last_key else { return Ok(Looked::default()) };
        let blocks = self.heap_bytes / BLOCK;
        let mut afters = self.sampled(session, blocks, WINDOWS).await?;
        if afters.is_empty() {
            afters = vec![None];
        }
        let mut all = Looked::default();
        for after in afters {
            let looked = self.look_after(session, after.as_ref(), last).await?;
            all = Looked { rows: all.rows + looked.rows, took: all.took + looked.took };
        }
        Ok(all)
    }

    async fn look_after(
        &self,
        session: &mut Session,
        after: Option<&Key>,
        last: &Key,
    ) -> Result<Looked, Fault> {
        for rows in [ROWS, ROWS / SMALLER] {
            let began = Instant::now();
            match self.look_once(session, after, (rows, last)).await {
                Ok(rows) => return Ok(Looked { rows, took: began.elapsed() }),
                Err(Fault::Unknown(message)) => return Err(Fault::Unknown(message)),
                Err(_) => {}
            }
        }
        Ok(Looked::default())
    }

    /// Returns how many rows it has looked at.
    async fn look_once(
        &self,
        session: &mut Session,
        after: Option<&Key>,
        (rows, last): (u32, &Key),
    ) -> Result<u64, Fault> {
        let (route, has_lower) = (&self.statements.by_key, after.is_some());
        let mut params = vec![Param::Int(i64::from(rows) - 1), texts(last)];
        params.extend(after.map(texts));
        let sql = route.boundary.of_stretch(has_lower);
        let found = session.transact_prepared(&route.begin_read, sql, &params).await?;
        let upto = first_key(&found)?.unwrap_or_else(|| last.clone());
        let mut params = vec![texts(&upto)];
        params.extend(after.map(texts));
        let sql = self.statements.glance.of_stretch(has_lower);
        let seen = session.transact_prepared(&route.begin_read, sql, &params).await?;
        Ok(seen.first().map_or(0, |row| unsigned(row.get(0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_makes_it_longer_until_each_window_is_waited_for_a_second() {
        let looked = Looked { rows: 20_000, took: Duration::from_millis(20) };
        let seconds = |rate: Option<u32>| {
            let rate = rate.and_then(Rate::new);
            looked.all(2_000_000, Duration::from_millis(20), rate).unwrap().as_secs_f64().round()
        };
        assert!((seconds(None) - 2.0).abs() < 0.5);
        assert!((seconds(Some(50_000)) - 2.0).abs() < 0.5, "it could read as many");
        assert!((seconds(Some(10_000)) - 10.0).abs() < 0.5);
        // A hundred windows.
        assert!((seconds(Some(100)) - 100.0).abs() < 0.5);
        assert_eq!(Looked::default().all(1, Duration::from_millis(20), None), None);
    }
}
