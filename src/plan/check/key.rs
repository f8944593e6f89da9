//! Can the table be walked along the key?
//!
//! A key must be a whole, unique, immediate, valid btree index in ascending order over columns that
//! are NOT NULL and whose type is proven: its text, read back, is the same value (R8, F26-F40).
//!
//! Of a partitioned table the key may leave out the columns at the index's end that only say in which
//! partition a row is: it then stays the same when the row moves. Rows of one key are done together.

use super::{listed, meant, set_among, toml};
use crate::finding::Finding;
use crate::job::Job;
use crate::plan::facts::{Column, Facts, Index, Part, Relation, Table};

/// The types of the server whose values are proven to survive as text.
const PROVEN: [&str; 14] = [
    "int2",
    "int4",
    "int8",
    "uuid",
    "text",
    "varchar",
    "bpchar",
    "numeric",
    "date",
    "timestamp",
    "timestamptz",
    "bytea",
    "bool",
    "inet",
];

/// The same for people.
const PROVEN_WORDS: &str = "smallint, integer, bigint, uuid, text, varchar, char(n), numeric, date, \
                            timestamp, timestamptz, bytea, boolean, inet and enums";

/// Returns the index along which the job walks: that of the primary key, or the best one for the
/// columns under `key`. It may still be unfit.
pub(crate) fn walked<'t>(table: &'t Table, job: &Job) -> Option<&'t Index> {
    let Some(names) = &job.table.key else {
        return table.indexes.iter().find(|index| index.is_primary);
    };
    let wanted: Vec<i32> = names
        .iter()
        .map(|name| table.column(name).map(|column| column.number))
        .collect::<Option<_>>()?;
    let is_candidate =
        |index: &&Index| is_over(index, &wanted) || begins_with(table, index, &wanted);
    let candidates = table.indexes.iter().filter(is_candidate);
    candidates.min_by_key(|index| (faults(index).len(), index.order() != wanted))
}

/// Returns the numbers of the columns along which the job walks, in the order of their index.
pub(crate) fn walked_columns(table: &Table, job: &Job) -> Vec<i32> {
    let mut order = walked(table, job).map(Index::order).unwrap_or_default();
    order.truncate(job.table.key.as_ref().map_or(order.len(), Vec::len));
    order
}

/// Whether an index begins with these columns, and has no others but those that say in which partition
/// a row is.
fn begins_with(table: &Table, index: &Index, wanted: &[i32]) -> bool {
    let order = index.order();
    order.strip_prefix(wanted).is_some_and(|rest| {
        !wanted.is_empty() && rest.iter().all(|number| is_of_partition(table, *number))
    })
}

/// Whether a column says in which partition a row is.
pub(crate) fn is_of_partition(table: &Table, number: i32) -> bool {
    let column = table.numbered(number).map(|column| &column.name);
    let partitions = table.partitions.as_ref();
    partitions.zip(column).is_some_and(|(partitions, name)| partitions.columns.contains(name))
}

/// Returns the columns of the key without those at its end that say in which partition a row is, if
/// it has such, and others.
pub(crate) fn without_partition<'t>(table: &'t Table, job: &Job) -> Option<Vec<&'t Column>> {
    let all = walked_columns(table, job);
    let kept = all.iter().rposition(|number| !is_of_partition(table, *number))? + 1;
    let columns = all[..kept].iter().filter_map(|number| table.numbered(*number));
    (kept < all.len()).then(|| columns.collect())
}

/// Whether an index is over these columns, in whatever order and form.
fn is_over(index: &Index, wanted: &[i32]) -> bool {
    let sorted = |mut numbers: Vec<i32>| {
        numbers.sort_unstable();
        numbers
    };
    let order = index.order();
    let is_plain = sorted(order.clone()) == sorted(wanted.to_vec());
    let in_expression = order.contains(&0) && order.len() == wanted.len();
    is_plain || (in_expression && wanted.iter().all(|number| index.touches.contains(number)))
}

/// The job's key is there, or the table has a primary key.
pub(crate) fn presence(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let Some(names) = &job.table.key else {
        if walked(table, job).is_some() {
            return Vec::new();
        }
        let finding = Finding::refuse("key-missing", "the table has no primary key")
            .at(&relation.name)
            .because("the walk needs a unique key, or it could not tell which rows are done");
        return vec![
            finding.recipe(another(relation, table, job)).span(Some(job.table.name_span.clone())),
        ];
    };
    let unknown: Vec<_> = names.iter().filter(|name| table.column(name).is_none()).collect();
    let mut found: Vec<_> =
        unknown.into_iter().map(|name| unknown_column(relation, table, name)).collect();
    if found.is_empty() && walked(table, job).is_none() {
        let what = format!("no index is over exactly the columns ({})", names.join(", "));
        let finding = Finding::refuse("key-no-index", what)
            .at(&relation.name)
            .because("without one, each batch would read and sort the table")
            .recipe(replacement(
                relation,
                table,
                job,
                &names.iter().filter_map(|name| table.column(name)).collect::<Vec<_>>(),
            ));
        found.push(finding);
    }
    found.into_iter().map(|finding| finding.span(job.table.key_span.clone())).collect()
}

fn unknown_column(relation: &Relation, table: &Table, name: &str) -> Finding {
    let finding =
        Finding::refuse("key-column-missing", format!("column `{name}` of the key does not exist"))
            .at(&relation.name)
            .because("names are taken literally: upper and lower case differ");
    match meant(table, name) {
        Some(near) => finding.recipe(format!("did you mean `{}`?", near.name)),
        None => finding.recipe("correct `key` under [table], or remove it to use the primary key"),
    }
}

/// The index has the one form in which a walk can follow it.
pub(crate) fn shape(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let Some(index) = walked(table, job) else { return Vec::new() };
    let mut found: Vec<Finding> = faults(index)
        .into_iter()
        .map(|(code, what, why)| {
            let finding =
                Finding::refuse(code, format!("index {} {what}", index.name)).because(why);
            match code {
                "key-invalid" => {
                    finding.recipe(format!("REINDEX INDEX CONCURRENTLY {};", index.name))
                }
                _ => finding.recipe(replacement(relation, table, job, &wanted(table, job, index))),
            }
        })
        .collect();
    found.extend(order(table, job, index));
    let place = format!("{}, key ({})", relation.name, key_list(table, job, index));
    found.into_iter().map(|finding| finding.at(&place).span(job.table.key_span.clone())).collect()
}

/// The columns that the key should have: those under `key`, or those of the index.
fn wanted<'t>(table: &'t Table, job: &Job, index: &Index) -> Vec<&'t Column> {
    let Some(names) = &job.table.key else { return columns(table, index) };
    names.iter().filter_map(|name| table.column(name)).collect()
}

fn key_list(table: &Table, job: &Job, index: &Index) -> String {
    job.table.key.as_ref().map_or_else(|| table.list(&index.order()), |names| names.join(", "))
}

/// The order of the columns is the index's, or none of its entries could be skipped.
fn order(table: &Table, job: &Job, index: &Index) -> Option<Finding> {
    let names = job.table.key.as_ref()?;
    let numbers: Vec<_> =
        names.iter().filter_map(|name| Some(table.column(name)?.number)).collect();
    let order = index.order();
    if order.starts_with(&numbers) || order.contains(&0) {
        return None;
    }
    let columns: Vec<_> = order.iter().filter_map(|number| table.numbered(*number)).collect();
    let what = format!("index {} has the columns in another order", index.name);
    Some(
        Finding::refuse("key-order", what)
            .because("the walk follows the index, so the order of `key` must be its order")
            .recipe(format!("write `key = [{}]` under [table]", key_words(&columns))),
    )
}

/// Code, what is wrong with the index, and why it matters.
type Fault = (&'static str, String, &'static str);

fn faults(index: &Index) -> Vec<Fault> {
    if index.method != "btree" {
        let what = format!("is a {} index, not a btree", index.method);
        return vec![("key-not-btree", what, "only a btree has its keys in order")];
    }
    let any = |is_so: fn(&Part) -> bool| index.parts.iter().any(is_so);
    let table: [(bool, &'static str, &str, &'static str); 8] = [
        (
            !index.is_unique,
            "key-not-unique",
            "is not unique",
            "a batch may end between two rows of one key, and the second would never be done",
        ),
        (
            !index.is_usable,
            "key-invalid",
            "is not valid",
            "it was not built to its end, or is being dropped: rows may be missing in it",
        ),
        (
            index.is_unique && !index.is_immediate,
            "key-deferrable",
            "belongs to a deferrable constraint",
            "a transaction may hold two rows of one key until it commits",
        ),
        (
            index.is_partial,
            "key-partial",
            "is partial",
            "the rows that it leaves out would never be reached",
        ),
        (
            any(|part| part.column == 0),
            "key-expression",
            "is on an expression",
            "the walk compares columns, and could not use it",
        ),
        (
            any(|part| part.is_descending || part.nulls_first),
            "key-descending",
            "has a column in DESC or NULLS FIRST order",
            "the walk compares keys as rows in ascending order, and that index is sorted otherwise",
        ),
        (
            any(|part| !part.has_default_order),
            "key-opclass",
            "has an operator class that is not the default",
            "it is sorted otherwise than `>` compares, so the walk would skip rows",
        ),
        (
            any(|part| !part.has_column_collation),
            "key-collation",
            "has another collation than its column",
            "it is sorted otherwise than `>` compares, so the walk would skip rows",
        ),
    ];
    let found = table.into_iter().filter(|fault| fault.0);
    found.map(|(_, code, what, why)| (code, what.to_owned(), why)).collect()
}

/// The columns of the key are never NULL, and of a proven type.
pub(crate) fn types(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let mut found = Vec::new();
    for column in walked_columns(table, job).iter().filter_map(|number| table.numbered(*number)) {
        if !column.is_not_null {
            found.push(nullable(relation, column));
        }
        if let Some(why) = unproven(column) {
            let what =
                format!("column `{}` of the key is of type {}", column.name, column.sql_type);
            let finding = Finding::refuse("key-type", what).because(why);
            found.push(finding.recipe(another(relation, table, job)));
        }
    }
    let place = |finding: Finding| finding.at(&relation.name).span(job.table.key_span.clone());
    found.into_iter().map(place).collect()
}

/// Returns the columns of an index, without expressions.
pub(crate) fn columns<'t>(table: &'t Table, index: &Index) -> Vec<&'t Column> {
    index.order().into_iter().filter_map(|number| table.numbered(number)).collect()
}

fn nullable(relation: &Relation, column: &Column) -> Finding {
    let (table, quoted) = (&relation.name, &column.quoted);
    let sql = format!(
        "SELECT count(*) FROM {table} WHERE {quoted} IS NULL; -- fill these rows, or delete them\n\
         ALTER TABLE {table} ADD CONSTRAINT piecemeal_not_null CHECK ({quoted} IS NOT NULL) NOT VALID;\n\
         ALTER TABLE {table} VALIDATE CONSTRAINT piecemeal_not_null; -- lets readers and writers pass\n\
         ALTER TABLE {table} ALTER COLUMN {quoted} SET NOT NULL; -- uses the constraint, no scan\n\
         ALTER TABLE {table} DROP CONSTRAINT piecemeal_not_null;"
    );
    Finding::refuse("key-nullable", format!("column `{}` of the key may be NULL", column.name))
        .because("no comparison with NULL is true, so such rows would never be reached")
        .recipe(sql)
}

/// Says why a column cannot be in a key; nothing if it can.
fn unproven(column: &Column) -> Option<String> {
    let kind = column.type_kind.as_deref().unwrap_or_default();
    let built_in = column.built_in.as_deref();
    if kind == "e" || (kind == "b" && built_in.is_some_and(|name| PROVEN.contains(&name))) {
        return None;
    }
    let reason = match (kind, built_in) {
        (_, Some("float4" | "float8")) => {
            "a float read back from its text may be another float, and rows would be done twice or never"
        }
        (_, Some("interval")) => {
            "different intervals are equal (1 day, 24 hours), so the text does not say where the walk is"
        }
        ("d", _) => {
            return Some(format!(
                "a domain over {} may refuse a value that it has itself, when it is read back",
                column.base.as_deref().unwrap_or("another type")
            ));
        }
        ("a", _) => "an array read back from its text may have lost its bounds",
        ("r" | "m", _) => "ranges with different texts may be equal",
        ("c", _) => "the order of a composite type depends on all of its fields",
        (_, Some(_)) => {
            "it is not proven that each of its values survives as text in the same order"
        }
        _ => "the order of a type that an extension brought is the extension's own",
    };
    Some(format!("{reason}; proven are {PROVEN_WORDS}"))
}

/// Says which key to use instead, or how to make one.
fn another(relation: &Relation, table: &Table, job: &Job) -> String {
    let keys = fit_keys(table, job);
    if keys.is_empty() {
        return format!(
            "make one, over NOT NULL columns of proven types that are unique together:\n{} (...); then name \
             its columns with `key` under [table]",
            create_index(relation, table)
        );
    }
    keys.join("\n")
}

/// The same when only the form of the index is wrong: one of the right form over these columns will do.
fn replacement(relation: &Relation, table: &Table, job: &Job, columns: &[&Column]) -> String {
    let keys = fit_keys(table, job);
    let usable = |column: &&Column| column.is_not_null && unproven(column).is_none();
    if !keys.is_empty() || columns.is_empty() || !columns.iter().all(usable) {
        return another(relation, table, job);
    }
    format!(
        "{} ({}); -- fails if two rows have one key\n\
         then write `key = [{}]` under [table]",
        create_index(relation, table),
        listed(columns),
        key_words(columns)
    )
}

/// How a unique index is made. One of a partitioned table must have all columns of its partition key,
/// and cannot be made in one piece without blocking writers.
fn create_index(relation: &Relation, table: &Table) -> String {
    let name = &relation.name;
    let Some(partitions) = &table.partitions else {
        return format!("CREATE UNIQUE INDEX CONCURRENTLY ON {name}");
    };
    format!(
        "CREATE UNIQUE INDEX CONCURRENTLY ON ... (...); -- for each partition, with {}\n\
         then, which takes these over: CREATE UNIQUE INDEX ON {name}",
        partitions.columns.join(", "),
    )
}

pub(crate) fn key_words(columns: &[&Column]) -> String {
    columns.iter().map(|column| toml(&column.name)).collect::<Vec<_>>().join(", ")
}

/// Returns how to name each key of the table that can be walked.
fn fit_keys(table: &Table, job: &Job) -> Vec<String> {
    let fits = |index: &&Index| {
        faults(index).is_empty()
            && columns(table, index)
                .iter()
                .all(|column| column.is_not_null && unproven(column).is_none())
            && set_among(table, job, &index.order()).is_empty()
    };
    let usable = table.indexes.iter().filter(fits);
    usable
        .map(|index| {
            let key = key_words(&columns(table, index));
            format!("write `key = [{key}]` under [table] to walk along {}", index.name)
        })
        .collect()
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
