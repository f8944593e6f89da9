//! The SQL of a walk in physical order.
//!
//! A place is a `ctid` as text, such as `(41,17)`: a row of one value, where a key has one for each
//! of its columns. A stretch is a TID range scan, which reads its blocks one after the other, and the
//! rows of a block in their order. Blocks that have no rows are read all the same, and there may be
//! millions of them, so one look goes over so many blocks at most: a chunk may end where no row is.
//! The end of the last block is a place that no row can have; rows in blocks that came later are
//! not walked.

use super::axis::Axis;
use super::key::Key;

/// Blocks that one look for the end of a chunk goes over: 8 MB, which most disks read within the time
/// that a look may take, and more than a batch has rows in. More of them would make a table without
/// rows faster to pass, and a batch over what they left behind slower.
const BLOCKS: u32 = 1_024;

/// The highest number of a row in a block; a block of 8 kB has 291 at most.
const LAST: u32 = 65_535;

/// A table's file, along which it is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heap<'a> {
    /// The table, qualified and quoted.
    pub table: &'a str,
}

impl Heap<'_> {
    /// Returns the place before the first row of a block.
    pub(crate) fn before(block: u64) -> String {
        format!("({block},0)")
    }

    /// Returns the query for the file that the table `oid` has now, as `filenode`, and the end of its
    /// last block, as `upto`; that is NULL if it has none. A table that is gone has neither.
    pub(crate) fn extent(oid: u32) -> String {
        format!(
            "SELECT pg_catalog.pg_relation_filenode({oid}) AS filenode, \
             CASE WHEN blocks > 0 THEN ARRAY['(' || blocks - 1 || ',{LAST})'] END AS upto \
             FROM (SELECT pg_catalog.pg_relation_size({oid}) \
             / pg_catalog.current_setting('block_size')::pg_catalog.int8 AS blocks) AS piecemeal_file"
        )
    }

    /// Returns where the next so many blocks of the stretch `(after, end]` end, and whether that is its
    /// end; nothing if the two are no places. A rest of half as many goes with them: it would cost a
    /// transaction of its own.
    pub(crate) fn ahead(after: Option<&Key>, end: &Key, blocks: u32) -> Option<(Key, bool)> {
        let before = after.map_or(Some(-1), block)?;
        let last = before + i64::from(blocks.max(1));
        if last + i64::from(blocks / 2) >= block(end)? {
            return Some((end.clone(), true));
        }
        Some((Key::new(vec![format!("({last},{LAST})")]), false))
    }

    fn ctid(&self) -> String {
        format!("{}.ctid", self.table)
    }

    /// The end of a look from the place bound as `lower`, or from the beginning, and whether that is
    /// before the end of the stretch, which is bound as `upper`.
    fn edge(upper: usize, lower: Option<usize>) -> (String, String) {
        let block = |no| format!("(({})::pg_catalog.point)[0]::pg_catalog.int8", text(no));
        let from = lower.map_or_else(|| "(-1)::pg_catalog.int8".into(), block);
        let last = format!("{from} OPERATOR(pg_catalog.+) {BLOCKS}::pg_catalog.int8");
        let edge = format!(
            "('(' OPERATOR(pg_catalog.||) ({last})::pg_catalog.text OPERATOR(pg_catalog.||) ',{LAST})')"
        );
        (edge, format!("{last} OPERATOR(pg_catalog.<) {}", block(upper)))
    }
}

/// Returns the block of a place.
fn block(place: &Key) -> Option<i64> {
    let [place] = place.values() else { return None };
    place.strip_prefix('(')?.split_once(',')?.0.parse().ok()
}

fn text(no: usize) -> String {
    format!("(${no}::text[])[1]")
}

impl Axis for Heap<'_> {
    fn above(&self, no: usize) -> String {
        format!("{} OPERATOR(pg_catalog.>) {}::pg_catalog.tid", self.ctid(), text(no))
    }

    fn upto(&self, no: usize) -> String {
        format!("{} OPERATOR(pg_catalog.<=) {}::pg_catalog.tid", self.ctid(), text(no))
    }

    fn nth(&self, has_lower: bool) -> String {
        let lower = has_lower.then_some(3);
        let (edge, is_before) = Heap::edge(2, lower);
        let ctid = self.ctid();
        format!(
            "SELECT CASE WHEN found OPERATOR(pg_catalog.>) $1 THEN ARRAY[last] WHEN {is_before} THEN ARRAY[{edge}] END, found \
             FROM (SELECT count(*) AS found, max(place)::text AS last FROM (\
             SELECT {ctid} AS place FROM {table} WHERE {above}\
             {ctid} OPERATOR(pg_catalog.<=) (CASE WHEN {is_before} THEN {edge} ELSE {end} END)::pg_catalog.tid \
             LIMIT $1 OPERATOR(pg_catalog.+) 1::pg_catalog.int8) AS piecemeal_place) AS piecemeal_look",
            table = self.table,
            above = lower.map(|no| self.above(no) + " AND ").unwrap_or_default(),
            end = text(2),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_a_range_of_places() {
        let heap = Heap { table: "public.posts" };
        assert_eq!(
            heap.above(3),
            "public.posts.ctid OPERATOR(pg_catalog.>) ($3::text[])[1]::pg_catalog.tid"
        );
        assert_eq!(
            heap.upto(5),
            "public.posts.ctid OPERATOR(pg_catalog.<=) ($5::text[])[1]::pg_catalog.tid"
        );
    }

    #[test]
    fn so_many_blocks_end_behind_the_last_of_them_or_with_the_stretch() {
        let place = |text: &str| Key::new(vec![text.to_owned()]);
        let end = place("(99,65535)");
        let ahead =
            |after: Option<&str>, blocks| Heap::ahead(after.map(place).as_ref(), &end, blocks);
        assert_eq!(ahead(None, 10), Some((place("(9,65535)"), false)));
        assert_eq!(ahead(Some("(9,65535)"), 10), Some((place("(19,65535)"), false)));
        assert_eq!(ahead(Some("(40,17)"), 1), Some((place("(41,65535)"), false)));
        assert_eq!(ahead(Some("(89,65535)"), 10), Some((end.clone(), true)));
        assert_eq!(ahead(Some("(84,65535)"), 10), Some((end.clone(), true)));
        assert_eq!(ahead(Some("(83,65535)"), 10), Some((place("(93,65535)"), false)));
        assert_eq!(ahead(None, u32::MAX), Some((end.clone(), true)));
        assert_eq!(ahead(Some("a key"), 10), None);
    }
}
