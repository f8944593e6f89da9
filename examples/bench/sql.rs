//! The statements that a walk is compared with. Pure: SQL text.

use super::ground::{Key, NEW, Shape};

/// What a session that runs the loop is told first, as a walk tells its own: between two keys the
/// planner would rather read all of the table, or sort.
pub(crate) const ON_THE_INDEX: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off";

/// Returns one UPDATE of all that is to be changed.
pub(crate) fn update(shape: &Shape) -> String {
    format!("UPDATE t SET new = {NEW} WHERE {}", filter(shape))
}

/// Returns what only looks for the rows that are to be changed.
pub(crate) fn count(shape: &Shape) -> String {
    format!("SELECT count(*) FROM t WHERE {}", filter(shape))
}

/// Returns the loop that is written by hand: from key to key, with a COMMIT after so many rows.
pub(crate) fn looped(shape: &Shape, rows: u32) -> String {
    let key = shape.key.columns();
    let (first, last) = ends(shape.key);
    let (after, upto) = (qualified("after", key), qualified("upto", key));
    let skipped = rows - 1;
    format!(
        "DO $$
         DECLARE after record; upto record; is_last boolean := false;
         BEGIN
           {first} INTO after;
           WHILE NOT is_last LOOP
             SELECT {key} INTO upto FROM t WHERE ({key}) > ({after}) ORDER BY {key} OFFSET {skipped} LIMIT 1;
             IF NOT FOUND THEN
               is_last := true;
               {last} INTO upto;
             END IF;
             UPDATE t SET new = {NEW} WHERE ({key}) > ({after}) AND ({key}) <= ({upto}) AND {};
             COMMIT;
             after := upto;
           END LOOP;
         END $$",
        filter(shape)
    )
}

fn filter(shape: &Shape) -> String {
    shape.filter().unwrap_or_else(|| "true".to_owned())
}

/// Returns a key below all that there are, and one that is not below any.
fn ends(key: Key) -> (&'static str, &'static str) {
    match key {
        Key::Bigint => ("SELECT 0::bigint AS id", "SELECT 9223372036854775807 AS id"),
        Key::Uuid => (
            "SELECT '00000000-0000-0000-0000-000000000000'::uuid AS id",
            "SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid AS id",
        ),
        Key::Composite => {
            ("SELECT -1 AS tenant, 0::bigint AS id", "SELECT 2147483647 AS tenant, 0::bigint AS id")
        }
    }
}

/// Returns the columns of a key as those of a record.
fn qualified(record: &str, key: &str) -> String {
    let columns: Vec<_> = key.split(", ").map(|column| format!("{record}.{column}")).collect();
    columns.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(key: Key, matching: Option<u32>) -> Shape {
        Shape { rows: 9, key, indexes: 0, matching }
    }

    #[test]
    fn a_key_of_two_columns_is_compared_as_a_whole() {
        let sql = looped(&shape(Key::Composite, None), 1_000);
        assert!(sql.contains("(tenant, id) > (after.tenant, after.id)"), "{sql}");
        assert!(sql.contains("(tenant, id) <= (upto.tenant, upto.id)"), "{sql}");
        assert!(sql.contains("OFFSET 999 LIMIT 1"), "{sql}");
    }

    #[test]
    fn all_do_the_same_rows() {
        let shape = shape(Key::Uuid, Some(7));
        for sql in [update(&shape), count(&shape), looped(&shape, 10)] {
            assert!(
                sql.contains("AND a % 7 = 0 AND new IS NULL")
                    || sql.contains("WHERE a % 7 = 0 AND new IS NULL")
            );
        }
    }
}
