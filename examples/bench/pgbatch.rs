//! pg-batch, from the Python Package Index: a program that does the same from the command line.
//!
//! It reads up to 10,000 keys with a SELECT, and writes them with `UPDATE … WHERE id IN (…)`, a COMMIT
//! after each; no pace, no cursor, no verification. Its own default is 50 rows a write.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::ground::{self, Failure, NEW, Shape};
use super::memory;

const PACKAGE: &str = "pg-batch==1.1.1";

/// Rows of one write; of one read it takes its default.
const ROWS: &str = "1000";

/// How often it is looked whether it has ended.
const EVERY: Duration = Duration::from_millis(10);

/// The program, installed in a directory that goes with this.
pub(crate) struct PgBatch {
    folder: TempDir,
}

impl PgBatch {
    /// Installs it in a virtual environment of Python.
    pub(crate) fn install() -> Result<PgBatch, Failure> {
        let folder = tempfile::tempdir()?;
        let mut venv = ground::program("python3");
        succeed("python3 -m venv", &venv.args(["-m", "venv"]).arg(folder.path()).output()?)?;
        let mut pip = ground::program(folder.path().join("bin/pip"));
        let pip = pip.args(["install", "--quiet", "--disable-pip-version-check", PACKAGE]);
        succeed("pip install pg-batch", &pip.output()?)?;
        Ok(PgBatch { folder })
    }

    fn command(&self, shape: &Shape, (folder, port): (&Path, u16)) -> Command {
        let mut command = ground::program(self.folder.path().join("bin/pg_batch"));
        command.arg("--host").arg(folder).arg("--port").arg(port.to_string());
        command.args(["--user", "postgres", "--database", "postgres", "--table", "t"]);
        command.arg("--where").arg(shape.filter().unwrap_or_else(|| "true".to_owned()));
        command.arg("--set").arg(format!("new = {NEW}"));
        command.args(["--write_batch_size", ROWS, "--no_confirm"]);
        command
    }

    /// Runs it, and returns its peak of memory in MB.
    pub(crate) async fn run(
        &self,
        shape: &Shape,
        server: (&Path, u16),
        limit: Duration,
    ) -> Result<Option<f64>, Failure> {
        let said = self.folder.path().join("errors");
        let mut command = self.command(shape, server);
        command.stdout(Stdio::null()).stderr(File::create(&said)?);
        let mut running = Running(command.spawn()?);
        let started = Instant::now();
        let process = running.0.id().to_string();
        let mut peak = None;
        let status = loop {
            if let Some(status) = running.0.try_wait()? {
                break status;
            }
            if started.elapsed() > limit {
                return Err(format!("it was ended after {} s", limit.as_secs()).into());
            }
            // A peak does not sink, so the last one counts; one that has ended has none.
            peak = memory::peak(&process).or(peak);
            tokio::time::sleep(EVERY).await;
        };
        if status.success() { Ok(peak) } else { Err(last_line(&fs::read_to_string(said)?).into()) }
    }
}

/// A process that ends with this at the latest.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn succeed(what: &str, output: &Output) -> Result<(), Failure> {
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    Err(format!("{what}: {}", last_line(&said.concat())).into())
}

fn last_line(said: &str) -> String {
    let last = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.unwrap_or("it failed and says nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::ground::Key;
    use super::*;

    #[test]
    fn it_does_the_rows_that_the_others_do() {
        let pg_batch = PgBatch { folder: tempfile::tempdir().unwrap() };
        let shape = Shape { rows: 9, key: Key::Bigint, indexes: 0, matching: Some(3) };
        let command = pg_batch.command(&shape, (Path::new("/x"), 7));
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        assert!(args.contains(&"a % 3 = 0 AND new IS NULL".into()), "{args:?}");
        assert_eq!(args[..4], ["--host", "/x", "--port", "7"]);
    }

    #[test]
    fn what_was_said_last_is_the_reason() {
        assert_eq!(last_line("Collecting\nERROR: no network\n\n"), "ERROR: no network");
    }
}
