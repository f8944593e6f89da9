//! What is asked of the catalog for a sync trigger, beyond what every job needs.

use serde::Deserialize;
use serde_json::Value;

use super::reads::called;
use crate::job::{Job, Sync};
use crate::pg::{DbMessage, Fault, Guards, Param, Session};
use crate::plan::target::Target;
use crate::sync::name_of;

const SITUATION: &str = include_str!("../catalog/sync.sql");

/// The table, as far as the trigger has to do with it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Situation {
    /// Whether this role owns the table, or is a member of the role that does.
    pub(super) is_owner: bool,
    /// Whether it may create functions in the table's schema.
    pub(super) can_create: bool,
    /// The table's own name.
    pub(super) bare_name: String,
    /// The same, quoted.
    pub(super) alias: String,
    /// What an INSERT puts into columns that it does not mention.
    pub(super) defaults: Vec<Default>,
    /// Triggers that see a row after the sync trigger, quoted.
    pub(super) later: Vec<String>,
    /// Functions that expressions and defaults seem to call, and that are declared volatile.
    #[serde(default)]
    pub(super) volatile: Vec<String>,
}

/// The default of a column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Default {
    /// The column's number.
    pub(super) number: i32,
    /// It, qualified; none for an identity.
    pub(super) sql: Option<String>,
    /// Whether it is the next number of a sequence of its own.
    pub(super) is_identity: bool,
}

impl Situation {
    pub(super) fn default(&self, number: i32) -> Option<&Default> {
        self.defaults.iter().find(|default| default.number == number)
    }

    /// The volatile functions that a piece of SQL seems to call.
    pub(super) fn volatile_in(&self, sql: &str) -> Vec<&str> {
        let called = called(sql);
        let volatile = self.volatile.iter().filter(|name| called.contains(name));
        volatile.map(String::as_str).collect()
    }
}

// A name may belong to several functions; it takes one that is volatile to be named.
const VOLATILE: &str = "\
SELECT coalesce(pg_catalog.array_agg(DISTINCT p.proname::text ORDER BY p.proname::text), '{}')
FROM pg_catalog.pg_proc p WHERE p.proname::text = ANY ($1) AND p.provolatile = 'v'";

pub(super) async fn read(
    session: &mut Session,
    job: &Job,
    sync: &Sync,
    target: &Target,
) -> Result<Situation, Fault> {
    let name = name_of(&job.name);
    let params = [Param::Int(i64::from(target.oid)), name.as_str().into()];
    let rows = session.transact(&Guards::reading(), SITUATION, &params).await?;
    let found: Value = rows.first().map_or(Value::Null, |row| row.get(0));
    let mut situation: Situation = serde_json::from_value(found).map_err(|error| {
        Fault::Fatal(DbMessage::local(format!("the catalog is not as expected: {error}")))
    })?;
    let written = sync.forward.iter().chain(&sync.reverse).map(|it| &it.expression.text);
    let defaults = situation.defaults.iter().filter_map(|it| it.sql.as_ref());
    let mut names: Vec<String> = written.chain(defaults).flat_map(|sql| called(sql)).collect();
    names.sort();
    names.dedup();
    let params = [Param::Texts(Some(&names))];
    let rows = session.transact(&Guards::reading(), VOLATILE, &params).await?;
    situation.volatile = rows.first().map(|row| row.get(0)).unwrap_or_default();
    Ok(situation)
}
