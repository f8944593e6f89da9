//! One throw-away server for all tests, and a database of its own for each.
//!
//! The server goes when the process ends: its supervisor sees the pipe close. Tests that change
//! the server itself start one apart.

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use piecemeal::sandbox::{Programs, Sandbox};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::until;

/// Sockets are open to everybody here; TCP asks for a password, so that one can be wrong.
const HBA: &str = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

/// Starts a server of the test's own.
pub(crate) fn start_server(settings: &[(&str, &str)]) -> Sandbox {
    let programs = Programs::find_or_install(&mut |_| {}).expect("PostgreSQL");
    Sandbox::start(&programs, settings).expect("a throw-away server")
}

fn shared() -> &'static Sandbox {
    static SERVER: OnceLock<Sandbox> = OnceLock::new();
    SERVER.get_or_init(|| {
        let hba = tempfile::Builder::new().prefix("hba").tempfile().expect("a file");
        let (_, path) = hba.keep().expect("a file that stays");
        fs::write(&path, HBA).expect("a file that can be written");
        open_to_everybody(&path);
        let server = start_server(&[
            ("listen_addresses", "127.0.0.1"),
            ("hba_file", &path.to_string_lossy()),
            ("max_connections", "300"),
            ("deadlock_timeout", "20ms"),
        ]);
        // The server has read it, and reads it again only when it is told to.
        fs::remove_file(path).expect("the file is ours");
        server
    })
}

fn open_to_everybody(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("the file is ours");
}

/// Returns the schema of a database as `pg_dump` writes it, without the ledger.
pub(crate) fn pg_dump(db: &Db) -> String {
    let text = dump_of(db, &["--schema-only"]);
    // Newer releases write a random word around what they dump.
    text.lines().filter(|line| !line.starts_with('\\')).collect::<Vec<_>>().join("\n")
}

/// Returns what `pg_dump` writes of a database, without the ledger.
pub(crate) fn dump_of(db: &Db, options: &[&str]) -> String {
    let programs = Programs::find_or_install(&mut |_| {}).expect("PostgreSQL");
    let output = std::process::Command::new(programs.path_of("pg_dump"))
        .args(["--exclude-schema=piecemeal", "--dbname", &db.url])
        .args(options)
        .output()
        .expect("pg_dump runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Returns the TCP port of the shared server.
pub(crate) fn port() -> u16 {
    shared().port()
}

/// A connection to a database of the test's own.
pub(crate) struct Db {
    pub(crate) name: String,
    pub(crate) url: String,
    client: Client,
}

impl Db {
    /// Creates an empty database on the shared server.
    pub(crate) fn new() -> Db {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let server = shared();
        Db::connect("postgres", &server.url("postgres")).exec(&format!("CREATE DATABASE {name}"));
        Db::connect(&name, &server.url(&name))
    }

    /// Creates one with `sql` in it.
    pub(crate) fn with(sql: &str) -> Db {
        let db = Db::new();
        db.exec(sql);
        db
    }

    /// Connects to the database `name` at `url`.
    pub(crate) fn connect(name: &str, url: &str) -> Db {
        let client = runtime().block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a server");
            tokio::spawn(connection);
            client
        });
        Db { name: name.to_owned(), url: url.to_owned(), client }
    }

    /// Opens another session of the same database, as another user of the table would.
    pub(crate) fn session(&self) -> Db {
        Db::connect(&self.name, &self.url)
    }

    /// Runs statements.
    pub(crate) fn exec(&self, sql: &str) {
        self.try_exec(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    }

    /// Runs statements that may fail.
    pub(crate) fn try_exec(&self, sql: &str) -> Result<(), String> {
        let done = runtime().block_on(self.client.batch_execute(sql));
        done.map_err(|error| error.as_db_error().map_or(error.to_string(), ToString::to_string))
    }

    /// Lets a sequence count the rows of `t` that are updated, also those of what is rolled back: nothing takes
    /// back what a sequence has given.
    pub(crate) fn count_updates(&self, sequence: &str) {
        self.exec(&format!(
            "CREATE SEQUENCE {sequence};
             CREATE FUNCTION {sequence}() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM nextval('public.{sequence}'); RETURN NEW; END $$;
             CREATE TRIGGER {sequence} BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION {sequence}()"
        ));
    }

    /// Does `act` while somebody wants a table for himself, again and again, and never waits for a second.
    pub(crate) fn while_wanted<T>(&self, table: &str, act: impl FnOnce() -> T) -> T {
        let (session, goes) = (self.session(), AtomicBool::new(true));
        let wants = || {
            session.exec("SET lock_timeout = '1s'");
            while goes.load(Ordering::Relaxed) {
                session.exec(&format!("BEGIN; LOCK TABLE {table}; COMMIT; SELECT pg_sleep(0.05)"));
            }
        };
        thread::scope(|scope| {
            let waits = scope.spawn(wants);
            let done = act();
            goes.store(false, Ordering::Relaxed);
            waits.join().expect("he waited for a second");
            done
        })
    }

    /// Waits until the verification of a run has looked at some rows.
    pub(crate) fn until_looked(&self) {
        self.until("to_regclass('piecemeal.run') IS NOT NULL");
        self.until("SELECT (pulse ->> 'looked')::int > 0 FROM piecemeal.run");
    }

    /// Waits until a session of this database waits for what the server calls `event`.
    pub(crate) fn until_waiting(&self, event: &str) {
        self.until(&format!(
            "SELECT count(*) > 0 FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event = '{event}'"
        ));
    }

    /// Lets every commit wait for a standby that does not exist. The checkpointer tells the others of it, in its own time.
    pub(crate) fn let_commits_wait(&self) {
        self.exec("ALTER SYSTEM SET synchronous_standby_names = 'nosuch'");
        self.exec("SELECT pg_reload_conf()");
        let session = self.session();
        let pid = session.number("SELECT pg_backend_pid()");
        let waiting =
            format!("SELECT wait_event = 'SyncRep' FROM pg_stat_activity WHERE pid = {pid}");
        until("a commit that waits", || {
            thread::scope(|scope| {
                let commit =
                    scope.spawn(|| session.exec("SELECT pg_logical_emit_message(true, '', '')"));
                until("its end, or its wait", || {
                    (commit.is_finished() || self.text(&waiting) == "t").then_some(())
                });
                let waits = !commit.is_finished();
                self.exec(&format!("SELECT pg_cancel_backend({pid})"));
                waits.then_some(())
            })
        });
    }

    /// Ends sessions whose commits wait until `is_lost` says that it is enough, then lets commits go. That of a heartbeat
    /// waits as well, so that of a batch may not be the first to be ended.
    pub(crate) fn lose_commits(&self, is_lost: impl Fn() -> bool) {
        until("the loss of a commit", || {
            self.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
            is_lost().then_some(())
        });
        self.exec("ALTER SYSTEM RESET synchronous_standby_names");
        self.exec("SELECT pg_reload_conf()");
    }

    /// Returns the rows of a query, as text; NULL is `∅`.
    pub(crate) fn rows(&self, sql: &str) -> Vec<Vec<String>> {
        let answered = runtime().block_on(self.client.simple_query(sql));
        let messages = answered.unwrap_or_else(|error| panic!("{error:?}: {sql}"));
        let row = |message: &SimpleQueryMessage| {
            let SimpleQueryMessage::Row(row) = message else { return None };
            Some((0..row.len()).map(|at| row.get(at).unwrap_or("∅").to_owned()).collect())
        };
        messages.iter().filter_map(row).collect()
    }

    /// Returns the one value of a query.
    pub(crate) fn text(&self, sql: &str) -> String {
        let mut rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "one row: {sql}");
        rows.swap_remove(0).swap_remove(0)
    }

    /// Returns the one number of a query.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        let text = self.text(sql);
        text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number: {sql}"))
    }

    /// Whether the one value of a query is true.
    pub(crate) fn is(&self, condition: &str) -> bool {
        self.text(&format!("SELECT coalesce(({condition}), false)")) == "t"
    }

    /// Waits until a condition is true.
    pub(crate) fn until(&self, condition: &str) {
        until(condition, || self.is(condition).then_some(()));
    }
}

/// Rows of `t` that another session holds, so that a walk gets this far and no further.
pub(crate) struct Held {
    session: Db,
    id: i64,
}

impl Held {
    /// Locks the row with this key, and no other.
    pub(crate) fn row(db: &Db, id: i64) -> Held {
        let session = db.session();
        session.exec(&format!("BEGIN; SELECT FROM t WHERE id = {id} FOR UPDATE"));
        Held { session, id }
    }

    /// Locks the rows from this key on.
    pub(crate) fn from(db: &Db, id: i64) -> Held {
        let session = db.session();
        session.exec(&format!("BEGIN; SELECT FROM t WHERE id >= {id} FOR UPDATE"));
        Held { session, id }
    }

    /// Waits until everything before them is done.
    pub(crate) fn is_reached(&self, db: &Db) {
        // Before the ledger exists, asking for it would be an error.
        db.until("to_regclass('piecemeal.range') IS NOT NULL");
        // It may have been put aside already, and what is before it is done then.
        let before = format!("(SELECT id FROM t WHERE id < {} ORDER BY id DESC LIMIT 1)", self.id);
        db.until(&format!(
            "SELECT bool_or(cursor[1]::int8 IS NOT DISTINCT FROM {before}) FROM piecemeal.range"
        ));
    }

    /// Returns the session that holds it.
    pub(crate) fn session(&self) -> &Db {
        &self.session
    }

    /// Lets the walk go on.
    pub(crate) fn release(self) {
        self.session.exec("ROLLBACK");
    }
}
