//! Runs: creating, finding and ending them.

use serde_json::{Value, json};
use tokio_postgres::Row;

use super::journal::Actor;
use super::lease::IS_LIVE;
use super::partitions;
use crate::job::Identity;
use crate::pg::{DbMessage, Fault, Guards, Param, Session};
use crate::run::{Failure, FailureKind, Intent, Phase, Status, Transition};
use crate::walk::{Key, KeyColumn};

/// A run as the ledger has it.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its number.
    pub id: i64,
    /// The job's name.
    pub job: String,
    /// Which run of the job it is, from 1.
    pub nth: i64,
    /// What makes two jobs the same run.
    pub fingerprint: String,
    /// That in full; `None` if another release wrote it in a form that we cannot read.
    pub identity: Option<Identity>,
    /// The table that it was started on; unknown before its walk begins.
    pub table_oid: Option<u32>,
    /// The columns of its key when its walk began; `None` if it did not begin, or an older release began it.
    pub key: Option<Vec<KeyColumn>>,
    /// The cluster that it was started on.
    pub system_id: String,
    /// The database that it was started in.
    pub database: String,
    /// How far it is.
    pub phase: Phase,
    /// What happened.
    pub status: Status,
    /// What people want.
    pub intent: Intent,
    /// Why.
    pub reason: Option<String>,
    /// Who asked for the intent.
    pub asked_by: Option<String>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// Sweeps so far.
    pub pass: i64,
    /// Whether its lease is alive by the server's clock.
    pub is_live: bool,
    /// Who works on it, as `host pid`.
    pub owner: Option<String>,
    /// Rows in quarantine that nobody has accepted.
    pub waiting: i64,
}

impl Run {
    /// Whether it failed because rows were in quarantine, and somebody has accepted all of them since.
    pub fn is_cured(&self) -> bool {
        let of_quarantine = |failure: &Failure| failure.kind == FailureKind::Quarantined;
        self.status == Status::Failed
            && self.waiting == 0
            && self.failure.as_ref().is_some_and(of_quarantine)
    }
}

/// Why a row of the ledger cannot be used (F95).
#[derive(Debug, thiserror::Error)]
#[error("run {0} in the ledger cannot be read: {1}")]
pub(crate) struct Unreadable(i64, String);

impl Unreadable {
    fn into_fault(self) -> Fault {
        Fault::Fatal(DbMessage::local(self.to_string()))
    }
}

const FIND: &str = "\
SELECT id, job, nth::int8 AS nth, fingerprint, spec, table_oid, key, system_id, database, phase, status, intent, reason, asked_by,
       failure, pass::int8 AS pass, $live AS is_live,
       CASE WHEN lease_token IS NOT NULL
            THEN concat_ws(' ', owner ->> 'host', owner ->> 'pid') END AS owner,
       (SELECT coalesce(sum(quarantined - skipped), 0)::int8 FROM piecemeal.range r WHERE r.run_id = old.id) AS waiting
FROM piecemeal.run old WHERE job = $1 ORDER BY id DESC LIMIT 1";

/// Returns the newest run of a job.
pub(crate) async fn newest(session: &mut Session, job: &str) -> Result<Option<Run>, Fault> {
    let rows = session
        .transact(&Guards::reading(), &FIND.replace("$live", IS_LIVE), &[job.into()])
        .await?;
    match rows.first().map(run) {
        None => Ok(None),
        Some(Ok(run)) => Ok(Some(run)),
        Some(Err(error)) => Err(error.into_fault()),
    }
}

fn run(row: &Row) -> Result<Run, Unreadable> {
    let id = row.get("id");
    let word = |name: &str| row.get::<_, String>(name);
    let unknown = |name: &str| Unreadable(id, format!("{name} is `{}`", word(name)));
    Ok(Run {
        id,
        job: word("job"),
        nth: row.get("nth"),
        fingerprint: word("fingerprint"),
        identity: serde_json::from_value(row.get("spec")).ok(),
        table_oid: row.get("table_oid"),
        key: key(id, row.get("key"))?,
        system_id: word("system_id"),
        database: word("database"),
        phase: Phase::from_word(&word("phase")).ok_or_else(|| unknown("phase"))?,
        status: Status::from_word(&word("status")).ok_or_else(|| unknown("status"))?,
        intent: Intent::from_word(&word("intent")).ok_or_else(|| unknown("intent"))?,
        reason: row.get("reason"),
        asked_by: row.get("asked_by"),
        failure: row
            .get::<_, Option<Value>>("failure")
            .and_then(|it| serde_json::from_value(it).ok()),
        pass: row.get("pass"),
        is_live: row.get("is_live"),
        owner: row.get("owner"),
        waiting: row.get("waiting"),
    })
}

fn key(run: i64, noted: Option<Value>) -> Result<Option<Vec<KeyColumn>>, Unreadable> {
    let columns = noted.map(serde_json::from_value).transpose();
    columns.map_err(|why| Unreadable(run, format!("key: {why}")))
}

/// Returns the columns of a run's key as they were when its walk began, if that is noted.
pub(crate) async fn noted_key(
    session: &mut Session,
    run: i64,
) -> Result<Option<Vec<KeyColumn>>, Fault> {
    let sql = "SELECT key FROM piecemeal.run WHERE id = $1";
    let rows = session.transact(&Guards::reading(), sql, &[run.into()]).await?;
    key(run, rows.first().and_then(|row| row.get(0))).map_err(Unreadable::into_fault)
}

/// What a new run is made of.
#[derive(Debug)]
pub(crate) struct NewRun<'a> {
    /// The job's name.
    pub job: &'a str,
    /// Which run of the job it is to be.
    pub nth: i64,
    /// What makes it the same job later.
    pub identity: &'a Identity,
    /// Whether it has a `where`.
    pub has_where: bool,
    /// The table.
    pub table_oid: u32,
    /// Where the walk ends; `None` if the table is empty.
    pub upto: Option<&'a Key>,
    /// The columns of the key.
    pub key: &'a [KeyColumn],
    /// The keys below it at which the walk is cut into ranges, in their order.
    pub cuts: &'a [Key],
    /// The file of which that is a place, if the walk does not go by the key.
    pub filenode: Option<u32>,
    /// Rows expected, if that is known.
    pub estimate: Option<i64>,
    /// Who starts it.
    pub actor: &'a Actor,
}

// A table without rows has one range, already at its end. Who creates a run says which one of the
// job it is, from what they saw before: if another was created since, also one that has ended by
// now, the unique index fails the statement whole. Without that, two deploys at once would do every
// row twice.
const CREATE: &str = "\
WITH made AS (
    INSERT INTO piecemeal.run (job, nth, fingerprint, spec, has_where, table_oid, system_id, database,
                               phase, status, intent, estimate, filenode, upto, key)
    VALUES ($1, $9::int8::int4, $2, $3, $4, ($5::int8)::oid, (SELECT system_identifier::text FROM pg_control_system()),
            current_database(), 'backfill', 'ready', 'run', $6, ($11::int8)::oid, $7, $12)
    RETURNING id
)";

/// The ranges of the run `made`.
const RANGES: &str = ", cut AS (
    SELECT at, ARRAY(SELECT jsonb_array_elements_text(key)) AS key
    FROM jsonb_array_elements($10) WITH ORDINALITY AS c (key, at)
), walked AS (
    INSERT INTO piecemeal.range (run_id, no, after, upto, done)
    SELECT made.id, n.no, lower.key, coalesce(upper.key, $7), $7 IS NULL
    FROM made CROSS JOIN generate_series(0, jsonb_array_length($10)) AS n (no)
    LEFT JOIN cut lower ON lower.at = n.no LEFT JOIN cut upper ON upper.at = n.no + 1
), noted AS (
    INSERT INTO piecemeal.journal (run_id, who, what, detail)
    SELECT id, $8 || ' as ' || session_user, $what, $3 FROM made
), parted AS (
    INSERT INTO piecemeal.journal (run_id, who, what, detail)
    SELECT id, $8 || ' as ' || session_user, '$noted', jsonb_build_object('partitions', partitions)
    FROM made, ($partitions) AS found WHERE partitions <> '{}'
    OR EXISTS (SELECT FROM pg_catalog.pg_partitioned_table WHERE partrelid = ($5::int8)::oid)
)
SELECT id FROM made";

// The run was begun before its table was ready; its walk begins once.
const BEGIN_WALK: &str = "\
WITH made AS (
    UPDATE piecemeal.run r SET phase = 'backfill', has_where = $4, table_oid = ($5::int8)::oid, estimate = $6,
           filenode = ($11::int8)::oid, upto = $7, key = $12, updated_at = clock_timestamp()
    WHERE r.id = $9 AND r.job = $1 AND r.fingerprint = $2 AND r.phase IN ('expand', 'sync')
      AND NOT EXISTS (SELECT FROM piecemeal.range g WHERE g.run_id = r.id)
    RETURNING id
)";

/// Creates a run whose ranges, one more than there are cuts, follow each other over the key space.
pub(crate) async fn create(session: &mut Session, new: &NewRun<'_>) -> Result<i64, Fault> {
    let sql = format!("{CREATE}{}", RANGES.replace("$what", "'created'"));
    Ok(with_ranges(session, &sql, new, new.nth).await?.unwrap_or(0))
}

/// Gives a run that has only had statements its ranges; `None` if it has them, or is not to be walked.
pub(crate) async fn begin_walk(
    session: &mut Session,
    run: i64,
    new: &NewRun<'_>,
) -> Result<Option<i64>, Fault> {
    let sql = format!("{BEGIN_WALK}{}", RANGES.replace("$what", "'walk'"));
    with_ranges(session, &sql, new, run).await
}

async fn with_ranges(
    session: &mut Session,
    sql: &str,
    new: &NewRun<'_>,
    which: i64,
) -> Result<Option<i64>, Fault> {
    let spec = serde_json::to_value(new.identity).unwrap_or_default();
    let fingerprint = crate::job::fingerprint(new.identity);
    let (cuts, key) = (json!(new.cuts), json!(new.key));
    let params = [
        new.job.into(),
        fingerprint.as_str().into(),
        (&spec).into(),
        Param::Bool(new.has_where),
        i64::from(new.table_oid).into(),
        Param::MaybeInt(new.estimate),
        Param::Texts(new.upto.map(Key::values)),
        new.actor.0.as_str().into(),
        which.into(),
        (&cuts).into(),
        Param::MaybeInt(new.filenode.map(i64::from)),
        (&key).into(),
    ];
    let of_table = partitions::now("($5::int8)::oid");
    let sql = sql.replace("$noted", partitions::WHAT).replace("$partitions", &of_table);
    let rows = session.transact(&Guards::ledger(), &sql, &params).await?;
    Ok(rows.first().map(|row| row.get("id")))
}

const ORIGIN: &str = "\
SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_id, current_database()::text AS database";

/// Returns the cluster and the database that we are connected to.
pub(crate) async fn origin(session: &mut Session) -> Result<(String, String), Fault> {
    let rows = session.transact(&Guards::reading(), ORIGIN, &[]).await?;
    Ok(rows.first().map(|row| (row.get("system_id"), row.get("database"))).unwrap_or_default())
}

const CLOCK: &str = "SELECT extract(epoch FROM clock_timestamp())::float8 AS now";

/// Returns the server's time, in seconds since 1970.
pub(crate) async fn clock(session: &mut Session) -> Result<f64, Fault> {
    let rows = session.transact(&Guards::reading(), CLOCK, &[]).await?;
    Ok(rows.first().map_or(0.0, |row| row.get("now")))
}

const ADOPT: &str = "\
WITH moved AS (
    UPDATE piecemeal.run SET system_id = (SELECT system_identifier::text FROM pg_control_system()),
           database = current_database(), lease_token = NULL, lease_until = NULL
    WHERE id = $1 RETURNING id
)
INSERT INTO piecemeal.journal (run_id, who, what) SELECT id, $2 || ' as ' || session_user, 'adopted' FROM moved";

/// Lets a run go on in this cluster: a restored copy, or one after an upgrade (F73).
pub(crate) async fn adopt(session: &mut Session, run: i64, actor: &Actor) -> Result<(), Fault> {
    session
        .transact(&Guards::ledger(), ADOPT, &[run.into(), actor.0.as_str().into()])
        .await
        .map(drop)
}

/// Returns what locks a run at the beginning of a transaction that goes on to its ranges, in that order.
pub(crate) fn locked(run: i64) -> String {
    format!("SELECT FROM piecemeal.run WHERE id = {run} FOR NO KEY UPDATE")
}

/// What is written with a change of status by the owner.
#[derive(Debug, Default)]
pub(crate) struct Ending<'a> {
    /// Why, for those who watch.
    pub reason: Option<&'a str>,
    /// Why it failed.
    pub failure: Option<&'a Failure>,
    /// How it was verified.
    pub verified: Option<&'a str>,
    /// Rows looked at, and the seconds that took.
    pub looked: Option<(u64, f64)>,
}

/// Changes the status of a run that we lead; returns whether it was still ours to change. What stands
/// or has ended is written by nobody any more: a batch under way is waited for.
pub(crate) async fn settle(
    session: &mut Session,
    (run, token): (i64, &str),
    transition: Transition,
    ending: &Ending<'_>,
    actor: &Actor,
) -> Result<bool, Fault> {
    let sources: Vec<_> = transition.sources().iter().map(|from| from.word()).collect();
    let to = transition.sources().first().and_then(|from| from.after(transition).ok());
    let Some(to) = to else { return Ok(false) };
    // A paused process keeps its lease, so that it can go on; in every other case the lease ends.
    let keeps_lease = to == Status::Paused;
    // A pause that was taken back meanwhile is not written.
    let asked = if let Transition::Stopped(intent) = transition {
        format!(" AND intent = '{intent}'")
    } else {
        String::new()
    };
    // Whoever meets it goes on elsewhere, or not at all: nothing is written once this is.
    let fences = !matches!(transition, Transition::Yielded);
    // Any member may find that a run cannot go on; everything else is for the one that leads it.
    let by_member = if transition == Transition::Failed {
        " OR EXISTS (SELECT FROM piecemeal.member m WHERE m.run_id = $1 AND m.token = $2)"
    } else {
        ""
    };
    // Only a verification that was left is gone on with.
    let keeps_seen = matches!(to, Status::Ready | Status::Paused);
    // Whoever asked for it has said why.
    let keeps_reason = matches!(transition, Transition::Stopped(_));
    let sql = format!(
        "WITH moved AS (
             UPDATE piecemeal.run SET status = '{to}',
                 reason = CASE WHEN {keeps_reason} THEN coalesce($3, reason) ELSE $3 END, failure = $4,
                 verified = coalesce($5, verified), looked = coalesce($6, looked), looked_s = coalesce($7, looked_s), changed_at = clock_timestamp(), updated_at = clock_timestamp(),
                 verifying = CASE WHEN {keeps_seen} THEN verifying END,
                 finished_at = CASE WHEN {is_final} THEN coalesce(finished_at, clock_timestamp()) ELSE finished_at END,
                 lease_token = CASE WHEN {keeps_lease} THEN lease_token END,
                 lease_until = CASE WHEN {keeps_lease} THEN lease_until END
             WHERE id = $1 AND (lease_token = $2{by_member}) AND status = ANY ('{{{sources}}}'){asked} RETURNING id
         ), fenced AS (
             UPDATE piecemeal.range SET lease_token = NULL, lease_until = NULL
             WHERE run_id = (SELECT id FROM moved) AND lease_token IS NOT NULL AND {fences} RETURNING no
         ), gone AS (
             DELETE FROM piecemeal.member WHERE run_id = (SELECT id FROM moved) AND {is_final}
             AND (SELECT count(*) FROM fenced) >= 0
         ), noted AS (
             INSERT INTO piecemeal.journal (run_id, who, what, detail)
             SELECT id, $8 || ' as ' || session_user, '{transition}', $9 FROM moved
         )
         SELECT id FROM moved",
        is_final = to.is_final(),
        sources = sources.join(","),
        asked = asked,
    );
    let failure = ending.failure.and_then(|failure| serde_json::to_value(failure).ok());
    let detail = ending.reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }));
    let (looked, seconds) = ending.looked.unzip();
    let params = [
        run.into(),
        token.into(),
        ending.reason.into(),
        Param::Json(failure.as_ref()),
        ending.verified.into(),
        Param::MaybeInt(looked.and_then(|looked| i64::try_from(looked).ok())),
        Param::MaybeFloat(seconds),
        actor.0.as_str().into(),
        (&detail).into(),
    ];
    Ok(!session.transact(&Guards::ledger(), &sql, &params).await?.is_empty())
}

const ENTER: &str = "\
UPDATE piecemeal.run SET phase = $3, updated_at = clock_timestamp() WHERE id = $1 AND lease_token = $2 RETURNING id";

/// Notes the phase that the owner is in; returns whether the run is still ours.
pub(crate) async fn enter(
    session: &mut Session,
    (run, token): (i64, &str),
    phase: Phase,
) -> Result<bool, Fault> {
    let params = [run.into(), token.into(), phase.word().into()];
    Ok(!session.transact(&Guards::ledger(), ENTER, &params).await?.is_empty())
}

const FORGET: &str = "DELETE FROM piecemeal.run WHERE job = $1 AND status IN ('succeeded', 'cancelled')
AND NOT EXISTS (SELECT FROM piecemeal.run WHERE job = $1 AND status NOT IN ('succeeded', 'cancelled')) RETURNING id";

/// Removes all runs of a job, if they have all ended; returns how many there were.
pub(crate) async fn forget(session: &mut Session, job: &str) -> Result<usize, Fault> {
    Ok(session.transact(&Guards::ledger(), FORGET, &[job.into()]).await?.len())
}
