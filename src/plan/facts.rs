//! What the catalog says about a job's table and everything attached to it.
//!
//! Raw facts, read once by [`catalog`](super::catalog) and judged by [`check`](super::check): plain
//! values, so that a check can be tested without a database. Names called quoted are as the server
//! quotes them (R27); those that are not are for comparing with the job only. Every field is what one
//! of the statements beside `catalog` returns, by the same name.
//!
//! Nothing is judged here, and no row of the table has been looked at.

mod partitions;
mod table;

use serde::Deserialize;

pub(super) use partitions::{OwnIndex, Partitions};
pub(super) use table::{
    Collation, CollationVersion, Column, ForeignKey, Index, Part, Table, Trigger,
};

/// Everything that preflight knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The server and the role.
    pub server: Server,
    /// What has the job's name; of several, the one that an unqualified name means comes first.
    pub relations: Vec<Relation>,
    /// Tables that may have been meant, quoted, the likeliest first; empty if one was found.
    pub near: Vec<String>,
    /// The first relation in detail, if it is an ordinary table, partitioned or not; nothing more is asked of others.
    pub table: Option<Table>,
    /// What is around the table; unknown on a server that is too old to be asked.
    pub surroundings: Option<Surroundings>,
}

impl Facts {
    /// Returns the relation that the job's name means.
    pub(super) fn relation(&self) -> Option<&Relation> {
        self.relations.first()
    }

    /// Returns the relation and its details, if it is an ordinary table.
    pub(super) fn subject(&self) -> Option<(&Relation, &Table)> {
        self.relation().zip(self.table.as_ref())
    }
}

/// The server, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the catalog's own flags, each on its own")]
pub(super) struct Server {
    /// As in `150018`.
    pub version: i32,
    /// As in `15.18 (Debian …)`.
    pub version_text: String,
    /// Whether it is a standby.
    pub in_recovery: bool,
    /// Whether transactions of this role are read-only unless they say otherwise.
    pub is_read_only: bool,
    /// The encoding of the database.
    pub encoding: String,
    /// The database, quoted.
    pub database: String,
    /// The current role, quoted.
    pub role: String,
    /// Whether no privilege is ever checked.
    pub is_superuser: bool,
    /// Whether row security never applies.
    pub bypasses_row_security: bool,
    /// Whether transactions of other roles can be seen.
    pub sees_activity: bool,
    /// The size of the server's own cache, in bytes.
    pub shared_buffers: u64,
    /// The schemas in which an unqualified name is looked up, in this order.
    pub path: Vec<String>,
}

impl Server {
    /// Returns the major version, as in 15.
    pub(super) fn major(&self) -> i32 {
        self.version / 10_000
    }
}

/// Something that has a name in a schema.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Relation {
    /// Its identity.
    pub oid: u32,
    /// Its schema, quoted.
    pub schema: String,
    /// Schema and name, quoted.
    pub name: String,
    /// `relkind`, as in `r` for a table.
    pub kind: String,
    /// Whether it ends with its session.
    pub is_temporary: bool,
    /// Whether it belongs to the server's own catalogs.
    pub is_system: bool,
    /// Whether it belongs to our ledger.
    pub is_ledger: bool,
    /// The position of its schema in the search path; 0 if that did not matter.
    pub place: i32,
}

impl Relation {
    /// Whether it is a partitioned table.
    pub(super) fn is_partitioned(&self) -> bool {
        self.kind == "p"
    }

    /// Whether it is a permanent table that is the application's, partitioned or not.
    pub(super) fn is_ordinary(&self) -> bool {
        (self.kind == "r" || self.is_partitioned())
            && !self.is_temporary
            && !self.is_system
            && !self.is_ledger
    }
}

/// What is around the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Surroundings {
    /// Our own schema.
    pub ledger: Ledger,
    /// The schemas of the job's search path, in its order.
    pub search_path: Vec<Schema>,
    /// Who keeps old row versions alive, the oldest first.
    pub holders: Vec<Holder>,
}

/// Our own schema, as far as it is there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    /// Whether there is a schema of that name.
    pub has_schema: bool,
    /// Whether this role may create one.
    pub can_create: bool,
    /// Whether this role may use it.
    pub schema_usage: bool,
    /// Its tables that are there.
    pub tables: Vec<LedgerTable>,
}

/// A table of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerTable {
    /// Schema and name, quoted.
    pub name: String,
    /// Whether it survives a crash.
    pub is_logged: bool,
    /// The privileges on it that this role lacks.
    pub lacks: Vec<String>,
}

/// A schema of the job's search path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Schema {
    /// Its name, quoted.
    pub quoted: String,
    /// Whether it is there.
    pub exists: bool,
    /// Whether this role may use it.
    pub usage: bool,
}

/// Something that keeps old row versions alive.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Holder {
    /// What it is.
    pub kind: HolderKind,
    /// A pid, or the name as an SQL literal.
    pub name: String,
    /// Since when, in UTC; a slot does not say.
    pub since: Option<String>,
    /// The same in seconds.
    pub seconds: Option<i64>,
    /// How many transaction ids were handed out since.
    pub transactions: i64,
}

/// What keeps old row versions alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HolderKind {
    /// A transaction of a session.
    Session,
    /// A transaction prepared for two-phase commit.
    Prepared,
    /// A replication slot.
    Slot,
    /// A standby with `hot_standby_feedback`.
    Standby,
}
