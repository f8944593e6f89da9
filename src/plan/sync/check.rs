//! What stands against a sync trigger, and what a person should know before it is there.

use super::Subject;
use super::reads::Reads;
use crate::finding::Finding;
use crate::job::Assignment;
use crate::plan::check::{columns, key};
use crate::plan::facts::Index;

/// What can be said before the server has seen the expressions.
pub(super) fn before(subject: &Subject<'_>) -> Vec<Finding> {
    let checks = [privileges, targets, order_of_triggers, volatility, defaults, others];
    checks.iter().flat_map(|check| check(subject)).collect()
}

/// What follows from what the expressions read.
pub(super) fn after(subject: &Subject<'_>, reads: &Reads) -> Vec<Finding> {
    let mut found = in_place(subject, reads);
    found.extend(generated(subject, reads));
    found.extend(pending(subject, reads));
    found.extend(back_from_itself(subject, reads));
    found
}

fn privileges(subject: &Subject<'_>) -> Vec<Finding> {
    let (relation, table) = (subject.relation, subject.table);
    let mut found = Vec::new();
    if !subject.situation.is_owner {
        let finding = Finding::refuse("sync-owner", "this role does not own the table")
            .at(&relation.name)
            .because("a trigger that also fires for replicated rows is made by the table's owner")
            .recipe(format!("run it as {}, or as a member of that role", table.owner));
        found.push(finding);
    }
    if !subject.situation.can_create {
        let what = format!("this role may not create a function in schema {}", relation.schema);
        let finding = Finding::refuse("sync-create", what)
            .at(&relation.name)
            .because("the trigger's function stands beside its table, so that it needs no ledger")
            .recipe(format!("GRANT CREATE ON SCHEMA {} TO <this role>;", relation.schema));
        found.push(finding);
    }
    found
}

/// What is written is there, can be written, and moves no row.
fn targets(subject: &Subject<'_>) -> Vec<Finding> {
    let order = key::walked(subject.table, subject.job).map(Index::order).unwrap_or_default();
    let (relation, table) = (subject.relation, subject.table);
    let judge = |it: &Assignment| {
        let finding = columns::judge(relation, table, it).or_else(|| {
            let column = table.column(&it.column)?;
            let moves = order.contains(&column.number).then_some("the key that is walked");
            let moves = moves.or_else(|| {
                table.partition_columns.contains(&column.name).then_some("the partition key")
            })?;
            let what = format!("the sync trigger sets `{}`, which is part of {moves}", it.column);
            Some(
                Finding::refuse("sync-moves-row", what)
                    .because(
                        "a row that moves may be met twice, never, or be refused by the server",
                    )
                    .recipe("leave this column to the application"),
            )
        })?;
        let place = format!("{}, column `{}`", relation.name, it.column);
        Some(finding.at(place).span(Some(it.column_span.clone())))
    };
    // Those of [set] have been judged with the others.
    let is_set = |it: &&Assignment| {
        !super::super::check::assignments(subject.job).iter().any(|set| set.column == it.column)
    };
    subject.written().filter(is_set).filter_map(judge).collect()
}

fn order_of_triggers(subject: &Subject<'_>) -> Vec<Finding> {
    let later = &subject.situation.later;
    if later.is_empty() {
        return Vec::new();
    }
    let what = format!("trigger {} fires after the sync trigger", later.join(", "));
    let finding = Finding::warn("sync-trigger-after", what)
        .at(&subject.relation.name)
        .because("triggers fire in the order of their names; what a later one changes is not kept in step")
        .recipe("rename it so that it comes before zzz_, unless it leaves the columns of [sync] alone");
    vec![finding]
}

fn volatility(subject: &Subject<'_>) -> Vec<Finding> {
    let judge = |it: &Assignment| {
        let volatile = subject.situation.volatile_in(&it.expression.text);
        let first = volatile.first()?;
        let what = format!("`{}` is kept in step by {first}(), which is volatile", it.column);
        Some(
            Finding::warn("sync-volatile", what)
                .at(&subject.relation.name)
                .because("computed twice it may give two values, and old and new would differ")
                .recipe("if it is a function of yours that depends on its arguments alone, declare it IMMUTABLE or STABLE")
                .span(Some(it.expression.span.clone())),
        )
    };
    subject.written().filter_map(judge).collect()
}

/// An INSERT that gives a column its default looks like one that does not know the column.
fn defaults(subject: &Subject<'_>) -> Vec<Finding> {
    let sync = subject.sync;
    // Without a way back, it does not matter what was given of the old columns.
    let judge = |it: &Assignment| {
        let is_new = sync.forward.iter().any(|new| new.column == it.column);
        let column = subject.table.column(&it.column)?;
        let default = subject.situation.default(column.number)?;
        let is_volatile = default.is_identity
            || default
                .sql
                .as_ref()
                .is_some_and(|sql| !subject.situation.volatile_in(sql).is_empty());
        let place = format!("{}, column `{}`", subject.relation.name, it.column);
        let drop = format!(
            "ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT;",
            subject.relation.name, column.quoted
        );
        let finding = if is_volatile {
            let what = format!("column `{}` has a default that differs each time", it.column);
            Finding::refuse("sync-default-volatile", what)
                .because("whether an INSERT gave the column, or left it out, could not be told")
                .recipe(drop)
        } else if is_new {
            let what =
                format!("column `{}` has a default, and the sync trigger sets it", it.column);
            Finding::warn("sync-default", what)
                .because("an INSERT that gives just this value is taken for one that does not know the column")
                .recipe(format!("the trigger sets the column in every INSERT; if nothing else needs the default: {drop}"))
        } else {
            return None;
        };
        Some(finding.at(place).span(Some(it.column_span.clone())))
    };
    subject.written().filter_map(judge).collect()
}

/// The walk and the trigger write the same columns.
fn others(subject: &Subject<'_>) -> Vec<Finding> {
    let set = super::super::check::assignments(subject.job);
    let forward = &subject.sync.forward;
    let lacks = |all: &[Assignment], it: &&Assignment| !all.iter().any(|a| a.column == it.column);
    let left = set
        .iter()
        .filter(|it| lacks(forward, it))
        .map(|it| (it, "is set by the walk, and not kept in step", "add it under [sync.forward]"));
    let more = forward
        .iter()
        .filter(|it| lacks(set, it))
        .map(|it| (it, "is kept in step, and not set by the walk", "add it under [set]"));
    let tell = |(it, what, recipe): (&Assignment, &str, &str)| {
        Finding::warn("sync-other-columns", format!("column `{}` {what}", it.column))
            .at(&subject.relation.name)
            .because("rows from before and rows written meanwhile would differ in it")
            .recipe(recipe)
            .span(Some(it.column_span.clone()))
    };
    left.chain(more).map(tell).collect()
}

/// The walk must leave alone what the new side has written.
fn pending(subject: &Subject<'_>, reads: &Reads) -> Option<Finding> {
    let mut set = super::super::check::assignments(subject.job).iter().chain(&subject.sync.forward);
    let tells_done = set.any(|it| reads.pending.contains(&it.column));
    if subject.sync.over_itself || tells_done {
        return None;
    }
    let filter = subject.job.table.filter.as_ref();
    let what = if filter.is_some() {
        "`where` reads no new column: the walk also sets rows that the new side has written"
    } else {
        "the walk sets every row, also those that the new side has written"
    };
    let why = if subject.sync.reverse.is_empty() {
        "a new value that is there before the walk would be lost when the walk computes it from the old columns"
    } else {
        "a new value that the old columns cannot hold in full would be lost when the walk computes it from them"
    };
    let new = subject.sync.forward.first().map(|it| subject.quoted(&it.column));
    let recipe = format!(
        "let `where` under [table] say which rows are still to do, as in `{} IS NULL`",
        new.unwrap_or_default()
    );
    let finding = Finding::warn("sync-without-where", what).at(&subject.relation.name);
    Some(finding.because(why).recipe(recipe).span(filter.map(|it| it.span.clone())))
}

/// A column that is computed from itself would be computed again at each write.
fn in_place(subject: &Subject<'_>, reads: &Reads) -> Vec<Finding> {
    if subject.sync.over_itself {
        return Vec::new();
    }
    let forward = &subject.sync.forward;
    let judge = |it: &Assignment| {
        reads.forward.contains(&it.column).then(|| {
            let what = format!("`sync.forward` reads `{}`, which it sets", it.column);
            Finding::refuse("sync-in-place", what)
                .at(&subject.relation.name)
                .because("the trigger could not tell a value that is done from one that is not")
                .recipe("write the new value into a column of its own")
                .span(Some(it.column_span.clone()))
        })
    };
    forward.iter().filter_map(judge).collect()
}

/// Before contract, `reverse` may look at the old value; after it, that is not there any more.
fn back_from_itself(subject: &Subject<'_>, reads: &Reads) -> Vec<Finding> {
    if !subject.job.shape.contracts() {
        return Vec::new();
    }
    let old = subject.sync.reverse.iter().filter(|it| reads.reverse.contains(&it.column));
    let tell = |it: &Assignment| {
        let what = format!("`sync.reverse` reads `{}`, which it sets", it.column);
        Finding::note("sync-reverse-of-itself", what)
            .at(&subject.relation.name)
            .because("after contract the column comes back empty, and `down` computes it with NULL in its place")
            .recipe("let the expression give the value that is wanted there; computed once more from that, it must be the same")
            .span(Some(it.column_span.clone()))
    };
    old.map(tell).collect()
}

fn generated(subject: &Subject<'_>, reads: &Reads) -> Vec<Finding> {
    let pending = subject.pending(reads).map(|_| ("`where`", &reads.pending));
    let sides =
        [("[sync]", &reads.forward), ("[sync]", &reads.reverse), ("`sync.where`", &reads.filter)];
    let sides: Vec<_> = sides.into_iter().chain(pending).collect();
    let judge = |column: &crate::plan::facts::Column| {
        let (who, _) = sides.iter().find(|(_, read)| read.contains(&column.name))?;
        let what = format!("{who} reads `{}`, which is generated", column.name);
        let finding = Finding::refuse("sync-reads-generated", what)
            .at(&subject.relation.name)
            .because("the server computes it after all triggers; a trigger sees nothing in it")
            .recipe("read the columns that it is computed from");
        Some(finding)
    };
    subject.columns().filter(|column| column.is_generated).filter_map(judge).collect()
}
