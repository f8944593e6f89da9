//! `verify`: looks at every row of a run whose walk is over, and changes nothing.

use piecemeal::engine::{self, Verified};
use piecemeal::report::words;
use piecemeal::{Error, ErrorKind};
use serde_json::{Value, json};

use super::Done;
use super::plan::build;
use crate::cli::args::OneJob;
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;

pub(crate) async fn run(settings: &Settings, args: &OneJob) -> Done {
    let job = settings.job(&args.job)?;
    let desk = settings.desk(Some(&job.name)).await?;
    let run = desk.find(&job.name).await?.ok_or_else(|| desk.no_run(&job.name))?;
    let plan = build(&job, &desk).await?;
    desk.check_same(&plan, &run).await?;
    let snapshots = desk.status(Some(&job.name)).await?;
    let Some(snapshot) = snapshots.first() else { return Err(desk.no_run(&job.name).into()) };
    let verified = engine::verify(plan, snapshot, desk.database().clone()).await;
    // What was found matters more than whether it could be noted.
    let noted = match found(verified.as_ref()) {
        Some(found) => desk.note(run.id, "verify", &found).await,
        None => Ok(()),
    };
    let verified = verified?;
    noted?;
    if settings.is_json() {
        let document = json!({ "v": 1, "job": job.name, "verified": verified.how,
            "looked": verified.looked, "skipped": snapshot.rows.skipped,
            "took_s": verified.took.as_secs_f64() });
        settings.printer.data(&document.to_string())?;
    }
    let skipped =
        (snapshot.rows.skipped > 0).then(|| format!("; {}", words::quarantined(snapshot)));
    let skipped = skipped.unwrap_or_default();
    settings.printer.say(&format!(
        "verified: `{}` by {}, {} rows looked at in {}{skipped}",
        job.name,
        if verified.how == "rows" { "its rows" } else { "the books alone" },
        words::count(verified.looked),
        words::span(verified.took)
    ));
    Ok(Exit::Done)
}

/// What the history is to have of it; nothing was looked at if it was refused.
fn found(verified: Result<&Verified, &Error>) -> Option<Value> {
    match verified {
        Ok(verified) => Some(json!({ "passed": true, "looked": verified.looked })),
        Err(error) if error.kind() == ErrorKind::Refused => None,
        Err(error) => Some(json!({ "passed": false, "message": error.message() })),
    }
}
