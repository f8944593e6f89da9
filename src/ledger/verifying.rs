//! How far the verification of a run is, for whoever goes on with it.
//!
//! What was seen counts as long as the run has written nothing since, and the table has the files that it had. With a
//! batch, a sweep, or a row of the quarantine that is tried again, some range moves on; with TRUNCATE, other rows may
//! be in the table, and a partition that was attached brings some. Then it is looked at from its beginning.

use serde_json::{Value, json};

use crate::pg::{Fault, Guards, Session};
use crate::walk::Seen;

/// All that changes whenever the run writes anything, or the table gets another file.
const WRITTEN: &str = "\
concat_ws('.', r.pass, r.rewrites, (SELECT concat_ws('.', count(*), sum(rev)) FROM piecemeal.range WHERE run_id = r.id),
          pg_relation_filenode(r.table_oid),
          (SELECT concat_ws('.', count(*), sum(pg_relation_filenode(relid)::int8)) FROM pg_partition_tree(r.table_oid)))";

const NOTE: &str = "\
UPDATE piecemeal.run r SET verifying = jsonb_build_object('written', $written, 'seen', $3::jsonb)
WHERE id = $1 AND lease_token = $2";

const FIND: &str = "\
SELECT r.verifying -> 'seen' AS seen FROM piecemeal.run r WHERE id = $1 AND r.verifying ->> 'written' = $written";

/// Notes what was seen, if the run is still ours.
pub(crate) async fn note(
    session: &mut Session,
    (run, token): (i64, &str),
    seen: &Seen,
) -> Result<(), Fault> {
    let (sql, seen) = (NOTE.replace("$written", WRITTEN), json!(seen));
    session
        .transact(&Guards::ledger(), &sql, &[run.into(), token.into(), (&seen).into()])
        .await
        .map(drop)
}

/// Returns what was seen of the table as it still is by the books.
pub(crate) async fn find(session: &mut Session, run: i64) -> Result<Option<Seen>, Fault> {
    let sql = FIND.replace("$written", WRITTEN);
    let rows = session.transact(&Guards::reading(), &sql, &[run.into()]).await?;
    let seen: Option<Value> = rows.first().and_then(|row| row.get("seen"));
    // What another release has written otherwise is looked at anew.
    Ok(seen.and_then(|seen| serde_json::from_value(seen).ok()))
}
