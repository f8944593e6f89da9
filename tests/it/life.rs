//! The life of a change among those who were there before it.

use std::thread;

use piecemeal::sandbox::Sandbox;

use crate::support::cli::Cli;
use crate::support::db::{Db, start_server};
use crate::support::job::Toml;
use crate::support::oracle;

const POSTS: &str = "CREATE TABLE posts (id int8 PRIMARY KEY, lat float8, lng float8);
    CREATE SEQUENCE ids START 10000;
    CREATE TABLE other (id int);
    INSERT INTO posts (id, lat, lng) SELECT i, i, -i FROM generate_series(1, 300) i";

/// Held by the second statement, a run stands between the new column and the trigger. Without a `where` no
/// sweep comes for rows that were missed, and the walk lasts as long as the writers.
fn job() -> String {
    let toml = Toml::on("public.posts").set("loc", "point(lng, lat)");
    let toml = toml.rows(30).expect("loc ~= point(lng, lat)");
    let expand = "[expand]
        up = ['ALTER TABLE posts ADD COLUMN loc point', 'ALTER TABLE other ADD COLUMN more int']
        down = []";
    toml.with(expand).with("[sync]").with("[pace]\nrate = '150/s'").text()
}

/// Lets 20 writers, and somebody who dumps the table, begin before the trigger is there.
fn begin_among_writers(server: &Sandbox, nth: u32) {
    let name = format!("life_{nth}");
    Db::connect("postgres", &server.url("postgres")).exec(&format!("CREATE DATABASE {name}"));
    let db = Db::connect(&name, &server.url(&name));
    db.exec(POSTS);
    let holder = db.session();
    holder.exec("BEGIN; LOCK TABLE other IN ACCESS SHARE MODE");
    let pid = holder.number("SELECT pg_backend_pid()");
    let cli = Cli::new(&db, "job", &job());
    let running = cli.start(&["run", "job", "--yes"]);
    running.until_it_says(&format!("public.other is in use by pid {pid}"));
    let dump = db.session();
    dump.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM posts");
    let writers: Vec<Db> = (0..20)
        .map(|nth| {
            let session = db.session();
            let level = if nth % 2 == 0 { "REPEATABLE READ" } else { "READ COMMITTED" };
            session.exec(&format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM posts"));
            session
        })
        .collect();
    let without_trigger = "SELECT count(*) = 0 FROM pg_trigger WHERE tgrelid = 'posts'::regclass";
    assert!(db.is(without_trigger), "they began before it");
    holder.exec("COMMIT");
    thread::scope(|scope| {
        for session in writers {
            scope.spawn(move || {
                session.exec(
                    "SELECT pg_sleep(random() * 2);
                     INSERT INTO posts (id, lat, lng) VALUES (nextval('ids'), 3, 4);
                     SELECT pg_sleep(0.05); COMMIT",
                );
            });
        }
    });
    let answer = running.wait().exits(0);
    let pid = dump.number("SELECT pg_backend_pid()");
    assert!(!answer.stderr.contains(&format!("held by pid {pid}")), "{}", answer.stderr);
    dump.exec("COMMIT");
    let missed = "SELECT id, loc FROM posts WHERE coalesce(NOT loc ~= point(lng, lat), true)";
    assert_eq!(db.rows(missed), Vec::<Vec<String>>::new());
    assert_eq!(db.number("SELECT count(*) FROM posts"), 300 + 20);
    oracle::ended(&db, "job", "rows");
}

#[test]
fn no_row_is_missed_of_writers_who_began_between_expand_and_trigger_and_a_dump_delays_nothing() {
    // On a server apart: what these transactions keep alive would keep others from pruning theirs.
    let server = start_server(&[("deadlock_timeout", "20ms"), ("max_connections", "200")]);
    thread::scope(|scope| {
        for nth in 0..5 {
            let server = &server;
            scope.spawn(move || begin_among_writers(server, nth));
        }
    });
}
