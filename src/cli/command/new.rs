//! `new`: a job file for a table that is there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use piecemeal::plan::{check_names, draft};
use piecemeal::{Error, ErrorKind};
use serde_json::json;

use super::Done;
use crate::cli::args::New;
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;

pub(crate) async fn run(settings: &Settings, args: &New) -> Done {
    let name = &args.job;
    check_names(name, &args.table)?;
    let path = settings.jobs_dir().join(format!("{name}.toml"));
    if !args.print && path.exists() {
        return Err(is_there(&path).into());
    }
    let desk = settings.desk(None).await?;
    let text = draft(name, &args.table, desk.database()).await?.text();
    if args.print {
        settings.printer.data(&text)?;
        return Ok(Exit::Done);
    }
    write(&path, &text)?;
    if settings.is_json() {
        let document = json!({ "v": 1, "job": name, "path": path.to_string_lossy() });
        settings.printer.data(&document.to_string())?;
    }
    settings.printer.say(&format!("written: {}", path.display()));
    settings.printer.say(&format!(
        "next: say under [set] what should change, then `piecemeal plan {name}`, which changes nothing"
    ));
    Ok(Exit::Done)
}

/// Writes a file that is not there yet, and its folder if need be.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let made = folder.map_or(Ok(()), fs::create_dir_all);
    let written = made
        .and_then(|()| OpenOptions::new().write(true).create_new(true).open(path))
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return is_there(path);
        }
        let what = format!("the job file {} cannot be written", path.display());
        Error::new(ErrorKind::Usage, "job-file", what)
            .because(error.to_string())
            .with_hint("name another folder with --jobs-dir, or use --print")
    })
}

fn is_there(path: &Path) -> Error {
    let what = format!("the job file {} is there already; nothing was written", path.display());
    Error::new(ErrorKind::Refused, "job-file-exists", what)
        .with_hint("choose another name, remove the file, or use --print")
}
