//! What the server, its other users and its administrators do to a run.

use std::time::Duration;

use fastrand::Rng;
use tokio_postgres::Client;

use crate::Outcome;
use crate::faults::Trouble;
use crate::scene::{Scene, connect};

/// The program's sessions, those that are busy first.
const OURS: &str = "\
SELECT pid FROM pg_stat_activity
WHERE application_name LIKE 'piecemeal%' AND pid <> pg_backend_pid() AND backend_type = 'client backend'
ORDER BY state = 'active' DESC, random()";

/// What a role may have been given by somebody who did not think of us.
const HOSTILE: &str = "\
ALTER ROLE walker SET search_path = evil, pg_catalog, public;
ALTER ROLE walker SET statement_timeout = '30ms';
ALTER ROLE walker SET idle_in_transaction_session_timeout = '30ms';
ALTER ROLE walker SET datestyle = 'SQL, DMY';
ALTER ROLE walker SET timezone = 'Asia/Kolkata';
ALTER ROLE walker SET extra_float_digits = 0;
ALTER ROLE walker SET default_transaction_isolation = serializable;
ALTER ROLE walker SET enable_indexscan = off;
ALTER ROLE walker SET transform_null_equals = on";

async fn count(eye: Option<&Client>, what: &str, limit: i64) -> Outcome<i64> {
    let sql = format!("SELECT count(*) FILTER (WHERE {what}(pid)) FROM ({OURS} LIMIT $1) a");
    let Some(eye) = eye else { return Ok(0) };
    match eye.query_one(&sql, &[&limit]).await {
        Err(error) if is_outage(&error) => Ok(0),
        answer => Ok(answer?.get(0)),
    }
}

/// Ends so many sessions of the program; returns how many there were.
pub(crate) async fn terminate(eye: Option<&Client>, limit: i64) -> Outcome<i64> {
    count(eye, "pg_terminate_backend", limit).await
}

/// Cancels what the program's sessions do.
pub(crate) async fn cancel(eye: Option<&Client>) -> Outcome<i64> {
    count(eye, "pg_cancel_backend", 100).await
}

/// Returns the process of one session of the program.
pub(crate) async fn backend(eye: Option<&Client>) -> Option<i32> {
    let row = eye?.query_opt(&format!("{OURS} LIMIT 1"), &[]).await.ok()??;
    Some(row.get(0))
}

/// Makes trouble; returns whether there was any. The fault before may still be about, and keep this one
/// from happening.
pub(crate) async fn make(scene: &Scene, trouble: Trouble, rng: &mut Rng) -> Outcome<bool> {
    match try_to_make(scene, trouble, rng).await {
        Err(error) if error.downcast_ref().is_some_and(is_outage) => Ok(false),
        made => made,
    }
}

/// Whether the server has gone away, or somebody was in the way of what was to be in the way.
pub(crate) fn is_outage(error: &tokio_postgres::Error) -> bool {
    let code = error.code().map(tokio_postgres::error::SqlState::code);
    code.is_none_or(|code| {
        code.starts_with("57") || ["55P03", "40P01", "40001", "53100"].contains(&code)
    })
}

async fn try_to_make(scene: &Scene, trouble: Trouble, rng: &mut Rng) -> Outcome<bool> {
    let client = scene.connect().await?;
    client.batch_execute("SET lock_timeout = '5s'").await?;
    let no = rng.u32(..);
    let done = match trouble {
        Trouble::RowLocks => {
            let rows = "BEGIN; SELECT FROM torture ORDER BY random() LIMIT 20 FOR UPDATE";
            hold(&client, rows, rng.u64(200..5_000)).await
        }
        Trouble::TableLock => {
            let modes = ["ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE"];
            let mode = rng.choice(modes).unwrap_or("SHARE");
            hold(&client, &format!("BEGIN; LOCK torture IN {mode} MODE"), rng.u64(100..1_500)).await
        }
        Trouble::QueuedDdl => {
            let reader = scene.connect().await?;
            reader.batch_execute("BEGIN; SELECT FROM torture LIMIT 1").await?;
            let ddl = format!("ALTER TABLE torture ADD COLUMN queued{no} int");
            let (altered, read) = tokio::join!(
                client.batch_execute(&ddl),
                hold(&reader, "SELECT 1", rng.u64(300..1_200)),
            );
            altered.and(read)
        }
        Trouble::AddColumn => {
            let sql = format!("ALTER TABLE torture ADD COLUMN added{no} int DEFAULT 7");
            client.batch_execute(&sql).await
        }
        Trouble::VacuumFull => client.batch_execute("VACUUM FULL torture").await,
        Trouble::Reindex => client.batch_execute("REINDEX TABLE CONCURRENTLY torture").await,
        Trouble::Attach => return Err("it is made by the storm".into()),
        Trouble::Exhaust => return exhaust(scene, &client, rng).await,
        Trouble::Hostile => {
            client.batch_execute(HOSTILE).await?;
            return Ok(terminate(Some(&client), 100).await? > 0);
        }
    };
    done?;
    Ok(true)
}

async fn hold(client: &Client, sql: &str, millis: u64) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(sql).await?;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    client.batch_execute("ROLLBACK").await
}

/// Takes all connections that there are for those who are no superusers, and the program's, too.
async fn exhaust(scene: &Scene, client: &Client, rng: &mut Rng) -> Outcome<bool> {
    let url = scene.url().replacen("postgres@", "walker@", 1);
    let mut taken = Vec::new();
    while let Ok(one) = connect(&url).await {
        taken.push(one);
    }
    let ended = terminate(Some(client), 100).await?;
    while let Ok(one) = connect(&url).await {
        taken.push(one);
    }
    tokio::time::sleep(Duration::from_millis(rng.u64(300..1_500))).await;
    Ok(ended > 0)
}

/// Waits until others have written so much.
pub(crate) async fn until_written(scene: &Scene, updates: i64) -> Outcome<()> {
    let client = scene.connect().await?;
    let sql = "SELECT coalesce(sum(app_ver), 0)::int8 FROM torture";
    while client.query_one(sql, &[]).await?.get::<_, i64>(0) < updates {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
