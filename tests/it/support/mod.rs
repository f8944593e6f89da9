//! What every test stands on: a database of its own, the real program, and jobs in a folder.

pub(crate) mod cli;
pub(crate) mod db;
pub(crate) mod job;
pub(crate) mod oracle;
pub(crate) mod pooler;
pub(crate) mod proxy;
pub(crate) mod standby;
pub(crate) mod zones;

use std::time::{Duration, Instant};

/// How long anything is waited for; much more than it takes, so that only what hangs fails.
const DEADLINE: Duration = Duration::from_secs(30);

/// Returns the length of a long test, if the environment says one, as in `PIECEMEAL_STARTS=50`.
pub(crate) fn long(name: &str) -> Option<u32> {
    let text = std::env::var(format!("PIECEMEAL_{name}")).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("PIECEMEAL_{name} is no number: {text}")))
}

/// Says what a long test saw.
#[expect(clippy::print_stdout, reason = "how long it really takes is worth a look")]
pub(crate) fn saw(what: &str) {
    println!("{what}");
}

/// Looks until `look` finds something; panics, naming `what`, when that takes too long.
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_or(look, || what.to_owned())
}

/// The same, where what to name is known only when it took too long.
pub(crate) fn until_or<T>(mut look: impl FnMut() -> Option<T>, what: impl FnOnce() -> String) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        if started.elapsed() > DEADLINE {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain for: {}", what());
}
