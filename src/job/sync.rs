//! The job file: `[sync]`, the trigger that keeps rows in step while old and new columns live side by side.
//!
//! Whether the columns exist, and what the expressions read, only the server knows.

use super::document::Section;
use super::file::{File, RawJob};
use super::fragment::Fragment;
use super::keys::{FORWARD, REVERSE};
use super::model::{Assignment, Sync};
use super::problem::Problem;

/// `[sync]`, read; without `forward`, that is `[set]`.
#[derive(Default)]
pub(super) struct RawSync {
    forward: Option<Vec<Assignment>>,
    reverse: Vec<Assignment>,
    filter: Option<Fragment>,
}

impl File<'_> {
    pub(super) fn sync(&mut self, root: &Section<'_>) -> Option<RawSync> {
        let sync = self.reader.section(root, "sync")?;
        let forward = self.reader.free_section(&sync, FORWARD);
        let reverse = self.reader.free_section(&sync, REVERSE);
        Some(RawSync {
            forward: forward.map(|section| self.assignments(&section, FORWARD)),
            reverse: reverse.map(|section| self.assignments(&section, REVERSE)).unwrap_or_default(),
            filter: self.fragment(&sync, "where"),
        })
    }
}

impl RawSync {
    /// Fills in what was left out.
    pub(super) fn resolve(self, set: &[Assignment]) -> Sync {
        let forward = self.forward.unwrap_or_else(|| set.to_vec());
        Sync { forward, reverse: self.reverse, filter: self.filter, over_itself: false }
    }
}

/// Finds columns that cannot be kept in step: of the key, or written in both directions.
pub(super) fn contradictions(raw: &RawJob) -> Vec<Problem> {
    let Some(sync) = &raw.sync else { return Vec::new() };
    let forward = sync.forward.as_deref().unwrap_or(&raw.set);
    let key = raw.table.key.as_ref().map(|key| key.get_ref().as_slice()).unwrap_or_default();
    // Those of [set] in the key have been noted already.
    let written = sync.forward.iter().flatten().chain(&sync.reverse);
    let in_key = written.filter(|it| key.contains(&it.column)).map(|it| {
        let message = format!("[sync] changes `{}`, which is part of `table.key`", it.column);
        Problem::new("contradiction", message)
            .at(it.column_span.clone())
            .help("walk by another unique key, or leave this column to the application")
    });
    let twice = sync.reverse.iter().filter(|it| forward.iter().any(|to| to.column == it.column));
    let twice = twice.map(|it| {
        let message = format!("`{}` is written by `sync.forward` and by `sync.reverse`", it.column);
        Problem::new("contradiction", message)
            .at(it.column_span.clone())
            .help("forward writes the new columns from the old ones, and reverse the old ones from the new")
    });
    in_key.chain(twice).collect()
}
