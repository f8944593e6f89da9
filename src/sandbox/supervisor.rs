//! The child process that owns a throw-away server.
//!
//! A shell script, in a process group of its own, is the only one that runs `initdb` and
//! `pg_ctl`. It reads requests from a pipe whose other end only this process holds. However this
//! process ends, the pipe closes, and the script stops the server and removes its directory.
//!
//! Deliberately not here: a deadline of its own; `pg_ctl` has one for each request.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::SandboxError;
use super::operator::Operator;

const SCRIPT: &str = include_str!("supervisor.sh");

/// What can be asked of a running supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Start the stopped server.
    Start,
    /// Stop it as a crash of its processes would.
    StopImmediate,
    /// Stop it in order, rolling open transactions back.
    StopFast,
    /// Leave everything as it is and go.
    Keep,
}

impl Request {
    /// The request as the script reads it, and as an error names it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Start => ("start", "start again"),
            Self::StopImmediate => ("immediate", "stop at once"),
            Self::StopFast => ("fast", "stop"),
            Self::Keep => ("keep", "stay"),
        }
    }
}

/// A handle on the script; dropping it waits until the server and its directory are gone.
#[derive(Debug)]
pub(super) struct Supervisor {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Supervisor {
    /// Starts the script and waits until the server in `dir` accepts connections.
    pub(super) fn start(
        operator: &Operator,
        bin: &Path,
        dir: &str,
        settings: &str,
    ) -> Result<Self, SandboxError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "piecemeal-sandbox", dir]).arg(bin).arg(settings);
        clear_environment(&mut command);
        operator.commission(&mut command);
        // Ctrl-C in the terminal goes to the foreground group, which the script must not be in.
        command.process_group(0).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let failed = SandboxError::io("run /bin/sh as the server's user");
        let mut child = command.spawn().map_err(failed)?;
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        let answers = answers.ok_or_else(|| broken("start", &io::ErrorKind::BrokenPipe.into()))?;
        let mut supervisor = Self { child, requests, answers: BufReader::new(answers) };
        supervisor.read_answer("start")?;
        Ok(supervisor)
    }

    /// Sends a request and waits until it is carried out.
    pub(super) fn ask(&mut self, request: Request) -> Result<(), SandboxError> {
        let (word, action) = request.words();
        let sent = match &mut self.requests {
            Some(pipe) => pipe.write_all(format!("{word}\n").as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        sent.map_err(|source| broken(action, &source))?;
        self.read_answer(action)
    }

    fn read_answer(&mut self, action: &'static str) -> Result<(), SandboxError> {
        let mut log = String::new();
        loop {
            let mut line = Vec::new();
            let read = self.answers.read_until(b'\n', &mut line);
            let read = read.map_err(|source| broken(action, &source))?;
            match String::from_utf8_lossy(&line).as_ref() {
                ":done\n" => return Ok(()),
                ":failed\n" => break,
                _ if read == 0 => return Err(broken(action, &io::ErrorKind::UnexpectedEof.into())),
                text => log.push_str(text),
            }
        }
        Err(SandboxError::Server { action, log: log.trim().to_owned() })
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.requests = None;
        // A failed wait means that the child is gone already.
        let _ = self.child.wait();
    }
}

fn broken(action: &'static str, source: &io::Error) -> SandboxError {
    SandboxError::Server { action, log: format!("the supervisor is gone: {source}") }
}

/// The caller's `PG*` variables are about other servers, and would steer this one.
fn clear_environment(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PG") {
            command.env_remove(&name);
        }
    }
    // The same messages everywhere; and without TZ, initdb compares every time zone there is.
    command.env("LC_ALL", "C").env("TZ", "UTC");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_known_to_the_script() {
        for request in [Request::Start, Request::Keep] {
            assert!(SCRIPT.contains(&format!("    {})", request.words().0)), "{request:?}");
        }
        assert!(SCRIPT.contains(r#"*) stop "$request""#));
    }

    #[test]
    fn a_directory_that_exists_is_neither_used_nor_removed() {
        let taken = tempfile::tempdir().unwrap();
        let dir = taken.path().to_str().unwrap();
        let answer = Supervisor::start(&Operator::Myself, Path::new("/nowhere"), dir, "");
        let Err(SandboxError::Server { log, .. }) = answer else { panic!("{answer:?}") };
        assert!(log.contains("exists"), "{log}");
        assert!(taken.path().exists());
    }

    #[test]
    fn a_missing_program_is_named_and_the_directory_goes() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("new");
        let answer =
            Supervisor::start(&Operator::Myself, Path::new("/nowhere"), dir.to_str().unwrap(), "");
        let Err(SandboxError::Server { log, .. }) = answer else { panic!("{answer:?}") };
        assert!(log.contains("/nowhere/initdb"), "{log}");
        assert!(!dir.exists());
    }
}
