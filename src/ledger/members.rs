//! The processes that work on a run.
//!
//! One of them leads it: it holds the run's own lease, changes its status, and verifies. The others
//! take ranges and walk. All leave their ranges to the next when they go, and those of one that died
//! are free. Whatever locks several rows does so in this order: run, ranges, members.

use super::lease::{Holder, backend_noted};
use crate::pg::{Fault, Guards, Session};

pub(super) use super::lease::IS_ALIVE;

/// The parts of a statement that make the process with token `$2` a member of the run in the CTE
/// `run`, and forget those that are dead: `$3` is how long its lease lasts, `$4` and `$5` what it
/// signs with, `$7` its workers.
pub(super) fn enter(run: &str) -> String {
    format!(
        "pruned AS (
             DELETE FROM piecemeal.member old WHERE run_id = (SELECT id FROM {run}) AND token <> $2
             AND NOT {IS_ALIVE}
         ), entered AS (
             INSERT INTO piecemeal.member AS m (run_id, token, owner, workers, lease_until)
             SELECT id, $2, $4 || {backend}, $7::int8::int4, clock_timestamp() + $3 * interval '1 second' FROM {run}
             ON CONFLICT (run_id, token) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
         )",
        backend = backend_noted(),
    )
}

/// Makes a process a member of a run that goes on; returns who leads it, as `host pid`, or `None`
/// where it stands or has ended.
pub(crate) async fn join(
    session: &mut Session,
    run: i64,
    holder: &Holder,
) -> Result<Option<String>, Fault> {
    let sql = format!(
        "WITH open AS (
             SELECT id, concat_ws(' ', owner ->> 'host', owner ->> 'pid') AS leader FROM piecemeal.run
             WHERE id = $1 AND intent = 'run' AND status IN ('ready', 'running') FOR SHARE
         ), {enter}, noted AS (
             INSERT INTO piecemeal.journal (run_id, who, what, detail)
             SELECT id, $6 || ' as ' || session_user, 'joined', $4 FROM open
         )
         SELECT leader FROM open",
        enter = enter("open"),
    );
    let owner = holder.owner();
    let params = holder.entry(run, &owner, session.is_direct());
    let rows = session.transact(&Guards::ledger(), &sql, &params).await?;
    Ok(rows.first().map(|row| row.get("leader")))
}

const LEAVE: &str = "\
WITH freed AS (
    UPDATE piecemeal.range SET lease_token = NULL, lease_until = NULL
    WHERE run_id = $1 AND lease_token = $2 RETURNING no
)
DELETE FROM piecemeal.member WHERE run_id = $1 AND token = $2 AND (SELECT count(*) FROM freed) >= 0";

/// Takes a process off a run; its ranges are free.
pub(crate) async fn leave(session: &mut Session, run: i64, token: &str) -> Result<(), Fault> {
    session.transact(&Guards::ledger(), LEAVE, &[run.into(), token.into()]).await.map(drop)
}
