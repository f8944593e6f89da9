//! The statements of a walk, composed once for each plan.
//!
//! The batch is one statement: fence, work, count and books, so that nothing of it can happen
//! without the rest (R1, R2). The work depends on the fence *on the server*: a fence that finds no
//! row leaves a one-time filter that is false, and neither rows nor cursor move. The stretch of keys
//! is repeated in the UPDATE itself, never a list of keys read before (F10). The user's expressions
//! stand in parentheses on lines of their own, so that a comment at their end ends with its line.
//! `where` is wrapped in `IS TRUE`: its value is the same, and the planner cannot leave the key's
//! index for an index on the predicate.

use std::time::Duration;

use super::target::Target;
use crate::job::{Job, Size, SynchronousCommit, Work};
use crate::pg::Guards;
use crate::walk::Keyset;

/// How long the query for the end of a chunk may take. It locks nothing, and reads at most as many
/// index entries as a chunk has keys, so more than this means that something is wrong (F63).
const BOUNDARY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a single row may take that takes longer than `give_way` by itself. Nobody can say what a
/// trigger does with a row; five minutes are more than any that is meant for live traffic.
const LIFTED: Duration = Duration::from_mins(5);

/// The part of `give_way` that the work of a rehearsed batch may take. Its locks are held until its
/// rows were looked at, too, and nobody waits longer for both than for a batch.
const REHEARSED: f64 = 0.8;

/// No plan may read the table once more to find rows whose keys it has.
const ONE_BY_ONE: &str = "; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

/// The seconds that the statement has taken so far, by the server's clock. Sizes follow this and not
/// the time that the answer took to arrive: a slow network would make every batch as small as can
/// be, and none of them faster.
pub(super) const TOOK: &str =
    "extract(epoch FROM clock_timestamp() - statement_timestamp())::float8";

/// The parameters of a batch: the stripe, of how many, and the lower end.
const STRIPE: usize = 12;
const STRIPES: usize = 13;
const LOWER: usize = 14;

/// The end of the WAL: its difference is what the server has written meanwhile, for us and for others.
pub(super) const LSN: &str = "pg_catalog.pg_current_wal_insert_lsn()";

/// A statement in two forms: for a stretch that begins with the key space, and for one that begins
/// after a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forms {
    first: String,
    next: String,
}

impl Forms {
    fn of(compose: impl Fn(bool) -> String) -> Forms {
        Forms { first: compose(false), next: compose(true) }
    }

    /// Returns the form for a stretch that has a lower end, or not.
    pub fn of_stretch(&self, has_lower: bool) -> &str {
        if has_lower { &self.next } else { &self.first }
    }
}

/// Everything that the walk and the verification send.
#[derive(Debug, Clone)]
pub struct Statements {
    /// Whether the table is still the one that the run was started on.
    pub same_table: String,
    /// The table's highest key.
    pub last_key: String,
    /// The n-th key of a stretch: n - 1, upper end, lower end.
    pub boundary: Forms,
    /// How many keys a stretch has: upper end, lower end.
    pub count: Forms,
    /// The batch: run, range, rev, token, upper end, keys, retries, whether it is the last, then cursor,
    /// front, mark, stripe and stripes as they will be, and lower end.
    pub batch: Forms,
    /// The same for the keys of that stripe alone.
    pub stripe: Forms,
    /// The batch where few rows match; see the module.
    pub sparse: Forms,
    /// The UPDATE of the batch alone, for people and EXPLAIN: upper end, lower end.
    pub update: Forms,
    /// The work and the counting of a batch, without ledger: for a rehearsal: upper end, lower end.
    pub rehearsal: Forms,
    /// What a stretch looks like now: upper end, lower end.
    pub look: Forms,
    /// Some keys of a stretch that are not as they should be: limit, upper end, whether `where` is
    /// checked, lower end.
    pub sample: Forms,
    /// Begins a batch.
    pub begin_batch: String,
    /// Begins a batch where few rows match: those that were found are gone to one by one.
    pub begin_sparse_batch: String,
    /// Begins a rehearsed batch: what is looked at before it is rolled back has its share of the time.
    pub begin_rehearsal: String,
    /// Begins the look at a rehearsed batch.
    pub begin_look: String,
    /// Begins the last batch of a range: it is on disk when it is committed.
    pub begin_last_batch: String,
    /// Begins the batch of a single row that takes longer than others should wait.
    pub begin_lifted_batch: String,
    /// Begins a read along the key.
    pub begin_read: String,
}

impl Statements {
    /// Composes them for a job and the table that it was resolved to.
    pub fn compose(job: &Job, target: &Target) -> Statements {
        let keyset = &target.keyset;
        let text = Text { job, target, keyset };
        let batch = batch_guards(job, target);
        let durable = Guards { synchronous_commit: Some(durable_commit(job)), ..batch.clone() };
        let lifted = Guards { statement_timeout: LIFTED, ..durable.clone() };
        let rehearsal =
            Guards { statement_timeout: job.batch.give_way.mul_f64(REHEARSED), ..batch.clone() };
        let look = job.batch.give_way.mul_f64(1.0 - REHEARSED).as_millis().max(1);
        let read = Guards {
            read_only: true,
            synchronous_commit: None,
            statement_timeout: BOUNDARY_TIMEOUT,
            // Less, so that a table that is locked is told from one that is slow.
            lock_timeout: BOUNDARY_TIMEOUT / 2,
            ..batch.clone()
        };
        Statements {
            same_table: format!("SELECT {}", same_table(target)),
            last_key: keyset.last_key(),
            boundary: Forms::of(|has_lower| keyset.nth_key(has_lower)),
            count: Forms::of(|has_lower| text.count(has_lower)),
            batch: Forms::of(|has_lower| text.batch(has_lower, false)),
            stripe: Forms::of(|has_lower| text.batch(has_lower, true)),
            sparse: Forms::of(|has_lower| text.sparse(has_lower)),
            update: Forms::of(|has_lower| text.update(1, has_lower.then_some(2), "")),
            rehearsal: Forms::of(|has_lower| text.rehearsal(has_lower)),
            look: Forms::of(|has_lower| text.look(has_lower)),
            sample: Forms::of(|has_lower| text.sample(has_lower)),
            begin_batch: batch.begin(),
            begin_sparse_batch: batch.begin() + ONE_BY_ONE,
            begin_rehearsal: rehearsal.begin(),
            begin_look: format!("SET LOCAL statement_timeout = {look}"),
            begin_last_batch: durable.begin(),
            begin_lifted_batch: lifted.begin(),
            begin_read: read.begin(),
        }
    }
}

/// Returns the guards of a batch: nobody waits longer on it than `give_way`, and it waits for
/// nobody longer than half of that.
fn batch_guards(job: &Job, target: &Target) -> Guards {
    Guards {
        search_path: target.search_path.clone(),
        statement_timeout: job.batch.give_way,
        lock_timeout: job.batch.give_way / 2,
        synchronous_commit: Some(job.batch.synchronous_commit.as_str()),
        follow_index: true,
        read_only: false,
    }
}

fn durable_commit(job: &Job) -> &'static str {
    let chosen = job.batch.synchronous_commit;
    if chosen == SynchronousCommit::Off { SynchronousCommit::On.as_str() } else { chosen.as_str() }
}

pub(super) struct Text<'a> {
    pub(super) job: &'a Job,
    pub(super) target: &'a Target,
    pub(super) keyset: &'a Keyset,
}

impl Text<'_> {
    pub(super) fn stretch(&self, upper: usize, lower: Option<usize>) -> String {
        let lower = lower.map(|no| self.keyset.above(no) + " AND ").unwrap_or_default();
        lower + &self.keyset.upto(upper)
    }

    /// `where` as a condition, or one that is always so.
    pub(super) fn matches(&self) -> String {
        self.job
            .table
            .filter
            .as_ref()
            .map_or_else(|| "true".into(), |it| wrapped(&it.text) + " IS TRUE")
    }

    /// `where` as a condition on rows that are done.
    pub(super) fn still_matches(&self) -> String {
        if self.job.table.filter.is_some() { self.matches() } else { "false".into() }
    }

    /// The opposite of `expect`; NULL is not true.
    fn breaks(&self) -> String {
        let expect = self.job.verify.expect.as_ref();
        expect.map_or_else(|| "false".into(), |it| wrapped(&it.text) + " IS NOT TRUE")
    }

    /// What is assigned.
    pub(super) fn set(&self) -> String {
        let Work::Set(assignments) = &self.job.work;
        let set: Vec<_> = assignments
            .iter()
            .zip(&self.target.set_columns)
            .map(|(assignment, column)| {
                format!("{column} = {}", wrapped(&assignment.expression.text))
            })
            .collect();
        set.join(", ")
    }

    fn update(&self, upper: usize, lower: Option<usize>, and: &str) -> String {
        let filter = self.job.table.filter.as_ref().map(|_| format!("\nAND {}", self.matches()));
        format!(
            "UPDATE {table} SET {set}\nWHERE {stretch}{filter}{and}",
            table = self.keyset.table,
            set = self.set(),
            stretch = self.stretch(upper, lower),
            filter = filter.unwrap_or_default(),
        )
    }

    fn rehearsal(&self, has_lower: bool) -> String {
        format!(
            "WITH piecemeal_work AS (\n{update}\nRETURNING {still} AS still\n)\n\
             SELECT count(*), count(*) FILTER (WHERE still) FROM piecemeal_work",
            update = self.update(1, has_lower.then_some(2), ""),
            still = self.still_matches(),
        )
    }

    /// Rows that a trigger suppresses are not returned by the UPDATE, so they must be counted apart
    /// (F45). The count is of the same snapshot, and costs only where such a trigger exists. A `where`
    /// that is volatile may count fewer than were changed; those that were changed did match.
    fn matched(&self, has_lower: bool, stripe: &str) -> String {
        if !self.target.has_before_update_trigger {
            return "(SELECT count(*) FROM piecemeal_work)".into();
        }
        format!(
            "(SELECT count(*) FROM {} WHERE {}{stripe} AND {} AND EXISTS (SELECT FROM piecemeal_fence))",
            self.keyset.table,
            self.stretch(5, has_lower.then_some(LOWER)),
            self.matches(),
        )
    }

    fn batch(&self, has_lower: bool, is_striped: bool) -> String {
        let stripe = if is_striped {
            format!("\nAND {}", self.keyset.in_stripe(STRIPE, STRIPES))
        } else {
            String::new()
        };
        let and = format!("{stripe}\nAND EXISTS (SELECT FROM piecemeal_fence)");
        format!(
            "WITH piecemeal_fence AS MATERIALIZED (
    SELECT {hot} AS hot, {lsn} AS lsn FROM piecemeal.range WHERE run_id = $1 AND no = $2 AND rev = $3 AND lease_token = $4
    AND {same_table} FOR NO KEY UPDATE
), piecemeal_work AS (
{update}
    RETURNING {still} AS still
), piecemeal_count AS (
    SELECT greatest({matched}, count(*)) AS matched, count(*) AS changed, count(*) FILTER (WHERE still) AS still FROM piecemeal_work
), piecemeal_books AS (
    UPDATE piecemeal.range r
    SET cursor = $9, front = $10, mark = $11, stripe = ${STRIPE}, stripes = ${STRIPES}, rev = rev + 1, done = $8,
        lease_until = clock_timestamp() + interval '{ttl} seconds',
        batches = batches + 1, retries = retries + $7, seen = seen + $6, matched = r.matched + c.matched,
        changed = r.changed + c.changed, unchanged = unchanged + c.matched - c.changed, still = r.still + c.still
    FROM piecemeal_count c WHERE run_id = $1 AND no = $2 AND rev = $3 AND lease_token = $4
    AND EXISTS (SELECT FROM piecemeal_fence)
    RETURNING c.matched, c.changed, c.still
)
SELECT matched, changed, still, {hot} - (SELECT hot FROM piecemeal_fence) AS hot,
       ({lsn} - (SELECT lsn FROM piecemeal_fence))::int8 AS wal, {took} AS took FROM piecemeal_books",
            lsn = LSN,
            hot = hot(self.target),
            update = self.update(5, has_lower.then_some(LOWER), &and),
            still = self.still_matches(),
            matched = self.matched(has_lower, &stripe),
            ttl = crate::ledger::lease::TTL.as_secs(),
            took = TOOK,
            same_table = same_table(self.target),
        )
    }

    fn count(&self, has_lower: bool) -> String {
        let stretch = self.stretch(1, has_lower.then_some(2));
        format!("SELECT count(*) FROM {} WHERE {stretch}", self.keyset.table)
    }

    fn look(&self, has_lower: bool) -> String {
        format!(
            "SELECT count(*) AS looked, count(*) FILTER (WHERE {still}) AS still,\n\
             count(*) FILTER (WHERE {breaks}) AS broken, {took} AS took FROM {table} WHERE {stretch}",
            still = self.still_matches(),
            breaks = self.breaks(),
            took = TOOK,
            table = self.keyset.table,
            stretch = self.stretch(1, has_lower.then_some(2)),
        )
    }

    fn sample(&self, has_lower: bool) -> String {
        format!(
            "SELECT {key} FROM {table} WHERE {stretch}\n\
             AND ({breaks} OR ($3 AND {still})) LIMIT $1",
            key = self.keyset.key(),
            still = self.still_matches(),
            breaks = self.breaks(),
            table = self.keyset.table,
            stretch = self.stretch(2, has_lower.then_some(4)),
        )
    }
}

/// Whether the name still means the table that the run was started on: a table that took its place
/// has rows that were never done (R23). The statement holds a lock on what it took the name for, so
/// the answer is about the same table as the work.
pub(super) fn same_table(target: &Target) -> String {
    let name = target.keyset.table.replace('\'', "''");
    format!("pg_catalog.to_regclass('{name}')::pg_catalog.oid = {}", target.oid)
}

/// How many updates of this connection were HOT, up to now: its own counter, which the server only
/// resets between transactions.
pub(super) fn hot(target: &Target) -> String {
    format!("pg_catalog.pg_stat_get_xact_tuples_hot_updated({})", target.oid)
}

/// How many rows this connection has read by the key's index, up to now.
pub(super) fn fetched(target: &Target) -> String {
    let index = target.index.replace('\'', "''");
    format!("pg_catalog.pg_stat_get_xact_tuples_fetched(pg_catalog.to_regclass('{index}'))")
}

/// The expression on lines of its own: a comment at its end must not swallow what follows (F57).
fn wrapped(fragment: &str) -> String {
    format!("(\n{fragment}\n)")
}

/// Returns the sizer's bounds in words, for people.
pub(super) fn size_in_words(size: &Size) -> String {
    match size {
        Size::Target { target, min, max } => {
            format!("as many rows as take {} ms, between {min} and {max}", target.as_millis())
        }
        Size::Fixed(rows) => format!("{rows} rows"),
    }
}
