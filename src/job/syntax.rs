//! TOML's own complaints, said so that they can be acted upon.
//!
//! The parser says which production failed; people need to know what to type. A complaint that is not known here is
//! passed on as it is.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::keys::shortened;
use super::problem::Problem;

/// Reads the text as TOML; the first thing that is wrong if it is not, as later ones often follow from it.
pub(super) fn parse(text: &str) -> Result<DeTable<'_>, Problem> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let first = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start));
    first.map_or_else(|| Ok(document.into_inner()), |error| Err(explain(error, text)))
}

const LONG_TEXT: &str = "SQL that contains quotes or spans lines goes between ''' and '''";

/// What the parser's message begins with, what to say instead, and what to do.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "invalid basic string, expected non",
        "a control character is not allowed within quotes",
        "remove it",
    ),
    (
        "invalid literal string, expected non",
        "a control character is not allowed within quotes",
        "remove it",
    ),
    ("invalid basic string", "a string is not closed with `\"` on its line", LONG_TEXT),
    ("invalid literal string", "a string is not closed with `'` on its line", LONG_TEXT),
    (
        "invalid multi-line basic",
        "a text is not closed with `\"\"\"`",
        "write `\"\"\"` where it ends",
    ),
    ("invalid multi-line literal", "a text is not closed with `'''`", "write `'''` where it ends"),
    (
        "missing escaped value",
        "a backslash within double quotes must be written twice",
        "write `\\\\`, or put the SQL between single quotes, where a backslash is one",
    ),
    (
        "unexpected key or value",
        "the value has ended, and there is more text on its line",
        LONG_TEXT,
    ),
    ("key with no value", "a key needs a value", "write `key = value`, each on its own line"),
    (
        "invalid key-value pair",
        "a `key = value` is expected here",
        "write the file as TOML, one `key = value` on a line",
    ),
    (
        "invalid unquoted key",
        "a key consists of letters, digits, `-` and `_`",
        "write `key = value`; a name with other characters goes between double quotes",
    ),
    ("unclosed table", "a `[` at the start of a line needs its `]`", "write for example `[table]`"),
    (
        "unclosed array of tables",
        "a `[[` at the start of a line needs its `]]`",
        "write for example `[[hold]]`",
    ),
    ("unclosed array", "a list is not closed", "write the `]` that belongs to its `[`"),
    ("unclosed inline table", "a `{` is not closed", "write the `}` that belongs to it"),
    (
        "missing comma between array elements",
        "a list is not closed, or lacks a comma between two of its values",
        "write the `]` where the list ends",
    ),
    (
        "cannot recurse further",
        "the file is nested too deeply",
        "a job file has tables and lists of names, nothing deeper",
    ),
];

fn explain(error: &Error, text: &str) -> Problem {
    let span = error.span().unwrap_or(0..0);
    let found = text.get(span.clone()).unwrap_or_default();
    let message = error.message();
    if message.starts_with("string values must be quoted") {
        return without_quotes(span, text);
    }
    let problem = if message.starts_with("duplicate key") {
        let help = "keep one of the two; a table such as [set] stands in a file once";
        Problem::new("syntax", format!("`{found}` is here for the second time")).help(help)
    } else if let Some((_, said, help)) =
        KNOWN.iter().find(|(known, ..)| message.starts_with(known))
    {
        Problem::new("syntax", *said).help(*help)
    } else {
        Problem::new("syntax", format!("this is not TOML: {message}"))
    };
    problem.at(visible(span, text))
}

/// A text without quotes: the parser stops at its first odd character, but people meant the rest of the line.
fn without_quotes(span: Range<usize>, text: &str) -> Problem {
    let line = text.get(span.start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let line = line.split('#').next().unwrap_or_default().trim_end();
    let end = if line.contains(['{', '}', ']']) { span.end } else { span.start + line.len() };
    let found = text.get(span.start..end).unwrap_or_default();
    let quote = if found.contains('"') { "'''" } else { "\"" };
    Problem::new("syntax", format!("the text `{}` needs quotes", shortened(found)))
        .at(span.start..end)
        .help(format!("write {quote}{found}{quote}"))
}

/// Moves an empty span at the end of a line onto the line's last character, where a caret is seen.
fn visible(span: Range<usize>, text: &str) -> Range<usize> {
    let Some(before) = text.get(..span.start) else { return span };
    let at_end = text
        .get(span.start..)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['\n', '\r']));
    match before.chars().next_back() {
        Some(last) if span.is_empty() && at_end && last != '\n' => {
            span.start - last.len_utf8()..span.start
        }
        _ => span,
    }
}
