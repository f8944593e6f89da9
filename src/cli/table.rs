//! Runs and journal lines in columns.

use piecemeal::ledger::journal::Line;
use piecemeal::report::words;
use piecemeal::run::Snapshot;

/// Returns one line for each run under a heading.
pub(crate) fn of_runs(snapshots: &[Snapshot]) -> String {
    let head = ["JOB", "RUN", "PHASE", "STATUS", "DONE", "ROWS", "SINCE"].map(str::to_owned);
    let row = |snapshot: &Snapshot| {
        [
            snapshot.job.clone(),
            snapshot.run.to_string(),
            words::phase(snapshot),
            snapshot.shown().to_string(),
            words::percent(snapshot.fraction()),
            words::rows(snapshot),
            snapshot.since.clone(),
        ]
    };
    aligned(&std::iter::once(head).chain(snapshots.iter().map(row)).collect::<Vec<_>>())
}

/// Returns one line for each line of the journal.
pub(crate) fn of_journal(lines: &[Line]) -> String {
    let row = |line: &Line| {
        let detail = if line.detail.as_object().is_none_or(serde_json::Map::is_empty) {
            String::new()
        } else {
            line.detail.to_string()
        };
        [line.at.clone(), line.run.to_string(), line.what.clone(), line.who.clone(), detail]
    };
    let head = ["AT", "RUN", "WHAT", "WHO", "DETAIL"].map(str::to_owned);
    aligned(&std::iter::once(head).chain(lines.iter().map(row)).collect::<Vec<_>>())
}

fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![["A".to_owned(), "B".to_owned()], ["long".to_owned(), "x".to_owned()]];
        assert_eq!(aligned(&rows), "A     B\nlong  x");
    }
}
