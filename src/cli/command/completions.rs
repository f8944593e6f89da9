//! `completions`: what a shell needs to complete the command line.

use clap::CommandFactory as _;

use super::Done;
use crate::cli::args::{Args, Completions};
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;

pub(crate) fn run(settings: &Settings, args: &Completions) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "piecemeal", &mut script);
    settings.printer.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
