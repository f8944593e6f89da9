//! `doctor`: whether connection, server and role are such that jobs can run. Changes nothing.

use piecemeal::doctor::examine;
use piecemeal::report;

use super::Done;
use crate::cli::args::Doctor;
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;

pub(crate) async fn run(settings: &Settings, args: &Doctor) -> Done {
    let job = args.job.as_deref().map(|job| settings.job(job)).transpose()?;
    let desk = settings.desk(job.as_ref().map(|job| job.name.as_str())).await?;
    let checkup = examine(desk.database(), job.as_ref()).await?;
    if settings.is_json() {
        settings.printer.data(&report::doctor::checkup(&checkup).to_string())?;
    } else {
        settings.printer.data(&checkup.to_string())?;
    }
    Ok(if checkup.is_fit() { Exit::Done } else { Exit::Refused })
}
