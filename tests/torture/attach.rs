//! A partition with rows of its own that becomes part of the table in the middle of the walk.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::Outcome;
use crate::ledger::{Entry, There};
use crate::storm::{STALL, Storm};
use crate::trouble::is_outage;
use crate::work::PARTS;

/// Rows that each of them has.
const ROWS: i64 = 200;

impl Storm<'_> {
    /// Attaches one; returns whether it could.
    pub(crate) async fn attach(&mut self) -> Outcome<bool> {
        let Ok(client) = self.scene.connect().await else { return Ok(false) };
        let part = PARTS + i64::from(self.attempts);
        self.attempts += 1;
        let tags: Vec<_> = (0..ROWS).map(|no| 2_000_000_000 + part * ROWS + no).collect();
        if let Err(error) = self.make_partition(&client, part, &tags).await {
            if !error.downcast_ref().is_some_and(is_outage) {
                return Err(error);
            }
            if !self.has_partition(part).await? {
                return Ok(false);
            }
        }
        self.attached.extend(tags.iter().map(|tag| (*tag, Entry::new(There::Yes, false))));
        Ok(true)
    }

    async fn make_partition(&mut self, client: &Client, part: i64, tags: &[i64]) -> Outcome<()> {
        let (name, case) = (format!("torture{part}"), &self.scene.case);
        let begin = format!(
            "SET lock_timeout = '5s'; BEGIN; CREATE TABLE {name} (LIKE torture INCLUDING ALL)"
        );
        client.batch_execute(&begin).await?;
        let rows = self.scene.rows();
        // Over the whole length of the walk, before the cursor and behind it.
        let key = |no: i64| case.shape.make(&mut self.rng, no * rows / ROWS, rows);
        let (a, b): (Vec<_>, Vec<_>) = (0..ROWS).map(key).unzip();
        let params: [&(dyn ToSql + Sync); 4] = [&a, &b, &tags, &false];
        let made = client.execute(&case.shape.insert(&name, case.work), &params).await?;
        if made != ROWS.unsigned_abs() {
            return Err("two rows of a partition have the same key".into());
        }
        let end = format!(
            "UPDATE {name} SET part = {part};
             ALTER TABLE torture ATTACH PARTITION {name} FOR VALUES IN ({part}); COMMIT"
        );
        Ok(client.batch_execute(&end).await?)
    }

    /// Whether it is there after an outage in which the answer may have been lost.
    async fn has_partition(&self, part: i64) -> Outcome<bool> {
        let sql = format!(
            "SELECT count(*) > 0 FROM pg_inherits WHERE inhrelid = to_regclass('torture{part}')"
        );
        let started = Instant::now();
        while started.elapsed() < STALL {
            if let Ok(client) = self.scene.connect().await
                && let Ok(row) = client.query_one(&sql, &[]).await
            {
                return Ok(row.get(0));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the server does not come back".into())
    }
}
