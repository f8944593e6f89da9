//! `active-sessions`: how many sessions run a statement now, in all databases of the server, but for
//! those of this process.

use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::ask::{Role, of_others, role};
use super::reading::{Blind, Reading, Unit};
use super::{Throttler, ask};
use crate::job::Limit;
use crate::pg::Session;

const SQL: &str = concat!(
    "SELECT pg_catalog.jsonb_build_object(",
    role!(),
    ", 'active', count(*) FILTER (WHERE a.state = 'active'),
       'disabled', count(*) FILTER (WHERE a.state = 'disabled'))
FROM pg_catalog.pg_stat_activity a
WHERE a.backend_type = 'client backend' AND ",
    of_others!()
);

#[derive(Deserialize)]
struct Answer {
    #[serde(flatten)]
    role: Role,
    active: u32,
    disabled: u32,
}

/// Counts sessions that run a statement.
pub(super) struct ActiveSessions {
    pub(super) name: String,
    pub(super) limit: Limit,
}

impl Throttler for ActiveSessions {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        Box::pin(async move {
            let answer: Answer = ask::one(session, SQL, &[]).await?;
            answer.role.must_see_all()?;
            if answer.disabled > 0 {
                return Err(Blind::new("track_activities is off for some sessions"));
            }
            Ok(Reading::of(f64::from(answer.active), Unit::Things(""), self.limit))
        })
    }
}
