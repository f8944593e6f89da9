//! Connections that break, servers that change places, passwords that change: the run goes on.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use piecemeal::sandbox::Sandbox;
use tempfile::TempDir;

use crate::support::cli::Cli;
use crate::support::db::{Db, Held, port, start_server};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::done_once;
use crate::support::proxy::Proxy;
use crate::support::standby::Standby;

/// A job that lasts for three seconds on three thousand rows.
fn slowly() -> Toml {
    Toml::increment().rows(20).with("[pace]\nrate = \"1k/s\"")
}

#[test]
fn after_a_failover_that_loses_the_tail_a_run_goes_on_from_what_the_new_primary_has() {
    let server = start_server(&[]);
    let old = Db::connect("postgres", &server.url("postgres"));
    old.exec(&numbers(3_000));
    let standby = Standby::of(&server, "berlin");
    let dir = server.socket_dir().display();
    let mut cli = Cli::new(&old, "job", &slowly().text());
    cli.url = format!("postgres://postgres@/postgres?host={dir},{dir}&port=5432,5433");
    let running = cli.start(&["run", "job", "-y", "--progress", "jsonl"]);

    let new = standby.db();
    new.until("to_regclass('piecemeal.range') IS NOT NULL");
    new.until("(SELECT sum(n) FROM t) > 100");
    new.exec("ALTER SYSTEM SET primary_conninfo = ''");
    new.exec("SELECT pg_reload_conf()");
    new.until("NOT EXISTS (SELECT FROM pg_stat_wal_receiver)");
    let kept = new.number("SELECT sum(n) FROM t");
    old.until(&format!("(SELECT sum(n) FROM t) > {kept} + 100"));
    server.stop_immediate().expect("the primary stops");
    standby.promote();

    running.wait().exits(0);
    done_once(&new, "job");
    // The same program with the same settings: the first server is gone for good.
    cli.done(&["status", "job"]);
}

/// Lets the name under which servers are reached mean the one on `port`, as DNS or a moving address does.
fn points_at(name: &Path, server: &Sandbox, port: u16) {
    let new = name.join("new");
    let socket = server.socket_dir().join(format!(".s.PGSQL.{port}"));
    symlink(socket, &new).expect("a link");
    fs::rename(new, name.join(".s.PGSQL.5432")).expect("the folder is ours");
}

#[test]
fn a_name_that_means_a_standby_for_a_while_is_waited_for() {
    let server = start_server(&[]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&numbers(3_000));
    let _standby = Standby::of(&server, "berlin");
    let name = TempDir::new().expect("a folder");
    points_at(name.path(), &server, 5432);
    let mut cli = Cli::new(&db, "job", &slowly().text());
    cli.url = format!("postgres://postgres@/postgres?host={}", name.path().display());
    let running = cli.start(&["run", "job", "-y", "-v"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("(SELECT sum(n) FROM t) > 100");
    // The standby has none of its own, and a run that is held does not try to write.
    cli.done(&["throttle", "job", "--hold", "replica-lag=off"]);

    points_at(name.path(), &server, 5433);
    db.exec(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'piecemeal%'",
    );
    running.until_it_says("during recovery");
    points_at(name.path(), &server, 5432);
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_waited_for() {
    let server = start_server(&[]);
    let db = Db::connect("postgres", &server.url("postgres"));
    db.exec(&numbers(3_000));
    let cli = Cli::new(&db, "job", &slowly().text());
    let running = cli.start(&["run", "job", "-y", "-v"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("(SELECT sum(n) FROM t) > 100");
    server.stop_immediate().expect("the server stops");
    running.until_it_says("retry in");
    server.start_again().expect("the server starts");
    running.wait().exits(0);
    done_once(&Db::connect("postgres", &server.url("postgres")), "job");
}

/// A role with a password, and the program with a password file.
struct Login {
    db: Db,
    cli: Cli,
    file: PathBuf,
    role: String,
}

impl Login {
    /// On a hundred rows of which the last half is held, until the test releases them.
    fn new(job: &Toml) -> Login {
        let db = Db::with(&numbers(100));
        let role = format!("login_{}", db.name);
        db.exec(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'first'"));
        let mut cli = Cli::new(&db, "job", &job.text());
        cli.url = format!("postgres://{role}@127.0.0.1:{}/{}?sslmode=disable", port(), db.name);
        let file = cli.path("job").with_file_name(".pgpass");
        let login = Login { db, cli, file, role };
        login.write("first");
        login
    }

    fn write(&self, password: &str) {
        write_private(&self.file, &format!("*:*:*:*:{password}\n"));
    }

    /// Changes the password in the server, and ends every session that came with the old one.
    fn rotate(&self, password: &str) {
        let role = &self.role;
        self.db.exec(&format!("ALTER ROLE {role} PASSWORD '{password}'"));
        self.db.exec(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        ));
    }
}

fn write_private(path: &Path, text: &str) {
    // In one step, as whoever rotates secrets does it: nobody reads half of it.
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    fs::rename(&new, path).expect("the file is ours");
}

#[test]
fn a_password_that_is_rotated_in_mid_run_is_read_again() {
    let login = Login::new(&Toml::increment().rows(10));
    let held = Held::from(&login.db, 50);
    let running = login.cli.start(&["run", "job", "-y", "-v"]);
    held.is_reached(&login.db);
    login.write("second");
    login.rotate("second");
    held.release();
    running.wait().exits(0);
    done_once(&login.db, "job");
}

#[test]
fn a_password_file_that_lags_behind_the_server_is_waited_for() {
    let login = Login::new(&Toml::increment().rows(10));
    let held = Held::from(&login.db, 50);
    let running = login.cli.start(&["run", "job", "-y", "-v"]);
    held.is_reached(&login.db);
    login.rotate("second");
    held.release();
    running.until_it_says("password authentication failed");
    login.write("second");
    running.wait().exits(0);
    done_once(&login.db, "job");
}

#[test]
fn a_password_that_stays_wrong_ends_the_run_after_max_hold_and_it_can_go_on() {
    let job = Toml::increment().rows(10).with("[pace]\nmax_hold = \"2s\"");
    let login = Login::new(&job);
    let held = Held::from(&login.db, 50);
    let running = login.cli.start(&["run", "job", "-y", "-v"]);
    held.is_reached(&login.db);
    login.rotate("second");
    held.release();
    let answer = running.wait().exits(8);
    answer.says("password authentication failed").says("piecemeal run job");
    assert!(login.db.number("SELECT sum(n) FROM t") < 100);
    login.cli.call(&["status"]).exits(8).says("does not let us in");
    login.write("second");
    login.cli.done(&["run", "job"]);
    done_once(&login.db, "job");
}

#[test]
fn a_connection_that_swallows_everything_is_given_up_and_its_locks_are_gone() {
    let db = Db::with(&numbers(100));
    db.exec("CREATE ROLE frozen SUPERUSER LOGIN PASSWORD 'frozen'");
    let held = Held::from(&db, 50);
    let proxy = Proxy::to(port());
    let mut cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.url = format!(
        "postgres://frozen:frozen@127.0.0.1:{}/{}?sslmode=disable&tcp_user_timeout=1000",
        proxy.port, db.name
    );
    let running = cli.start(&["run", "job", "-y", "-v"]);
    held.is_reached(&db);
    proxy.freeze();
    held.release();
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_pooler_that_restarts_is_waited_for() {
    let db = Db::with(&numbers(100));
    db.exec("CREATE ROLE pooled SUPERUSER LOGIN PASSWORD 'pooled'");
    let held = Held::from(&db, 50);
    let proxy = Proxy::to(port());
    let mut cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.url =
        format!("postgres://pooled:pooled@127.0.0.1:{}/{}?sslmode=disable", proxy.port, db.name);
    let running = cli.start(&["run", "job", "-y", "-v"]);
    held.is_reached(&db);
    proxy.down();
    running.until_it_says("cannot connect to database");
    held.release();
    proxy.up();
    running.wait().exits(0);
    done_once(&db, "job");
}
