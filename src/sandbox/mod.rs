//! A throw-away `PostgreSQL` server, for the demo and for the tests.
//!
//! [`Programs`] are found (or installed); [`Sandbox::start`] makes a cluster in a fresh
//! directory and runs it. The promise: nothing is left behind, neither a process nor a file,
//! also after a panic, Ctrl-C, or `kill -9` of the process that started it.
//!
//! Deliberately not here: downloads (only the system's package manager installs), connections
//! (a sandbox gives a URL), and safety of the data (`fsync` is off).

mod install;
mod operator;
mod programs;
mod server;
mod settings;
mod supervisor;

use std::io;
use std::path::PathBuf;

pub use programs::Programs;
pub use server::{Kept, Sandbox};

/// Why there is no throw-away server.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No server programs were found, and nothing here can install them.
    #[error(
        "no PostgreSQL server programs were found and none can be installed: {because}\n  hint: {hint}"
    )]
    NoPrograms {
        /// What stands in the way of an installation.
        because: &'static str,
        /// What the user can do about it, often a command to run.
        hint: String,
    },
    /// This user cannot run a server on this machine.
    #[error("no throw-away server can run here: {because}\n  hint: {hint}")]
    NoPlace {
        /// What stands in the way.
        because: &'static str,
        /// What the user can do about it.
        hint: &'static str,
    },
    /// The directory named by `PIECEMEAL_PG_BIN` lacks the server programs.
    #[error("{} holds no PostgreSQL server programs\n  hint: let PIECEMEAL_PG_BIN name the directory of initdb, postgres and pg_ctl, or unset it", .0.display())]
    NotThere(PathBuf),
    /// The package manager ran and did not bring the programs.
    #[error("installing PostgreSQL failed, `{command}` said:\n{output}")]
    Install {
        /// The command as it was run.
        command: String,
        /// The last lines that it wrote.
        output: String,
    },
    /// A setting that the caller gave cannot be used.
    #[error("setting {name:?} cannot be used in a sandbox: {because}")]
    Setting {
        /// The setting's name.
        name: String,
        /// Why it is refused.
        because: &'static str,
    },
    /// The server, or a program that serves it, refused; the log tells why.
    #[error("the throw-away server did not {action}, its log ends:\n{log}")]
    Server {
        /// What was asked of it.
        action: &'static str,
        /// The last lines of the log.
        log: String,
    },
    /// The operating system refused.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The refusal.
        source: io::Error,
    },
}

/// Starts a server for a test.
#[cfg(test)]
pub(crate) fn start(settings: &[(&str, &str)]) -> Sandbox {
    let programs = Programs::find_or_install(&mut |_| ()).expect("server programs");
    Sandbox::start(&programs, settings).expect("a server")
}

impl SandboxError {
    /// Returns a function for `map_err` that says what was tried.
    fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}
