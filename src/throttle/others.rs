//! Whether anybody else is at work in the server: what spares others costs a run its speed, and there is
//! no reason for it where nobody is.
//!
//! Whoever runs a statement is at work, however long it takes. Who has ended one is for a while: the next
//! may come any moment. Who only keeps a transaction open waits for nothing of ours. Nor do those who look
//! at runs and steer them, with the commands that are of no job: they would slow down what they watch.

use std::time::{Duration, Instant};

use super::ask::{self, of_others};
use super::reading::Blind;
use crate::pg::Session;

/// How long somebody counts as at work after he was. Also one whose session is gone: where each statement
/// has a session of its own, hardly one is met.
const FOR: Duration = Duration::from_secs(10);

/// For how many seconds nobody else has done anything; nothing where nobody has yet. Whoever is hidden from
/// this role may do something; who has neither a role nor a database is no client.
const QUIET: &str = concat!(
    "SELECT pg_catalog.to_jsonb(min(CASE
    WHEN a.state IN ('active', 'fastpath function call') THEN 0.0
    ELSE coalesce(greatest(extract(epoch FROM clock_timestamp() - a.state_change), 0.0), 0.0) END))
FROM pg_catalog.pg_stat_activity a
WHERE coalesce(a.backend_type, 'client backend') = 'client backend'
  AND a.usesysid IS NOT NULL AND a.datid IS NOT NULL
  AND (a.usename = SESSION_USER AND a.application_name = 'piecemeal') IS NOT TRUE AND ",
    of_others!()
);

/// Those who share the server with a run.
#[derive(Debug)]
pub(crate) struct Others {
    /// Since when they are looked at: what somebody did before that is no work beside ours.
    since: Instant,
    /// When one of them was at work last.
    last: Option<Instant>,
}

impl Others {
    /// Begins to look at them.
    pub(crate) fn since(now: Instant) -> Others {
        Others { since: now, last: None }
    }

    /// Returns whether one of them is at work, or was just now.
    pub(crate) async fn are_at_work(&mut self, session: &mut Session) -> Result<bool, Blind> {
        let quiet: Option<f64> = ask::one(session, QUIET, &[]).await?;
        let quiet = quiet.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(self.note(quiet, Instant::now()))
    }

    /// Learns for how long nobody has done anything at `now`.
    fn note(&mut self, quiet: Option<Duration>, now: Instant) -> bool {
        let seen = quiet.and_then(|quiet| now.checked_sub(quiet));
        self.last = self.last.max(seen.filter(|seen| *seen >= self.since));
        self.last.is_some_and(|last| now.saturating_duration_since(last) < FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_at_work_still_is_for_a_while_also_when_he_is_gone() {
        let began = Instant::now();
        let mut others = Others::since(began);
        let mut at = |seconds, quiet: Option<u64>| {
            others.note(quiet.map(Duration::from_secs), began + Duration::from_secs(seconds))
        };
        assert!(!at(0, None) && !at(1, Some(2)), "before we came");
        assert!(at(20, Some(3)), "three seconds ago");
        assert!(at(26, None), "nine seconds ago");
        assert!(!at(27, None) && !at(28, Some(3_600)));
        assert!(at(29, Some(0)) && at(38, Some(20)));
        assert!(!at(39, Some(21)));
    }
}
