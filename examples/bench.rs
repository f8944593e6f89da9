//! How fast a walk is beside one plain UPDATE of the same table: interleaved rounds, medians.
//!
//! `cargo bench-walk [ROWS [ROUNDS [INDEXES]]]` starts a throw-away server with a real disk's
//! settings, makes the same table anew for every measurement, after a checkpoint, and prints a table.
//! Machines are noisy: read the ratio, not the seconds.

mod ground;

use std::time::{Duration, Instant};

use ground::{Failure, Ground, NEW, median};
use piecemeal::Job;
use piecemeal::sandbox::Programs;

/// One round: seconds of the UPDATE, of the walk alone, and of the walk with its verification; and
/// the heap after each, in sizes of what the rows need by themselves.
struct Round {
    update: f64,
    walk: f64,
    whole: f64,
    update_heap: f64,
    walk_heap: f64,
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u32| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (rows, rounds, indexes) = (number(1_000_000), number(5), number(1));
    let programs = Programs::find_or_install(&mut |line| println!("{line}"))?;
    let sandbox = ground::server(&programs, "off")?;
    let ground = Ground::make(&sandbox, rows, indexes).await?;
    println!("{rows} rows, primary key and {indexes} more, {rounds} rounds");
    println!("round   UPDATE s   heap   walk s   ratio   heap   with verify s   ratio");
    let mut measured = Vec::new();
    for no in 1..=rounds {
        let round = Round::measure(&ground).await?;
        println!("{no:>5}   {}", round.line());
        measured.push(round);
    }
    println!("median  {}", Round::median(&measured).line());
    Ok(())
}

impl Round {
    async fn measure(ground: &Ground) -> Result<Round, Failure> {
        ground.renew().await?;
        let started = Instant::now();
        ground.client.batch_execute(&format!("UPDATE t SET new = {NEW}")).await?;
        let update = started.elapsed().as_secs_f64();
        let update_heap = ground.heap().await?;
        ground.renew().await?;
        let (walk, whole) = walk(ground).await?;
        Ok(Round { update, walk, whole, update_heap, walk_heap: ground.heap().await? })
    }

    fn median(rounds: &[Round]) -> Round {
        let median = |of: fn(&Round) -> f64| median(rounds.iter().map(of));
        Round {
            update: median(|round| round.update),
            walk: median(|round| round.walk),
            whole: median(|round| round.whole),
            update_heap: median(|round| round.update_heap),
            walk_heap: median(|round| round.walk_heap),
        }
    }

    /// Ratios are of speeds: 0.85 means 85 % of the rows per second of the UPDATE.
    fn line(&self) -> String {
        format!(
            "{:>8.2}   {:>4.2}   {:>6.2}   {:>5.2}   {:>4.2}   {:>13.2}   {:>5.2}",
            self.update,
            self.update_heap,
            self.walk,
            self.update / self.walk,
            self.walk_heap,
            self.whole,
            self.update / self.whole
        )
    }
}

/// Returns the seconds of the walk alone, and with everything: plan, ledger, verification.
async fn walk(ground: &Ground) -> Result<(f64, f64), Failure> {
    let started = Instant::now();
    let job = Job::builder("bench", "public.t").set("new", NEW).build()?;
    let report = ground.walk(&job, |_| ()).await?;
    let whole = started.elapsed();
    let looking =
        Duration::from_secs_f64(report.snapshot.looked.map_or(0.0, |(_, seconds)| seconds));
    Ok((whole.saturating_sub(looking).as_secs_f64(), whole.as_secs_f64()))
}
