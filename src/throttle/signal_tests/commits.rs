//! Commits that wait for the disk, on a server that can be told to let them wait.

use std::time::{Duration, Instant};

use super::{DEADLINE, Reader, Scene, hold};
use crate::job::{Hold, Limit, Signal};
use crate::run::Pulse;
use crate::throttle::reading::{Blind, Reading};
use crate::throttle::{Shared, survey};

/// A server that waits for its disk, and by `commit_delay` as well, also when nobody else writes.
const DURABLE: &[(&str, &str)] = &[("fsync", "on"), ("commit_siblings", "0")];

/// The limit of these tests: above what any disk takes, below the delay.
const LIMIT: &str = "60ms";

/// As long as it can be.
const SLOW: &str = "ALTER SYSTEM SET commit_delay = 100000;; SELECT pg_reload_conf()";
const AS_BEFORE: &str = "ALTER SYSTEM RESET commit_delay;; SELECT pg_reload_conf()";

/// How many transaction ids `f` costs.
async fn ids<T>(scene: &Scene, f: impl Future<Output = T>) -> (T, i64) {
    let next = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::int8";
    let before: i64 = scene.admin.query_one(next, &[]).await.unwrap().get(0);
    let value = f.await;
    (value, scene.admin.query_one(next, &[]).await.unwrap().get::<_, i64>(0) - before)
}

fn reader(scene: &Scene, hold: &Hold) -> Reader {
    Reader { throttler: scene.guarded(hold).throttler, database: scene.database("app") }
}

#[tokio::test]
async fn a_commit_that_waits_is_seen_and_one_that_waits_no_more_is_forgotten() {
    let scene = Scene::set(DURABLE).await;
    let mut commits = scene.reader(Signal::CommitLatency, LIMIT);
    commits.until_value(|value| value < 0.06).await;
    scene.exec(SLOW).await;
    let slow = commits.until(|read| read.as_ref().is_ok_and(|it| it.value > 0.1)).await.unwrap();
    assert!(slow.to_string().ends_with("ms > 60ms"), "{slow}");
    scene.exec(AS_BEFORE).await;
    commits.until_value(|value| value < 0.06).await;
    let (_, cost) = ids(&scene, commits.read()).await;
    assert_eq!(cost, 1, "each probe costs a transaction id");
}

#[tokio::test]
async fn before_the_walk_the_limit_is_found_and_it_stays() {
    let scene = Scene::set(DURABLE).await;
    scene.exec(SLOW).await;
    let limit = Signal::CommitLatency.default_limit().unwrap();
    let Limit::Times { factor, least } = limit else { panic!("{limit}") };
    let of = |usual: f64| (factor * usual).max(least.as_secs_f64());
    let mut commits = reader(&scene, &Hold { above: limit, ..hold(Signal::CommitLatency, LIMIT) });
    let started = Instant::now();
    let (usual, cost) = ids(&scene, commits.read()).await;
    let (usual, took) = (usual.unwrap(), started.elapsed());
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!((2..15).contains(&cost), "{cost} transaction ids in a second");
    assert!(usual.value >= 0.1, "{usual}");
    assert!((usual.limit - of(usual.value)).abs() < 1e-6, "{usual}");
    scene.exec(AS_BEFORE).await;
    commits.until_value(|value| value < 0.06).await;
    let later = commits.read().await.unwrap();
    assert!((later.limit - usual.limit).abs() < 1e-9, "{later}");
    // Where commits are fast at first, twenty of them tell.
    let mut commits = reader(&scene, &Hold { above: limit, ..hold(Signal::CommitLatency, LIMIT) });
    let (usual, cost) = ids(&scene, commits.read()).await;
    let usual = usual.unwrap();
    assert!((2..=20).contains(&cost), "{cost} transaction ids");
    assert!((usual.limit - of(usual.value)).abs() < 1e-6, "{usual}");
}

#[tokio::test]
async fn a_limit_that_guards_others_counts_while_there_are_some() {
    let scene = Scene::set(DURABLE).await;
    let mut commits = guarding_others(&scene).await;
    until_slow_beside_others(&mut commits, &scene).await;
    // Nobody does anything any more; who keeps a transaction open does nothing either.
    let idle = scene.other().await;
    idle.batch_execute("BEGIN; SELECT").await.unwrap();
    commits.until_value(|value| value <= 0.0).await;
    idle.batch_execute("COMMIT").await.unwrap();
    until_slow_beside_others(&mut commits, &scene).await;
}

#[tokio::test]
async fn who_runs_one_long_statement_is_at_work_all_the_time() {
    let scene = Scene::set(DURABLE).await;
    let mut commits = guarding_others(&scene).await;
    let report = scene.other().await;
    tokio::spawn(async move { report.batch_execute("SELECT pg_sleep(60)").await });
    until_slow_beside_others(&mut commits, &scene).await;
    // Longer than it counts that somebody has done something.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(11) {
        let value = commits.value().await;
        assert!(value > 0.05, "{value}");
    }
}

#[tokio::test]
async fn who_comes_to_a_run_takes_what_is_usual_from_those_at_work() {
    let scene = Scene::set(DURABLE).await;
    scene.exec(SLOW).await;
    let limit = Signal::CommitLatency.default_limit().unwrap();
    let Limit::Times { factor, least } = limit else { panic!("{limit}") };
    let shared = Shared::of(&Pulse::default(), false);
    let hold = Hold { above: limit, ..hold(Signal::CommitLatency, LIMIT) };
    let throttler = scene.guarded_with(&hold, shared.clone()).throttler;
    let mut commits = Reader { throttler, database: scene.database("app") };
    let (early, cost) = ids(&scene, commits.read()).await;
    assert_eq!(cost, 1, "it does not find it out");
    assert!((early.unwrap().limit - least.as_secs_f64()).abs() < 1e-9);
    shared.hear(&Pulse { commit_s: Some(0.01), ..Pulse::default() }, false);
    let later = commits.read().await.unwrap();
    assert!((later.limit - factor * 0.01).abs() < 1e-9, "{later}");
}

#[tokio::test]
async fn after_a_failover_what_is_usual_is_found_anew_by_who_leads_and_not_after_a_restart() {
    let scene = Scene::set(DURABLE).await;
    let limit = Signal::CommitLatency.default_limit().unwrap();
    let Limit::Times { factor, least } = limit else { panic!("{limit}") };
    let hold = Hold { above: limit, ..hold(Signal::CommitLatency, LIMIT) };
    let (leads, joins) =
        (Shared::of(&Pulse::default(), true), Shared::of(&Pulse::default(), false));
    let of = |shared: &Shared| Reader {
        throttler: scene.guarded_with(&hold, shared.clone()).throttler,
        database: scene.database("app"),
    };
    let (mut first, mut second) = (of(&leads), of(&joins));
    let before = first.read().await.unwrap().limit;
    scene.exec(SLOW).await;
    scene.sandbox.stop_immediate().unwrap();
    scene.sandbox.start_again().unwrap();
    let after = first.until(Result::is_ok).await.unwrap().limit;
    assert!((after - before).abs() < 1e-9, "{after} after a restart, {before} before it");

    scene.sandbox.stop_fast().unwrap();
    std::fs::write(scene.sandbox.data_dir().join("standby.signal"), "").unwrap();
    scene.sandbox.start_again().unwrap();
    scene.other().await.batch_execute("SELECT pg_promote()").await.unwrap();
    let limit = |read: Result<Reading, Blind>| read.unwrap().limit;
    let found = limit(first.until(Result::is_ok).await);
    assert!(found > factor * 0.1 - 1e-9, "{found}, and {before} before the failover");
    let early = limit(second.until(Result::is_ok).await);
    assert!((early - least.as_secs_f64()).abs() < 1e-9, "{early}: nobody has told it");
    let mut pulse = Pulse::default();
    leads.fill(&mut pulse);
    joins.hear(&pulse, false);
    assert!((limit(second.read().await) - found).abs() < 1e-9);
}

/// What guards others, on a server whose commits have become slow since it was read first.
async fn guarding_others(scene: &Scene) -> Reader {
    let limit = Signal::CommitLatency.default_limit().unwrap();
    let mut commits = reader(scene, &Hold { above: limit, ..hold(Signal::CommitLatency, LIMIT) });
    commits.read().await.unwrap();
    scene.exec(SLOW).await;
    commits
}

/// Reads until the value shows that commits are slow, while somebody is at work all the time.
async fn until_slow_beside_others(commits: &mut Reader, scene: &Scene) {
    let others = async {
        loop {
            scene.exec("SELECT pg_sleep(0.1)").await;
        }
    };
    tokio::select! {
        _ = commits.until_value(|value| value > 0.1) => {}
        () = others => {}
    }
}

#[tokio::test]
async fn a_standby_is_not_waited_for() {
    let scene = Scene::set(DURABLE).await;
    scene
        .exec("ALTER SYSTEM SET synchronous_standby_names = 'nobody';; SELECT pg_reload_conf()")
        .await;
    scene.until("current_setting('synchronous_standby_names') = 'nobody'").await;
    let mut commits = scene.reader(Signal::CommitLatency, LIMIT);
    // Who waits for a standby that never comes waits for ever.
    tokio::select! {
        _ = commits.value() => {}
        () = tokio::time::sleep(DEADLINE) => panic!("nobody was waited for"),
    }
}

#[tokio::test]
async fn it_is_on_without_a_line_where_commits_wait_for_a_disk() {
    let scene = Scene::set(DURABLE).await;
    // A role that may see nothing can still wait for a commit.
    let all = survey(&scene.database("blind"), Some(&scene.plan)).await.unwrap().to_string();
    let limit = Signal::CommitLatency.default_limit().unwrap();
    let on = format!("commit-latency      on      above {limit}, by default\n");
    assert!(all.contains(&on), "{all}");
    let (_, cost) = ids(&scene, survey(&scene.database("app"), Some(&scene.plan))).await;
    assert_eq!(cost, 0, "to say so costs nothing");

    let function = "SELECT min(oid::regprocedure::text) FROM pg_proc \
                    WHERE proname = 'pg_logical_emit_message' AND proargtypes[2] = 'text'::regtype";
    let function: String = scene.admin.query_one(function, &[]).await.unwrap().get(0);
    scene.exec(&format!("REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")).await;
    let all = survey(&scene.database("blind"), None).await.unwrap().to_string();
    let hidden = format!(
        "commit-latency      hidden  blind may not call {function}; \
         GRANT EXECUTE ON FUNCTION {function} TO blind;\n"
    );
    assert!(all.contains(&hidden), "{all}");
    // Whoever named it is held by it.
    let why = scene.reader(Signal::CommitLatency, LIMIT).blind().await.why;
    assert!(why.starts_with("permission denied for function pg_logical_emit_message"), "{why}");
    scene
        .exec(&format!(
            "GRANT EXECUTE ON FUNCTION {function} TO PUBLIC;;
             REVOKE EXECUTE ON FUNCTION pg_walfile_name FROM PUBLIC"
        ))
        .await;
    let all = survey(&scene.database("blind"), None).await.unwrap().to_string();
    assert!(all.contains("hidden  blind may not call pg_walfile_name(pg_lsn); GRANT "), "{all}");
}
