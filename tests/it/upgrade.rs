//! A ledger of an older release is told from ours, upgraded on request, and its runs go on.

use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::{Toml, numbers};
use crate::support::oracle::done_once;

const FIRST: &str = include_str!("../../src/ledger/schema/001.sql");

/// Puts the ledger that is there into the tables that the first release had.
fn as_the_first_release_left_it(db: &Db) {
    db.exec("ALTER SCHEMA piecemeal RENAME TO newer");
    db.exec(FIRST);
    for table in ["run", "range", "journal"] {
        let columns = db.text(&format!(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
             WHERE attrelid = 'piecemeal.{table}'::regclass AND attnum > 0"
        ));
        db.exec(&format!(
            "INSERT INTO piecemeal.{table} ({columns}) OVERRIDING SYSTEM VALUE
             SELECT {columns} FROM newer.{table}"
        ));
    }
    db.exec(
        "SELECT setval('piecemeal.journal_id_seq', max(id)) FROM piecemeal.journal;
         DROP SCHEMA newer CASCADE",
    );
}

#[test]
fn an_old_ledger_is_upgraded_when_asked_to_and_its_run_goes_on() {
    let db = Db::with(&numbers(100));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.call(&["run", "job", "-y", "--limit", "30"]).exits(4);
    as_the_first_release_left_it(&db);
    let tables = "SELECT count(*) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                  WHERE relnamespace = 'piecemeal'::regnamespace AND attnum > 0";
    let before = db.number(tables);
    for command in [&["status"][..], &["status", "job"], &["run", "job"], &["history", "job"]] {
        let answer = cli.call(command).exits(3);
        answer.says("the ledger has version 1").says("`piecemeal init`");
    }
    assert_eq!(db.number(tables), before, "nobody upgrades by looking");
    let by_hand = cli.done(&["init", "--print-sql", "--from", "1"]).stdout;
    db.exec(&by_hand.replace("COMMIT;", "ROLLBACK;"));
    assert_eq!(db.number(tables), before, "what is printed for hands is whole or not at all");
    let operator = format!("operator_{}", db.name);
    db.exec(&format!(
        "CREATE ROLE {operator}; GRANT USAGE ON SCHEMA piecemeal TO {operator};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA piecemeal TO {operator}"
    ));
    cli.done(&["init"]).says("ready");
    cli.done(&["init"]);
    for table in ["member", "quarantine"] {
        let may =
            format!("has_table_privilege('{operator}', 'piecemeal.{table}', 'INSERT, UPDATE')");
        assert!(db.is(&may), "whoever could work before still can");
    }
    assert_eq!(
        db.text("SELECT string_agg(version::text, ',' ORDER BY version) FROM piecemeal.ledger"),
        "1,2,3,4,5,6,7"
    );
    assert_eq!(cli.status("job")["rows"]["done"], 30);
    cli.done(&["run", "job"]);
    done_once(&db, "job");
    assert!(cli.done(&["history", "job"]).stdout.contains("created"));
}
