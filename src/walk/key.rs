//! A position in the table: one value for each column of the key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

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

/// Reads a key as people write it: `["de", 42]` (JSON), `(de, 42)`, or the value itself where the key has
/// one column. Nothing is said of whether it is the key of a row.
impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Key, String> {
        let text = text.trim();
        if text.starts_with('[') {
            let values: Vec<Value> = serde_json::from_str(text).map_err(|why| why.to_string())?;
            return values.iter().map(value).collect::<Result<_, _>>().map(Key);
        }
        let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
        let Some(inner) = inner else { return Ok(Key(vec![text.to_owned()])) };
        Ok(Key(inner.split(',').map(|value| value.trim().to_owned()).collect()))
    }
}

fn value(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) if number.is_i64() => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => Err(format!(
            "`{value}` is no value of a key; write it as a string, as the list shows it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_in_every_form_in_which_people_write_it() {
        let key = |text: &str| text.parse().map(|Key(values)| values);
        assert_eq!(key("42"), Ok(vec!["42".to_owned()]));
        assert_eq!(key("(de, 42)"), Ok(vec!["de".to_owned(), "42".to_owned()]));
        assert_eq!(key(r#" ["a, (b)", 42, true] "#).unwrap(), ["a, (b)", "42", "true"]);
        assert!(key("[1.5]").unwrap_err().contains("as a string"));
        assert!(key("[null]").is_err() && key("[1").is_err() && key("[[1]]").is_err());
    }

    #[test]
    fn a_key_is_shown_as_a_row_and_cut_when_it_is_long() {
        let key = Key::new(vec!["de".into(), "x".repeat(2600)]);
        assert_eq!(key.to_string(), format!("(de, {}…)", "x".repeat(SHOWN)));
    }
}
