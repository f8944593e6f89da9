//! What live traffic feels beside a backfill: interleaved rounds, medians.
//!
//! `cargo bench-traffic` starts a throw-away server with a real disk's settings, lets pgbench
//! loose on a table at a fixed rate, and rewrites the table meanwhile in several ways.
//! `docs/reference/performance.md` says what the columns mean.

mod felt;
#[path = "../ground/mod.rs"]
mod ground;
mod pgbench;
mod report;
mod variant;
mod waits;

use std::time::{Duration, Instant};

use clap::Parser;
use felt::Felt;
use ground::cpu::{Cpu, Ours};
use ground::{Failure, Ground, Key, Shape};
use pgbench::Pgbench;
use piecemeal::run::Event;
use piecemeal::sandbox::{Programs, Sandbox};
use report::{Line, Measured};
use variant::{ALONE, DEFAULT, UPDATE, Variant, Work};
use waits::Sampler;

/// The share of the capacity that the traffic uses.
const LOAD: f64 = 0.4;

/// For how long the capacity is measured.
const CAPACITY: Duration = Duration::from_secs(5);

/// Traffic before the backfill, until it runs evenly.
const WARM_UP: Duration = Duration::from_secs(2);

/// A backfill that takes longer is left where it is.
const LIMIT: Duration = Duration::from_mins(3);

/// Measures what live traffic feels beside a backfill.
#[derive(Parser)]
#[command(name = "cargo bench-traffic")]
struct Args {
    /// Rows of the table
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..))]
    rows: u32,
    /// Rounds; each measures every variant once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Transactions a second of the traffic; 40 % of what the machine can do if not given
    #[arg(long)]
    rate: Option<u32>,
    /// Seconds for which the traffic is measured alone
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..600))]
    seconds: u64,
    /// Only these variants, and what they are compared with
    #[arg(long, value_name = "VARIANT", value_delimiter = ',')]
    only: Vec<String>,
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn say(line: &str) {
    println!("{line}");
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let mut variants = variant::choose(&args.only)?;
    variants.retain(|variant| match variant.work(args.rows, Some(1e6)) {
        Ok(_) => true,
        Err(why) => {
            say(&format!("left out: {}, which this build refuses: {why}", variant.name));
            false
        }
    });
    let programs = Programs::find_or_install(&mut |line| say(line))?;
    let sandbox = ground::server(&programs, &[("autovacuum", "on")])?;
    let shape = Shape { rows: args.rows, key: Key::Bigint, indexes: 1, matching: None };
    let ground = Ground::make(&sandbox, &shape).await?;
    let pgbench = Pgbench::find(&programs, &sandbox, args.rows)?;
    let bench =
        Bench { rate: rate(&args, &ground, &pgbench).await?, args, sandbox, ground, pgbench };
    say(&report::header());
    let mut lines = Vec::new();
    for no in 1..=bench.args.rounds {
        bench.round(no, &variants, &mut lines).await?;
    }
    say(&report::header());
    for line in variants.iter().filter_map(|variant| report::medians(variant.name, &lines)) {
        say(&line);
    }
    Ok(())
}

/// Returns the rate of the traffic, after measuring what the machine can do.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few thousand")]
async fn rate(args: &Args, ground: &Ground, pgbench: &Pgbench) -> Result<u32, Failure> {
    ground.renew().await?;
    let capacity = pgbench.capacity(CAPACITY)?;
    let rate = args.rate.unwrap_or((capacity * LOAD) as u32).max(1);
    let share = f64::from(rate) / capacity * 100.0;
    say(&format!(
        "{} rows, {} rounds; pgbench at {rate} transactions/s, {share:.0} % of {capacity:.0}",
        args.rows, args.rounds
    ));
    Ok(rate)
}

/// Everything that a measurement needs. The server goes last.
struct Bench {
    args: Args,
    rate: u32,
    pgbench: Pgbench,
    ground: Ground,
    sandbox: Sandbox,
}

/// When a backfill was at work, and what it did.
struct Span {
    from: Instant,
    until: Instant,
    /// When the verification ended, if there was one.
    verified: Option<Instant>,
    rows: u64,
}

impl Bench {
    /// Measures every variant once, and shows each as soon as it is there.
    async fn round(
        &self,
        no: u32,
        variants: &[Variant],
        lines: &mut Vec<Line>,
    ) -> Result<(), Failure> {
        let (mut alone, mut update, mut default) = (None, None, None);
        for variant in variants {
            let measured = match variant.work(self.args.rows, default) {
                Ok(work) => self.measure(&work).await,
                Err(why) => Err(why.into()),
            };
            let measured = match measured {
                Ok(measured) => measured,
                Err(why) if variant.name == ALONE => return Err(why),
                Err(why) => {
                    say(&format!("{no:>6}  {} was not measured: {why}", variant.name));
                    continue;
                }
            };
            match variant.name {
                UPDATE => update = Some(measured.rows_per_s),
                DEFAULT => default = Some(measured.rows_per_s),
                _ => {}
            }
            let alone = alone.get_or_insert(measured.felt);
            let line = Line::of(variant.name, &measured, alone, update);
            say(&line.show(&no.to_string()));
            lines.push(line);
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "rows and bytes of a benchmark")]
    async fn measure(&self, work: &Work) -> Result<Measured, Failure> {
        self.ground.renew().await?;
        let mut traffic = self.pgbench.start(self.rate)?;
        tokio::time::sleep(WARM_UP).await;
        let clock = Clock::read(&self.ground).await?;
        let postmaster = self.sandbox.postmaster_pid().unwrap_or_default();
        let cpu = Cpu::read(Ours { postmaster, traffic: Some(traffic.pid()) });
        let sampler = Sampler::start(&self.ground.connect).await?;
        let span = self.work(work).await;
        let waited = sampler.stop().await?;
        let foreign = cpu.and_then(|cpu| cpu.spent()).map_or(f64::NAN, |spent| spent.foreign());
        let (span, heap) = (span?, self.ground.heap().await? as f64 / self.ground.needed as f64);
        let until = span.verified.unwrap_or(span.until);
        traffic.caught_up(clock.at(until)).await?;
        let log = traffic.stop()?;
        let between = |from, until| Felt::between(&log, (clock.at(from), clock.at(until)));
        let seconds = (span.until - span.from).as_secs_f64();
        let is_done = span.rows == u64::from(self.args.rows);
        Ok(Measured {
            seconds,
            rows_per_s: if span.rows == 0 { f64::NAN } else { span.rows as f64 / seconds },
            felt: between(span.from, span.until).ok_or("no transaction was due meanwhile")?,
            verifying: span.verified.and_then(|until| between(span.until, until)),
            waited,
            heap: if is_done { heap } else { f64::NAN },
            foreign,
        })
    }

    async fn work(&self, work: &Work) -> Result<Span, Failure> {
        let from = Instant::now();
        let rows = match work {
            Work::Nothing => {
                tokio::time::sleep(Duration::from_secs(self.args.seconds)).await;
                0
            }
            Work::Statement(sql) => {
                let (client, _) = self.ground.connect.open().await?;
                let limit = format!("SET statement_timeout = {}", LIMIT.as_millis());
                client.batch_execute(&limit).await?;
                client.batch_execute(sql).await?;
                self.args.rows.into()
            }
            Work::Job(job) => return self.walk(job).await,
        };
        Ok(Span { from, until: Instant::now(), verified: None, rows })
    }

    /// The walk is what the UPDATE is compared with; planning and verification are apart from it.
    async fn walk(&self, job: &piecemeal::Job) -> Result<Span, Failure> {
        let (mut from, mut until) = (None, None);
        let walked = self.ground.walk(job, LIMIT, |event| {
            if matches!(event, Event::Started(_)) {
                from = Some(Instant::now());
            } else if matches!(event, Event::Verifying) {
                until = Some(Instant::now());
            }
        });
        let report = walked.await?;
        let end = Instant::now();
        Ok(Span {
            from: from.ok_or("the run did not start")?,
            until: until.unwrap_or(end),
            verified: until.map(|_| end),
            rows: report.snapshot.rows.changed,
        })
    }
}

/// Turns our instants into those of pgbench's log, by the server's clock.
struct Clock {
    at: Instant,
    epoch: f64,
}

impl Clock {
    async fn read(ground: &Ground) -> Result<Clock, Failure> {
        let sql = "SELECT extract(epoch FROM clock_timestamp())::float8";
        let row = ground.client.query_one(sql, &[]).await?;
        Ok(Clock { at: Instant::now(), epoch: row.get(0) })
    }

    fn at(&self, instant: Instant) -> f64 {
        self.epoch + (instant - self.at).as_secs_f64()
    }
}
