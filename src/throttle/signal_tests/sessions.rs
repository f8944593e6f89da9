//! What other sessions do: locks, statements, transactions, autovacuum, and what a probe feels.

use std::time::Instant;

use super::{Scene, connect, hold};
use crate::job::Signal;
use crate::pg::{Guards, Lane};
use crate::throttle::Others;

#[tokio::test]
async fn who_waits_for_the_table_or_a_row_is_counted_once_and_we_are_not() {
    let scene = Scene::set(&[]).await;
    let mut lock_waits = scene.reader(Signal::LockWaits, "1");
    let holder = scene.other().await;
    holder.batch_execute("BEGIN; UPDATE t SET n = 1 WHERE id = 1").await.unwrap();
    assert!(lock_waits.value().await < 1.0);
    let ours =
        connect(&(scene.sandbox.url("postgres") + "?application_name=piecemeal%20inc")).await;
    let waits = [
        (scene.other().await, "UPDATE t SET n = 2 WHERE id = 1"),
        (scene.other().await, "UPDATE t SET n = 3 WHERE id = 1"),
        (scene.other().await, "LOCK TABLE t IN ACCESS EXCLUSIVE MODE"),
        (ours, "UPDATE t SET n = 4 WHERE id = 1"),
    ];
    let mut n_waiting = 0;
    for (client, sql) in waits {
        tokio::spawn(async move { client.batch_execute(&format!("BEGIN; {sql}")).await });
        n_waiting += 1;
        let all = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        scene.until(&format!("({all}) = {n_waiting}")).await;
    }
    // Who waits for another table does not count.
    scene.exec("CREATE TABLE u (id int)").await;
    let (first, second) = (scene.other().await, scene.other().await);
    first.batch_execute("BEGIN; LOCK TABLE u").await.unwrap();
    tokio::spawn(async move { second.batch_execute("BEGIN; LOCK TABLE u").await });
    scene.until("(SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock') = 5").await;
    assert!((lock_waits.value().await - 3.0).abs() < 0.5);
    assert_eq!(lock_waits.read().await.unwrap().to_string(), "3 > 1");
    holder.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn statements_and_transactions_of_others_are_seen_and_ours_are_not() {
    let scene = Scene::set(&[("max_prepared_transactions", "1")]).await;
    let mut active = scene.reader(Signal::ActiveSessions, "1");
    let mut oldest = scene.reader(Signal::OldestTransaction, "1s");
    assert!(active.value().await < 0.5 && oldest.value().await < 0.5);
    let ours =
        connect(&(scene.sandbox.url("postgres") + "?application_name=piecemeal%20inc")).await;
    tokio::spawn(async move { ours.batch_execute("SELECT pg_sleep(60)").await });
    for n in 1..=2 {
        let other = scene.other().await;
        tokio::spawn(async move { other.batch_execute("SELECT pg_sleep(60)").await });
        scene
            .until(&format!(
                "(SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep') = {}",
                n + 1
            ))
            .await;
    }
    assert!((active.value().await - 2.0).abs() < 0.5);
    oldest.until(|read| read.as_ref().is_ok_and(|it| it.value > it.limit)).await.unwrap();
    scene
        .exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        .await;
    scene.until("NOT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep')").await;
    assert!(active.value().await < 0.5 && oldest.value().await < 0.5);
    let preparer = scene.other().await;
    preparer.batch_execute("BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'p'").await.unwrap();
    drop(preparer);
    oldest.until_value(|age| age > 0.2).await;
}

#[tokio::test]
async fn a_role_that_is_not_shown_others_says_which_grant_it_lacks() {
    let scene = Scene::set(&[]).await;
    for (signal, limit) in [
        (Signal::ActiveSessions, "10"),
        (Signal::OldestTransaction, "10s"),
        (Signal::Autovacuum, "never"),
    ] {
        let mut reader = scene.reader(signal, limit);
        assert!(reader.read().await.is_ok(), "{signal}");
        reader.database = scene.database("blind");
        let recipe = reader.blind().await.recipe;
        assert_eq!(recipe.as_deref(), Some("GRANT pg_read_all_stats TO blind;"), "{signal}");
    }
}

#[tokio::test]
async fn a_vacuum_against_wraparound_is_seen() {
    let scene = Scene::set(&[("autovacuum_naptime", "1s")]).await;
    let mut autovacuum = scene.reader(Signal::Autovacuum, "never");
    assert!(autovacuum.value().await < 0.5);
    // So slow that it is not done before it is seen.
    scene
        .exec(
            "ALTER TABLE t SET (autovacuum_freeze_max_age = 100000, autovacuum_vacuum_cost_delay = 100,
                autovacuum_vacuum_cost_limit = 1);;
            CREATE TABLE u (id int);;
            DO $$ BEGIN FOR i IN 1..101000 LOOP
                BEGIN INSERT INTO u VALUES (i); EXCEPTION WHEN division_by_zero THEN NULL; END;
            END LOOP; END $$",
        )
        .await;
    let reading =
        autovacuum.until(|read| read.as_ref().is_ok_and(|it| it.value > 0.5)).await.unwrap();
    assert_eq!(reading.to_string(), "works on the table against wraparound");
    assert!(reading.utilisation() > 1.0);
    // It does not count for another table.
    let mut elsewhere = scene.plan.clone();
    elsewhere.target.oid = 1;
    let builder = super::Builder {
        plan: &elsewhere,
        application_name: None,
        shared: super::Shared::default(),
    };
    autovacuum.throttler = builder.of_job(&hold(Signal::Autovacuum, "never")).throttler;
    assert!(autovacuum.value().await < 0.5);
}

#[tokio::test]
async fn a_probe_feels_what_a_reader_of_the_table_feels() {
    let scene = Scene::set(&[]).await;
    let mut latency = scene.reader(Signal::Latency, "500ms");
    for _ in 0..5 {
        let value = latency.value().await;
        assert!(value > 0.0 && value < 0.5, "{value}");
    }
    let holder = scene.other().await;
    holder.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    // The server ends a probe after a second, and that is what it took.
    latency.until_value(|value| value > 0.9).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert!(latency.read().await.unwrap().to_string().ends_with("s > 500ms"));
    for _ in 0..26 {
        latency.value().await;
    }
    assert!(latency.value().await < 0.5);
    scene.exec("ALTER TABLE t RENAME TO u").await;
    assert!(latency.blind().await.why.contains("does not exist"));
}

#[tokio::test]
async fn who_only_looks_at_runs_is_not_at_work_beside_one_and_who_does_another_job_is() {
    let scene = Scene::set(&[]).await;
    let database = scene.database("app");
    let mut session = database.session(Lane::Gate).await.unwrap();
    // What made the scene is some time ago then.
    session.transact(&Guards::reading(), "SELECT pg_sleep(0.5)", &[]).await.unwrap();
    for (role, name, is_at_work) in [
        ("app", "piecemeal", false),
        ("app", "piecemeal inc", false),
        ("app", "piecemeal other", true),
        ("postgres", "piecemeal", true),
        ("app", "psql", true),
    ] {
        let mut others = Others::since(Instant::now());
        let url = scene.sandbox.url("postgres").replacen("postgres@", &format!("{role}@"), 1);
        let other = connect(&format!("{url}?application_name={}", name.replace(' ', "%20"))).await;
        other.batch_execute("SELECT 1").await.unwrap();
        let found = others.are_at_work(&mut session).await.unwrap();
        assert_eq!(found, is_at_work, "{name} of {role}");
    }
}
