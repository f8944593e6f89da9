//! One connection, and the only place where a transaction begins and ends.
//!
//! A transaction is one statement between `BEGIN` with its guards and `COMMIT`, sent in one go: one
//! network round trip, and no moment at which it waits for us. Every write that the rest of the
//! crate makes is therefore a single statement, whole or not at all. Statements are sent unnamed
//! with their parameter types, so a transaction pooler needs to remember nothing (R19, R20); where
//! there is none, those of a walk are kept prepared.
//! A session is clean only between statements; one that is dropped in the middle is closed (R21).

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::Value;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CancelToken, Client, Row};

use super::fault::Fault;
use super::guards::{Begin, Guards};
use super::kept::Kept;
use super::pool::Pooled;

/// A value bound to a statement.
#[derive(Debug)]
pub enum Param<'a> {
    /// An `int8`.
    Int(i64),
    /// An `int8` that may be unknown.
    MaybeInt(Option<i64>),
    /// A `float8`.
    Float(f64),
    /// A `float8` that may be unknown.
    MaybeFloat(Option<f64>),
    /// A `text`, or NULL.
    Text(Option<&'a str>),
    /// A `text[]`, or NULL: a key, column by column.
    Texts(Option<&'a [String]>),
    /// A `jsonb`, or NULL.
    Json(Option<&'a Value>),
    /// A `bool`.
    Bool(bool),
}

impl Param<'_> {
    fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Param::Int(value) => (value, Type::INT8),
            Param::MaybeInt(value) => (value, Type::INT8),
            Param::Float(value) => (value, Type::FLOAT8),
            Param::MaybeFloat(value) => (value, Type::FLOAT8),
            Param::Text(value) => (value, Type::TEXT),
            Param::Texts(value) => (value, Type::TEXT_ARRAY),
            Param::Json(value) => (value, Type::JSONB),
            Param::Bool(value) => (value, Type::BOOL),
        }
    }
}

impl From<i64> for Param<'_> {
    fn from(value: i64) -> Self {
        Param::Int(value)
    }
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(value: &'a str) -> Self {
        Param::Text(Some(value))
    }
}

impl<'a> From<Option<&'a str>> for Param<'a> {
    fn from(value: Option<&'a str>) -> Self {
        Param::Text(value)
    }
}

impl<'a> From<&'a Value> for Param<'a> {
    fn from(value: &'a Value) -> Self {
        Param::Json(Some(value))
    }
}

/// A connection that is ours until it is dropped; it then goes back to its pool if it is idle.
pub struct Session {
    /// `None` only while being dropped.
    client: Option<Pooled>,
    /// How long an answer may be overdue before the connection counts as dead.
    patience: Option<Duration>,
    /// Whether the server waits for our next command, outside any transaction.
    idle: bool,
}

impl Session {
    pub(super) fn new(client: Pooled, patience: Option<Duration>) -> Session {
        Session { client: Some(client), patience, idle: true }
    }

    /// Runs one statement in a transaction of its own under `guards` and commits it.
    ///
    /// Nothing is written unless this returns `Ok`, or fails with [`Fault::Unknown`]: then the
    /// connection broke and only the database knows.
    pub async fn transact(
        &mut self,
        guards: &Guards,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Fault> {
        self.transact_prepared(&guards.begin(), sql, params).await
    }

    /// The same with what [`Guards::begin`] returns made beforehand.
    pub async fn transact_prepared(
        &mut self,
        begin: &Begin,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Fault> {
        let mut answers = self.transact_all(&[Act { begin, sql, params }]).await?;
        match answers.pop() {
            Some((result, _)) => result,
            None => Err(closed()),
        }
    }

    /// Runs two transactions, sent together; see [`transact_all`](Session::transact_all). Returns the
    /// answer to the first with the time after which it came, and that to the second.
    pub async fn transact_both(
        &mut self,
        first: &Act<'_>,
        second: &Act<'_>,
    ) -> Result<(Vec<Row>, Duration, Result<Vec<Row>, Fault>), Fault> {
        let mut answers = self.transact_all(&[*first, *second]).await?.into_iter();
        let (Some((one, took)), Some((two, _))) = (answers.next(), answers.next()) else {
            return Err(closed());
        };
        one.map(|rows| (rows, took, two))
    }

    /// Runs transactions one after the other that are sent together: when the answer to one is here, the
    /// next is under way, and the network is waited for once. Each goes its own way, whatever came of
    /// those before it. Returns the answers, and the time after which each came.
    ///
    /// Where a pooler may stand in front of the server, one is sent when the one before it is answered: if
    /// we died between two answers, PgBouncer would give the connection to somebody else, who would
    /// read the next one as his own.
    pub(crate) async fn transact_all(&mut self, acts: &[Act<'_>]) -> Result<Vec<Answered>, Fault> {
        let Some(client) = &self.client else { return Err(closed()) };
        self.idle = false;
        let all = async {
            let keeper = client.keeper();
            let mut kept = Vec::with_capacity(acts.len());
            for act in acts {
                kept.push(keeper.find(client, act).await?);
            }
            let started = Instant::now();
            let sent = acts.iter().zip(&kept).map(|(act, kept)| async move {
                (send(client, act, kept.as_ref()).await, started.elapsed())
            });
            if keeper.is_direct() {
                // So few are polled in this order, and so they are sent in it.
                return Ok(join_all(sent).await);
            }
            let mut answers = Vec::with_capacity(acts.len());
            for one in sent {
                answers.push(one.await);
            }
            Ok::<_, Fault>(answers)
        };
        let longest = acts.iter().map(|act| act.begin.longest()).sum();
        let answers = self.watched(longest, client, all).await?;
        let is_spoilt =
            |(result, _): &Answered| result.as_ref().is_err_and(Fault::spoils_connection);
        self.idle = !answers.iter().any(is_spoilt) && !client.is_closed();
        Ok(answers)
    }

    /// Runs several statements in one transaction that is always rolled back, and returns the rows
    /// of each: what would happen, without it happening.
    ///
    /// Unlike in [`transact`](Session::transact), nothing is sent before BEGIN has succeeded:
    /// outside a transaction, the statements would stand. Then they are sent together with
    /// ROLLBACK, so that no lock is held while the network is waited for.
    pub async fn rehearse(
        &mut self,
        begin: &Begin,
        statements: &[(&str, &[Param<'_>])],
    ) -> Result<Vec<Vec<Row>>, Fault> {
        let Some(client) = &self.client else { return Err(closed()) };
        let typed: Vec<(&str, Vec<_>)> = statements
            .iter()
            .map(|(sql, params)| (*sql, params.iter().map(Param::typed).collect()))
            .collect();
        self.idle = false;
        let rehearsed = async {
            let begun = client.batch_execute(&client.begin(begin)).await;
            let asked = if begun.is_ok() { typed.as_slice() } else { &[] };
            let (answers, ended) = tokio::join!(
                biased;
                join_all(asked.iter().map(|(sql, params)| client.query_typed(sql, params))),
                client.batch_execute("ROLLBACK"),
            );
            (begun, answers, ended)
        };
        let count = u32::try_from(statements.len()).unwrap_or(u32::MAX);
        let longest = begin.longest().saturating_mul(count);
        let (begun, answers, ended) = self.watched(longest, client, rehearsed).await;
        let answers: Result<Vec<_>, _> = answers.into_iter().collect();
        let answers = answers.and_then(|answers| ended.map(|()| answers)).map_err(Fault::from);
        let result = begun.map_err(not_begun).and(answers);
        self.idle = !result.as_ref().is_err_and(Fault::spoils_connection) && !client.is_closed();
        result
    }

    /// Runs several statements that take no parameters, in one transaction.
    pub async fn script(&mut self, guards: &Guards, sql: &str) -> Result<(), Fault> {
        let Some(client) = &self.client else { return Err(closed()) };
        self.idle = false;
        let done = match client.batch_execute(&client.begin(&guards.begin())).await {
            Ok(()) => client.batch_execute(sql).await.map_err(Fault::from),
            Err(error) => Err(not_begun(error)),
        };
        let ended = client.batch_execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" }).await;
        let result = done.and(ended.map_err(Fault::from));
        self.idle = !result.as_ref().is_err_and(Fault::spoils_connection) && !client.is_closed();
        result
    }

    /// Waits for `act`, which the server answers within `longest` if it can. When the answer is
    /// overdue, the connection is closed.
    async fn watched<T>(
        &self,
        longest: Duration,
        client: &Pooled,
        act: impl Future<Output = T>,
    ) -> T {
        within(self.patience.map(|patience| longest + patience), || client.close(), act).await
    }

    /// Whether it is known that nobody stands in front of the server, so that transactions can be sent
    /// together.
    pub(crate) fn is_direct(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.keeper().is_direct())
    }

    /// Returns what ends the statement that is running on this connection, from another one.
    pub fn cancel_token(&self) -> Option<CancelToken> {
        self.client.as_ref().map(|client| client.cancel_token())
    }
}

/// Waits for `act`, and closes its connection when the answer is overdue: `act` then learns that it is
/// broken, and is not dropped.
///
/// A network or a pooler that swallows what is sent shows in no other way, as long as somebody
/// on the way acknowledges it.
pub(super) async fn within<T>(
    limit: Option<Duration>,
    close: impl FnOnce(),
    act: impl Future<Output = T>,
) -> T {
    let Some(limit) = limit else { return act.await };
    let mut act = Box::pin(act);
    tokio::select! {
        biased;
        answer = &mut act => return answer,
        () = tokio::time::sleep(limit) => close(),
    }
    act.await
}

/// What came of one of several transactions, and after which time that was known.
pub(crate) type Answered = (Result<Vec<Row>, Fault>, Duration);

/// One statement in a transaction of its own.
#[derive(Debug, Clone, Copy)]
pub struct Act<'a> {
    /// What [`Guards::begin`] returns.
    pub begin: &'a Begin,
    /// The statement.
    pub sql: &'a str,
    /// What is bound to it.
    pub params: &'a [Param<'a>],
}

async fn send(client: &Pooled, act: &Act<'_>, kept: Option<&Kept>) -> Result<Vec<Row>, Fault> {
    let typed: Vec<_> = act.params.iter().map(Param::typed).collect();
    let mut begin = client.begin(act.begin);
    if let Some(kept) = kept {
        begin = kept.begin(&begin).into();
    }
    // Biased, because the three messages must reach the server in this order. Should BEGIN be
    // refused, the statement stands by itself, whole, and COMMIT finds nothing to do; one that changes
    // rows then changes none (`GUARDED`).
    let (begun, answered, ended) = tokio::join!(
        biased;
        client.batch_execute(&begin),
        ask(client, act.sql, &typed, kept),
        client.batch_execute("COMMIT"),
    );
    let fault = |error| Fault::from(&error);
    let result = match (begun, answered, ended) {
        (Err(first), _, _) if kept.is_some() => Err(client.keeper().not_begun(not_begun(first))),
        (Err(first), _, _) => Err(not_begun(first)),
        (Ok(()), Err(second), _) => Err(fault(second)),
        (Ok(()), Ok(_), Err(last)) => Err(fault(last)),
        (Ok(()), Ok(rows), Ok(())) => Ok(rows),
    };
    if result.is_err() && kept.is_some() {
        client.keeper().forget(act.sql);
    }
    result
}

/// What was prepared last, under guards that pin the form of times.
const LAST: &str = "\
SELECT pg_catalog.format('pg_catalog.pg_backend_pid() = %s AND name = %L AND prepare_time = %L',
                         pg_catalog.pg_backend_pid(), name, prepare_time)
FROM pg_catalog.pg_prepared_statements WHERE NOT from_sql ORDER BY prepare_time DESC LIMIT 1";

/// Prepares the statement of `act`, under the guards that it will run under.
pub(super) async fn prepare(client: &Pooled, act: &Act<'_>) -> Result<Option<Kept>, Fault> {
    let types: Vec<Type> = act.params.iter().map(|param| param.typed().1).collect();
    let begin = client.begin(act.begin);
    let (begun, statement, last, ended) = tokio::join!(
        biased;
        client.batch_execute(&begin),
        client.prepare_typed(act.sql, &types),
        client.query_typed(LAST, &[]),
        client.batch_execute("COMMIT"),
    );
    begun.map_err(not_begun)?;
    let (statement, last) = (statement?, last?);
    ended?;
    Ok(last.first().map(|row| Kept { statement, is_it: row.get(0) }))
}

async fn ask(
    client: &Client,
    sql: &str,
    typed: &[(&(dyn ToSql + Sync), Type)],
    kept: Option<&Kept>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let Some(kept) = kept else { return client.query_typed(sql, typed).await };
    let values: Vec<_> = typed.iter().map(|(value, _)| *value).collect();
    client.query(&kept.statement, &values).await
}

/// What came of statements that were run together with one of ours.
pub(crate) struct Together {
    /// What came of ours, which went first.
    pub(crate) recorded: Result<(), Fault>,
    /// What came of the others, and of COMMIT. Nothing of all stands unless both are `Ok`, or this is
    /// [`Fault::Unknown`].
    pub(crate) done: Result<(), Fault>,
}

const BEGUN: &str =
    "SELECT pg_catalog.pg_backend_pid()::int8, pg_catalog.transaction_timestamp()::text";

/// Begins a transaction, and returns the server process that it is on, and since when it is: behind a pooler, both are known
/// only from here.
pub(super) async fn begin(client: &Client, begin: &str) -> Result<(i64, String), Fault> {
    let (begun, row) = tokio::join!(
        biased;
        client.batch_execute(begin),
        client.query_typed_one(BEGUN, &[]),
    );
    begun.map_err(not_begun)?;
    let row = row?;
    Ok((row.get(0), row.get(1)))
}

/// Runs `statements` in the transaction that has begun, with one of ours, which goes first, and commits it. Nothing is sent
/// before BEGIN has succeeded: outside a transaction, they would stand alone. The rest goes together, so that no lock is
/// held while the network is waited for.
pub(super) async fn together(
    client: &Client,
    (sql, params): (&str, &[Param<'_>]),
    statements: &[&str],
) -> Together {
    let typed: Vec<_> = params.iter().map(Param::typed).collect();
    let (recorded, answered, ended) = tokio::join!(
        biased;
        client.query_typed(sql, &typed),
        join_all(statements.iter().map(|statement| client.batch_execute(statement))),
        client.batch_execute("COMMIT"),
    );
    // The first that failed says why; those behind it were not run.
    let answered: Result<(), _> = answered.into_iter().collect();
    Together {
        recorded: recorded.map(drop).map_err(Fault::from),
        done: answered.and(ended).map_err(Fault::from),
    }
}

fn not_begun(error: tokio_postgres::Error) -> Fault {
    Fault::from(error).of_begin()
}

fn closed() -> Fault {
    Fault::Unknown(super::message::DbMessage::local("the connection is closed"))
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.idle {
            return;
        }
        if let Some(client) = self.client.take() {
            client.discard();
        }
    }
}
