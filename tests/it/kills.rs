//! The whole life of a job, killed at every step of it: what is there in the end is what would be there without kills.
//!
//! Triggers on the ledger, and on every change of the schema, stop the program inside the transaction that takes the
//! step. There it is killed, with its server process or without: then the step is undone, or done without its knowing.

use std::collections::BTreeSet;

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, pg_dump};
use crate::support::until_or;

const POSTS: &str = "\
CREATE TABLE posts (id int8 PRIMARY KEY, title text DEFAULT 'x',
                    lat float8 NOT NULL CONSTRAINT is_on_earth CHECK (lat < 91), lng float8 NOT NULL);
CREATE INDEX posts_lat ON posts (lat);
CREATE SEQUENCE ids START 1001;
INSERT INTO posts (id, lat, lng) SELECT i, i % 90, -i FROM generate_series(1, 200) i;
CREATE SCHEMA app CREATE TABLE instance (version int) CREATE TABLE written (id int8);
INSERT INTO app.instance VALUES (42);";

const JOB: &str = "\
[table]
name = 'public.posts'
where = 'loc IS NULL AND lat IS NOT NULL'
[set]
loc = 'point(lng, lat)'
[sync]
reverse = { lat = 'loc[1]', lng = 'loc[0]' }
[batch]
rows = 50
stripes = 1
[expand]
up = [
    'ALTER TABLE posts ADD COLUMN loc point, ALTER lat DROP NOT NULL, ALTER lng DROP NOT NULL',
    'CREATE INDEX CONCURRENTLY posts_loc ON posts USING gist (loc)',
]
down = [
    'ALTER TABLE posts ALTER lat SET NOT NULL, ALTER lng SET NOT NULL',
    'ALTER TABLE posts DROP COLUMN loc',
]
[contract]
up = [
    'ALTER TABLE posts ALTER loc SET NOT NULL',
    'ALTER TABLE posts DROP COLUMN lat, DROP COLUMN lng',
]
down = [
    'ALTER TABLE posts ALTER loc DROP NOT NULL, ADD COLUMN lat float8 CONSTRAINT is_on_earth CHECK (lat < 91), ADD COLUMN lng float8',
    'CREATE INDEX CONCURRENTLY posts_lat ON posts (lat)',
]
[[gate]]
before = 'contract'
sql = 'SELECT count(*) = 0 FROM app.instance WHERE version < 42'
message = 'deploy API 42'
";

/// What stops the program at each point, the first time that it gets there. Points are known by their first words.
const STOPS: &str = r"
CREATE TABLE piecemeal.passed (point text PRIMARY KEY);
CREATE FUNCTION piecemeal.stop(words text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE here text := left(regexp_replace(words, '\s+', ' ', 'g'), 46) || ' ' || left(md5(words), 8);
BEGIN
    IF NOT EXISTS (SELECT FROM piecemeal.passed p WHERE p.point = here) THEN
        PERFORM set_config('lock_timeout', '0', true), set_config('application_name', 'at ' || here, true);
        PERFORM pg_advisory_xact_lock_shared(7);
    END IF;
END $$;
CREATE FUNCTION piecemeal.stop_at_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE of jsonb := to_jsonb(coalesce(NEW, OLD));
BEGIN
    of := of || coalesce((SELECT jsonb_build_object('job', job) FROM piecemeal.run WHERE id = (of ->> 'run_id')::int8), '{}');
    PERFORM piecemeal.stop(concat_ws(' ', TG_TABLE_NAME, lower(TG_OP), of ->> 'job', of ->> 'phase', of ->> 'status',
                                     of ->> 'part', of ->> 'no', of ->> 'done'));
    RETURN NULL;
END $$;
CREATE FUNCTION piecemeal.stop_at_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM piecemeal.stop('ddl ' || tg_tag || ' ' || current_query());
END $$;
CREATE TRIGGER stop AFTER INSERT OR DELETE ON piecemeal.run FOR EACH ROW EXECUTE FUNCTION piecemeal.stop_at_row();
CREATE TRIGGER stop_update AFTER UPDATE ON piecemeal.run FOR EACH ROW
    WHEN ((OLD.phase, OLD.status) IS DISTINCT FROM (NEW.phase, NEW.status)) EXECUTE FUNCTION piecemeal.stop_at_row();
CREATE TRIGGER stop AFTER INSERT OR UPDATE OF done_at ON piecemeal.step FOR EACH ROW EXECUTE FUNCTION piecemeal.stop_at_row();
CREATE TRIGGER stop AFTER UPDATE ON piecemeal.range FOR EACH ROW
    WHEN (OLD.cursor IS DISTINCT FROM NEW.cursor OR OLD.done <> NEW.done) EXECUTE FUNCTION piecemeal.stop_at_row();";

const STOP_AT_DDL: &str =
    "CREATE EVENT TRIGGER stop ON ddl_command_end EXECUTE FUNCTION piecemeal.stop_at_ddl()";

/// Whether the server process goes with the program: then what it was about to commit is undone.
#[derive(Clone, Copy, PartialEq)]
enum Kill {
    WithItsServer,
    Alone,
}

/// Kills a program at each point that it gets to, once.
struct Killer {
    db: Db,
    /// Has what the program is to wait for.
    gate: Db,
    kill: Kill,
    points: BTreeSet<String>,
}

impl Killer {
    fn of(db: &Db, kill: Kill) -> Killer {
        let gate = db.session();
        gate.exec("SELECT pg_advisory_lock(7)");
        db.exec(STOPS);
        db.exec(STOP_AT_DDL);
        Killer { db: db.session(), gate, kill, points: BTreeSet::new() }
    }

    /// Gives the same command again until it is done; `meanwhile` happens after each kill.
    fn until_done(&mut self, cli: &Cli, args: &[&str], meanwhile: impl Fn(&Db)) {
        let mut last = Vec::new();
        loop {
            let mut running = cli.start(args);
            let stopped = self.stopped(&mut running);
            if stopped.is_empty() {
                let answer = running.wait();
                assert_eq!(answer.code, 0, "after a kill at {last:?}: {}", answer.stderr);
                return;
            }
            running.signal("KILL");
            running.wait();
            self.let_go(&stopped);
            self.points.extend(stopped.iter().cloned());
            last = stopped;
            meanwhile(&self.db);
        }
    }

    /// Waits until the program is at points where it has not been yet, or has ended.
    fn stopped(&self, running: &mut Running) -> Vec<String> {
        let at = "SELECT substr(application_name, 4) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name LIKE 'at %' AND wait_event = 'advisory'";
        let look = || {
            let points: Vec<_> = self.db.rows(at).into_iter().flatten().collect();
            (!points.is_empty() || !running.is_alive()).then_some(points)
        };
        until_or(look, || format!("a point, or its end; so far: {:#?}", self.points))
    }

    fn let_go(&self, points: &[String]) {
        for point in points {
            self.db.exec(&format!("INSERT INTO piecemeal.passed VALUES ($${point}$$)"));
        }
        if self.kill == Kill::WithItsServer {
            let ours = "datname = current_database() AND (application_name LIKE 'at %' OR application_name LIKE 'piecemeal%')";
            self.db.exec(&format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}"
            ));
            self.db.until(&format!("NOT EXISTS (SELECT FROM pg_stat_activity WHERE {ours})"));
        }
        // It is had again when those who waited for it have ended their transactions.
        self.gate.exec("SELECT pg_advisory_unlock(7)");
        self.gate.exec("SELECT pg_advisory_lock(7)");
    }

    /// Returns the schema without what stops the program.
    fn schema(&self) -> String {
        self.db.exec("DROP EVENT TRIGGER stop");
        let schema = pg_dump(&self.db);
        self.db.exec(STOP_AT_DDL);
        schema
    }
}

/// Writes a row as the application does, and keeps its id.
fn write(db: &Db, columns: &str, values: &str) -> Result<(), String> {
    db.try_exec(&format!(
        "WITH new AS (INSERT INTO posts (id, {columns}) SELECT i, {values} FROM nextval('ids') i RETURNING id)
         INSERT INTO app.written SELECT id FROM new"
    ))
}

/// The application before its deploy.
fn old_writes(db: &Db) {
    write(db, "lat, lng", "i % 90, -i").expect("the old application is well");
}

/// The application after its deploy, which knows nothing of the old columns.
fn new_writes(db: &Db) {
    write(db, "loc", "point(-i, i % 90)").expect("the new application is well");
}

fn both_write(db: &Db) {
    old_writes(db);
    if db.is("EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'posts'::regclass)") {
        new_writes(db);
    }
}

/// The application while it goes back: the new one as long as its column is there, and the old one as soon as its
/// columns are filled.
fn both_write_back(db: &Db) {
    let over = "EXISTS (SELECT FROM piecemeal.run WHERE job = 'job.down' AND status = 'succeeded')";
    let has_new =
        "EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'posts'::regclass AND attname = 'loc')";
    if db.is(over) || !db.is(has_new) {
        old_writes(db);
    }
    if db.is(has_new) {
        new_writes(db);
    }
}

/// Checks that no row is lost, and none says something else than was written.
fn is_exact(db: &Db, is_wrong: &[&str]) {
    let is_wrong = is_wrong.join(" OR ");
    let wrong = db.rows(&format!("SELECT * FROM posts WHERE {is_wrong} ORDER BY id"));
    assert_eq!(wrong, Vec::<Vec<String>>::new());
    let written = "SELECT generate_series(1, 200) UNION ALL SELECT id FROM app.written";
    let lost = db.rows(&format!("({written}) EXCEPT ALL SELECT id FROM posts"));
    assert_eq!(lost, Vec::<Vec<String>>::new());
}

const OLD: &str = "(title, lat, lng) IS DISTINCT FROM ('x', id % 90, -id::float8)";
const NEW: &str = "(title, loc[0], loc[1]) IS DISTINCT FROM ('x', -id::float8, (id % 90)::float8)";

/// Returns what the schema is once a job that nobody kills is contracted.
fn contracted() -> String {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "job", JOB);
    cli.done(&["run", "job", "-y"]);
    cli.done(&["contract", "job", "-y"]);
    pg_dump(&db)
}

/// How the points begin at which it has to be killed, and how many there are of each.
const POINTS: [(&str, usize); 17] = [
    ("ddl ALTER TABLE", 6),
    ("ddl CREATE INDEX", 2),
    ("ddl CREATE TRIGGER", 2),
    ("ddl DROP TRIGGER", 2),
    ("step insert job expand.up", 2),
    ("step insert job contract.up", 2),
    ("step insert job contract.down", 2),
    ("step insert job expand.down", 2),
    ("step update job", 2),
    ("range update job ", 2),
    ("range update job.down ", 2),
    ("run update job expand", 2),
    ("run update job sync", 1),
    ("run update job contract", 3),
    ("run update job down", 3),
    ("run update job.down", 3),
    ("run delete job.down", 1),
];

/// Leads a job through its life with kills, and checks that they were where they have to be.
fn live(kill: Kill) {
    let db = Db::with(POSTS);
    let before = pg_dump(&db);
    let cli = Cli::new(&db, "job", JOB);
    cli.done(&["init"]);
    let mut killer = Killer::of(&db, kill);
    killer.until_done(&cli, &["run", "job", "-y"], both_write);
    is_exact(&db, &[OLD, NEW]);
    killer.until_done(&cli, &["contract", "job", "-y"], new_writes);
    is_exact(&db, &[NEW]);
    assert_eq!(killer.schema(), contracted());
    killer.until_done(&cli, &["down", "job", "-y"], both_write_back);
    is_exact(&db, &[OLD]);
    assert_eq!(killer.schema(), before);
    assert_eq!(
        db.rows("SELECT job, phase, status FROM piecemeal.run"),
        [["job", "down", "succeeded"]]
    );
    for (first_words, at_least) in POINTS {
        let n_points = killer.points.iter().filter(|it| it.starts_with(first_words)).count();
        assert!(n_points >= at_least, "{first_words}: {:#?}", killer.points);
    }
}

#[test]
fn a_job_that_is_killed_before_each_of_its_commits_lives_the_same_life() {
    live(Kill::WithItsServer);
}

#[test]
fn a_job_that_is_killed_after_each_of_its_commits_lives_the_same_life() {
    live(Kill::Alone);
}
