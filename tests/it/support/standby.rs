//! A standby of a server of the test's own.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};
use piecemeal::sandbox::{Programs, Sandbox};

use super::db::Db;

/// A standby in the directory of its primary, which it must not outlive.
pub(crate) struct Standby {
    programs: Programs,
    data: PathBuf,
    url: String,
}

impl Standby {
    /// Copies the primary and starts the copy under a name.
    pub(crate) fn of(primary: &Sandbox, name: &str) -> Standby {
        let dir = primary.socket_dir();
        let standby = Standby {
            programs: Programs::find().expect("PostgreSQL"),
            data: dir.join("standby"),
            url: primary.url("postgres").replacen(":5432/", ":5433/", 1),
        };
        let from = format!("host={} user=postgres application_name={name}", dir.display());
        let data = standby.data.to_string_lossy();
        standby.run("pg_basebackup", &["-d", &from, "-D", &data, "-R", "-c", "fast", "--no-sync"]);
        standby.start();
        standby
    }

    /// Runs a program as the user that runs servers here.
    fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new(self.programs.path_of(program));
        command.args(arguments).current_dir("/").stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if Uid::effective().is_root() {
            let user = User::from_name("postgres").expect("users").expect("the user postgres");
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        assert!(command.status().expect(program).success(), "{program} {arguments:?}");
    }

    /// Starts it.
    pub(crate) fn start(&self) {
        let (data, log) = (self.data.to_string_lossy(), self.data.with_extension("log"));
        let log = log.to_string_lossy();
        self.run("pg_ctl", &["start", "-D", &data, "-l", &log, "-o", "-p 5433", "-s", "-w"]);
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&self) {
        let data = self.data.to_string_lossy();
        self.run("pg_ctl", &["stop", "-D", &data, "-m", "immediate", "-s", "-w"]);
    }

    /// Makes it a primary.
    pub(crate) fn promote(&self) {
        self.run("pg_ctl", &["promote", "-D", &self.data.to_string_lossy(), "-s", "-w"]);
    }

    /// Connects to it.
    pub(crate) fn db(&self) -> Db {
        Db::connect("standby", &self.url)
    }

    /// Runs a statement on it.
    pub(crate) fn exec(&self, sql: &str) {
        Db::connect("standby", &self.url).exec(sql);
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        if self.data.join("postmaster.pid").exists() {
            self.kill();
        }
    }
}
