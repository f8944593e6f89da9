//! What else happens when a row is updated?

use super::{set_among, set_columns};
use crate::finding::Finding;
use crate::job::Job;
use crate::plan::facts::{Facts, ForeignKey, Table, Trigger};

/// No rule makes something else out of an UPDATE.
pub(crate) fn rules(facts: &Facts, _: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let Some(first) = table.rules.first() else { return Vec::new() };
    let finding = Finding::refuse(
        "table-rules",
        format!("rule {} rewrites an UPDATE", table.rules.join(", ")),
    )
    .at(&relation.name)
    .because("what would be written, and how many rows, is then no longer what the job says")
    .recipe(format!(
        "ALTER TABLE {} DISABLE RULE {first}; -- for all sessions, until enabled",
        relation.name
    ))
    .recipe("better, replace the rule by a trigger");
    vec![finding]
}

/// Returns whether a trigger that the job fires could suppress the update of a row.
pub(crate) fn can_suppress(table: &Table, job: &Job) -> bool {
    fired(table, job).iter().any(|trigger| trigger.is_before && trigger.is_row)
}

/// Triggers that the job's UPDATE fires; one that is for other columns only is not among them.
fn fired<'t>(table: &'t Table, job: &Job) -> Vec<&'t Trigger> {
    let fires = |trigger: &&Trigger| {
        let has_generated =
            |number: &i32| table.numbered(*number).is_some_and(|column| column.is_generated);
        trigger.columns.is_empty()
            || !set_among(table, job, &trigger.columns).is_empty()
            // It changes with the columns that it is computed from.
            || trigger.columns.iter().any(has_generated)
    };
    table.triggers.iter().filter(fires).collect()
}

/// Which triggers fire, and what they seem to do.
pub(crate) fn user_triggers(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    fired(table, job).into_iter().map(|trigger| {
        let when = if trigger.is_before { "BEFORE" } else { "AFTER" };
        let (each, times) = if trigger.is_row { ("ROW", "row") } else { ("STATEMENT", "batch") };
        let table_name = trigger.partition.as_ref().unwrap_or(&relation.name);
        let what = format!("trigger {} fires for every {times} ({when} UPDATE, FOR EACH {each})", trigger.name);
        Finding::warn("trigger", what)
            .at(format!("{table_name}, function {}", trigger.function))
            .because(effect(table, job, trigger))
            .recipe(format!("read it first: \\sf {} in psql", trigger.function))
            .recipe(
                "to let the run pass by, create it again with WHEN (pg_catalog.current_setting('application_name') \
                 NOT LIKE 'piecemeal %')",
            )
            .recipe(format!(
                "or, if no session at all needs it meanwhile: ALTER TABLE {} DISABLE TRIGGER {};",
                table_name, trigger.name
            ))
    }).collect()
}

fn effect(table: &Table, job: &Job, trigger: &Trigger) -> String {
    let mut assigned: Vec<&str> = trigger.assigns.iter().map(String::as_str).collect();
    assigned.retain(|name| table.column(name).is_some());
    // What an AFTER trigger assigns to its row is lost.
    if !trigger.is_before || !trigger.is_row || assigned.is_empty() {
        return "whatever it does is done once more, and takes its time out of each batch"
            .to_owned();
    }
    let set = set_columns(table, job);
    let overrides = set.iter().any(|column| assigned.contains(&column.name.as_str()));
    let names: Vec<_> = assigned.iter().map(|name| format!("`{name}`")).collect();
    let tail =
        if overrides { ", over what the job sets" } else { ", in every row that the job changes" };
    format!("it seems to set {}{tail}", names.join(", "))
}

/// Which foreign keys are checked in the batch and not at its commit.
pub(crate) fn foreign_keys(facts: &Facts, _: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let deferrable = table.foreign_keys.iter().filter(|key| key.is_deferrable);
    let tell = |key: &ForeignKey| {
        let ends = if key.points_here { "from" } else { "to" };
        let what = format!("foreign key {} {ends} {} is deferrable", key.name, key.other);
        Finding::note("foreign-key-deferrable", what)
            .at(&relation.name)
            .because("it is checked inside each batch, so that a row that breaks it can be found")
    };
    deferrable.map(tell).collect()
}
