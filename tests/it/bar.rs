//! The bar, on a terminal.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::cli::{Cli, Running};
use crate::support::db::Db;
use crate::support::job::{Toml, numbers};
use crate::support::until_or;

/// Starts the program on a terminal of its own, wide enough for whole lines; what that shows goes into a file.
fn on_a_terminal(cli: &Cli, args: &str, screen: &Path) -> Running {
    let line = format!("stty rows 50 cols 200; exec {} {args}", env!("CARGO_BIN_EXE_piecemeal"));
    let plain = cli.command(&[]);
    let envs = plain.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut command = Command::new("script");
    command.args(["-qfec", &line]).arg(screen).env_clear().envs(envs);
    command.env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::of(command)
}

#[test]
fn on_a_terminal_a_bar_names_the_job_how_far_it_is_and_what_holds_it() {
    let db = Db::with(&numbers(100));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    cli.call(&["run", "job", "-y", "--limit", "50"]).exits(4);
    let shut = "[[pace.window]]\nwhen = \"daily\"\nzone = \"UTC\"\nrate = \"pause\"";
    cli.write("job", &Toml::increment().rows(10).with(shut).text());
    let screen = cli.path("job").with_extension("screen");
    let running = on_a_terminal(&cli, "run job -y --color never", &screen);
    let shown = || String::from_utf8_lossy(&fs::read(&screen).unwrap_or_default()).into_owned();
    for part in [
        "job  backfill  ████████████░",
        "   50%  50 / ~100 rows   measuring   ETA ",
        "holding: window daily: pause, for ",
    ] {
        let found = || shown().contains(part).then_some(());
        until_or(found, || format!("`{part}` on the terminal: {:?}", shown()));
    }
    cli.done(&["cancel", "job"]);
    running.wait().exits(4);
    assert!(shown().contains("cancelled"), "{}", shown());
}
