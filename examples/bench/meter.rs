//! What is read before and after a measurement: WAL, sizes, processors, memory, and the share of HOT.

use std::time::{Duration, Instant};

use super::ground::cpu::{Cpu, Ours, Spent};
use super::ground::{Failure, Ground};
use super::memory;
use super::report::Measured;

/// Sessions report what they did when they end, and on old servers another process adds it up.
const PATIENCE: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(50);

/// The state before a measurement.
pub(crate) struct Meter {
    wal: i64,
    heap: i64,
    indexes: i64,
    /// Whether this process's peak of memory is one of this measurement.
    forgot: bool,
    cpu: Option<Cpu>,
    started: Instant,
}

/// Rows of a measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    /// All that were looked at.
    pub(crate) passed: u32,
    /// Those that were changed.
    pub(crate) changed: u32,
}

/// What had been used when the work was done, and before it was verified.
pub(crate) struct Lap {
    pub(crate) seconds: f64,
    spent: Option<Spent>,
}

impl Meter {
    /// Reads the state; the clock runs from its end.
    pub(crate) async fn begin(ground: &Ground, postmaster: u32) -> Result<Meter, Failure> {
        let (heap, indexes) = sizes(ground).await?;
        let wal = wal(ground).await?;
        let forgot = memory::forget();
        let cpu = Cpu::read(Ours { postmaster, traffic: None });
        Ok(Meter { wal, heap, indexes, forgot, cpu, started: Instant::now() })
    }

    /// Returns what has been used up to now.
    pub(crate) fn lap(&self) -> Lap {
        let seconds = self.started.elapsed().as_secs_f64();
        Lap { seconds, spent: self.cpu.as_ref().and_then(Cpu::spent) }
    }

    /// Reads the state afterwards; of memory and WAL that of now, of the others that of the lap.
    #[expect(clippy::cast_precision_loss, reason = "bytes and rows of a benchmark")]
    pub(crate) async fn end(
        &self,
        ground: &Ground,
        lap: Lap,
        rows: Rows,
    ) -> Result<Measured, Failure> {
        let peak = if self.forgot { memory::peak("self") } else { None };
        let wal = (wal(ground).await? - self.wal) as f64;
        let (heap, indexes) = sizes(ground).await?;
        let of_spent = |of: fn(&Spent) -> f64| lap.spent.as_ref().map_or(f64::NAN, of);
        Ok(Measured {
            seconds: lap.seconds,
            verified: f64::NAN,
            rows_per_s: f64::from(rows.passed) / lap.seconds,
            wal: if rows.changed == 0 { f64::NAN } else { wal / f64::from(rows.changed) },
            heap: heap as f64 / self.heap as f64,
            indexes: indexes as f64 / self.indexes as f64,
            hot: hot(ground, rows.changed).await?,
            server: of_spent(|spent| spent.server),
            client: of_spent(|spent| spent.client),
            memory: peak.unwrap_or(f64::NAN),
            foreign: of_spent(Spent::foreign),
        })
    }
}

async fn wal(ground: &Ground) -> Result<i64, Failure> {
    let sql = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8";
    Ok(ground.client.query_one(sql, &[]).await?.get(0))
}

async fn sizes(ground: &Ground) -> Result<(i64, i64), Failure> {
    let row = ground.client.query_one("SELECT pg_indexes_size('t')", &[]).await?;
    Ok((ground.heap().await?, row.get(0)))
}

/// Returns the share of row versions that went beside the old one, so that no index had to know; NaN
/// if the server does not tell in time.
#[expect(clippy::cast_precision_loss, reason = "rows of a benchmark")]
async fn hot(ground: &Ground, changed: u32) -> Result<f64, Failure> {
    let sql = "SELECT pg_stat_get_tuples_updated('t'::regclass), pg_stat_get_tuples_hot_updated('t'::regclass)";
    let started = Instant::now();
    while changed > 0 && started.elapsed() < PATIENCE {
        let row = ground.client.query_one(sql, &[]).await?;
        let (updated, hot): (i64, i64) = (row.get(0), row.get(1));
        if updated >= changed.into() {
            return Ok(hot as f64 / updated as f64);
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(f64::NAN)
}
