//! How far the verification of a run is, for whoever goes on with it.
//!
//! What was seen counts as long as the run has written nothing since the look began, and the table has been kept as it
//! was. With a batch, a sweep, or a row of the quarantine that is tried again, some range moves on; with TRUNCATE, other
//! rows may be in the table, and a partition that was attached brings some; and while a sync trigger was away, rows
//! were written that nobody kept in step. Then the table is looked at from its beginning.

use serde_json::{Value, json};

use super::partitions;
use crate::pg::{Fault, Guards, Session};
use crate::walk::Seen;

/// All that changes whenever the run writes anything, the table gets another file or other partitions, or its sync
/// trigger is made.
const STAND: &str = "\
concat_ws('.', r.pass, r.rewrites, (SELECT concat_ws('.', count(*), sum(rev)) FROM piecemeal.range WHERE run_id = r.id),
          pg_relation_filenode(r.table_oid),
          ($files),
          (SELECT max(id) FROM piecemeal.journal WHERE run_id = r.id AND what = 'sync'))";

const FIND: &str = "\
SELECT now.stand, CASE WHEN r.verifying ->> 'stand' = now.stand THEN r.verifying -> 'seen' END AS seen
FROM piecemeal.run r, LATERAL (SELECT $stand AS stand) AS now WHERE r.id = $1";

const NOTE: &str = "\
UPDATE piecemeal.run SET verifying = jsonb_build_object('stand', $3::text, 'seen', $4::jsonb)
WHERE id = $1 AND lease_token = $2";

/// Returns how run and table stand, and what was seen before of a table that stood like that.
pub(crate) async fn find(
    session: &mut Session,
    run: i64,
) -> Result<Option<(String, Option<Seen>)>, Fault> {
    let sql = FIND.replace("$stand", STAND).replace("$files", &partitions::files("r.table_oid"));
    let rows = session.transact(&Guards::reading(), &sql, &[run.into()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let seen: Option<Value> = row.get("seen");
    // What another release has written otherwise is looked at anew.
    Ok(Some((row.get("stand"), seen.and_then(|seen| serde_json::from_value(seen).ok()))))
}

/// Notes what was seen of a table that stood like `stand` when the look began, if the run is still ours.
pub(crate) async fn note(
    session: &mut Session,
    (run, token): (i64, &str),
    (stand, seen): (&str, &Seen),
) -> Result<(), Fault> {
    let seen = json!(seen);
    let params = [run.into(), token.into(), stand.into(), (&seen).into()];
    session.transact(&Guards::ledger(), NOTE, &params).await.map(drop)
}
