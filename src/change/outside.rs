//! Statements that the server takes only outside a transaction: what came of one is read from the catalog.
//!
//! `CREATE INDEX CONCURRENTLY` that is interrupted leaves an index that is maintained and never used. It is found by its
//! name, dropped, and built again.

use super::ddl::Path;
use crate::job::Outside;
use crate::pg::{Alone, Fault, Session};

/// What the catalog says of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Its effect is there.
    Done,
    /// Nothing of it is there.
    Nothing,
    /// What an interrupted one has left, quoted: it must go first.
    Remains(Vec<String>),
}

const INDEX: &str = "\
SELECT i.indisvalid AND i.indisready AS is_valid, pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indrelid = pg_catalog.to_regclass($2) AND c.relname = (pg_catalog.parse_ident($1))[1]";

const EXISTS: &str = "SELECT pg_catalog.to_regclass($1) IS NOT NULL AS is_there";

const REINDEXED: &str = "\
SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) AS name
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'
  AND i.indrelid IN (SELECT pg_catalog.to_regclass($1)::oid
                     UNION SELECT x.indrelid FROM pg_catalog.pg_index x WHERE x.indexrelid = pg_catalog.to_regclass($1))";

/// Looks at what a statement has done so far.
pub(crate) async fn look(
    session: &mut Session,
    path: &Path,
    outside: &Outside,
) -> Result<Found, Fault> {
    let begin = path.begin_read();
    match outside {
        Outside::CreateIndex { index, table } => {
            let params = [index.as_str().into(), table.as_str().into()];
            let rows = session.transact_prepared(&begin, INDEX, &params).await?;
            Ok(match rows.first() {
                None => Found::Nothing,
                Some(row) if row.get("is_valid") => Found::Done,
                Some(row) => Found::Remains(vec![row.get("name")]),
            })
        }
        Outside::DropIndex { index } => {
            let rows = session.transact_prepared(&begin, EXISTS, &[index.as_str().into()]).await?;
            let is_there = rows.first().is_some_and(|row| row.get("is_there"));
            Ok(if is_there { Found::Nothing } else { Found::Done })
        }
        Outside::Reindex { relation } => {
            let rows =
                session.transact_prepared(&begin, REINDEXED, &[relation.as_str().into()]).await?;
            let names: Vec<String> = rows.iter().map(|row| row.get("name")).collect();
            Ok(if names.is_empty() { Found::Nothing } else { Found::Remains(names) })
        }
    }
}

/// Runs a statement on a connection of its own.
pub(crate) async fn run(alone: &Alone, path: &Path, statement: &str) -> Result<(), Fault> {
    alone.run(&path.set()).await?;
    alone.run(statement).await
}

/// Drops an index that an interrupted statement has left, by its quoted name.
pub(crate) async fn drop_index(alone: &Alone, name: &str) -> Result<(), Fault> {
    alone.run(&format!("DROP INDEX CONCURRENTLY IF EXISTS {name}")).await
}
