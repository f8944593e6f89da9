//! What is wrong with a job file, and all of it at once.
//!
//! A [`Problem`] says what was found, what was expected and what to do, and where; [`Problems`] holds every one of
//! a file with its text, so that it can print itself like a compiler does. What may be a password is never part of
//! it. The drawing is in `source`.

use std::fmt;
use std::ops::Range;

use super::secret::hide;
use super::source::Source;

/// More problems than these are counted, not drawn: nobody reads them, and a hostile file could make us draw for hours.
const MAX_DRAWN: usize = 50;

/// One thing that is wrong with a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// A short word for programs, such as `unknown-key`.
    pub code: &'static str,
    /// What was found and what was expected, in one line.
    pub message: String,
    /// What to do about it, if that is known.
    pub help: Option<String>,
    /// The bytes of the file's text that it is about; none if it is about the file itself.
    pub span: Option<Range<usize>>,
}

impl Problem {
    /// Creates a problem without a place and without help.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: hide(&message.into()), help: None, span: None }
    }

    /// Says where it is, in bytes of the file's text.
    #[must_use]
    pub fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(hide(&help.into()));
        self
    }
}

/// Everything that is wrong with one job, at least one thing, in the order of the file.
#[derive(Debug, Clone)]
pub struct Problems {
    source: Source,
    list: Vec<Problem>,
}

impl Problems {
    /// Collects the problems of a source, ordered by their place; those without one come first.
    pub(super) fn new(source: Source, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.span.as_ref().map(|span| span.start));
        Self { source, list }
    }

    /// Goes through the problems in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// Draws them as `Display` does, with terminal colours.
    pub fn render_styled(&self) -> String {
        self.draw(Source::render_styled)
    }

    fn draw(&self, render: fn(&Source, &Problem) -> String) -> String {
        let mut drawn: Vec<String> =
            self.list.iter().take(MAX_DRAWN).map(|problem| render(&self.source, problem)).collect();
        let rest = self.list.len().saturating_sub(MAX_DRAWN);
        if rest > 0 {
            drawn.push(format!("error: and {rest} more problems in this file"));
        }
        drawn.join("\n\n")
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.draw(Source::render))
    }
}

impl std::error::Error for Problems {}

impl<'p> IntoIterator for &'p Problems {
    type Item = &'p Problem;
    type IntoIter = std::slice::Iter<'p, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source { path: Some("jobs/a.toml".into()), text: "one\ntwo\n".to_owned() }
    }

    #[test]
    fn problems_come_in_the_order_of_the_file() {
        let late = Problem::new("b", "late").at(4..7);
        let early = Problem::new("a", "early").at(0..3);
        let whole = Problem::new("c", "whole");
        let problems = Problems::new(source(), vec![late, early, whole]);
        let order: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[test]
    fn beyond_fifty_they_are_counted() {
        let many = vec![Problem::new("x", "wrong").at(0..1); 52];
        let text = Problems::new(source(), many).to_string();
        assert_eq!(text.matches("error: wrong").count(), 50);
        assert!(text.ends_with("error: and 2 more problems in this file"), "{text}");
    }
}
