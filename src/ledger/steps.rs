//! Statements of a run: what was run, in which part, and what is under way.
//!
//! A statement commits with its row, so it is run once: a second process meets the row, and a process that lost the
//! run cannot write one. What runs outside a transaction has its row before, with the server process that does it.

use serde_json::json;

use super::journal::Actor;
use crate::job::Part;
use crate::pg::{Fault, Guards, Session};

/// A statement that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its part, as the ledger writes it.
    pub part: String,
    /// Which of its part it is, from 1.
    pub no: i64,
    /// What was run.
    pub sql: String,
    /// Whether it is done.
    pub is_done: bool,
    /// The server process that runs it, if that is still there, as far as is known.
    pub running: Option<i64>,
}

/// The steps of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps(pub Vec<Step>);

impl Steps {
    /// Returns how many statements of a part are done.
    pub fn done(&self, part: Part) -> usize {
        self.0.iter().filter(|step| step.part == part.word() && step.is_done).count()
    }

    /// Whether a statement of a part was begun.
    pub fn began(&self, part: Part) -> bool {
        self.0.iter().any(|step| step.part == part.word())
    }

    /// Returns the statement of a part with this number, if it was begun.
    pub fn of(&self, part: Part, no: usize) -> Option<&Step> {
        let no = i64::try_from(no).ok()?;
        self.0.iter().find(|step| step.part == part.word() && step.no == no)
    }
}

const READ: &str = "\
SELECT s.part, s.no::int8 AS no, s.sql, s.done_at IS NOT NULL AS is_done,
       (SELECT a.pid::int8 FROM pg_catalog.pg_stat_activity a WHERE s.done_at IS NULL AND a.pid = s.backend
        AND (a.backend_start IS NULL OR a.backend_start::text = s.backend_start)) AS running
FROM piecemeal.step s WHERE s.run_id = $1 ORDER BY s.began_at, s.no";

/// Returns the steps of a run.
pub(crate) async fn read(session: &mut Session, run: i64) -> Result<Steps, Fault> {
    let rows = session.transact(&Guards::reading(), READ, &[run.into()]).await?;
    let step = |row: &tokio_postgres::Row| Step {
        part: row.get("part"),
        no: row.get("no"),
        sql: row.get("sql"),
        is_done: row.get("is_done"),
        running: row.get("running"),
    };
    Ok(Steps(rows.iter().map(step).collect()))
}

const END_IDLE: &str = "\
SELECT pg_catalog.pg_terminate_backend(a.pid) FROM piecemeal.step s
JOIN pg_catalog.pg_stat_activity a ON a.pid = s.backend AND a.backend_start::text = s.backend_start
WHERE s.run_id = $1 AND s.done_at IS NULL AND a.state = 'idle'";

/// Ends server processes that run nothing for whoever began a step: they could still be told to. That is for the
/// holder of the lease, which tells them nothing.
pub(crate) async fn end_idle(session: &mut Session, run: i64) -> Result<(), Fault> {
    session.transact(&Guards::reading(), END_IDLE, &[run.into()]).await.map(drop)
}

/// Which statement of which run, and who runs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The run, and the token of its lease.
    pub lease: (i64, &'a str),
    /// The part.
    pub part: Part,
    /// Which of its part it is, from 1.
    pub no: i64,
    /// The statement.
    pub sql: &'a str,
    /// Who runs it.
    pub actor: &'a Actor,
}

/// Without the lease there is no run to name, and the row is refused: then nothing of the transaction stands.
macro_rules! ours {
    () => {
        "(SELECT id FROM piecemeal.run WHERE id = $1 AND lease_token = $2)"
    };
}

/// The journal's line, in the same statement.
macro_rules! noted {
    () => {
        "noted AS (
    INSERT INTO piecemeal.journal (run_id, who, what, detail)
    SELECT id, $6 || ' as ' || session_user, 'statement', $7 FROM piecemeal.run WHERE id = $1
)"
    };
}

/// Records a statement as done: the first thing in its transaction. Parameters are those of [`Place::params`].
pub(crate) const RECORD: &str = concat!(
    "WITH ",
    noted!(),
    " INSERT INTO piecemeal.step (run_id, part, no, sql, done_at, note)
VALUES (",
    ours!(),
    ", $3, $4::int8::int4, $5, clock_timestamp(), $8)"
);

/// The values of a record.
pub(crate) struct Record<'a> {
    place: Place<'a>,
    detail: serde_json::Value,
    note: Option<&'a str>,
}

impl<'a> Place<'a> {
    /// Returns what is recorded of it, with a note if there is something to say.
    pub(crate) fn record(self, note: Option<&'a str>) -> Record<'a> {
        let mut detail = json!({ "part": self.part.word(), "no": self.no, "sql": self.sql });
        if let Some(note) = note {
            detail["note"] = note.into();
        }
        Record { place: self, detail, note }
    }
}

impl Record<'_> {
    /// Returns the parameters of [`RECORD`].
    pub(crate) fn params(&self) -> [crate::pg::Param<'_>; 8] {
        let Place { lease: (run, token), part, no, sql, actor } = self.place;
        let note = self.note.into();
        let detail = (&self.detail).into();
        [
            run.into(),
            token.into(),
            part.word().into(),
            no.into(),
            sql.into(),
            actor.0.as_str().into(),
            detail,
            note,
        ]
    }
}

/// Records a statement as done, by itself: it was found to be, or there is nothing for it to do.
pub(crate) async fn record(session: &mut Session, record: &Record<'_>) -> Result<(), Fault> {
    session.transact(&Guards::ledger(), RECORD, &record.params()).await.map(drop)
}

const BEGIN: &str = concat!(
    "INSERT INTO piecemeal.step (run_id, part, no, sql, backend, backend_start)
SELECT ",
    ours!(),
    ", $3, $4::int8::int4, $5, $6::int8::int4, (SELECT backend_start::text FROM pg_catalog.pg_stat_activity WHERE pid = $6::int8::int4)
ON CONFLICT (run_id, part, no) DO UPDATE SET backend = excluded.backend, backend_start = excluded.backend_start"
);

/// Notes that a server process is going to run a statement outside a transaction.
pub(crate) async fn begin(
    session: &mut Session,
    place: Place<'_>,
    backend: i64,
) -> Result<(), Fault> {
    let Place { lease: (run, token), part, no, sql, .. } = place;
    let params =
        [run.into(), token.into(), part.word().into(), no.into(), sql.into(), backend.into()];
    session.transact(&Guards::ledger(), BEGIN, &params).await.map(drop)
}

const FINISH: &str = concat!(
    "WITH moved AS (
    UPDATE piecemeal.step SET done_at = clock_timestamp(), note = $8
    WHERE run_id = ",
    ours!(),
    " AND part = $3 AND no = $4 AND sql = $5 AND done_at IS NULL RETURNING run_id
)
INSERT INTO piecemeal.journal (run_id, who, what, detail)
SELECT run_id, $6 || ' as ' || session_user, 'statement', $7 FROM moved"
);

/// Notes that a statement that was begun is done.
pub(crate) async fn finish(session: &mut Session, record: &Record<'_>) -> Result<(), Fault> {
    session.transact(&Guards::ledger(), FINISH, &record.params()).await.map(drop)
}
