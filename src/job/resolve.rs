//! What the keys of a job say together: contradictions, defaults, and the finished [`Job`].
//!
//! Promises that a job is returned only if nothing at all was found wrong, and everything that was found otherwise.

use std::time::Duration;

use toml::Spanned;

use super::file::{self, RawBatch, RawJob};
use super::model::{BadRows, Batch, Job, Pace, Size, Table, Vacuum, Verify, Work};
use super::name::{TableName, is_word};
use super::pace;
use super::problem::{Problem, Problems};
use super::shapes::{unproven, without_rows};
use super::source::Source;
use super::sync;
use super::syntax;
use super::units::show_duration;

const TARGET: Duration = Duration::from_millis(20);
const GIVE_WAY: Duration = Duration::from_millis(100);
const MIN: u32 = 100;
const MAX: u32 = 50_000;
const MAX_BAD_ROWS: u32 = 100;
const VACUUM: Vacuum = Vacuum::Every(10);
const MAX_HOLD: Duration = Duration::from_hours(1);

/// Makes a job of the text of its file.
pub(super) fn resolve(name: &str, mut source: Source) -> Result<Job, Problems> {
    if let Some(text) = source.text.strip_prefix('\u{feff}') {
        source.text = String::from(text);
    }
    let mut problems: Vec<Problem> = check_job_name(name).into_iter().collect();
    let raw = match syntax::parse(&source.text) {
        Ok(document) => {
            let (raw, found) = file::read(&document, &source);
            problems.extend(found);
            raw
        }
        Err(problem) => {
            problems.push(problem);
            return Err(Problems::new(source, problems));
        }
    };
    problems.extend(key_columns_set(&raw));
    problems.extend(sync::contradictions(&raw));
    problems.extend(shape_and_rows(name, &raw));
    problems.extend(contradictions(&raw.batch));
    problems.extend(pace::contradictions(&raw.pace, &raw.batch, GIVE_WAY));
    if !problems.is_empty() {
        return Err(Problems::new(source, problems));
    }
    let unnamed = || Spanned::new(0..0, TableName { schema: None, name: String::new() });
    let table = raw.table.name.clone().unwrap_or_else(unnamed);
    Ok(job(name, raw, table, source))
}

/// What the statements of a job and its rows say together.
fn shape_and_rows(name: &str, raw: &RawJob) -> Vec<Problem> {
    let mut found = Vec::new();
    let has_proof = raw.table.filter.is_some() || raw.expect.is_some();
    if let (Some(contract), false, false) = (&raw.contract, raw.set.is_empty(), has_proof) {
        found.push(unproven(contract.clone()));
    }
    if raw.set.is_empty() && raw.shape.expands() {
        let key = raw.table.key.as_ref().map(|it| ("`table.key`", it.span()));
        let order = raw.table.order.as_ref().map(|it| ("`table.order`", it.span()));
        let filter = raw.table.filter.as_ref().map(|it| ("`table.where`", it.span.clone()));
        let of_rows = [key, order, filter].into_iter().flatten();
        found.extend(of_rows.map(|(what, span)| without_rows(what).at(span)));
    }
    if raw.shape.after.iter().any(|after| after == name) {
        let problem = Problem::new("contradiction", "`after` names the job itself");
        found.push(
            problem.at(raw.after.clone().unwrap_or_default()).help("remove it from the list"),
        );
    }
    found
}

fn check_job_name(name: &str) -> Option<Problem> {
    (!is_word(name)).then(|| {
        let shown = name.escape_debug();
        Problem::new("job-name", format!("`{shown}` cannot be the name of a job"))
            .help("name the file with 1 to 63 letters, digits, `_`, `.` or `-`, beginning with a letter or digit")
    })
}

fn key_columns_set(raw: &RawJob) -> Vec<Problem> {
    let Some(key) = &raw.table.key else { return Vec::new() };
    raw.set
        .iter()
        .filter(|assignment| key.get_ref().contains(&assignment.column))
        .map(|assignment| {
            let column = &assignment.column;
            Problem::new("contradiction", format!("[set] changes `{column}`, which is part of `table.key`"))
                .at(assignment.column_span.clone())
                .help("a row that moves along the key may be done twice or never; walk by another unique key")
        })
        .collect()
}

fn contradictions(batch: &RawBatch) -> Vec<Problem> {
    [fixed_and_timed(batch), min_above_max(batch), give_way_below_target(batch)]
        .into_iter()
        .flatten()
        .collect()
}

fn fixed_and_timed(batch: &RawBatch) -> Option<Problem> {
    let rows = batch.rows.as_ref()?;
    let timed = [
        ("target", batch.target.is_some()),
        ("min", batch.min.is_some()),
        ("max", batch.max.is_some()),
    ];
    let timed: Vec<String> =
        timed.iter().filter(|(_, is_set)| *is_set).map(|(key, _)| format!("`{key}`")).collect();
    (!timed.is_empty()).then(|| {
        let message = format!(
            "`batch.rows` (a fixed size) excludes {} (a size that follows the time): one or the other",
            timed.join(" and ")
        );
        Problem::new("contradiction", message)
            .at(rows.span())
            .help(format!("remove `rows`, or remove {}", timed.join(" and ")))
    })
}

fn min_above_max(batch: &RawBatch) -> Option<Problem> {
    let (min, max) = (batch.min.as_ref()?, batch.max.as_ref()?);
    (min.get_ref() > max.get_ref()).then(|| {
        let message =
            format!("`batch.min` ({}) is above `batch.max` ({})", min.get_ref(), max.get_ref());
        Problem::new("contradiction", message).at(min.span()).help("make min at most max")
    })
}

fn give_way_below_target(batch: &RawBatch) -> Option<Problem> {
    if batch.rows.is_some() {
        return None;
    }
    let target = batch.target.as_ref().map_or(TARGET, |target| *target.get_ref());
    let give_way = batch.give_way.as_ref().map_or(GIVE_WAY, |give_way| *give_way.get_ref());
    let place = batch.give_way.as_ref().or(batch.target.as_ref()).map(Spanned::span)?;
    (give_way < target).then(|| {
        let default = |is_set: bool| if is_set { "" } else { ", the default" };
        let message = format!(
            "`batch.give_way` ({}{}) is less than `batch.target` ({}{}), so every batch would be cut off",
            show_duration(give_way),
            default(batch.give_way.is_some()),
            show_duration(target),
            default(batch.target.is_some()),
        );
        let wanted = show_duration(target * 5);
        Problem::new("contradiction", message)
            .at(place)
            .help(format!("make give_way at least the target, better some times that, as in \"{wanted}\"; or lower the target"))
    })
}

fn job(name: &str, raw: RawJob, table: Spanned<TableName>, source: Source) -> Job {
    let name_span = table.span();
    Job {
        name: name.to_owned(),
        description: raw.description,
        table: Table {
            name: table.into_inner(),
            key_span: raw.table.key.as_ref().map(Spanned::span),
            order_span: raw.table.order.as_ref().map(Spanned::span),
            order: raw.table.order.map(Spanned::into_inner).unwrap_or_default(),
            key: raw.table.key.map(Spanned::into_inner),
            filter: raw.table.filter,
            search_path: raw.table.search_path,
            name_span,
        },
        sync: raw.sync.map(|sync| sync.resolve(&raw.set)),
        work: Work::Set(raw.set),
        shape: raw.shape,
        batch: batch(&raw.batch),
        pace: Pace {
            rate: raw.pace.rate,
            workers: raw.pace.workers,
            vacuum: raw.pace.vacuum.unwrap_or(VACUUM),
            max_hold: raw.pace.max_hold.unwrap_or(MAX_HOLD),
            windows: raw.pace.windows.into_iter().map(|raw| raw.window).collect(),
        },
        holds: raw.holds,
        bad_rows: BadRows {
            policy: raw.bad_rows.0.unwrap_or_default(),
            max: raw.bad_rows.1.unwrap_or(MAX_BAD_ROWS),
        },
        verify: Verify { expect: raw.expect },
        source,
    }
}

fn batch(raw: &RawBatch) -> Batch {
    let plain = |value: &Option<Spanned<u32>>| value.as_ref().map(|value| *value.get_ref());
    let time = |value: &Option<Spanned<Duration>>| value.as_ref().map(|value| *value.get_ref());
    let (min, max) = (plain(&raw.min), plain(&raw.max));
    let size = plain(&raw.rows).map_or_else(
        || Size::Target {
            target: time(&raw.target).unwrap_or(TARGET),
            // One bound that was written moves the default of the other out of its way.
            min: min.unwrap_or_else(|| max.map_or(MIN, |max| MIN.min(max))),
            max: max.unwrap_or_else(|| min.map_or(MAX, |min| MAX.max(min))),
        },
        Size::Fixed,
    );
    Batch {
        size,
        give_way: time(&raw.give_way).unwrap_or(GIVE_WAY),
        synchronous_commit: raw.synchronous_commit.unwrap_or_default(),
        stripes: raw.stripes.unwrap_or_default(),
    }
}
