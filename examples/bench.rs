//! How fast a walk is beside one plain UPDATE of the same table: interleaved rounds, medians.
//!
//! `cargo bench-walk [ROWS [ROUNDS [INDEXES [JOB…]]]]` starts a throw-away server with a real disk's
//! settings, makes the same table anew for every measurement, after a checkpoint, and prints a table.
//! A JOB is a line of a job file, such as `pace.vacuum = "off"`, and one more walk in each round.
//! Machines are noisy: read the ratio, not the seconds.

mod ground;

use std::time::{Duration, Instant};

use ground::{Failure, Ground, NEW, job, median};
use piecemeal::Job;
use piecemeal::sandbox::Programs;

/// How the UPDATE is called.
const UPDATE: &str = "UPDATE";
/// How the walk is called that says nothing about its pace.
const WALK: &str = "walk";

/// One way to rewrite the table: seconds alone, and with the verification; and the heap afterwards,
/// in sizes of what the rows need by themselves. NaN is what there is not.
struct Measured {
    alone: f64,
    whole: f64,
    heap: f64,
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn say(line: &str) {
    println!("{line}");
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u32| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (rows, rounds, indexes) = (number(1_000_000), number(5), number(1));
    let mut walks = vec![(WALK.to_owned(), job("")?)];
    for line in args {
        let job = job(&line)?;
        walks.push((line, job));
    }
    let programs = Programs::find_or_install(&mut |line| say(line))?;
    let sandbox = ground::server(&programs, "off")?;
    let ground = Ground::make(&sandbox, rows, indexes).await?;
    say(&format!("{rows} rows, primary key and {indexes} more, {rounds} rounds"));
    say("round        s   ratio   with verify s   ratio   heap   of");
    let mut all = vec![Vec::new(); walks.len() + 1];
    for no in 1..=rounds {
        let mut of_round = vec![(UPDATE, update(&ground).await?)];
        for (name, job) in &walks {
            of_round.push((name, walk(&ground, job).await?));
        }
        let base = of_round[0].1.alone;
        for ((name, measured), numbers) in of_round.iter().zip(&mut all) {
            numbers.push(measured.numbers(base));
            say(&line(&no.to_string(), name, &measured.numbers(base)));
        }
    }
    let names = [UPDATE].into_iter().chain(walks.iter().map(|(name, _)| name.as_str()));
    for (name, numbers) in names.zip(&all) {
        say(&line("median", name, &medians(numbers)));
    }
    Ok(())
}

impl Measured {
    /// Ratios are of speeds: 0.85 means 85 % of the rows per second of the UPDATE.
    fn numbers(&self, update: f64) -> [f64; 5] {
        [self.alone, update / self.alone, self.whole, update / self.whole, self.heap]
    }
}

fn medians(rounds: &[[f64; 5]]) -> [f64; 5] {
    std::array::from_fn(|at| median(rounds.iter().map(|numbers| numbers[at])))
}

fn line(round: &str, name: &str, numbers: &[f64; 5]) -> String {
    let shown = |number: f64| if number.is_nan() { "-".into() } else { format!("{number:.2}") };
    let [alone, ratio, whole, whole_ratio, heap] = numbers.map(shown);
    format!(
        "{round:<6}{alone:>8}   {ratio:>5}   {whole:>13}   {whole_ratio:>5}   {heap:>4}   {name}"
    )
}

async fn update(ground: &Ground) -> Result<Measured, Failure> {
    ground.renew().await?;
    let started = Instant::now();
    ground.client.batch_execute(&format!("UPDATE t SET new = {NEW}")).await?;
    let alone = started.elapsed().as_secs_f64();
    Ok(Measured { alone, whole: f64::NAN, heap: ground.heap().await? })
}

async fn walk(ground: &Ground, job: &Job) -> Result<Measured, Failure> {
    ground.renew().await?;
    let started = Instant::now();
    let report = ground.walk(job, |_| ()).await?;
    let whole = started.elapsed();
    let looking =
        Duration::from_secs_f64(report.snapshot.looked.map_or(0.0, |(_, seconds)| seconds));
    let alone = whole.saturating_sub(looking).as_secs_f64();
    Ok(Measured { alone, whole: whole.as_secs_f64(), heap: ground.heap().await? })
}
