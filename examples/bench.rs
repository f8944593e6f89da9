//! How fast a walk is beside one plain UPDATE of the same table: interleaved rounds, medians.
//!
//! `cargo bench-walk [ROWS [ROUNDS [INDEXES]]]` starts a throw-away server with a real disk's
//! settings, makes the same table anew for every measurement, after a checkpoint, and prints a table.
//! Machines are noisy: read the ratio, not the seconds.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use piecemeal::control::Desk;
use piecemeal::engine::{self, Options};
use piecemeal::sandbox::{Programs, Sandbox};
use piecemeal::{Actor, Connect, Database, Environment, Job, Plan};
use tokio_postgres::Client;

type Failure = Box<dyn std::error::Error>;

const SERVER: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("autovacuum", "off"),
    ("shared_buffers", "2GB"),
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "15min"),
    ("wal_buffers", "64MB"),
    ("jit", "off"),
];

const TABLE: &str = "\
DROP TABLE IF EXISTS t;
CREATE TABLE t (id bigint, email text, account_id int, a int, b int, c text, d timestamptz, e text, new text);
INSERT INTO t SELECT i, 'User' || i || '@Example.org', (random() * 1e6)::int, i, i, md5(i::text), now(), md5((i + 1)::text)
FROM generate_series(1, $rows) i;
ALTER TABLE t ADD PRIMARY KEY (id);";

/// One round: seconds of the UPDATE, of the walk alone, and of the walk with its verification.
struct Round {
    update: f64,
    walk: f64,
    whole: f64,
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u32| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (rows, rounds, indexes) = (number(1_000_000), number(5), number(1));
    let programs = Programs::find_or_install(&mut |line| println!("{line}"))?;
    let sandbox = Sandbox::start(&programs, SERVER)?;
    let connect = Connect::resolve(Some(&sandbox.url("postgres")), &Environment::of_process())?;
    let (client, _) = connect.open().await?;
    println!("{rows} rows, primary key and {indexes} more, {rounds} rounds");
    println!("round   UPDATE s   walk s   ratio   with verify s   ratio");
    let mut measured = Vec::new();
    for no in 1..=rounds {
        let round = Round::measure(&client, &connect, rows, indexes).await?;
        println!("{no:>5}   {}", round.line());
        measured.push(round);
    }
    println!("median  {}", Round::median(&measured).line());
    Ok(())
}

impl Round {
    async fn measure(
        client: &Client,
        connect: &Connect,
        rows: u32,
        indexes: u32,
    ) -> Result<Round, Failure> {
        prepare(client, rows, indexes).await?;
        let started = Instant::now();
        client.batch_execute("UPDATE t SET new = lower(email)").await?;
        let update = started.elapsed().as_secs_f64();
        prepare(client, rows, indexes).await?;
        let (walk, whole) = walk(connect).await?;
        Ok(Round { update, walk, whole })
    }

    fn median(rounds: &[Round]) -> Round {
        let median = |of: fn(&Round) -> f64| {
            let mut sorted: Vec<_> = rounds.iter().map(of).collect();
            sorted.sort_by(f64::total_cmp);
            sorted[sorted.len() / 2]
        };
        Round {
            update: median(|round| round.update),
            walk: median(|round| round.walk),
            whole: median(|round| round.whole),
        }
    }

    /// Ratios are of speeds: 0.85 means 85 % of the rows per second of the UPDATE.
    fn line(&self) -> String {
        format!(
            "{:>8.2}   {:>6.2}   {:>5.2}   {:>13.2}   {:>5.2}",
            self.update,
            self.walk,
            self.update / self.walk,
            self.whole,
            self.update / self.whole
        )
    }
}

async fn prepare(client: &Client, rows: u32, indexes: u32) -> Result<(), Failure> {
    let mut sql = TABLE.replace("$rows", &rows.to_string());
    for column in ["account_id", "a", "b", "c"].iter().take(indexes as usize) {
        write!(sql, "CREATE INDEX ON t ({column});")?;
    }
    client.batch_execute(&sql).await?;
    client.batch_execute("VACUUM ANALYZE t").await?;
    client.batch_execute("CHECKPOINT").await?;
    Ok(())
}

/// Returns the seconds of the walk alone, and with everything: plan, ledger, verification.
async fn walk(connect: &Connect) -> Result<(f64, f64), Failure> {
    let started = Instant::now();
    let job = Job::builder("bench", "public.t").set("new", "lower(email)").build()?;
    let database = Database::new(connect.clone())?;
    let actor = Actor("bench".into());
    let desk = Desk::new(database.clone(), actor.clone());
    let plan = Plan::build(&job, &database).await?;
    let run = desk.create(&plan, None).await?;
    let mut handle = engine::start(plan, run, database, Options::new(actor));
    while handle.next_event().await.is_some() {}
    let report = handle.join().await?;
    let whole = started.elapsed();
    let looking =
        Duration::from_secs_f64(report.snapshot.looked.map_or(0.0, |(_, seconds)| seconds));
    desk.forget("bench").await?;
    Ok((whole.saturating_sub(looking).as_secs_f64(), whole.as_secs_f64()))
}
