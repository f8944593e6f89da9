//! A position in the table: one value for each column of the key.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest part of a key value that is shown to people; a key may be kilobytes long (F42).
const SHOWN: usize = 80;

/// A key, as the server wrote it.
///
/// Two keys cannot be compared here on purpose: only the server knows the collation, the type and
/// the order of an enum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key(Vec<String>);

impl Key {
    /// Returns the key with these values, one per column.
    pub fn new(values: Vec<String>) -> Key {
        Key(values)
    }

    /// Returns the values, one per column.
    pub fn values(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (no, value) in self.0.iter().enumerate() {
            if no > 0 {
                f.write_str(", ")?;
            }
            match value.char_indices().nth(SHOWN) {
                Some((end, _)) => write!(f, "{}…", &value[..end])?,
                None => f.write_str(value)?,
            }
        }
        f.write_str(")")
    }
}

/// A column of the key, as the catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// The name, quoted by the server where it must be.
    pub name: String,
    /// The exact type, with its modifier, to which a value is cast back (F26, F32).
    pub sql_type: String,
    /// Whether it says in which partition a row is: then its value changes when the row moves.
    pub is_of_partition: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_as_a_row_and_cut_when_it_is_long() {
        let key = Key::new(vec!["de".into(), "x".repeat(2600)]);
        assert_eq!(key.to_string(), format!("(de, {}…)", "x".repeat(SHOWN)));
    }
}
