//! `autovacuum`: whether a worker vacuums the table, or its TOAST table, or a partition,
//! against wraparound.
//!
//! Such a worker does not give way, so whoever wants its lock waits for all of its work.

use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::ask::{Role, role};
use super::reading::{Blind, Reading, Unit};
use super::{Throttler, ask};
use crate::job::Limit;
use crate::pg::{Param, Session};
use crate::plan::family;

const SQL: &str = concat!(
    "SELECT pg_catalog.jsonb_build_object(",
    role!(),
    ", 'works', coalesce(pg_catalog.bool_or(a.query LIKE '%(to prevent wraparound)%'), false),
       'is_hidden', coalesce(pg_catalog.bool_or(a.state = 'disabled'), false))
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid IN ($tables) AND l.relation IN (c.oid, c.reltoastrelid)
JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid AND a.datname = pg_catalog.current_database()
WHERE l.locktype = 'relation' AND a.backend_type = 'autovacuum worker'"
);

#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    role: Role,
    works: bool,
    is_hidden: bool,
}

/// Looks for a worker that may not be interrupted.
pub(super) struct Autovacuum {
    pub(super) name: String,
    /// The table.
    pub(super) table: u32,
}

impl Throttler for Autovacuum {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        Box::pin(async move {
            let table = Param::Int(i64::from(self.table));
            let sql = SQL.replace("$tables", &family("$1::pg_catalog.oid"));
            let answer: Answer = ask::one(session, &sql, &[table]).await?;
            answer.role.must_see_all()?;
            if answer.is_hidden {
                return Err(Blind::new("track_activities is off"));
            }
            let works = f64::from(u8::from(answer.works));
            Ok(Reading::of(
                works,
                Unit::Truth("works on the table against wraparound"),
                Limit::Never,
            ))
        })
    }
}
