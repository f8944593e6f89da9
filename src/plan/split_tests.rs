//! Cuts against a real server: keys of every kind tile the key space into ranges of equal rows.

use std::time::Duration;

use super::{Plan, cut_into, cuts, cuts_by_key};
use crate::job::Job;
use crate::pg::fault::is_lock_timeout;
use crate::pg::{Connect, Database, Environment, Guards, Lane, Param, Session};
use crate::plan::prepare::counted;
use crate::sandbox::{self, Sandbox};
use crate::walk::Key;

/// Tables named by what they are keyed by, with 500 rows each.
const TABLES: [(&str, &str, &str); 12] = [
    ("int2", "k int2", "SELECT i - 250 FROM i"),
    ("int8", "k int8", "SELECT i * 1000000000000 - 7 FROM i"),
    ("skew", "k int8", "SELECT CASE WHEN i < 450 THEN i ELSE i * 1000000 END FROM i"),
    ("uuid", "k uuid", "SELECT md5(i::text)::uuid FROM i"),
    ("text_c", "k text COLLATE \"C\"", "SELECT chr(33 + i % 90) || md5(i::text) FROM i"),
    ("text_icu", "k text COLLATE \"de-x-icu\"", "SELECT chr(33 + i % 190) || md5(i::text) FROM i"),
    ("chars", "k char(9)", "SELECT substr(md5(i::text), 1, 4 + i % 6) FROM i"),
    ("numerics", "k numeric", "SELECT 9007199254740993 + i * 0.000001 FROM i"),
    (
        "stamps",
        "k timestamptz",
        "SELECT '2026-03-29 01:00+01'::timestamptz + i * interval '1 us' FROM i",
    ),
    ("bytes", "k bytea", "SELECT decode(md5(i::text), 'hex') FROM i"),
    ("moods", "k mood, l int4", "SELECT (enum_range(NULL::mood))[1 + i % 4], i FROM i"),
    (
        "three",
        "k bool, l date, m text",
        "SELECT i % 2 = 0, '-infinity'::date + 0, '{\"' || i FROM i",
    ),
];

struct Scene {
    _sandbox: Sandbox,
    database: Database,
}

impl Scene {
    async fn set() -> Scene {
        let sandbox = sandbox::start(&[]);
        let url = sandbox.url("postgres");
        let connect = Connect::resolve(Some(&url), &Environment::default()).unwrap();
        let (client, _) = connect.open().await.unwrap();
        client
            .batch_execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'Angry')")
            .await
            .unwrap();
        for (name, columns, rows) in TABLES {
            let key: Vec<_> = columns.split(", ").map(|it| &it[..1]).collect();
            let key = key.join(", ");
            let sql = format!(
                "CREATE TABLE {name} ({columns}, n int DEFAULT 0, PRIMARY KEY ({key}));
                 WITH i AS (SELECT generate_series(1, 500) AS i) INSERT INTO {name} ({key}) {rows}"
            );
            client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        Scene { _sandbox: sandbox, database: Database::new(connect).unwrap() }
    }

    /// Returns the rows of each range that a table is cut into, as the server counts them.
    async fn sizes(&self, table: &str, ranges: u32) -> Vec<i64> {
        let job = Job::builder(table, format!("public.{table}")).set("n", "1");
        let job = if table == "shared" { job.key(["k"]) } else { job }.build().unwrap();
        self.sizes_of(&job, ranges).await
    }

    async fn sizes_of(&self, job: &Job, ranges: u32) -> Vec<i64> {
        let plan = Plan::build(job, &self.database).await.unwrap();
        let upto = plan.last_key.clone().unwrap();
        let mut session = self.database.session(Lane::Work).await.unwrap();
        let weighs = job.table.filter.is_some();
        let ends = cut_into(&mut session, &plan, (&upto, ranges), weighs).await.unwrap();
        let parts = parts(&mut session, &plan, ends).await;
        parts.into_iter().map(|(rows, _)| rows).collect()
    }
}

/// Returns the rows of each range that ends there, or at the last key, and how many of them have an `n` of 0.
async fn parts(session: &mut Session, plan: &Plan, mut ends: Vec<Key>) -> Vec<(i64, i64)> {
    ends.push(plan.last_key.clone().unwrap());
    let (mut parts, mut after) = (Vec::new(), None::<Key>);
    for end in ends {
        let lower = after.as_ref().map(|after| Param::Texts(Some(after.values())));
        let params: Vec<_> = [Param::Texts(Some(end.values()))].into_iter().chain(lower).collect();
        let stretch = plan.statements.by_key.stretch.of_stretch(after.is_some());
        let table = &plan.target.keyset.table;
        let counts = "count(*), count(*) FILTER (WHERE n = 0)";
        let sql = format!("SELECT {counts} FROM {table} WHERE {stretch}");
        let rows = session.transact(&Guards::reading(), &sql, &params).await.unwrap();
        parts.push((rows[0].get(0), rows[0].get(1)));
        after = Some(end);
    }
    parts
}

#[tokio::test]
async fn keys_of_every_kind_are_cut_into_ranges_of_equal_rows_that_tile() {
    let scene = Scene::set().await;
    for (table, ..) in TABLES {
        for ranges in [1, 2, 7, 64] {
            let sizes = scene.sizes(table, ranges).await;
            assert_eq!(sizes.len(), ranges as usize, "{table}: {sizes:?}");
            assert_eq!(sizes.iter().sum::<i64>(), 500, "{table}: {sizes:?}");
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1, "{table}: {sizes:?}");
        }
    }
}

#[tokio::test]
async fn a_table_with_fewer_rows_than_ranges_has_no_empty_range() {
    let scene = Scene::set().await;
    let (client, _) = scene.database.connect().open().await.unwrap();
    client.batch_execute("DELETE FROM int2 WHERE k > -240").await.unwrap();
    let sizes = scene.sizes("int2", 64).await;
    assert!(sizes.iter().sum::<i64>() == 10 && !sizes.contains(&0), "{sizes:?}");
    client.batch_execute("DELETE FROM int2 WHERE k > -249").await.unwrap();
    assert_eq!(scene.sizes("int2", 64).await, [1]);
}

#[tokio::test]
async fn a_key_that_many_rows_share_cuts_once() {
    let scene = Scene::set().await;
    let (client, _) = scene.database.connect().open().await.unwrap();
    let sql = "CREATE TABLE shared (k int, day int, n int, PRIMARY KEY (k, day)) PARTITION BY LIST (day);
        CREATE TABLE shared_1 PARTITION OF shared DEFAULT;
        INSERT INTO shared SELECT CASE WHEN i < 300 THEN 7 ELSE i END, i FROM generate_series(1, 500) i";
    client.batch_execute(sql).await.unwrap();
    let sizes = scene.sizes("shared", 16).await;
    assert_eq!((sizes.iter().sum::<i64>(), sizes.contains(&0)), (500, false), "{sizes:?}");
    assert!(sizes.len() > 5 && sizes[0] == 299, "{sizes:?}");
}

#[tokio::test]
async fn rows_that_are_to_do_are_spread_over_the_ranges_wherever_they_lie() {
    let scene = Scene::set().await;
    let (client, _) = scene.database.connect().open().await.unwrap();
    let sql = "CREATE TABLE old (k int PRIMARY KEY, n int);
        INSERT INTO old SELECT i, (i > 4000)::int FROM generate_series(1, 200000) i; ANALYZE old";
    client.batch_execute(sql).await.unwrap();
    // A name may be qualified, as in any statement of the job.
    let job = Job::builder("old", "public.old").set("n", "1").filter("old.n = 0");
    let job = job.give_way(Duration::from_mins(1)).build().unwrap();
    let plan = Plan::build(&job, &scene.database).await.unwrap();
    let upto = plan.last_key.clone().unwrap();
    let mut session = scene.database.session(Lane::Work).await.unwrap();
    let by_both = cuts(&mut session, &plan, &upto).await.unwrap();
    let by_both = parts(&mut session, &plan, by_both).await;
    // The sample is a tenth: about a fortieth more or less, and as good as never a quarter.
    for (rows, to_do) in &by_both {
        assert!(*rows < 125_000 && *to_do < 2_500, "{by_both:?}");
    }
    assert_eq!(by_both.iter().map(|it| it.0).sum::<i64>(), 200_000, "{by_both:?}");
    assert!(by_both.len() == 4 && by_both[1].1 > 1_000, "{by_both:?}");
    // A verification looks at all rows.
    let by_rows = cuts_by_key(&mut session, &plan, &upto).await.unwrap();
    let by_rows = parts(&mut session, &plan, by_rows).await;
    assert!(by_rows[0].0 > 40_000 && by_rows[0].1 == 4_000, "{by_rows:?}");
}

#[tokio::test]
async fn a_where_that_is_too_slow_or_fails_leaves_ranges_of_equal_rows() {
    let scene = Scene::set().await;
    let (client, _) = scene.database.connect().open().await.unwrap();
    let sql = "CREATE FUNCTION slow(int) RETURNS bool LANGUAGE sql AS 'SELECT $1 = 0 FROM pg_sleep(0.01)'";
    client.batch_execute(sql).await.unwrap();
    for filter in ["slow(n)", "1 / n = 1"] {
        let job = Job::builder("int8", "public.int8").set("n", "1").filter(filter);
        let job = job.give_way(Duration::from_millis(200)).build().unwrap();
        assert_eq!(scene.sizes_of(&job, 4).await, [125; 4], "{filter}");
    }
}

#[tokio::test]
async fn a_table_that_is_sampled_for_longer_than_others_should_wait_is_one_range() {
    let scene = Scene::set().await;
    let (client, _) = scene.database.connect().open().await.unwrap();
    let sql = "CREATE TABLE many (k int PRIMARY KEY, n int);
        INSERT INTO many SELECT generate_series(1, 300000); ANALYZE many";
    client.batch_execute(sql).await.unwrap();
    for (give_way, is_cut) in [(Duration::from_mins(1), true), (Duration::from_millis(1), false)] {
        let job = Job::builder("many", "public.many").set("n", "1").give_way(give_way);
        let job = job.target(Duration::from_millis(1)).build().unwrap();
        let sizes = scene.sizes_of(&job, 4).await;
        assert_eq!((sizes.len() > 1, sizes.iter().sum()), (is_cut, 300_000_i64), "{sizes:?}");
    }
}

#[tokio::test]
async fn a_sample_of_pages_tells_about_how_many_rows_there_are() {
    let scene = Scene::set().await;
    let (client, _) = scene.database.connect().open().await.unwrap();
    let sql = "CREATE TABLE large AS SELECT generate_series(1, 100000) AS i";
    client.batch_execute(sql).await.unwrap();
    let job = Job::builder("large", "public.large").set("n", "1").give_way(Duration::from_mins(1));
    let job = job.build().unwrap();
    let mut session = scene.database.session(Lane::Work).await.unwrap();
    let all = counted(&mut session, &job, "public.large", None).await.unwrap();
    let pages = counted(&mut session, &job, "public.large", Some(100.0)).await.unwrap();
    assert_eq!([all, pages], [Some(100_000); 2]);
    // Of 443 pages a few more or less than 133: by chance, not more than 45.
    let about = counted(&mut session, &job, "public.large", Some(30.0)).await.unwrap().unwrap();
    assert!((65_000..=135_000).contains(&about), "{about}");
}

#[tokio::test]
async fn a_table_that_nobody_has_analyzed_is_not_counted_for_longer_than_others_should_wait() {
    let scene = Scene::set().await;
    let (client, _) = scene.database.connect().open().await.unwrap();
    let sql = "CREATE TABLE fresh (id int PRIMARY KEY, n int) WITH (autovacuum_enabled = off);
        INSERT INTO fresh SELECT generate_series(1, 2000000)";
    client.batch_execute(sql).await.unwrap();
    let job = Job::builder("fresh", "public.fresh").set("n", "1");
    let job = job.give_way(Duration::from_millis(20)).target(Duration::from_millis(20));
    let job = job.build().unwrap();
    let mut session = scene.database.session(Lane::Work).await.unwrap();
    assert_eq!(counted(&mut session, &job, "public.fresh", None).await.unwrap(), None);
    // A few pages are sampled in that time.
    let about = Plan::build(&job, &scene.database).await.unwrap().estimate;
    let about = about.expect("an estimate");
    assert!((1_000_000..=3_000_000).contains(&about), "{about}");
}

#[tokio::test]
async fn a_lock_and_a_connection_that_is_lost_are_no_sample_that_cuts_nowhere() {
    let scene = Scene::set().await;
    let (client, _) = scene.database.connect().open().await.unwrap();
    let job = Job::builder("int8", "public.int8").set("n", "1").build().unwrap();
    let plan = Plan::build(&job, &scene.database).await.unwrap();
    let upto = plan.last_key.clone().unwrap();
    let mut session = scene.database.session(Lane::Work).await.unwrap();
    client.batch_execute("BEGIN; LOCK TABLE int8").await.unwrap();
    let locked = cut_into(&mut session, &plan, (&upto, 4), false).await.unwrap_err();
    assert!(is_lock_timeout(locked.message()), "{locked:?}");
    client.batch_execute("ROLLBACK").await.unwrap();
    let ours =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
    client.batch_execute(ours).await.unwrap();
    let lost = cut_into(&mut session, &plan, (&upto, 4), false).await.unwrap_err();
    assert!(lost.spoils_connection(), "{lost:?}");
    // What no smaller sample would be without.
    let mut session = scene.database.session(Lane::Work).await.unwrap();
    client.batch_execute("ALTER TABLE int8 RENAME TO gone").await.unwrap();
    assert_eq!(cut_into(&mut session, &plan, (&upto, 4), false).await, Ok(Vec::new()));
}
