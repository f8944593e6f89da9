//! Preflight against a real server: every table that must be refused is, with the right code and a
//! recipe, and nothing is written while it is looked at.
//!
//! One server, one database for each case. The snapshot holds every text, for people to review.

mod cases;
mod standing;

use std::fmt::Write as _;
use std::fs;

use super::facts::Facts;
use super::{Plan, catalog, check};
use crate::error::ErrorKind;
use crate::finding::{Finding, Severity};
use crate::job::{Job, Source};
use crate::pg::{Connect, Database, Environment, Lane, Session};
use crate::sandbox::{self, Programs, Sandbox};
use cases::{Case, Role, accepted_types, cases, refused_types};
use tokio_postgres::{Client, NoTls};

const SETTINGS: &[(&str, &str)] = &[
    // Nobody else may take a transaction id while we watch that we take none.
    ("autovacuum", "off"),
    ("max_prepared_transactions", "5"),
    ("wal_level", "logical"),
];

const ROLES: &str = "
    CREATE ROLE app LOGIN; GRANT pg_read_all_stats TO app;
    CREATE ROLE team; GRANT team TO app;
    CREATE ROLE blind LOGIN;
    CREATE ROLE strong LOGIN BYPASSRLS; GRANT pg_read_all_stats TO strong;
    CREATE ROLE \"Mixed Case\" LOGIN; GRANT pg_read_all_stats TO \"Mixed Case\";";

struct Server {
    sandbox: Sandbox,
    admin: Client,
    databases: usize,
}

impl Server {
    async fn start() -> Server {
        let sandbox = sandbox::start(SETTINGS);
        let admin = connect(&sandbox.url("postgres")).await;
        admin.batch_execute(ROLES).await.unwrap();
        Server { sandbox, admin, databases: 0 }
    }

    /// Makes the database of a case, and returns its name and a superuser's connection to it.
    async fn prepare(&mut self, case: &Case) -> (String, Client) {
        self.databases += 1;
        let name = format!("case_{}", self.databases);
        let sql = format!("CREATE DATABASE {name} {}", case.database);
        self.admin.batch_execute(&sql).await.unwrap();
        let client = connect(&self.sandbox.url(&name)).await;
        // Statement by statement: some of them must not be in a transaction with others.
        for sql in case.setup.replace("{db}", &name).split(";;") {
            client
                .batch_execute(sql)
                .await
                .unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
        }
        let role = case.role.name();
        if case.role.is_granted() {
            // Whoever owns the database may vacuum its tables.
            let sql = format!(
                "ALTER DATABASE {name} OWNER TO {role};
                 GRANT USAGE ON SCHEMA public TO {role};
                 GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO {role};"
            );
            client.batch_execute(&sql).await.unwrap();
        }
        if case.analyzed {
            client.batch_execute("ANALYZE").await.unwrap();
        }
        (name, client)
    }

    fn database(&self, name: &str, role: Role) -> Database {
        let user = role.name().trim_matches('"').replace(' ', "%20");
        let url = self.sandbox.url(name).replacen("postgres@", &format!("{user}@"), 1);
        Database::new(Connect::resolve(Some(&url), &Environment::default()).unwrap()).unwrap()
    }

    async fn session(&self, database: &str, role: Role) -> Session {
        self.database(database, role).session(Lane::Work).await.unwrap()
    }

    /// Reads the facts of a case, and sees to it that no transaction wrote anything.
    async fn look(&mut self, case: &Case) -> (Job, Facts) {
        let (database, client) = self.prepare(case).await;
        let job = parse(case, &client).await;
        let mut session = self.session(&database, case.role).await;
        let before = next_transaction(&client).await;
        let facts = catalog::read(&mut session, &job).await;
        let mut facts = facts.unwrap_or_else(|fault| panic!("{}: {fault:?}", case.name));
        assert_eq!(before, next_transaction(&client).await, "{} wrote something", case.name);
        if let Some(tamper) = case.tamper {
            tamper(&mut facts);
        }
        (job, facts)
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Whoever writes takes a transaction id.
async fn next_transaction(client: &Client) -> String {
    let sql = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn parse(case: &Case, client: &Client) -> Job {
    let mut text = case.job.clone();
    if let Some(sql) = case.name_sql {
        let name: String = client.query_one(sql, &[]).await.unwrap().get(0);
        text = text.replace("{name}", &name);
    }
    let source = Source { path: None, text };
    Job::parse("case", source).unwrap_or_else(|problems| panic!("{}: {problems}", case.name))
}

fn codes(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.code).collect()
}

fn refuses(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Refuse)
}

#[tokio::test]
async fn every_case_has_its_findings_and_nothing_is_written() {
    let mut server = Server::start().await;
    let (mut texts, mut wrong, mut refused) = (String::new(), String::new(), 0);
    for case in cases() {
        let (job, facts) = server.look(&case).await;
        let findings = check::findings(&facts, &job);
        if codes(&findings) != case.codes {
            writeln!(wrong, "{}: {:?}, not {:?}", case.name, codes(&findings), case.codes).unwrap();
        }
        assert_eq!(facts.resolve(&job).is_none(), refuses(&findings), "{}", case.name);
        refused += usize::from(refuses(&findings));
        for finding in &findings {
            assert_complete(&case, finding);
        }
        let shown: Vec<_> = findings.iter().map(ToString::to_string).collect();
        writeln!(texts, "== {}\n{}\n", case.name, shown.join("\n")).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(refused >= 35, "only {refused} cases are refused");
    insta::with_settings!({ filters => vec![
        (r"pid \d+", "pid N"),
        (r"pg_terminate_backend\(\d+\)", "pg_terminate_backend(N)"),
        (r"since \d{4}-[-:+ \d]+, for \d+ transactions", "since T, for N transactions"),
        (r"case_\d+", "case_N"),
        (r"pg_toast_\d+", "pg_toast_N"),
        (r"pg_temp_\d+", "pg_temp_N"),
        (r"now \d[.\d]+|is \d+\.\d[.\d]* now", "is VERSION now"),
    ] }, { insta::assert_snapshot!("findings", texts) });
}

/// A finding says what, where, why and what to do.
fn assert_complete(case: &Case, finding: &Finding) {
    let name = format!("{} {}", case.name, finding.code);
    assert!(!finding.what.is_empty() && !finding.what.ends_with('.'), "{name}");
    assert!(!finding.place.is_empty(), "{name} has no place");
    assert!(!finding.why.is_empty(), "{name} has no reason");
    assert!(
        finding.severity == Severity::Note || !finding.recipe.is_empty(),
        "{name} has no recipe"
    );
}

/// The whole of the database, as text.
fn dump(server: &Server, database: &str) -> String {
    let programs = Programs::find().unwrap();
    let output = std::process::Command::new(programs.path_of("pg_dump"))
        .args(["--dbname", &server.sandbox.url(database)])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // These lines hold a random word.
    let is_random =
        |line: &&str| line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
    text.lines().filter(|line| !is_random(line)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_refused_job_has_no_plan_and_leaves_the_database_as_it_was() {
    let mut server = Server::start().await;
    // What is set in the facts cannot be seen by a whole plan.
    for case in cases().into_iter().filter(|case| case.tamper.is_none()) {
        let (name, client) = server.prepare(&case).await;
        let job = parse(&case, &client).await;
        let before = dump(&server, &name);
        let mut session = server.session(&name, case.role).await;
        let findings = check::findings(&catalog::read(&mut session, &job).await.unwrap(), &job);
        match Plan::build(&job, &server.database(&name, case.role)).await {
            Ok(_) => assert!(!refuses(&findings), "{}", case.name),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Refused, "{}: {error}", case.name);
                assert!(refuses(&findings), "{}: {error}", case.name);
            }
        }
        assert_eq!(before, dump(&server, &name), "{}", case.name);
    }
}

#[tokio::test]
async fn a_key_of_every_proven_type_is_walked() {
    let mut server = Server::start().await;
    for (sql_type, resolved) in accepted_types() {
        let case = Case::of_type(sql_type);
        let (job, facts) = server.look(&case).await;
        let target = facts.resolve(&job);
        let target =
            target.unwrap_or_else(|| panic!("{sql_type}: {:?}", check::findings(&facts, &job)));
        let columns: Vec<_> =
            target.keyset.columns.iter().map(|column| column.sql_type.as_str()).collect();
        assert_eq!(columns, [resolved, "integer"], "{sql_type}");
        assert_eq!(target.set_columns, ["n"]);
        assert_eq!(target.index, "public.t_pkey");
    }
}

#[tokio::test]
async fn a_key_of_any_other_type_is_refused_with_the_reason() {
    let mut server = Server::start().await;
    let mut reasons = String::new();
    for sql_type in refused_types() {
        let case = Case::of_type(sql_type);
        let (job, facts) = server.look(&case).await;
        let findings = check::findings(&facts, &job);
        assert_eq!(codes(&findings), ["key-type"], "{sql_type}");
        let why = findings[0].why.split(';').next().unwrap().to_owned();
        writeln!(reasons, "{}: {why}", findings[0].what).unwrap();
    }
    insta::assert_snapshot!("refused_types", reasons);
}

#[tokio::test]
async fn a_resolved_table_has_what_the_walk_needs() {
    let mut server = Server::start().await;
    let case = Case::resolved();
    let (job, facts) = server.look(&case).await;
    let target =
        facts.resolve(&job).unwrap_or_else(|| panic!("{:?}", check::findings(&facts, &job)));
    let (relation, _) = facts.subject().unwrap();
    assert_eq!(target.oid, relation.oid);
    assert_eq!(target.keyset.table, "\"My App\".\"Posts\"");
    assert_eq!(target.index, "\"My App\".\"Posts_pkey\"");
    let key: Vec<_> = target.keyset.columns.iter().map(|it| (&*it.name, &*it.sql_type)).collect();
    assert_eq!(key, [("tenant", "character varying"), ("\"Id\"", "\"My App\".\"Kind\"")]);
    assert_eq!(target.search_path, ["\"My App\"", "ext", "\"a\"\"b\""]);
    assert_eq!(target.set_columns, ["\"select\"", "n"]);
    assert!(target.has_before_update_trigger);
    assert_eq!(target.estimate, Some(3));
}

#[tokio::test]
async fn pages_that_have_come_since_rows_were_counted_have_as_many_and_are_unknown_where_none_was_there()
 {
    let mut server = Server::start().await;
    let columns = "(id int, n int, wide text, PRIMARY KEY (id))";
    let off = "WITH (autovacuum_enabled = off)";
    let plain = format!("CREATE TABLE t {columns} {off}");
    // One with a row on each page, and one with many.
    let parted = format!(
        "CREATE TABLE t {columns} PARTITION BY RANGE (id);;
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (1001) {off};;
         CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (1001) TO (100001) {off};;
         CREATE TABLE t3 PARTITION OF t DEFAULT {off};;
         ALTER TABLE t ALTER wide SET STORAGE PLAIN;; ALTER TABLE t1 ALTER wide SET STORAGE PLAIN;;
         INSERT INTO t SELECT i, i, repeat('x', 6000) FROM generate_series(1, 500) i"
    );
    let load =
        |from: u32, upto: u32| format!("INSERT INTO t SELECT generate_series({from}, {upto})");
    for (table, first, then, expected) in [
        (&plain, load(1, 5_000), load(5_001, 50_000), Some(50_000)),
        (&plain, load(1, 5_000), "SELECT".into(), Some(5_000)),
        (&plain, "DELETE FROM t".into(), load(1, 5_000), None),
        (&parted, load(1_001, 6_000), load(6_001, 51_000), Some(50_500)),
        (&parted, load(1_001, 6_000), load(100_001, 100_100), None),
    ] {
        let setup = format!("{table};; {first};; ANALYZE t;; {then}");
        let job = "[table]\nname = 't'\n[set]\nn = '1'".to_owned();
        let case = Case::new("grown", &setup, job, &[]).never_analyzed();
        let found = server.look(&case).await.1.table.unwrap().estimate;
        let is_near = |(found, expected): (u64, u64)| found.abs_diff(expected) <= expected / 20;
        assert!(found.zip(expected).map_or(found == expected, is_near), "{found:?}: {setup}");
    }
}

#[tokio::test]
async fn text_in_the_key_is_noted_with_the_version_of_its_collation() {
    let mut server = Server::start().await;
    let text = |collation: &str| {
        let table = format!("CREATE TABLE t (id text {collation} PRIMARY KEY, n int)");
        let job = "[table]\nname = 't'\n[set]\nn = '1'".to_owned();
        Case::new("version", &table, job, &[])
    };
    let icu = "LOCALE_PROVIDER icu ICU_LOCALE 'en' ENCODING 'UTF8' TEMPLATE template0";
    for (case, has_version) in [
        (text("COLLATE \"de-x-icu\""), true),
        (text("").in_database(icu), true),
        (text("COLLATE \"C\"").in_database(icu), false),
    ] {
        let (job, facts) = server.look(&case).await;
        let column = facts.resolve(&job).unwrap().keyset.columns.remove(0);
        assert_eq!(column.version.is_some(), has_version, "{column}");
    }
}

#[tokio::test]
async fn an_unqualified_name_means_what_it_means_to_the_server() {
    let mut server = Server::start().await;
    let case = Case::on_path();
    let (job, facts) = server.look(&case).await;
    assert_eq!(
        facts.relation().map(|relation| &*relation.name),
        Some("tenant.t"),
        "{:?}",
        job.table.name
    );
}

#[tokio::test]
async fn a_standby_is_refused_and_still_shows_everything_else() {
    let mut server = Server::start().await;
    let case = cases().into_iter().find(|case| case.name == "deferrable").unwrap();
    let (database, client) = server.prepare(&case).await;
    let job = parse(&case, &client).await;
    server.sandbox.stop_fast().unwrap();
    fs::write(server.sandbox.data_dir().join("standby.signal"), "").unwrap();
    server.sandbox.start_again().unwrap();
    let mut session = server.session(&database, case.role).await;
    let facts = catalog::read(&mut session, &job).await.unwrap();
    assert_eq!(codes(&check::findings(&facts, &job)), ["server-standby", "key-deferrable"]);
}
