//! What stands against a cut and passes is waited for, before the walk and before the verification: there is no
//! second one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_postgres::Client;

use super::*;
use crate::control::Desk;
use crate::engine::steering::Brief;
use crate::engine::voice;
use crate::job::Job;
use crate::ledger::Actor;
use crate::ledger::control::Orders;
use crate::pg::{Connect, Environment};
use crate::run::Pace;
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

    async fn lock(&self) {
        self.client.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
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
    let desk = Desk::new(scene.database.clone(), Actor("test".into()));
    desk.install(None).await.unwrap();
    scene.lock().await;
    let (created, ()) =
        tokio::join!(desk.create(&scene.plan, None), scene.end_one_and_let_another_wait_in_vain());
    created.unwrap();
    let ranges = "SELECT count(*) FROM piecemeal.range";
    assert_eq!(scene.client.query_one(ranges, &[]).await.unwrap().get::<_, i64>(0), 3);
}

#[tokio::test]
async fn a_verification_is_cut_when_connections_break_and_locks_are_held_before_it_begins() {
    let scene = Scene::set().await;
    let brief = Brief { orders: Orders::at_will(), pace: Pace::default(), is_time_up: false };
    let ((_tell, brief), (_leave, leaving)) = (watch::channel(brief), watch::channel(false));
    let (voice, _events) = voice::pair();
    let steering = Steering::new(brief, leaving, Arc::default(), voice);
    let plan = Arc::new(scene.plan.clone());
    let upto = plan.last_key.clone().unwrap();
    let mut looker = Looker::new(scene.database.clone(), plan, steering, (1, Pending::Absent));
    scene.lock().await;
    let (cuts, ()) = tokio::join!(looker.cuts(&upto), scene.end_one_and_let_another_wait_in_vain());
    assert_eq!(cuts.unwrap().len(), 2);
}
