//! Is the name a table that can be walked at all?

use super::toml;
use crate::finding::Finding;
use crate::job::Job;
use crate::plan::facts::{Facts, Relation};

/// The table is there, and its name means only one.
pub(crate) fn existence(facts: &Facts, job: &Job) -> Vec<Finding> {
    // A server that was not asked has nothing, which says nothing.
    if facts.surroundings.is_none() {
        return Vec::new();
    }
    let found = match facts.relations.as_slice() {
        [] => missing(facts, job),
        [first, _, ..] => ambiguous(facts, first, job),
        [_] => return Vec::new(),
    };
    vec![found.span(Some(job.table.name_span.clone()))]
}

fn missing(facts: &Facts, job: &Job) -> Finding {
    let mut what = format!("table {} does not exist", job.table.name);
    if let Some(near) = facts.near.first() {
        what = format!("{what}; did you mean {near}?");
    }
    let why = match &job.table.name.schema {
        Some(_) => "names are taken literally: upper and lower case differ".to_owned(),
        None => format!(
            "a name without a schema is looked up in {}, literally: upper and lower case differ",
            visible(&facts.server.path)
        ),
    };
    let finding = Finding::refuse("table-missing", what)
        .at(format!("database {}", facts.server.database))
        .because(why);
    if facts.near.is_empty() {
        return finding
            .recipe("check the name and the database: psql shows what is there with \\dt *.*");
    }
    facts.near.iter().fold(finding, |finding, near| {
        finding.recipe(format!("write `name = {}` under [table]", toml(near)))
    })
}

/// Leaves out the schemas that are searched without being named.
fn visible(path: &[String]) -> String {
    let named = path.iter().filter(|schema| !schema.starts_with("pg_"));
    named.map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn ambiguous(facts: &Facts, first: &Relation, job: &Job) -> Finding {
    let names: Vec<_> = facts.relations.iter().map(|relation| relation.name.as_str()).collect();
    Finding::refuse("table-ambiguous", format!("{} may be {}", job.table.name, names.join(" or ")))
        .at(format!("database {}", facts.server.database))
        .because(format!(
            "in this session it means {}, in one with another search_path it may not",
            first.name
        ))
        .recipe(format!("write `name = {}` under [table], or the other one", toml(&first.name)))
}

/// It is an ordinary, permanent table that is the application's.
pub(crate) fn kind(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some(relation) = facts.relation() else { return Vec::new() };
    let found = if relation.is_system || relation.is_ledger || relation.kind == "t" {
        system(relation)
    } else if relation.is_temporary {
        Finding::refuse("table-temporary", format!("{} is a temporary table", relation.name))
            .because("it ends with the session that made it, and no other session can see its rows")
            .recipe("change it in that session with a plain UPDATE")
    } else if let Some((kind, recipe)) = other_kind(&relation.kind) {
        Finding::refuse("table-kind", format!("{} is {kind}, not an ordinary table", relation.name))
            .because("only the rows of an ordinary table can be walked and updated in place")
            .recipe(recipe)
    } else {
        return Vec::new();
    };
    vec![found.at(&relation.name).span(Some(job.table.name_span.clone()))]
}

fn system(relation: &Relation) -> Finding {
    let (owner, recipe) = if relation.is_ledger {
        ("the ledger of piecemeal", "change runs with `piecemeal throttle`, `pause` or `cancel`")
    } else if relation.kind == "t" {
        ("the server: it holds the large values of a table", "name the table that it belongs to")
    } else {
        ("the server", "change catalogs only with the DDL that is made for it")
    };
    Finding::refuse("table-system", format!("{} belongs to {owner}", relation.name))
        .because("rows that others keep the books with are not for a backfill")
        .recipe(recipe)
}

fn other_kind(kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        "r" | "p" => return None,
        "v" => ("a view", "name the table beneath it; \\d+ in psql shows the view's definition"),
        "m" => (
            "a materialized view",
            "change the tables beneath it, then REFRESH MATERIALIZED VIEW CONCURRENTLY it",
        ),
        "f" => ("a foreign table", "run the job on the server that holds the rows"),
        "S" => ("a sequence", "name the table that uses it, or set it with setval()"),
        "i" | "I" => ("an index", "name the table that it belongs to"),
        "c" => ("a composite type", "name a table that has columns of it"),
        _ => ("something else", "name an ordinary table"),
    })
}

/// It has no children, and a partition says so.
pub(crate) fn family(facts: &Facts, _: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let mut found = Vec::new();
    if !table.children.is_empty() {
        let children = table.children.join(", ");
        let finding = Finding::refuse("table-inherited", format!("other tables inherit from it: {children}"))
            .at(&relation.name)
            .because("an UPDATE would reach their rows too, and no index spans them: a key may be there twice")
            .recipe(format!("make a job for each of {children}; a job for a parent is not available yet"))
            .recipe("or take its own rows into a new table with no children, and walk that");
        found.push(finding);
    }
    if let Some(parent) = &table.partition_of {
        let what = format!("only this partition of {parent} is changed");
        let finding = Finding::note("table-partition", what)
            .at(&relation.name)
            .because("the other partitions need a job each");
        found.push(finding);
    }
    found
}

/// A crash does not empty it.
pub(crate) fn durability(facts: &Facts, _: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject().filter(|(_, table)| table.is_unlogged) else {
        return Vec::new();
    };
    let unlogged = table.partitions.as_ref().map(|partitions| partitions.unlogged.join(", "));
    let what = unlogged
        .as_ref()
        .map_or_else(|| "the table is unlogged".to_owned(), |names| format!("unlogged: {names}"));
    let first = table.partitions.iter().flat_map(|it| &it.unlogged).next();
    let finding = Finding::warn("table-unlogged", what)
        .at(&relation.name)
        .because(
            "a crash of the server empties it, while the ledger still says how far the walk was",
        )
        .recipe(format!(
            "if its rows matter: ALTER TABLE {} SET LOGGED; (rewrites it under an exclusive lock)",
            first.unwrap_or(&relation.name)
        ));
    vec![finding]
}

/// It is known about how many rows it has.
pub(crate) fn estimate(facts: &Facts, _: &Job) -> Vec<Finding> {
    let Some((relation, _)) = facts.subject().filter(|(_, table)| table.estimate.is_none()) else {
        return Vec::new();
    };
    let finding = Finding::note("table-never-analyzed", "the table was never analyzed")
        .at(&relation.name)
        .because(
            "the planner guesses, and so do progress and ETA if the rows cannot be counted quickly",
        )
        .recipe(format!("ANALYZE {};", relation.name));
    vec![finding]
}
