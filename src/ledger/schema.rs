//! Installing the ledger, and seeing which one is there.

use crate::pg::{Fault, Guards, Session};

/// The version that this library writes and reads.
pub(crate) const VERSION: i32 = 1;

/// Creates the ledger; also what `init --print-sql` prints.
pub(crate) const SQL: &str = include_str!("schema/001.sql");

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ledger {
    /// Nothing yet.
    Missing,
    /// One that we can use.
    Installed,
    /// One that a newer release has installed.
    Newer(i32),
    /// One whose tables would be emptied by a crash (F53).
    Unlogged,
    /// One that this role may not read.
    Denied,
}

const LOOK: &str = "\
SELECT count(*) FILTER (WHERE c.relname = 'ledger') = 1 AS is_there,
       coalesce(bool_or(c.relpersistence <> 'p'), false) AS is_unlogged,
       coalesce(bool_and(has_schema_privilege(n.oid, 'USAGE')
                         AND has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
                         AND has_table_privilege(c.oid, 'UPDATE')), false) AS is_usable
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'piecemeal' AND c.relname IN ('ledger', 'run', 'range', 'journal') AND c.relkind = 'r'";

const NEWEST: &str = "SELECT max(version) FROM piecemeal.ledger";

/// Returns what is there, without changing anything.
pub(crate) async fn look(session: &mut Session) -> Result<Ledger, Fault> {
    let rows = session.transact(&Guards::reading(), LOOK, &[]).await?;
    let Some(row) = rows.first().filter(|row| row.get("is_there")) else {
        return Ok(Ledger::Missing);
    };
    if row.get("is_unlogged") {
        return Ok(Ledger::Unlogged);
    }
    if !row.get::<_, bool>("is_usable") {
        return Ok(Ledger::Denied);
    }
    let rows = session.transact(&Guards::reading(), NEWEST, &[]).await?;
    let version = rows.first().and_then(|row| row.get::<_, Option<i32>>(0)).unwrap_or(0);
    Ok(if version > VERSION { Ledger::Newer(version) } else { Ledger::Installed })
}

/// Installs the ledger if it is missing; two at once install one.
pub(crate) async fn install(session: &mut Session) -> Result<(), Fault> {
    if look(session).await? != Ledger::Missing {
        return Ok(());
    }
    // The lock ends with the transaction; it only keeps two installers from failing on each other.
    let sql = format!("SELECT pg_advisory_xact_lock(hashtext('piecemeal.ledger')); {SQL}");
    match session.script(&Guards::ledger(), &sql).await {
        Err(fault) if look(session).await? == Ledger::Missing => Err(fault),
        _ => Ok(()),
    }
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
            assert!(SQL.contains(&words), "{words}");
        }
    }

    #[test]
    fn a_hostile_role_name_stays_a_name() {
        assert!(grants("a\"; DROP").contains("TO \"a\"\"; DROP\";"));
    }
}
