//! Which partitions a table had when its run was created, and which came and went since.
//!
//! They are kept in the journal, each by how it became one: a partition that was detached and attached
//! again is another one from then on, with rows that the walk may have missed meanwhile.

use crate::pg::{Fault, Guards, Session};

/// What the lines are called.
pub(super) const WHAT: &str = "partitions";

/// The partitions of a table, on any level. `$table` is its oid. Who became a partition in another transaction is
/// another one.
const EDGES: &str = "\
WITH RECURSIVE edge (oid, xid) AS (
    SELECT h.inhrelid, h.xmin::text FROM pg_catalog.pg_inherits h WHERE h.inhparent = $table AND NOT h.inhdetachpending
    UNION ALL
    SELECT h.inhrelid, h.xmin::text FROM edge
    JOIN pg_catalog.pg_inherits h ON h.inhparent = edge.oid AND NOT h.inhdetachpending
)";

/// An object with their names.
const NOW: &str = "\
SELECT coalesce(jsonb_object_agg(edge.oid || '/' || edge.xid, edge.oid::regclass::text), '{}') AS partitions FROM edge";

/// All that changes when one comes, goes, or gets another file; it waits for no lock on any of them.
const FILES: &str = "\
SELECT md5(string_agg(concat_ws('/', oid, xid, pg_relation_filenode(oid)), ',' ORDER BY oid)) FROM edge";

/// Returns the query for the partitions of the table whose oid is the expression `table`.
pub(super) fn now(table: &str) -> String {
    of(table, NOW)
}

/// Returns the query for what tells them and their files from those at another time.
pub(super) fn files(table: &str) -> String {
    of(table, FILES)
}

fn of(table: &str, select: &str) -> String {
    format!("{} {select}", EDGES.replace("$table", table))
}

/// What has changed, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Partitions that the table has now, and had not before.
    pub attached: Vec<String>,
    /// Those that it has no more.
    pub detached: Vec<String>,
}

const LOOK: &str = "\
WITH last AS MATERIALIZED (
    SELECT detail -> 'partitions' AS partitions FROM piecemeal.journal
    WHERE run_id = $1 AND what = 'partitions' ORDER BY id DESC LIMIT 1
), now AS MATERIALIZED ($now), changed AS MATERIALIZED (
    SELECT now.partitions,
           ARRAY(SELECT value FROM jsonb_each_text(now.partitions) WHERE NOT last.partitions ? key ORDER BY value) AS attached,
           ARRAY(SELECT value FROM jsonb_each_text(last.partitions) WHERE NOT now.partitions ? key ORDER BY value) AS detached
    FROM last, now
), noted AS (
    INSERT INTO piecemeal.journal (run_id, who, what, detail)
    SELECT id, concat_ws(' as ', owner ->> 'who', session_user), 'partitions', jsonb_build_object(
        'partitions', partitions, 'attached', to_jsonb(attached), 'detached', to_jsonb(detached))
    FROM piecemeal.run, changed WHERE id = $1 AND cardinality(attached) + cardinality(detached) > 0
)
SELECT attached, detached FROM changed WHERE cardinality(attached) + cardinality(detached) > 0";

/// Notes what has changed since the last look, and returns it; nothing for a table without partitions.
pub(crate) async fn look(session: &mut Session, run: i64) -> Result<Changed, Fault> {
    let table = "(SELECT table_oid FROM piecemeal.run WHERE id = $1)";
    let sql = LOOK.replace("$now", &now(table));
    let rows = session.transact(&Guards::ledger(), &sql, &[run.into()]).await?;
    let changed = rows
        .first()
        .map(|row| Changed { attached: row.get("attached"), detached: row.get("detached") });
    Ok(changed.unwrap_or_default())
}

const NEWCOMERS: &str = "\
WITH first AS MATERIALIZED (
    SELECT detail -> 'partitions' AS partitions FROM piecemeal.journal
    WHERE run_id = $1 AND what = 'partitions' ORDER BY id LIMIT 1
), now AS MATERIALIZED ($now)
SELECT value AS name, split_part(key, '/', 1)::int8 AS oid
FROM first, now, jsonb_each_text(now.partitions) WHERE NOT first.partitions ? key ORDER BY value";

/// Returns the partitions that the table has now, and had not when the run was created: name and oid.
pub(crate) async fn newcomers(
    session: &mut Session,
    run: i64,
) -> Result<Vec<(String, i64)>, Fault> {
    let table = "(SELECT table_oid FROM piecemeal.run WHERE id = $1)";
    let sql = NEWCOMERS.replace("$now", &now(table));
    let rows = session.transact(&Guards::reading(), &sql, &[run.into()]).await?;
    Ok(rows.iter().map(|row| (row.get("name"), row.get("oid"))).collect())
}
