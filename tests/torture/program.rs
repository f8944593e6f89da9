//! The program under test, as people start it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::Outcome;

/// The job's name, which is its file's.
pub(crate) const JOB: &str = "torture";

/// The program's exit code for something that should not happen.
pub(crate) const UNEXPECTED: i32 = 1;

/// The program's exit code for a job that preflight refuses.
pub(crate) const REFUSED: i32 = 3;

/// The program's exit code for a run with rows that the server refuses.
pub(crate) const BAD_ROWS: i32 = 5;

/// The program's exit code for a run that was left, resumable.
pub(crate) const LEFT: i32 = 4;

/// The program's exit code for a run that another process took over.
pub(crate) const OWNED: i32 = 7;

/// The program's exit code after SIGTERM.
pub(crate) const TERMINATED: i32 = 143;

/// The program's exit code for a database that was away when it began.
pub(crate) const UNREACHABLE: i32 = 8;

/// How the program is called.
pub(crate) struct Program {
    pub(crate) url: String,
    pub(crate) jobs: PathBuf,
    pub(crate) log: PathBuf,
}

impl Program {
    /// Calls it and returns at once.
    pub(crate) fn start(&self, args: &[&str]) -> Outcome<Worker> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(env!("CARGO_BIN_EXE_piecemeal"))
            .arg("--jobs-dir")
            .arg(&self.jobs)
            .args(["--database-url", &self.url])
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or("it has no process")?;
        Ok(Worker { child, pid })
    }

    /// Starts a process on the job, alone or beside another one, with so many workers.
    pub(crate) fn work(&self, command: &str, workers: u32) -> Outcome<Worker> {
        let workers = workers.to_string();
        self.start(&[command, JOB, "--yes", "--progress", "none", "--workers", &workers])
    }

    /// Calls it and waits for its end; returns the exit code.
    pub(crate) async fn call(&self, args: &[&str]) -> Outcome<Option<i32>> {
        let mut worker = self.start(args)?;
        let status = worker.end(Duration::from_mins(1)).await?;
        Ok(status.and_then(|status| status.code()))
    }

    /// Returns everything that it wrote.
    pub(crate) fn words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns the last lines that it wrote.
    pub(crate) fn last_words(&self) -> String {
        last_lines(&self.words())
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(30).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// One process of the program; it is killed when it is dropped.
pub(crate) struct Worker {
    child: Child,
    pid: u32,
}

impl Worker {
    /// Returns its process id.
    pub(crate) fn pid(&self) -> i64 {
        i64::from(self.pid)
    }

    /// Returns how it ended, if it has.
    pub(crate) fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end, not longer than `limit`.
    pub(crate) async fn end(&mut self, limit: Duration) -> Outcome<Option<ExitStatus>> {
        tokio::select! {
            ended = self.child.wait() => Ok(Some(ended?)),
            () = tokio::time::sleep(limit) => Ok(None),
        }
    }

    /// Kills it as nothing can be killed more (SIGKILL).
    pub(crate) async fn kill(&mut self) -> Outcome<()> {
        Ok(self.child.kill().await?)
    }

    /// Sends it a signal by name.
    pub(crate) fn signal(&self, name: &str) -> Outcome<()> {
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()?;
        if sent.success() { Ok(()) } else { Err(format!("kill -s {name}: {sent}").into()) }
    }
}
