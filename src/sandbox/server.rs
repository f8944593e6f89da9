//! The throw-away server itself.
//!
//! A [`Sandbox`] is one cluster with one server in one directory of mode 0700. It listens on a
//! socket in there, so any number of them run at once, and nobody else can connect. The user
//! `postgres` needs no password. Dropping it removes everything.
//!
//! Deliberately not here: how that is guaranteed (`supervisor`), and connections.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::operator::{Operator, quote};
use super::settings::Settings;
use super::supervisor::{Request, Supervisor};
use super::{Programs, SandboxError};

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A running throw-away server; dropping it stops the server and removes its directory.
#[derive(Debug)]
pub struct Sandbox {
    supervisor: Mutex<Supervisor>,
    operator: Operator,
    pg_ctl: PathBuf,
    dir: String,
    port: u16,
}

/// A server that outlives the process that started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The URL of its database `postgres`.
    pub url: String,
    /// The directory that holds all of it.
    pub dir: PathBuf,
    /// The shell command that stops it and removes the directory, for the user of this process.
    pub stop: String,
}

impl Sandbox {
    /// Makes a cluster and starts its server, with `settings` as in `postgresql.conf`.
    ///
    /// A `listen_addresses` that is not empty opens TCP too, on `port` or else on a free one;
    /// then every user of the machine can connect.
    pub fn start(programs: &Programs, settings: &[(&str, &str)]) -> Result<Self, SandboxError> {
        let operator = Operator::choose()?;
        let dir = operator.fresh_dir()?;
        let Settings { port, text } = Settings::compose(settings, &dir)?;
        let supervisor = Supervisor::start(&operator, programs.bin_dir(), &dir, &text)?;
        let pg_ctl = programs.path_of("pg_ctl");
        Ok(Self { supervisor: Mutex::new(supervisor), operator, pg_ctl, dir, port })
    }

    /// Returns the URL of the database `dbname` for the superuser `postgres`, by the socket.
    pub fn url(&self, dbname: &str) -> String {
        let [dir, dbname] = [&self.dir, dbname].map(|part| utf8_percent_encode(part, ESCAPED));
        format!("postgres://postgres@{dir}:{}/{dbname}", self.port)
    }

    /// Returns the directory of the socket, which holds everything else too.
    pub fn socket_dir(&self) -> &Path {
        Path::new(&self.dir)
    }

    /// Returns the cluster's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.socket_dir().join("data")
    }

    /// Returns the port: the number in the socket's name, and that of TCP if it was asked for.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the process id of the server, or nothing if it was stopped.
    pub fn postmaster_pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data_dir().join("postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok()
    }

    /// Stops the server as a crash of its processes would, so the next start recovers.
    pub fn stop_immediate(&self) -> Result<(), SandboxError> {
        self.ask(Request::StopImmediate)
    }

    /// Stops the server in order: ends the sessions, rolls back, writes a checkpoint.
    pub fn stop_fast(&self) -> Result<(), SandboxError> {
        self.ask(Request::StopFast)
    }

    /// Starts the stopped server on the same data, socket and port.
    pub fn start_again(&self) -> Result<(), SandboxError> {
        self.ask(Request::Start)
    }

    /// Leaves the server running when this process ends, and tells how to stop it.
    pub fn keep(self) -> Result<Kept, SandboxError> {
        self.ask(Request::Keep)?;
        let [pg_ctl, data] = [&self.pg_ctl, &self.data_dir()].map(|p| quote(&p.to_string_lossy()));
        let script = format!("{pg_ctl} stop -D {data} -m immediate && rm -rf {}", quote(&self.dir));
        Ok(Kept {
            url: self.url("postgres"),
            dir: self.socket_dir().to_owned(),
            stop: self.operator.shell_line(&script),
        })
    }

    fn ask(&self, request: Request) -> Result<(), SandboxError> {
        // A panic elsewhere does not make the pipe's state doubtful.
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).ask(request)
    }
}
