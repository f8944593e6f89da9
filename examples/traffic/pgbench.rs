//! Live traffic: pgbench, which stands beside the server's programs.
//!
//! Promises that it ends with this process at the latest. Its rate is a schedule, so a user who
//! was blocked leaves a queue behind; [`Traffic::caught_up`] waits for that to be worked off.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use piecemeal::sandbox::{Programs, Sandbox};
use tempfile::TempDir;

use super::felt::{self, PREFIX, Transaction};
use super::ground::{self, Failure};

/// One read and one write, each a transaction; the backfill does not touch `b`.
const SCRIPT: &str = "\
\\set read random(1, :rows)
\\set write random(1, :rows)
SELECT c FROM t WHERE id = :read;
UPDATE t SET b = b + 1 WHERE id = :write;
";

/// Users and threads.
const USERS: [&str; 4] = ["-c", "8", "-j", "2"];

/// It never works longer than this, also if nobody stops it.
const LONGEST: Duration = Duration::from_mins(15);

/// How long a queue may take to be worked off.
const CATCH_UP: Duration = Duration::from_mins(2);

/// The program, and the server that it works on.
pub(crate) struct Pgbench {
    program: PathBuf,
    server: [String; 6],
    rows: u32,
}

impl Pgbench {
    /// Takes the program of the server's installation.
    pub(crate) fn find(programs: &Programs, sandbox: &Sandbox, rows: u32) -> Result<Self, Failure> {
        let program = programs.path_of("pgbench");
        if !program.is_file() {
            let place = programs.bin_dir().display();
            return Err(format!("pgbench is not in {place}; install the server's contrib programs, or let PIECEMEAL_PG_BIN name a directory that has it").into());
        }
        let socket = sandbox.socket_dir().to_string_lossy().into_owned();
        let port = sandbox.port().to_string();
        let server = ["-h", &socket, "-p", &port, "-U", "postgres"].map(str::to_owned);
        Ok(Pgbench { program, server, rows })
    }

    fn command(&self, folder: &TempDir, length: Duration) -> Result<Command, Failure> {
        let script = folder.path().join("script");
        fs::write(&script, SCRIPT)?;
        let mut command = ground::program(&self.program);
        command.args(["-n", "-M", "prepared"]).args(USERS).args(&self.server);
        command.arg("-T").arg(length.as_secs().to_string());
        command.arg("-D").arg(format!("rows={}", self.rows)).arg("-f").arg(script).arg("postgres");
        Ok(command)
    }

    /// Returns how many transactions a second there are without a schedule.
    pub(crate) fn capacity(&self, length: Duration) -> Result<f64, Failure> {
        let folder = tempfile::tempdir()?;
        let output = self.command(&folder, length)?.output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let speed = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
        speed.and_then(|speed| speed.parse().ok()).ok_or_else(|| {
            format!("pgbench does not work: {}", String::from_utf8_lossy(&output.stderr)).into()
        })
    }

    /// Starts traffic at so many transactions a second.
    pub(crate) fn start(&self, rate: u32) -> Result<Traffic, Failure> {
        let folder = tempfile::tempdir()?;
        let mut command = self.command(&folder, LONGEST)?;
        command.arg("-R").arg(rate.to_string());
        command.arg("-l").arg("--log-prefix").arg(folder.path().join(PREFIX));
        let errors = File::create(folder.path().join("errors"))?;
        let child = command.stdout(Stdio::null()).stderr(errors).spawn()?;
        Ok(Traffic { child, folder })
    }
}

/// Traffic that goes on until it is dropped.
pub(crate) struct Traffic {
    child: Child,
    folder: TempDir,
}

impl Traffic {
    /// Returns its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until every user has done what was due at an instant.
    pub(crate) async fn caught_up(&mut self, instant: f64) -> Result<(), Failure> {
        let started = Instant::now();
        while !self.has_done(instant)? {
            if let Some(status) = self.child.try_wait()? {
                let errors = fs::read_to_string(self.folder.path().join("errors"))?;
                return Err(format!("pgbench ended with {status}: {errors}").into());
            }
            if started.elapsed() > CATCH_UP {
                return Err("pgbench does not catch up with its schedule".into());
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Ok(())
    }

    /// A log is written a block at a time, so it is behind, and never ahead.
    fn has_done(&self, instant: f64) -> Result<bool, Failure> {
        let mut threads = 0;
        for path in felt::logs(self.folder.path())? {
            threads += 1;
            if felt::last_due(&path)?.is_none_or(|due| due <= instant) {
                return Ok(false);
            }
        }
        Ok(threads > 0)
    }

    /// Ends it, and returns all that it did.
    pub(crate) fn stop(mut self) -> Result<Vec<Transaction>, Failure> {
        self.end();
        let mut log = Vec::new();
        for path in felt::logs(self.folder.path())? {
            log.extend(felt::read(&path)?);
        }
        Ok(log)
    }

    fn end(&mut self) {
        // It may have ended by itself, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end();
    }
}
