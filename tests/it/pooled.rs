//! Behind a pooler of transactions: what is set for a statement of ours is not what the next client finds.

use crate::support::cli::Cli;
use crate::support::db::{Db, port};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::done_once;
use crate::support::pooler::Pooled;
use crate::support::proxy::{Proxy, message};

const DEFAULTS: [&str; 3] = ["\"$user\", public", "5min", "1min"];

const ALTER: &str = "\
[expand]
up = ['ALTER TABLE t ADD COLUMN n int', 'ALTER TABLE t ADD CHECK (n > 0)']
down = ['ALTER TABLE t DROP COLUMN n']
";

const INDEX: &str = "[expand]\nup = ['CREATE INDEX CONCURRENTLY t_id ON t (id)']\n";

fn cli(pooled: &Pooled, job: &str) -> Cli {
    pooled.db.exec("CREATE TABLE t (id int)");
    let mut cli = Cli::new(&pooled.db, "job", job);
    cli.url.clone_from(&pooled.url);
    cli
}

#[test]
fn what_a_statement_needs_to_be_set_is_not_left_to_the_next_client_of_a_pooler() {
    let Some(pooled) = Pooled::start("") else { return };
    let cli = cli(&pooled, ALTER);
    for command in ["run", "down"] {
        cli.done(&[command, "job", "-y"]);
        assert_eq!(pooled.found(), DEFAULTS);
    }
}

#[test]
fn what_needs_a_session_is_refused_behind_a_pooler_and_leaves_nothing_there() {
    for more in ["", "ignore_startup_parameters = options"] {
        let Some(pooled) = Pooled::start(more) else { return };
        let cli = cli(&pooled, INDEX);
        cli.call(&["run", "job", "-y"]).exits(1).says("this needs a direct connection");
        assert_eq!(pooled.found(), DEFAULTS);
        assert_eq!(pooled.db.number("SELECT count(*) FROM piecemeal.step"), 0, "it was not begun");
        let direct = Cli::new(&pooled.db, "job", INDEX);
        direct.done(&["resume", "job"]);
        assert!(pooled.db.is("to_regclass('t_id') IS NOT NULL"));
    }
}

#[test]
fn a_plan_says_which_statements_cannot_be_run_through_a_pooler() {
    let db = Db::with(&numbers(10));
    let proxy = Proxy::to(port());
    let drops = "[contract]\nup = ['ALTER TABLE t ADD CHECK (n > 0) NOT VALID', 'DROP INDEX CONCURRENTLY i']\n";
    let before_expand = format!("{INDEX}[contract]\nup = ['DROP INDEX CONCURRENTLY i']\n");
    let mut cli = Cli::new(&db, "job", &Toml::increment().filter("n = 0").with(drops).text());
    cli.write("before", &before_expand);
    let direct = cli.url.clone();
    cli.url = proxy.url(&db);
    for (job, places) in [
        ("job", &["statement 2 of [contract] up"][..]),
        ("before", &["statement 1 of [expand] up", "statement 1 of [contract] up"]),
    ] {
        let plan = cli.done(&["plan", job, "-o", "json"]).json();
        let findings = plan["plan"]["findings"].as_array().expect("a list");
        let pooled = findings.iter().filter(|it| it["code"] == "ddl-pooled");
        assert_eq!(pooled.map(|it| &it["where"]).collect::<Vec<_>>(), places, "{plan}");
    }
    cli.url = direct;
    let plan = cli.done(&["plan", "job", "-o", "json"]).json();
    assert!(!plan["plan"]["findings"].to_string().contains("ddl-pooled"), "{plan}");
}

#[test]
fn where_a_pooler_may_be_nothing_is_sent_before_the_transaction_before_it_is_answered() {
    // As far as the program can know, whoever forwards a port is one; and one may have the server's port.
    for proxy in [Proxy::to(port()), Proxy::posing(port())] {
        let db = Db::with(&numbers(500));
        let mut cli = Cli::new(&db, "job", &Toml::increment().rows(20).text());
        cli.url = proxy.url(&db);
        proxy.freeze_before(&[message('Q', "COMMIT"), vec![b'Q']].concat());
        cli.done(&["run", "job", "-y"]);
        assert!(!proxy.has_frozen(), "two transactions at once");
        done_once(&db, "job");
    }
}

#[test]
fn a_pooler_that_has_the_port_of_the_server_is_noticed() {
    let Some(pooled) = Pooled::start("") else { return };
    let mut cli = cli(&pooled, INDEX);
    for route in ["warn  route               through a pooler", "ok    route               direct"]
    {
        let said = cli.call(&["doctor"]).stdout;
        assert!(said.contains(route), "{said}");
        cli.url.clone_from(&pooled.db.url);
    }
}
