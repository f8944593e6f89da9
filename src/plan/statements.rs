//! The statements of a walk, composed once for each plan.
//!
//! The batch is one statement: fence, work, count and books, so that nothing of it can happen
//! without the rest (R1, R2). The work depends on the fence *on the server*: a fence that finds no
//! row leaves a one-time filter that is false, and neither rows nor cursor move. The stretch of keys
//! is repeated in the UPDATE itself, never a list of keys read before (F10). The user's expressions
//! stand in parentheses on lines of their own, so that a comment at their end ends with its line.
//! `where` is wrapped in a function: its value is the same, and the planner cannot leave the key's
//! index, or the blocks, for an index on the predicate.
//!
//! There is a route for each order: the same texts, along the key or along the table's file. Which one
//! a range takes is decided here, and nowhere else.

use std::time::Duration;

use super::counters::{hot, passed};
use super::fence::{all_counted, has_index, same_key, same_table};
use super::forms::Forms;
use super::limits::batch_guards;
use super::target::Target;
use crate::job::{Job, Order, ROOM, Work};
use crate::pg::{Begin, Follow, Guards, TAKES_BACK};
use crate::walk::{Axis, Heap, Keyset, Range};

/// How long a read may take that comes once in a run, or before it: there is none that is smaller and
/// would do as well. Whoever wants the table for himself waits for it.
const RARE: Duration = Duration::from_secs(2);

/// How long a single row may take that takes longer than `give_way` by itself. Nobody can say what a
/// trigger does with a row; five minutes are more than any that is meant for live traffic.
const LIFTED: Duration = Duration::from_mins(5);

/// No plan may read the table once more to find rows whose keys it has.
const ONE_BY_ONE: &str = "; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";

/// Rows that are passed are counted as they are fetched, and an index alone fetches none.
const FETCHES: &str = "; SET LOCAL enable_indexonlyscan = off";

/// The seconds that the statement has taken so far, by the server's clock. Sizes follow this and not
/// the time that the answer took to arrive: a slow network would make every batch as small as can
/// be, and none of them faster.
pub(super) const TOOK: &str =
    "extract(epoch FROM clock_timestamp() - statement_timestamp())::float8";

/// The parameters of a batch: the stripe, of how many, the first of where the range stands, and the
/// lower end.
const STRIPE: usize = 12;
const STRIPES: usize = 13;
pub(super) const STANDS: usize = 14;
const LOWER: usize = 18;

/// The end of the WAL: its difference is what the server has written meanwhile, for us and for others.
pub(super) const LSN: &str = "pg_catalog.pg_current_wal_insert_lsn()";

/// The statements that walk in one order, and the guards that keep the planner on it.
#[derive(Debug, Clone)]
pub struct Route {
    is_by_key: bool,
    /// A stretch, as a condition: upper end, lower end.
    pub stretch: Forms,
    /// The end of a chunk: n - 1, upper end, lower end.
    pub boundary: Forms,
    /// The same for a walk: it also says how many keys are left, where that is fewer.
    pub end: Forms,
    /// The batch: run, range, rev, token, upper end, keys, retries, whether it is the last, then cursor,
    /// front, mark, stripe and stripes as they will be, the first four as they are, and lower end.
    pub batch: Forms,
    /// The same for the keys of that stripe alone.
    pub stripe: Forms,
    /// The same for a stretch in which the rows are counted while they are gone through; for blocks.
    pub search: Forms,
    /// Records the only row of a chunk instead of writing it: as for the batch up to the stripes, then
    /// SQLSTATE, message, the most rows in quarantine, and lower end.
    pub quarantine: Forms,
    /// The same for the keys of that stripe alone.
    pub quarantine_stripe: Forms,
    /// The UPDATE of the batch alone, for people and EXPLAIN: upper end, lower end.
    pub update: Forms,
    /// The work and the counting of a batch, without ledger: for a rehearsal: upper end, lower end.
    pub rehearsal: Forms,
    /// The keys of two rows of a stretch: upper end, lower end.
    pub keys: Forms,
    /// Begins a batch.
    pub begin_batch: Begin,
    /// Begins a rehearsed batch: what is looked at before it is rolled back has its share of the time.
    pub begin_rehearsal: Begin,
    /// Begins the batch of a single row that takes longer than others should wait.
    pub begin_lifted_batch: Begin,
    /// Begins a read along the axis: nobody waits longer for it than for a batch (F63).
    pub begin_read: Begin,
    /// The same for the end of a chunk.
    pub begin_end: Begin,
    /// The same where a single row takes longer than others should wait.
    pub begin_lifted_read: Begin,
    /// Begins a read that comes once, and has no smaller one in its place.
    pub begin_rare_read: Begin,
}

/// Everything that the walk and the verification send.
#[derive(Debug, Clone)]
pub struct Statements {
    /// Whether the table is still the one that the run was started on; whether its key is as it was; whether
    /// every row that a trigger could suppress is counted; and whether the key has an index.
    pub standing: String,
    /// The table's highest key.
    pub last_key: String,
    /// The table's file, and its last place.
    pub extent: String,
    /// The walk in key order; sweeps and the verification always go by it.
    pub by_key: Route,
    /// The walk in physical order, if the job says so.
    pub physical: Option<Route>,
    /// The batch along the key where few rows match; see the module.
    pub sparse: Forms,
    /// In physical order, the place of the n-th row of a stretch that matches: n, upper end, lower end.
    pub nth_match: Forms,
    /// The batch over rows of the quarantine that are tried again: run, range, rev, token, most rows,
    /// retries.
    pub requeued: String,
    /// Begins it.
    pub begin_requeued: Begin,
    /// Begins it where a single row takes longer than others should wait.
    pub begin_lifted_requeued: Begin,
    /// What a stretch of keys looks like now: run, upper end, lower end.
    pub look: Forms,
    /// The same without the ledger, which may not be there yet: upper end, lower end.
    pub glance: Forms,
    /// Some keys of a stretch that are not as they should be: limit, upper end, whether `where` is
    /// checked, run, lower end.
    pub sample: Forms,
    /// Begins a batch where few rows match: those that were found are gone to one by one.
    pub begin_sparse_batch: Begin,
    /// Begins the look at a rehearsed batch.
    pub begin_look: String,
}

impl Statements {
    /// Composes them for a job and the table that it was resolved to.
    ///
    /// Where few rows match, they are found by an index that serves `where` if `is_served`.
    pub fn compose(job: &Job, target: &Target, is_served: bool) -> Statements {
        let keyset = &target.keyset;
        let heap = Heap { table: &keyset.table };
        let by_key = Text { job, target, keyset, axis: keyset, is_physical: false };
        let physical = Text { job, target, keyset, axis: &heap, is_physical: true };
        let look = job.batch.give_way.mul_f64(1.0 - ROOM).as_millis().max(1);
        let one_by_one = if is_served { Follow::Indexes } else { Follow::Index };
        let one_by_one = batch_guards(job, target, one_by_one);
        let lifted = Guards { statement_timeout: LIFTED, ..one_by_one.clone() };
        Statements {
            standing: format!(
                "SELECT {}, {}, {}, {}",
                same_table(target),
                same_key(target),
                all_counted(job, target),
                has_index(target)
            ),
            last_key: keyset.last_key(),
            extent: Heap::extent(target.oid),
            sparse: Forms::of(|has_lower| by_key.sparse(has_lower, is_served)),
            nth_match: Forms::of(|has_lower| physical.nth_match(has_lower)),
            look: Forms::of(|has_lower| by_key.look(has_lower)),
            glance: Forms::of(|has_lower| by_key.glance(has_lower)),
            sample: Forms::of(|has_lower| by_key.sample(has_lower)),
            by_key: Route::of(&by_key, Follow::Index),
            physical: (job.table.order == Order::Physical)
                .then(|| Route::of(&physical, Follow::Blocks)),
            requeued: by_key.requeued(),
            begin_lifted_requeued: lifted.begin() + ONE_BY_ONE,
            begin_requeued: one_by_one.begin() + ONE_BY_ONE,
            // Where the planner has a choice, it should know the values.
            begin_sparse_batch: (one_by_one.begin() + ONE_BY_ONE + FETCHES)
                .keeping(target.lets_keep() && !is_served),
            begin_look: format!("SET LOCAL statement_timeout = {look}"),
        }
    }

    /// Returns those of the walk itself.
    pub fn of_walk(&self) -> &Route {
        self.physical.as_ref().unwrap_or(&self.by_key)
    }

    /// Returns those of `range`: a sweep goes by the key, whatever the order of the walk is.
    pub(crate) fn of_range(&self, range: &Range) -> &Route {
        if range.pass == 0 { self.of_walk() } else { &self.by_key }
    }
}

impl Route {
    /// Whether the ends of its stretches are keys, and not places in the table's file.
    pub(crate) fn is_by_key(&self) -> bool {
        self.is_by_key
    }

    /// Returns what begins a read; one that is lifted may take longer than others should wait.
    pub(crate) fn begin_read(&self, is_lifted: bool) -> &Begin {
        if is_lifted { &self.begin_lifted_read } else { &self.begin_read }
    }

    fn of(text: &Text<'_>, follow: Follow) -> Route {
        let Text { job, target, axis, .. } = *text;
        let batch = batch_guards(job, target, follow);
        let lifted = Guards { statement_timeout: LIFTED, ..batch.clone() };
        // Its locks are held until its rows were looked at, too, and nobody waits longer for both than for a batch.
        let rehearsal =
            Guards { statement_timeout: job.batch.give_way.mul_f64(ROOM), ..batch.clone() };
        let read =
            Guards { read_only: true, synchronous_commit: None, walk: None, ..batch.clone() };
        let lifted_read = Guards { statement_timeout: LIFTED, ..read.clone() };
        // It waits for less, so that a table that is locked is told from one that is slow.
        let rare = Guards { statement_timeout: RARE, lock_timeout: RARE / 2, ..read.clone() };
        Route {
            is_by_key: follow == Follow::Index,
            stretch: Forms::of(|has_lower| text.stretch(1, has_lower.then_some(2))),
            boundary: Forms::of(|has_lower| axis.nth(has_lower)),
            end: Forms::of(|has_lower| text.end(has_lower)),
            batch: Forms::of(|has_lower| text.batch(has_lower, Pass::Whole)),
            stripe: Forms::of(|has_lower| text.batch(has_lower, Pass::Stripe)),
            search: Forms::of(|has_lower| text.batch(has_lower, Pass::Search)),
            quarantine: Forms::of(|has_lower| text.quarantine(has_lower, false)),
            quarantine_stripe: Forms::of(|has_lower| text.quarantine(has_lower, true)),
            update: Forms::of(|has_lower| text.update(1, has_lower.then_some(2), "")),
            rehearsal: Forms::of(|has_lower| text.rehearsal(has_lower)),
            keys: Forms::of(|has_lower| text.keys(has_lower)),
            begin_batch: batch.begin().keeping(target.lets_keep()),
            begin_rehearsal: rehearsal.begin(),
            begin_lifted_batch: lifted.begin(),
            begin_read: read.begin(),
            begin_end: read.begin().keeping(target.lets_keep()),
            begin_lifted_read: lifted_read.begin(),
            begin_rare_read: rare.begin(),
        }
    }
}

/// Which rows of a stretch a batch goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// All, and they are counted.
    Whole,
    /// Those of a stripe.
    Stripe,
    /// All, however many they are.
    Search,
}

pub(super) struct Text<'a> {
    pub(super) job: &'a Job,
    pub(super) target: &'a Target,
    pub(super) keyset: &'a Keyset,
    axis: &'a dyn Axis,
    is_physical: bool,
}

impl Text<'_> {
    pub(super) fn stretch(&self, upper: usize, lower: Option<usize>) -> String {
        let lower = lower.map(|no| self.axis.above(no) + " AND ").unwrap_or_default();
        lower + &self.axis.upto(upper)
    }

    /// `where` as a condition, or one that is always so. An index on a boolean column, or on a few of the
    /// rows, would serve the bare expression, and `IS TRUE` too; none serves a function.
    pub(super) fn matches(&self) -> String {
        matches(self.job)
    }

    /// `where` as it stands, for an index to serve it.
    pub(super) fn filter(&self) -> String {
        let filter = self.job.table.filter.as_ref();
        filter.map_or_else(|| "true".into(), |it| wrapped(&it.text))
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
             SELECT count(*), (SELECT count(*) FROM piecemeal_work WHERE still) FROM piecemeal_work",
            update = self.update(1, has_lower.then_some(2), ""),
            still = self.still_matches(),
        )
    }

    /// Rows that a trigger suppresses are not returned by the UPDATE, so they must be counted apart
    /// (F45). The count is of the same snapshot, and costs only where such a trigger exists. A `where`
    /// that is volatile may count fewer than were changed; those that were changed did match.
    fn matched(&self, has_lower: bool, and: &str) -> String {
        if !self.target.has_before_update_trigger {
            return "(SELECT count(*) FROM piecemeal_work)".into();
        }
        format!(
            "(SELECT count(*) FROM {} WHERE {} AND {}{and})",
            self.keyset.table,
            self.stretch(5, has_lower.then_some(LOWER)),
            self.matches(),
        )
    }

    fn batch(&self, has_lower: bool, pass: Pass) -> String {
        let and = format!(
            "{}\nAND NOT {}\nAND EXISTS (SELECT FROM piecemeal_fence)",
            self.in_stripe(pass == Pass::Stripe),
            self.is_quarantined(1)
        );
        let hot = hot(self.target);
        let passed = if pass == Pass::Search { passed(self.target) } else { "0::int8".into() };
        format!(
            "{fence}, piecemeal_work AS (
{update}
    RETURNING {still} AS still
), piecemeal_count AS (
    SELECT greatest({matched}, count(*)) AS matched, count(*) AS changed, count(*) FILTER (WHERE still) AS still,
           greatest($6, {passed} - (SELECT passed FROM piecemeal_fence)) AS seen FROM piecemeal_work
), piecemeal_books AS (
    UPDATE piecemeal.range r
    SET cursor = $9, front = $10, mark = $11, stripe = ${STRIPE}, stripes = ${STRIPES}, rev = rev + 1, done = $8,
        lease_until = clock_timestamp() + interval '{ttl} seconds',
        batches = batches + 1, retries = retries + $7, seen = r.seen + c.seen, matched = r.matched + c.matched,
        changed = r.changed + c.changed, unchanged = unchanged + c.matched - c.changed, still = {still_so_far}
    FROM piecemeal_count c WHERE run_id = $1 AND no = $2 AND rev = $3 AND lease_token = $4
    AND EXISTS (SELECT FROM piecemeal_fence)
    RETURNING c.seen, c.matched, c.changed, c.still
)
SELECT seen, matched, changed, still, {hot} - (SELECT hot FROM piecemeal_fence) AS hot,
       ({lsn} - (SELECT lsn FROM piecemeal_fence))::int8 AS wal, {took} AS took FROM piecemeal_books",
            lsn = LSN,
            update = self.update(5, has_lower.then_some(LOWER), &and),
            still = self.still_matches(),
            matched = self.matched(has_lower, &and),
            ttl = crate::ledger::lease::TTL.as_secs(),
            took = TOOK,
            fence = self.fence_of_batch(&format!(
                "{hot} AS hot, {LSN} AS lsn, {passed} AS passed, {TAKES_BACK} AS plans"
            )),
            still_so_far = self.still_so_far(),
        )
    }

    pub(super) fn in_stripe(&self, is_striped: bool) -> String {
        if !is_striped {
            return String::new();
        }
        format!("\nAND {}", self.keyset.in_stripe(STRIPE, STRIPES))
    }

    /// Whether places still mean what they meant: the table was not rewritten, by VACUUM FULL, CLUSTER or
    /// otherwise, since the walk began. The statement holds a lock on the table, so that it is not
    /// rewritten before the batch has ended.
    pub(super) fn same_file(&self) -> String {
        if !self.is_physical {
            return String::new();
        }
        format!(
            "\n    AND (SELECT filenode FROM piecemeal.run WHERE id = $1) = pg_catalog.pg_relation_filenode({})",
            self.target.oid
        )
    }

    /// How many rows still match, with those of the batch. A row that was done may lie in front of the
    /// walk in physical order: one that still matches would be done again. The ledger takes no negative
    /// number, so the whole batch is rolled back (`is_not_pending` knows the error).
    fn still_so_far(&self) -> &'static str {
        if self.is_physical {
            "CASE WHEN c.still > 0 THEN -1 ELSE r.still END"
        } else {
            "r.still + c.still"
        }
    }

    /// The keys that are left are counted only if there is no n-th one; in physical order the query for
    /// that has counted already.
    fn end(&self, has_lower: bool) -> String {
        let nth = self.axis.nth(has_lower);
        if self.is_physical {
            return nth;
        }
        format!(
            "WITH piecemeal_end AS MATERIALIZED (
    {nth}
)
SELECT piecemeal_end.*, NULL::pg_catalog.int8 FROM piecemeal_end
UNION ALL SELECT NULL, count(*) FROM {} WHERE {} HAVING NOT EXISTS (SELECT FROM piecemeal_end)",
            self.keyset.table,
            self.stretch(2, has_lower.then_some(3)),
        )
    }

    fn look(&self, has_lower: bool) -> String {
        format!(
            "SELECT count(*) AS looked, count(*) FILTER (WHERE {still} AND NOT {quarantined}) AS still,\n\
             count(*) FILTER (WHERE {breaks} AND NOT {quarantined}) AS broken, {took} AS took\n\
             FROM {table} WHERE {stretch}",
            quarantined = self.is_quarantined(1),
            still = self.still_matches(),
            breaks = self.breaks(),
            took = TOOK,
            table = self.keyset.table,
            stretch = self.stretch(2, has_lower.then_some(3)),
        )
    }

    fn glance(&self, has_lower: bool) -> String {
        let (still, breaks) = (self.still_matches(), self.breaks());
        let (table, stretch) = (&self.keyset.table, self.stretch(1, has_lower.then_some(2)));
        format!(
            "SELECT count(*), count(*) FILTER (WHERE {still}), count(*) FILTER (WHERE {breaks})\n\
             FROM {table} WHERE {stretch}"
        )
    }

    fn keys(&self, has_lower: bool) -> String {
        let (key, stretch) = (self.keyset.key(), self.stretch(1, has_lower.then_some(2)));
        format!("SELECT {key} FROM {} WHERE {stretch} LIMIT 2", self.keyset.table)
    }

    fn sample(&self, has_lower: bool) -> String {
        format!(
            "SELECT {key} FROM {table} WHERE {stretch}\n\
             AND ({breaks} OR ($3 AND {still})) AND NOT {quarantined} LIMIT $1",
            quarantined = self.is_quarantined(4),
            key = self.keyset.key(),
            still = self.still_matches(),
            breaks = self.breaks(),
            table = self.keyset.table,
            stretch = self.stretch(2, has_lower.then_some(5)),
        )
    }
}

/// `where` of a job as a condition, or one that is always so.
pub(super) fn matches(job: &Job) -> String {
    let filter = job.table.filter.as_ref();
    filter.map_or_else(|| "true".into(), |it| format!("coalesce({}, false)", wrapped(&it.text)))
}

/// The expression on lines of its own: a comment at its end must not swallow what follows (F57).
fn wrapped(fragment: &str) -> String {
    format!("(\n{fragment}\n)")
}
