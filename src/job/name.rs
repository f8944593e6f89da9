//! The name of a table as people write it: `posts`, `public.posts`, `"a.b"."c""d"`.
//!
//! Names are literal and never case-folded; double quotes only serve to put dots, quotes and blanks into one.
//! Not here: quoting for SQL (`pg::ident`) and whether the table exists.

use std::fmt;
use std::str::FromStr;

/// `PostgreSQL` cuts longer names off, in bytes.
const MAX_NAME: usize = 63;

/// A table's name, with its schema if one was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    /// The schema, if one was written.
    pub schema: Option<String>,
    /// The table itself.
    pub name: String,
}

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NameError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: &'static str,
}

impl NameError {
    fn new(message: impl Into<String>, help: &'static str) -> Self {
        Self { message: message.into(), help }
    }
}

/// Whether a text is fit to name a job or a hold: 1 to 63 letters, digits, `_`, `.` or `-`.
pub(super) fn is_word(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// Checks the name of a column or a schema: 1 to 63 bytes, none of them NUL.
pub(super) fn check_name(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::new("the name is empty", "write it as the database shows it"));
    }
    if name.contains('\0') {
        return Err(NameError::new("the name contains a NUL byte", "remove the `\\u0000`"));
    }
    if name.len() > MAX_NAME {
        let message = format!("the name has {} bytes, and PostgreSQL keeps {MAX_NAME}", name.len());
        return Err(NameError::new(
            message,
            "write the name as the database shows it, which is cut off there",
        ));
    }
    Ok(())
}

impl FromStr for TableName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (first, rest) = part(text)?;
        let Some(rest) = rest else { return Ok(Self { schema: None, name: first }) };
        let (name, rest) = part(rest)?;
        if rest.is_some() {
            return Err(NameError::new(
                "a table's name has at most two parts, schema and table",
                "leave the database out (the connection says which one), or put quotes around a name with dots: \
                 \"public\".\"a.b\"",
            ));
        }
        Ok(Self { schema: Some(first), name })
    }
}

/// Reads the part before the next dot outside quotes, and returns what follows that dot.
fn part(text: &str) -> Result<(String, Option<&str>), NameError> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(inner) => quoted_part(inner)?,
        None => plain_part(text)?,
    };
    if name.is_empty() && text.contains('.') {
        let help = "write schema and table, as in public.posts, or the table alone";
        return Err(NameError::new("nothing stands before or after a dot", help));
    }
    check_name(&name)?;
    Ok((name, rest))
}

fn plain_part(text: &str) -> Result<(String, Option<&str>), NameError> {
    let (name, rest) = text.split_once('.').map_or((text, None), |(name, rest)| (name, Some(rest)));
    if name.contains('"') || name.trim() != name {
        return Err(NameError::new(
            "a name with quotes in it, or with blanks around it, needs double quotes around it",
            "remove them, or write for example \"my \"\"table\"\" \", each quote within doubled",
        ));
    }
    Ok((name.to_owned(), rest))
}

/// Writes a name as SQL does when it is to be taken literally.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted_part(inner: &str) -> Result<(String, Option<&str>), NameError> {
    let mut name = String::new();
    let mut rest = inner;
    loop {
        let Some((before, after)) = rest.split_once('"') else {
            let help = "close it; a double quote within a name is written twice";
            return Err(NameError::new("a quoted name has no closing quote", help));
        };
        name.push_str(before);
        match after.as_bytes().first() {
            Some(b'"') => {
                name.push('"');
                rest = &after[1..];
            }
            Some(b'.') => return Ok((name, Some(&after[1..]))),
            None => return Ok((name, None)),
            Some(_) => {
                let help = "only a dot may follow; a double quote within a name is written twice";
                return Err(NameError::new("a quoted name is followed by more text", help));
            }
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write_part(f, schema)?;
            f.write_str(".")?;
        }
        write_part(f, &self.name)
    }
}

fn write_part(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if name.contains(|c: char| matches!(c, '.' | '"') || c.is_whitespace()) {
        f.write_str(&quoted(name))
    } else {
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> (Option<String>, String) {
        let table: TableName = text.parse().unwrap();
        (table.schema, table.name)
    }

    #[test]
    fn names_are_literal_and_quotes_allow_dots() {
        assert_eq!(read("posts"), (None, "posts".to_owned()));
        assert_eq!(read("Public.Posts"), (Some("Public".to_owned()), "Posts".to_owned()));
        assert_eq!(read(r#""a.b"."c""d""#), (Some("a.b".to_owned()), "c\"d".to_owned()));
        assert_eq!(read("a b.c-d"), (Some("a b".to_owned()), "c-d".to_owned()));
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        let long = "x".repeat(64);
        for text in [
            "", ".", "a.", ".a", "a.b.c", "\"a", "\"\"", "\"a\"b", "a\"b", " a", "a ", "a. b",
            "a\0", "\"a\".", &long,
        ] {
            assert!(text.parse::<TableName>().is_err(), "{text:?}");
        }
        assert!("x".repeat(63).parse::<TableName>().is_ok());
    }

    #[test]
    fn it_is_shown_with_quotes_only_where_they_are_needed() {
        let shown = |text: &str| text.parse::<TableName>().unwrap().to_string();
        assert_eq!(shown("\"public\".\"Posts\""), "public.Posts");
        assert_eq!(shown(r#"x."c""d""#), r#"x."c""d""#);
    }

    proptest! {
        #[test]
        fn a_shown_name_reads_back(schema in proptest::option::of("[a-z\". é]{1,20}"), name in "[a-z\". \t]{1,20}") {
            let table = TableName { schema, name };
            prop_assert_eq!(table.to_string().parse::<TableName>().unwrap(), table);
        }
    }
}
