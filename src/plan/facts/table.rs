//! One table with everything attached to it, as the catalog has it.
//!
//! The fields are those that `catalog/table.sql` returns. Columns are known by their numbers, which
//! stay the same when a column is renamed; names are for people, for SQL and for the job.

use serde::Deserialize;

use super::Partitions;

/// An ordinary table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the catalog's own flags, each on its own")]
pub(crate) struct Table {
    /// Whether a crash empties it.
    pub is_unlogged: bool,
    /// `relreplident`: what identifies an updated row for subscribers.
    pub replica_identity: String,
    /// Rows, by the last ANALYZE and the size that the file has now; `None` if there was none with rows.
    pub estimate: Option<u64>,
    /// Pages when it was last analyzed.
    pub relpages: u64,
    /// Bytes of the table's own file, without indexes and values stored apart.
    pub heap_bytes: u64,
    /// Bytes of the values stored apart.
    pub toast_bytes: u64,
    /// Bytes of its indexes.
    pub index_bytes: u64,
    /// How full a page is made by new rows, in percent.
    pub fillfactor: u32,
    /// Its owner, quoted.
    pub owner: String,
    /// Whether its owner is a superuser.
    pub owner_is_superuser: bool,
    /// Whether this role may vacuum it.
    pub can_vacuum: bool,
    /// Whether autovacuum was switched off for it.
    pub is_autovacuum_off: bool,
    /// Whether row security applies to this role.
    pub row_security: bool,
    /// Whether this role may use the table's schema.
    pub schema_usage: bool,
    /// Its columns, dropped ones too, in order.
    pub columns: Vec<Column>,
    /// Its indexes, by name.
    pub indexes: Vec<Index>,
    /// Foreign keys on it and to it; one to itself is there twice.
    pub foreign_keys: Vec<ForeignKey>,
    /// Triggers that an UPDATE fires, by name.
    pub triggers: Vec<Trigger>,
    /// Rules that rewrite an UPDATE, quoted.
    pub rules: Vec<String>,
    /// Tables that inherit from it, quoted.
    pub children: Vec<String>,
    /// The partitioned table that it belongs to, quoted.
    pub partition_of: Option<String>,
    /// The names of columns that say to which partition a row belongs, on any level.
    pub partition_columns: Vec<String>,
    /// Publications that publish its updates, quoted.
    pub publications: Vec<String>,
    /// What its partitions add, if it is partitioned; sizes and such are merged with its own.
    #[serde(skip)]
    pub partitions: Option<Partitions>,
    /// The collation version of the database; `None` before `PostgreSQL` 15 or if there is none.
    #[serde(default)]
    pub database_collation: Option<CollationVersion>,
}

impl Table {
    /// Returns the column of this name that is still there.
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Returns the column of this number.
    pub(crate) fn numbered(&self, number: i32) -> Option<&Column> {
        self.columns.iter().find(|column| column.number == number)
    }

    /// Returns the version of a collation with which indexes were built, and the one that the server has now;
    /// nothing if it has none.
    pub(crate) fn versions<'t>(
        &'t self,
        collation: &'t Collation,
    ) -> Option<(&'t str, Option<&'t str>)> {
        if collation.is_default {
            let version = self.database_collation.as_ref()?;
            return Some((&version.recorded, version.actual.as_deref()));
        }
        Some((collation.recorded.as_deref()?, collation.actual.as_deref()))
    }

    /// Returns the columns of these numbers as a list for people and SQL.
    pub(crate) fn list(&self, numbers: &[i32]) -> String {
        let columns = numbers.iter().filter_map(|number| self.numbered(*number));
        columns.map(|column| column.quoted.as_str()).collect::<Vec<_>>().join(", ")
    }
}

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the catalog's own flags, each on its own")]
pub(crate) struct Column {
    /// `attnum`.
    pub number: i32,
    /// The name itself.
    pub name: String,
    /// The name, quoted.
    pub quoted: String,
    /// The type with its modifier, quoted and qualified.
    #[serde(rename = "type")]
    pub sql_type: String,
    /// The type without its modifier.
    pub bare_type: String,
    /// A condition on `pg_attribute` that it fulfils only as it is: with its name, type and collation.
    pub is_it: String,
    /// The name of the type if it came with the server.
    pub built_in: Option<String>,
    /// `typtype`, or `a` for an array; unknown for a dropped column.
    pub type_kind: Option<String>,
    /// What a domain is made of.
    pub base: Option<String>,
    /// Whether no row has NULL in it.
    pub is_not_null: bool,
    /// Whether it is computed from others.
    pub is_generated: bool,
    /// Whether it is `GENERATED ALWAYS AS IDENTITY`.
    pub is_identity_always: bool,
    /// Whether it was dropped.
    pub is_dropped: bool,
    /// Whether this role may read it.
    pub can_select: bool,
    /// Whether this role may update it.
    pub can_update: bool,
    /// How its order agrees with that of the rows in the table's file, in hundredths from -100 to 100;
    /// `None` if that was never measured, or this role may not see it.
    pub correlation: Option<i32>,
    /// Its collation, if its type has one.
    pub collation: Option<Collation>,
}

/// How text is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Collation {
    /// Schema and name, quoted.
    pub name: String,
    /// Whether it is the database's own.
    pub is_default: bool,
    /// Whether texts are equal only if their bytes are.
    pub is_deterministic: bool,
    /// The version with which it was made; `None` if it has none.
    pub recorded: Option<String>,
    /// The version that the server has now.
    pub actual: Option<String>,
}

/// The version of a collation, then and now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct CollationVersion {
    /// The one with which indexes were built.
    pub recorded: String,
    /// The one that the server has now.
    pub actual: Option<String>,
}

/// An index of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the catalog's own flags, each on its own")]
pub(crate) struct Index {
    /// Schema and name, quoted.
    pub name: String,
    /// The name alone, quoted.
    pub bare: String,
    /// As in `btree`.
    pub method: String,
    /// Whether it belongs to the primary key.
    pub is_primary: bool,
    /// Whether it is unique.
    pub is_unique: bool,
    /// Whether it belongs to an exclusion constraint.
    pub is_exclusion: bool,
    /// Whether uniqueness is never checked later than at once.
    pub is_immediate: bool,
    /// Whether it is valid, ready and not being dropped.
    pub is_usable: bool,
    /// Whether it holds only some of the rows.
    pub is_partial: bool,
    /// Whether it was chosen to identify rows for subscribers.
    pub is_replica_identity: bool,
    /// What it is ordered by; included columns are not here.
    pub parts: Vec<Part>,
    /// The numbers of all columns that are in it, however.
    pub touches: Vec<i32>,
}

impl Index {
    /// Returns the numbers of the columns that it is ordered by; 0 for an expression.
    pub(crate) fn order(&self) -> Vec<i32> {
        self.parts.iter().map(|part| part.column).collect()
    }
}

/// What an index is ordered by, one of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the catalog's own flags, each on its own")]
pub(crate) struct Part {
    /// The number of a column, or 0 for an expression.
    pub column: i32,
    /// Whether it is `DESC`.
    pub is_descending: bool,
    /// Whether NULL comes first.
    pub nulls_first: bool,
    /// Whether it is ordered as its type is by default.
    pub has_default_order: bool,
    /// Whether it is ordered by the collation of the column.
    pub has_column_collation: bool,
}

/// A foreign key with the table at one of its ends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForeignKey {
    /// Its name, quoted.
    pub name: String,
    /// Whether it points to the table, rather than from it.
    pub points_here: bool,
    /// The table at the other end, quoted.
    pub other: String,
    /// The numbers of the table's columns in it.
    pub columns: Vec<i32>,
    /// Whether it can be checked as late as at commit.
    pub is_deferrable: bool,
}

/// A trigger that an UPDATE fires.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trigger {
    /// Its name, quoted.
    pub name: String,
    /// Whether it fires before the row is written.
    pub is_before: bool,
    /// Whether it fires for each row, rather than for each statement.
    pub is_row: bool,
    /// It fires only for an UPDATE of these columns; empty means of any.
    pub columns: Vec<i32>,
    /// The function, quoted.
    pub function: String,
    /// Columns that the text of the function seems to set.
    pub assigns: Vec<String>,
    /// The partition that alone has it, quoted.
    #[serde(default)]
    pub partition: Option<String>,
}
