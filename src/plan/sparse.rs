//! The batch where few rows match `where`: search and work in one statement.
//!
//! Elsewhere the end of a chunk is looked up first, and then its keys are gone through again. Where
//! one row in a thousand is to do, that reads all of them twice to change nothing. Here one scan along
//! the key ends at so many matches, or, by the clock, at the next row; the UPDATE goes to the matches
//! it has found, by their keys, in the same snapshot; and the cursor moves to where the scan ended. So
//! how many rows are read and how many are written have bounds of their own.
//!
//! Only LIMIT ends a scan. The row at which the time is over is therefore returned so often that it
//! fills the limit by itself; what is done and counted is the first of them. Each match is written
//! before the scan goes on, so the clock has seen that, too, but neither what runs at the end of the
//! statement (AFTER triggers, foreign keys) nor the commit.
//!
//! Where an index serves `where`, and few rows match, the matches come from that index instead, in the
//! order of the key: nothing in between is read, and how many rows were passed is not known. Sorting
//! them may take longer than a batch, so the clock begins to run with the first of them.
//!
//! The matches are joined to the table rather than listed: a row that somebody changes meanwhile is
//! judged once more, as it is then.

use super::counters::{fetched, hot};
use super::statements::{LSN, TOOK, Text};
use super::target::Target;
use crate::pg::TAKES_BACK;

/// When the time of a scan is over; it begins when this is asked for the first time.
const CLOCK: &str = "piecemeal_clock AS MATERIALIZED (
    SELECT clock_timestamp() + $8::float8 * interval '1 second' AS over
)";

/// Whether it is.
const IS_OVER: &str = "(SELECT over FROM piecemeal_clock) <= clock_timestamp()";

impl Text<'_> {
    /// Parameters: run, range, rev, token, upper end, most matches, retries, seconds for the scan,
    /// lower end.
    pub(super) fn sparse(&self, has_lower: bool, is_served: bool) -> String {
        let table = &self.keyset.table;
        let each = |separator: &str, form: &dyn Fn(usize, &str) -> String| {
            let columns = self.keyset.columns.iter().enumerate();
            let columns: Vec<_> = columns.map(|(at, column)| form(at, &column.name)).collect();
            columns.join(separator)
        };
        let keys = each(", ", &|at, name| format!("{table}.{name} AS piecemeal_k{at}"));
        let text = each(", ", &|at, _| format!("piecemeal_k{at}::text"));
        let joined = each(" AND ", &|at, name| {
            format!("{table}.{name} OPERATOR(pg_catalog.=) piecemeal_k{at}")
        });
        let (hot, fetched) = (hot(self.target), fetched(self.target));
        format!(
            "{fence}, {CLOCK}, piecemeal_found AS MATERIALIZED (
    SELECT *, pg_catalog.generate_series(1, CASE WHEN piecemeal_is_over THEN $6::int8 ELSE 1 END) AS piecemeal_nth FROM (
        SELECT {keys}, {to_do} AS piecemeal_is_match, {IS_OVER} AS piecemeal_is_over FROM {table}
        WHERE {stretch}
        AND {found}
        AND EXISTS (SELECT FROM piecemeal_fence)
        ORDER BY {order} LIMIT $6
    ) AS piecemeal_row LIMIT $6
), piecemeal_end AS MATERIALIZED (
    SELECT ARRAY[{text}] AS key FROM piecemeal_found OFFSET $6 - 1 LIMIT 1
), piecemeal_work AS (
    UPDATE {table} SET {set} FROM piecemeal_found
    WHERE {joined} AND piecemeal_is_match AND piecemeal_nth = 1
    AND {matches}
    RETURNING {still} AS still
), piecemeal_count AS (
    SELECT greatest({matched}, count(*)) AS matched, count(*) AS changed, count(*) FILTER (WHERE still) AS still,
           greatest({passed}, count(*)) AS seen FROM piecemeal_work
), piecemeal_books AS (
    UPDATE piecemeal.range r
    SET cursor = coalesce((SELECT key FROM piecemeal_end), $5), done = NOT EXISTS (SELECT FROM piecemeal_end),
        stripe = NULL, stripes = NULL, rev = rev + 1, lease_until = clock_timestamp() + interval '{ttl} seconds',
        batches = batches + 1, retries = retries + $7, seen = r.seen + c.seen, matched = r.matched + c.matched,
        changed = r.changed + c.changed, unchanged = unchanged + c.matched - c.changed, still = r.still + c.still
    FROM piecemeal_count c WHERE run_id = $1 AND no = $2 AND rev = $3 AND lease_token = $4
    AND EXISTS (SELECT FROM piecemeal_fence)
    RETURNING r.cursor, r.done, c.seen, c.matched, c.changed, c.still
)
SELECT cursor, done, seen, matched, changed, still, {hot} - (SELECT hot FROM piecemeal_fence) AS hot,
       ({LSN} - (SELECT lsn FROM piecemeal_fence))::int8 AS wal, {TOOK} AS took,
       (SELECT extract(epoch FROM over - statement_timestamp())::float8 - $8 FROM piecemeal_clock) AS before
FROM piecemeal_books",
            fence = self.fence(&format!(
                "{hot} AS hot, {LSN} AS lsn, {fetched} AS fetched, {TAKES_BACK} AS plans"
            )),
            found = self.found(is_served),
            passed = if is_served { "0".into() } else { passed(self.target) },
            to_do = self.to_do(),
            matches = self.matches(),
            stretch = self.stretch(5, has_lower.then_some(9)),
            order = self.keyset.order(""),
            set = self.set(),
            still = self.still_matches(),
            matched = self.matched_by_search(),
            ttl = crate::ledger::lease::TTL.as_secs(),
        )
    }

    /// The place of the n-th row of a stretch that matches; NULL if it has fewer. Parameters: n, upper end,
    /// lower end.
    pub(super) fn nth_match(&self, has_lower: bool) -> String {
        let (table, matches) = (&self.keyset.table, self.matches());
        let stretch = self.stretch(2, has_lower.then_some(3));
        format!(
            "SELECT CASE WHEN count(*) OPERATOR(pg_catalog.=) $1 THEN ARRAY[max(place)::text] END FROM (
    SELECT {table}.ctid AS place FROM {table} WHERE {stretch}
    AND {matches} LIMIT $1
) AS piecemeal_place"
        )
    }

    /// A row that is to do, and not in quarantine.
    fn to_do(&self) -> String {
        format!("({} AND NOT {})", self.matches(), self.is_quarantined(1))
    }

    /// What a scan returns: matches, and the row at which its time is over.
    fn found(&self, is_served: bool) -> String {
        if is_served {
            let quarantined = self.is_quarantined(1);
            return format!("{} AND NOT {quarantined}", self.filter());
        }
        format!("({} OR {IS_OVER})", self.to_do())
    }

    /// As for any batch: rows that a trigger suppresses are not returned by the UPDATE.
    fn matched_by_search(&self) -> &'static str {
        if self.target.has_before_update_trigger {
            "(SELECT count(*) FROM piecemeal_found WHERE piecemeal_is_match AND piecemeal_nth = 1)"
        } else {
            "0"
        }
    }
}

/// How many rows the scan has passed: all that were fetched in the order of the key, but for those that the
/// UPDATE has gone to.
fn passed(target: &Target) -> String {
    format!("{} - (SELECT fetched FROM piecemeal_fence) - count(*)", fetched(target))
}
