//! What must be true in the end. One thing that is not fails the run.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::Outcome;
use crate::ledger::{Found, Ledger};
use crate::scene::Scene;

/// How long connections may take to be gone.
const GONE: Duration = Duration::from_secs(15);
/// Contradictions that are shown.
const SHOWN: usize = 5;

const FOUND: &str = "\
SELECT tag, n, app_ver, born, true AS is_alive FROM torture
UNION ALL SELECT tag, n, app_ver, born, false FROM torture_grave";

const BOOKS: &str = "\
SELECT r.status, sum(g.changed)::int8 AS changed, sum(g.matched)::int8 AS matched,
       sum(g.batches)::int8 AS batches, sum(g.rev)::int8 AS revs, bool_and(g.done) AS is_done
FROM piecemeal.run r JOIN piecemeal.range g ON g.run_id = r.id GROUP BY r.id";

const OURS: &str = "\
SELECT count(*) FILTER (WHERE application_name LIKE 'piecemeal%') AS ours,
       count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle
FROM pg_stat_activity";

/// Checks everything; returns the batches, and in words what was checked.
pub(crate) async fn judge(scene: &Scene, ledgers: &[Ledger]) -> Outcome<(i64, String)> {
    let client = scene.connect().await?;
    nobody_is_left(scene, &client).await?;
    let found = client.query(FOUND, &[]).await?;
    let found = found.iter().map(|row| Found {
        tag: row.get("tag"),
        n: row.get("n"),
        app_ver: row.get("app_ver"),
        born: row.get("born"),
        is_alive: row.get("is_alive"),
    });
    let found: HashMap<i64, Found> = found.map(|row| (row.tag, row)).collect();
    let mut wrong = exactly_once(&found);
    wrong.extend(acknowledged(&found, ledgers));
    let changed = found.values().map(|row| i64::from(row.n)).sum();
    let (batches, unbalanced) = books(&client, changed).await?;
    wrong.extend(unbalanced);
    if !wrong.is_empty() {
        let shown = wrong[..wrong.len().min(SHOWN)].join("\n  ");
        return Err(format!("{} contradictions:\n  {shown}", wrong.len()).into());
    }
    let entries = || ledgers.iter().flat_map(HashMap::values);
    let acked: i64 = entries().map(|entry| i64::from(entry.acked)).sum();
    let unsure: i64 = entries().map(|entry| i64::from(entry.unsure)).sum();
    let words = format!(
        "exactly once: {} rows; nothing lost: {acked} updates, {unsure} unsure; \
         books: {changed} rows; nobody left",
        found.len()
    );
    Ok((batches, words))
}

/// Rows that were there all the time have been changed once, all others at most once.
fn exactly_once(found: &HashMap<i64, Found>) -> Vec<String> {
    let is_right = |row: &Found| match row.n {
        1 => true,
        0 => row.born || !row.is_alive,
        _ => false,
    };
    let wrong = found.values().filter(|row| !is_right(row));
    wrong.map(|row| format!("changed {} times: {row:?}", row.n)).collect()
}

/// What was acknowledged is there, and nothing that nobody wrote.
fn acknowledged(found: &HashMap<i64, Found>, ledgers: &[Ledger]) -> Vec<String> {
    let known: HashMap<_, _> = ledgers.iter().flatten().collect();
    let strays = found.values().filter(|row| !known.contains_key(&row.tag));
    let strays = strays.map(|row| format!("nobody wrote {row:?}"));
    let wrong = known.iter().filter_map(|(tag, entry)| entry.judge(**tag, found.get(tag)));
    wrong.chain(strays).collect()
}

/// The run's own numbers are those of the table.
async fn books(client: &Client, changed: i64) -> Outcome<(i64, Option<String>)> {
    let row = client.query_one(BOOKS, &[]).await?;
    let (status, is_done): (String, bool) = (row.get("status"), row.get("is_done"));
    let count = |name: &str| row.get::<_, i64>(name);
    let agrees = status == "succeeded"
        && is_done
        && count("changed") == changed
        && count("matched") == changed
        && count("batches") == count("revs");
    let wrong = (!agrees).then(|| format!("{changed} changes in the table, but {row:?}"));
    Ok((count("batches"), wrong))
}

/// No session of the program is left, and nobody idles in a transaction.
async fn nobody_is_left(scene: &Scene, client: &Client) -> Outcome<()> {
    let started = Instant::now();
    loop {
        let row = client.query_one(OURS, &[]).await?;
        let (ours, idle): (i64, i64) = (row.get("ours"), row.get("idle"));
        if ours == 0 && idle == 0 && scene.proxy.counts().open == 0 {
            return Ok(());
        }
        if started.elapsed() > GONE {
            return Err(format!("{ours} sessions are left, {idle} idle in transaction").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
