//! `schema`: the JSON Schema of a job file, for editors.

use piecemeal::job::SCHEMA;

use super::Done;
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;

pub(crate) fn run(settings: &Settings) -> Done {
    settings.printer.data(SCHEMA)?;
    Ok(Exit::Done)
}
