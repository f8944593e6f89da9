//! Can subscribers follow the updates?

use super::key;
use crate::finding::Finding;
use crate::job::Job;
use crate::plan::facts::{Facts, Index, Partitions, Relation, Table};

/// A table that is published has what tells subscribers which row was updated.
pub(crate) fn identity(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) =
        facts.subject().filter(|(_, table)| !table.publications.is_empty())
    else {
        return Vec::new();
    };
    if let Some(partitions) = &table.partitions {
        return of_partitions(relation, table, partitions);
    }
    let (name, publications) = (&relation.name, table.publications.join(", "));
    let finding = if table.replica_identity == "f" {
        Finding::warn("replica-identity-full", "every update is published with the whole old row")
            .because("REPLICA IDENTITY FULL doubles the WAL, and subscribers search each row, some without an index")
            .recipe(match fit(table, job) {
                Some(index) => using(name, index),
                None => "give the table a primary key, and use it as its identity".to_owned(),
            })
    } else if has_identity(table) {
        return Vec::new();
    } else {
        Finding::refuse(
            "replica-identity-missing",
            "the table is published, and its rows have no identity",
        )
        .because("the server refuses every UPDATE: a subscriber could not tell which row it was")
        .recipe(match fit(table, job) {
            Some(index) => using(name, index),
            None => {
                format!("ALTER TABLE {name} REPLICA IDENTITY FULL; -- more WAL, slower subscribers")
            }
        })
    };
    vec![finding.at(format!("{name}, published by {publications}"))]
}

/// Each partition has an identity of its own, whatever the table has.
fn of_partitions(relation: &Relation, table: &Table, partitions: &Partitions) -> Vec<Finding> {
    let place = format!("{}, published by {}", relation.name, table.publications.join(", "));
    let mut found = Vec::new();
    if !partitions.unidentified.is_empty() {
        let names = partitions.unidentified.join(", ");
        let what = format!("the table is published, and rows of {names} have no identity");
        let recipe = partitions.unidentified.iter().map(|name| {
            format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT; -- if it has a primary key")
        });
        let finding = Finding::refuse("replica-identity-missing", what).because(
            "the server refuses every UPDATE there: a subscriber could not tell which row it was",
        );
        found.push(finding.recipe(recipe.collect::<Vec<_>>().join("\n")));
    }
    if !partitions.fully_identified.is_empty() {
        let names = partitions.fully_identified.join(", ");
        let what = format!("every update of {names} is published with the whole old row");
        let finding = Finding::warn("replica-identity-full", what)
            .because("REPLICA IDENTITY FULL doubles the WAL, and subscribers search each row, some without an index")
            .recipe("give the table a primary key, and use it: ALTER TABLE <partition> REPLICA IDENTITY DEFAULT;");
        found.push(finding);
    }
    found.into_iter().map(|finding| finding.at(&place)).collect()
}

fn has_identity(table: &Table) -> bool {
    let mut indexes = table.indexes.iter().filter(|index| index.is_usable && index.is_immediate);
    match table.replica_identity.as_str() {
        "d" => indexes.any(|index| index.is_primary),
        "i" => indexes.any(|index| index.is_replica_identity),
        _ => false,
    }
}

/// The index that can be the identity: that of the walk, if it is as the server wants it.
fn fit<'t>(table: &'t Table, job: &Job) -> Option<&'t Index> {
    let index = key::walked(table, job)?;
    let is_whole = index.is_unique && index.is_immediate && index.is_usable && !index.is_partial;
    let columns = key::columns(table, index);
    let is_plain =
        columns.len() == index.parts.len() && columns.iter().all(|column| column.is_not_null);
    (is_whole && is_plain).then_some(index)
}

fn using(table: &str, index: &Index) -> String {
    if index.is_primary {
        return format!("ALTER TABLE {table} REPLICA IDENTITY DEFAULT;");
    }
    format!("ALTER TABLE {table} REPLICA IDENTITY USING INDEX {};", index.bare)
}
