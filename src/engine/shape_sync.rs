//! What becomes of the sync trigger while statements are run: it goes with the one that takes away what it stands on,
//! or when all of them are done.

use std::time::{Duration, Instant};

use super::shaper::{Halt, Hand, Shaper};
use crate::ledger::journal;
use crate::pg::fault::is_lock_timeout;
use crate::pg::{DbMessage, Fault};
use crate::run::Event;
use crate::sync::{self, Blocker, Release};

/// How long it is tried to drop the trigger before orders are looked at.
const TRIES: Duration = Duration::from_secs(1);

/// A trigger that is there.
pub(super) struct Kept {
    release: Release,
    table: String,
}

impl Shaper {
    /// What lets go of the trigger of the job, and of that of its way back.
    fn releases(&self) -> Vec<Release> {
        let back = self.job.reversed(|_| None);
        [Some(&self.job), back.as_ref()].into_iter().flatten().filter_map(Release::of).collect()
    }

    /// Returns what keeps rows in step now.
    pub(super) async fn kept(&self) -> Result<Vec<Kept>, Fault> {
        let releases = &self.releases();
        if releases.is_empty() {
            return Ok(Vec::new());
        }
        self.insist(|mut session| async move {
            let mut kept = Vec::new();
            for release in releases {
                let tables = sync::tables(&mut session, &release.job).await?;
                let of = |table| Kept { release: release.clone(), table };
                kept.extend(tables.into_iter().map(of));
            }
            Ok(kept)
        })
        .await
    }

    /// Puts a statement between the looks at what is kept in step.
    pub(super) fn between(&self, kept: &[Kept], sql: &str) -> Vec<String> {
        let before = kept.iter().map(|it| it.release.before());
        // Its record is the fence.
        let after = kept.iter().map(|it| it.release.after(&self.line(it).ended(None)));
        before.chain([sql.to_owned()]).chain(after).collect()
    }

    fn line<'a>(&'a self, kept: &'a Kept) -> journal::Kept<'a> {
        journal::Kept { run: self.run, actor: self.actor(), table: &kept.table }
    }

    /// Tells what is kept in step no more, of what was.
    pub(super) async fn say_let_go(&self, kept: &[Kept]) -> Result<(), Halt> {
        let now = if kept.is_empty() { Vec::new() } else { self.kept().await? };
        for it in kept {
            if !now.iter().any(|still| still.release == it.release) {
                self.voice.say(Event::LetGo { table: it.table.clone() });
            }
        }
        Ok(())
    }

    /// Lets go of what no statement has taken away, and of a function that was left without its trigger.
    pub(super) async fn let_go(&self, hand: &Hand) -> Result<(), Halt> {
        let kept = self.kept().await?;
        for release in self.releases() {
            let of_it = kept.iter().find(|it| it.release == release);
            self.drop_sync(hand, &release.job, of_it).await?;
        }
        self.say_let_go(&kept).await
    }

    async fn drop_sync(&self, hand: &Hand, job: &str, kept: Option<&Kept>) -> Result<(), Halt> {
        let note = kept.map(|it| self.line(it).ended(Some(&hand.holder.token)));
        let note = note.as_deref();
        let table = kept.map_or("its table", |it| &it.table);
        let started = Instant::now();
        loop {
            self.asked(hand)?;
            let dropped = self.insist(|mut session| async move {
                let mut told = |blocker: &Blocker| {
                    self.voice.say(Event::Blocked { by: format!("{table} is held by {blocker}") });
                };
                sync::drop(&mut session, (job, note), TRIES, &mut told).await
            });
            let fault = match dropped.await {
                Ok(_) => return Ok(()),
                Err(fault) if is_lock_timeout(fault.message()) => fault,
                Err(fault) => return Err(Halt::from(fault)),
            };
            if started.elapsed() >= self.job.pace.max_hold {
                let what = format!("the sync trigger could not be dropped: {}", fault.message());
                return Err(Halt::GaveUp(Box::new(DbMessage::local(what))));
            }
        }
    }
}
