//! Is text in the key still sorted as its index was built?
//!
//! An update of the operating system or of ICU may sort text in another way. An index that was built
//! before then lies: rows are in it where nobody looks for them, and a walk would skip them (F31).

use super::key;
use crate::finding::Finding;
use crate::job::Job;
use crate::plan::facts::{Collation, Column, Facts, Table};

/// The text in the key compares as it did when its index was built, and byte by byte when equal.
pub(crate) fn versions(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let Some(index) = key::walked(table, job) else { return Vec::new() };
    let mut found = Vec::new();
    for column in key::columns(table, index) {
        let Some(collation) = &column.collation else { continue };
        found.extend(nondeterministic(column, collation));
        found.extend(encoding(facts, column));
        found.extend(stale(facts, table, column, collation).map(|finding| {
            finding
                .recipe(format!(
                    "REINDEX INDEX CONCURRENTLY {}; -- and all others on such text",
                    index.name
                ))
                .recipe(refresh(facts, collation))
        }));
    }
    let place = format!("{}, index {}", relation.name, index.name);
    found.into_iter().map(|finding| finding.at(&place).span(job.table.key_span.clone())).collect()
}

fn nondeterministic(column: &Column, collation: &Collation) -> Option<Finding> {
    if collation.is_deterministic {
        return None;
    }
    let what = format!(
        "column `{}` of the key has the nondeterministic collation {}",
        column.name, collation.name
    );
    Some(
        Finding::refuse("key-nondeterministic", what)
            .because(
                "different texts are equal in it, so a key read back may be that of another row",
            )
            .recipe("name another unique key with `key` under [table]"),
    )
}

fn encoding(facts: &Facts, column: &Column) -> Option<Finding> {
    (facts.server.encoding == "SQL_ASCII").then(|| {
        let what = format!("column `{}` of the key is text, and the database is SQL_ASCII", column.name);
        Finding::refuse("key-encoding", what)
            .because("it may hold bytes that are no text in any encoding, and the walk would stick at them")
            .recipe("name another unique key, of numbers or uuid, with `key` under [table]")
    })
}

fn stale(facts: &Facts, table: &Table, column: &Column, collation: &Collation) -> Option<Finding> {
    let (recorded, actual) = table.versions(collation)?;
    if actual == Some(recorded) {
        return None;
    }
    let owner = if collation.is_default {
        format!("database {}", facts.server.database)
    } else {
        format!("collation {}", collation.name)
    };
    let now = actual.unwrap_or("none");
    let what = format!(
        "column `{}` of the key was sorted with version {recorded} of {owner}, which is {now} now",
        column.name
    );
    Some(Finding::refuse("key-collation-version", what).because(
        "the index may be in another order than text compares now, and the walk would skip rows",
    ))
}

fn refresh(facts: &Facts, collation: &Collation) -> String {
    let what = if collation.is_default {
        format!("DATABASE {} REFRESH COLLATION VERSION", facts.server.database)
    } else {
        format!("COLLATION {} REFRESH VERSION", collation.name)
    };
    format!("ALTER {what}; -- after the REINDEX: it only says that all was done")
}
