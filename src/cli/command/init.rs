//! `init`: installs the ledger, or prints how.

use piecemeal::control::ledger_sql;

use super::Done;
use crate::cli::args::Init;
use crate::cli::exit::Exit;
use crate::cli::settings::Settings;

pub(crate) async fn run(settings: &Settings, args: &Init) -> Done {
    if args.print_sql {
        settings.printer.data(&ledger_sql(args.from, args.operator.as_deref()))?;
        return Ok(Exit::Done);
    }
    let desk = settings.desk(None).await?;
    desk.install(args.operator.as_deref()).await?;
    settings.printer.say("ready: the ledger is installed in schema `piecemeal`");
    if let Some(role) = &args.operator {
        settings.printer.say(&format!("granted: `{role}` may run and steer jobs"));
    }
    Ok(Exit::Done)
}
