//! The only way to stdout and stderr.
//!
//! A reader that has gone away is not an error of ours, and never a reason to stop (F81).

use std::borrow::Cow;
use std::fmt::Write as _;
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
        match writeln!(out, "{}", harmless(text.trim_end_matches('\n'))).and_then(|()| out.flush())
        {
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
        let _ = writeln!(io::stderr().lock(), "{}", harmless(text.trim_end_matches('\n')));
    }

    /// Whether there is a terminal at which somebody could answer.
    #[expect(clippy::unused_self, reason = "the printer is the capability to ask")]
    pub(crate) fn can_ask(self) -> bool {
        io::stdin().is_terminal()
    }

    /// Asks a question on the terminal; no answer is no.
    #[expect(clippy::unused_self, reason = "the printer is the capability to ask")]
    pub(crate) fn ask(self, question: &str) -> bool {
        let _ = write!(io::stderr().lock(), "{} [y/N] ", harmless(question));
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

/// Returns a text that does nothing to a terminal but colour it: names and messages come from the database.
fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_active) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for (at, c) in text.char_indices() {
        if is_active(c) && !is_colour(&text[at..]) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "{}", c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Whether a character moves the cursor, or turns the order of others.
fn is_active(c: char) -> bool {
    let is_order = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    is_order || (c.is_control() && !matches!(c, '\n' | '\t'))
}

/// Whether a text begins with a sequence that sets a colour.
fn is_colour(text: &str) -> bool {
    let rest = text.strip_prefix("\u{1b}[").unwrap_or_default();
    rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m')
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn what_moves_the_cursor_is_shown_and_colours_are_kept() {
        assert_eq!(harmless("a\tb\nc é"), "a\tb\nc é");
        assert_eq!(harmless("\u{1b}[1;31mred\u{1b}[0m"), "\u{1b}[1;31mred\u{1b}[0m");
        assert_eq!(harmless("\u{1b}[2J\r\u{202e}x"), r"\u{1b}[2J\u{d}\u{202e}x");
    }
}
