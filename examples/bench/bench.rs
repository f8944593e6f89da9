//! Measures one variant after another, each on a table made anew.
//!
//! Promises that what is in the table is as it should be afterwards, or that the line says it is not.

use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use piecemeal::engine::Ending;
use piecemeal::run::Event;
use piecemeal::sandbox::{Programs, Sandbox};
use piecemeal::{Connect, Environment, Job};
use tokio::sync::OnceCell;

use super::ground::{self, Failure, Ground, Shape};
use super::meter::{Meter, Rows};
use super::pgbatch::PgBatch;
use super::proxy::{self, Proxy};
use super::report::{Line, Measured};
use super::say;
use super::variant::{UPDATE, Variant, Work};

/// A program that takes longer is left where it is.
const LIMIT: Duration = Duration::from_hours(1);

/// Everything that a measurement needs. The server goes last.
pub(crate) struct Bench {
    shape: Shape,
    ground: Ground,
    /// Installed when it is needed, once.
    pg_batch: OnceCell<Result<PgBatch, String>>,
    proxy: Option<Proxy>,
    sandbox: Sandbox,
}

impl Bench {
    /// Starts a server and makes the rows.
    pub(crate) async fn make(
        programs: &Programs,
        settings: &[(&str, &str)],
        shape: Shape,
        latency: Option<Duration>,
    ) -> Result<Bench, Failure> {
        let sandbox = ground::server(programs, settings)?;
        let mut ground = Ground::make(&sandbox, &shape).await?;
        let port = sandbox.port();
        let server = proxy::socket(sandbox.socket_dir(), port);
        let proxy = latency.map(|latency| Proxy::open(server, port, latency)).transpose()?;
        if let Some(proxy) = &proxy {
            let folder = proxy.folder().to_string_lossy();
            let folder = utf8_percent_encode(&folder, NON_ALPHANUMERIC);
            let url = format!("postgres://postgres@{folder}:{port}/postgres");
            let connect = Connect::resolve(Some(&url), &Environment::of_process())?;
            ground.connect = connect.application_name("piecemeal bench");
        }
        Ok(Bench { shape, ground, pg_batch: OnceCell::new(), proxy, sandbox })
    }

    /// Returns what is measured, and what its sizes can be compared with.
    #[expect(clippy::cast_precision_loss, reason = "bytes for people to read")]
    pub(crate) async fn describe(&self) -> Result<String, Failure> {
        self.ground.renew().await?;
        let heap = self.ground.heap().await? as f64;
        let sql = "SELECT format('PostgreSQL %s, shared_buffers %s', current_setting('server_version'), current_setting('shared_buffers'))";
        let server: String = self.ground.client.query_one(sql, &[]).await?.get(0);
        let Shape { rows, key, indexes, .. } = self.shape;
        Ok(format!(
            "{server}; {rows} rows, {} of them to be changed; {} key, indexes beside it: {indexes}\n\
             the heap has {:.0} MB before, and would have {:.2} of that if it were freshly written afterwards",
            self.rows().changed,
            format!("{key:?}").to_lowercase(),
            heap / 1e6,
            self.ground.needed as f64 / heap,
        ))
    }

    fn rows(&self) -> Rows {
        let Shape { rows, matching, .. } = self.shape;
        Rows { passed: rows, changed: rows / matching.unwrap_or(1) }
    }

    /// Measures every variant once, and shows each as soon as it is there.
    pub(crate) async fn round(&self, no: u32, variants: &[Variant], lines: &mut Vec<Line>) {
        let mut update = f64::NAN;
        for variant in variants {
            let measured = Box::pin(self.measure(variant)).await.map_err(|why| in_one_line(&*why));
            if let (UPDATE, Ok(measured)) = (&variant.name[..], &measured) {
                update = measured.seconds;
            }
            let line = Line::of(&variant.name, measured, update);
            say(&line.show(&no.to_string()));
            lines.push(line);
        }
    }

    async fn measure(&self, variant: &Variant) -> Result<Measured, Failure> {
        let rows = self.rows();
        let measured = match variant.work(&self.shape)? {
            Work::Look(sql) => return self.execute("", &sql, Rows { changed: 0, ..rows }).await,
            Work::Statement { first, sql } => self.execute(first, &sql, rows).await?,
            Work::PgBatch => self.run_pg_batch().await?,
            Work::Walk(job) => self.walk(&job).await?,
        };
        self.check().await?;
        Ok(measured)
    }

    /// Makes the table anew, and reads the meters.
    async fn begin(&self) -> Result<Meter, Failure> {
        self.ground.renew().await?;
        Meter::begin(&self.ground, self.sandbox.postmaster_pid().unwrap_or_default()).await
    }

    async fn execute(&self, first: &str, sql: &str, rows: Rows) -> Result<Measured, Failure> {
        let (client, driver) = self.ground.connect.open().await?;
        client.batch_execute(first).await?;
        let meter = self.begin().await?;
        client.batch_execute(sql).await?;
        let lap = meter.lap();
        // A session tells what it did when it ends.
        drop(client);
        driver.await??;
        meter.end(&self.ground, lap, rows).await
    }

    /// The walk is what the others are compared with, from plan and ledger to the last batch; its
    /// verification is apart from that.
    async fn walk(&self, job: &Job) -> Result<Measured, Failure> {
        let meter = self.begin().await?;
        let mut walked = None;
        let report = self.ground.walk(job, LIMIT, |event| {
            if matches!(event, Event::Verifying) {
                walked.get_or_insert_with(|| meter.lap());
            }
        });
        let report = report.await?;
        let end = meter.lap();
        if report.ending != Ending::Succeeded {
            return Err(format!("it ended early: {:?}", report.ending).into());
        }
        let verified = end.seconds;
        let measured = meter.end(&self.ground, walked.unwrap_or(end), self.rows()).await?;
        Ok(Measured { verified, ..measured })
    }

    async fn run_pg_batch(&self) -> Result<Measured, Failure> {
        let install = async || PgBatch::install().map_err(|why| in_one_line(&*why));
        let pg_batch = self.pg_batch.get_or_init(install).await.as_ref().map_err(Clone::clone)?;
        let meter = self.begin().await?;
        let memory = pg_batch.run(&self.shape, self.socket(), LIMIT).await?;
        let lap = meter.lap();
        let measured = meter.end(&self.ground, lap, self.rows()).await?;
        Ok(Measured { memory: memory.unwrap_or(f64::NAN), ..measured })
    }

    /// Where what is measured finds the server's socket.
    fn socket(&self) -> (&Path, u16) {
        let folder = self.proxy.as_ref().map_or(self.sandbox.socket_dir(), Proxy::folder);
        (folder, self.sandbox.port())
    }

    /// Refuses a result whose table is not as it should be.
    async fn check(&self) -> Result<(), Failure> {
        let sql = "SELECT count(*) FROM t WHERE new = lower(email)";
        let done: i64 = self.ground.client.query_one(sql, &[]).await?.get(0);
        let asked = self.rows().changed;
        if done == i64::from(asked) {
            return Ok(());
        }
        Err(format!("{done} rows are done, and not {asked}").into())
    }
}

/// Returns why something failed, for a line of the table.
fn in_one_line(why: &(dyn std::error::Error + 'static)) -> String {
    let mut said = why.to_string();
    let mut cause = why.source();
    while let Some(deeper) = cause {
        said = format!("{said}: {deeper}");
        cause = deeper.source();
    }
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}
