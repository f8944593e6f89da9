//! What is asked for.

use clap::Parser;

use crate::disk::Disk;
use crate::faults::Fault;

/// Lets everything die that a run stands on, and counts every row in the end.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo torture", version, after_help = after_help())]
pub(crate) struct Args {
    /// Runs, each with a table, a job and faults of its own
    #[arg(long, value_name = "N")]
    pub(crate) runs: Option<u32>,
    /// The first seed, which a failure names; those that follow are one more each
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Faults of a run; one takes about a second
    #[arg(long, default_value_t = 8)]
    pub(crate) faults: u32,
    /// Only these faults
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) only: Vec<String>,
    /// Put `PgBouncer` in between: transaction mode, two connections
    #[arg(long)]
    pub(crate) pooled: bool,
    /// Runs at the same time
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub(crate) at_once: usize,
    /// Let errors, cuts and kills hit every single request of small runs, before and after it; with a
    /// number, every so many of these cases
    #[arg(long, value_name = "STEP", num_args = 0..=1, default_missing_value = "1")]
    pub(crate) every_request: Option<usize>,
    /// Break the program on the wire, and see the test notice: names, or `all`
    #[arg(long, value_name = "NAMES")]
    pub(crate) sabotage: Option<String>,
    #[command(flatten)]
    of_tests: OfTests,
}

/// What `cargo test` says to all tests.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are flags of others")]
struct OfTests {
    #[arg(hide = true)]
    filter: Vec<String>,
    #[arg(long, hide = true)]
    list: bool,
    #[arg(long, hide = true)]
    ignored: bool,
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    no_capture: bool,
    #[arg(long, hide = true)]
    include_ignored: bool,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(short, long, hide = true)]
    quiet: bool,
    #[arg(long, hide = true)]
    skip: Vec<String>,
    #[arg(long, hide = true)]
    test_threads: Option<String>,
    #[arg(long, hide = true)]
    format: Option<String>,
    #[arg(long, hide = true)]
    color: Option<String>,
}

/// Says what cannot be done here.
pub(crate) fn left_out() -> &'static str {
    if Disk::is_possible() {
        ""
    } else {
        "; not here: disk-full, for which a tmpfs must be mounted"
    }
}

fn after_help() -> String {
    format!("Faults: {}{}", Fault::names().join(", "), left_out())
}

impl Args {
    /// Whether other tests are asked for, by a name or as those that are ignored.
    pub(crate) fn is_for_others(&self) -> bool {
        let is_named =
            |names: &[String]| names.iter().any(|name| "torture".contains(name.as_str()));
        let of = &self.of_tests;
        let is_ours = of.filter.is_empty() || is_named(&of.filter);
        of.list || of.ignored || !is_ours || is_named(&of.skip)
    }
}
