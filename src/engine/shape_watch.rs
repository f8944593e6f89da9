//! What is seen beside a statement while it runs: who stands in its way, and who waits for it.
//!
//! VALIDATE may take hours under a lock that holds up no reader and no writer; but DDL that comes waits for it, and all of
//! them behind that. So it gives way, and is tried again; and whoever asks the run to stop does not wait for it either.
//! What runs CONCURRENTLY does not: it would leave an index that is not valid, and begin anew.

use std::time::{Duration, Instant};

use super::shaper::{Hand, Shaper};
use crate::change::{self, Blocker, Waiters};
use crate::pg::{Alone, Lane, Session};
use crate::run::Event;

/// How often it is looked, well below what anybody should wait.
const LOOK: Duration = Duration::from_millis(60);

/// When a statement is cancelled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// When it has waited for tables in a row for so long: the server's own limit is for each of them.
    pub(super) longest: Option<Duration>,
    /// When somebody waits for what it holds, whom others wait behind, or the run is to stop.
    pub(super) gives_way: bool,
}

impl Patience {
    /// It waits, and lets others wait.
    pub(super) const ENDLESS: Patience = Patience { longest: None, gives_way: false };
}

/// What was seen beside a statement.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Who stood in its way last, or waited for it.
    pub(super) who: Option<String>,
    /// Whether it had what it needs, and gave way.
    pub(super) gave_way: bool,
    /// Since when others queue behind it, while it waits.
    queued: Option<Instant>,
}

impl Shaper {
    /// Looks beside what `alone` does, until it is over.
    pub(super) async fn watched<T>(
        &self,
        hand: &Hand,
        alone: &Alone,
        act: impl Future<Output = T>,
        patience: Patience,
    ) -> (T, Seen) {
        let (over, mut is_over) = tokio::sync::watch::channel(false);
        self.cancels(Some(alone));
        let acting = async {
            let came = act.await;
            over.send_replace(true);
            came
        };
        let looking = async {
            let (mut seen, mut overdue) = (Seen::default(), alone.overdue());
            while !*is_over.borrow() {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    _ = is_over.changed() => break,
                }
                let Ok(mut session) = self.database.session(Lane::Watch).await else { continue };
                overdue.look(&mut session).await;
                let is_to_stop = patience.gives_way && self.asked(hand).is_err();
                if is_to_stop
                    || self.is_too_much(&mut session, overdue.backend, patience, &mut seen).await
                {
                    // Should it not come through, there is another look.
                    let _ = self.database.cancel(&alone.cancel_token()).await;
                }
            }
            seen
        };
        let (came, seen) = tokio::join!(acting, looking);
        self.cancels(None);
        (came, seen)
    }

    /// Looks once; returns whether the statement is to be cancelled.
    async fn is_too_much(
        &self,
        session: &mut Session,
        backend: i64,
        patience: Patience,
        seen: &mut Seen,
    ) -> bool {
        // What cannot be seen now is looked for again.
        let blocker = change::blocked_by(session, backend).await.ok().flatten();
        let is_queued_for = blocker.as_ref().is_some_and(Blocker::is_queued_for);
        seen.queued = is_queued_for.then(|| seen.queued.unwrap_or_else(Instant::now));
        let waited = seen.queued.map_or(Duration::ZERO, |since| since.elapsed());
        let blocker = blocker.map(|blocker| blocker.to_string());
        if !seen.gave_way {
            self.waits_for(blocker.clone());
        }
        let has_its_lock = blocker.is_none();
        seen.who = blocker.or(seen.who.take());
        if has_its_lock && patience.gives_way && self.is_in_the_way(session, backend, seen).await {
            return true;
        }
        patience.longest.is_some_and(|longest| waited > longest)
    }

    /// Whether others wait behind somebody who waits for what the statement holds; tells it once.
    async fn is_in_the_way(&self, session: &mut Session, backend: i64, seen: &mut Seen) -> bool {
        let waiter = change::waited_for_by(session, backend, Waiters::InTheWay).await;
        let Ok(Some(waiter)) = waiter else { return false };
        if !std::mem::replace(&mut seen.gave_way, true) {
            let to = waiter.to_string();
            self.gauge().trouble = Some(format!("gave way to {to}"));
            self.voice.say(Event::GaveWay { to: to.clone() });
            seen.who = Some(to);
        }
        true
    }

    /// Returns who stands in the way of a server process now.
    pub(super) async fn blocker(&self, backend: i64) -> Option<Blocker> {
        let mut session = self.database.session(Lane::Watch).await.ok()?;
        change::blocked_by(&mut session, backend).await.ok()?
    }

    /// Keeps what ends the statement for whoever leaves at once.
    fn cancels(&self, alone: Option<&Alone>) {
        let mut gauge = self.gauge();
        gauge.cancel.clear();
        if let Some(alone) = alone {
            gauge.cancel.insert(0, alone.cancel_token());
        }
    }

    fn gauge(&self) -> std::sync::MutexGuard<'_, super::gauge::Gauge> {
        self.gauge.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Tells once who is waited for, and notes it for those who watch.
    pub(super) fn waits_for(&self, now: Option<String>) {
        let pid = |text: &Option<String>| {
            text.as_ref().and_then(|it| it.split(", in its").next().map(str::to_owned))
        };
        let is_new = {
            let mut gauge = self.gauge();
            let is_new = pid(&gauge.trouble) != pid(&now);
            gauge.trouble.clone_from(&now);
            is_new
        };
        if let Some(by) = now.filter(|_| is_new) {
            self.voice.say(Event::Blocked { by });
        }
    }
}
