//! The only way to stdout and stderr.
//!
//! A reader that has gone away is not an error of ours, and never a reason to stop (F81).

use std::io::{self, IsTerminal as _, Write as _};

/// Writes data and talk.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Printer {
    /// Whether only what is wrong is said.
    pub(crate) is_quiet: bool,
    /// Whether stderr has colour.
    pub(crate) has_colour: bool,
}

impl Printer {
    /// Writes a line of data to stdout.
    #[expect(clippy::unused_self, reason = "the printer is the capability to write")]
    pub(crate) fn data(self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done,
        }
    }

    /// Says something on stderr, unless only errors are wanted.
    pub(crate) fn say(self, text: &str) {
        if !self.is_quiet {
            self.talk(text);
        }
    }

    /// Says something on stderr in any case.
    #[expect(clippy::unused_self, reason = "the printer is the capability to write")]
    pub(crate) fn talk(self, text: &str) {
        // There is nobody left to tell that telling failed.
        let _ = writeln!(io::stderr().lock(), "{}", text.trim_end_matches('\n'));
    }

    /// Whether there is a terminal at which somebody could answer.
    #[expect(clippy::unused_self, reason = "the printer is the capability to ask")]
    pub(crate) fn can_ask(self) -> bool {
        io::stdin().is_terminal()
    }

    /// Asks a question on the terminal; no answer is no.
    #[expect(clippy::unused_self, reason = "the printer is the capability to ask")]
    pub(crate) fn ask(self, question: &str) -> bool {
        let _ = write!(io::stderr().lock(), "{question} [y/N] ");
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}
