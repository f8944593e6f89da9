//! `new`, `schema` and `completions`: what helps to write a job file.

use std::fs;

use crate::support::cli::Cli;
use crate::support::db::Db;

const USERS: &str = "\
CREATE TABLE users (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email text NOT NULL,
    size int GENERATED ALWAYS AS (length(email)) STORED, email_lower varchar(200));
INSERT INTO users (email) SELECT 'User' || i FROM generate_series(1, 500) i; ANALYZE users";

fn scene(sql: &str) -> (Db, Cli) {
    let db = Db::with(sql);
    let cli = Cli::new(&db, "other", "");
    (db, cli)
}

#[test]
fn a_file_for_a_table_runs_after_one_edit_and_not_before() {
    let (db, cli) = scene(USERS);
    cli.done(&["new", "lower", "--table", "users"]).says("written: ").says("piecemeal plan lower");
    let text = fs::read_to_string(cli.path("lower")).expect("the file");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("new", text));
    cli.call(&["check", "lower"]).exits(2).says("[set]");
    let set = "# email_lower = \"email_lower\"";
    assert!(text.contains(set), "{text}");
    cli.write("lower", &text.replace(set, "email_lower = \"lower(email)\""));
    cli.done(&["check", "lower"]);
    cli.done(&["plan", "lower", "--no-rehearsal"]);
    cli.done(&["run", "lower", "-y"]);
    assert!(db.is("SELECT bool_and(email_lower = lower(email)) FROM users"));
}

#[test]
fn a_file_that_is_there_is_never_overwritten() {
    let (_db, cli) = scene(USERS);
    cli.write("lower", "# mine");
    cli.call(&["new", "lower", "--table", "users"]).exits(3).says("is there already");
    assert_eq!(fs::read_to_string(cli.path("lower")).expect("the file"), "# mine");
    let printed = cli.done(&["new", "lower", "--table", "users", "--print"]);
    assert!(printed.stdout.contains("name = \"public.users\""), "{printed:?}");
}

#[test]
fn what_is_no_name_and_what_is_no_table_is_refused_by_name() {
    let (db, cli) = scene(USERS);
    db.exec("CREATE VIEW seen AS SELECT * FROM users; CREATE TABLE keyless (a int)");
    for (name, table, code, says) in [
        ("../evil", "users", 2, "cannot be the name of a job"),
        ("ok", "a.b.c", 2, "at most two parts"),
        ("ok", "user", 3, "public.users"),
        ("ok", "Users", 3, "public.users"),
        ("ok", "seen", 3, "view"),
        ("ok", "keyless", 3, "no primary key"),
        ("ok", "pg_catalog.pg_class", 3, "pg_class"),
    ] {
        cli.call(&["new", name, "--table", table]).exits(code).says(says);
        assert!(!cli.path("ok").exists(), "{name} {table}");
    }
}

#[test]
fn without_a_primary_key_another_unique_key_is_found() {
    let (_db, cli) = scene(
        "CREATE TABLE t (a int UNIQUE, \"b\"\"c\" int NOT NULL, d text, UNIQUE (\"b\"\"c\"));
         INSERT INTO t VALUES (1, 1)",
    );
    cli.done(&["new", "job", "--table", "t"]);
    let text = fs::read_to_string(cli.path("job")).expect("the file");
    assert!(text.contains("\nkey = [\"b\\\"c\"]    # the unique key\n"), "{text}");
    cli.write("job", &text.replace("# d = \"d\"", "d = \"'x'\""));
    cli.done(&["plan", "job", "--no-rehearsal"]);
}

#[test]
fn a_role_that_may_not_write_can_write_the_file() {
    let (db, mut cli) = scene(USERS);
    let role = format!("reader_{}", db.name);
    db.exec(&format!("CREATE ROLE {role} LOGIN"));
    cli.url = db.url.replacen("postgres@", &format!("{role}@"), 1);
    cli.done(&["new", "job", "--table", "users"]);
}

#[test]
fn schema_and_completions_need_no_database() {
    let (_db, mut cli) = scene("");
    cli.url = "postgres://localhost:1/nowhere".into();
    let schema = cli.done(&["schema"]).json();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = cli.done(&["completions", shell]).stdout;
        assert!(script.contains("throttle") && !script.contains("nowhere"), "{shell}");
    }
    cli.call(&["completions", "tcsh"]).exits(2);
}
