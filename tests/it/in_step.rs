//! Where the sync trigger was away, nobody can tell by looking at a row whether its two sides belong together: nothing
//! is called verified, contracted or taken back then, before a person has set right what differs.

use crate::support::cli::Cli;
use crate::support::db::Db;
use crate::support::job::Toml;

const POSTS: &str = "\
CREATE TABLE posts (id int8 PRIMARY KEY, lat float8, lng float8);
CREATE TABLE other (id int8);
CREATE TABLE live (old_api bool NOT NULL);
INSERT INTO live VALUES (false);
INSERT INTO posts SELECT i, i, -i FROM generate_series(1, 100) i;";

const SHAPE: &str = "\
[sync]
reverse = { lat = 'loc[1]', lng = 'loc[0]' }
[expand]
up = ['ALTER TABLE posts ADD COLUMN loc point']
down = ['ALTER TABLE posts DROP COLUMN loc']
[[gate]]
sql = 'SELECT NOT old_api FROM public.live'
message = 'the old API is gone'
";

/// Fails at its second statement, with both sides there.
const HALF: &str = "\
[contract]
up = ['ALTER TABLE other ADD n int', 'ALTER TABLE gone ADD n int', 'ALTER TABLE posts DROP COLUMN lat, DROP COLUMN lng']
down = ['ALTER TABLE other DROP n']
";

const WHOLE: &str = "\
[contract]
up = ['ALTER TABLE posts DROP COLUMN lat, DROP COLUMN lng']
down = ['ALTER TABLE posts ADD COLUMN lat float8, ADD COLUMN lng float8']
";

const EXPECT: &str = "[verify]\nexpect = 'loc ~= point(lng, lat)'\n";

/// Writes the old side as an application does while the trigger is off.
const OFF: &str = "ALTER TABLE posts DISABLE TRIGGER USER; UPDATE posts SET lat = 99 WHERE id = 1";

const SET_RIGHT: &str = "UPDATE posts SET loc = point(lng, lat) WHERE id = 1";

fn posts(rest: &[&str]) -> String {
    let toml = Toml::on("public.posts").set("loc", "point(lng, lat)");
    toml.filter("loc IS NULL AND lat IS NOT NULL").rows(20).with(SHAPE).with(&rest.concat()).text()
}

fn job(rest: &[&str]) -> (Db, Cli) {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", &posts(rest));
    (db, cli)
}

fn verified(rest: &[&str]) -> (Db, Cli) {
    let (db, cli) = job(rest);
    cli.done(&["run", "job", "-y"]);
    (db, cli)
}

/// Brings a contract to its failure between two statements.
fn half_contracted() -> (Db, Cli) {
    let (db, cli) = verified(&[HALF]);
    cli.call(&["contract", "job", "-y", "--acknowledge", "me"])
        .exits(1)
        .says("statement 2 of [contract] up was refused");
    (db, cli)
}

fn side(db: &Db, columns: &str) -> String {
    db.rows(&format!("SELECT {columns} FROM posts WHERE id = 1"))[0].join(" ")
}

/// Makes the trigger fire again, as the hint says.
fn on(db: &Db) {
    let name = &db.rows("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'zzz_piecemeal_%'")[0][0];
    db.exec(&format!("ALTER TABLE posts ENABLE ALWAYS TRIGGER {name}"));
}

#[test]
fn a_trigger_that_was_away_during_the_walk_leaves_nothing_verified() {
    let (db, cli) = job(&[WHOLE]);
    cli.call(&["run", "job", "-y", "--limit", "40"]).exits(4);
    db.exec(OFF);
    let answer = cli.call(&["run", "job"]).exits(6).says("was away for a while");
    answer.says("SELECT * FROM public.posts AS posts WHERE ROW(loc)::record *<> ROW((point(lng, lat))::point)::record");
    cli.call(&["resume", "job"]).exits(6).says("was away for a while");
    cli.call(&["contract", "job", "-y", "--acknowledge", "me"]).exits(3);
    db.exec(SET_RIGHT);
    cli.done(&["cancel", "job"]);
    cli.done(&["run", "job", "-y", "--again"]);
    cli.done(&["contract", "job", "-y", "--acknowledge", "me"]);
    assert_eq!(side(&db, "loc"), "(-1,99)");
}

#[test]
fn where_the_job_says_what_is_right_the_rows_tell_what_a_trigger_that_was_away_has_missed() {
    let (db, cli) = job(&[WHOLE, EXPECT]);
    cli.call(&["run", "job", "-y", "--limit", "40"]).exits(4);
    db.exec(OFF);
    cli.call(&["run", "job"]).exits(6).says("`expect` is not true for 1 row");
    db.exec(SET_RIGHT);
    cli.done(&["resume", "job"]);
}

#[test]
fn a_verification_that_was_left_begins_again_when_the_trigger_was_away() {
    let (db, cli) = job(&[WHOLE, "[verify]\nexpect = 'loc ~= point(lng, lat) AND is_open(id)'\n"]);
    db.exec(
        "CREATE TABLE door AS SELECT true AS is_shut;
         CREATE FUNCTION is_open(id int8) RETURNS bool STABLE LANGUAGE plpgsql AS $$ BEGIN
             IF id > 50 AND EXISTS (SELECT FROM public.door WHERE is_shut) THEN PERFORM pg_sleep(1); END IF;
             RETURN true; END $$",
    );
    let running = cli.start(&["run", "job", "-y"]);
    db.until_looked();
    running.signal("INT");
    running.wait().exits(130);
    db.exec(OFF);
    db.exec("UPDATE door SET is_shut = false");
    cli.call(&["run", "job"]).exits(6).says("`expect` is not true for 1 row");
}

#[test]
fn a_contract_that_has_begun_passes_its_gates_again_as_long_as_both_sides_are_there() {
    let (db, cli) = half_contracted();
    db.exec("UPDATE live SET old_api = true; CREATE TABLE gone ()");
    cli.call(&["contract", "job", "-y", "--acknowledge", "me"])
        .exits(3)
        .says("waits for its gates");
    db.exec("UPDATE live SET old_api = false");
    db.exec(OFF);
    let answer = cli.call(&["contract", "job", "-y", "--acknowledge", "me"]).exits(3);
    answer.says("its sync trigger was dropped, changed or switched off");
    assert_eq!(side(&db, "lat, loc"), "99 (-1,1)");
    db.exec(SET_RIGHT);
    on(&db);
    cli.done(&["contract", "job", "-y", "--acknowledge", "me"]);
    assert_eq!(side(&db, "loc"), "(-1,99)");
}

#[test]
fn a_contract_looks_at_the_trigger_once_more_after_it_has_looked_at_the_rows() {
    let (db, cli) = job(&[WHOLE, "[verify]\nexpect = 'loc ~= point(lng, lat) AND looked(id)'\n"]);
    db.exec(
        "CREATE FUNCTION looked(id int8) RETURNS bool LANGUAGE plpgsql AS
         $$ BEGIN PERFORM pg_advisory_xact_lock_shared(7) WHERE id = 100; RETURN true; END $$",
    );
    cli.done(&["run", "job", "-y"]);
    let gate = db.session();
    gate.exec("SELECT pg_advisory_lock(7)");
    let contract = cli.start(&["contract", "job", "-y", "--acknowledge", "me"]);
    db.until("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)");
    // After the row was looked at.
    db.exec(OFF);
    gate.exec("SELECT pg_advisory_unlock(7)");
    let answer = contract.wait().exits(3);
    answer.says("its sync trigger was dropped, changed or switched off");
    assert_eq!(side(&db, "lat"), "99");
}

#[test]
fn down_does_not_choose_between_two_sides_that_may_differ() {
    for (db, cli) in [verified(&[WHOLE]), half_contracted()] {
        db.exec(OFF);
        let answer = cli.call(&["down", "job", "-y"]).exits(3);
        answer.says("its sync trigger was dropped or switched off").says("ENABLE ALWAYS TRIGGER");
        assert_eq!(side(&db, "lat, loc"), "99 (-1,1)");
        db.exec(SET_RIGHT);
        on(&db);
        cli.done(&["down", "job", "-y"]);
        assert_eq!(side(&db, "lat, lng"), "99 -1");
    }
}

#[test]
fn a_trigger_that_is_left_without_a_run_is_found_and_goes() {
    let (db, cli) = verified(&[WHOLE]);
    let sign = "a sync trigger of `job` is on public.posts";
    assert!(!cli.call(&["doctor"]).stdout.contains(sign));
    db.exec("DROP SCHEMA piecemeal CASCADE");
    let doctor = cli.call(&["doctor"]).stdout;
    assert!(doctor.contains(sign) && doctor.contains("piecemeal forget job"), "{doctor}");
    cli.done(&["forget", "job"]).says("`job` had no run, and its sync trigger is gone");
    assert!(db.is("NOT EXISTS (SELECT FROM pg_proc WHERE proname LIKE 'zzz_piecemeal%')"));
    cli.call(&["forget", "job"]).exits(3).says("has no run");
}
