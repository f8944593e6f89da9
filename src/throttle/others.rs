//! Whether anybody else is at work in the server: what spares others costs a run its speed, and there is
//! no reason for it where nobody is.

use super::ask::{self, of_others};
use super::reading::Blind;
use crate::pg::Session;

/// Whoever is hidden from this role may have done something.
const AT_WORK: &str = concat!(
    "SELECT pg_catalog.to_jsonb(EXISTS (SELECT FROM pg_catalog.pg_stat_activity a
WHERE coalesce(a.backend_type, 'client backend') = 'client backend'
  AND coalesce(a.state_change > clock_timestamp() - interval '1 second', true) AND ",
    of_others!(),
    "))"
);

/// Returns whether anybody else did anything in the last second.
pub(crate) async fn are_at_work(session: &mut Session) -> Result<bool, Blind> {
    ask::one(session, AT_WORK, &[]).await
}
