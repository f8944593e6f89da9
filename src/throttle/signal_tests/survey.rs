//! What is on, off and hidden, for roles that see all and for those that do not.

use std::time::Duration;

use super::{Scene, hold, query};
use crate::finding::Severity;
use crate::job::{Hold, Signal, Url};
use crate::pg::Database;
use crate::plan::Plan;
use crate::throttle::gate::Guarded;
use crate::throttle::judge::Floor;
use crate::throttle::{Shared, Survey, survey, throttlers};

#[tokio::test]
async fn defaults_follow_what_the_role_may_see_and_the_job_is_always_obeyed() {
    let mut scene = Scene::set(&[("archive_mode", "on"), ("archive_command", "true")]).await;
    let all = survey(&scene.database("app"), None).await.unwrap();
    let shown = all.to_string();
    assert!(shown.contains("replica-lag         on      above 10s, by default\n"), "{shown}");
    assert!(shown.contains("archive-backlog     on      above 100, by default\n"), "{shown}");
    assert_eq!(all.0.len(), Signal::ALL.len());

    scene.plan.job.holds = vec![
        hold(Signal::ArchiveBacklog, "5"),
        query("SELECT 1/0", "40"),
        hold(Signal::OldestTransaction, "1h"),
    ];
    let all = survey(&scene.database("blind"), Some(&scene.plan)).await.unwrap();
    let shown = all.to_string();
    assert_eq!(
        shown.lines().collect::<Vec<_>>(),
        [
            "archive-backlog     on      above 5, by the job",
            "query               hidden  division by zero (SQLSTATE 22012), so it holds the run",
            "oldest-transaction  hidden  blind is not shown what other sessions do, so it holds the run; \
             GRANT pg_read_all_stats TO blind;",
            "replica-lag         off     no standby",
            "slot-lag            off     until a job names it",
            "lock-waits          off     until a job names it",
            "active-sessions     off     until a job names it",
            "autovacuum          hidden  blind is not shown what other sessions do; \
             GRANT pg_read_all_stats TO blind;",
            "latency             off     until a job names it",
            "commit-latency      off     fsync is off",
        ]
    );
    scene.plan.job.pace.max_hold = Duration::from_secs(90);
    let findings = all.findings(&scene.plan.job);
    let whats: Vec<_> = findings.iter().map(|finding| finding.what.as_str()).collect();
    assert_eq!(
        whats,
        [
            "`query` cannot be read: division by zero (SQLSTATE 22012)",
            "`oldest-transaction` cannot be read: blind is not shown what other sessions do",
        ]
    );
    assert_eq!((findings[1].code, findings[1].severity), ("hold-blind", Severity::Warn));
    assert!(findings[1].why.ends_with("and be left after 1m 30s"), "{findings:?}");
    assert_eq!(findings[1].recipe[0], "GRANT pg_read_all_stats TO blind;");
    let names = |all: Vec<Guarded>| {
        all.iter().map(|guarded| guarded.throttler.name().to_owned()).collect::<Vec<_>>()
    };
    let guarded = names(throttlers(&scene.plan, &all, &scene.database("app"), &Shared::default()));
    assert_eq!(guarded, ["archive-backlog", "query", "oldest-transaction"]);
    let all = survey(&scene.database("app"), Some(&scene.plan)).await.unwrap();
    let guarded = names(throttlers(&scene.plan, &all, &scene.database("app"), &Shared::default()));
    assert_eq!(guarded[3..], ["replica-lag", "autovacuum"]);
}

#[tokio::test]
async fn a_standby_that_is_asked_itself_stands_for_no_other_one() {
    let mut scene = Scene::set(&[]).await;
    let url = Some(Url("postgres://app@127.0.0.1:1/x".into()));
    scene.plan.job.holds = vec![Hold { url, ..hold(Signal::ReplicaLag, "60s") }];
    let lines = |all: &Survey| {
        let lags = all.0.iter().filter(|it| it.signal == Signal::ReplicaLag);
        lags.map(|it| it.state.to_string()).collect::<Vec<_>>()
    };
    let n_read = |plan: &Plan, all: &Survey, database: &Database| {
        let all = throttlers(plan, all, database, &Shared::default());
        all.iter().filter(|it| it.throttler.name() == "replica-lag").count()
    };
    let database = scene.database("app");
    let all = survey(&database, Some(&scene.plan)).await.unwrap();
    assert!(lines(&all)[0].starts_with("hidden  the standby at `url`: "), "{all}");
    assert_eq!(lines(&all)[1..], ["on      above 10s, by default"]);
    assert_eq!(n_read(&scene.plan, &all, &database), 2);
    // It holds nothing for a role that is not shown the others.
    let blind = scene.database("blind");
    let all = survey(&blind, Some(&scene.plan)).await.unwrap();
    assert_eq!(lines(&all)[1..], ["off     no standby"]);
    assert_eq!(n_read(&scene.plan, &all, &blind), 1);

    // What the job says of the others is said in its own words, in time and in bytes.
    scene.plan.job.holds.push(hold(Signal::ReplicaLag, "1h"));
    scene.plan.job.holds.push(hold(Signal::ReplicaLag, "2 GB"));
    let all = survey(&database, Some(&scene.plan)).await.unwrap();
    let by_job = ["on      above 1h, by the job", "on      above 2 GB, by the job"];
    assert_eq!(lines(&all)[1..], by_job);
    assert_eq!(n_read(&scene.plan, &all, &database), 3);
}

#[tokio::test]
async fn a_vacuum_against_wraparound_leaves_a_trickle_unless_the_job_names_it() {
    let mut scene = Scene::set(&[]).await;
    let database = scene.database("app");
    let line = |all: &Survey| {
        let line = all.0.iter().find(|it| it.signal == Signal::Autovacuum).unwrap();
        line.state.to_string()
    };
    let floor = |plan: &Plan, all: &Survey| {
        let all = throttlers(plan, all, &database, &Shared::default());
        all.iter().find(|it| it.throttler.name() == "autovacuum").unwrap().floor
    };
    let all = survey(&database, Some(&scene.plan)).await.unwrap();
    assert_eq!(line(&all), "on      while it is true, by default; 100 rows/s go on");
    assert_eq!(floor(&scene.plan, &all), Some(Floor::Rows(100)));

    scene.plan.job.holds = vec![hold(Signal::Autovacuum, "never")];
    let all = survey(&database, Some(&scene.plan)).await.unwrap();
    assert_eq!(line(&all), "on      while it is true, by the job");
    assert_eq!(floor(&scene.plan, &all), None);

    scene.plan.job.holds[0].floor = Some("5 rows/s".parse().unwrap());
    let all = survey(&database, Some(&scene.plan)).await.unwrap();
    assert_eq!(line(&all), "on      while it is true, by the job; 5 rows/s go on");
    assert_eq!(floor(&scene.plan, &all), Some(Floor::Rows(5)));
}
