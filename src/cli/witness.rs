//! Who looks on while the demo goes through the life of a change: compares both sides of every row, and
//! sees who waits for whom.

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use piecemeal::{Connect, Error, ErrorKind};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::traffic::failed;

/// How often both sides are compared.
const COMPARES: Duration = Duration::from_secs(1);
/// How often it is looked who waits.
const LOOKS: Duration = Duration::from_millis(20);

/// In one snapshot, and to the last bit: `~=` would let a small difference pass.
const COMPARE: &str = "\
SELECT count(*) AS both, count(*) FILTER (WHERE loc[0] <> lng OR loc[1] <> lat) AS apart FROM posts
WHERE loc IS NOT NULL AND lat IS NOT NULL AND lng IS NOT NULL";

/// Whether there are two sides to compare.
const HAS_BOTH: &str = "\
SELECT count(*) = 3 FROM pg_attribute
WHERE attrelid = 'posts'::regclass AND attname IN ('loc', 'lat', 'lng') AND NOT attisdropped";

/// How long the application waits for a lock that is ours, or that we ask for.
const WAITS: &str = "\
SELECT max(1e6 * extract(epoch FROM clock_timestamp() - l.waitstart))::int8
FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE NOT l.granted AND a.application_name LIKE 'demo % API' AND EXISTS (
    SELECT FROM pg_stat_activity b
    WHERE b.pid = ANY (pg_blocking_pids(l.pid)) AND b.application_name LIKE 'piecemeal%')";

/// What came of comparing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Compared {
    pub(crate) looks: u64,
    /// Rows with both sides, over all looks.
    pub(crate) rows: u64,
    /// Those whose sides said different things.
    pub(crate) apart: u64,
}

impl AddAssign for Compared {
    fn add_assign(&mut self, other: Compared) {
        self.looks += other.looks;
        self.rows += other.rows;
        self.apart += other.apart;
    }
}

/// What came of looking who waits.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Waits {
    pub(crate) looks: u64,
    pub(crate) longest: Duration,
}

/// Looks on until it is told to stop.
pub(crate) struct Witness<T> {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<T, tokio_postgres::Error>>,
}

impl Witness<Compared> {
    /// Compares both sides of every row that has both.
    pub(crate) async fn compare(connect: &Connect) -> Result<Self, Error> {
        let (client, _) = connect.open().await?;
        Ok(Witness::of(async move |stop| {
            let mut compared = Compared::default();
            while !stop.load(Ordering::Relaxed) {
                compare(&client, &mut compared).await?;
                tokio::time::sleep(COMPARES).await;
            }
            Ok(compared)
        }))
    }
}

impl Witness<Waits> {
    /// Looks who waits for a lock of ours.
    pub(crate) async fn waits(connect: &Connect) -> Result<Self, Error> {
        let (client, _) = connect.open().await?;
        Ok(Witness::of(async move |stop| {
            let mut waits = Waits::default();
            while !stop.load(Ordering::Relaxed) {
                let waited: Option<i64> = client.query_one(WAITS, &[]).await?.get(0);
                let waited = Duration::from_micros(waited.unwrap_or(0).unsigned_abs());
                waits.longest = waits.longest.max(waited);
                waits.looks += 1;
                tokio::time::sleep(LOOKS).await;
            }
            Ok(waits)
        }))
    }
}

impl<T: Send + 'static> Witness<T> {
    fn of<F>(look: impl FnOnce(Arc<AtomicBool>) -> F) -> Witness<T>
    where
        F: Future<Output = Result<T, tokio_postgres::Error>> + Send + 'static,
    {
        let stop = Arc::default();
        Witness { task: tokio::spawn(look(Arc::clone(&stop))), stop }
    }

    /// Lets the look that is under way end, and returns what was seen.
    pub(crate) async fn stop(self) -> Result<T, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let looked = self.task.await.map_err(|error| {
            Error::new(ErrorKind::Unexpected, "demo", "the demo could not look on")
                .because(error.to_string())
        })?;
        looked.map_err(|error| failed("look on", &error))
    }
}

async fn compare(client: &Client, compared: &mut Compared) -> Result<(), tokio_postgres::Error> {
    if !client.query_one(HAS_BOTH, &[]).await?.get::<_, bool>(0) {
        return Ok(());
    }
    let row = client.query_one(COMPARE, &[]).await?;
    let count = |name: &str| row.get::<_, i64>(name).unsigned_abs();
    let (rows, apart) = (count("both"), count("apart"));
    *compared += Compared { looks: u64::from(rows > 0), rows, apart };
    Ok(())
}
