//! The command line of piecemeal.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
