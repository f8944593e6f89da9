//! The JSON Schema of a job file, for editors: they complete its keys and mark mistakes while one types.
//!
//! It promises to know the keys that a job file has, and no others, and to accept every good file. What is wrong
//! in other ways only `piecemeal check` finds.

/// The JSON Schema (draft 2020-12) of a job file.
pub const SCHEMA: &str = include_str!("schema.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::hold::Signal;
    use super::super::keys::KEYS;
    use super::SCHEMA;

    fn schema() -> Value {
        serde_json::from_str(SCHEMA).unwrap()
    }

    /// The schema of a table of the file, as in `pace.window`.
    fn table<'s>(schema: &'s Value, name: &str) -> &'s Value {
        let parts = name.split('.').filter(|part| !part.is_empty());
        parts.fold(schema, |at, part| {
            let at = &at["properties"][part];
            if at["type"] == "array" { &at["items"] } else { at }
        })
    }

    #[test]
    fn it_has_every_key_and_no_other() {
        let schema = schema();
        for (name, keys) in KEYS {
            let table = table(&schema, name);
            let known: BTreeSet<&str> = keys.iter().copied().collect();
            let properties = table["properties"].as_object().unwrap_or_else(|| panic!("[{name}]"));
            assert_eq!(
                properties.keys().map(String::as_str).collect::<BTreeSet<_>>(),
                known,
                "[{name}]"
            );
            assert_eq!(table["additionalProperties"], false, "[{name}]");
        }
    }

    #[test]
    fn every_table_and_key_says_what_it_is_for() {
        let schema = schema();
        for (name, keys) in KEYS {
            for key in *keys {
                let key = &table(&schema, name)["properties"][key];
                let named = key["$ref"]
                    .as_str()
                    .map(|at| &schema["$defs"][at.trim_start_matches("#/$defs/")]);
                let says = |value: &Value| {
                    value["description"].is_string() || value["default"].is_number()
                };
                assert!(says(key) || named.is_some_and(says), "[{name}] {key}");
            }
        }
    }

    #[test]
    fn it_has_every_signal() {
        let words: Vec<_> = Signal::ALL.iter().map(|signal| signal.word()).collect();
        assert_eq!(table(&schema(), "hold")["properties"]["on"]["enum"], serde_json::json!(words));
    }
}
