//! Exactly once, whatever dies: the program itself, with its own throw-away server, under seeded
//! faults and four writers.
//!
//! The job adds 1 to rows, so a batch that is lost or repeated shows. A short version is part of
//! `cargo test`; `cargo torture --help` says what the long one takes. A failure names its seed and
//! keeps the server. The seed gives the same table, rows, writes and faults in the same order; at which
//! microsecond they meet is up to the machine.

mod args;
mod attach;
mod case;
mod disk;
mod faults;
mod ledger;
mod mend;
mod nth;
mod oracles;
mod points;
mod pooler;
mod program;
mod proxy;
mod runs;
mod sabotage;
mod scene;
mod server;
mod shape;
mod storm;
mod tally;
mod strike;
mod trouble;
mod tricks;
mod watch;
mod wire;
mod work;
mod writers;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser as _;

use args::Args;

/// What came of something, or why the test cannot go on.
type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> ExitCode {
    let args = Args::parse();
    if args.is_for_others() {
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(all(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("torture: FAILED\n{error}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells people, who read the long version as it goes.
#[expect(clippy::print_stdout, reason = "the long version is read by people")]
fn say(line: &str) {
    println!("{line}");
}

/// The first seed of the short version, which is the same for everybody.
const SEED: u64 = 20_261;

async fn all(args: &Args) -> Outcome<()> {
    if let Some(names) = &args.sabotage {
        return sabotage::all(names, args).await;
    }
    if let Some(step) = args.every_request {
        return points::all(args, step.max(1)).await;
    }
    if args.runs.is_some() || args.seed.is_some() {
        return runs::all(args, args.runs.unwrap_or(1)).await;
    }
    wire::check()?;
    runs::still(args).await?;
    let mut seeded = args.clone();
    seeded.seed = Some(SEED);
    runs::all(&seeded, 4).await?;
    points::all(args, 89).await?;
    sabotage::all("cursor-left-behind,work-ignores-fence,gap-of-one", args).await
}
