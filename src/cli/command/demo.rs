//! stub
use super::Done;
use crate::cli::args::Demo;
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;

pub(crate) async fn run(_settings: &Settings, _args: &Demo) -> Done {
    Ok(Exit::Done)
}
