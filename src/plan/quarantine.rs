//! Rows that the server refuses: the statement that records one instead of writing it, the one that
//! tries recorded rows again, and the condition by which everything else leaves them alone.
//!
//! A row is recorded in the transaction in which the cursor passes it, behind the same fence as a batch.
//! That it is the only one of its chunk that is to do is looked at there once more: what else somebody
//! may have put beside it meanwhile was not tried, and must not be passed. A row that is tried again leaves
//! the quarantine in the transaction that does it, and so does one that is gone, or needs nothing any
//! more.

use super::counters::hot;
use super::statements::{LSN, TOOK, Text};
use crate::ledger::lease::TTL;

/// The parameters of a record behind those of a batch: SQLSTATE, message, most rows; and the lower end.
const SQLSTATE: usize = 14;
const MESSAGE: usize = 15;
const MOST: usize = 16;
const LOWER: usize = 17;

impl Text<'_> {
    /// Whether a row is in the quarantine of the run that is bound as `run`. As long as that is empty, no
    /// row is asked for its key.
    pub(super) fn is_quarantined(&self, run: usize) -> String {
        // The text of a key has the collation of its column; what is compared is bytes.
        let key = format!("({} COLLATE pg_catalog.\"C\")", self.keyset.key());
        format!(
            "((SELECT EXISTS (SELECT FROM piecemeal.quarantine WHERE run_id = ${run})) AND EXISTS (\n\
             SELECT FROM piecemeal.quarantine piecemeal_q WHERE piecemeal_q.run_id = ${run}\n\
             AND pg_catalog.hash_array_extended(piecemeal_q.key, 0) = pg_catalog.hash_array_extended({key}, 0)\n\
             AND piecemeal_q.key OPERATOR(pg_catalog.=) {key}))"
        )
    }

    /// The run is locked before the statement looks at anything, so no two workers fill the last place.
    pub(super) fn quarantine(&self, has_lower: bool, is_striped: bool) -> String {
        format!(
            "{fence}, piecemeal_room AS MATERIALIZED (
    SELECT coalesce(sum(quarantined - skipped), 0)::int8 AS used FROM piecemeal.range WHERE run_id = $1
), piecemeal_found AS MATERIALIZED (
    SELECT {key} AS key FROM {table} WHERE {stretch}
    AND {matches}{stripe}
    AND NOT {quarantined}
    AND EXISTS (SELECT FROM piecemeal_fence) LIMIT 2
), piecemeal_bad AS MATERIALIZED (
    SELECT key FROM piecemeal_found WHERE (SELECT count(*) FROM piecemeal_found) = 1
), piecemeal_books AS (
    UPDATE piecemeal.range r
    SET cursor = $9, front = $10, mark = $11, stripe = $12, stripes = $13, rev = rev + 1, done = $8,
        lease_until = clock_timestamp() + interval '{ttl} seconds',
        batches = batches + 1, retries = retries + $7, seen = seen + $6,
        matched = matched + 1, quarantined = quarantined + 1
    FROM piecemeal_bad, piecemeal_room WHERE run_id = $1 AND no = $2 AND rev = $3 AND lease_token = $4
    AND piecemeal_room.used < ${MOST} RETURNING r.run_id, r.no, piecemeal_bad.key
), piecemeal_record AS (
    INSERT INTO piecemeal.quarantine (run_id, range_no, key, sqlstate, message)
    SELECT run_id, no, key, ${SQLSTATE}, ${MESSAGE} FROM piecemeal_books
), piecemeal_note AS (
    INSERT INTO piecemeal.journal (run_id, who, what, detail)
    SELECT run_id, concat_ws(' as ', (SELECT owner ->> 'who' FROM piecemeal.member m WHERE m.run_id = $1 AND m.token = $4),
                             session_user), 'quarantined', jsonb_build_object('key', key, 'sqlstate', ${SQLSTATE})
    FROM piecemeal_books
)
SELECT key, EXISTS (SELECT FROM piecemeal_books) AS is_recorded, used FROM piecemeal_bad, piecemeal_room",
            fence = self.fence_of_record(),
            key = self.keyset.key(),
            table = self.keyset.table,
            stretch = self.stretch(5, has_lower.then_some(LOWER)),
            matches = self.matches(),
            stripe = self.in_stripe(is_striped),
            quarantined = self.is_quarantined(1),
            ttl = TTL.as_secs(),
        )
    }

    /// Parameters: run, range, rev, token, most rows, retries.
    pub(super) fn requeued(&self) -> String {
        let table = &self.keyset.table;
        let joined = self.keyset.columns.iter().enumerate().map(|(at, column)| {
            let (name, sql_type) = (&column.name, &column.sql_type);
            format!("{table}.{name} OPERATOR(pg_catalog.=) (piecemeal_key)[{}]::{sql_type}", at + 1)
        });
        let hot = hot(self.target);
        format!(
            "{fence}, piecemeal_queued AS MATERIALIZED (
    SELECT id AS piecemeal_id, key COLLATE pg_catalog.\"default\" AS piecemeal_key FROM piecemeal.quarantine
    WHERE run_id = $1 AND range_no = $2 AND is_queued AND EXISTS (SELECT FROM piecemeal_fence) ORDER BY id LIMIT $5
), piecemeal_work AS (
    UPDATE {table} SET {set} FROM piecemeal_queued
    WHERE {joined}
    AND {matches}
    RETURNING {still} AS still
), piecemeal_gone AS (
    DELETE FROM piecemeal.quarantine USING piecemeal_queued WHERE id = piecemeal_id
), piecemeal_count AS (
    SELECT greatest({matched}, count(*)) AS matched, count(*) AS changed, count(*) FILTER (WHERE still) AS still,
           (SELECT count(*) FROM piecemeal_queued) AS taken FROM piecemeal_work
), piecemeal_books AS (
    UPDATE piecemeal.range r
    SET rev = rev + 1, done = c.taken < $5, lease_until = clock_timestamp() + interval '{ttl} seconds',
        batches = batches + 1, retries = retries + $6, quarantined = quarantined - c.taken,
        matched = r.matched - c.taken + c.matched, changed = r.changed + c.changed,
        unchanged = unchanged + c.matched - c.changed, still = r.still + c.still
    FROM piecemeal_count c WHERE run_id = $1 AND no = $2 AND rev = $3 AND lease_token = $4
    AND EXISTS (SELECT FROM piecemeal_fence)
    RETURNING r.done, c.taken, c.matched, c.changed, c.still
)
SELECT done, taken, 0::int8 AS seen, matched, changed, still, {hot} - (SELECT hot FROM piecemeal_fence) AS hot,
       ({LSN} - (SELECT lsn FROM piecemeal_fence))::int8 AS wal, {TOOK} AS took,
       (SELECT piecemeal_key FROM piecemeal_queued ORDER BY piecemeal_id DESC LIMIT 1) AS key FROM piecemeal_books",
            fence = self.fence(&format!("{hot} AS hot, {LSN} AS lsn")),
            set = self.set(),
            joined = joined.clone().collect::<Vec<_>>().join(" AND "),
            matches = self.matches(),
            still = self.still_matches(),
            matched = self.matched_of_requeued(joined),
            ttl = TTL.as_secs(),
        )
    }

    /// As for any batch: rows that a trigger suppresses are not returned by the UPDATE.
    fn matched_of_requeued(&self, joined: impl Iterator<Item = String>) -> String {
        if !self.target.has_before_update_trigger {
            return "0".into();
        }
        format!(
            "(SELECT count(*) FROM {}, piecemeal_queued WHERE {} AND {})",
            self.keyset.table,
            joined.collect::<Vec<_>>().join(" AND "),
            self.matches()
        )
    }
}
