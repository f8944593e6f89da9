//! Every exit code and what it means; the table in the documentation is held to this one.

use piecemeal::ErrorKind;

macro_rules! exits {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal),+ $(,)?) => {
        /// How a command ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Exit { $($(#[doc = $doc])+ $name),+ }

        impl Exit {
            /// Returns the number that the shell sees.
            pub(crate) fn code(self) -> u8 {
                match self { $(Exit::$name => $code),+ }
            }

            /// All of them with their meaning.
            #[cfg(test)]
            const ALL: &[(Exit, &str)] = &[$((Exit::$name, concat!($($doc),+))),+];
        }
    };
}

exits! {
    /// done and verified (or the command did what it says)
    Done = 0,
    /// a bug, or something unexpected
    Unexpected = 1,
    /// usage, or the job file
    Usage = 2,
    /// refused by preflight, by a gate, by the state of the run, or because the definition changed; nothing was written
    Refused = 3,
    /// stopped on request: paused, `--limit`, `--max-runtime`, `--until`, `--timeout` or `max_hold` reached (resumable), or cancelled (final)
    Stopped = 4,
    /// bad rows: stopped at one, or finished with rows in quarantine (also if verification found something besides)
    BadRows = 5,
    /// verification failed
    Unverified = 6,
    /// another process owns the run, or took it over
    Owned = 7,
    /// the database cannot be reached or logged in to: at the start after 30 s of retries, during a run after `max_hold`
    Unreachable = 8,
    /// interrupted by SIGINT; resumable
    Interrupted = 130,
    /// interrupted by SIGTERM or SIGHUP; resumable
    Terminated = 143,
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Exit {
        match kind {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::Refused => Exit::Refused,
            ErrorKind::Stopped => Exit::Stopped,
            ErrorKind::BadRow => Exit::BadRows,
            ErrorKind::Unverified => Exit::Unverified,
            ErrorKind::Owned => Exit::Owned,
            ErrorKind::Unreachable => Exit::Unreachable,
            ErrorKind::Unexpected => Exit::Unexpected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn the_documented_table_is_this_one() {
        let mut table = String::from("| code | meaning |\n|---|---|\n");
        for (exit, meaning) in Exit::ALL {
            writeln!(table, "| {} | {} |", exit.code(), meaning.trim()).unwrap();
        }
        let page = include_str!("../../docs/reference/exit-codes.md");
        assert!(page.contains(&table), "docs/reference/exit-codes.md should hold\n{table}");
    }
}
