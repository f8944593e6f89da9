//! What is looked at before anything is done: it is looked at in full, and whatever breaks meanwhile, nothing is written.

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, port};
use crate::support::job::{INCREMENT, Toml, numbers};
use crate::support::oracle::done_once;
use crate::support::proxy::Proxy;
use crate::support::until;

/// Whether a ledger was installed.
fn has_ledger(db: &Db) -> bool {
    db.is("to_regnamespace('piecemeal') IS NOT NULL")
}

#[test]
fn of_several_jobs_none_begins_if_the_file_of_one_cannot_be_read() {
    let db = Db::with(&numbers(10));
    let cli = Cli::new(&db, "a", INCREMENT);
    cli.call(&["run", "a", "nosuch", "-y"]).exits(2).says("nosuch.toml");
    cli.write("wrong", "[table]\nnam = 't'\n");
    cli.call(&["run", "a", "wrong", "-y"]).exits(2).says("nam");
    assert!(!has_ledger(&db) && db.is("(SELECT sum(n) = 0 FROM t)"));
    cli.write("b", &Toml::on("t").set("n", "n + 10").text());
    cli.done(&["run", "b", "a", "-y"]);
    assert!(db.is("(SELECT bool_and(n = 11) FROM t)"));
}

#[test]
fn a_ledger_for_a_role_that_is_not_there_is_not_installed() {
    let db = Db::new();
    let cli = Cli::new(&db, "job", INCREMENT);
    db.exec(&format!("CREATE ROLE worker_{}", db.name));
    let upper = format!("WORKER_{}", db.name);
    for role in ["nosuch", &upper, "public", "no\nsuch", &"long".repeat(20)] {
        let answer = cli.call(&["init", "--operator", role]).exits(3);
        answer.says(&format!("there is no role `{}`", role.escape_debug()));
        assert!(!has_ledger(&db), "{role}");
    }
    cli.done(&["init", "--operator", &upper.to_lowercase()]).says("may run and steer jobs");
}

const EXPAND: &str =
    "[expand]\nup = ['ALTER TABLE t ADD COLUMN m int']\ndown = ['ALTER TABLE t DROP COLUMN m']\n";

#[test]
fn the_doctor_says_of_a_job_before_its_expand_what_a_plan_says() {
    let db = Db::with(&numbers(10));
    let job = Toml::on("t").set("m", "n + 1").filter("m IS NULL").with(EXPAND);
    let cli = Cli::new(&db, "job", &job.text());
    let doctor = || cli.done(&["doctor", "job"]).stdout;
    let is_before_expand = || {
        let said = doctor();
        assert!(said.contains("`job` can begin: the statements of [expand] come first"), "{said}");
        assert!(said.contains("the statements of [expand] may add it"), "{said}");
    };
    is_before_expand();
    cli.call(&["run", "job", "-y", "--limit", "1"]).exits(4);
    assert!(doctor().contains("`job` can run: public.t"), "{}", doctor());
    cli.done(&["run", "job"]);
    cli.done(&["down", "job", "-y"]);
    is_before_expand();
    // What no statement cures refuses it even so.
    db.exec("CREATE VIEW v AS SELECT * FROM t");
    cli.write("view", &Toml::on("v").set("m", "1").filter("m IS NULL").with(EXPAND).text());
    let answer = cli.call(&["doctor", "view"]).exits(3);
    assert!(answer.stdout.contains("fail  job"), "{}", answer.stdout);
}

/// A run whose preflight waits for a lock on the table, which the session has.
fn waiting(db: &Db, cli: &Cli) -> (Running, Db) {
    let holder = db.session();
    holder.exec("BEGIN; LOCK TABLE t");
    let running = cli.start(&["run", "job", "-y"]);
    db.until(WAITS);
    (running, holder)
}

const WAITS: &str = "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
    AND application_name = 'piecemeal job')";

#[test]
fn a_session_that_is_ended_in_the_preflight_is_replaced() {
    let db = Db::with(&numbers(10));
    let cli = Cli::new(&db, "job", INCREMENT);
    let (running, holder) = waiting(&db, &cli);
    db.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()");
    holder.exec("ROLLBACK");
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_wire_that_is_down_in_the_preflight_is_waited_for() {
    let db = Db::with(&numbers(10));
    let role = format!("wired_{}", db.name);
    db.exec(&format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'wired'"));
    let proxy = Proxy::to(port());
    let mut cli = Cli::new(&db, "job", INCREMENT);
    let place = format!("127.0.0.1:{}/{}?sslmode=disable", proxy.port, db.name);
    cli.url = format!("postgres://{role}:wired@{place}");
    let (running, holder) = waiting(&db, &cli);
    proxy.down();
    holder.exec("ROLLBACK");
    until("attempts to connect", || (proxy.refused() >= 3).then_some(()));
    proxy.up();
    running.wait().exits(0);
    done_once(&db, "job");
}
