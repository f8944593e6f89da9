//! What the server said, whole.
//!
//! The driver's own `Display` prints only `db error`; here the message, SQLSTATE, detail, hint and
//! place are kept as values, so that every error for people shows them all. No row values are added, and
//! no part is longer than people read: a trigger may raise a megabyte (R15).

use std::error::Error as _;
use std::fmt;

/// The longest part of what the server said that is kept, in characters.
const LONGEST: usize = 1_000;

/// Cuts a text that is longer than people read.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some(_) => text.chars().take(LONGEST - 1).chain(['…']).collect(),
    }
}

/// A server's error, or the driver's, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DbMessage {
    /// The five characters of SQLSTATE; `None` when the error did not come from the server.
    pub sqlstate: Option<String>,
    /// The primary message.
    pub message: String,
    /// DETAIL, if the server gave one.
    pub detail: Option<String>,
    /// HINT, if the server gave one.
    pub hint: Option<String>,
    /// Where in server-side code it happened.
    pub context: Option<String>,
    /// The position in the statement, in characters from 1.
    pub position: Option<u32>,
    /// The constraint that was broken, as `schema.name`.
    pub constraint: Option<String>,
}

impl DbMessage {
    /// Returns a message that did not come from the server.
    pub fn local(message: impl Into<String>) -> DbMessage {
        DbMessage {
            sqlstate: None,
            message: message.into(),
            detail: None,
            hint: None,
            context: None,
            position: None,
            constraint: None,
        }
    }
}

impl From<&tokio_postgres::Error> for DbMessage {
    fn from(error: &tokio_postgres::Error) -> DbMessage {
        let Some(db) = error.as_db_error() else {
            return DbMessage::local(with_sources(error));
        };
        let position = match db.position() {
            Some(tokio_postgres::error::ErrorPosition::Original(at)) => Some(*at),
            _ => None,
        };
        DbMessage {
            sqlstate: Some(db.code().code().to_owned()),
            message: cut(db.message()),
            detail: db.detail().map(cut),
            hint: db.hint().map(cut),
            context: db.where_().map(cut),
            position,
            constraint: db
                .schema()
                .zip(db.constraint())
                .map(|(schema, name)| format!("{schema}.{name}")),
        }
    }
}

fn with_sources(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl fmt::Display for DbMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(sqlstate) = &self.sqlstate {
            write!(f, " (SQLSTATE {sqlstate})")?;
        }
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_a_megabyte_is_cut_by_characters() {
        let text = cut(&"é".repeat(1 << 20));
        assert_eq!((text.chars().count(), text.ends_with('…')), (LONGEST, true));
        assert_eq!(cut("short"), "short");
    }
}
