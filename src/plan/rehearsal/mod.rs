//! A few batches, done for real and rolled back: what a row costs, measured instead of guessed.
//!
//! Each batch is a transaction of its own under the guards of a batch, so nobody waits longer on it
//! than `give_way`. It changes no row that anybody can see. It is not without a trace: row locks are
//! held for its time, WAL is written, the new versions of its rows stay behind as dead ones, and
//! what a rollback does not take back (a sequence, a function that reaches outside) is not taken
//! back. A time limit or a bad row is a result here, and no error.
//!
//! Not here: any conclusion for the whole table; that is `forecast`.

mod looked;
mod measured;
mod sample;
mod sums;
mod words;

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::Row;

pub use looked::Looked;
pub(crate) use looked::{READS_PER_WRITE, WINDOW};
pub use measured::{Fired, Measured};

use super::counters::counted;
use super::found::first_key;
use super::prepare::Plan;
use crate::error::Error;
use crate::pg::fault::is_timeout;
use crate::pg::{Database, DbMessage, Fault, Lane, Param, Session};
use crate::walk::Key;

/// Batches, across the key space: enough to see whether it is alike everywhere, few enough to be
/// over in a second.
const BATCHES: u32 = 3;

/// The most keys of one; more would only wait longer for the same average.
const KEYS: u32 = 1_000;

/// The bytes of a block, as nearly every server has them.
const BLOCK: u64 = 8_192;

/// By how much a batch that met a time limit is made smaller for its second try.
const SMALLER: u32 = 10;

/// What came of all batches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rehearsal {
    /// The batches, in the order of the key; none if the table is empty.
    pub batches: Vec<Rehearsed>,
    /// What was looked at as the verification will.
    pub looked: Looked,
}

/// One batch that was rolled back.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsed {
    /// The key before its first; `None` if it began with the key space.
    pub after: Option<Key>,
    /// The keys that it was to cover.
    pub rows: u32,
    /// How long locks were held, as seen from here, all tries together.
    pub held: Duration,
    /// How long it took to find its last key, as seen from here.
    pub found: Duration,
    /// 1, or 2 if it was tried again with fewer rows.
    pub tries: u32,
    /// What came of it.
    pub came_to: CameTo,
}

/// What came of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum CameTo {
    /// It was done and measured.
    Measured(Measured),
    /// It met a time limit, and a tenth of it did, too; what the server said.
    OutOfTime(String),
    /// The server refused a row, or the whole statement.
    Refused {
        /// Whether a row was the reason.
        is_row: bool,
        /// What the server said, with its SQLSTATE.
        why: String,
    },
}

/// What came of one try.
enum Tried {
    Done(CameTo),
    TooSlow(DbMessage),
}

impl Plan {
    /// Does a few batches across the key space, and rolls each of them back.
    ///
    /// # Errors
    /// When the database could not be asked. What the server refused is in the result.
    pub async fn rehearse(&self, database: &Database) -> Result<Rehearsal, Error> {
        let rehearsal = async {
            let mut session = database.session(Lane::Work).await?;
            self.rehearse_in(&mut session).await
        };
        rehearsal.await.map_err(|fault| {
            Error::of_fault(format!("`{}` could not be rehearsed", self.job.name), &fault)
        })
    }

    async fn rehearse_in(&self, session: &mut Session) -> Result<Rehearsal, Fault> {
        let Some(last) = &self.upto else { return Ok(Rehearsal::default()) };
        let rows = self.rehearsed_rows();
        let mut starts: Vec<Option<Key>> = self.starts(session).await?;
        if starts.len() < BATCHES as usize {
            starts = vec![None];
        }
        let mut batches = Vec::new();
        for after in starts {
            batches.push(self.rehearse_after(session, after, rows, last).await?);
        }
        Ok(Rehearsal { batches, looked: self.look_at_some(session).await? })
    }

    /// Where to rehearse, in the order of the walk; nothing if that is not known.
    async fn starts(&self, session: &mut Session) -> Result<Vec<Option<Key>>, Fault> {
        let blocks = self.heap_bytes / BLOCK;
        if self.statements.physical.is_some() {
            return Ok(sample::places(blocks, BATCHES).into_iter().map(Some).collect());
        }
        self.sampled(session, blocks, BATCHES).await
    }

    /// Keys at the middles of so many parts of the table, in the order of the key.
    async fn sampled(
        &self,
        session: &mut Session,
        blocks: u64,
        parts: u32,
    ) -> Result<Vec<Option<Key>>, Fault> {
        let keys = sample::positions(session, self, blocks, parts).await?;
        Ok(keys.into_iter().map(Some).collect())
    }

    /// The keys of a batch: as many as the walk begins with, and less of a small table.
    fn rehearsed_rows(&self) -> u32 {
        let first = self.sizer().rows();
        let share = self.estimate.map_or(u64::MAX, |rows| rows / u64::from(BATCHES));
        first.min(KEYS).min(u32::try_from(share).unwrap_or(u32::MAX)).max(1)
    }

    async fn rehearse_after(
        &self,
        session: &mut Session,
        after: Option<Key>,
        rows: u32,
        last: &Key,
    ) -> Result<Rehearsed, Fault> {
        let (mut held, mut found) = (Duration::ZERO, Duration::ZERO);
        let mut slow = None;
        for (tries, rows) in (1..).zip([rows, rows.div_ceil(SMALLER)]) {
            let asked = Instant::now();
            let upto = self.nth_after(session, after.as_ref(), rows, last).await?;
            let started = Instant::now();
            found = started - asked;
            let tried = self.try_stretch(session, after.as_ref(), &upto).await?;
            held += started.elapsed();
            match tried {
                Tried::Done(came_to) => {
                    let came_to =
                        self.with_old_size(session, after.as_ref(), &upto, came_to).await?;
                    return Ok(Rehearsed { after, rows, held, found, tries, came_to });
                }
                Tried::TooSlow(message) => slow = Some(message),
            }
        }
        let why = slow.as_ref().map(in_time_words).unwrap_or_default();
        let rows = rows.div_ceil(SMALLER);
        Ok(Rehearsed { after, rows, held, found, tries: 2, came_to: CameTo::OutOfTime(why) })
    }

    async fn nth_after(
        &self,
        session: &mut Session,
        after: Option<&Key>,
        rows: u32,
        last: &Key,
    ) -> Result<Key, Fault> {
        let mut params = vec![Param::Int(i64::from(rows) - 1), texts(last)];
        params.extend(after.map(texts));
        let route = self.statements.of_walk();
        let sql = route.boundary.of_stretch(after.is_some());
        let found = session.transact_prepared(&route.begin_rare_read, sql, &params).await?;
        Ok(first_key(&found)?.unwrap_or_else(|| last.clone()))
    }

    /// Does one stretch, looks at what was done, and rolls it back.
    async fn try_stretch(
        &self,
        session: &mut Session,
        after: Option<&Key>,
        upto: &Key,
    ) -> Result<Tried, Fault> {
        let (has_lower, mut params) = (after.is_some(), vec![texts(upto)]);
        params.extend(after.map(texts));
        let route = self.statements.of_walk();
        let work = route.rehearsal.of_stretch(has_lower);
        let explain = format!("EXPLAIN (ANALYZE, WAL, BUFFERS, FORMAT JSON) {work}");
        let (counted, looked) = (self.counted(), self.looked(has_lower));
        let statements: [(&str, &[Param<'_>]); 5] = [
            (&counted, &[]),
            (&explain, &params),
            (&counted, &[]),
            (&self.statements.begin_look, &[]),
            (&looked, &params),
        ];
        let answers = match session.rehearse(&route.begin_rehearsal, &statements).await {
            Ok(answers) => answers,
            Err(Fault::Unknown(message)) => return Err(Fault::Unknown(message)),
            Err(Fault::Smaller(message) | Fault::Again(message)) => {
                return Ok(Tried::TooSlow(message));
            }
            Err(fault @ (Fault::BadRow(_) | Fault::Fatal(_))) => {
                let is_row = matches!(fault, Fault::BadRow(_));
                let why = fault.message().to_string();
                return Ok(Tried::Done(CameTo::Refused { is_row, why }));
            }
        };
        let [before, explained, after, _, looked] = &answers[..] else {
            return Err(Fault::Unknown(DbMessage::local("the rehearsal was not answered")));
        };
        let document: Value = explained.first().map_or(Value::Null, |row| row.get(0));
        let mut measured = Measured::of_explain(&document);
        (measured.keys, measured.row_after) =
            looked.first().map_or((0, None), |row| (unsigned(row.get(0)), row.get(1)));
        let (before, after) = (counts(before), counts(after));
        (measured.changed, measured.hot) = match before.zip(after) {
            Some((before, after)) => (after.0 - before.0, Some(after.1 - before.1)),
            None => (measured.matched, None),
        };
        Ok(Tried::Done(CameTo::Measured(measured)))
    }

    /// Adds the size that rows have without the batch. It is read afterwards, so that the batch
    /// finds its blocks where they are, and not in the cache because we looked.
    async fn with_old_size(
        &self,
        session: &mut Session,
        after: Option<&Key>,
        upto: &Key,
        came_to: CameTo,
    ) -> Result<CameTo, Fault> {
        let CameTo::Measured(mut measured) = came_to else { return Ok(came_to) };
        let mut params = vec![texts(upto)];
        params.extend(after.map(texts));
        let sql = self.looked(after.is_some());
        let begin = &self.statements.of_walk().begin_rare_read;
        match session.transact_prepared(begin, &sql, &params).await {
            Ok(rows) => measured.row_before = rows.first().and_then(|row| row.get(1)),
            Err(Fault::Unknown(message)) => return Err(Fault::Unknown(message)),
            // Unknown, then.
            Err(_) => {}
        }
        Ok(CameTo::Measured(measured))
    }

    /// Updated rows, and those of them that were HOT, as this session has counted them so far.
    fn counted(&self) -> String {
        let of = |function| counted(&self.target, function);
        format!(
            "SELECT {}, {}, pg_catalog.current_setting('track_counts')::bool",
            of("pg_catalog.pg_stat_get_xact_tuples_updated"),
            of("pg_catalog.pg_stat_get_xact_tuples_hot_updated"),
        )
    }

    /// Keys of a stretch, and the size of its rows.
    fn looked(&self, has_lower: bool) -> String {
        let size = sample::row_bytes(&self.target).unwrap_or_else(|| "NULL::float8".into());
        let stretch = self.statements.of_walk().stretch.of_stretch(has_lower);
        format!("SELECT count(*), {size} FROM {} WHERE {stretch}", self.target.keyset.table)
    }
}

/// Rows updated and HOT so far; nothing where the server does not count.
fn counts(rows: &[Row]) -> Option<(u64, u64)> {
    let row = rows.first().filter(|row| row.get(2))?;
    Some((unsigned(row.get(0)), unsigned(row.get(1))))
}

fn texts(key: &Key) -> Param<'_> {
    Param::Texts(Some(key.values()))
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn in_time_words(message: &DbMessage) -> String {
    let what = if is_timeout(message) {
        "it takes longer than `give_way` allows"
    } else {
        "it meets locks"
    };
    format!("{what}: {message}")
}
