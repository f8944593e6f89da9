//! Runs and journal lines in columns.

use piecemeal::control::{Bad, Line};
use piecemeal::report::{history, words};
use piecemeal::run::Snapshot;
use serde_json::Value;

/// Returns one line for each run under a heading, and one for each job that is pending. Of jobs whose file has changed
/// since their run began, that is said.
pub(crate) fn of_runs(snapshots: &[Snapshot], changed: &[String], pending: &[String]) -> String {
    let head = ["JOB", "RUN", "PHASE", "STATUS", "DONE", "ROWS", "SINCE"].map(str::to_owned);
    let status = |snapshot: &Snapshot| {
        let since = if changed.contains(&snapshot.job) { ", changed since" } else { "" };
        format!("{}{since}", snapshot.shown())
    };
    let row = |snapshot: &Snapshot| {
        if snapshot.is_of_statements() {
            let steps = words::counted(snapshot.steps, "statements");
            let (job, run) = (snapshot.job.clone(), snapshot.run.to_string());
            let since = snapshot.since.clone();
            return [
                job,
                run,
                words::phase(snapshot),
                status(snapshot),
                String::new(),
                steps,
                since,
            ];
        }
        [
            snapshot.job.clone(),
            snapshot.run.to_string(),
            words::phase(snapshot),
            status(snapshot),
            words::percent(snapshot.fraction()),
            words::rows(snapshot),
            snapshot.since.clone(),
        ]
    };
    let waiting = |job: &String| {
        let blank = String::new;
        [job.clone(), blank(), blank(), "pending".into(), blank(), blank(), blank()]
    };
    let shown = snapshots.iter().filter(|it| !pending.contains(&it.job)).map(row);
    let rows = std::iter::once(head).chain(shown).chain(pending.iter().map(waiting));
    aligned(&rows.collect::<Vec<_>>())
}

/// The longest part of a message that stands in a column, in characters; `-o json` has all that is kept.
const MESSAGE: usize = 160;

/// Returns one line for each row of a quarantine.
pub(crate) fn of_quarantine(rows: &[Bad]) -> String {
    let head = ["KEY", "STATE", "SQLSTATE", "TRIES", "TRIED", "MESSAGE"].map(str::to_owned);
    let row = |bad: &Bad| {
        let reason = bad.skipped.as_ref().map(|it| format!("{} ({})", it.reason, it.by));
        let told = reason.as_ref().unwrap_or(&bad.message);
        let mut told: String = words::plain(&told.chars().take(MESSAGE).collect::<String>());
        if bad.message.chars().nth(MESSAGE).is_some() && reason.is_none() {
            told.push('…');
        }
        [
            words::plain(&bad.key.to_string()),
            bad.state().to_owned(),
            bad.sqlstate.clone().unwrap_or_else(|| "-".into()),
            bad.tries.to_string(),
            bad.tried_at.clone(),
            told,
        ]
    };
    aligned(&std::iter::once(head).chain(rows.iter().map(row)).collect::<Vec<_>>())
}

/// Returns one line for each line of the journal.
pub(crate) fn of_journal(lines: &[Line]) -> String {
    let row = |line: &Line| {
        let changed = match line.what.as_str() {
            "throttle" => Some(history::throttled(&line.at, &line.detail)),
            "expired" => Some(history::expired(&line.detail)),
            "partitions" => Some(history::partitions(&line.detail)),
            "sync" => Some(history::sync(&line.detail)),
            _ => None,
        };
        let detail = changed.flatten().unwrap_or_else(|| in_words(&line.detail));
        [line.at.clone(), line.run.to_string(), line.what.clone(), line.who.clone(), detail]
    };
    let head = ["AT", "RUN", "WHAT", "WHO", "DETAIL"].map(str::to_owned);
    aligned(&std::iter::once(head).chain(lines.iter().map(row)).collect::<Vec<_>>())
}

/// What programs read, without what says nothing to people: what is empty, and what stands in the
/// columns beside it.
fn in_words(detail: &Value) -> String {
    match detail {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let parts = map.iter().filter(|(key, _)| !["who", "engine"].contains(&key.as_str()));
            let parts = parts.map(|(key, value)| (key, in_words(value), value.is_object()));
            let parts = parts.filter(|(_, text, _)| !text.is_empty());
            let part = |(key, text, is_nested)| {
                if is_nested { format!("{key}: {{{text}}}") } else { format!("{key}: {text}") }
            };
            parts.map(part).collect::<Vec<_>>().join(", ")
        }
        Value::Array(list) => list.iter().map(in_words).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) => detail.to_string(),
    }
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
    fn a_detail_is_told_without_what_is_empty() {
        let detail = serde_json::json!({ "from": {}, "to": { "rate": { "until": null, "value": 500 } }, "who": "me" });
        assert_eq!(in_words(&detail), "to: {rate: {value: 500}}");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![["A".to_owned(), "B".to_owned()], ["long".to_owned(), "x".to_owned()]];
        assert_eq!(aligned(&rows), "A     B\nlong  x");
    }
}
