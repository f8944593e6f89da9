//! What must be true in the end. One thing that is not fails the run.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::Outcome;
use crate::ledger::{Found, Ledger};
use crate::scene::{SECRET, Scene};
use crate::shape::PAYLOAD;
use crate::watch::Worst;
use crate::work::Work;

/// How long connections may take to be gone.
const GONE: Duration = Duration::from_secs(15);
/// Contradictions that are shown.
const SHOWN: usize = 5;

const FOUND: &str = "\
SELECT tag, n, app_ver, born, true AS is_alive FROM torture
UNION ALL SELECT tag, n, app_ver, born, false FROM torture_grave";

const BOOKS: &str = "\
SELECT r.status, sum(g.changed)::int8 AS changed, sum(g.matched)::int8 AS matched,
       sum(g.batches)::int8 AS batches, sum(g.rev)::int8 AS revs, bool_and(g.done) AS is_done,
       sum(g.aside)::int8 + r.rewrites AS pieces
FROM piecemeal.run r JOIN piecemeal.range g ON g.run_id = r.id GROUP BY r.id";

/// How long a transaction of the program may last, and how long others may wait for one. Many times
/// what they are on a machine that does nothing else, and still far less than a guard that is missing
/// makes of it.
const LONGEST: Duration = Duration::from_millis(2_500);
const LONGEST_WAIT: Duration = Duration::from_millis(1_500);

/// A pooler keeps sessions that nobody uses.
const OURS: &str = "\
SELECT count(*) FILTER (WHERE application_name LIKE 'piecemeal%' AND (state <> 'idle' OR NOT $1)) AS ours,
       count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle
FROM pg_stat_activity";

/// Checks everything that a run leaves behind; returns the batches, and in words what was checked.
pub(crate) async fn judge(
    scene: &Scene,
    ledgers: &[Ledger],
    worst: Worst,
) -> Outcome<(i64, String)> {
    let client = scene.connect().await?;
    nobody_is_left(scene, &client).await?;
    let found = find(&client).await?;
    let mut wrong = exactly_once(scene.case.work, &found);
    wrong.extend(acknowledged(&found, ledgers));
    let changed = found.values().map(|row| i64::from(row.n)).sum();
    let (batches, unbalanced) = books(scene.case.work, &client, changed).await?;
    wrong.extend(unbalanced);
    wrong.extend(untouched(scene, &client).await?);
    wrong.extend(harmless(worst));
    if scene.program.words().contains(SECRET) {
        wrong.push("the program has said its password".into());
    }
    no_contradictions(&wrong)?;
    Ok((batches, format!("{}, books: {changed} rows", in_words(&found, ledgers))))
}

/// Checks what is left where nothing of the program ran: what the writers know, and nothing else.
pub(crate) async fn judge_still(scene: &Scene, ledgers: &[Ledger]) -> Outcome<String> {
    let found = find(&scene.connect().await?).await?;
    let changed = found.values().filter(|row| row.n != 0);
    let mut wrong: Vec<_> = changed.map(|row| format!("nobody changed {row:?}")).collect();
    wrong.extend(acknowledged(&found, ledgers));
    no_contradictions(&wrong)?;
    Ok(in_words(&found, ledgers))
}

fn no_contradictions(wrong: &[String]) -> Outcome<()> {
    if wrong.is_empty() {
        return Ok(());
    }
    let shown = wrong[..wrong.len().min(SHOWN)].join("\n  ");
    Err(format!("{} contradictions:\n  {shown}", wrong.len()).into())
}

fn in_words(found: &HashMap<i64, Found>, ledgers: &[Ledger]) -> String {
    let entries = || ledgers.iter().flat_map(HashMap::values);
    let acked: i64 = entries().map(|entry| i64::from(entry.acked)).sum();
    let unsure: i64 = entries().map(|entry| i64::from(entry.unsure)).sum();
    format!("{} rows, {acked} updates of others, {unsure} unsure", found.len())
}

async fn find(client: &Client) -> Outcome<HashMap<i64, Found>> {
    let found = client.query(FOUND, &[]).await?;
    let found = found.iter().map(|row| Found {
        tag: row.get("tag"),
        n: row.get("n"),
        app_ver: row.get("app_ver"),
        born: row.get("born"),
        is_alive: row.get("is_alive"),
    });
    Ok(found.map(|row| (row.tag, row)).collect())
}

/// Rows that are to be changed and were there all the time have been changed once, those that came or
/// went at most once, and all others never.
fn exactly_once(work: Work, found: &HashMap<i64, Found>) -> Vec<String> {
    found.values().filter_map(|row| work.judge(row)).collect()
}

/// Columns and rows that are not the job's are as they were; nothing is left; no index has come apart.
async fn untouched(scene: &Scene, client: &Client) -> Outcome<Vec<String>> {
    let filter = scene.case.work.filter().unwrap_or_else(|| "true".into());
    // Those that are to do are known by `n` no more.
    let meant = filter.replace("n = 0 AND ", "");
    let checks = [
        (
            "payloads are not as they were",
            format!(
                "SELECT count(*) FROM (SELECT payload, tag AS t FROM torture) x WHERE payload <> {PAYLOAD}"
            ),
        ),
        (
            "rows that nobody may touch were written",
            format!(
                "SELECT count(*) FROM torture JOIN torture_before b USING (tag)
             WHERE NOT ({meant}) AND app_ver = 0 AND torture.xmin::text <> b.xid"
            ),
        ),
        (
            "prepared transactions, advisory locks or temporary tables are left",
            "SELECT (SELECT count(*) FROM pg_prepared_xacts)
                  + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')
                  + (SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r')"
                .into(),
        ),
    ];
    let mut wrong = Vec::new();
    for (what, sql) in checks {
        let count: i64 = client.query_one(&sql, &[]).await?.get(0);
        if count > 0 {
            wrong.push(format!("{count} {what}"));
        }
    }
    // Not every installation has it.
    if client.batch_execute("CREATE EXTENSION IF NOT EXISTS amcheck").await.is_ok() {
        let sql = "SELECT bt_index_check(indexrelid, true) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
                   WHERE c.relkind = 'i' AND c.relnamespace IN ('public'::regnamespace, 'piecemeal'::regnamespace)";
        wrong.extend(client.batch_execute(sql).await.err().map(|it| format!("amcheck: {it:?}")));
    }
    Ok(wrong)
}

/// Nobody waited for long.
fn harmless(worst: Worst) -> Option<String> {
    let is_harmless = worst.transaction < LONGEST && worst.wait < LONGEST_WAIT;
    (!is_harmless).then(|| format!("others had to bear this: {worst:?}"))
}

/// What was acknowledged is there, and nothing that nobody wrote.
fn acknowledged(found: &HashMap<i64, Found>, ledgers: &[Ledger]) -> Vec<String> {
    let known: HashMap<_, _> = ledgers.iter().flatten().collect();
    let strays = found.values().filter(|row| !known.contains_key(&row.tag));
    let strays = strays.map(|row| format!("nobody wrote {row:?}"));
    let wrong = known.iter().filter_map(|(tag, entry)| entry.judge(**tag, found.get(tag)));
    wrong.chain(strays).collect()
}

/// The run's own numbers are those of the table. A range moves with each batch, and else only when it
/// is put aside, becomes one with others because the table was rewritten, or gives rows to be tried again.
async fn books(work: Work, client: &Client, changed: i64) -> Outcome<(i64, Option<String>)> {
    let row = client.query_one(BOOKS, &[]).await?;
    let (status, is_done): (String, bool) = (row.get("status"), row.get("is_done"));
    let count = |name: &str| row.get::<_, i64>(name);
    let [booked, matched, batches, revs, pieces] =
        ["changed", "matched", "batches", "revs", "pieces"].map(count);
    let agrees = status == "succeeded"
        && is_done
        // Under a trigger the column is no count.
        && (work == Work::Synced || booked == changed)
        && matched == booked
        && (pieces > 0 || work == Work::Quarantined || revs == batches);
    let wrong = (!agrees).then(|| {
        format!(
            "{changed} changes in the table, but the run is {status}, done: {is_done}, \
             changed {booked}, matched {matched}, batches {batches}, moves {revs}"
        )
    });
    Ok((batches, wrong))
}

/// No session of the program is left, and nobody idles in a transaction.
async fn nobody_is_left(scene: &Scene, client: &Client) -> Outcome<()> {
    let started = Instant::now();
    loop {
        let row = client.query_one(OURS, &[&scene.case.is_pooled]).await?;
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
