//! A plan as text, for people who decide whether to run it.

use std::fmt;

use super::prepare::Plan;
use crate::job::{Size, Vacuum};
use crate::run::counted;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "job {}: {}",
            self.job.name,
            self.job.description.as_deref().unwrap_or("(no description)")
        )?;
        writeln!(f, "table: {}", self.target.keyset.table)?;
        writeln!(f, "key: ({}), by {}; {}", self.key(), self.target.index, self.why_this_key())?;
        if let Some(partitions) = self.partitions() {
            writeln!(f, "partitions: {partitions}")?;
        }
        if self.statements.physical.is_some() {
            writeln!(
                f,
                "order: physical, block after block; sweeps and verification go by the key"
            )?;
        }
        writeln!(f, "ends at: {}", self.end())?;
        writeln!(f, "rows: {}", self.rows())?;
        if let Some(served) = self.served.as_ref().filter(|_| self.statements.physical.is_none()) {
            let rows = counted(served.rows, "rows");
            writeln!(f, "found by: {}, which serves `where`: about {rows}", served.index)?;
        }
        writeln!(f, "batch: {}, {}", size_in_words(&self.job.batch.size), self.batches())?;
        writeln!(f, "pace: {}", self.pace())?;
        if let Some(workers) = self.workers() {
            writeln!(f, "workers: {workers}")?;
        }
        writeln!(
            f,
            "gives way: a batch ends after {} ms, and waits {} ms for a lock",
            self.job.batch.give_way.as_millis(),
            super::limits::lock_timeout(&self.job).as_millis()
        )?;
        writeln!(f, "vacuum: {}", self.vacuum())?;
        writeln!(f, "verified by: {}", self.verified_by())?;
        if let Some(trigger) = &self.sync {
            writeln!(f, "sync: a trigger at every INSERT and UPDATE, {}", trigger.writes)?;
            section(f, "sync trigger, before the walk", trigger.function_sql.lines())?;
            section(f, "made by", trigger.trigger_sql.lines())?;
        }
        section(
            f,
            "batch (with the cursor and its fence, in one transaction)",
            self.statements.of_walk().update.of_stretch(true).lines(),
        )?;
        section(f, "EXPLAIN of the batch", self.explained.batch.iter().map(String::as_str))?;
        section(
            f,
            "end of the next chunk",
            self.statements.of_walk().boundary.of_stretch(true).lines(),
        )?;
        section(f, "EXPLAIN of that query", self.explained.boundary.iter().map(String::as_str))
    }
}

fn section<'a>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    writeln!(f, "\n{title}:")?;
    let mut is_empty = true;
    for line in lines {
        is_empty = false;
        writeln!(f, "  {line}")?;
    }
    if is_empty { writeln!(f, "  (the table is empty)") } else { Ok(()) }
}

impl Plan {
    fn key(&self) -> String {
        let columns = self.target.keyset.columns.iter();
        let columns = columns.map(|column| format!("{} {}", column.name, column.sql_type));
        columns.collect::<Vec<_>>().join(", ")
    }

    fn why_this_key(&self) -> &'static str {
        match self.job.table.key {
            Some(_) => "as the job says: a full, valid, not-null unique index",
            None => "the primary key",
        }
    }

    fn partitions(&self) -> Option<String> {
        let target = &self.target;
        let each = if target.needs_all_partitions {
            "a batch goes through all of them"
        } else {
            "a batch goes through those that its keys are in"
        };
        target.is_partitioned.then(|| format!("{}; {each}", target.leaves.len()))
    }

    fn end(&self) -> String {
        match (&self.upto, &self.statements.physical) {
            (None, _) => "(the table is empty)".into(),
            (Some(key), None) => {
                format!("{key}, the highest key now; rows above it are not walked")
            }
            (Some(_), Some(_)) => {
                "the last block there is now; rows in later ones, or moved behind the walk, are swept".into()
            }
        }
    }

    fn rows(&self) -> String {
        match self.estimate {
            Some(rows) => format!("about {rows}"),
            None => "unknown; the table was never analyzed".into(),
        }
    }

    fn batches(&self) -> String {
        let Some(rows) = self.estimate else { return "number unknown".into() };
        let of = |size: u32| rows.div_ceil(u64::from(size)).max(1);
        match self.job.batch.size {
            Size::Fixed(size) => format!("about {} of them", of(size)),
            Size::Target { min, max, .. } => {
                let first = self.sizer().rows();
                format!(
                    "so {} to {} of them; {} at the {first} rows it starts with",
                    of(max),
                    of(min.min(first)),
                    of(first),
                )
            }
        }
    }

    fn pace(&self) -> String {
        let rate = self.job.pace.rate.map_or("no limit".into(), |rate| rate.to_string());
        let apart = if self.job.pace.windows.is_empty() { "" } else { ", where no window applies" };
        rate + apart
    }

    /// As many as the job asks for at any time, if that is more than one.
    fn workers(&self) -> Option<String> {
        let pace = &self.job.pace;
        let workers = pace.windows.iter().filter_map(|it| it.workers).chain(pace.workers).max()?;
        let ranges = self.ranges();
        let ranges_in_words =
            if ranges == 1 { "one range".into() } else { format!("about {ranges} ranges") };
        let idle = if workers > ranges { ": more workers find nothing to do" } else { "" };
        (workers > 1).then(|| format!("{workers} in each process, {ranges_in_words}{idle}"))
    }

    fn vacuum(&self) -> String {
        match self.job.pace.vacuum {
            Vacuum::Off => "off, as the job says".into(),
            Vacuum::Every(_) if !self.can_vacuum => {
                "none: this role may not vacuum the table".into()
            }
            Vacuum::Every(_) if !self.is_direct => {
                "none behind a pooler: it needs a connection of its own to the server".into()
            }
            Vacuum::Every(percent) => {
                let dead = self.estimate.map_or("an unknown number of dead rows".into(), |rows| {
                    format!("about {}", counted(rows * u64::from(percent) / 100, "dead rows"))
                });
                format!(
                    "beside the walk, so that at most {percent} % of the rows are dead ones of ours ({dead})"
                )
            }
        }
    }

    fn verified_by(&self) -> &'static str {
        match (self.job.table.filter.is_some(), self.job.verify.expect.is_some()) {
            (true, true) => {
                "`where` true nowhere, if a done row no longer matches it; `expect` true everywhere"
            }
            (true, false) => {
                "`where` true nowhere, if a done row no longer matches it; else the books alone"
            }
            (false, true) => "`expect` true everywhere",
            (false, false) => {
                "the books alone; an `expect` under [verify] would look at the rows themselves"
            }
        }
    }
}

/// Returns the sizer's bounds in words, for people.
fn size_in_words(size: &Size) -> String {
    match size {
        Size::Target { target, min, max } => {
            format!("as many rows as take {} ms, between {min} and {max}", target.as_millis())
        }
        Size::Fixed(rows) => format!("{rows} rows"),
    }
}
