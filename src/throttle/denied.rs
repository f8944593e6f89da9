//! What is missing where the server denies a reading: the GRANT, for whoever may give it.
//!
//! The server names what it denies without its schema, and in its own language. Where that is not
//! English, its words are all there is.

use super::ask;
use super::reading::Blind;
use crate::pg::fault::is_denied;
use crate::pg::{Begin, DbMessage, Fault, Session};

/// What may be denied, in the words of the server, and the grants that a role lacks on things of this
/// kind and of one name, those first that the search path finds.
struct Kind {
    words: &'static [&'static str],
    grants: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        words: &["table", "view", "materialized view", "foreign table", "sequence"],
        grants: "\
SELECT pg_catalog.format('GRANT SELECT ON %I.%I TO %I;', n.nspname, c.relname, CURRENT_USER)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = $1::text AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, n.nspname",
    },
    Kind {
        words: &["function", "aggregate"],
        grants: "\
SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION %I.%I(%s) TO %I;', n.nspname, p.proname,
    pg_catalog.pg_get_function_identity_arguments(p.oid), CURRENT_USER)
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.proname = $1::text AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
ORDER BY pg_catalog.pg_function_is_visible(p.oid) DESC, n.nspname",
    },
    Kind {
        words: &["schema"],
        grants: "\
SELECT pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I;', n.nspname, CURRENT_USER)
FROM pg_catalog.pg_namespace n
WHERE n.nspname = $1::text AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')",
    },
];

/// Says why a statement that began with `begin` could not be read, and what the role lacks for it.
pub(super) async fn blind(session: &mut Session, begin: &Begin, fault: &Fault) -> Blind {
    let blind = ask::blind(fault);
    let Some((kind, name)) = lacking(fault.message()) else { return blind };
    let asked = session.rehearse(begin, &[(kind.grants, &[name.into()])]).await;
    let grants = asked.unwrap_or_default();
    let grant = grants.iter().flatten().next().and_then(|row| row.try_get::<_, String>(0).ok());
    match grant {
        Some(grant) => blind.recipe(grant),
        None => blind,
    }
}

/// Returns what is denied: its kind, and its name.
fn lacking(message: &DbMessage) -> Option<(&'static Kind, &str)> {
    let said = message.message.strip_prefix("permission denied for ")?;
    let of = |kind: &'static Kind| {
        let name = |words: &&str| said.strip_prefix(words)?.strip_prefix(' ');
        Some((kind, kind.words.iter().find_map(name)?))
    };
    KINDS.iter().filter(|_| is_denied(message)).find_map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sqlstate: &str, said: &str) -> Option<String> {
        let message = DbMessage { sqlstate: Some(sqlstate.into()), ..DbMessage::local(said) };
        lacking(&message).map(|(kind, name)| format!("{} {name}", kind.words[0]))
    }

    #[test]
    fn what_is_denied_is_known_by_its_kind_and_its_name() {
        for (said, known) in [
            ("permission denied for table queue", Some("table queue")),
            ("permission denied for materialized view a b", Some("table a b")),
            ("permission denied for function pg_ls_waldir", Some("function pg_ls_waldir")),
            ("permission denied for schema app", Some("schema app")),
            ("permission denied for tablespace fast", None),
            ("permission denied for language c", None),
            ("keine Berechtigung für Tabelle queue", None),
        ] {
            assert_eq!(name("42501", said).as_deref(), known, "{said}");
        }
        assert_eq!(name("P0001", "permission denied for table queue"), None);
    }
}
