//! What the table is like: its rows, its key, its indexes, and which of its rows are to be changed.
//!
//! Pure: SQL text. Whatever its key, a row takes the same columns beside it, about 190 bytes.

use std::fmt::Write as _;

/// What is done to each row, as the right side of `SET new =`.
pub(crate) const NEW: &str = "lower(email)";

/// The columns beside the key, and how they are filled; `new` is empty and in no index.
const COLUMNS: &str =
    "email text, account_id int, a int, b int, c text, d timestamptz, e text, new text";
const VALUES: &str = "'User' || i || '@Example.org', (random() * 1e6)::int, i, i, md5(i::text), now(), md5((i + 1)::text)";

/// Columns that may have an index, the first of them first.
const INDEXED: [&str; 4] = ["account_id", "a", "b", "c"];

/// The kinds of primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Key {
    /// In the order in which the rows were inserted
    Bigint,
    /// Random: neighbours in the key are far apart in the table
    Uuid,
    /// `(tenant, id)`: a hundred tenants, whose rows were inserted in turns
    Composite,
}

impl Key {
    /// Returns its columns.
    pub(crate) fn columns(self) -> &'static str {
        match self {
            Key::Bigint | Key::Uuid => "id",
            Key::Composite => "tenant, id",
        }
    }

    fn declared(self) -> &'static str {
        match self {
            Key::Bigint => "id bigint",
            Key::Uuid => "id uuid",
            Key::Composite => "tenant int, id bigint",
        }
    }

    fn values(self) -> &'static str {
        match self {
            Key::Bigint => "i",
            Key::Uuid => "gen_random_uuid()",
            Key::Composite => "(random() * 99)::int, i",
        }
    }
}

/// The table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) rows: u32,
    pub(crate) key: Key,
    /// Indexes beside that of the key.
    pub(crate) indexes: u8,
    /// One row out of so many is to be changed; every row if nothing is said.
    pub(crate) matching: Option<u32>,
}

impl Shape {
    /// Returns the `where` of what is to be changed, which no index helps with.
    pub(crate) fn filter(&self) -> Option<String> {
        self.matching.map(|matching| format!("a % {matching} = 0 AND new IS NULL"))
    }

    /// `original` is kept as it is; each measurement gets a copy of it.
    pub(super) fn original(&self) -> String {
        let (declared, values) = (self.key.declared(), self.key.values());
        format!(
            "CREATE TABLE original ({declared}, {COLUMNS});
             INSERT INTO original SELECT {values}, {VALUES} FROM generate_series(1, {}) i;",
            self.rows
        )
    }

    /// The rows as they are in the end, freshly written: what they need by themselves.
    pub(super) fn needed(&self) -> String {
        let filter = self.filter().unwrap_or_else(|| "true".to_owned());
        format!(
            "CREATE TABLE needed AS
             SELECT {}, email, account_id, a, b, c, d, e, CASE WHEN {filter} THEN {NEW} END AS new
             FROM original;",
            self.key.columns()
        )
    }

    /// The ledger goes too, whatever the measurement before has left in it.
    pub(super) fn renew(&self) -> String {
        let mut renew = format!(
            "DROP SCHEMA IF EXISTS piecemeal CASCADE;
             DROP TABLE IF EXISTS t;
             CREATE TABLE t AS TABLE original;
             ALTER TABLE t ADD PRIMARY KEY ({});",
            self.key.columns()
        );
        for column in INDEXED.iter().take(self.indexes.into()) {
            // Writing to a text does not fail.
            let _ = write!(renew, "CREATE INDEX ON t ({column});");
        }
        renew
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_the_indexes_that_it_says() {
        for indexes in 0..4 {
            let shape = Shape { rows: 9, key: Key::Composite, indexes, matching: None };
            assert_eq!(shape.renew().matches("CREATE INDEX").count(), usize::from(indexes));
            assert!(shape.renew().contains("PRIMARY KEY (tenant, id)"));
        }
    }

    #[test]
    fn what_is_done_does_not_match_any_more() {
        let shape = Shape { rows: 9, key: Key::Uuid, indexes: 0, matching: Some(3) };
        assert_eq!(shape.filter().unwrap(), "a % 3 = 0 AND new IS NULL");
        assert!(shape.needed().contains("CASE WHEN a % 3 = 0 AND new IS NULL THEN"));
    }
}
