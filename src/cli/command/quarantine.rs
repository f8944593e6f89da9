//! `quarantine`: the rows that the server refused, and what is to become of them.

use piecemeal::Key;
use piecemeal::control::{Bad, Desk};
use piecemeal::engine::Options;
use piecemeal::report::{json, words};
use piecemeal::run::Snapshot;

use super::Done;
use super::plan::build;
use super::run::go_on;
use crate::cli::args::{Output, Quarantine};
use crate::cli::exit::Exit;
use crate::cli::settings::{Settings, actor};
use crate::cli::table;

pub(crate) async fn run(settings: &Settings, args: &Quarantine) -> Done {
    if args.retry {
        return Box::pin(retry(settings, args)).await;
    }
    let name = settings.job_name(&args.job);
    let desk = settings.desk(None).await?;
    match &args.reason {
        Some(reason) if args.skip => skip(settings, args, &desk, (&name, reason)).await,
        _ => list(settings, args, &desk, &name).await,
    }
}

fn keys(args: &Quarantine) -> Option<&[Key]> {
    (!args.keys.is_empty()).then_some(args.keys.as_slice())
}

async fn list(settings: &Settings, args: &Quarantine, desk: &Desk, name: &str) -> Done {
    let rows = desk.quarantine(name, keys(args), args.last).await?;
    let snapshots = desk.status(Some(name)).await?;
    let Some(snapshot) = snapshots.first() else { return Err(desk.no_run(name).into()) };
    match settings.output {
        Output::Json => settings.printer.data(&json::quarantine(snapshot, &rows).to_string())?,
        Output::Jsonl => {
            for row in &rows {
                settings.printer.data(&json::bad(snapshot, row).to_string())?;
            }
        }
        Output::Human => {
            if !rows.is_empty() {
                settings.printer.data(&table::of_quarantine(&rows))?;
            }
            settings.printer.say(&summed_up(snapshot, &rows));
        }
    }
    Ok(Exit::Done)
}

fn summed_up(snapshot: &Snapshot, rows: &[Bad]) -> String {
    let (job, all) = (&snapshot.job, snapshot.rows.quarantined);
    if all == 0 {
        return format!("no row of `{job}` is in quarantine");
    }
    let shown = rows.len() as u64;
    let part = (shown < all).then(|| format!("; {} shown", words::count(shown)));
    let waits = snapshot.rows.waiting() > 0 && !snapshot.status.is_final();
    let next = waits.then(|| {
        format!(
            "; `piecemeal quarantine {job} --retry` tries them again, `--skip --reason` accepts them"
        )
    });
    let (part, next) = (part.unwrap_or_default(), next.unwrap_or_default());
    format!("{}{part}{next}", words::quarantined(snapshot))
}

async fn skip(
    settings: &Settings,
    args: &Quarantine,
    desk: &Desk,
    (name, reason): (&str, &str),
) -> Done {
    let rows = desk.skip(name, keys(args), reason).await?;
    settings.printer.say(&format!(
        "skipped: {} of `{name}`; `piecemeal resume {name}` goes on, and verifies the others",
        words::counted(rows, "rows")
    ));
    Ok(Exit::Done)
}

/// What stands against going on is said before anything is queued.
async fn retry(settings: &Settings, args: &Quarantine) -> Done {
    let job = settings.job(&args.job)?;
    let desk = settings.desk(Some(&job.name)).await?;
    let Some(run) = desk.find(&job.name).await? else { return Err(desk.no_run(&job.name).into()) };
    if run.status.is_final() {
        // It says that it has ended.
        desk.retry(&job.name, keys(args)).await?;
    }
    let plan = build(&job, &desk).await?;
    desk.check_same(&plan, &run).await?;
    let rows = desk.retry(&job.name, keys(args)).await?;
    if rows == 0 {
        settings.printer.say(&format!("no row of `{}` waits in quarantine", job.name));
        return Ok(Exit::Done);
    }
    let rows = words::counted(rows, "rows");
    settings.printer.say(&format!("queued: {rows} of `{}` to be tried again", job.name));
    Box::pin(go_on(settings, &desk, plan, &run, Options::new(actor()))).await
}
