//! Runs of jobs that change the schema: how they begin before their walk, and begin again for contract and down.

use super::journal::Actor;
use super::lease::IS_LIVE;
use crate::job::Identity;
use crate::pg::{Fault, Guards, Param, Session};
use crate::run::{Phase, Status, Transition};

/// What a run is made of that begins with statements.
#[derive(Debug)]
pub(crate) struct NewShaped<'a> {
    /// The job's name.
    pub job: &'a str,
    /// Which run of the job it is to be.
    pub nth: i64,
    /// What makes it the same job later.
    pub identity: &'a Identity,
    /// The columns that it sets and that are not there yet.
    pub added: &'a [String],
    /// The run before, if what that added is still there.
    pub stands: Option<i64>,
    /// Who starts it.
    pub actor: &'a Actor,
}

// As with any run, its number keeps two deploys from starting it twice. What the run before has added
// is not added again: its steps are this run's, too.
const CREATE: &str = "\
WITH made AS (
    INSERT INTO piecemeal.run (job, nth, fingerprint, spec, has_where, system_id, database, phase, status, intent, added)
    VALUES ($1, $4::int8::int4, $2, $3, $3 ->> 'where' IS NOT NULL,
            (SELECT system_identifier::text FROM pg_control_system()), current_database(), 'expand', 'ready', 'run',
            coalesce((SELECT added FROM piecemeal.run WHERE id = $6), $5))
    RETURNING id
), kept AS (
    INSERT INTO piecemeal.step (run_id, part, no, sql, note, began_at, done_at)
    SELECT made.id, s.part, s.no, s.sql, s.note, s.began_at, s.done_at FROM made, piecemeal.step s
    WHERE s.run_id = $6 AND s.part = 'expand.up' AND s.done_at IS NOT NULL
), noted AS (
    INSERT INTO piecemeal.journal (run_id, who, what, detail)
    SELECT id, $7 || ' as ' || session_user, 'created', $3 FROM made
)
SELECT id FROM made";

/// Creates a run that begins with its statements, and has no ranges yet.
pub(crate) async fn create(session: &mut Session, new: &NewShaped<'_>) -> Result<i64, Fault> {
    let spec = serde_json::to_value(new.identity).unwrap_or_default();
    let fingerprint = crate::job::fingerprint(new.identity);
    let params = [
        new.job.into(),
        fingerprint.as_str().into(),
        (&spec).into(),
        new.nth.into(),
        Param::Texts(Some(new.added)),
        Param::MaybeInt(new.stands),
        new.actor.0.as_str().into(),
    ];
    let rows = session.transact(&Guards::ledger(), CREATE, &params).await?;
    Ok(rows.first().map_or(0, |row| row.get("id")))
}

const BEGIN_SYNC: &str = "\
UPDATE piecemeal.run SET phase = 'sync', updated_at = clock_timestamp() WHERE id = $1 AND phase = 'expand'";

/// Notes that the statements of a run's expand are done, and that its rows begin to be kept in step.
pub(crate) async fn begin_sync(session: &mut Session, run: i64) -> Result<(), Fault> {
    session.transact(&Guards::ledger(), BEGIN_SYNC, &[run.into()]).await.map(drop)
}

/// What came of reopening a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reopened {
    /// It is ready for the phase.
    Yes,
    /// Somebody works on it.
    Live,
    /// It is not there any more.
    Gone,
}

/// Makes a run that nobody works on ready for contract or down. For contract, it is noted which columns the table has:
/// what is missing later was taken away by it.
pub(crate) async fn reopen(
    session: &mut Session,
    run: i64,
    phase: Phase,
    actor: &Actor,
) -> Result<Reopened, Fault> {
    let sources: Vec<_> = Transition::Reopened.sources().iter().map(|from| from.word()).collect();
    let sql = format!(
        "WITH old AS (
             SELECT id, phase, {IS_LIVE} AS is_live FROM piecemeal.run old WHERE id = $1 FOR NO KEY UPDATE
         ), fenced AS (
             UPDATE piecemeal.range SET lease_token = NULL, lease_until = NULL
             FROM old WHERE run_id = old.id AND lease_token IS NOT NULL AND NOT old.is_live RETURNING no
         ), gone AS (
             DELETE FROM piecemeal.member m USING old WHERE m.run_id = old.id AND NOT old.is_live
             AND (SELECT count(*) FROM fenced) >= 0
         ), moved AS (
             UPDATE piecemeal.run r SET status = '{to}', intent = 'run', phase = $2, reason = NULL, asked_by = NULL,
                 failure = NULL, lease_token = NULL, lease_until = NULL, pulse = '{{}}',
                 before_contract = CASE WHEN $2 = 'contract' AND old.phase <> 'contract' THEN {columns}
                                        ELSE r.before_contract END,
                 changed_at = clock_timestamp(), updated_at = clock_timestamp()
             FROM old WHERE r.id = old.id AND NOT old.is_live AND r.status = ANY ('{{{sources}}}')
             RETURNING r.id
         ), noted AS (
             INSERT INTO piecemeal.journal (run_id, who, what) SELECT id, $3 || ' as ' || session_user, $2 FROM moved
         )
         SELECT EXISTS (SELECT FROM moved) AS is_ready FROM old",
        to = Status::Ready,
        columns = COLUMNS,
        sources = sources.join(","),
    );
    let params = [run.into(), phase.word().into(), actor.0.as_str().into()];
    let rows = session.transact(&Guards::ledger(), &sql, &params).await?;
    Ok(match rows.first().map(|row| row.get("is_ready")) {
        Some(true) => Reopened::Yes,
        Some(false) => Reopened::Live,
        None => Reopened::Gone,
    })
}

// A column that is dropped and added again has another number.
const COLUMNS: &str = "ARRAY(SELECT a.attnum || ' ' || a.attname FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = r.table_oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)";

/// What a run has done to its table, as far as it matters for taking it back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The columns that it sets and that were not there before its expand.
    pub added: Vec<String>,
    /// The columns that its contract took away.
    pub dropped: Vec<String>,
    /// Rows changed, by this run and by those before it, since the job was last taken back.
    pub changed: u64,
}

/// Returns what a run has done to its table.
pub(crate) async fn marks(session: &mut Session, run: i64) -> Result<Marks, Fault> {
    let sql = format!(
        "SELECT coalesce(r.added, '{{}}') AS added,
                ARRAY(SELECT substring(gone FROM ' (.*)') FROM (
                    SELECT unnest(r.before_contract) EXCEPT SELECT unnest({COLUMNS})) AS dropped (gone)
                    ORDER BY substring(gone FROM '^[0-9]+')::int) AS dropped,
                (SELECT coalesce(sum(g.changed), 0)::int8 FROM piecemeal.run o JOIN piecemeal.range g ON g.run_id = o.id
                 WHERE o.job = r.job AND o.nth <= r.nth AND o.nth > coalesce(
                    (SELECT max(u.nth) FROM piecemeal.run u WHERE u.job = r.job AND u.phase = 'down'
                     AND u.status = 'succeeded'), 0)) AS changed
         FROM piecemeal.run r WHERE r.id = $1"
    );
    let rows = session.transact(&Guards::reading(), &sql, &[run.into()]).await?;
    Ok(rows.first().map_or_else(Marks::default, |row| Marks {
        added: row.get("added"),
        dropped: row.get("dropped"),
        changed: u64::try_from(row.get::<_, i64>("changed")).unwrap_or_default(),
    }))
}
