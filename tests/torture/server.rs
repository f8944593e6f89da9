//! The server of a run, and sometimes a standby that takes its place.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use piecemeal::sandbox::{Programs, Sandbox};

use crate::Outcome;
use crate::scene::connect;

/// How long the standby may take to have what the primary has, and to let go of it.
const REPLAYED: Duration = Duration::from_secs(30);

/// What a standby needs of its primary: that a crash does not part them for long.
pub(crate) const SETTINGS: [(&str, &str); 2] =
    [("wal_keep_size", "1GB"), ("wal_retrieve_retry_interval", "100ms")];

/// The server of a run.
pub(crate) struct Server {
    /// Goes before the directory that it lies in.
    standby: Option<Standby>,
    pub(crate) sandbox: Sandbox,
}

/// A copy that follows the server, in its directory.
struct Standby {
    programs: Programs,
    data: PathBuf,
    port: u16,
    is_promoted: AtomicBool,
}

impl Server {
    /// Takes one that runs, and gives it a standby at `port`, if there is to be one.
    pub(crate) fn new(sandbox: Sandbox, standby: Option<u16>, programs: Programs) -> Outcome<Self> {
        let standby = standby.map(|port| Standby::of(&sandbox, port, programs)).transpose()?;
        Ok(Self { standby, sandbox })
    }

    /// Returns where a session of the harness finds the one that can be written to.
    pub(crate) fn url(&self) -> String {
        let url = self.sandbox.url("postgres");
        let Some(standby) = &self.standby else { return url + "?application_name=harness" };
        let (port, (ours, dbname)) = (self.sandbox.port(), split(&url));
        let host = ours.rsplit('@').next().unwrap_or_default();
        let other = host.replace(&format!(":{port}"), &format!(":{}", standby.port));
        format!("{ours},{other}/{dbname}?application_name=harness&target_session_attrs=read-write")
    }

    /// Returns the ports at which the program looks for a server, and the sockets that answer.
    pub(crate) fn ways(&self) -> Vec<(u16, PathBuf)> {
        let dir = self.sandbox.socket_dir();
        let ports =
            std::iter::once(self.sandbox.port()).chain(self.standby.as_ref().map(|it| it.port));
        ports.map(|port| (port, dir.join(format!(".s.PGSQL.{port}")))).collect()
    }

    /// Stops the one that can be written to, as a crash would.
    pub(crate) fn stop_immediate(&self) -> Outcome<()> {
        match self.standby.as_ref().filter(|it| it.is_promoted()) {
            Some(promoted) => promoted.stop(),
            None => Ok(self.sandbox.stop_immediate()?),
        }
    }

    /// Starts it again.
    pub(crate) fn start_again(&self) -> Outcome<()> {
        match self.standby.as_ref().filter(|it| it.is_promoted()) {
            Some(promoted) => promoted.start(),
            None => Ok(self.sandbox.start_again()?),
        }
    }

    /// Returns how far the server has written; nothing while it is away.
    pub(crate) async fn written(&self) -> Option<String> {
        let client = connect(&self.url()).await.ok()?;
        let row = client.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.ok()?;
        Some(row.get(0))
    }

    /// Waits until the standby has got so far, and lets nothing more reach it.
    pub(crate) async fn part(&self, written: &str) -> Outcome<()> {
        let standby = self.standby.as_ref().ok_or("there is no standby")?;
        let url = self.sandbox.url("postgres");
        let port = self.sandbox.port();
        let there =
            connect(&url.replace(&format!(":{port}/"), &format!(":{}/", standby.port))).await?;
        let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        until(&there, replayed, &[&written]).await?;
        there.batch_execute("ALTER SYSTEM SET primary_conninfo = ''").await?;
        there.batch_execute("SELECT pg_reload_conf()").await?;
        until(&there, "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)", &[]).await
    }

    /// Makes the standby the one that can be written to; the other one stays where it is, stopped.
    pub(crate) fn promote(&self) -> Outcome<()> {
        self.standby.as_ref().ok_or("there is no standby")?.promote()
    }

    /// Leaves everything running; says where it is, and how to stop it.
    pub(crate) fn keep(self) -> Outcome<String> {
        let mut more = String::new();
        if let Some(standby) = &self.standby {
            let port = standby.port;
            let what = if standby.is_promoted() { "was promoted" } else { "is a standby" };
            more = format!(" (the one at port {port} of the same directory {what})");
        }
        // After a failure in the middle of an outage the server is not there.
        let _ = self.sandbox.start_again();
        let kept = self.sandbox.keep()?;
        std::mem::forget(self.standby);
        Ok(format!("server: {}{more}\nstop it: {}", kept.url, kept.stop))
    }
}

/// Parts a URL before the name of the database.
fn split(url: &str) -> (&str, &str) {
    url.rsplit_once('/').unwrap_or((url, ""))
}

async fn until(
    client: &tokio_postgres::Client,
    sql: &str,
    params: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Outcome<()> {
    let started = Instant::now();
    while !client.query_one(sql, params).await?.get::<_, bool>(0) {
        if started.elapsed() > REPLAYED {
            return Err(format!("the standby: waited in vain for {sql}").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

impl Standby {
    fn of(primary: &Sandbox, port: u16, programs: Programs) -> Outcome<Standby> {
        let dir = primary.socket_dir();
        let data = dir.join("standby");
        let standby = Standby { programs, data, port, is_promoted: AtomicBool::new(false) };
        let from = format!("host={} port={} user=postgres", dir.display(), primary.port());
        let data = standby.data.to_string_lossy();
        standby
            .run("pg_basebackup", &["-d", &from, "-D", &data, "-R", "-c", "fast", "--no-sync"])?;
        standby.start()?;
        Ok(standby)
    }

    /// Runs a program as the user that runs servers here.
    fn run(&self, program: &str, arguments: &[&str]) -> Outcome<()> {
        let mut command = Command::new(self.programs.path_of(program));
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let dir = self.data.parent().ok_or("a folder")?;
        let (owner, ours) = (std::fs::metadata(dir)?, std::fs::metadata("/proc/self")?);
        if owner.uid() != ours.uid() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let status = tokio::task::block_in_place(|| command.status())?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{program} {arguments:?}: {status}").into())
        }
    }

    fn is_promoted(&self) -> bool {
        self.is_promoted.load(Ordering::SeqCst)
    }

    fn start(&self) -> Outcome<()> {
        let (data, log) = (self.data.to_string_lossy(), self.data.with_extension("log"));
        let options = format!("-p {}", self.port);
        self.run(
            "pg_ctl",
            &["start", "-D", &data, "-l", &log.to_string_lossy(), "-o", &options, "-s", "-w"],
        )
    }

    fn stop(&self) -> Outcome<()> {
        self.run(
            "pg_ctl",
            &["stop", "-D", &self.data.to_string_lossy(), "-m", "immediate", "-s", "-w"],
        )
    }

    fn promote(&self) -> Outcome<()> {
        self.run("pg_ctl", &["promote", "-D", &self.data.to_string_lossy(), "-s", "-w"])?;
        self.is_promoted.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        // One that was stopped by a fault has no process any more.
        let _ = self.stop();
    }
}
