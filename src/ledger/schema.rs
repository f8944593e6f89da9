//! Installing the ledger, and seeing which one is there.

use crate::pg::{Act, Fault, Guards, Session};

/// The version that this library writes and reads.
pub(crate) const VERSION: i32 = 7;

/// What makes each version of the one before, from an empty database on.
const STEPS: [&str; VERSION as usize] = [
    include_str!("schema/001.sql"),
    include_str!("schema/002.sql"),
    include_str!("schema/003.sql"),
    include_str!("schema/004.sql"),
    include_str!("schema/005.sql"),
    include_str!("schema/006.sql"),
    include_str!("schema/007.sql"),
];

/// Returns the DDL that makes this version of version `from`; 0 is an empty database.
pub(crate) fn sql(from: i32) -> String {
    STEPS[usize::try_from(from).unwrap_or(0).min(STEPS.len())..].join("\n")
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ledger {
    /// Nothing yet.
    Missing,
    /// One that we can use.
    Installed,
    /// One of an older release, which this one can upgrade.
    Older(i32),
    /// One that a newer release has installed.
    Newer(i32),
    /// One whose tables would be emptied by a crash (F53).
    Unlogged,
    /// One that this role may not use, and what it lacks.
    Denied(String),
}

const LOOK: &str = "\
SELECT count(*) FILTER (WHERE c.relname = 'ledger') = 1 AS is_there,
       coalesce(bool_or(c.relpersistence <> 'p'), false) AS is_unlogged,
       concat_ws('; ', CASE WHEN NOT bool_and(has_schema_privilege(n.oid, 'USAGE')) THEN 'USAGE on schema piecemeal' END,
           string_agg(lacking.privileges || ' on piecemeal.' || c.relname, '; ' ORDER BY c.relname)) AS lacks
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT string_agg(privilege, ', ') AS privileges FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) privilege
    WHERE NOT has_table_privilege(c.oid, privilege)) lacking
WHERE n.nspname = 'piecemeal' AND c.relname IN ('ledger', 'run', 'range', 'member', 'quarantine', 'step', 'journal') AND c.relkind = 'r'";

const NEWEST: &str = "SELECT max(version) FROM piecemeal.ledger";

/// Returns what is there, without changing anything.
pub(crate) async fn look(session: &mut Session) -> Result<Ledger, Fault> {
    let begin = &Guards::reading().begin();
    let act = |sql| Act { begin, sql, params: &[] };
    // Sent together, so the second one fails where there is nothing, or nothing for us.
    let (rows, _, newest) = session.transact_both(&act(LOOK), &act(NEWEST)).await?;
    let Some(row) = rows.first().filter(|row| row.get("is_there")) else {
        return Ok(Ledger::Missing);
    };
    if row.get("is_unlogged") {
        return Ok(Ledger::Unlogged);
    }
    let lacks: String = row.get("lacks");
    if !lacks.is_empty() {
        return Ok(Ledger::Denied(lacks));
    }
    let version = newest?.first().and_then(|row| row.get::<_, Option<i32>>(0)).unwrap_or(0);
    Ok(match version {
        VERSION => Ledger::Installed,
        1..VERSION => Ledger::Older(version),
        _ => Ledger::Newer(version),
    })
}

/// Installs the ledger if it is missing, and upgrades an older one; two at once do it once. Returns
/// what is there then.
pub(crate) async fn install(session: &mut Session) -> Result<Ledger, Fault> {
    let found = look(session).await?;
    let from = match found {
        Ledger::Missing => 0,
        Ledger::Older(version) => version,
        Ledger::Installed | Ledger::Newer(_) | Ledger::Unlogged | Ledger::Denied(_) => {
            return Ok(found);
        }
    };
    // The lock ends with the transaction; it only keeps two installers from failing on each other.
    let sql = format!("SELECT pg_advisory_xact_lock(hashtext('piecemeal.ledger')); {}", sql(from));
    let made = session.script(&Guards::ledger(), &sql).await;
    match (made, look(session).await?) {
        (Err(fault), found) if found != Ledger::Installed => Err(fault),
        (_, found) => Ok(found),
    }
}

/// Returns whether there is a role of that name.
pub(crate) async fn has_role(session: &mut Session, role: &str) -> Result<bool, Fault> {
    let sql = "SELECT FROM pg_catalog.pg_roles WHERE rolname = $1";
    Ok(!session.transact(&Guards::reading(), sql, &[role.into()]).await?.is_empty())
}

/// Lets `role` run and steer jobs: everything in the ledger, nothing of its structure.
pub(crate) async fn grant(session: &mut Session, role: &str) -> Result<(), Fault> {
    session.script(&Guards::ledger(), &grants(role)).await
}

/// Returns the statements of [`grant`].
pub(crate) fn grants(role: &str) -> String {
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    format!(
        "GRANT USAGE ON SCHEMA piecemeal TO {role};\n\
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA piecemeal TO {role};\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Intent, Phase, Status};

    #[test]
    fn the_words_of_the_ledger_are_those_of_the_state_machine() {
        let list = |words: Vec<&str>| format!("IN ('{}')", words.join("', '"));
        let words = [
            list(Status::ALL.iter().map(|status| status.word()).collect()),
            list(Intent::ALL.iter().map(|intent| intent.word()).collect()),
            list(Phase::ALL.iter().map(|phase| phase.word()).collect()),
        ];
        for words in words {
            assert!(sql(0).contains(&words), "{words}");
        }
    }

    #[test]
    fn an_older_ledger_gets_what_it_lacks_and_nothing_twice() {
        assert!(sql(0).contains("CREATE SCHEMA") && sql(0).contains("ADD COLUMN held"));
        assert!(!sql(1).contains("CREATE SCHEMA") && sql(1).contains("ADD COLUMN held"));
        assert_eq!(sql(VERSION), "");
        assert!(STEPS[1].contains("VALUES (2)"));
    }

    #[test]
    fn a_hostile_role_name_stays_a_name() {
        assert!(grants("a\"; DROP").contains("TO \"a\"\"; DROP\";"));
    }
}
