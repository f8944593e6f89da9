//! What versions of the demo's application send, and what each of them was told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The width of a bucket of the histogram, and how many there are: latencies up to 10 s.
const BUCKET: Duration = Duration::from_micros(100);
const BUCKETS: usize = 100_000;

/// What a version of the application knows of the table.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) name: &'static str,
    /// Reads a post.
    pub(crate) read: &'static str,
    /// Moves a post.
    pub(crate) place: &'static str,
    /// Writes a new post.
    pub(crate) write: &'static str,
    /// Posts are moved and deleted by one user each, so that everybody knows where theirs are: each has a
    /// lane of the keys. These are the first lane of this version, and all lanes.
    pub(crate) lanes: (u32, u32),
}

/// The version in the middle of a deploy: it writes both forms.
pub(crate) const BOTH: Api = Api {
    name: "demo traffic",
    read: "SELECT body, loc::text FROM posts WHERE id = $1",
    place: "UPDATE posts SET lat = $2, lng = $3, loc = point($3, $2) WHERE id = $1",
    write: "INSERT INTO posts (lat, lng, loc, body) VALUES ($1, $2, point($2, $1), 'new') RETURNING id",
    lanes: (0, 6),
};

/// The version from before, which knows the old columns only.
pub(crate) const OLD: Api = Api {
    name: "demo old API",
    read: "SELECT body, lat, lng FROM posts WHERE id = $1",
    place: "UPDATE posts SET lat = $2, lng = $3 WHERE id = $1",
    write: "INSERT INTO posts (lat, lng, body) VALUES ($1, $2, 'new') RETURNING id",
    lanes: (0, 12),
};

/// The version to come, which knows the new column only.
pub(crate) const NEW: Api = Api {
    name: "demo new API",
    read: "SELECT body, loc::text FROM posts WHERE id = $1",
    place: "UPDATE posts SET loc = point($3, $2) WHERE id = $1",
    write: "INSERT INTO posts (loc, body) VALUES (point($2, $1), 'new') RETURNING id",
    lanes: (6, 12),
};

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
    /// The first of them.
    first_error: Mutex<Option<String>>,
    /// Where posts were put, as latitude and longitude.
    places: Mutex<HashMap<i64, (f64, f64)>>,
    /// How many requests took how long, since the last look.
    latencies: Mutex<Vec<u32>>,
}

/// What users felt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Felt {
    pub(crate) requests: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
}

impl Account {
    /// Returns a counter.
    pub(crate) fn told(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Adds to a counter.
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// Notes where a post is now.
    pub(crate) fn put(&self, id: i64, place: (f64, f64)) {
        locked(&self.places).insert(id, place);
    }

    /// Notes that a post is gone, with its views.
    pub(crate) fn gone(&self, id: i64, views: u64) {
        locked(&self.places).remove(&id);
        Account::add(&self.deletes, 1);
        Account::add(&self.views_gone, views);
    }

    /// Notes that a request failed.
    pub(crate) fn failed(&self, error: &tokio_postgres::Error) {
        Account::add(&self.errors, 1);
        let text = || error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
        locked(&self.first_error).get_or_insert_with(text);
    }

    /// Notes how long a request took.
    pub(crate) fn took(&self, time: Duration) {
        let bucket = time.as_micros() / BUCKET.as_micros();
        let bucket = usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1);
        let mut counts = locked(&self.latencies);
        counts.resize(BUCKETS, 0);
        counts[bucket] += 1;
    }

    /// Returns what was felt since the last look.
    pub(crate) fn felt(&self) -> Felt {
        percentiles(&std::mem::take(&mut *locked(&self.latencies)))
    }

    /// Returns the first request that failed.
    pub(crate) fn first_error(&self) -> Option<String> {
        locked(&self.first_error).clone()
    }

    /// Returns where the posts are that were put somewhere.
    pub(crate) fn places(&self) -> Vec<(i64, (f64, f64))> {
        locked(&self.places).iter().map(|(id, place)| (*id, *place)).collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
