//! A pooler of transactions with one connection to a server of the test's own.

use std::process::{Command, Stdio};

use piecemeal::sandbox::Sandbox;

use super::db::{Db, start_server};
use super::saw;

#[path = "../../torture/pooler.rs"]
mod bouncer;

/// A server, and what stands in front of it.
pub(crate) struct Pooled {
    /// Straight to the server.
    pub(crate) db: Db,
    /// The URL through the pooler.
    pub(crate) url: String,
    _pooler: bouncer::Pooler,
    _server: Sandbox,
}

impl Pooled {
    /// Starts both, with more of the pooler's settings. Where `PgBouncer` is not installed there is nothing to see, and
    /// it says so.
    pub(crate) fn start(more: &str) -> Option<Pooled> {
        let asked = Command::new("pgbouncer").arg("--version").stdout(Stdio::null()).status();
        if asked.is_err() {
            saw("left out: pgbouncer is not installed");
            return None;
        }
        let server = start_server(&[("statement_timeout", "5min"), ("lock_timeout", "1min")]);
        let pooler = bouncer::Pooler::start(&server, "postgres", 1, more).expect("a pooler");
        let url = server.url("postgres");
        // As on another host: a directory of its own, and the port of the server.
        let pooled = url.replacen(":5432/", "%2Fpooler:5432/", 1);
        assert_ne!(pooled, url);
        Some(Pooled {
            db: Db::connect("postgres", &url),
            url: pooled,
            _pooler: pooler,
            _server: server,
        })
    }

    /// Returns what the next client of the pooler finds set.
    pub(crate) fn found(&self) -> Vec<String> {
        let next = Db::connect("postgres", &self.url);
        ["search_path", "statement_timeout", "lock_timeout"]
            .map(|name| next.text(&format!("SHOW {name}")))
            .to_vec()
    }
}
