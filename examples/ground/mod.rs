//! What both benchmarks stand on: a server with a real disk's settings, the table, a walk of it.
//!
//! Every measurement begins with the same fresh table, after a checkpoint. The server is thrown
//! away in the end. Not here: what is measured, and how it is shown.

use std::fmt::Write as _;
use std::time::Duration;

use piecemeal::control::Desk;
use piecemeal::engine::{self, Options, Report};
use piecemeal::job::Source;
use piecemeal::run::Event;
use piecemeal::sandbox::{Programs, Sandbox};
use piecemeal::{Actor, Connect, Database, Environment, Job, Plan};
use tokio_postgres::Client;

/// Why a benchmark cannot go on.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is done to each row, as the right side of `SET new =`.
pub(crate) const NEW: &str = "lower(email)";

/// A backfill that takes longer is left where it is.
pub(crate) const LIMIT: Duration = Duration::from_mins(3);

const SERVER: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "2GB"),
    ("max_wal_size", "8GB"),
    ("min_wal_size", "4GB"),
    ("checkpoint_timeout", "15min"),
    ("wal_buffers", "64MB"),
    ("jit", "off"),
];

/// `original` is kept as it is; each measurement gets a copy of it.
const ORIGINAL: &str = "\
CREATE TABLE original (id bigint, email text, account_id int, a int, b int, c text, d timestamptz, e text, new text);
INSERT INTO original SELECT i, 'User' || i || '@Example.org', (random() * 1e6)::int, i, i, md5(i::text), now(), md5((i + 1)::text)
FROM generate_series(1, $rows) i;";

/// The rows as they are in the end, freshly written: what they need by themselves.
const NEEDED: &str = "\
CREATE TABLE needed AS SELECT id, email, account_id, a, b, c, d, e, $new AS new FROM original;";

/// The ledger goes too, whatever the measurement before has left in it.
const RENEW: &str = "\
DROP SCHEMA IF EXISTS piecemeal CASCADE;
DROP TABLE IF EXISTS t;
CREATE TABLE t AS TABLE original;
ALTER TABLE t ADD PRIMARY KEY (id);";

/// Starts a server, with or without autovacuum; it goes when it is dropped.
pub(crate) fn server(programs: &Programs, autovacuum: &str) -> Result<Sandbox, Failure> {
    let settings: Vec<_> = SERVER.iter().copied().chain([("autovacuum", autovacuum)]).collect();
    Ok(Sandbox::start(programs, &settings)?)
}

/// A server that has been at work for a while writes its WAL over old files. On a new one every file
/// is first filled with zeroes, 16 MB of them while every commit waits, and that is not what is to be
/// measured.
async fn recycle_wal(client: &Client) -> Result<(), Failure> {
    for _ in 0..WAL_FILES {
        client.batch_execute("SELECT pg_logical_emit_message(false, 'bench', '')").await?;
        client.batch_execute("SELECT pg_switch_wal()").await?;
    }
    Ok(client.batch_execute("CHECKPOINT").await?)
}

/// Files of WAL that are there before the first measurement: more than one of them writes.
const WAL_FILES: u32 = 128;

/// The table `t` on a server.
pub(crate) struct Ground {
    /// A connection for what is not measured.
    pub(crate) client: Client,
    /// How to open more; they are named as those of the program are.
    pub(crate) connect: Connect,
    renew: String,
    /// Bytes of a heap that holds the changed rows and nothing else.
    needed: i64,
}

impl Ground {
    /// Makes the rows once.
    pub(crate) async fn make(
        sandbox: &Sandbox,
        rows: u32,
        indexes: u32,
    ) -> Result<Ground, Failure> {
        let connect = Connect::resolve(Some(&sandbox.url("postgres")), &Environment::of_process())?;
        let (client, _) = connect.clone().application_name("bench").open().await?;
        client.batch_execute(&ORIGINAL.replace("$rows", &rows.to_string())).await?;
        client.batch_execute("VACUUM ANALYZE original").await?;
        recycle_wal(&client).await?;
        client.batch_execute(&NEEDED.replace("$new", NEW)).await?;
        let needed = heap(&client, "needed").await?;
        client.batch_execute("DROP TABLE needed").await?;
        let mut renew = RENEW.to_owned();
        for column in ["account_id", "a", "b", "c"].iter().take(indexes as usize) {
            write!(renew, "CREATE INDEX ON t ({column});")?;
        }
        let connect = connect.application_name("piecemeal bench");
        Ok(Ground { client, connect, renew, needed })
    }

    /// Makes the table anew.
    pub(crate) async fn renew(&self) -> Result<(), Failure> {
        self.client.batch_execute(&self.renew).await?;
        self.client.batch_execute("VACUUM ANALYZE t").await?;
        self.client.batch_execute("CHECKPOINT").await?;
        Ok(())
    }

    /// Returns the size of the table's heap, in sizes of what its rows need by themselves.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    pub(crate) async fn heap(&self) -> Result<f64, Failure> {
        Ok(heap(&self.client, "t").await? as f64 / self.needed as f64)
    }

    /// Walks the table as the job says, and tells what happens meanwhile.
    pub(crate) async fn walk(
        &self,
        job: &Job,
        mut listen: impl FnMut(&Event),
    ) -> Result<Report, Failure> {
        let database = Database::new(self.connect.clone())?;
        let actor = Actor("bench".into());
        let desk = Desk::new(database.clone(), actor.clone());
        let plan = Plan::build(job, &database).await?;
        let run = desk.create(&plan, None).await?;
        let mut handle = engine::start(plan, run, database, Options::new(actor));
        let leaver = handle.leaver();
        let watchdog = tokio::spawn(async move {
            tokio::time::sleep(LIMIT).await;
            leaver.leave();
        });
        while let Some(event) = handle.next_event().await {
            listen(&event);
        }
        watchdog.abort();
        Ok(handle.join().await?)
    }
}

async fn heap(client: &Client, table: &str) -> Result<i64, Failure> {
    let row = client.query_one("SELECT pg_relation_size($1::text::regclass)", &[&table]).await?;
    Ok(row.get(0))
}

/// Returns the job, with more lines of its file at its head; or why they are refused, in one line.
pub(crate) fn job(more: &str) -> Result<Job, String> {
    let text = format!("{more}\n[table]\nname = \"public.t\"\n[set]\nnew = \"{NEW}\"\n");
    Job::parse("bench", Source { path: None, text }).map_err(|problems| {
        let said = problems.to_string();
        said.lines().next().unwrap_or("the job is refused").to_owned()
    })
}

/// Returns the middle of the values; of an even number the upper one of the two, of none NaN.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.into_iter().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
