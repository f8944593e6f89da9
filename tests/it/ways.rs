//! Which ways lead back, from each state before contract and with each kind of sync, and what contract does not pass.

use crate::support::cli::Cli;
use crate::support::db::{Db, pg_dump};
use crate::support::job::Toml;

const POSTS: &str = "\
CREATE TABLE posts (id int8 PRIMARY KEY, lat float8, lng float8);
CREATE TABLE other (id int8);
INSERT INTO posts SELECT i, i, -i FROM generate_series(1, 100) i;";

const UP: &str = "[expand]\nup = ['ALTER TABLE posts ADD COLUMN loc point', 'ALTER TABLE other ADD COLUMN n int']\n";
const DOWN: &str =
    "down = ['ALTER TABLE other DROP COLUMN n', 'ALTER TABLE posts DROP COLUMN loc']\n";
const CONTRACT: &str = "[contract]\nup = ['ALTER TABLE posts DROP COLUMN lat, DROP COLUMN lng']\n\
                        down = ['ALTER TABLE posts ADD COLUMN lat float8, ADD COLUMN lng float8']\n";
const BOTH_WAYS: &str = "[sync]\nreverse = { lat = 'loc[1]', lng = 'loc[0]' }\n";
const SYNCS: [&str; 3] = ["", "[sync]\n", BOTH_WAYS];

fn posts(rest: &[&str]) -> String {
    let toml = Toml::on("public.posts").set("loc", "point(lng, lat)");
    toml.filter("loc IS NULL AND lat IS NOT NULL").rows(20).with(&rest.concat()).text()
}

/// Brings a run of `job` to a state.
fn bring(db: &Db, cli: &Cli, state: &str) {
    match state {
        "in its expand" => {
            let reader = db.session();
            reader.exec("BEGIN; SELECT FROM other");
            let run = cli.start(&["run", "job", "-y"]);
            run.until_it_says("waiting: ");
            run.signal("KILL");
            run.wait();
            reader.exec("ROLLBACK");
        }
        "before its walk" => {
            let (reader, writer) = (db.session(), db.session());
            reader.exec("BEGIN; SELECT FROM other");
            let run = cli.start(&["run", "job", "-y"]);
            run.until_it_says("waiting: ");
            writer.exec("BEGIN; LOCK TABLE posts IN ROW EXCLUSIVE MODE");
            reader.exec("ROLLBACK");
            run.until_it_says("waiting to make the sync trigger");
            run.signal("KILL");
            run.wait();
            writer.exec("ROLLBACK");
        }
        "paused in its walk" => {
            cli.call(&["run", "job", "-y", "--limit", "40"]).exits(4);
            cli.done(&["pause", "job"]);
            cli.call(&["run", "job"]).exits(4).says("is paused");
        }
        _ => {
            cli.done(&["run", "job", "-y"]);
        }
    }
}

/// The states before contract; without a trigger to make, the walk begins at once.
fn states(sync: &str) -> Vec<&'static str> {
    let all = ["in its expand", "before its walk", "paused in its walk", "verified"];
    all.into_iter().filter(|state| !sync.is_empty() || *state != "before its walk").collect()
}

/// Whether anything of a sync is there.
fn is_synced(db: &Db) -> bool {
    db.is("EXISTS (SELECT FROM pg_proc WHERE proname LIKE '%piecemeal%')")
}

#[test]
fn down_takes_a_run_back_from_each_state_before_contract() {
    for sync in SYNCS {
        let db = Db::with(POSTS);
        let before = pg_dump(&db);
        let cli = Cli::new(&db, "job", &posts(&[UP, DOWN, sync]));
        for state in states(sync) {
            bring(&db, &cli, state);
            if sync == BOTH_WAYS && state == "verified" {
                db.exec("UPDATE posts SET loc = point(7, 8) WHERE id = 1");
                db.exec("INSERT INTO posts (id, loc) VALUES (1000, point(5, 6))");
            }
            cli.done(&["down", "job", "-y"]);
            assert_eq!(pg_dump(&db), before, "{state}, {sync}");
        }
        let written = if sync == BOTH_WAYS { "(1,8,7) (1000,6,5)" } else { "(1,1,-1)" };
        let rows = "SELECT string_agg(posts::text, ' ' ORDER BY id) FROM posts WHERE id NOT BETWEEN 2 AND 100";
        assert_eq!(db.text(rows), written);
        assert_eq!(
            db.number(
                "SELECT count(*) FROM posts WHERE (lat, lng) = (id, -id) AND id BETWEEN 2 AND 100"
            ),
            99
        );
        cli.done(&["down", "job"]).says("nothing to do");
    }
}

#[test]
fn where_no_way_leads_back_nothing_is_touched() {
    for sync in SYNCS {
        for state in states(sync) {
            let db = Db::with(POSTS);
            let cli = Cli::new(&db, "job", &posts(&[UP, sync]));
            bring(&db, &cli, state);
            let (was, shown) = (pg_dump(&db), cli.status("job")["shown"].clone());
            let answer = cli.call(&["down", "job", "-y"]).exits(3);
            answer.says("there is no [expand] down").says("nothing was written");
            assert_eq!((pg_dump(&db), cli.status("job")["shown"].clone()), (was, shown), "{state}");
            // It may be written later.
            cli.write("job", &posts(&[UP, DOWN, sync]));
            cli.done(&["down", "job", "-y"]);
            assert!(!is_synced(&db));
        }
    }
}

#[test]
fn after_contract_only_reverse_leads_back() {
    for sync in ["", "[sync]\n"] {
        let db = Db::with(POSTS);
        let cli = Cli::new(&db, "job", &posts(&[UP, DOWN, CONTRACT, sync]));
        cli.done(&["run", "job", "-y"]);
        cli.done(&["contract", "job", "-y"]);
        let was = pg_dump(&db);
        cli.call(&["down", "job", "-y"])
            .exits(3)
            .says("contract has dropped `lat`, `lng`")
            .says("nothing was written");
        assert_eq!((pg_dump(&db), &cli.status("job")["shown"]), (was, &"contracted".into()));
    }
}

#[test]
fn contract_passes_nothing_that_is_not_proved_and_keeps_everything_as_it_was() {
    let db = Db::with(POSTS);
    let quarantine = "[bad_rows]\npolicy = 'quarantine'\nmax = 5\n";
    db.exec("ALTER TABLE posts ADD CONSTRAINT sane CHECK (id <> 13) NOT VALID");
    let cli = Cli::new(&db, "job", &posts(&[UP, DOWN, CONTRACT, BOTH_WAYS, quarantine]));
    let off = "its sync trigger was dropped, changed or switched off";
    let refuses = |code: i32, why: &str| {
        let (was, shown) = (pg_dump(&db), cli.status("job")["shown"].clone());
        cli.call(&["contract", "job", "-y"]).exits(code).says(why);
        assert_eq!((pg_dump(&db), cli.status("job")["shown"].clone()), (was, shown), "{why}");
    };
    cli.call(&["run", "job", "-y", "--limit", "40"]).exits(4);
    refuses(3, "cannot be contracted: it is ready in phase backfill");
    cli.call(&["run", "job"]).exits(5);
    refuses(3, "1 row in quarantine");
    db.exec("ALTER TABLE posts DROP CONSTRAINT sane");
    cli.done(&["quarantine", "job", "--retry", "-y"]);
    // While it is off, a row gets a value that `where` cannot tell from a right one.
    db.exec("ALTER TABLE posts DISABLE TRIGGER USER; UPDATE posts SET lat = 50 WHERE id = 5");
    refuses(3, off);
    let name = db.text("SELECT tgname FROM pg_trigger WHERE tgrelid = 'posts'::regclass");
    db.exec(&format!("DROP TRIGGER {name} ON posts"));
    refuses(3, off);
    db.exec("UPDATE posts SET loc = point(lng, lat) WHERE id = 5");
    cli.done(&["run", "job", "--again", "-y"]).says("sync: a trigger keeps");
    // It was off, and nobody can tell; a row is not as the job promises.
    db.exec(&format!(
        "BEGIN; ALTER TABLE posts DISABLE TRIGGER USER; UPDATE posts SET loc = NULL WHERE id = 7;
         ALTER TABLE posts ENABLE ALWAYS TRIGGER {name}; COMMIT"
    ));
    refuses(6, "7");
    db.exec("UPDATE posts SET loc = point(lng, lat) WHERE id = 7");
    cli.done(&["contract", "job", "-y"]);
    assert!(!is_synced(&db));
    assert_eq!(
        db.number(
            "SELECT count(*) FROM posts WHERE loc ~= point(-id, CASE id WHEN 5 THEN 50 ELSE id END)"
        ),
        100
    );
}

#[test]
fn what_contract_drops_and_adds_again_under_the_same_name_is_lost() {
    let anew = "[contract]\nup = ['ALTER TABLE posts DROP COLUMN lat, ADD COLUMN lat float8 GENERATED ALWAYS AS (loc[1]) STORED']\n\
                down = ['ALTER TABLE posts DROP COLUMN lat, ADD COLUMN lat float8']\n";
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", &posts(&["[sync]\n", UP, DOWN, anew]));
    cli.done(&["run", "job", "-y"]);
    cli.done(&["contract", "job", "-y"]);
    cli.call(&["down", "job", "-y"]).exits(3).says("contract has dropped `lat`");
    assert_eq!(db.rows("SELECT lat FROM posts WHERE id = 7"), [["7"]]);
}

#[test]
fn of_a_statement_that_undoes_two_things_each_is_undone_that_was_done() {
    let half = "[expand]\nup = ['ALTER TABLE posts ADD COLUMN loc int', 'ALTER TABLE posts ADD COLUMN k nonsense']\n";
    for (both, says) in [
        (
            "ALTER TABLE public.posts DROP COLUMN k, DROP COLUMN loc",
            "passed over in [expand] down 1: column \"k\"",
        ),
        (
            "DO $$ BEGIN ALTER TABLE posts DROP COLUMN k; ALTER TABLE posts DROP COLUMN loc; END $$",
            "write one statement for each thing",
        ),
    ] {
        let db = Db::with(POSTS);
        let before = pg_dump(&db);
        let cli = Cli::new(&db, "job", &format!("{half}down = ['{both}']\n"));
        cli.call(&["run", "job", "-y"]).exits(1);
        let answer = cli.call(&["down", "job", "-y"]).says(says);
        assert_eq!(answer.code == 0, pg_dump(&db) == before, "{}", answer.stderr);
    }
}

#[test]
fn what_an_earlier_run_has_overwritten_is_not_forgotten_by_the_next() {
    let db = Db::with(POSTS);
    let toml = Toml::on("public.posts").set("lng", "-lng").filter("lng < 0").text();
    let cli = Cli::new(&db, "job", &toml);
    cli.done(&["run", "job", "-y"]);
    cli.done(&["run", "job", "-y", "--again"]);
    cli.call(&["down", "job", "-y"]).exits(3).says("[set] has overwritten `lng`");
}
