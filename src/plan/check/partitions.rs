//! Can a partitioned table be walked as one?
//!
//! It is walked through its name, so that whatever partition a row is in, it is met by its key. What
//! that costs follows from the key: where it begins with the partition key, a batch needs the few
//! partitions that its keys are in; else it needs, plans and locks all of them
//! (`docs/decisions/0020-partitioned-tables.md` has what was measured).

use super::{key, listed};
use crate::finding::Finding;
use crate::job::Job;
use crate::plan::facts::{Column, Facts, Partitions, Relation};
use crate::run::counted;

/// Partitions from which it is worth a note that every batch needs all of them: 2 ms each.
const SOME: usize = 50;

/// Partitions from which it is worth a warning that every batch needs all of them: it then takes 10 ms
/// longer on a small machine, half of the time that a batch aims at.
const MANY: usize = 200;

/// Partitions with which a batch over all of them would take longer than others should wait on it.
const TOO_MANY: usize = 500;

/// The part of the server's room for locks that one batch may take: the next one and the end of its
/// chunk are looked up at the same time, other workers do the same, and others need locks, too.
const SHARE: u64 = 8;

/// Its partitions are tables of this database, and not too many for a batch.
pub(crate) fn fit(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let Some(partitions) = &table.partitions else { return Vec::new() };
    let leading = key::walked_columns(table, job).first().and_then(|it| table.numbered(*it));
    let mut found: Vec<_> = foreign(partitions).into_iter().collect();
    found.extend(leading.and_then(|leading| all_at_once(relation, partitions, leading)));
    found.into_iter().map(|finding| finding.at(&relation.name)).collect()
}

fn foreign(partitions: &Partitions) -> Option<Finding> {
    let first = partitions.foreign.first()?;
    let names = partitions.foreign.join(", ");
    let finding = Finding::refuse("table-partition-foreign", format!("rows of it are elsewhere: {names}"))
        .because("what is written on another server does not commit together with the cursor, so a crash may do rows twice")
        .recipe("make a job for each of the other partitions, and name that")
        .recipe(format!("or take it out for the time of the run: ALTER TABLE <its parent> DETACH PARTITION {first};"));
    Some(finding)
}

/// Every batch needs all partitions, because keys that follow each other are in any of them.
fn all_at_once(relation: &Relation, partitions: &Partitions, leading: &Column) -> Option<Finding> {
    let (count, locks) = (partitions.leaves.len(), partitions.locks);
    let follows = partitions.follow(&leading.name);
    // The last key, and a sample of all, are asked of all of them, whatever the key is.
    let room = partitions.max_locks / if follows { 2 } else { SHARE };
    if locks <= room && (follows || count < SOME) {
        return None;
    }
    let many = counted(count as u64, "partitions");
    let what_it_needs = if follows {
        "where a run begins and ends it asks all of them at once".to_owned()
    } else {
        format!(
            "the key begins with `{}`, which does not say in which partition a row is: a batch over it \
             is planned for all of them",
            leading.name
        )
    };
    let why = format!(
        "{what_it_needs}, and locks {} of the {} relations for which the server has room",
        crate::run::count(locks),
        crate::run::count(partitions.max_locks),
    );
    let each = |finding: Finding| {
        finding.recipe(format!(
            "make a job for each partition, and name that: {}{}",
            partitions.names.join(", "),
            if count > partitions.names.len() { ", ..." } else { "" }
        ))
    };
    Some(if locks > room || count > TOO_MANY {
        let what = format!("{} has {many}, too many at once", relation.name);
        let finding = each(Finding::refuse("table-partitions-many", what).because(why));
        if locks > room {
            finding.recipe("or make room, and restart the server: max_locks_per_transaction")
        } else {
            finding
        }
    } else if count > MANY {
        let what = format!("each batch goes through all {many} of {}", relation.name);
        each(Finding::warn("table-partitions", what).because(why))
    } else {
        let what = format!("each batch goes through all {many} of {}", relation.name);
        Finding::note("table-partitions", what).because(why)
    })
}

/// A key that changes when a row moves to another partition is the same row's only as long as it stays.
pub(crate) fn moves(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    // With a `where` that says what is left, a row that moves is told from one that is done.
    let Some(kept) = key::without_partition(table, job).filter(|_| job.table.filter.is_none())
    else {
        return Vec::new();
    };
    let finding = Finding::note("key-moves", "the key of a row changes when it moves to another partition")
        .at(format!("{}, key ({})", relation.name, table.list(&key::walked_columns(table, job))))
        .because("a row that is moved just while the walk passes it may be done twice; without `where`, nothing tells")
        .recipe(format!(
            "if rows are moved meanwhile, and ({}) is unique by itself: write `key = [{}]` under [table]",
            listed(&kept),
            key::key_words(&kept)
        ));
    vec![finding.span(job.table.key_span.clone())]
}
