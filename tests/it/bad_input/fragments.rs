//! SQL of a job that tries to be more than an expression or a query.

use super::{Answers, cases};
use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::Toml;

/// A table to be spared, and whatever the fragments try to use.
const SCENE: &str = "\
CREATE TABLE t (id int8 PRIMARY KEY, n int, m int); INSERT INTO t SELECT i, i, i FROM generate_series(1, 20) i;
CREATE TABLE other (m int); INSERT INTO other VALUES (1); CREATE VIEW locked AS SELECT m FROM other FOR SHARE; CREATE SEQUENCE ids; CREATE SCHEMA evil;
CREATE FUNCTION touch() RETURNS int LANGUAGE sql AS 'DELETE FROM t RETURNING 1';";

/// A place in a job, and the job with a fragment there.
type Place = (&'static str, fn(&str) -> String);

/// The fragment as a string of TOML.
fn quoted(sql: &str) -> String {
    toml::Value::from(sql).to_string()
}

fn job() -> Toml {
    Toml::on("t").set("n", "m + 1").rows(5)
}

/// The places of an expression.
pub(super) const OF_EXPRESSIONS: [Place; 4] = [
    ("set", |sql| format!("[table]\nname = 't'\n[set]\nn = {}\n", quoted(sql))),
    ("where", |sql| format!("[table]\nname = 't'\nwhere = {}\n[set]\nn = 'm + 1'\n", quoted(sql))),
    ("expect", |sql| job().with(&format!("[verify]\nexpect = {}", quoted(sql))).text()),
    ("sync", |sql| job().with(&format!("[sync]\nwhere = {}", quoted(sql))).text()),
];

fn with_hold(sql: &str) -> String {
    job()
        .with(&format!("[[hold]]\non = 'query'\nname = 'mine'\nsql = {}\nabove = 10", quoted(sql)))
        .text()
}

fn with_gate(sql: &str) -> String {
    let contract = "[contract]\nup = ['DROP TABLE t']\n";
    let job = job().expect("n = m + 1");
    job.with(&format!("{contract}[[gate]]\nmessage = 'first'\nsql = {}", quoted(sql))).text()
}

fn scene() -> Answers {
    let db = Db::with(SCENE);
    let cli = Cli::new(&db, "job", "");
    Answers::new(db, cli)
}

fn fragments(part: &str) -> Vec<(String, String)> {
    let them = cases("fragments.toml")[part].as_table().expect("a table").clone();
    them.into_iter().map(|(name, sql)| (name, sql.as_str().expect("text").to_owned())).collect()
}

#[track_caller]
fn an_expression_stays_where_it_is((place, job): Place) {
    let mut answers = scene();
    for (name, sql) in fragments("expressions") {
        answers.cli.write("job", &job(&sql));
        let answer = answers.ask(&name, &["plan", "job"], &[]);
        answers.show(&name, &answer);
        assert!(matches!(answer.code, 2 | 3), "{name}: {answer:?}");
        let again = answers.ask(&name, &["run", "job", "-y"], &[]);
        assert_eq!(again.code, answer.code, "{name}: {again:?}");
    }
    assert!(answers.db.is("to_regnamespace('piecemeal') IS NULL"));
    answers.end(&format!("fragments-{place}"));
}

#[test]
fn an_expression_of_set_stays_where_it_is() {
    an_expression_stays_where_it_is(OF_EXPRESSIONS[0]);
}

#[test]
fn an_expression_of_where_stays_where_it_is() {
    an_expression_stays_where_it_is(OF_EXPRESSIONS[1]);
}

#[test]
fn an_expression_of_expect_stays_where_it_is() {
    an_expression_stays_where_it_is(OF_EXPRESSIONS[2]);
}

#[test]
fn an_expression_of_sync_stays_where_it_is() {
    an_expression_stays_where_it_is(OF_EXPRESSIONS[3]);
}

#[test]
fn a_query_of_a_hold_writes_nothing() {
    let mut answers = scene();
    for (name, sql) in fragments("queries") {
        answers.cli.write("job", &with_hold(&sql));
        // What cannot be read is a warning of the plan, and holds the run.
        let answer = answers.ask(&name, &["plan", "job", "--no-rehearsal"], &[]);
        let is_named = answer.code == 2 || answer.stderr.contains("warn[hold-blind]");
        assert!(is_named, "{name}: {answer:?}");
        let blind = answer.stderr.split("\n\n").find(|part| part.contains("[hold-blind]"));
        let stderr = blind.unwrap_or(&answer.stderr).to_owned() + "\n";
        answers
            .show(&name, &crate::support::cli::Answer { stdout: String::new(), stderr, ..answer });
    }
    assert!(answers.db.is("to_regnamespace('piecemeal') IS NULL"));
    answers.end("fragments-hold");
}

#[test]
fn a_query_of_a_gate_writes_nothing_and_keeps_it_shut() {
    let mut answers = scene();
    for (name, sql) in fragments("queries") {
        answers.cli.write(&name, &with_gate(&sql));
        let checked = answers.cli.call(&["check", &name]);
        if checked.code == 0 {
            answers.cli.done(&["run", &name, "-y"]);
            answers.before = super::digest(&answers.db);
        }
        let answer = answers.ask(&name, &["contract", &name, "-y"], &[]);
        assert_eq!(answer.code, if checked.code == 0 { 3 } else { 2 }, "{name}: {answer:?}");
        answers.show(&name, &answer);
    }
    answers.end("fragments-gate");
}
