//! Where few rows are to do: one statement that searches for them, instead of chunk after chunk in
//! which there are none. After a fault, chunks again: they can be made smaller, and put aside.

use super::{Step, Worker};
use crate::batch::{self, Search};
use crate::pg::Fault;

impl Worker {
    /// Returns the rows to search for, if that is how to go on.
    pub(super) fn rows_to_search(&mut self) -> Option<u32> {
        let is_well = self.failures == 0 && !self.suspect.is_on();
        // A search ends with a key, and its rows are gone to by their keys. Over several partitions it
        // would look ahead in each of them for the next row, and read that again the next time.
        let is_by_key = self.plan.statements.of_range(&self.range).is_by_key()
            && !self.plan.target.is_partitioned;
        let rows = self.striper.search(&self.range).filter(|_| is_well && is_by_key)?;
        Some(self.steering.cap(rows).min(self.granted).max(1))
    }

    pub(super) async fn search(&mut self, rows: u32) -> Step {
        let mut session = match self.session().await {
            Ok(session) => session,
            Err(fault) => return Step::Failed(rows, None, fault),
        };
        let search = Search { rows, time: self.time(), retries: self.failures };
        let statements = &self.plan.statements;
        let found = batch::search(&mut session, statements, &self.fence, &self.range, search).await;
        self.session = Some(session);
        match found {
            Ok(Some((chunk, after, outcome, answered))) => {
                let outcome = self.timed(outcome, answered);
                self.striper.observe_search(&chunk, &outcome);
                Step::Committed(chunk, after, outcome)
            }
            Ok(None) => Step::Fenced,
            Err(Fault::Smaller(_) | Fault::BadRow(_)) => {
                self.striper.stop_searching();
                Step::Fenced
            }
            Err(fault) => Step::Failed(rows, None, fault),
        }
    }
}
