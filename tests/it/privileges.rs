//! The role with the fewest privileges, as its page describes it: it can do all of a job, and without
//! any one of its privileges nothing is written.

use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::Toml;

const PAGE: &str = include_str!("../../docs/how-to/least-privilege.md");

/// What the page grants.
const GRANTS: [&str; 2] = [
    "GRANT USAGE ON SCHEMA app TO backfill;",
    "GRANT SELECT (id, email, email_lower), UPDATE (email_lower) ON app.users TO backfill;",
];

/// A table of somebody else, the ledger installed by an admin, and a role that owns nothing.
struct Scene {
    db: Db,
    cli: Cli,
    role: String,
}

impl Scene {
    fn new() -> Scene {
        let db = Db::with(
            "CREATE SCHEMA app; CREATE TABLE app.users (id int8 PRIMARY KEY, email text, email_lower text, secret text);
             INSERT INTO app.users SELECT i, 'User' || i FROM generate_series(1, 300) i",
        );
        let role = format!("backfill_{}", db.name);
        db.exec(&format!("CREATE ROLE {role} LOGIN"));
        let toml = Toml::on("app.users")
            .set("email_lower", "lower(email)")
            .filter("email_lower IS NULL AND email IS NOT NULL")
            .expect("email IS NULL OR email_lower = lower(email)");
        let mut cli = Cli::new(&db, "job", &toml.text());
        cli.done(&["init", "--operator", &role]);
        cli.url = db.url.replacen("postgres@", &format!("{role}@"), 1);
        let scene = Scene { db, cli, role };
        scene.grant();
        scene
    }

    fn grant(&self) {
        for grant in GRANTS {
            assert!(PAGE.contains(grant), "the page does not say: {grant}");
            self.db.exec(&grant.replace("backfill", &self.role));
        }
    }

    /// Checks that a run is refused by name, and has written nothing anywhere.
    #[track_caller]
    fn is_refused(&self, without: &str, says: &str) {
        let answer = self.cli.call(&["run", "job", "-y"]);
        assert_eq!(answer.code, 3, "without {without}: {}", answer.stderr);
        assert!(answer.stderr.contains(says), "without {without}, not `{says}`: {}", answer.stderr);
        assert!(answer.stderr.contains("GRANT "), "without {without}: {}", answer.stderr);
        let written = "SELECT (SELECT count(*) FROM app.users WHERE email_lower IS NOT NULL)
            + (SELECT count(*) FROM piecemeal.run) + (SELECT count(*) FROM piecemeal.journal)";
        assert_eq!(self.db.number(written), 0, "without {without}");
    }
}

#[test]
fn the_role_of_the_page_does_all_of_a_job() {
    let scene = Scene::new();
    let cli = &scene.cli;
    cli.done(&["doctor", "job"]);
    cli.done(&["plan", "job"]);
    cli.call(&["run", "job", "-y", "--limit", "100"]).exits(4);
    cli.done(&["pause", "job", "--reason", "peak"]);
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    cli.done(&["resume", "job"]);
    for args in
        [&["verify", "job"][..], &["status", "job"], &["history", "job"], &["forget", "job"]]
    {
        cli.done(args);
    }
    assert!(scene.db.is("SELECT bool_and(email_lower = lower(email)) FROM app.users"));
    let owned = "SELECT count(*) FROM pg_class WHERE relowner = '$'::regrole";
    assert_eq!(scene.db.number(&owned.replace('$', &scene.role)), 0);
}

#[test]
fn without_any_one_privilege_on_the_table_nothing_is_written() {
    let scene = Scene::new();
    for (revoked, says) in [
        ("USAGE ON SCHEMA app", "app"),
        ("SELECT (id) ON app.users", "id"),
        ("SELECT (email) ON app.users", "email"),
        ("SELECT (email_lower) ON app.users", "email_lower"),
        ("UPDATE (email_lower) ON app.users", "email_lower"),
    ] {
        scene.db.exec(&format!("REVOKE {revoked} FROM {}", scene.role));
        scene.is_refused(revoked, says);
        scene.grant();
    }
    scene.cli.done(&["run", "job", "-y"]);
}

#[test]
fn without_any_one_privilege_on_the_ledger_nothing_is_written() {
    let scene = Scene::new();
    let role = &scene.role;
    let tables = scene.db.rows("SELECT relname FROM pg_class WHERE relnamespace = 'piecemeal'::regnamespace AND relkind = 'r'");
    assert!(tables.len() >= 5, "{tables:?}");
    let mut privileges = vec![("USAGE".to_owned(), "SCHEMA piecemeal".to_owned())];
    for table in tables.into_iter().flatten() {
        for privilege in ["SELECT", "INSERT", "UPDATE", "DELETE"] {
            privileges.push((privilege.to_owned(), format!("TABLE piecemeal.{table}")));
        }
    }
    for (privilege, on) in privileges {
        scene.db.exec(&format!("REVOKE {privilege} ON {on} FROM {role}"));
        let name = on.split(' ').next_back().unwrap_or_default();
        scene.is_refused(&format!("{privilege} ON {on}"), name);
        scene.db.exec(&format!("GRANT {privilege} ON {on} TO {role}"));
    }
    scene.cli.done(&["run", "job", "-y"]);
}
