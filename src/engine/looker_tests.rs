//! What stands against what is asked once, and passes, is waited for: a cut before the walk and before the
//! verification, and how far that is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::*;
use crate::control::Desk;
use crate::engine::steering::tests::steering;
use crate::engine::worker::Unfit;
use crate::job::Job;
use crate::ledger::Actor;
use crate::pg::{Connect, Environment};
use crate::sandbox::{self, Sandbox};

/// A table of three ranges.
struct Scene {
    _sandbox: Sandbox,
    database: Database,
    plan: Plan,
    client: Client,
}

impl Scene {
    async fn set() -> Scene {
        let sandbox = sandbox::start(&[]);
        let connect =
            Connect::resolve(Some(&sandbox.url("postgres")), &Environment::default()).unwrap();
        let (client, _) = connect.open().await.unwrap();
        let table = "CREATE TABLE t (id int PRIMARY KEY, n int);
            INSERT INTO t SELECT generate_series(1, 150000); ANALYZE t";
        client.batch_execute(table).await.unwrap();
        let database = Database::new(connect).unwrap();
        let job = Job::builder("job", "public.t").set("n", "1").give_way(Duration::from_secs(5));
        let plan = Plan::build(&job.build().unwrap(), &database).await.unwrap();
        Scene { _sandbox: sandbox, database, plan, client }
    }

    async fn lock(&self, table: &str) {
        self.client.batch_execute(&format!("BEGIN; LOCK TABLE {table}")).await.unwrap();
    }

    async fn install(&self) -> Desk {
        let desk = Desk::new(self.database.clone(), Actor("test".into()));
        desk.install(None).await.unwrap();
        desk
    }

    /// Ends the connection of whoever waits for the table, which is free when the next one has waited in vain.
    async fn end_one_and_let_another_wait_in_vain(&self) {
        let waits = "FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        self.until(&format!("SELECT count(pg_terminate_backend(pid)) > 0 {waits}")).await;
        self.until(&format!("SELECT count(*) > 0 {waits}")).await;
        self.until(&format!("SELECT count(*) = 0 {waits}")).await;
        self.client.batch_execute("ROLLBACK").await.unwrap();
    }

    async fn until(&self, sql: &str) {
        let since = Instant::now();
        // What a transaction has seen of others stays as it is.
        let clear = "SELECT pg_stat_clear_snapshot()";
        while {
            self.client.batch_execute(clear).await.unwrap();
            !self.client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0)
        } {
            assert!(since.elapsed() < Duration::from_secs(20), "{sql}");
        }
    }
}

#[tokio::test]
async fn a_run_is_cut_when_connections_break_and_locks_are_held_before_it_begins() {
    let scene = Scene::set().await;
    let desk = scene.install().await;
    scene.lock("t").await;
    let (created, ()) =
        tokio::join!(desk.create(&scene.plan, None), scene.end_one_and_let_another_wait_in_vain());
    created.unwrap();
    let ranges = "SELECT count(*) FROM piecemeal.range";
    assert_eq!(scene.client.query_one(ranges, &[]).await.unwrap().get::<_, i64>(0), 3);
}

/// Who looks at the table of run 1, and those who must be there as long as he does.
fn looker(scene: &Scene) -> (Looker, impl Sized) {
    let (steering, tell, leave, events) = steering();
    let plan = Arc::new(scene.plan.clone());
    let looker = Looker::new(scene.database.clone(), plan, steering, (1, Pending::Absent));
    (looker, (tell, leave, events))
}

#[tokio::test]
async fn a_verification_that_meets_a_row_without_a_key_says_that_the_key_is_another() {
    let mut scene = Scene::set().await;
    scene.plan.job.pace.max_hold = Duration::from_secs(1);
    let keyless = "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER id DROP NOT NULL;
        CREATE UNIQUE INDEX ON t (id); INSERT INTO t VALUES (NULL, 0)";
    scene.client.batch_execute(keyless).await.unwrap();
    let (mut looker, _there) = looker(&scene);
    let found = looker.last_key().await;
    assert!(matches!(found, Err(Stop::Unfit(Unfit::OtherKey))), "{found:?}");
}

#[tokio::test]
async fn a_verification_is_cut_when_connections_break_and_locks_are_held_before_it_begins() {
    let scene = Scene::set().await;
    let (mut looker, _others) = looker(&scene);
    let upto = scene.plan.last_key.clone().unwrap();
    scene.lock("t").await;
    let (cuts, ()) = tokio::join!(looker.cuts(&upto), scene.end_one_and_let_another_wait_in_vain());
    assert_eq!(cuts.unwrap().len(), 2);
}

#[tokio::test]
async fn how_far_a_verification_is_is_found_when_connections_break_and_locks_are_held() {
    let scene = Scene::set().await;
    scene.install().await.create(&scene.plan, None).await.unwrap();
    let (mut looker, _others) = looker(&scene);
    scene.lock("piecemeal.journal").await;
    let found = looker.found();
    let (found, ()) = tokio::join!(found, scene.end_one_and_let_another_wait_in_vain());
    assert!(matches!(found, Ok(Some((_, None)))), "a run stands somehow, and nothing was seen");
}
