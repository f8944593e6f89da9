//! Where few rows are to do: one statement that searches for them, instead of chunk after chunk in
//! which there are none. After a fault, chunks again: they can be put aside, and a row be named.

use super::{Next, Step, Worker};
use crate::batch::{self, Applied, Attempt, Found, Place, Search};
use crate::engine::recover::{FIRST_WAIT, jittered};
use crate::pg::{Fault, Session};
use crate::walk::{Chunk, Heap, Key};

/// The part of `give_way` after which a search along the key ends at the next row.
const SEARCHED: f64 = 0.5;

/// What a search ends at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// So many rows that are to do, or the time that a batch may take.
    Rows(u32),
    /// So many blocks of the table's file, whatever is in them, or so many rows that are to do.
    Blocks(u32, u32),
}

impl Wanted {
    /// Returns the most rows that it may change.
    pub(super) fn most(self) -> u32 {
        if let Wanted::Rows(rows) = self { rows } else { u32::MAX }
    }
}

impl Worker {
    /// Returns what to search, if that is how to go on.
    pub(super) fn wanted_search(&mut self) -> Option<Wanted> {
        let is_well = self.failures == 0 && !self.suspect.is_on();
        // Over several partitions a search would look ahead in each of them for the next row, and read
        // that again the next time.
        let is_partitioned = self.plan.target.is_partitioned;
        if !is_well || is_partitioned || !self.striper.is_searching(&self.range) {
            return None;
        }
        if self.plan.statements.of_range(&self.range).is_by_key() {
            let rows = self.striper.rows_of_search();
            return Some(Wanted::Rows(self.steering.cap(rows).min(self.granted).max(1)));
        }
        // How many rows are in a block is not known before, so there must be no limit that is exact.
        let is_free = self.granted == u32::MAX && !self.crew.is_limited();
        let rows = self.steering.cap(u32::MAX);
        is_free.then(|| Wanted::Blocks(self.striper.blocks_of_search(), rows))
    }

    pub(super) async fn search(&mut self, wanted: Wanted) -> Step {
        let mut session = match self.session().await {
            Ok(session) => session,
            Err(fault) => return Step::Failed(wanted.most(), None, fault),
        };
        let step = match wanted {
            Wanted::Rows(rows) => self.search_rows(&mut session, rows).await,
            Wanted::Blocks(blocks, rows) => self.search_blocks(&mut session, blocks, rows).await,
        };
        self.session = Some(session);
        match step {
            Ok(Some(step)) => step,
            Ok(None) => Step::Fenced,
            Err(fault @ (Fault::Smaller(_) | Fault::BadRow(_))) => {
                match wanted {
                    Wanted::Rows(rows) => self.striper.shrink_rows(rows),
                    Wanted::Blocks(blocks, _) => self.striper.shrink_blocks(blocks),
                }
                Step::CutOff(fault)
            }
            Err(fault) => Step::Failed(wanted.most(), None, fault),
        }
    }

    /// Goes on with chunks after a search that was rolled back.
    pub(super) async fn leave_search(&mut self, fault: &Fault) -> Next {
        self.failures += 1;
        self.striper.stop_searching();
        self.try_again(fault.message(), jittered(FIRST_WAIT)).await
    }

    async fn search_rows(
        &mut self,
        session: &mut Session,
        rows: u32,
    ) -> Result<Option<Step>, Fault> {
        // The join, triggers at the end of the statement and the commit come when its clock has run out.
        let time = self.time().min(self.plan.job.batch.give_way.mul_f64(SEARCHED));
        let search = Search { rows, time, retries: self.failures };
        let statements = &self.plan.statements;
        let found = batch::search(session, statements, &self.fence, &self.range, search).await?;
        Ok(found.map(|Found { chunk, after, outcome, answered, before }| {
            let outcome = self.timed(outcome, answered);
            self.striper.observe_search(&chunk, &outcome);
            self.striper.observe_rows(rows, &outcome, before);
            Step::Committed(chunk, after, outcome)
        }))
    }

    async fn search_blocks(
        &mut self,
        session: &mut Session,
        blocks: u32,
        rows: u32,
    ) -> Result<Option<Step>, Fault> {
        let (after, end) = (self.range.position().cloned(), self.range.upto.as_ref());
        let Some((mut upto, mut last)) =
            end.and_then(|end| Heap::ahead(after.as_ref(), end, blocks))
        else {
            self.striper.stop_searching();
            return Ok(None);
        };
        let nth = self.nth_match(session, (after.as_ref(), &upto), rows).await?;
        let is_cut = nth.is_some();
        if let Some(place) = nth {
            (upto, last) = (place, false);
        }
        let chunk = Chunk { after, upto, keys: 0, last, stripe: None };
        let place = Place::new(self.range.clone(), chunk);
        let attempt = Attempt { retries: self.failures, is_search: true, ..Attempt::default() };
        let route = self.plan.statements.of_range(&self.range);
        let (applied, answered) =
            batch::apply_one(session, route, &self.fence, &place, &attempt).await?;
        let Applied::Committed(outcome) = applied else { return Ok(None) };
        let outcome = self.timed(outcome, answered);
        let Place { mut chunk, after, .. } = place;
        chunk.keys = u32::try_from(outcome.seen).unwrap_or(u32::MAX);
        self.striper.observe_search(&chunk, &outcome);
        // One that ended before says nothing of so many blocks.
        if !is_cut {
            self.striper.observe_blocks(blocks, &outcome);
        }
        Ok(Some(Step::Committed(chunk, after, outcome)))
    }

    /// Returns where a search ends that may do so many rows and no more, if it has them: a rate bounds what
    /// is written, and not what is read.
    async fn nth_match(
        &self,
        session: &mut Session,
        stretch: (Option<&Key>, &Key),
        rows: u32,
    ) -> Result<Option<Key>, Fault> {
        if rows == u32::MAX {
            return Ok(None);
        }
        batch::nth_match(session, &self.plan.statements, stretch, rows).await
    }
}
