//! The live traffic of the demo: an application that reads and writes posts while they change.
//!
//! It keeps its own account of what the server acknowledged, so that the end can show that no write
//! was lost, and measures what its users would feel.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use piecemeal::{Connect, Error, ErrorKind};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::types::{ToSql, Type};

/// Connections.
const USERS: u64 = 6;
/// What a user does between two requests.
const THINKS: Duration = Duration::from_millis(4);
/// The width of a bucket of the histogram, and how many there are: latencies up to 10 s.
const BUCKET: Duration = Duration::from_micros(100);
const BUCKETS: usize = 100_000;

const READ: &str = "SELECT body, loc::text FROM posts WHERE id = $1";
const VIEW: &str = "UPDATE posts SET views = views + 1 WHERE id = $1";
const MOVE: &str = "UPDATE posts SET lat = $2, lng = $3, loc = point($3, $2) WHERE id = $1";
const WRITE: &str = "INSERT INTO posts (lat, lng, loc, body) VALUES ($1, $2, point($2, $1), 'new')";
const DELETE: &str = "DELETE FROM posts WHERE id = $1 RETURNING views::int8";

/// What the server acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Views counted.
    pub(crate) views: AtomicU64,
    /// Views that were deleted with their posts.
    pub(crate) views_gone: AtomicU64,
    /// Posts written.
    pub(crate) inserts: AtomicU64,
    /// Posts deleted.
    pub(crate) deletes: AtomicU64,
    /// Requests that failed.
    pub(crate) errors: AtomicU64,
}

/// Latencies since the last look.
struct Latencies(Mutex<Vec<u32>>);

/// What users felt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Felt {
    pub(crate) requests: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

/// Users at work.
pub(crate) struct Traffic {
    pub(crate) account: Arc<Account>,
    latencies: Arc<Latencies>,
    stop: Arc<AtomicBool>,
    users: JoinSet<()>,
}

impl Traffic {
    /// Lets users loose on a table of `rows` posts.
    pub(crate) async fn start(connect: &Connect, rows: u32) -> Result<Traffic, Error> {
        let mut traffic = Traffic {
            account: Arc::default(),
            latencies: Arc::new(Latencies(Mutex::new(vec![0; BUCKETS]))),
            stop: Arc::default(),
            users: JoinSet::new(),
        };
        for no in 0..USERS {
            let (client, _) = connect.open().await?;
            let user = User {
                client,
                rows: i64::from(rows),
                account: Arc::clone(&traffic.account),
                random: fastrand::Rng::with_seed(no),
            };
            let (latencies, stop) = (Arc::clone(&traffic.latencies), Arc::clone(&traffic.stop));
            traffic.users.spawn(user.work(latencies, stop));
        }
        Ok(traffic)
    }

    /// Returns what was felt since the last look.
    pub(crate) fn felt(&self) -> Felt {
        let mut counts = self.latencies.0.lock().unwrap_or_else(PoisonError::into_inner);
        let felt = percentiles(&counts);
        counts.fill(0);
        felt
    }

    /// Lets every user finish the request that is under way.
    pub(crate) async fn stop(mut self) -> Arc<Account> {
        self.stop.store(true, Ordering::Relaxed);
        while self.users.join_next().await.is_some() {}
        self.account
    }
}

fn percentiles(counts: &[u32]) -> Felt {
    let requests: u64 = counts.iter().map(|n| u64::from(*n)).sum();
    let at = |percent: u64| {
        let rank = (requests * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = counts.iter().position(|n| {
            seen += u64::from(*n);
            seen >= rank
        });
        BUCKET * u32::try_from(bucket.unwrap_or(0) + 1).unwrap_or(u32::MAX)
    };
    Felt { requests, p50: at(50), p99: at(99), max: at(100) }
}

struct User {
    client: Client,
    rows: i64,
    account: Arc<Account>,
    random: fastrand::Rng,
}

impl User {
    async fn work(mut self, latencies: Arc<Latencies>, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            if self.request().await.is_err() {
                self.account.errors.fetch_add(1, Ordering::Relaxed);
            }
            let bucket = started.elapsed().as_micros() / BUCKET.as_micros();
            let bucket = usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1);
            latencies.0.lock().unwrap_or_else(PoisonError::into_inner)[bucket] += 1;
            tokio::time::sleep(THINKS).await;
        }
    }

    async fn request(&mut self) -> Result<(), tokio_postgres::Error> {
        let id = self.random.i64(1..=self.rows);
        let (lat, lng) = (self.random.f64() * 180.0 - 90.0, self.random.f64() * 360.0 - 180.0);
        let account = Arc::clone(&self.account);
        let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed);
        match self.random.u8(0..100) {
            0..60 => drop(self.client.query_typed(READ, &[(&id, Type::INT8)]).await?),
            60..80 => drop(add(&account.views, self.send(VIEW, &[(&id, Type::INT8)]).await?)),
            80..90 => {
                let place =
                    [(&id as Value<'_>, Type::INT8), (&lat, Type::FLOAT8), (&lng, Type::FLOAT8)];
                self.send(MOVE, &place).await?;
            }
            90..97 => {
                let place = [(&lat as Value<'_>, Type::FLOAT8), (&lng, Type::FLOAT8)];
                add(&account.inserts, self.send(WRITE, &place).await?);
            }
            _ => {
                for row in self.client.query_typed(DELETE, &[(&id, Type::INT8)]).await? {
                    add(&account.deletes, 1);
                    add(&account.views_gone, row.get::<_, i64>(0).unsigned_abs());
                }
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        sql: &str,
        params: &[(Value<'_>, Type)],
    ) -> Result<u64, tokio_postgres::Error> {
        self.client.execute_typed(sql, params).await
    }
}

type Value<'a> = &'a (dyn ToSql + Sync);

/// Returns the error for a statement of the demo itself.
pub(crate) fn failed(what: &str, error: &tokio_postgres::Error) -> Error {
    let cause = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
    Error::new(ErrorKind::Unexpected, "demo", format!("the demo could not {what}")).because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_percentile_is_the_bucket_that_holds_it() {
        let mut counts = vec![0; 100];
        (counts[0], counts[9], counts[99]) = (98, 1, 1);
        let felt = percentiles(&counts);
        assert_eq!(felt.p50, Duration::from_micros(100));
        assert_eq!(felt.p99, Duration::from_millis(1));
        assert_eq!(felt.max, Duration::from_millis(10));
    }
}
