//! One throw-away server for all tests of this binary; each takes a database of its own.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use piecemeal::sandbox::{Programs, Sandbox};

/// The server goes when the process ends: its supervisor sees the pipe close.
static SERVER: LazyLock<(Programs, Sandbox)> = LazyLock::new(|| {
    let programs = Programs::find_or_install(&mut |_| {}).expect("server programs");
    let sandbox = Sandbox::start(&programs, &[]).expect("a server");
    (programs, sandbox)
});

/// A database of its own.
pub(crate) struct Db {
    /// Its URL.
    pub(crate) url: String,
}

impl Db {
    /// Creates a database.
    pub(crate) fn create(name: &str) -> Db {
        let url = |name: &str| SERVER.1.url(name);
        psql(&url("postgres"), &format!("CREATE DATABASE \"{name}\""));
        Db { url: url(name) }
    }

    /// Returns the database that every server has, as the tutorial uses it.
    pub(crate) fn postgres() -> Db {
        Db { url: SERVER.1.url("postgres") }
    }

    /// Runs SQL, and returns the rows of the last statement, columns parted by `|`.
    pub(crate) fn sql(&self, sql: &str) -> String {
        psql(&self.url, sql)
    }

    /// Returns a command with a clean environment in which `piecemeal` and `psql` are found.
    pub(crate) fn command(&self, program: &str, folder: &Path) -> Command {
        let ours = Path::new(env!("CARGO_BIN_EXE_piecemeal")).parent().expect("a folder");
        let path = format!("{}:{}:/usr/bin:/bin", ours.display(), SERVER.0.bin_dir().display());
        let mut command = Command::new(program);
        command.env_clear().env("PATH", path).env("HOME", folder).env("DATABASE_URL", &self.url);
        command.current_dir(folder).stdin(Stdio::null());
        command
    }
}

fn psql(url: &str, sql: &str) -> String {
    let mut psql = Command::new(SERVER.0.path_of("psql"));
    psql.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url]).stdin(Stdio::null());
    text(&psql.output().expect("psql runs"))
}

/// Returns what a command printed; it must have succeeded.
pub(crate) fn text(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
