//! A column of the key.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::scatter::Scatter;

/// A column of the key, as the catalog has it; and as a run notes it when its walk begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyColumn {
    /// `attnum`: another column that gets this one's name has another.
    pub number: i32,
    /// The name, quoted by the server where it must be.
    pub name: String,
    /// The exact type, to which a value is cast back (F26, F32): without its modifier, which would cut or
    /// round the value should the column have become wider.
    #[serde(rename = "type")]
    pub sql_type: String,
    /// By what its values are ordered, if they are text.
    pub collation: Option<String>,
    /// The version that the server has of that, if it has one: another one may order them otherwise.
    #[serde(default)]
    pub version: Option<String>,
    /// What it adds to the number by which a row gets its stripe.
    pub stripe: Scatter,
    /// A condition on `pg_attribute` that the column fulfils as long as its values have the same order.
    #[serde(skip)]
    pub is_it: String,
}

/// Types of which one may take another's place: their values have the same order, and are written alike.
const ALIKE: [&[&str]; 2] = [&["smallint", "integer", "bigint"], &["text", "character varying"]];

impl KeyColumn {
    /// Whether it is the column that `noted` was, whatever it is called, with its values in the same order.
    pub fn is_still(&self, noted: &KeyColumn) -> bool {
        let has = |types: &&&[&str], column: &KeyColumn| types.contains(&column.sql_type.as_str());
        let is_alike = ALIKE.iter().any(|types| has(&types, self) && has(&types, noted));
        self.number == noted.number
            && (self.sql_type == noted.sql_type || is_alike)
            && self.collation == noted.collation
            && !self.is_resorted(noted)
    }

    /// Whether the server has another version of its collation than when `noted` was, as after an update of
    /// the operating system.
    pub fn is_resorted(&self, noted: &KeyColumn) -> bool {
        let versions = self.version.as_ref().zip(noted.version.as_ref());
        self.collation == noted.collation && versions.is_some_and(|(now, then)| now != then)
    }

    /// Whether its values are integers.
    pub fn is_number(&self) -> bool {
        ALIKE[0].contains(&self.sql_type.as_str())
    }
}

impl fmt::Display for KeyColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.sql_type)?;
        self.collation.as_ref().map_or(Ok(()), |collation| write!(f, " COLLATE {collation}"))?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, " (version {version})"))
    }
}

/// Returns a column of this name and type.
#[cfg(test)]
pub(crate) fn column(name: &str, sql_type: &str) -> KeyColumn {
    KeyColumn {
        number: 1,
        name: name.into(),
        sql_type: sql_type.into(),
        collation: None,
        version: None,
        stripe: Scatter::Hashed,
        is_it: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_stays_what_it_is_under_another_name_and_with_a_type_of_the_same_order() {
        let id = column("id", "integer");
        assert!(column("old_id", "integer").is_still(&id), "a name orders nothing");
        assert!(column("id", "bigint").is_still(&id) && id.is_still(&column("id", "bigint")));
        let code = column("code", "text");
        assert!(column("code", "character varying").is_still(&code));
    }

    #[test]
    fn a_column_of_another_number_type_or_collation_is_another() {
        let id = column("id", "integer");
        assert!(!KeyColumn { number: 2, ..id.clone() }.is_still(&id), "only its name was taken");
        assert!(!column("id", "text").is_still(&id));
        // A number that is rounded to an integer may jump over the cursor.
        assert!(!id.is_still(&column("id", "numeric")));
        let c = KeyColumn { collation: Some("pg_catalog.\"C\"".into()), ..column("id", "text") };
        assert!(!column("id", "text").is_still(&c));
        assert_eq!(c.to_string(), "id text COLLATE pg_catalog.\"C\"");
    }

    #[test]
    fn a_column_of_another_version_of_its_collation_is_another_if_both_are_known() {
        let of = |version: Option<&str>| KeyColumn {
            collation: Some("x".into()),
            version: version.map(Into::into),
            ..column("id", "text")
        };
        let (old, new) = (of(Some("1.0")), of(Some("2.0")));
        assert!(new.is_still(&new) && !new.is_resorted(&new));
        assert!(!new.is_still(&old) && new.is_resorted(&old));
        assert!(new.is_still(&of(None)) && of(None).is_still(&new), "nobody knows");
        let other = KeyColumn { collation: Some("y".into()), ..old };
        assert!(!new.is_still(&other) && !new.is_resorted(&other), "that can be given back");
        assert_eq!(new.to_string(), "id text COLLATE x (version 2.0)");
    }

    #[test]
    fn what_a_run_notes_of_a_column_is_read_as_it_was_written() {
        let id = KeyColumn { stripe: Scatter::Folded, ..column("id", "bigint") };
        let noted = serde_json::to_value(&id).unwrap();
        let mut fields = serde_json::json!({"number": 1, "name": "id", "type": "bigint", "collation": null,
            "version": null, "stripe": "folded"});
        assert_eq!(noted, fields);
        fields.as_object_mut().unwrap().remove("version");
        assert_eq!(serde_json::from_value::<KeyColumn>(fields).unwrap(), id);
        assert_eq!(serde_json::from_value::<KeyColumn>(noted).unwrap(), id);
    }
}
