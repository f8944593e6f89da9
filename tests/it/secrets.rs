//! A password is seen by nobody: not in what any command prints, whatever it is asked for, nor in the
//! ledger, the sessions of the server, or the list of processes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::cli::{Answer, Cli, Running};
use crate::support::db::{Db, Held, port};
use crate::support::job::{Toml, numbers};

/// It holds what a URL must escape, so that neither form may be shown.
const CANARY: &str = "hunter2/s3cr:t";
const ESCAPED: &str = "hunter2%2Fs3cr%3At";
const PART: &str = "hunter2";

/// How a password reaches the program.
enum Way {
    Url,
    Variable,
    Passfile,
    Service,
}

impl Way {
    /// The settings without the password, and what else is in the environment.
    fn prepare(&self, cli: &mut Cli, place: &str) -> Vec<(&'static str, String)> {
        let bare = format!("postgres://{place}");
        let home = cli.path("job").with_file_name("");
        let write = |name: &str, text: &str| {
            let path = home.join(name);
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        };
        cli.url.clone_from(&bare);
        let escaped = CANARY.replace(':', "\\:");
        match self {
            Way::Url => cli.url = bare.replacen('@', &format!(":{ESCAPED}@"), 1),
            Way::Variable => return vec![("PGPASSWORD", CANARY.to_owned())],
            Way::Passfile => write(".pgpass", &format!("*:*:*:*:{escaped}\n")),
            Way::Service => {
                write(".pg_service.conf", &format!("[it]\npassword={CANARY}\n"));
                return vec![("PGSERVICE", "it".to_owned())];
            }
        }
        Vec::new()
    }
}

/// What every command is asked for, in an order in which each has something to do.
const COMMANDS: &[&[&str]] = &[
    &["doctor", "-v"],
    &["doctor", "job", "-o", "json"],
    &["new", "drafted", "--table", "t"],
    &["new", "drafted", "--table", "nosuch", "--print"],
    &["schema"],
    &["completions", "bash"],
    &["check", "-v"],
    &["plan", "job", "-v"],
    &["plan", "job", "-o", "json"],
    &["init", "-v"],
    &["run", "nosuch"],
    &["run", "job", "-y", "-v", "--limit", "20"],
    &["pause", "job", "--reason", "peak"],
    &["run", "job", "-v"],
    &["throttle", "job", "--rate", "1M/s"],
    &["resume", "job", "-v", "--progress", "jsonl"],
    &["join", "job"],
    &["status", "-v"],
    &["status", "job", "-o", "json"],
    &["status", "-o", "jsonl"],
    &["watch", "job"],
    &["verify", "job", "-o", "json"],
    &["history", "job"],
    &["history", "job", "-o", "json"],
    &["cancel", "job"],
    &["forget", "job"],
    &["--help"],
    &["run", "--help"],
    &["--nonsense"],
];

fn is_seen(text: &str) -> bool {
    text.contains(PART)
}

#[track_caller]
fn shows_nothing(args: &[&str], answer: &Answer) {
    assert!(!is_seen(&answer.stdout) && !is_seen(&answer.stderr), "{args:?}: {answer:?}");
}

/// Every argument and variable of a process, but for the variable that it was given.
fn process(running: &Running) -> String {
    let read = |file: &str| fs::read(format!("/proc/{}/{file}", running.pid())).unwrap_or_default();
    String::from_utf8_lossy(&read("cmdline")).into_owned() + &String::from_utf8_lossy(&read("comm"))
}

fn scene() -> (Db, String) {
    let db = Db::with(&numbers(100));
    let role = format!("canary_{}", db.name);
    db.exec(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{CANARY}'"));
    let place = format!("{role}@127.0.0.1:{}/{}?sslmode=disable", port(), db.name);
    (db, place)
}

fn is_seen_by_nobody(way: &Way) {
    let (db, place) = scene();
    let mut cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    let variables = way.prepare(&mut cli, &place);
    let start = |args: &[&str]| {
        let mut command = cli.command(args);
        command.envs(variables.iter().map(|(name, value)| (*name, value)));
        Running::of(command)
    };
    let mut said = String::new();
    for args in COMMANDS {
        let answer = start(args).wait();
        shows_nothing(args, &answer);
        said += &answer.stderr;
    }
    assert!(said.contains("done: job"), "{said}");

    let held = Held::from(&db, 50);
    let again = start(&["run", "job", "-y", "-v"]);
    held.is_reached(&db);
    assert!(process(&again).contains("job") && !is_seen(&process(&again)), "{}", process(&again));
    let activity = db.rows(&format!(
        "SELECT application_name, query FROM pg_stat_activity WHERE usename = 'canary_{}'",
        db.name
    ));
    assert!(activity.iter().any(|row| row[0] == "piecemeal job"), "{activity:?}");
    assert!(!activity.iter().flatten().any(|text| is_seen(text)), "{activity:?}");
    held.release();
    shows_nothing(&["run"], &again.wait().exits(0));
    let tables = db.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'piecemeal'::regnamespace AND relkind = 'r'",
    );
    for table in tables.into_iter().flatten() {
        let rows = db.rows(&format!("SELECT it::text FROM piecemeal.{table} it"));
        assert!(!rows.iter().flatten().any(|text| is_seen(text)), "{table}: {rows:?}");
    }
}

#[test]
fn a_password_in_the_url_is_seen_by_nobody() {
    is_seen_by_nobody(&Way::Url);
}

#[test]
fn a_password_in_a_variable_is_seen_by_nobody() {
    is_seen_by_nobody(&Way::Variable);
}

#[test]
fn a_password_in_the_password_file_is_seen_by_nobody() {
    is_seen_by_nobody(&Way::Passfile);
}

#[test]
fn a_password_in_the_service_file_is_seen_by_nobody() {
    is_seen_by_nobody(&Way::Service);
}

#[test]
fn a_password_that_is_refused_is_not_shown_by_any_command() {
    for way in [Way::Url, Way::Variable, Way::Passfile, Way::Service] {
        let (db, place) = scene();
        let mut cli = Cli::new(&db, "job", &Toml::increment().text());
        let variables = way.prepare(&mut cli, &place);
        db.exec(&format!("ALTER ROLE canary_{} PASSWORD 'another'", db.name));
        for args in [&["run", "job", "-v"][..], &["status", "-o", "json"], &["doctor", "-v"]] {
            let mut command = cli.command(args);
            command.envs(variables.iter().map(|(name, value)| (*name, value)));
            let answer = Running::of(command).wait().exits(8);
            shows_nothing(args, &answer);
        }
    }
}
