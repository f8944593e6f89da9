//! The signals and the gate against real servers, read by a role that may do little, under a search
//! path full of traps.

mod commits;
mod gate;
mod queries;
mod replicas;
mod server;
mod sessions;
mod survey;

use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use super::Throttler;
use super::build::Builder;
use super::gate::Guarded;
use super::reading::{Blind, Reading};
use super::shared::Shared;
use crate::job::{Fragment, Hold, Job, Limit, Signal};
use crate::pg::{Connect, Database, Environment, Lane};
use crate::plan::Plan;
use crate::sandbox::{self, Sandbox};

/// What the role `app` finds if a name of ours is not qualified: a division by zero, and tables that
/// say that all is well.
const TRAPS: &str = "
    CREATE SCHEMA trap;
    CREATE FUNCTION trap.trap() RETURNS int8 LANGUAGE sql AS 'SELECT 1/0::int8';
    CREATE VIEW trap.pg_locks AS SELECT trap.trap() AS pid;
    CREATE VIEW trap.pg_stat_activity AS SELECT trap.trap() AS pid;
    CREATE VIEW trap.pg_stat_replication AS SELECT trap.trap() AS pid;
    CREATE VIEW trap.pg_replication_slots AS SELECT trap.trap() AS restart_lsn;
    CREATE VIEW trap.pg_prepared_xacts AS SELECT trap.trap() AS prepared;
    CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT NULL::timestamptz';
    CREATE FUNCTION trap.pg_current_wal_lsn() RETURNS pg_lsn LANGUAGE sql AS 'SELECT NULL::pg_lsn';
    CREATE FUNCTION trap.never(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT false';
    CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = trap.never);
    CREATE FUNCTION trap.never(text, text) RETURNS bool LANGUAGE sql AS 'SELECT false';
    CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.never);
    GRANT USAGE ON SCHEMA trap TO PUBLIC;
    GRANT SELECT ON ALL TABLES IN SCHEMA trap TO PUBLIC;";

const SCENE: &str = "
    CREATE TABLE t (id int8 PRIMARY KEY, n int NOT NULL DEFAULT 0);
    INSERT INTO t SELECT generate_series(1, 1000);
    CREATE ROLE app LOGIN; GRANT pg_read_all_stats TO app;
    CREATE ROLE blind LOGIN;
    ALTER ROLE app SET search_path = trap, pg_catalog;
    ALTER ROLE blind SET search_path = trap, pg_catalog;
    GRANT SELECT, UPDATE ON t TO app, blind;
    GRANT CREATE ON DATABASE postgres TO app, blind;";

/// How long anything is waited for; much more than it takes.
const DEADLINE: Duration = Duration::from_secs(40);

/// A server, a superuser's session on it, and a plan for its table `t`.
struct Scene {
    sandbox: Sandbox,
    admin: Client,
    plan: Plan,
}

impl Scene {
    async fn set(settings: &[(&str, &str)]) -> Scene {
        let sandbox = sandbox::start(settings);
        let admin = connect(&sandbox.url("postgres")).await;
        admin.batch_execute(TRAPS).await.unwrap();
        admin.batch_execute(SCENE).await.unwrap();
        let database = Database::new(connection(&sandbox, "postgres")).unwrap();
        let job = Job::builder("inc", "public.t").set("n", "n + 1").build().unwrap();
        let plan = Plan::build(&job, &database).await.unwrap();
        Scene { sandbox, admin, plan }
    }

    /// Where the role connects, under the name that a run has.
    fn database(&self, role: &str) -> Database {
        Database::new(connection(&self.sandbox, role).application_name("piecemeal inc")).unwrap()
    }

    /// Opens a session of somebody else.
    async fn other(&self) -> Client {
        connect(&self.sandbox.url("postgres")).await
    }

    async fn exec(&self, sql: &str) {
        // One by one: some may not be in a transaction with others.
        for sql in sql.split(";;") {
            self.admin.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
    }

    /// Waits until a condition is true for the superuser.
    async fn until(&self, condition: &str) {
        let started = Instant::now();
        let sql = format!("SELECT coalesce(({condition}), false)");
        while !self.admin.query_one(&sql, &[]).await.unwrap().get::<_, bool>(0) {
            assert!(started.elapsed() < DEADLINE, "waited in vain for: {condition}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Makes what reads a hold of a job.
    fn guarded(&self, hold: &Hold) -> Guarded {
        self.guarded_with(hold, Shared::default())
    }

    /// Makes the same for a process that knows what others have learned.
    fn guarded_with(&self, hold: &Hold, shared: Shared) -> Guarded {
        Builder { plan: &self.plan, application_name: Some("piecemeal inc"), shared }.of_job(hold)
    }

    /// Makes what reads a signal with a limit.
    fn reader(&self, on: Signal, limit: &str) -> Reader {
        Reader {
            throttler: self.guarded(&hold(on, limit)).throttler,
            database: self.database("app"),
        }
    }
}

fn connection(sandbox: &Sandbox, role: &str) -> Connect {
    let url = sandbox.url("postgres").replacen("postgres@", &format!("{role}@"), 1);
    Connect::resolve(Some(&url), &Environment::default()).unwrap()
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A hold as a job has it.
fn hold(on: Signal, limit: &str) -> Hold {
    let above = if limit == "never" { Limit::Never } else { on.parse_limit(limit).unwrap() };
    let name = on.word().to_owned();
    Hold { on, name, above, floor: None, url: None, sql: None, span: 0..0 }
}

fn query(sql: &str, limit: &str) -> Hold {
    let sql = Some(Fragment { text: sql.to_owned(), span: 0..0 });
    Hold { sql, ..hold(Signal::Query, limit) }
}

/// A signal, and sessions to read it in.
struct Reader {
    throttler: Box<dyn Throttler>,
    database: Database,
}

impl Reader {
    async fn read(&mut self) -> Result<Reading, Blind> {
        let mut session = self.database.session(Lane::Gate).await.unwrap();
        self.throttler.read(&mut session).await
    }

    async fn value(&mut self) -> f64 {
        self.read().await.unwrap().value
    }

    async fn blind(&mut self) -> Blind {
        self.read().await.unwrap_err()
    }

    /// Reads until a reading is as wanted.
    async fn until(
        &mut self,
        wanted: impl Fn(&Result<Reading, Blind>) -> bool,
    ) -> Result<Reading, Blind> {
        let started = Instant::now();
        loop {
            let read = self.read().await;
            if wanted(&read) {
                return read;
            }
            assert!(started.elapsed() < DEADLINE, "read in vain: {read:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_value(&mut self, wanted: impl Fn(f64) -> bool) -> f64 {
        self.until(|read| read.as_ref().is_ok_and(|it| wanted(it.value))).await.unwrap().value
    }
}
