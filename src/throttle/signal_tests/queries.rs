//! `query`: every kind of answer.

use super::{Reader, Scene, query};
use crate::job::Signal;
use crate::throttle::reading::{Blind, Reading};

async fn ask(scene: &Scene, sql: &str, limit: &str) -> Result<Reading, Blind> {
    let throttler = scene.guarded(&query(sql, limit)).throttler;
    Reader { throttler, database: scene.database("app") }.read().await
}

#[tokio::test]
async fn a_number_or_a_boolean_is_a_reading() {
    let scene = Scene::set(&[]).await;
    for (sql, shown) in [
        ("SELECT 41", "41 > 40"),
        ("SELECT 39.5::numeric", "39.5 of 40"),
        ("SELECT count(*) FROM t", "1000 > 40"),
        ("SELECT -1::float8", "-1 of 40"),
        ("1 + 1 -- and a comment", "2 of 40"),
        ("SELECT '12'::jsonb", "12 of 40"),
        ("SELECT count(*) > 10 FROM t", "is true"),
        ("SELECT count(*) > 1000 FROM t", "not: is true"),
    ] {
        assert_eq!(ask(&scene, sql, "40").await.unwrap().to_string(), shown, "{sql}");
    }
    assert!(ask(&scene, "SELECT true", "never").await.unwrap().utilisation() > 1.0);
    assert!(ask(&scene, "SELECT false", "never").await.unwrap().utilisation() < 1.0);
}

#[tokio::test]
async fn whatever_else_it_returns_is_not_fine() {
    let scene = Scene::set(&[]).await;
    for (sql, why) in [
        ("SELECT NULL", "NULL"),
        ("SELECT 1 WHERE false", "NULL"),
        ("SELECT 'no'", "a text"),
        ("SELECT now()", "a text"),
        ("SELECT 'NaN'::float8", "a text"),
        ("SELECT ARRAY[1]", "a value with parts"),
        ("SELECT t FROM t WHERE id = 1", "a value with parts"),
        ("SELECT id FROM t", "more than one row"),
        ("SELECT 1, 2", "only one column"),
        ("SELECT 1/0", "division by zero (SQLSTATE 22012)"),
        ("SELECT * FROM nowhere", "\"nowhere\" does not exist"),
        ("SELECT pg_sleep(30)", "statement timeout"),
        ("SELECT nextval('s')", "read-only transaction"),
        ("SELECT 1e400::numeric", ""),
    ] {
        scene.exec("CREATE SEQUENCE IF NOT EXISTS s; GRANT USAGE ON SEQUENCE s TO app").await;
        let blind = ask(&scene, sql, "40").await.unwrap_err();
        assert!(blind.why.contains(why), "{sql}: {blind}");
    }
    let blind = ask(&scene, "SELECT 1", "never").await.unwrap_err();
    assert!(blind.why.contains("`above`"), "{blind}");
}

#[tokio::test]
async fn names_are_those_of_the_job_and_not_of_the_role() {
    let scene = Scene::set(&[]).await;
    // `trap` is on the role's path, and not on the job's.
    let blind = ask(&scene, "SELECT trap()", "40").await.unwrap_err();
    assert!(blind.why.contains("does not exist"), "{blind}");
    let sql = "SELECT count(*) FROM pg_stat_activity";
    assert!(ask(&scene, sql, "40").await.unwrap().value >= 1.0);
}

#[tokio::test]
async fn what_the_role_lacks_is_named_as_a_grant_that_lets_it_be_read() {
    let scene = Scene::set(&[]).await;
    scene
        .exec(
            "CREATE TABLE \"the queue\" (id int8);;
            CREATE VIEW seen AS SELECT 1 AS n;;
            CREATE FUNCTION load(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1';;
            REVOKE EXECUTE ON FUNCTION load FROM PUBLIC;;
            CREATE SCHEMA closed; CREATE TABLE closed.t (id int8); GRANT SELECT ON closed.t TO app;;
            CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.\"the queue\" (id int8)",
        )
        .await;
    for (sql, grant) in [
        ("SELECT count(*) FROM \"the queue\"", "GRANT SELECT ON public.\"the queue\" TO app;"),
        ("SELECT n FROM seen", "GRANT SELECT ON public.seen TO app;"),
        ("SELECT load(1, '')", "GRANT EXECUTE ON FUNCTION public.load(integer, text) TO app;"),
        ("SELECT count(*) FROM closed.t", "GRANT USAGE ON SCHEMA closed TO app;"),
    ] {
        let blind = ask(&scene, sql, "40").await.unwrap_err();
        assert!(blind.why.starts_with("permission denied for "), "{sql}: {blind}");
        assert_eq!(blind.recipe.as_deref(), Some(grant), "{sql}");
        scene.exec(grant).await;
        assert!(ask(&scene, sql, "40").await.is_ok(), "{sql}");
    }
}

#[tokio::test]
async fn a_probe_names_the_grant_that_it_lacks() {
    let scene = Scene::set(&[]).await;
    let mut latency = scene.reader(Signal::Latency, "5s");
    assert!(latency.value().await < 5.0);
    scene.exec("REVOKE SELECT ON t FROM app").await;
    let blind = latency.blind().await;
    assert_eq!(blind.recipe.as_deref(), Some("GRANT SELECT ON public.t TO app;"), "{blind}");
}
