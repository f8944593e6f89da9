//! First signal: finish the batch and leave. Second: cancel the statement and leave at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use piecemeal::engine::Leaver;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::Exit;
use super::printer::Printer;

/// How long a second signal waits for the ledger to be told.
const PATIENCE: Duration = Duration::from_secs(1);

/// The signal that was seen first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<AtomicU8>);

impl Seen {
    /// Returns how the process ends if a signal ended it.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            130 => Some(Exit::Interrupted),
            _ => Some(Exit::Terminated),
        }
    }
}

/// Listens until the process ends; `hint` is the command that continues.
pub(crate) fn listen(leaver: Leaver, printer: Printer, hint: String) -> Seen {
    let seen = Seen::default();
    let (Ok(int), Ok(term), Ok(hup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return seen;
    };
    tokio::spawn(obey(seen.clone(), leaver, printer, hint, [int, term, hup]));
    seen
}

async fn obey(
    seen: Seen,
    leaver: Leaver,
    printer: Printer,
    hint: String,
    mut signals: [Signal; 3],
) {
    let first = next(&mut signals).await;
    seen.0.store(first, Ordering::Relaxed);
    leaver.leave();
    next(&mut signals).await;
    leaver.leave_at_once().await;
    tokio::time::sleep(PATIENCE).await;
    printer.talk(&format!("left at once; {hint} continues where it stopped"));
    leave(first);
}

async fn next([int, term, hup]: &mut [Signal; 3]) -> u8 {
    tokio::select! {
        _ = int.recv() => Exit::Interrupted.code(),
        _ = term.recv() => Exit::Terminated.code(),
        _ = hup.recv() => Exit::Terminated.code(),
    }
}

#[expect(
    clippy::exit,
    reason = "the one place that leaves while the engine still waits for the server"
)]
fn leave(code: u8) -> ! {
    std::process::exit(code.into())
}
