//! The command line: what was typed becomes a call of the library, what comes back becomes text.
//!
//! Nothing is decided here that a library user would have to decide again. stdout is data, stderr
//! is talk; only [`printer`] writes to either.

mod args;
mod exit;
mod printer;
mod settings;
mod explain;
mod signals;
mod reporter;
mod bar;
mod lines;
mod table;
mod api;
mod traffic;
mod witness;

mod command;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Args, Command};
use exit::Exit;
use settings::Settings;

/// Parses, runs, and returns the exit code.
pub(crate) fn main() -> ExitCode {
    if has_stray_url(settings::typed()) {
        printer::Printer::default().talk(STRAY_URL);
        return ExitCode::from(Exit::Usage.code());
    }
    let args = Args::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(dispatch(args));
            // A statement that was left behind on purpose must not hold up the exit.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            printer::Printer::default()
                .talk(&format!("error: the runtime could not be started: {error}"));
            Exit::Unexpected
        }
    };
    ExitCode::from(exit.code())
}

const STRAY_URL: &str = "error: a connection URL stands where something else belongs; it is not shown, as it may hold a \
password\n  hint: write it behind `--database-url` (`-d`), or into DATABASE_URL";

/// Whether a connection URL stands elsewhere than behind its flag: whatever refuses it there would show it.
fn has_stray_url(args: impl Iterator<Item = String>) -> bool {
    let is_url = |text: &str| text.starts_with("postgres://") || text.starts_with("postgresql://");
    let mut is_wanted = false;
    for arg in args {
        let (flag, value) =
            arg.split_once('=').filter(|_| arg.starts_with("--")).unwrap_or(("", &arg));
        if is_url(value) && !is_wanted && flag != "--database-url" {
            return true;
        }
        // Short flags may stand together, as in `-yd`.
        let is_short = arg.starts_with('-') && !arg.starts_with("--") && arg.ends_with('d');
        is_wanted = arg == "--database-url" || is_short;
    }
    false
}

async fn dispatch(args: Args) -> Exit {
    let settings = Settings::resolve(&args);
    let done = match &args.command {
        Command::New(it) => command::new::run(&settings, it).await,
        Command::Check(it) => command::check::run(&settings, it),
        Command::Plan(it) => command::plan::run(&settings, it).await,
        Command::Run(it) => command::run::run(&settings, it).await,
        Command::Join(it) => command::run::join(&settings, it).await,
        Command::Status(it) => command::status::run(&settings, it).await,
        Command::Watch(it) => command::watch::run(&settings, it).await,
        Command::Pause(it) => command::control::pause(&settings, it).await,
        Command::Resume(it) => command::run::resume(&settings, it).await,
        Command::Throttle(it) => command::control::throttle(&settings, it).await,
        Command::Cancel(it) => command::control::cancel(&settings, it).await,
        Command::Verify(it) => command::verify::run(&settings, it).await,
        Command::Quarantine(it) => command::quarantine::run(&settings, it).await,
        Command::Wait(it) => command::wait::run(&settings, it).await,
        Command::Contract(it) => command::shape::contract(&settings, it).await,
        Command::Down(it) => command::shape::down(&settings, it).await,
        Command::History(it) => command::history::run(&settings, it).await,
        Command::Forget(it) => command::control::forget(&settings, it).await,
        Command::Demo(it) => command::demo::run(&settings, it).await,
        Command::Init(it) => command::init::run(&settings, it).await,
        Command::Doctor(it) => command::doctor::run(&settings, it).await,
        Command::Schema => command::schema::run(&settings),
        Command::Completions(it) => command::completions::run(&settings, it),
    };
    done.unwrap_or_else(|problem| explain::problem(&settings, &problem))
}

#[cfg(test)]
mod tests {
    use super::has_stray_url;

    fn is_stray(line: &str) -> bool {
        has_stray_url(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn a_url_stands_behind_its_flag_and_nowhere_else() {
        for line in
            ["-d postgres://h status", "status --database-url=postgres://h", "-yd postgresql://h"]
        {
            assert!(!is_stray(line), "{line}");
        }
        for line in [
            "postgres://h",
            "status postgresql://h",
            "--databse-url=postgres://h",
            "-d x postgres://h",
        ] {
            assert!(is_stray(line), "{line}");
        }
    }
}
