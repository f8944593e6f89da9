//! What both benchmarks stand on: a server with a real disk's settings, the table, a walk of it.
//!
//! Every measurement begins with the same fresh table: vacuumed, after a checkpoint, and in memory as
//! far as it has room there. The server is thrown away in the end. Not here: what is measured, and how
//! it is shown.

pub(crate) mod columns;
pub(crate) mod cpu;
mod shape;

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Duration;

use piecemeal::control::Desk;
use piecemeal::engine::{self, Options, Report};
use piecemeal::job::Source;
use piecemeal::run::Event;
use piecemeal::sandbox::{Programs, Sandbox};
use piecemeal::{Actor, Connect, Database, Environment, Job, Plan};
use tokio_postgres::Client;

pub(crate) use shape::{Key, NEW, Shape};

/// Why a benchmark cannot go on.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

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

/// Starts a server with these settings too, of which the last one counts; it goes when it is dropped.
pub(crate) fn server(programs: &Programs, more: &[(&str, &str)]) -> Result<Sandbox, Failure> {
    let settings: Vec<_> = SERVER.iter().chain(more).copied().collect();
    Ok(Sandbox::start(programs, &settings)?)
}

/// A program that asks nothing, and hears of the server only what it is told.
pub(crate) fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null()).current_dir("/");
    command
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

/// What was just written is not all in memory.
const WARM: &str = "\
SELECT pg_prewarm(indexrelid) FROM pg_index WHERE indrelid = 't'::regclass;
SELECT pg_prewarm('t');";

/// The table `t` on a server.
pub(crate) struct Ground {
    /// A connection for what is not measured.
    pub(crate) client: Client,
    /// How what is measured connects; it is named as the program is.
    pub(crate) connect: Connect,
    /// Bytes of a heap that holds the changed rows and nothing else.
    pub(crate) needed: i64,
    renew: String,
    warm: &'static str,
}

impl Ground {
    /// Makes the rows once.
    pub(crate) async fn make(sandbox: &Sandbox, shape: &Shape) -> Result<Ground, Failure> {
        let connect = Connect::resolve(Some(&sandbox.url("postgres")), &Environment::of_process())?;
        let (client, _) = connect.clone().application_name("bench").open().await?;
        client.batch_execute(&shape.original()).await?;
        client.batch_execute("VACUUM ANALYZE original").await?;
        recycle_wal(&client).await?;
        client.batch_execute(&shape.needed()).await?;
        let needed = heap(&client, "needed").await?;
        client.batch_execute("DROP TABLE needed").await?;
        // It is one of the server's contrib programs, which may not be installed.
        let is_there = client.batch_execute("CREATE EXTENSION pg_prewarm").await.is_ok();
        let warm = if is_there { WARM } else { "SELECT count(*) FROM t" };
        let connect = connect.application_name("piecemeal bench");
        Ok(Ground { client, connect, needed, renew: shape.renew(), warm })
    }

    /// Makes the table anew.
    pub(crate) async fn renew(&self) -> Result<(), Failure> {
        for sql in [&self.renew, "VACUUM ANALYZE t", "CHECKPOINT", self.warm] {
            self.client.batch_execute(sql).await?;
        }
        Ok(())
    }

    /// Returns the bytes of the table's heap.
    pub(crate) async fn heap(&self) -> Result<i64, Failure> {
        heap(&self.client, "t").await
    }

    /// Walks the table as the job says, and tells what happens meanwhile; leaves it after `limit`.
    pub(crate) async fn walk(
        &self,
        job: &Job,
        limit: Duration,
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
            tokio::time::sleep(limit).await;
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

/// Returns the job with more lines of its file, or why they are refused, in one line.
pub(crate) fn job(filter: Option<&str>, more: &str) -> Result<Job, String> {
    let filter = filter.map_or(String::new(), |filter| format!("table.where = \"{filter}\"\n"));
    let text = format!("table.name = \"public.t\"\n{filter}set.new = \"{NEW}\"\n{more}\n");
    Job::parse("bench", Source { path: None, text }).map_err(|problems| {
        let said = problems.to_string();
        let first = said.lines().next().unwrap_or("the job is refused");
        first.trim_start_matches("error: ").to_owned()
    })
}
