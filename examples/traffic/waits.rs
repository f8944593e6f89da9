//! The longest wait of any session on the backfill, seen fifty times a second.
//!
//! Waiting on the backfill is who waits for a lock of a session whose name begins with
//! `piecemeal`, or waits on somebody who does. What is shorter than a fiftieth of a second may not
//! be seen; the length of the others is right to that.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use piecemeal::Connect;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_postgres::{Client, Row};

use super::ground::Failure;

const EVERY: Duration = Duration::from_millis(20);

/// Who blocks whom is asked for those only who wait.
const LOOK: &str = "\
SELECT pid, COALESCE(application_name LIKE 'piecemeal%', false),
       CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) ELSE '{}' END,
       COALESCE(extract(epoch FROM query_start), 0)::float8, extract(epoch FROM clock_timestamp())::float8
FROM pg_stat_get_activity(NULL)
WHERE wait_event_type = 'Lock' OR application_name LIKE 'piecemeal%'";

/// A session at one moment.
struct Session {
    pid: i32,
    is_backfill: bool,
    blockers: Vec<i32>,
    /// When its statement began, in seconds of the server's clock.
    began: f64,
    now: f64,
}

impl Session {
    fn read(row: &Row) -> Session {
        Session {
            pid: row.get(0),
            is_backfill: row.get(1),
            blockers: row.get(2),
            began: row.get(3),
            now: row.get(4),
        }
    }
}

/// Looks until it is stopped.
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Longest, tokio_postgres::Error>>,
}

impl Sampler {
    /// Begins, on a connection of its own.
    pub(crate) async fn start(connect: &Connect) -> Result<Sampler, Failure> {
        let (client, _) = connect.clone().application_name("bench sampler").open().await?;
        let stop = Arc::<AtomicBool>::default();
        let task = tokio::spawn(sample(client, Arc::clone(&stop)));
        Ok(Sampler { stop, task })
    }

    /// Returns the longest wait in milliseconds.
    pub(crate) async fn stop(self) -> Result<f64, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.task.await??.most * 1e3)
    }
}

async fn sample(client: Client, stop: Arc<AtomicBool>) -> Result<Longest, tokio_postgres::Error> {
    let look = client.prepare(LOOK).await?;
    let mut longest = Longest::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let sessions: Vec<_> = client.query(&look, &[]).await?.iter().map(Session::read).collect();
        longest.see(&sessions);
    }
    Ok(longest)
}

/// Follows each wait from sample to sample.
#[derive(Debug, Default)]
struct Longest {
    /// The waits of the last sample, by session and statement, and since when they last.
    waits: HashMap<(i32, u64), f64>,
    /// When the last sample was.
    seen: f64,
    /// The longest of all, in seconds.
    most: f64,
}

impl Longest {
    fn see(&mut self, sessions: &[Session]) {
        let mut waits = HashMap::new();
        for session in waiting(sessions) {
            let id = (session.pid, session.began.to_bits());
            // A new wait began with its statement, and not before the last sample.
            let since = *self.waits.get(&id).unwrap_or(&session.began.max(self.seen));
            self.most = self.most.max(session.now - since);
            waits.insert(id, since);
        }
        self.waits = waits;
        self.seen = sessions.first().map_or(self.seen, |session| session.now);
    }
}

/// Returns who waits on the backfill, directly or behind another one who does.
fn waiting(sessions: &[Session]) -> impl Iterator<Item = &Session> {
    let mut blocking: HashSet<i32> =
        sessions.iter().filter(|it| it.is_backfill).map(|it| it.pid).collect();
    loop {
        let known = blocking.len();
        let behind = |it: &&Session| it.blockers.iter().any(|pid| blocking.contains(pid));
        let found: Vec<i32> = sessions.iter().filter(behind).map(|it| it.pid).collect();
        blocking.extend(found);
        if blocking.len() == known {
            break;
        }
    }
    sessions.iter().filter(move |it| !it.is_backfill && blocking.contains(&it.pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(pid: i32, is_backfill: bool, blockers: &[i32], began: f64, now: f64) -> Session {
        Session { pid, is_backfill, blockers: blockers.to_vec(), began, now }
    }

    #[test]
    fn who_stands_behind_a_waiting_session_waits_too() {
        let sessions = [
            session(1, true, &[], 0.0, 0.0),
            session(3, false, &[2], 0.0, 0.0),
            session(2, false, &[1], 0.0, 0.0),
            session(5, false, &[4], 0.0, 0.0),
        ];
        assert_eq!(waiting(&sessions).map(|it| it.pid).collect::<Vec<_>>(), [3, 2]);
    }

    #[test]
    fn two_waits_of_one_session_are_not_added_up() {
        let mut longest = Longest::default();
        for (began, now) in [(10.0, 10.01), (10.0, 10.03), (10.04, 10.05)] {
            longest.see(&[session(1, true, &[], 0.0, now), session(2, false, &[1], began, now)]);
        }
        assert!((longest.most - 0.03).abs() < 1e-9, "{longest:?}");
    }

    #[test]
    fn a_statement_that_worked_before_it_waits_is_not_counted_from_its_start() {
        let mut longest = Longest::default();
        longest.see(&[session(1, true, &[], 0.0, 50.0), session(2, false, &[], 10.0, 50.0)]);
        longest.see(&[session(1, true, &[], 0.0, 50.02), session(2, false, &[1], 10.0, 50.02)]);
        assert!((longest.most - 0.02).abs() < 1e-9, "{longest:?}");
    }
}
