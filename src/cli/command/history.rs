//! `history`: who did what, when and why.

use piecemeal::report::json;

use super::Done;
use crate::cli::args::History;
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;
use crate::cli::table;

pub(crate) async fn run(settings: &Settings, args: &History) -> Done {
    let name = settings.job_name(&args.job);
    let desk = settings.desk(None).await?;
    let lines = desk.history(&name, args.last).await?;
    let text = if settings.is_json() {
        json::history(&lines).to_string()
    } else {
        table::of_journal(&lines)
    };
    settings.printer.data(&text)?;
    Ok(Exit::Done)
}
