//! A rehearsal measures what a batch is like, and nobody can see that it was there.

use serde_json::Value;

use crate::support::cli::{Answer, Cli};
use crate::support::db::{Db, port};
use crate::support::job::{Toml, numbers};
use crate::support::proxy::Proxy;

/// More rows than three batches have.
const ROWS: u32 = 5_000;

fn plan_of(cli: &Cli) -> Value {
    cli.done(&["plan", "job", "-o", "json"]).json()["plan"].take()
}

fn increments(db: &Db) -> Cli {
    Cli::new(db, "job", &Toml::increment().text())
}

/// Everything that anybody can see of the rows, and who wrote them.
fn seen(db: &Db) -> String {
    db.text("SELECT md5(string_agg(t::text || xmin || ctid, ',' ORDER BY id)) FROM t")
}

fn codes(plan: &Value) -> Vec<&str> {
    let findings = plan["findings"].as_array().expect("findings");
    findings.iter().filter_map(|finding| finding["code"].as_str()).collect()
}

fn finding<'p>(plan: &'p Value, code: &str) -> &'p Value {
    let findings = plan["findings"].as_array().expect("findings");
    findings.iter().find(|finding| finding["code"] == code).unwrap_or(&Value::Null)
}

#[test]
fn a_rehearsal_changes_no_row_that_anybody_sees_and_leaves_no_transaction() {
    let db = Db::with(&(numbers(ROWS) + "; ANALYZE t"));
    let before = seen(&db);
    let plan = plan_of(&increments(&db));
    assert_eq!(before, seen(&db));
    assert!(db.is("to_regnamespace('piecemeal') IS NULL"));
    let others = "pid <> pg_backend_pid() AND datname = current_database()";
    db.until(&format!("SELECT count(*) = 0 FROM pg_stat_activity WHERE {others}"));
    let rehearsal = &plan["rehearsal"];
    let batches = rehearsal["batches"].as_array().expect("batches");
    assert_eq!(batches.len(), 3, "{rehearsal}");
    // The last one may be near the end, where fewer are left.
    assert!((2_000..=3_000).contains(&rehearsal["changed"].as_u64().expect("a count")));
    assert_eq!(rehearsal["matched"], rehearsal["changed"]);
    assert!(rehearsal["wal_bytes"].as_u64() > Some(100_000), "{rehearsal}");
    assert!(rehearsal["locked_ms"].as_f64() > Some(0.0), "{rehearsal}");
    let keys: Vec<i64> = batches
        .iter()
        .map(|it| it["after"][0].as_str().and_then(|key| key.parse().ok()).expect("a key"))
        .collect();
    assert!(keys[0] < 2_000 && (1_500..3_500).contains(&keys[1]) && keys[2] > 3_000, "{keys:?}");
    let forecast = &plan["forecast"];
    assert_eq!(forecast["matching"], ROWS);
    assert!(forecast["walk_s"].as_f64() > Some(0.0), "{forecast}");
    assert!(forecast["verification_s"].as_f64() > Some(0.0), "{forecast}");
    let now = forecast["table_bytes"]["now"].as_i64().expect("bytes");
    let plain = forecast["table_bytes"]["without_vacuum"].as_i64().expect("bytes");
    assert!(plain > now * 3 / 2 && plain < now * 3, "{now} {forecast}");
}

#[test]
fn workers_that_would_find_nothing_to_do_are_named_before_a_run_and_when_it_begins() {
    let idle = ": more workers find nothing to do";
    for (rows, ranges, in_words, is_idle) in [
        (1_000, 1, "one range", true),
        (150_000, 3, "about 3 ranges", true),
        (200_000, 4, "about 4 ranges", false),
    ] {
        let db = Db::with(&(numbers(rows) + "; ANALYZE t"));
        let job = Toml::increment().with("[pace]\nvacuum = \"off\"\nworkers = 4");
        let cli = Cli::new(&db, "job", &job.text());
        let line =
            format!("workers: 4 in each process, {in_words}{}\n", if is_idle { idle } else { "" });
        let text = cli.done(&["plan", "job", "--no-rehearsal"]).stdout;
        assert!(text.contains(&line), "{text}");
        let plan = cli.done(&["plan", "job", "--no-rehearsal", "-o", "json"]).json();
        assert_eq!(
            (&plan["plan"]["pace"]["workers"], &plan["plan"]["pace"]["ranges"]),
            (&4.into(), &ranges.into())
        );
        let begun = cli.call(&["run", "job", "-y", "--progress", "jsonl", "--limit", "1"]);
        assert_eq!(begun.stdout.contains("\"one_range\""), ranges == 1, "{}", begun.stdout);
    }
}

#[test]
fn the_rows_of_the_table_are_rewritten_in_place_where_pages_have_room() {
    let db = Db::with(
        "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (fillfactor = 40);
         INSERT INTO t SELECT generate_series(1, 3000)",
    );
    let cli = increments(&db);
    let hot = |plan: &Value| plan["rehearsal"]["hot"].as_f64().expect("counted");
    assert!(hot(&plan_of(&cli)) > 0.9);
    db.exec("CREATE INDEX t_n ON t (n)");
    let plan = plan_of(&cli);
    assert!(hot(&plan) < 1e-9, "{plan}");
    assert!(codes(&plan).contains(&"column-indexed"));
}

#[test]
fn a_trigger_shows_with_its_calls_and_a_suppressed_row_is_not_counted_as_changed() {
    let db = Db::with(&numbers(ROWS));
    db.exec(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF old.id % 2 = 0 THEN RETURN NULL; END IF; RETURN new; END';
         CREATE TRIGGER keep BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    let plan = plan_of(&increments(&db));
    let rehearsal = &plan["rehearsal"];
    let count = |value: &Value| value.as_u64().expect("a count");
    let matched = count(&rehearsal["matched"]);
    assert_eq!(rehearsal["triggers"][0]["name"], "keep");
    assert_eq!(rehearsal["triggers"][0]["calls"], matched);
    assert!(rehearsal["triggers"][0]["ms"].as_f64() > Some(0.0), "{rehearsal}");
    assert!(count(&rehearsal["changed"]).abs_diff(matched / 2) <= 3, "{rehearsal}");
    let said = increments(&db).done(&["plan", "job"]).stdout;
    assert!(
        said.contains("  trigger keep: ") && said.contains("left as they are by a trigger"),
        "{said}"
    );
}

#[test]
fn a_where_that_matches_little_is_forecast_so() {
    let db = Db::with(&(numbers(ROWS) + "; ANALYZE t"));
    let job = Toml::increment().filter("id % 10 = 0 AND n = 0").text();
    let cli = Cli::new(&db, "job", &job);
    let matching = plan_of(&cli)["forecast"]["matching"].as_u64().expect("known");
    assert!(matching.abs_diff(500) < 10, "{matching}");
    cli.write("job", &Toml::increment().filter("n > 0").text());
    let forecast = &plan_of(&cli)["forecast"];
    assert_eq!((&forecast["matching"], &forecast["wal_bytes"]), (&0.into(), &0.into()));
    assert_eq!(forecast["table_bytes"]["now"], forecast["table_bytes"]["without_vacuum"]);
}

#[test]
fn a_batch_that_takes_too_long_is_tried_with_a_tenth_of_its_rows() {
    let db = Db::with(&numbers(ROWS));
    db.exec(
        "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep(0.0005); RETURN $1; END'",
    );
    let job = Toml::on("t").set("n", "slow(n) + 1").batch("give_way = '400ms'").text();
    let plan = plan_of(&Cli::new(&db, "job", &job));
    let first = &plan["rehearsal"]["batches"][0];
    assert_eq!((&first["tries"], &first["keys"]), (&2.into(), &100.into()), "{plan}");
    assert_eq!(first["result"], "measured");
}

#[test]
fn locks_are_held_no_longer_than_give_way_with_the_look_at_the_rows() {
    let db = Db::with(&numbers(ROWS));
    let limits = "current_setting('statement_timeout') || current_setting('lock_timeout')";
    let expression = format!("CASE {limits} WHEN '80ms50ms' THEN n + 1 ELSE n / 0 END");
    let job = Toml::on("t").set("n", &expression).batch("give_way = '100ms'").text();
    let plan = plan_of(&Cli::new(&db, "job", &job));
    assert_eq!(plan["rehearsal"]["batches"][0]["result"], "measured", "{plan}");
}

#[test]
fn rows_that_others_hold_are_a_result_and_nobody_waits_long() {
    let db = Db::with(&numbers(ROWS));
    let other = db.session();
    other.exec("BEGIN; SELECT FROM t FOR UPDATE");
    let cli = increments(&db);
    let plan = plan_of(&cli);
    assert_eq!(plan["rehearsal"]["batches"][2]["result"], "out-of-time");
    let found = finding(&plan, "rehearsal-slow");
    let why = found["why"].as_str().expect("a reason");
    assert!(why.contains("it meets locks") && why.contains("55P03"), "{found}");
    assert!(plan["forecast"]["walk_s"].is_null(), "{plan}");
    let said = cli.done(&["plan", "job"]).stdout;
    assert!(said.contains("not done, not even 100 keys") && said.contains("at least"), "{said}");
    assert!(said.contains("time of the walk: unknown"), "{said}");
    other.exec("ROLLBACK");
}

#[test]
fn a_bad_row_is_a_finding_and_no_failure() {
    let db = Db::with(&numbers(ROWS));
    db.exec("ALTER TABLE t ADD CONSTRAINT small CHECK (n < 1)");
    let plan = plan_of(&increments(&db));
    assert_eq!(plan["rehearsal"]["batches"][0]["result"], "refused");
    let found = finding(&plan, "rehearsal-bad-row");
    assert_eq!(found["severity"], "warn");
    assert!(found["why"].as_str().is_some_and(|why| why.contains("SQLSTATE 23514")), "{found}");
}

#[test]
fn what_a_trigger_may_not_do_is_a_finding_too() {
    let db = Db::with(&numbers(10));
    db.exec(
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM nothing(); RETURN new; END';
         CREATE TRIGGER broken BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION broken()",
    );
    let plan = plan_of(&increments(&db));
    let found = finding(&plan, "rehearsal-refused");
    assert!(found["why"].as_str().is_some_and(|why| why.contains("42883")), "{found}");
}

#[test]
fn a_where_that_is_still_true_of_rows_that_are_done_is_said_where_it_would_stop_the_run() {
    let db = Db::with(&numbers(ROWS));
    let said = |job: Toml| {
        let plan = plan_of(&Cli::new(&db, "job", &job.text()));
        let finding =
            codes(&plan).contains(&"rehearsal-where").then(|| finding(&plan, "rehearsal-where"));
        finding.map(|it| it["what"].as_str().expect("what it is").to_owned())
    };
    let all = || Toml::increment().filter("id > 0");
    let odd = || Toml::increment().filter("n < id % 2 + 1");
    assert!(said(all().physical()).is_some() && said(odd().physical()).is_some());
    assert_eq!(said(Toml::increment().filter("n = 0").physical()), None, "it says what is to do");
    assert_eq!(said(all()), None, "in the order of the key a filter is no matter");
    let some = said(odd()).expect("nothing would prove the run");
    assert!(some.starts_with("`where` is still true for "), "{some}");
    assert_eq!(said(odd().expect("n > 0")), None, "`expect` proves it");
}

#[test]
fn the_first_batch_is_small_where_rows_are_large_also_by_what_is_stored_apart() {
    for of_partitions in ["", "PARTITION BY RANGE (id)"] {
        let db = Db::with(&format!(
            "CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0, big text) {of_partitions}"
        ));
        if !of_partitions.is_empty() {
            db.exec("CREATE TABLE p PARTITION OF t DEFAULT");
        }
        db.exec(
            "ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
             INSERT INTO t SELECT i, 0, repeat('x', 200000) FROM generate_series(1, 50) i; ANALYZE t",
        );
        let said = increments(&db).done(&["plan", "job", "--no-rehearsal"]).stdout;
        let first = said
            .split(" at the ")
            .find_map(|it| it.split(" rows it starts with").next()?.parse::<u32>().ok());
        assert!(first.is_some_and(|first| (70..90).contains(&first)), "{said}");
    }
}

#[test]
fn an_empty_table_has_nothing_to_rehearse() {
    let db = Db::with(&numbers(0));
    let cli = increments(&db);
    let plan = plan_of(&cli);
    assert_eq!(plan["rehearsal"]["batches"].as_array().map(Vec::len), Some(0));
    assert!(plan["forecast"]["walk_s"].is_null(), "{plan}");
    let said = cli.done(&["plan", "job"]).stdout;
    assert!(said.contains("rehearsal:\n  (the table is empty)"), "{said}");
}

#[test]
fn a_few_rows_are_rehearsed_from_the_first() {
    let db = Db::with(&numbers(2));
    let rehearsal = &plan_of(&increments(&db))["rehearsal"];
    assert!(rehearsal["changed"].as_u64() > Some(0), "{rehearsal}");
    assert!(rehearsal["batches"][0]["after"].is_null(), "{rehearsal}");
}

#[test]
fn a_run_does_not_rehearse() {
    let db = Db::with(&numbers(100));
    db.count_updates("fired");
    let cli = increments(&db);
    cli.done(&["run", "job", "-y"]);
    assert_eq!(db.number("SELECT last_value FROM fired"), 100);
    cli.done(&["plan", "job"]);
    assert!(db.number("SELECT last_value FROM fired") > 100);
}

/// The program as a role that has what a job needs and nothing more.
fn as_clerk(db: &Db) -> Cli {
    db.exec(&format!(
        "DROP ROLE IF EXISTS clerk_{0}; CREATE ROLE clerk_{0} LOGIN;
         GRANT CREATE ON DATABASE {0} TO clerk_{0};
         GRANT SELECT (id, n), UPDATE (n) ON t TO clerk_{0}",
        db.name
    ));
    let mut cli = increments(db);
    cli.url = cli.url.replacen("postgres@", &format!("clerk_{}@", db.name), 1);
    cli
}

fn says(answer: &Answer, text: &str) {
    assert!(answer.stdout.contains(text), "`{text}` is not in:\n{}", answer.stdout);
}

#[test]
fn who_may_not_vacuum_is_told_what_it_costs() {
    let db = Db::with(&numbers(ROWS));
    let cli = as_clerk(&db);
    says(&cli.done(&["plan", "job"]), "vacuum: none: this role may not vacuum the table");
    let plan = plan_of(&cli);
    let found = finding(&plan, "vacuum-privilege");
    assert_eq!(found["severity"], "warn");
    assert!(found["why"].as_str().is_some_and(|why| why.contains("kB to ")), "{found}");
    let forecast = &plan["forecast"];
    assert!(forecast["table_bytes"]["with_vacuum"].is_null(), "{forecast}");
    assert!(forecast["table_bytes"]["without_vacuum"].is_u64(), "{forecast}");
    says(&cli.done(&["doctor", "job"]), "may not vacuum public.t");
}

#[test]
fn columns_that_may_not_be_read_leave_the_size_unknown_and_nothing_else() {
    let db = Db::with(&numbers(ROWS));
    db.exec("ALTER TABLE t ADD COLUMN secret text DEFAULT 'x'");
    let forecast = &plan_of(&as_clerk(&db))["forecast"];
    assert!(forecast["table_bytes"]["without_vacuum"].is_null(), "{forecast}");
    assert!(forecast["walk_s"].is_f64() && forecast["wal_bytes"].is_u64(), "{forecast}");
}

#[test]
fn whoever_lacks_the_ledger_is_unfit() {
    let db = Db::with(&numbers(10));
    let cli = as_clerk(&db);
    db.exec(&format!("REVOKE CREATE ON DATABASE {0} FROM clerk_{0}", db.name));
    let answer = cli.call(&["doctor"]).exits(3);
    says(&answer, "fail  ledger");
    let checkup = cli.call(&["doctor", "-o", "json"]).exits(3).json();
    assert_eq!(checkup["doctor"]["fit"], false);
}

#[test]
fn a_pooler_is_noticed_and_there_is_no_vacuum_behind_it() {
    let db = Db::with(&numbers(ROWS));
    let mut cli = increments(&db);
    db.exec(&format!("CREATE ROLE porter_{} SUPERUSER LOGIN PASSWORD 'x'", db.name));
    let proxy = Proxy::to(port());
    cli.url = format!("postgres://porter_{0}:x@127.0.0.1:{1}/{0}", db.name, proxy.port);
    says(&cli.done(&["doctor"]), "warn  route               through a pooler");
    says(&cli.done(&["plan", "job"]), "vacuum: none behind a pooler");
    assert!(plan_of(&cli)["forecast"]["table_bytes"]["with_vacuum"].is_null());
}

#[test]
fn a_table_that_somebody_has_locked_is_named_as_that_and_not_as_a_bug() {
    let db = Db::with(&numbers(10));
    let holder = db.session();
    holder.exec("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
    let cli = increments(&db);
    for command in [&["plan", "job"][..], &["run", "job", "-y"]] {
        cli.call(command).exits(4).says("lock timeout").says("somebody holds a lock");
    }
    holder.exec("ROLLBACK");
    cli.done(&["run", "job", "-y"]);
}
