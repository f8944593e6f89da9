//! The real program, run as its users run it: with arguments, a folder of jobs and a database.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;

use super::db::Db;
use super::{until, until_or};

/// A folder of jobs and the database that they are about.
pub(crate) struct Cli {
    folder: TempDir,
    pub(crate) url: String,
    /// Where it finds time zones, if not where everybody does.
    pub(crate) zones: Option<PathBuf>,
}

/// Returns who runs the tests, as the journal has it.
pub(crate) fn me() -> String {
    let user = Command::new("id").arg("-un").output().expect("id");
    String::from_utf8(user.stdout).expect("a name").trim().to_owned() + "@"
}

/// What a call came to.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Answer {
        assert_eq!(self.code, code, "\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Checks that people were told something.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Answer {
        assert!(self.stderr.contains(text), "`{text}` is not in:\n{}", self.stderr);
        self
    }

    /// Returns stdout as one JSON document.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Cli {
    /// Returns the program for a database, with one job in its folder.
    pub(crate) fn new(db: &Db, job: &str, toml: &str) -> Cli {
        let folder = TempDir::new().expect("a folder");
        let cli = Cli { folder, url: db.url.clone(), zones: None };
        cli.write(job, toml);
        cli
    }

    /// Writes the file of a job.
    pub(crate) fn write(&self, job: &str, toml: &str) {
        fs::write(self.path(job), toml).expect("a job file");
    }

    /// Returns the path of a job's file.
    pub(crate) fn path(&self, job: &str) -> PathBuf {
        self.folder.path().join(format!("{job}.toml"))
    }

    /// Returns the command, with nothing from the environment of whoever runs the tests.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_piecemeal"));
        command.env_clear().env("HOME", self.folder.path());
        command.env("DATABASE_URL", &self.url).env("PIECEMEAL_JOBS_DIR", self.folder.path());
        command.envs(self.zones.iter().map(|zones| ("TZDIR", zones)));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    pub(crate) fn call(&self, args: &[&str]) -> Answer {
        self.start(args).wait()
    }

    /// Runs it to its end and expects it to do what it says.
    #[track_caller]
    pub(crate) fn done(&self, args: &[&str]) -> Answer {
        self.call(args).exits(0)
    }

    /// Starts it and returns at once.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::of(self.command(args))
    }

    /// Returns the only run of `status -o json`.
    pub(crate) fn status(&self, job: &str) -> Value {
        self.done(&["status", job, "-o", "json"]).json()["runs"][0].take()
    }
}

/// A call that has not ended; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

impl Running {
    /// Spawns a command and reads along.
    pub(crate) fn of(mut command: Command) -> Running {
        let mut child = command.spawn().expect("the program starts");
        let (stdout, stderr) = (Stream::of(child.stdout.take()), Stream::of(child.stderr.take()));
        Running { child, stdout, stderr }
    }

    /// Returns its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, as in `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(sent.expect("kill").success());
    }

    /// Stops it, and waits until the server does nothing for it but wait for a lock: what it said last
    /// may still be under way, and renew its lease.
    pub(crate) fn freeze(&self, db: &Db) {
        self.signal("STOP");
        db.until(
            "SELECT count(*) = 0 FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'piecemeal%'
             AND state <> 'idle' AND wait_event_type IS DISTINCT FROM 'Lock'",
        );
    }

    /// Waits until it has said something on stderr.
    pub(crate) fn until_it_says(&self, text: &str) {
        until(&format!("`{text}` on stderr"), || self.stderr.text().contains(text).then_some(()));
    }

    /// Returns what it has written to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Returns what it has said on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Returns the events with this name that it has written so far, with `--progress jsonl`.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let text = self.stdout();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["event"] == name).collect()
    }

    /// Waits until it has written so many events with this name, and returns the last of them.
    pub(crate) fn event(&self, name: &str, nth: usize) -> Value {
        let found = || {
            let mut events = self.events(name);
            (events.len() >= nth).then(|| events.swap_remove(nth - 1))
        };
        until_or(found, || self.said(&format!("event {name} {nth}")))
    }

    /// Waits until its newest `progress` event is as wanted, and returns its run.
    pub(crate) fn progress(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = || {
            let run = self.events("progress").pop()?["run"].take();
            wanted(&run).then_some(run)
        };
        until_or(found, || self.said(what))
    }

    /// What it was waited for, and what was said instead.
    fn said(&self, what: &str) -> String {
        let events: Vec<_> = self.stdout().lines().rev().take(5).map(str::to_owned).collect();
        format!("{what}\nstderr: {}\nlast events:\n{}", self.stderr(), events.join("\n"))
    }

    /// Whether it is still there.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Answer {
        let status = until("the end of the program", || self.child.try_wait().expect("a child"));
        Answer {
            code: status.code().unwrap_or(-1),
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Stream {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn of(source: Option<impl Read + Send + 'static>) -> Stream {
        let text = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&text);
        let reader = source.map(|source| std::thread::spawn(move || read(source, &seen)));
        Stream { text, reader }
    }

    fn text(&self) -> String {
        self.text.lock().expect("the reader is well").clone()
    }

    fn finish(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader is well");
        }
        self.text()
    }
}

fn read(source: impl Read, text: &Mutex<String>) {
    for line in BufReader::new(source).lines() {
        let line = line.expect("text");
        let mut text = text.lock().expect("the test is well");
        text.push_str(&line);
        text.push('\n');
    }
}
