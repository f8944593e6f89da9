//! Which keys a job file has, which it will have, and what was meant by one it has not.
//!
//! What later releases bring is known by name and refused, never ignored: a job that asks to be held while replicas
//! lag must not run without.

use super::problem::Problem;

/// The tables of a job file and their keys; the first is the file itself. The columns under [set] are free.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "description",
            "after",
            "table",
            "expand",
            "set",
            "batch",
            "pace",
            "hold",
            "bad_rows",
            "verify",
            "sync",
            "contract",
            "gate",
        ],
    ),
    ("table", &["name", "key", "order", "where", "search_path"]),
    ("batch", &["target", "min", "max", "give_way", "rows", "synchronous_commit", "stripes"]),
    ("pace", &["rate", "workers", "vacuum", "max_hold", "window"]),
    (WINDOW, &["when", "zone", "rate", "target", "workers"]),
    (HOLD, &["on", "above", "floor", "url", "sql", "name"]),
    ("bad_rows", &["policy", "max"]),
    ("verify", &["expect"]),
    ("sync", &["forward", "reverse", "where"]),
    ("expand", &["up", "down"]),
    ("contract", &["up", "down"]),
    (GATE, &["before", "sql", "message"]),
];

/// The table of a window; there may be several.
pub(super) const WINDOW: &str = "pace.window";

/// The table of a hold; there may be several.
pub(super) const HOLD: &str = "hold";

/// What the sync trigger writes, by column.
pub(super) const FORWARD: &str = "sync.forward";
pub(super) const REVERSE: &str = "sync.reverse";

/// The table of a gate; there may be several.
pub(super) const GATE: &str = "gate";

/// Table and key, how people write it, and what to do without it.
const LATER: &[(&str, &str, &str, &str)] = &[
    ("", "delete", "[delete]", ONLY_SET),
    ("", "copy", "[copy]", ONLY_SET),
    ("", "sql", "[sql]", ONLY_SET),
    ("", "transform", "[transform]", ONLY_SET),
];

const ONLY_SET: &str = "so far there is [set], which rewrites rows in place; write the job with it, or wait for a later version";

/// The kinds of work, of which a job has one.
pub(super) const WORK: [&str; 5] = ["set", "delete", "copy", "sql", "transform"];

/// Shows a key with its table, as in `batch.max`.
pub(super) fn path(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// Shows a table as it is written in the file, as in `[pace]` or `[[hold]]`.
pub(super) fn header(section: &str) -> String {
    if [WINDOW, HOLD, GATE].contains(&section) {
        format!("[[{section}]]")
    } else {
        format!("[{section}]")
    }
}

/// Says that something is known but not there yet.
fn not_available(what: &str, instead: &str) -> Problem {
    Problem::new("not-available", format!("`{what}` is not available yet in this version"))
        .help(instead)
}

/// Judges a key of a table: none if it is one, else what is wrong with it.
pub(super) fn judge(section: &str, key: &str) -> Option<Problem> {
    let keys = keys_of(section);
    if keys.contains(&key) {
        return None;
    }
    let later = LATER.iter().find(|later| (later.0, later.1) == (section, key));
    Some(match later {
        Some((_, _, shown, instead)) => not_available(shown, instead),
        None => unknown(section, key, keys),
    })
}

/// Says whether a key that was written is, or was meant to be, a certain one of its table.
pub(super) fn is_meant(section: &str, written: &str, key: &str) -> bool {
    written == key || nearest(written, keys_of(section)) == Some(key)
}

fn keys_of(section: &str) -> &'static [&'static str] {
    KEYS.iter().find(|(name, _)| *name == section).map_or(&[], |(_, keys)| keys)
}

fn unknown(section: &str, key: &str, keys: &[&str]) -> Problem {
    let place =
        if section.is_empty() { String::new() } else { format!(" under {}", header(section)) };
    let message = format!("unknown key `{}`{place}", shortened(key));
    let homes = homes(key);
    let message = if !section.is_empty() && keys_of("").contains(&key) {
        format!("{message}; it belongs at the top of the file, above the first table")
    } else if !homes.is_empty() {
        format!("{message}; it belongs under {}", homes.join(" or "))
    } else if let Some(near) = nearest(key, keys) {
        format!("{message}; did you mean `{near}`?")
    } else {
        message
    };
    let is_table = |key: &&&str| **key == "set" || !keys_of(&path(section, key)).is_empty();
    let tables = keys.iter().filter(is_table).map(|key| header(&path(section, key)));
    let tables: Vec<String> = tables.collect();
    let keys: Vec<&str> = keys.iter().filter(|key| !is_table(key)).copied().collect();
    let help = if section.is_empty() {
        format!("a job file has the keys {}, and the tables {}", keys.join(", "), tables.join(", "))
    } else if tables.is_empty() {
        format!("the keys under {} are {}", header(section), keys.join(", "))
    } else {
        let (keys, tables) = (keys.join(", "), tables.join(", "));
        format!("the keys under {} are {keys}; it also has {tables}", header(section))
    };
    Problem::new("unknown-key", message).help(help)
}

/// The tables that have a key; those that a file has once, if there is one.
fn homes(key: &str) -> Vec<String> {
    let has_it = KEYS.iter().filter(|(name, keys)| !name.is_empty() && keys.contains(&key));
    let (lists, tables): (Vec<String>, Vec<String>) =
        has_it.map(|(name, _)| header(name)).partition(|header| header.starts_with("[["));
    if tables.is_empty() { lists } else { tables }
}

/// Finds the word that was probably meant.
pub(super) fn nearest<'w>(written: &str, words: &[&'w str]) -> Option<&'w str> {
    // A name longer than any of ours is not a slip of one, and comparing it would take quadratic time.
    if written.len() > 40 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let written = plain(written);
    words
        .iter()
        .map(|word| (strsim::jaro_winkler(&written, &plain(word)), *word))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// Shows at most forty characters of what was written, escaped.
pub(super) fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(40).flat_map(char::escape_debug).collect();
    if text.chars().nth(40).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(section: &str, key: &str) -> String {
        judge(section, key).unwrap().message
    }

    #[test]
    fn a_slip_is_answered_with_what_was_meant() {
        assert_eq!(message("", "tabel"), "unknown key `tabel`; did you mean `table`?");
        assert!(message("batch", "give-way").ends_with("did you mean `give_way`?"));
        assert!(message("table", "WHERE").ends_with("did you mean `where`?"));
        assert_eq!(message("batch", "colour"), "unknown key `colour` under [batch]");
    }

    #[test]
    fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
        assert!(message("batch", "rate").ends_with("it belongs under [pace]"));
        assert!(message("", "max").ends_with("it belongs under [batch] or [bad_rows]"));
        assert!(message("batch", "above").ends_with("it belongs under [[hold]]"));
        assert!(
            message(WINDOW, "max_hold").contains("under [[pace.window]]; it belongs under [pace]")
        );
        assert!(message("table", "description").contains("at the top of the file"));
    }

    #[test]
    fn what_comes_later_is_never_taken_as_known() {
        for (section, key, shown, _) in LATER {
            assert_eq!(
                message(section, key),
                format!("`{shown}` is not available yet in this version")
            );
        }
    }
}
