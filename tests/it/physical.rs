//! Walks in physical order: every row once, whatever moves meanwhile, and whatever happens to the file.

use crate::support::cli::Cli;
use crate::support::db::{Db, Held};
use crate::support::job::Toml;
use crate::support::oracle::{ended, status};

/// Ways in which the rows of `t` are known; how they lie has nothing to do with it.
const KEYS: [(&str, &str, &str); 3] = [
    ("numbers", "id int8 PRIMARY KEY", "i"),
    ("uuid", "id uuid PRIMARY KEY", "md5(i::text)::uuid"),
    ("pair", "a int2, id text COLLATE \"C\", PRIMARY KEY (a, id)", "i % 7, i"),
];

/// Creates `t` with so many rows in random order, none of them done, about 60 to a block; where each of
/// them lies is noted in `was`.
fn scattered(key: &str, value: &str, rows: u32) -> String {
    let (columns, constraint) = key.split_once(", PRIMARY").unwrap_or((key, ""));
    let constraint = if constraint.is_empty() { "" } else { &format!(", PRIMARY{constraint}") };
    format!(
        "SELECT setseed(0.4);
         CREATE TABLE t ({columns}, n int NOT NULL DEFAULT 0, e text, pad text DEFAULT repeat('x', 80){constraint})
         WITH (autovacuum_enabled = off);
         INSERT INTO t SELECT {value} FROM generate_series(1, {rows}) i ORDER BY random();
         CREATE TABLE was AS SELECT *, ctid AS place FROM t"
    )
}

fn numbers(rows: u32) -> Db {
    Db::with(&scattered(KEYS[0].1, KEYS[0].2, rows))
}

/// Adds one to `n` of every row that has no `e`: done twice, it shows.
fn job() -> Toml {
    Toml::on("t").set("n", "n + 1").set("e", "'x'").filter("e IS NULL").physical().striped()
}

/// The same, so that tests say when the table is vacuumed.
fn quiet(rows: u32) -> Toml {
    job().rows(rows).batch("stripes = 1").with("[pace]\nvacuum = \"off\"")
}

/// Checks that every row was done once, and the run is verified.
#[track_caller]
fn done(db: &Db, name: &str) {
    let wrong = db.rows("SELECT id, n, e FROM t WHERE n <> 1 OR e IS NULL LIMIT 5");
    assert_eq!(wrong, Vec::<Vec<String>>::new(), "{name}: rows that were not done exactly once");
    ended(db, name, "rows");
    let rows = db.number("SELECT count(*) FROM t");
    assert_eq!(db.number("SELECT sum(changed) FROM piecemeal.range"), rows, "{name}: the books");
}

#[test]
fn every_row_is_done_once_whatever_the_key_is() {
    for (name, key, value) in KEYS {
        let db = Db::with(&scattered(key, value, 4_000));
        let cli = Cli::new(&db, name, &job().rows(300).text());
        cli.done(&["run", name, "-y"]);
        done(&db, name);
        assert!(db.is("SELECT bool_and(cursor[1] LIKE '(%,65535)') FROM piecemeal.range"));
        // The last block had room, and a row that was done may be met there once more.
        let seen = db.number("SELECT sum(seen) FROM piecemeal.range");
        assert!((4_000..4_100).contains(&seen), "{name}: {seen} seen");
    }
}

#[test]
fn rows_are_done_in_the_order_in_which_they_lie() {
    let db = numbers(2_000);
    let cli = Cli::new(&db, "order", &quiet(100).text());
    cli.call(&["run", "order", "-y", "--limit", "700"]).exits(4);
    let (done, left) = (
        "SELECT max(place) FROM t JOIN was USING (id) WHERE t.n = 1",
        "SELECT min(place) FROM t JOIN was USING (id) WHERE t.n = 0",
    );
    assert!(db.is(&format!("({done}) < ({left})")));
    assert_eq!(db.text(done), db.text("SELECT cursor[1] FROM piecemeal.range"));
    cli.done(&["run", "order", "-y"]);
    self::done(&db, "order");
}

#[test]
fn rows_that_others_move_behind_the_walk_are_found_by_the_verification_and_swept() {
    let db = numbers(2_000);
    let cli = Cli::new(&db, "moved", &quiet(100).text());
    cli.call(&["run", "moved", "-y", "--limit", "1000"]).exits(4);
    // Now the blocks behind the walk have room.
    db.exec("VACUUM t");
    db.exec("UPDATE t SET pad = pad || 'y' WHERE e IS NULL AND id % 2 = 0");
    let behind = "SELECT count(*) FROM t WHERE e IS NULL AND ctid <= (SELECT cursor[1]::tid FROM piecemeal.range)";
    let behind = db.number(behind);
    assert!(behind > 100, "only {behind} rows are behind the walk");
    cli.done(&["run", "moved", "-y"]).says("sweep 1");
    done(&db, "moved");
    assert!(db.is("SELECT bool_and(upto[1] NOT LIKE '(%') FROM piecemeal.range WHERE pass > 0"));
}

#[test]
fn rows_that_are_written_while_it_walks_and_is_killed_are_done_once() {
    let db = numbers(3_000);
    let cli = Cli::new(&db, "live", &quiet(50).text());
    for round in 0..6 {
        let running = cli.start(&["run", "live", "-y", "--rate", "1500/s"]);
        db.until("to_regclass('piecemeal.range') IS NOT NULL");
        for part in round * 6..round * 6 + 6 {
            db.exec(&format!(
                "UPDATE t SET pad = repeat('z', {part}) WHERE id % 36 = {part};
                 INSERT INTO t SELECT 10000 + {part} * 10 + i FROM generate_series(1, 5) i;
                 DELETE FROM t WHERE id % 97 = {part}"
            ));
            db.exec("VACUUM t");
        }
        running.signal("KILL");
        running.wait();
    }
    cli.done(&["run", "live", "-y"]);
    let wrong = db.rows("SELECT id, n FROM t WHERE n <> 1 OR e IS NULL");
    assert_eq!(wrong, Vec::<Vec<String>>::new());
    ended(&db, "live", "rows");
}

#[test]
fn a_table_that_is_rewritten_is_walked_again_from_the_beginning() {
    for (name, rewrite) in [
        ("full", "VACUUM FULL t"),
        ("cluster", "CLUSTER t USING t_pkey"),
        ("alter", "ALTER TABLE t ADD COLUMN r float8 DEFAULT random()"),
    ] {
        let db = numbers(2_000);
        let cli = Cli::new(&db, name, &quiet(100).text());
        cli.call(&["run", name, "-y", "--limit", "1200"]).exits(4);
        db.exec(rewrite);
        cli.done(&["run", name, "-y"]).says("the table was rewritten");
        done(&db, name);
        assert_eq!(db.number("SELECT rewrites FROM piecemeal.run"), 1, "{name}");
        assert_eq!(db.number("SELECT max(pass) FROM piecemeal.range"), 0, "{name}: it was swept");
        assert!(db.is("EXISTS (SELECT FROM piecemeal.journal WHERE what = 'rewritten')"));
        assert!(db.is("SELECT filenode = pg_relation_filenode('t') FROM piecemeal.run"));
    }
}

#[test]
fn a_walk_of_several_ranges_begins_again_as_one_and_keeps_what_they_have_counted() {
    let db = numbers(4_000);
    let cli = Cli::new(&db, "aside", &quiet(100).text());
    let held = Held::row(&db, 1_234);
    let running = cli.start(&["run", "aside", "-y"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT count(*) = 3999 FROM t WHERE n = 1");
    running.signal("KILL");
    running.wait();
    assert!(db.is("SELECT count(*) > 1 AND bool_or(aside > 0) FROM piecemeal.range"));
    held.release();
    db.exec("VACUUM FULL t");
    cli.done(&["run", "aside", "-y"]).says("the table was rewritten");
    done(&db, "aside");
    assert_eq!(db.number("SELECT count(*) FROM piecemeal.range"), 1);
}

#[test]
fn several_workers_walk_parts_of_the_file_and_begin_again_together() {
    let db = numbers(120_000);
    db.exec("ANALYZE t");
    let job = job().with("[pace]\nworkers = 3\nvacuum = \"off\"");
    let cli = Cli::new(&db, "many", &job.text());
    let running = cli.start(&["run", "many", "-y", "--rate", "60000/s"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT count(*) FILTER (WHERE rev > 0) > 1 FROM piecemeal.range");
    db.exec("VACUUM FULL t");
    running.wait().exits(0).says("the table was rewritten");
    done(&db, "many");
    assert_eq!(db.number("SELECT rewrites FROM piecemeal.run"), 1);
    assert_eq!(db.number("SELECT max(pass) FROM piecemeal.range"), 0);
}

#[test]
fn a_table_that_is_rewritten_for_ever_is_not_walked_for_ever() {
    let db = numbers(500);
    let cli = Cli::new(&db, "again", &quiet(100).text());
    for _ in 0..11 {
        cli.call(&["run", "again", "-y", "--limit", "10"]).exits(4);
        db.exec("VACUUM FULL t");
    }
    cli.call(&["run", "again", "-y"])
        .exits(3)
        .says("rewritten again and again")
        .says("order = \"key\"");
    assert_eq!(db.number("SELECT rewrites FROM piecemeal.run"), 10);
    assert_eq!(status(&db), "failed");
}

#[test]
fn a_walk_that_is_killed_goes_on_where_its_last_batch_ended() {
    let db = numbers(2_000);
    let cli = Cli::new(&db, "killed", &quiet(100).text());
    let first = cli.start(&["run", "killed", "-y", "--rate", "500/s"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("(SELECT sum(batches) FROM piecemeal.range) > 4");
    first.signal("KILL");
    drop(first);
    let batches = db.number("SELECT sum(batches) FROM piecemeal.range");
    assert!(batches < 20, "it was over");
    cli.done(&["run", "killed", "-y"]).says("takeover");
    done(&db, "killed");
}

#[test]
fn without_a_where_it_is_refused_and_nothing_is_written() {
    let db = numbers(10);
    let cli = Cli::new(&db, "all", &Toml::on("t").set("n", "n + 1").physical().text());
    cli.call(&["run", "all", "-y"]).exits(3).says("order-without-where").says("`loc IS NULL`");
    cli.call(&["plan", "all"]).exits(3);
    assert!(db.is("to_regnamespace('piecemeal') IS NULL"));
}

#[test]
fn a_where_that_stays_true_stops_it_before_a_row_is_done_twice() {
    for (name, filter) in [("filter", "id > 0"), ("mixed", "e IS NULL OR id = 77")] {
        let db = numbers(1_000);
        let job =
            Toml::on("t").set("n", "n + 1").set("e", "'x'").filter(filter).physical().rows(50);
        let cli = Cli::new(&db, name, &job.text());
        let answer = cli.call(&["run", name, "-y"]).exits(3);
        answer.says("`where` is still true for rows that are done").says("order = \"key\"");
        assert_eq!(db.number("SELECT max(n) FROM t WHERE id = 77"), 0, "{name}: it was written");
        assert_eq!(db.number("SELECT count(*) FROM t WHERE n > 1"), 0);
        assert_eq!(status(&db), "failed");
        cli.call(&["resume", name]).exits(3);
        cli.done(&["cancel", name]);
        cli.write(name, &job.text().replace("physical", "key"));
        // A run in key order begins anew; what the batches before had done no longer matches.
        cli.call(&["run", name, "-y", "--again"]);
        assert_eq!(db.number("SELECT count(*) FROM t WHERE n <> 1"), 0);
    }
}

#[test]
fn a_row_that_cannot_be_done_is_named_by_its_key() {
    for (name, key, value) in KEYS {
        let db = Db::with(&scattered(key, value, 2_000));
        let bad = db.text("SELECT id FROM was ORDER BY place OFFSET 1234 LIMIT 1");
        db.exec(&format!("ALTER TABLE t ADD CONSTRAINT good CHECK (id::text <> '{bad}' OR n = 0)"));
        let cli = Cli::new(&db, name, &job().rows(100).text());
        let columns = if name == "pair" { "a, id" } else { "id" };
        let shown =
            db.text(&format!("SELECT concat_ws(', ', {columns}) FROM t WHERE id::text = '{bad}'"));
        cli.call(&["run", name, "-y"]).exits(5).says(&format!("key ({columns}) = ({shown})"));
        db.exec("ALTER TABLE t DROP CONSTRAINT good");
        cli.done(&["resume", name]);
        done(&db, name);
    }
}

#[test]
fn rows_in_whatever_stripe_are_done_once_and_many_of_them_are_hot() {
    let db = numbers(8_000);
    let job = job().rows(200).batch("stripes = 4").with("[pace]\nvacuum = \"off\"");
    let cli = Cli::new(&db, "striped", &job.text());
    for limit in ["130", "70", "1700", "250"] {
        cli.call(&["run", "striped", "-y", "--limit", limit]).exits(4);
    }
    cli.done(&["run", "striped", "-y"]);
    done(&db, "striped");
    db.until("SELECT n_tup_upd = 8000 FROM pg_stat_user_tables WHERE relname = 't'");
    let hot = db.number("SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 't'");
    assert!(hot > 800, "{hot} of 8,000");
}

#[test]
fn blocks_without_rows_are_passed_a_bounded_stretch_at_a_time() {
    let db = Db::with(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0, e text, pad text DEFAULT repeat('x', 350))
         WITH (fillfactor = 10, autovacuum_enabled = off);
         INSERT INTO t SELECT generate_series(1, 20000)",
    );
    db.exec("DELETE FROM t WHERE id BETWEEN 50 AND 19990");
    db.exec("VACUUM t");
    assert!(db.is("pg_relation_size('t') / 8192 > 8 * 1024"));
    // 10,000 blocks, of which one look goes over 1,024; each pass looks by itself.
    for (name, stripes, batches) in [("once", 1, 9..14), ("striped", 4, 33..56)] {
        db.exec("UPDATE t SET n = 0, e = NULL");
        db.exec("VACUUM t");
        db.exec("DROP SCHEMA IF EXISTS piecemeal CASCADE");
        let job = job().rows(1_000).batch(&format!("stripes = {stripes}"));
        let cli = Cli::new(&db, name, &job.with("[pace]\nvacuum = \"off\"").text());
        cli.done(&["run", name, "-y"]);
        done(&db, name);
        let made = db.number("SELECT sum(batches) FROM piecemeal.range");
        assert!(batches.contains(&made), "{name}: {made} batches");
        assert_eq!(db.number("SELECT sum(retries) FROM piecemeal.range"), 0, "{name}");
    }
}

#[test]
fn an_empty_table_is_done_at_once() {
    let db = Db::with("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, e text)");
    let cli = Cli::new(&db, "empty", &job().text());
    cli.done(&["run", "empty", "-y"]);
    ended(&db, "empty", "rows");
}

#[test]
fn a_plan_reads_ranges_of_blocks_whatever_indexes_the_where_has() {
    let db = numbers(20_000);
    db.exec(
        "ALTER TABLE t ADD old bool NOT NULL DEFAULT true; CREATE INDEX ON t (old);
         CREATE INDEX ON t (id) WHERE old; UPDATE t SET old = id = 1",
    );
    db.exec("VACUUM ANALYZE t");
    let job = Toml::on("t").set("n", "n + 1").set("old", "false").filter("old").physical();
    let cli = Cli::new(&db, "plan", &job.text());
    let said = cli.done(&["plan", "plan"]).stdout;
    assert_eq!(said.matches("Tid Range Scan on t").count(), 2, "{said}");
    assert!(said.contains("order: physical"), "{said}");
    let by_key = job.text().replace("physical", "key");
    cli.write("key", &by_key);
    let said = cli.done(&["plan", "key"]).stdout;
    assert_eq!(said.matches("using t_pkey on t").count(), 2, "{said}");
    let plan = cli.done(&["plan", "plan", "-o", "json"]).json();
    assert_eq!(plan["plan"]["order"], "physical");
    assert!(plan["plan"]["rehearsal"]["keys"].as_u64() > Some(0), "{plan}");
    cli.done(&["run", "plan", "-y"]);
    assert_eq!(db.rows("SELECT id, n FROM t WHERE n > 0"), [["1", "1"]]);
}

#[test]
fn a_run_does_not_go_on_in_another_order() {
    let db = numbers(100);
    let cli = Cli::new(&db, "order", &quiet(10).text());
    cli.call(&["run", "order", "-y", "--limit", "10"]).exits(4);
    cli.write("order", &quiet(10).text().replace("order = \"physical\"", ""));
    cli.call(&["run", "order", "-y"]).exits(3).says("order: `physical` → `key`");
}
