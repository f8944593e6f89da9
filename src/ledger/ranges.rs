//! The ranges of a run: taking them and reading where they are.
//!
//! A cursor is never moved here: that is the batch's, in the transaction of its rows.

use serde_json::{Value, json};
use tokio_postgres::Row;

use super::journal::Actor;
use super::lease::{IS_LIVE, TTL};
use super::members::IS_ALIVE;
use super::runs;
use crate::pg::{Act, Fault, Guards, Param, Session};
use crate::walk::{Key, Open, Range, Stripe, Walk};

macro_rules! columns {
    () => {
        "no::int8 AS no, pass::int8 AS pass, after, upto, cursor, front, mark, stripe::int8 AS stripe, \
         stripes::int8 AS stripes, rev, done, aside::int8 AS aside, is_requeued, changed"
    };
}

fn range(row: &Row) -> Range {
    let key = |name: &str| row.get::<_, Option<Vec<String>>>(name).map(Key::new);
    Range {
        no: row.get("no"),
        pass: row.get("pass"),
        after: key("after"),
        upto: key("upto"),
        cursor: key("cursor"),
        open: open(row),
        rev: row.get("rev"),
        done: row.get("done"),
        aside: row.get("aside"),
        is_requeued: row.get("is_requeued"),
        changed: row.get("changed"),
    }
}

fn open(row: &Row) -> Option<Open> {
    let key = |name: &str| row.get::<_, Option<Vec<String>>>(name).map(Key::new);
    let number = |name: &str| row.get::<_, Option<i64>>(name).and_then(|it| u32::try_from(it).ok());
    Some(Open {
        front: key("front")?,
        mark: key("mark")?,
        stripe: Stripe { no: number("stripe")?, of: number("stripes")? },
    })
}

/// What taking a range came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is ours.
    Range(Range),
    /// Others walk those that are left.
    NothingFree,
    /// All of them are at their ends.
    NothingLeft,
    /// The run stands, has ended, or goes on without us.
    NotOurs,
}

// The lock on the run keeps it going until the range is ours: a process that was frozen before this
// must not take a range from those who have counted it as dead (F16), nor after the run was stopped.
// A range is free if none of this process's workers walks it, and nobody else who is alive: one whose
// answer was lost, or that was left, is ours already. One that was just given back is walked by its worker
// until that has learned of it, and goes to no sibling before. One in which a batch is under way is passed over.
const TAKE: &str = concat!(
    "WITH held AS (SELECT id FROM piecemeal.run WHERE id = $1 AND status = 'running' AND EXISTS (
    SELECT FROM piecemeal.member m WHERE m.run_id = $1 AND m.token = $2) FOR SHARE
), live AS MATERIALIZED (
    SELECT old.token FROM piecemeal.member old WHERE old.run_id = $1 AND $is_alive
    UNION ALL SELECT old.lease_token FROM piecemeal.run old WHERE old.id = $1 AND $is_led
), free AS MATERIALIZED (
    SELECT no AS free_no FROM piecemeal.range WHERE run_id = (SELECT id FROM held) AND NOT done
    AND no::text <> ALL ($4)
    AND (lease_token IS NULL OR lease_token = $2 OR lease_token NOT IN (SELECT token FROM live))
    ORDER BY aside, lease_token IS NOT NULL, no LIMIT 1 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE piecemeal.range SET lease_token = $2, lease_until = clock_timestamp() + $3 * interval '1 second'
    FROM free WHERE run_id = $1 AND no = free_no RETURNING ",
    columns!(),
    ") SELECT EXISTS (SELECT FROM held) AS is_ours, taken.no IS NOT NULL AS is_taken,
    EXISTS (SELECT FROM piecemeal.range r WHERE r.run_id = $1 AND NOT r.done) AS is_open, taken.*
FROM (SELECT) AS one LEFT JOIN taken ON true"
);

/// Takes a free range for the process with `token`, whose workers walk those in `walked`. Those that
/// were put aside come last, and those that were so more often after the others. With it comes the
/// whole walk.
pub(crate) async fn take(
    session: &mut Session,
    (run, token): (i64, &str),
    walked: &[i64],
) -> Result<(Taken, Walk), Fault> {
    let walked: Vec<_> = walked.iter().map(i64::to_string).collect();
    let sql = TAKE.replace("$is_alive", IS_ALIVE).replace("$is_led", IS_LIVE);
    let params =
        [run.into(), token.into(), Param::Float(TTL.as_secs_f64()), Param::Texts(Some(&walked))];
    let take = Act { begin: &Guards::passing().begin().keeping(true), sql: &sql, params: &params };
    let all =
        Act { begin: &Guards::reading().begin().keeping(true), sql: ALL, params: &[run.into()] };
    let (rows, _, all) = session.transact_both(&take, &all).await?;
    Ok((taken(&rows), walk(&all?)))
}

fn taken(rows: &[Row]) -> Taken {
    match rows.first() {
        Some(row) if row.get("is_taken") => Taken::Range(range(row)),
        Some(row) if !row.get::<_, bool>("is_ours") => Taken::NotOurs,
        Some(row) if row.get("is_open") => Taken::NothingFree,
        Some(_) => Taken::NothingLeft,
        None => Taken::NotOurs,
    }
}

const DROP: &str = "\
UPDATE piecemeal.range SET lease_token = NULL, lease_until = NULL WHERE run_id = $1 AND no = $3 AND lease_token = $2";

/// Gives a range back as it stands, for whoever takes it next.
pub(crate) async fn give_back(
    session: &mut Session,
    (run, token): (i64, &str),
    no: i64,
) -> Result<(), Fault> {
    let params = [run.into(), token.into(), no.into()];
    session.transact(&Guards::passing(), DROP, &params).await.map(drop)
}

/// Ranges that were put aside and are not at their ends, beyond which none is added by putting one
/// more aside.
const OPEN: i64 = 64;
/// Ranges of a run beyond which none is added: bounds the ledger (R15).
const MOST: i64 = 1_000;

// What takes the place of the range tiles like the range itself. `rev` moves, so that a batch of ours
// whose outcome is unknown, and which goes beyond the new end, can not be committed any more (F16). The
// lock on the run, taken before, keeps the walk from beginning again in between, which would not see the parts,
// and others from giving the same numbers to parts of theirs.
const PUT_ASIDE: &str = "\
WITH held AS (
    SELECT r.run_id, r.no, r.pass FROM piecemeal.range r
    WHERE r.run_id = $1 AND r.no = $2 AND r.rev = $3 AND r.lease_token = $4 AND NOT r.done FOR UPDATE
), room AS (
    SELECT count(*) FILTER (WHERE NOT done AND aside > 0) < $5 AND count(*) < $6 AS has_room,
           max(no) AS last, bool_or(NOT done AND no <> $2) AS has_others
    FROM piecemeal.range WHERE run_id = $1
), part AS (
    SELECT * FROM ROWS FROM (jsonb_to_recordset($7) AS (after text[], upto text[], cursor text[], front text[],
        mark text[], stripe int4, stripes int4, done bool, aside int4)) WITH ORDINALITY AS part (after, upto, cursor,
        front, mark, stripe, stripes, done, aside, nth)
), first AS (
    UPDATE piecemeal.range r SET upto = part.upto, cursor = part.cursor, front = part.front, mark = part.mark,
           stripe = part.stripe, stripes = part.stripes, done = part.done, aside = part.aside, rev = rev + 1,
           lease_token = NULL, lease_until = NULL
    FROM held, room, part WHERE r.run_id = held.run_id AND r.no = held.no AND part.nth = 1
      AND CASE WHEN jsonb_array_length($7) = 1 THEN room.has_others ELSE room.has_room END
    RETURNING r.run_id
), others AS (
    INSERT INTO piecemeal.range (run_id, no, pass, after, upto, front, mark, stripe, stripes, aside)
    SELECT held.run_id, room.last + part.nth - 1, held.pass, part.after, part.upto, part.front, part.mark,
           part.stripe, part.stripes, part.aside
    FROM held, room, first, part WHERE part.nth > 1
)
SELECT run_id FROM first";

/// Puts `parts` in the place of `range`, of which one is put aside, so that the others are done
/// first; returns whether there was room, and something else to do.
pub(crate) async fn put_aside(
    session: &mut Session,
    (run, token): (i64, &str),
    range: &Range,
    parts: &[Range],
) -> Result<bool, Fault> {
    let parts = Value::Array(parts.iter().map(written).collect());
    let params = [
        run.into(),
        range.no.into(),
        range.rev.into(),
        token.into(),
        OPEN.into(),
        MOST.into(),
        (&parts).into(),
    ];
    let begin = Guards::ledger().begin() + &runs::locked(run);
    Ok(!session.transact_prepared(&begin, PUT_ASIDE, &params).await?.is_empty())
}

fn written(range: &Range) -> Value {
    fn key(key: Option<&Key>) -> Option<&[String]> {
        key.map(Key::values)
    }
    let open = range.open.as_ref();
    json!({
        "after": key(range.after.as_ref()),
        "upto": key(range.upto.as_ref()),
        "cursor": key(range.cursor.as_ref()),
        "front": key(open.map(|open| &open.front)),
        "mark": key(open.map(|open| &open.mark)),
        "stripe": open.map(|open| open.stripe.no),
        "stripes": open.map(|open| open.stripe.of),
        "done": range.done,
        "aside": range.aside,
    })
}

const REREAD: &str = concat!(
    "SELECT lease_token IS NOT DISTINCT FROM $3 AS is_ours, ",
    columns!(),
    " FROM piecemeal.range WHERE run_id = $1 AND no = $2"
);

/// Returns where a range is now, and whether it is still ours (R3).
pub(crate) async fn reread(
    session: &mut Session,
    run: i64,
    no: i64,
    token: &str,
) -> Result<Option<(Range, bool)>, Fault> {
    let params = [run.into(), no.into(), token.into()];
    let rows = session.transact(&Guards::reading(), REREAD, &params).await?;
    Ok(rows.first().map(|row| (range(row), row.get("is_ours"))))
}

const ALL: &str = concat!(
    "SELECT ",
    columns!(),
    ", (SELECT r.upto FROM piecemeal.run r WHERE r.id = $1) AS walk_upto
FROM piecemeal.range WHERE run_id = $1 AND pass = 0 ORDER BY no"
);

fn walk(rows: &[Row]) -> Walk {
    let upto = rows.first().and_then(|row| row.get::<_, Option<Vec<String>>>("walk_upto"));
    Walk { ranges: rows.iter().map(range).collect(), upto: upto.map(Key::new) }
}

/// Returns the walk itself, without sweeps.
pub(crate) async fn of_walk(session: &mut Session, run: i64) -> Result<Walk, Fault> {
    let rows = session.transact(&Guards::reading(), ALL, &[run.into()]).await?;
    Ok(walk(&rows))
}

const SWEEP: &str = "\
WITH moved AS (
    UPDATE piecemeal.run SET pass = pass + 1, phase = 'backfill', updated_at = clock_timestamp()
    WHERE id = $1 AND lease_token = $2 AND pass = $7 RETURNING id, pass
), swept AS (
    INSERT INTO piecemeal.range (run_id, no, pass, after, upto)
    SELECT id, (SELECT max(no) + 1 FROM piecemeal.range WHERE run_id = $1), pass, $3, $4 FROM moved
)
INSERT INTO piecemeal.journal (run_id, who, what, detail)
SELECT id, $5 || ' as ' || session_user, 'sweep', $6 FROM moved";

/// A stretch that is to be walked once more.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    /// The key before it.
    pub after: Option<&'a Key>,
    /// Its last key.
    pub upto: &'a Key,
    /// Rows that were left to do in it.
    pub rows: u64,
    /// Sweeps before this one; asked for twice, it is added once.
    pub pass: u64,
}

/// Adds a range that walks a stretch once more, for rows that were left to do.
pub(crate) async fn sweep(
    session: &mut Session,
    (run, token): (i64, &str),
    sweep: &Sweep<'_>,
    actor: &Actor,
) -> Result<(), Fault> {
    let detail = json!({ "rows": sweep.rows });
    let params = [
        run.into(),
        token.into(),
        Param::Texts(sweep.after.map(Key::values)),
        Param::Texts(Some(sweep.upto.values())),
        actor.0.as_str().into(),
        (&detail).into(),
        Param::Int(i64::try_from(sweep.pass).unwrap_or(i64::MAX)),
    ];
    session.transact(&Guards::ledger(), SWEEP, &params).await.map(drop)
}
