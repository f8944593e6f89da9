//! One statement in one transaction with its row of the ledger, and who stands in its way.

use std::fmt;
use std::time::Duration;

use crate::ledger::steps::{RECORD, Record};
use crate::pg::fault::is_duplicate;
use crate::pg::{Alone, Begin, Fault, Guards, Param, Session, Together};

/// How long a statement may wait for its lock, and others behind it. Every session that wants the table queues behind
/// the one that waits to change it, so this is the longest that the application notices.
const LOCK_TIMEOUT: Duration = Duration::from_millis(200);

/// How long it may wait for one table after the other, such as the partitions of one: it keeps those that it has.
pub(crate) const LOCKS_TIMEOUT: Duration = Duration::from_millis(400);

/// How long a statement may take once it has its lock. Rewriting a large table takes hours, and is the author's choice.
const STATEMENT_TIMEOUT: Duration = Duration::from_hours(24);

/// How much of a blocker's statement is shown.
const SHOWN: usize = 80;

/// In which schemas the names of the statements are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    /// Those of the session, as role and database set them.
    Own,
    /// These, quoted.
    Schemas(Vec<String>),
}

impl Path {
    /// Returns how a transaction for a statement begins.
    pub(crate) fn begin(&self) -> Begin {
        let guards = Guards {
            lock_timeout: LOCK_TIMEOUT,
            statement_timeout: STATEMENT_TIMEOUT,
            ..Guards::ledger()
        };
        self.within(&guards)
    }

    /// Returns how a transaction begins that only reads by these names.
    pub(crate) fn begin_read(&self) -> Begin {
        self.within(&Guards::reading())
    }

    fn within(&self, guards: &Guards) -> Begin {
        match self {
            Path::Own => guards.begin() + "; SET LOCAL search_path TO DEFAULT",
            Path::Schemas(schemas) => {
                Guards { search_path: schemas.clone(), ..guards.clone() }.begin()
            }
        }
    }

    /// Returns what sets it for a session of one's own.
    pub(super) fn set(&self) -> String {
        match self {
            Path::Own => "RESET search_path".to_owned(),
            Path::Schemas(schemas) => format!("SET search_path = {}, pg_temp", schemas.join(", ")),
        }
    }
}

/// What came of trying a statement once.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// It is done, and recorded.
    Done,
    /// Another process has done it.
    Elsewhere,
    /// Nothing was recorded, so nothing was done; what stood against it.
    Unrecorded(Fault),
    /// The statement failed.
    Failed(Fault),
}

/// Tries a statement once, with what belongs around it, in the transaction that has begun.
pub(crate) async fn attempt(alone: &Alone, record: &Record<'_>, statements: &[&str]) -> Attempt {
    match alone.together((RECORD, &record.params()), statements).await {
        Together { recorded: Ok(()), done: Ok(()) } => Attempt::Done,
        Together { recorded: Ok(()), done: Err(fault) } => Attempt::Failed(fault),
        Together { recorded: Err(fault), .. } if is_duplicate(fault.message()) => {
            Attempt::Elsewhere
        }
        Together { recorded: Err(fault), .. } => Attempt::Unrecorded(fault),
    }
}

/// A session that holds what a statement waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blocker {
    /// The table or index that is waited for, if it is one as a whole.
    relation: Option<String>,
    /// Its pid; 0 for a prepared transaction.
    pid: i64,
    /// Role and program.
    who: String,
    /// For how long its transaction has been going on, in seconds.
    seconds: Option<i64>,
    /// The first words of its statement.
    query: Option<String>,
    /// How many others block it, too.
    others: i64,
}

impl Blocker {
    /// Whether others queue behind who waits for it.
    pub(crate) fn is_queued_for(&self) -> bool {
        self.relation.is_some()
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(relation) = &self.relation {
            write!(f, "{relation} is in use by ")?;
        }
        if self.pid == 0 {
            f.write_str("a prepared transaction")?;
        } else {
            write!(f, "pid {} ({})", self.pid, self.who)?;
        }
        if let Some(seconds) = self.seconds {
            write!(f, ", in its transaction for {seconds} s")?;
        }
        if let Some(query) = &self.query {
            let first: String = query.chars().take(SHOWN).collect();
            let more = if query.chars().nth(SHOWN).is_some() { "…" } else { "" };
            write!(f, ": {first}{more}")?;
        }
        if self.others > 0 {
            write!(f, "; and by {} more", self.others)?;
        }
        Ok(())
    }
}

/// Role and program of a session.
macro_rules! who {
    () => {
        "concat_ws(', ', coalesce(a.usename, a.backend_type), nullif(a.application_name, '')) AS who"
    };
}

// The oldest transaction first: the others may be behind it in the queue.
const BLOCKED_BY: &str = concat!(
    "SELECT b.pid::int8 AS pid, ",
    who!(),
    ",
       extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::int8 AS seconds,
       pg_catalog.regexp_replace(nullif(a.query, ''), '\\s+', ' ', 'g') AS query, pg_catalog.count(*) OVER () - 1 AS others,
       (SELECT l.relation::regclass::text FROM pg_catalog.pg_locks l
        WHERE l.pid = $1::int8::int4 AND NOT l.granted AND l.locktype = 'relation' LIMIT 1) AS relation
FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1::int8::int4)) b (pid)
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid
ORDER BY a.xact_start NULLS LAST LIMIT 1"
);

/// Returns who holds what a server process waits for; `None` while it does not wait.
pub(crate) async fn blocked_by(
    session: &mut Session,
    backend: i64,
) -> Result<Option<Blocker>, Fault> {
    let rows = session.transact(&Guards::reading(), BLOCKED_BY, &[backend.into()]).await?;
    Ok(rows.first().map(|row| Blocker {
        relation: row.get("relation"),
        pid: row.get("pid"),
        who: row.get("who"),
        seconds: row.get("seconds"),
        query: row.get("query"),
        others: row.get("others"),
    }))
}

/// A session that waits for a table that a statement of ours has locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiter {
    relation: String,
    pid: i64,
    who: String,
}

impl fmt::Display for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({}), which waits for {}", self.pid, self.who, self.relation)
    }
}

const WAITED_FOR_BY: &str = concat!(
    "SELECT l.relation::regclass::text AS relation, l.pid::int8 AS pid, ",
    who!(),
    "
FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND l.locktype = 'relation'
  AND ($2 OR l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))
  AND $1::int8::int4 = ANY (pg_catalog.pg_blocking_pids(l.pid)) LIMIT 1"
);

/// Who counts of those that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiters {
    /// All of them.
    All,
    /// Those whom readers or writers wait behind; another VACUUM or VALIDATE is none.
    InTheWay,
}

/// Returns one of those who wait for a table that a server process has locked.
pub(crate) async fn waited_for_by(
    session: &mut Session,
    backend: i64,
    who: Waiters,
) -> Result<Option<Waiter>, Fault> {
    let params = [backend.into(), Param::Bool(who == Waiters::All)];
    let rows = session.transact(&Guards::reading(), WAITED_FOR_BY, &params).await?;
    let waiter = |row: &tokio_postgres::Row| Waiter {
        relation: row.get("relation"),
        pid: row.get("pid"),
        who: row.get("who"),
    };
    Ok(rows.first().map(waiter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocker_is_named_with_the_first_words_of_its_statement() {
        let blocker = Blocker {
            relation: Some("public.posts".into()),
            pid: 4711,
            who: "app, psql".into(),
            seconds: Some(12),
            query: Some("SELECT ".to_owned() + &"x".repeat(100)),
            others: 2,
        };
        let text = blocker.to_string();
        assert!(text.starts_with(
            "public.posts is in use by pid 4711 (app, psql), in its transaction for 12 s: SELECT x"
        ));
        assert!(text.ends_with("x…; and by 2 more") && text.len() < 190, "{text}");
    }

    #[test]
    fn names_are_looked_up_where_the_job_says_or_where_the_session_does() {
        let path = Path::Schemas(vec!["\"App\"".into()]);
        assert!(path.begin().sql().contains("SET LOCAL search_path = \"App\", pg_temp;"));
        assert!(path.begin().sql().contains("SET LOCAL lock_timeout = 200;"));
        for begin in [Path::Own.begin(), Path::Own.begin_read()] {
            assert!(begin.sql().ends_with("; SET LOCAL search_path TO DEFAULT"), "{begin:?}");
            assert!(!begin.sql().contains(";;") && !begin.sql().contains("; ;"), "{begin:?}");
        }
    }
}
