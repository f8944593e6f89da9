//! How fast a walk is beside one plain UPDATE and other ways: interleaved rounds, medians.
//!
//! `cargo bench-walk` starts a throw-away server with a real disk's settings and makes the same table
//! anew for every measurement. `docs/reference/performance.md` says what the columns mean. Machines
//! are noisy: read the ratio, not the seconds.

mod bench;
#[path = "../ground/mod.rs"]
mod ground;
mod memory;
mod meter;
mod pgbatch;
mod proxy;
mod report;
mod sql;
mod variant;

use std::time::Duration;

use bench::Bench;
use clap::Parser;
use ground::{Failure, Key, Shape};
use piecemeal::job::parse_duration;
use piecemeal::sandbox::Programs;

/// Measures how fast a walk is, beside one UPDATE and other ways.
#[derive(Debug, Parser)]
#[command(name = "cargo bench-walk")]
struct Args {
    /// Rows of the table
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..))]
    rows: u32,
    /// Rounds; each measures every variant once
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The kind of primary key
    #[arg(long, value_enum, default_value = "bigint")]
    key: Key,
    /// Indexes beside that of the key
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=4))]
    indexes: u8,
    /// Change only one row out of N, found by a predicate that no index helps with
    #[arg(long, value_name = "1/N", value_parser = parse_share)]
    matching: Option<u32>,
    /// Memory of the server for pages: more than the table takes, or less
    #[arg(long, value_name = "SIZE", default_value = "2GB")]
    shared_buffers: String,
    /// A setting of the server, as in `max_wal_size=256MB`, which makes it write checkpoints
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// Time of a round trip between client and server, as in 5ms
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    latency: Option<Duration>,
    /// Only these: update, count, loop-1000, loop-10000, pg-batch, walk; update is always measured
    #[arg(long, value_name = "VARIANT", value_delimiter = ',')]
    only: Vec<String>,
    /// One more walk, with these lines in its job file; a `;` ends a line
    #[arg(long = "job", value_name = "LINES")]
    jobs: Vec<String>,
}

impl Args {
    fn shape(&self) -> Shape {
        let Args { rows, key, indexes, matching, .. } = *self;
        Shape { rows, key, indexes, matching }
    }

    /// The settings of the server, of which the last one counts.
    fn settings(&self) -> Vec<(&str, &str)> {
        let ours = [("autovacuum", "off"), ("shared_buffers", &self.shared_buffers[..])];
        let more = self.settings.iter().map(|(name, value)| (&name[..], &value[..]));
        ours.into_iter().chain(more).collect()
    }
}

/// Reads 1/N.
fn parse_share(text: &str) -> Result<u32, String> {
    let n = text.strip_prefix("1/").and_then(|n| n.parse().ok());
    n.filter(|n| *n > 0).ok_or_else(|| "write 1/N, as in 1/10000".to_owned())
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, as in work_mem=64MB")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[expect(clippy::print_stdout, reason = "the table is what it is for")]
fn say(line: &str) {
    println!("{line}");
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    // Whatever is installed and opened is removed when it is dropped.
    tokio::select! {
        measured = measure(Args::parse()) => measured,
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    }
}

async fn measure(args: Args) -> Result<(), Failure> {
    let shape = args.shape();
    if shape.matching.is_some_and(|n| n > shape.rows) {
        return Err("the table has too few rows for one of them to match".into());
    }
    let variants = variant::choose(&args.only, &args.jobs, &shape)?;
    let programs = Programs::find_or_install(&mut |line| say(line))?;
    let bench = Bench::make(&programs, &args.settings(), shape, args.latency).await?;
    say(&bench.describe().await?);
    say(&report::header());
    let mut lines = Vec::new();
    for no in 1..=args.rounds {
        Box::pin(bench.round(no, &variants, &mut lines)).await;
    }
    say(&report::header());
    for at in 0..variants.len() {
        let rounds: Vec<_> = lines.iter().skip(at).step_by(variants.len()).collect();
        say(&report::medians(&rounds));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_is_asked_for_comes_last() {
        let given = ["bench", "--setting", "shared_buffers=1GB", "--matching", "1/100"];
        let args = Args::try_parse_from(given).unwrap();
        assert_eq!(args.settings().last(), Some(&("shared_buffers", "1GB")));
        assert_eq!(args.shape().matching, Some(100));
    }

    #[test]
    fn a_share_is_one_out_of_some() {
        assert_eq!(parse_share("1/10000"), Ok(10_000));
        for wrong in ["0.1", "1/0", "2/3", "1/", "1/-1"] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
