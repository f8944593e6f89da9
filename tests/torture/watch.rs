//! Watches from outside, twenty times a second, what others have to bear: how long a transaction of
//! the program lasts, and how long somebody waits for one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::scene::{Scene, connect};

const EVERY: Duration = Duration::from_millis(50);

/// A VACUUM is no transaction that anybody waits for, and is looked at as such.
const OURS: &str = "\
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
FROM pg_stat_activity WHERE application_name LIKE 'piecemeal%' AND state <> 'idle'
AND query NOT ILIKE 'vacuum%'";

const WAITING: &str = "\
SELECT w.pid FROM pg_stat_activity w WHERE w.application_name = 'harness' AND w.wait_event_type = 'Lock'
AND EXISTS (SELECT FROM unnest(pg_blocking_pids(w.pid)) b JOIN pg_stat_activity o ON o.pid = b
            WHERE o.application_name LIKE 'piecemeal%' AND o.state <> 'idle')";

/// The worst that was seen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Worst {
    /// The longest transaction of the program.
    pub(crate) transaction: Duration,
    /// The longest wait of somebody else for one.
    pub(crate) wait: Duration,
}

/// Somebody who watches.
pub(crate) struct Watch {
    stop: watch::Sender<bool>,
    task: JoinHandle<Worst>,
}

impl Watch {
    /// Begins to watch.
    pub(crate) fn start(scene: &Scene) -> Watch {
        let (stop, stopped) = watch::channel(false);
        Watch { stop, task: tokio::spawn(look(scene.url(), stopped)) }
    }

    /// Ends it, and returns what was seen.
    pub(crate) async fn stop(self) -> Worst {
        self.stop.send_replace(true);
        self.task.await.unwrap_or_default()
    }
}

async fn look(url: String, stopped: watch::Receiver<bool>) -> Worst {
    let mut worst = Worst::default();
    let mut since: HashMap<i32, Instant> = HashMap::new();
    let mut client: Option<Client> = None;
    while !*stopped.borrow() {
        if client.as_ref().is_none_or(Client::is_closed) {
            client = connect(&url).await.ok();
            since.clear();
        }
        if let Some(client) = &client {
            if let Ok(row) = client.query_one(OURS, &[]).await {
                let took = Duration::try_from_secs_f64(row.get(0)).unwrap_or_default();
                worst.transaction = worst.transaction.max(took);
            }
            let waiting = client.query(WAITING, &[]).await.unwrap_or_default();
            let waiting: Vec<i32> = waiting.iter().map(|row| row.get(0)).collect();
            since.retain(|pid, _| waiting.contains(pid));
            for pid in waiting {
                let begun = since.entry(pid).or_insert_with(Instant::now);
                worst.wait = worst.wait.max(begun.elapsed());
            }
        }
        tokio::time::sleep(EVERY).await;
    }
    worst
}
