//! The text a job was read from, and how a problem is drawn into it.
//!
//! A job keeps its source, so that a later stage (the server that refuses a column, say) can point into the file as
//! well. Spans are bytes of `text`; one that does not fit is clamped, never a panic.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{
    AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str,
};

use super::fragment::Fragment;
use super::problem::Problem;
use super::secret::Hidden;

/// Characters of a line that are drawn before the place and from it on.
const BEFORE: usize = 1000;
const AFTER: usize = 80;

/// Where a job came from. Its `Debug` shows nothing of the text, which may hold a password (R28).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// The file, if it was one.
    pub path: Option<PathBuf>,
    /// The whole text, without a byte order mark.
    pub text: String,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Source {
    /// Draws one problem as plain text: its message, `path:line:column`, the line with carets, and the help.
    pub fn render(&self, problem: &Problem) -> String {
        self.draw(problem, &Renderer::plain())
    }

    /// Draws one problem as [`Source::render`] does, with terminal colours.
    pub fn render_styled(&self, problem: &Problem) -> String {
        self.draw(problem, &Renderer::styled())
    }

    /// Finds the bytes of the text that a part of a fragment was written in; the fragment's whole value when escapes
    /// make that uncertain.
    pub fn locate(&self, fragment: &Fragment, part: Range<usize>) -> Range<usize> {
        let whole = fragment.span.clone();
        let Some(raw) = self.text.get(whole.clone()) else { return whole };
        // Only text that stands in the file verbatim has the same offsets there; the long openings come first.
        ["'''\r\n", "'''\n", "'''", "\"\"\"\r\n", "\"\"\"\n", "\"\"\"", "'", "\""]
            .into_iter()
            .find(|open| {
                raw.strip_prefix(open).is_some_and(|rest| rest.starts_with(&fragment.text))
            })
            .map_or(whole.clone(), |open| {
                let start = whole.start + open.len();
                start + part.start..start + part.end
            })
    }

    fn draw(&self, problem: &Problem, renderer: &Renderer) -> String {
        let path = self.path.as_ref().map(|path| normalize_untrusted_str(&path.to_string_lossy()));
        let mut group = Group::with_title(Level::ERROR.primary_title(problem.message.as_str()));
        if let Some(span) = &problem.span {
            let excerpt = Excerpt::of(&self.text, span);
            let path = path.unwrap_or_else(|| "<job>".to_owned());
            let carets = AnnotationKind::Primary.span(excerpt.carets);
            let snippet = Snippet::source(excerpt.text).line_start(excerpt.line).annotation(carets);
            group = if excerpt.is_cut {
                // The renderer counts columns in what it is given, so here it is told.
                let origin = Origin::path(path).line(excerpt.line).char_column(excerpt.column);
                group.element(origin).element(snippet)
            } else {
                group.element(snippet.path(path))
            };
        } else if let Some(path) = path {
            group = group.element(Origin::path(path));
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(normalize_untrusted_str(help)));
        }
        renderer.render(&[group])
    }
}

/// The part of one line that is drawn: a span over several lines is shown where it begins, and a long line is cut.
struct Excerpt {
    line: usize,
    column: usize,
    text: String,
    carets: Range<usize>,
    /// The beginning of the line is missing, or something in it.
    is_cut: bool,
}

impl Excerpt {
    fn of(text: &str, span: &Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let from = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let rest = text[start..].lines().next().unwrap_or_default();
        let width = rest.ceil_char_boundary(span.end.saturating_sub(start));
        let line = Hidden::of(&text[from..start + rest.len()]);
        let (begin, end) = (line.place(start - from), line.place(start - from + width));
        let (before, rest) = line.text.split_at(begin);
        let width = end - begin;

        let head = before.char_indices().rev().nth(BEFORE).map_or(0, |(at, _)| at);
        let tail = rest.char_indices().nth(AFTER).map_or(rest.len(), |(at, _)| at);
        let dots = |is_cut: bool| if is_cut { "…" } else { "" };
        let shown = format!("{}{}", dots(head > 0), &before[head..]);
        Self {
            line: text[..from].matches('\n').count() + 1,
            column: text[from..start].chars().count() + 1,
            carets: shown.len()..shown.len() + width.min(tail),
            is_cut: head > 0 || line.has_secrets(),
            text: format!("{shown}{}{}", &rest[..tail], dots(tail < rest.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { path: Some("jobs/a.toml".into()), text: text.to_owned() }
    }

    #[test]
    fn a_problem_shows_its_line_a_caret_and_the_help() {
        let problem = Problem::new("x", "unknown key `tabel`").at(10..15).help("write `table`");
        insta::assert_snapshot!(source("# a job\n\n[tabel]\n").render(&problem), @r"
        error: unknown key `tabel`
         --> jobs/a.toml:3:2
          |
        3 | [tabel]
          |  ^^^^^
          |
          = help: write `table`
        ");
    }

    #[test]
    fn what_may_be_a_password_is_not_drawn() {
        let text = "hold = [{ on = 'x', url = 'postgres://u:secret@h/db', above = 5 }]";
        let drawn = source(text).render(&Problem::new("x", "wrong").at(59..64));
        assert!(drawn.contains("1:60"), "{drawn}");
        assert!(drawn.contains("url = 'postgres://…', above = 5"), "{drawn}");
        assert!(!format!("{:?}", source(text)).contains("secret"));
    }

    #[test]
    fn a_span_beyond_the_text_or_within_a_character_is_clamped() {
        for span in [0..1000, 900..1000, 1..2, 6..6] {
            let drawn = source("é = 1\n").render(&Problem::new("x", "wrong").at(span.clone()));
            assert!(drawn.contains("jobs/a.toml:"), "{span:?}: {drawn}");
        }
    }

    #[test]
    fn a_part_of_verbatim_text_is_found_and_of_escaped_text_is_the_whole() {
        for (text, expected) in [
            ("w = 'a;b'", Some(";")),
            ("w = \"a;b\"", Some(";")),
            ("w = '''\na;b'''", Some(";")),
            ("w = \"\"\"a;b\"\"\"", Some(";")),
            ("w = \"\\u0061;b\"", None),
        ] {
            let fragment = Fragment { text: "a;b".to_owned(), span: 4..text.len() };
            let found = source(text).locate(&fragment, 1..2);
            assert_eq!(&text[found], expected.unwrap_or(&text[4..]), "{text}");
        }
    }
}
