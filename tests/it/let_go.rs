//! When rows are kept in step no more: with the statement that takes away what the trigger needs, and not before.

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, pg_dump};
use crate::support::job::Toml;

const POSTS: &str = "\
CREATE TABLE posts (id int8 PRIMARY KEY, title text, lat float8, lng float8);
CREATE TABLE other (id int8);
CREATE FUNCTION place(lng float8, lat float8) RETURNS point LANGUAGE sql IMMUTABLE RETURN point(lng, lat);
INSERT INTO posts SELECT i, 'x', i, -i FROM generate_series(1, 100) i;";

const ADD: &str = "ALTER TABLE posts ADD COLUMN loc point";
const DROP_NEW: &str = "ALTER TABLE posts DROP COLUMN loc";
const DROP_OLD: &str = "ALTER TABLE posts DROP COLUMN lat, DROP COLUMN lng";
const ADD_OLD: &str = "ALTER TABLE posts ADD COLUMN lat float8, ADD COLUMN lng float8";
const IN_BETWEEN: &str = "ALTER TABLE other ADD COLUMN n int";
const GONE: &str = "sync: public.posts is kept in step no more";

fn listed(statements: &[&str]) -> String {
    let quoted: Vec<_> = statements.iter().map(|it| format!("'''{it}'''")).collect();
    format!("[{}]", quoted.join(", "))
}

/// A job that both ways lead through, with these statements at both ends.
fn posts(contract: &[&str], down: &[&str]) -> String {
    let shape = format!(
        "[sync]\nreverse = {{ lat = 'loc[1]', lng = 'loc[0]' }}\n\
         [expand]\nup = ['{ADD}']\ndown = {}\n[contract]\nup = {}\ndown = ['{ADD_OLD}']\n",
        listed(down),
        listed(contract)
    );
    let toml = Toml::on("public.posts").set("loc", "place(lng, lat)");
    toml.filter("loc IS NULL AND lat IS NOT NULL").rows(50).with(&shape).text()
}

/// Whether anything of a sync is there.
fn is_synced(db: &Db) -> bool {
    db.is("EXISTS (SELECT FROM pg_proc WHERE proname LIKE 'zzz_piecemeal%')")
}

/// Brings the job to its verified end.
fn verified(job: &str) -> (Db, Cli) {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", job);
    cli.done(&["run", "job", "-y"]);
    (db, cli)
}

/// Starts a command, and returns when it waits for `other`, with the session that holds that.
fn waits(db: &Db, cli: &Cli, command: &str) -> (Running, Db) {
    let reader = db.session();
    reader.exec("BEGIN; LOCK TABLE other IN ACCESS SHARE MODE");
    let running = cli.start(&[command, "job", "-y"]);
    running.until_it_says("waiting: public.other is in use");
    (running, reader)
}

/// Writes a row as the new application does, and returns what the old one finds.
fn new_writes(db: &Db, id: i64) -> String {
    db.exec(&format!("INSERT INTO posts (id, loc) VALUES ({id}, point(7, 8))"));
    db.exec(&format!("UPDATE posts SET loc = point(5, 6) WHERE id = {id}"));
    db.rows(&format!("SELECT lat, lng FROM posts WHERE id = {id}"))[0].join(" ")
}

#[test]
fn contract_keeps_rows_in_step_until_the_statement_that_drops_what_is_old() {
    let not_null = "ALTER TABLE posts ALTER COLUMN loc SET NOT NULL";
    let (db, cli) = verified(&posts(&[not_null, IN_BETWEEN, DROP_OLD], &[DROP_NEW]));
    let (contract, reader) = waits(&db, &cli, "contract");
    assert_eq!(new_writes(&db, 1000), "6 5");
    reader.exec("ROLLBACK");
    contract.wait().exits(0).says(GONE);
    assert!(!is_synced(&db));
    db.exec("INSERT INTO posts (id, loc) VALUES (1001, point(1, 1))");
    let history = cli.done(&["history", "job"]).stdout;
    assert!(history.contains("public.posts is kept in step no more"), "{history}");
}

#[test]
fn a_contract_that_fails_leaves_rows_in_step_and_down_has_none_to_compute() {
    let (db, cli) = verified(&posts(&[IN_BETWEEN, "ALTER TABLE gone ADD n int"], &[DROP_NEW]));
    cli.call(&["contract", "job", "-y"]).exits(1).says("statement 2 of [contract] up was refused");
    assert_eq!(new_writes(&db, 1000), "6 5");
    cli.call(&["contract", "job", "-y"]).exits(1);
    let answer = cli.done(&["down", "job", "-y"]).says(GONE);
    assert!(!answer.stderr.contains("job.down"), "{}", answer.stderr);
    assert_eq!(db.rows("SELECT lat, lng FROM posts WHERE id = 1000"), [["6", "5"]]);
    assert!(!is_synced(&db));
}

#[test]
fn nobody_is_failed_by_a_trigger_that_has_lost_what_it_needs() {
    for lost in [
        "DROP FUNCTION place(float8, float8)",
        "ALTER TABLE posts RENAME COLUMN lat TO latitude",
        "ALTER TABLE posts ALTER COLUMN lat TYPE numeric",
        "DO $$ BEGIN ALTER TABLE posts DROP COLUMN lat; ALTER TABLE posts ADD COLUMN lat float8; END $$",
    ] {
        let (db, cli) = verified(&posts(&[lost, IN_BETWEEN], &[DROP_NEW]));
        let (contract, reader) = waits(&db, &cli, "contract");
        assert!(!is_synced(&db), "{lost}");
        db.exec("INSERT INTO posts (id, loc) VALUES (1000, point(7, 8)); UPDATE posts SET loc = point(1, 1) WHERE id < 5");
        reader.exec("ROLLBACK");
        contract.wait().exits(0);
    }
}

#[test]
fn what_the_trigger_does_not_need_may_go_before_it() {
    let changes = [
        "ALTER TABLE posts DROP COLUMN title, ADD COLUMN more int",
        "ALTER TABLE posts ALTER COLUMN lat SET DEFAULT NULL",
        "ALTER TABLE posts RENAME TO articles",
    ];
    let renamed = "ALTER TABLE articles RENAME TO posts";
    let mut statements = changes.to_vec();
    statements.extend([renamed, IN_BETWEEN]);
    let (db, cli) = verified(&posts(&statements, &[DROP_NEW]));
    let (contract, reader) = waits(&db, &cli, "contract");
    assert_eq!(new_writes(&db, 1000), "6 5");
    reader.exec("ROLLBACK");
    // Nothing has taken it away, so it goes in the end.
    contract.wait().exits(0).says(GONE);
    assert!(!is_synced(&db));
}

#[test]
fn whoever_holds_the_table_at_the_end_is_named_and_contract_goes_on_after_a_kill() {
    let (db, cli) = verified(&posts(&[IN_BETWEEN], &[DROP_NEW]));
    let reader = db.session();
    reader.exec("BEGIN; LOCK TABLE posts IN ACCESS SHARE MODE");
    let pid = reader.number("SELECT pg_backend_pid()");
    let contract = cli.start(&["contract", "job", "-y"]);
    contract.until_it_says(&format!("waiting: public.posts is held by pid {pid}"));
    contract.signal("KILL");
    contract.wait();
    assert_eq!(new_writes(&db, 1000), "6 5");
    assert_ne!(cli.status("job")["shown"], "contracted");
    reader.exec("ROLLBACK");
    cli.done(&["contract", "job", "-y"]).says(GONE);
    assert!(!is_synced(&db));
}

#[test]
fn down_keeps_rows_in_step_until_the_statement_that_drops_what_is_new() {
    for contracts in [false, true] {
        let harmless = "ALTER TABLE posts ALTER COLUMN lat SET STATISTICS 50";
        let down = [harmless, "ALTER TABLE other ADD COLUMN m int", DROP_NEW];
        let (db, cli) = verified(&posts(&[DROP_OLD], &down));
        if contracts {
            cli.done(&["contract", "job", "-y"]);
        }
        let (back, reader) = waits(&db, &cli, "down");
        assert_eq!(new_writes(&db, 1000), "6 5");
        db.exec("UPDATE posts SET loc = point(9, 9) WHERE id = 1");
        // Killed there, it goes on, and still nothing is missed.
        back.signal("KILL");
        back.wait();
        db.exec("UPDATE posts SET loc = point(3, 4) WHERE id = 2");
        reader.exec("ROLLBACK");
        cli.done(&["down", "job", "-y"]).says(GONE);
        let rows = "SELECT id, lat, lng FROM posts WHERE id IN (1, 2, 3, 1000) ORDER BY id";
        let expected = [["1", "9", "9"], ["2", "4", "3"], ["3", "3", "-3"], ["1000", "6", "5"]];
        assert_eq!(db.rows(rows), expected);
        assert!(!is_synced(&db));
    }
}

#[test]
fn down_stands_still_before_its_last_part_as_long_as_a_statement_of_it_says_so() {
    let asks = "DO $$ BEGIN IF EXISTS (SELECT FROM app_instance WHERE version >= 42) THEN \
                RAISE EXCEPTION 'deploy API 41 first'; END IF; END $$";
    let (db, cli) = verified(&posts(&[DROP_OLD], &[asks, DROP_NEW]));
    db.exec("CREATE TABLE app_instance (version int); INSERT INTO app_instance VALUES (42)");
    cli.done(&["contract", "job", "-y"]);
    for id in [1000, 1001] {
        cli.call(&["down", "job", "-y"]).exits(1).says("deploy API 41 first");
        assert_eq!(new_writes(&db, id), "6 5");
        db.exec(&format!("INSERT INTO posts (id, lat, lng) VALUES ({}, 1, 2)", id + 1000));
        db.exec("UPDATE posts SET lat = lat + 1 WHERE id = 1");
    }
    db.exec("UPDATE app_instance SET version = 41");
    cli.done(&["down", "job", "-y"]);
    let rows = "SELECT id, lat, lng FROM posts WHERE id = 1 OR id >= 1000 ORDER BY id";
    let expected = [
        ["1", "3", "-1"],
        ["1000", "6", "5"],
        ["1001", "6", "5"],
        ["2000", "1", "2"],
        ["2001", "1", "2"],
    ];
    assert_eq!(db.rows(rows), expected);
}

#[test]
fn a_reverse_that_looks_at_the_old_value_leads_back_after_contract_too() {
    let db = Db::with(
        "CREATE TABLE t (id int PRIMARY KEY, name text);
         INSERT INTO t VALUES (1, 'Ann  Lee'), (2, 'Bo Kim')",
    );
    let before = pg_dump(&db);
    let reverse = "CASE WHEN split_part(name, ' ', 1) = first AND name LIKE '%' || last THEN name ELSE first || ' ' || last END";
    let shape = format!(
        "[sync.reverse]\nname = \"{reverse}\"\n\
         [expand]\nup = ['ALTER TABLE t ADD first text, ADD last text']\ndown = ['ALTER TABLE t DROP first, DROP last']\n\
         [contract]\nup = ['ALTER TABLE t DROP name']\ndown = ['ALTER TABLE t ADD name text']\n"
    );
    let toml = Toml::on("public.t").set("first", "split_part(name, ' ', 1)");
    let toml =
        toml.set("last", "reverse(split_part(reverse(name), ' ', 1))").filter("first IS NULL");
    let cli = Cli::new(&db, "job", &toml.with(&shape).text());
    cli.done(&["run", "job", "-y"]);
    cli.done(&["plan", "job"]).says("sync-reverse-of-itself");
    let names = || db.rows("SELECT name FROM t ORDER BY id").concat();
    // What was written stays where it still says the same.
    db.exec("UPDATE t SET last = 'Lee' WHERE id = 1; UPDATE t SET first = 'Bob' WHERE id = 2");
    assert_eq!(names(), ["Ann  Lee", "Bob Kim"]);
    cli.done(&["contract", "job", "-y"]);
    db.exec("INSERT INTO t VALUES (3, 'Eve', 'Ray')");
    cli.done(&["down", "job", "-y"]);
    assert_eq!(names(), ["Ann Lee", "Bob Kim", "Eve Ray"]);
    assert_eq!(pg_dump(&db), before);
}

#[test]
fn history_says_since_when_rows_are_kept_in_step_and_until_when() {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", &posts(&[DROP_OLD], &[DROP_NEW]));
    cli.call(&["run", "job", "-y", "--limit", "50"]).exits(4);
    let kept = "SELECT who || ' ' || detail FROM piecemeal.journal WHERE what = 'sync' ORDER BY id";
    let lines = |n: usize| {
        let lines = db.rows(kept).concat();
        assert_eq!(lines.len(), n, "{lines:?}");
        lines.last().cloned().unwrap_or_default()
    };
    assert!(lines(1).contains("\"kept\": true") && lines(1).contains(" as postgres "));
    let history = cli.done(&["history", "job"]).stdout;
    assert!(history.contains("keeps public.posts in step, forward to loc"), "{history}");
    // One that was switched off is made again, and that is said.
    db.exec("ALTER TABLE posts DISABLE TRIGGER USER");
    cli.call(&["run", "job"]).exits(6);
    lines(2);
    cli.done(&["cancel", "job"]);
    cli.done(&["run", "job", "-y", "--again"]);
    lines(3);
    cli.done(&["contract", "job", "-y"]);
    assert!(lines(4).contains("\"kept\": false"));
    cli.done(&["down", "job", "-y"]);
    assert!(lines(5).contains("\"kept\": false"), "that of the way back is forgotten with it");
}

#[test]
fn a_run_is_in_phase_sync_while_its_trigger_is_waited_for() {
    let db = Db::with(POSTS);
    let writer = db.session();
    let job = posts(&[DROP_OLD], &[DROP_NEW]).replace(ADD, "ALTER TABLE other ADD COLUMN k int");
    db.exec(ADD);
    let cli = Cli::new(&db, "job", &job);
    writer.exec("BEGIN; UPDATE posts SET title = 'y' WHERE id = 1");
    let running = cli.start(&["run", "job", "-y"]);
    running.until_it_says("waiting to make the sync trigger");
    assert_eq!(cli.status("job")["phase"], "sync");
    writer.exec("COMMIT");
    running.wait().exits(0);
}
