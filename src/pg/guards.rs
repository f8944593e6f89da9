//! The settings under which every transaction of ours runs.
//!
//! They are `SET LOCAL`, so nothing outlives the transaction and a transaction pooler cannot mix
//! them up (R19). They pin what a role, a database or `PGOPTIONS` may have changed: the text form of
//! key values, name resolution, row security, time limits, isolation. Nothing session-scoped here.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Add;
use std::time::Duration;

/// What is pinned for every transaction: output formats that round-trip, no silent filtering by row
/// security, and no surprise from the role's defaults (F77, F78, F93).
const PINNED: &str = "\
SET LOCAL row_security = off; SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; \
SET LOCAL intervalstyle = 'postgres'; SET LOCAL extra_float_digits = 1; \
SET LOCAL bytea_output = 'hex'; SET LOCAL standard_conforming_strings = on; \
SET LOCAL transform_null_equals = off; SET LOCAL client_min_messages = warning; \
SET LOCAL idle_in_transaction_session_timeout = '10s'; ";

/// The walk must follow the key's index whatever the statistics say: a bad estimate would turn a
/// batch into a scan of the whole table (F23). What counts is how many entries of an index are read: one on
/// the first column of the key alone has far more, but lies better, and would seem cheaper by its pages.
const PLANNER: &str = "\
SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on; \
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; \
SET LOCAL enable_incremental_sort = off; SET LOCAL max_parallel_workers_per_gather = 0; \
SET LOCAL cpu_index_tuple_cost = 1; SET LOCAL jit = off; ";

/// The same for the blocks of the table's file. Indexes stay on, for the subqueries of a job; what is
/// asked of the table is written so that none serves it.
const PLANNER_OF_BLOCKS: &str = "\
SET LOCAL enable_tidscan = on; SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on; \
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off; ";

/// The same for whatever index serves a condition of the job.
const PLANNER_OF_INDEXES: &str = "\
SET LOCAL enable_indexscan = on; SET LOCAL enable_indexonlyscan = on; SET LOCAL enable_bitmapscan = on; \
SET LOCAL enable_seqscan = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off; ";

/// For what reads along no index: workers would take the processors of others.
const ALONE: &str = "SET LOCAL max_parallel_workers_per_gather = 0; ";

/// By what a trigger of ours knows that it is the walk that writes: the job's trigger in this setting.
pub(crate) const WALK: &str = "piecemeal.walk";

/// A condition that only holds in a transaction that began under guards, and may write. BEGIN is sent
/// together with the statement; if it alone is cancelled, the statement would stand by itself, without a
/// time limit, and with names that mean whatever the role's `search_path` makes of them.
pub(crate) const GUARDED: &str = "\
pg_catalog.current_setting('piecemeal.guarded', true) OPERATOR(pg_catalog.=) 'on'";

/// What the planner is kept on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Nothing: it chooses as it does for everybody.
    Nothing,
    /// Nothing but one process.
    Alone,
    /// The key's index.
    Index,
    /// Any index of the table.
    Indexes,
    /// The blocks of the table's file, one after the other.
    Blocks,
}

/// The major release of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Release(u32);

impl Release {
    /// Reads it off the server's `server_version`; what says none counts as an old one.
    pub(super) fn of(version: Option<&str>) -> Release {
        let digits = version.and_then(|it| it.split(|it: char| !it.is_ascii_digit()).next());
        Release(digits.and_then(|it| it.parse().ok()).unwrap_or(0))
    }

    /// Returns the time limit, without a limit, that older servers do not know.
    pub(super) fn unlimited(self) -> Option<&'static str> {
        (self.0 >= 17).then_some("transaction_timeout = 0")
    }
}

/// How one kind of transaction begins.
#[derive(Debug, Clone)]
pub struct Guards {
    /// Quoted schema names, in order; `pg_temp` is put last.
    pub search_path: Vec<String>,
    /// The server ends a statement after this time.
    pub statement_timeout: Duration,
    /// The server ends a wait for a lock after this time.
    pub lock_timeout: Duration,
    /// `synchronous_commit` of the transaction; `None` leaves the server's default.
    pub synchronous_commit: Option<&'static str>,
    /// What the planner is kept on.
    pub follow: Follow,
    /// Whether the transaction may write.
    pub read_only: bool,
    /// The name of the job's sync trigger, if it is the walk of a job that has one.
    pub walk: Option<String>,
}

/// The beginning of a transaction.
#[derive(Debug, Clone)]
pub struct Begin {
    sql: String,
    longest: Duration,
    keeps: bool,
}

impl Begin {
    /// Returns its statements.
    #[cfg(test)]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Returns its statements for a server of that release.
    pub(super) fn on(&self, release: Release) -> Cow<'_, str> {
        match release.unlimited() {
            Some(setting) => Cow::from(format!("{}; SET LOCAL {setting}", self.sql)),
            None => Cow::from(&self.sql),
        }
    }

    /// Returns the time after which the server ends a statement of the transaction.
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// The same for statements that are sent again and again: they may be kept prepared if `keeps`.
    #[must_use]
    pub fn keeping(self, keeps: bool) -> Begin {
        Begin { keeps, ..self }
    }

    /// Returns one that the server refuses before a transaction has begun.
    #[cfg(test)]
    pub(crate) fn refused() -> Begin {
        Begin { sql: "SELECT 1 / 0".into(), longest: Duration::from_secs(1), keeps: false }
    }

    /// Whether its statement may be kept prepared.
    pub fn keeps(&self) -> bool {
        self.keeps
    }
}

impl Add<&str> for Begin {
    type Output = Begin;

    /// Adds statements that belong to the beginning of a transaction that is not as the others.
    fn add(mut self, more: &str) -> Begin {
        self.keeps = false;
        self.sql += "; ";
        self.sql += more.trim_start_matches([';', ' ']);
        self
    }
}

impl Guards {
    /// Returns the guards of the ledger's own statements: short, on the server's durable default.
    pub fn ledger() -> Guards {
        Guards {
            search_path: Vec::new(),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            synchronous_commit: Some("on"),
            follow: Follow::Nothing,
            read_only: false,
            walk: None,
        }
    }

    /// Returns the guards of what need not outlive a crash of the server: it is over with whoever wrote
    /// it, and the next durable commit takes it along.
    pub fn passing() -> Guards {
        Guards { synchronous_commit: Some("off"), ..Guards::ledger() }
    }

    /// Returns the guards of a read that changes nothing.
    pub fn reading() -> Guards {
        Guards { read_only: true, synchronous_commit: None, ..Guards::ledger() }
    }

    /// Returns the statements that begin the transaction, to be sent in one message.
    pub fn begin(&self) -> Begin {
        let sql = self.sql().trim_end_matches([';', ' ']).to_owned();
        Begin { sql, longest: self.statement_timeout, keeps: false }
    }

    fn sql(&self) -> String {
        let mode = if self.read_only { "READ ONLY" } else { "READ WRITE" };
        // The role's own time limit runs while these are set, so it goes first.
        let mut sql = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED {mode}; SET LOCAL statement_timeout = 0; {PINNED}"
        );
        let mut path = self.search_path.join(", ");
        if !path.is_empty() {
            path.push_str(", ");
        }
        // Writing to a String cannot fail.
        let _ = write!(
            sql,
            "SET LOCAL search_path = {path}pg_temp; SET LOCAL statement_timeout = {}; \
             SET LOCAL lock_timeout = {}; ",
            millis(self.statement_timeout),
            millis(self.lock_timeout),
        );
        if let Some(mode) = self.synchronous_commit {
            let _ = write!(sql, "SET LOCAL synchronous_commit = {mode}; ");
        }
        if let Some(trigger) = &self.walk {
            let _ = write!(sql, "SET LOCAL {WALK} = '{trigger}'; ");
        }
        sql.push_str(match self.follow {
            Follow::Nothing => "",
            Follow::Alone => ALONE,
            Follow::Index => PLANNER,
            Follow::Indexes => PLANNER_OF_INDEXES,
            Follow::Blocks => PLANNER_OF_BLOCKS,
        });
        if !self.read_only {
            // A deferred constraint fails inside the batch, where it can be bisected (F46).
            sql.push_str("SET LOCAL piecemeal.guarded = 'on'; SET CONSTRAINTS ALL IMMEDIATE");
        }
        sql
    }
}

/// Writes a text as an SQL literal; every session of ours has `standard_conforming_strings` on.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// PostgreSQL reads 0 as "no limit", so a limit is never rounded down to it.
fn millis(limit: Duration) -> u128 {
    limit.as_millis().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temporary_schema_is_always_searched_last() {
        let guards =
            Guards { search_path: vec!["\"App\"".into(), "ext".into()], ..Guards::ledger() };
        assert!(guards.begin().sql().contains("SET LOCAL search_path = \"App\", ext, pg_temp;"));
        assert!(Guards::ledger().begin().sql().contains("SET LOCAL search_path = pg_temp;"));
    }

    #[test]
    fn a_limit_of_transactions_is_lifted_where_the_server_knows_one() {
        let begin = Guards::ledger().begin();
        let lifted = |version| {
            begin.on(Release::of(version)).ends_with("; SET LOCAL transaction_timeout = 0")
        };
        for version in ["17.2 (Debian 17.2-1)", "17devel", "18beta1", "100.1"] {
            assert!(lifted(Some(version)), "{version}");
        }
        for version in [Some("16.9"), Some("9.6.24"), Some(""), None] {
            assert!(!lifted(version), "{version:?}");
        }
    }

    #[test]
    fn a_limit_below_a_millisecond_does_not_become_no_limit() {
        let guards = Guards { lock_timeout: Duration::from_micros(300), ..Guards::ledger() };
        assert!(guards.begin().sql().contains("SET LOCAL lock_timeout = 1;"));
    }
}
