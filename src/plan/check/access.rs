//! May this role do what the job needs?

use super::{key, listed, named, set_columns};
use crate::finding::Finding;
use crate::job::{Job, Work};
use crate::plan::facts::{Column, Facts, Ledger, LedgerTable, Schema};

/// The tables that a ledger has.
const LEDGER_TABLES: usize = 4;

/// No policy hides rows from us.
pub(crate) fn row_security(facts: &Facts, _: &Job) -> Vec<Finding> {
    let Some((relation, _)) = facts.subject().filter(|(_, table)| table.row_security) else {
        return Vec::new();
    };
    let role = &facts.server.role;
    let finding = Finding::refuse("row-security", format!("row security applies to role {role}"))
        .at(&relation.name)
        .because("a policy may hide rows, and what is hidden would never be done")
        .recipe("run it as the owner of the table, unless row security is forced on that role too")
        .recipe(format!("or for the time of the run: ALTER ROLE {role} BYPASSRLS;"));
    vec![finding]
}

/// The role may read the key and write the columns.
pub(crate) fn privileges(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let role = &facts.server.role;
    let mut found = Vec::new();
    if !table.schema_usage {
        let what = format!("role {role} may not use schema {}", relation.schema);
        let finding = Finding::refuse("schema-denied", what)
            .because("nothing in a schema can be reached without USAGE on it")
            .recipe(format!("GRANT USAGE ON SCHEMA {} TO {role};", relation.schema));
        found.push(finding);
    }
    let order = key::walked_columns(table, job);
    let needed = |column: &&Column| order.contains(&column.number) || is_read(job, &column.name);
    let unread: Vec<&Column> = table
        .columns
        .iter()
        .filter(|column| !column.is_dropped && !column.can_select)
        .filter(needed)
        .collect();
    if !unread.is_empty() {
        let what = format!("role {role} may not read {}", named(&unread));
        let finding = Finding::refuse("select-denied", what)
            .because("the walk reads the key, and the SQL of the job its columns")
            .recipe(format!("GRANT SELECT ON {} TO {role};", relation.name));
        found.push(finding);
    }
    let unset: Vec<_> = set_columns(table, job)
        .into_iter()
        .filter(|column| !column.is_dropped && !column.can_update)
        .collect();
    if !unset.is_empty() {
        let what = format!("role {role} may not update {}", named(&unset));
        let finding = Finding::refuse("update-denied", what)
            .because("the job sets it")
            .recipe(format!("GRANT UPDATE ({}) ON {} TO {role};", listed(&unset), relation.name));
        found.push(finding);
    }
    found.into_iter().map(|finding| finding.at(&relation.name)).collect()
}

/// Whether a name is a word of the job's SQL; it may stand for something else, and a privilege too
/// many harms less than a run that stops.
fn is_read(job: &Job, name: &str) -> bool {
    let Work::Set(assignments) = &job.work;
    let fragments = assignments.iter().map(|set| &set.expression);
    let mut fragments = fragments.chain(&job.table.filter).chain(&job.verify.expect);
    let continues = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    fragments.any(|fragment| {
        fragment
            .text
            .split(|c| !continues(c))
            .any(|word| word == name || word.to_lowercase() == name)
    })
}

/// The schemas of the job's search path are there; the server leaves out one that is not, silently.
pub(crate) fn search_path(facts: &Facts, _: &Job) -> Vec<Finding> {
    let schemas = facts.surroundings.iter().flat_map(|around| &around.search_path);
    let role = &facts.server.role;
    let judge = |schema: &Schema| {
        let name = &schema.quoted;
        let why =
            "the server would leave it out silently, and names in the job's SQL may mean others";
        let finding = match (schema.exists, schema.usage) {
            (true, true) => return None,
            (false, _) => {
                Finding::refuse("search-path-missing", format!("schema {name} does not exist"))
                    .recipe("correct `search_path` under [table]")
            }
            (true, false) => Finding::refuse(
                "search-path-denied",
                format!("role {role} may not use schema {name}"),
            )
            .recipe(format!("GRANT USAGE ON SCHEMA {name} TO {role};")),
        };
        Some(finding.at("search_path under [table]").because(why))
    };
    schemas.filter_map(judge).collect()
}

/// The ledger is there and can be written, or can be made.
pub(crate) fn ledger(facts: &Facts) -> Vec<Finding> {
    let Some(ledger) = facts.surroundings.as_ref().map(|around| &around.ledger) else {
        return Vec::new();
    };
    let finding = if !ledger.has_schema {
        (!ledger.can_create).then(|| not_creatable(facts))
    } else if ledger.tables.len() < LEDGER_TABLES {
        Some(incomplete(ledger))
    } else {
        denied(facts, ledger).or_else(|| unlogged(ledger))
    };
    finding.into_iter().map(|finding| finding.at("schema piecemeal")).collect()
}

fn not_creatable(facts: &Facts) -> Finding {
    let (role, database) = (&facts.server.role, &facts.server.database);
    let what =
        format!("role {role} may not create the ledger, schema piecemeal, in database {database}");
    Finding::refuse("ledger-create", what)
        .because("cursor and counters are written there, in the same transaction as the rows")
        .recipe(format!("GRANT CREATE ON DATABASE {database} TO {role};"))
        .recipe("or let someone who may apply what `piecemeal init --print-sql` prints, and grant its use")
}

fn incomplete(ledger: &Ledger) -> Finding {
    let there: Vec<_> = ledger.tables.iter().map(|table| table.name.as_str()).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    let what = format!("schema piecemeal is there, and not all tables of the ledger are: {there}");
    Finding::refuse("ledger-incomplete", what)
        .because("it may belong to somebody else, or be half restored from a backup")
        .recipe("look what is in it, in psql: \\dt piecemeal.*")
        .recipe("restore the tables that are missing, or move it away: ALTER SCHEMA piecemeal RENAME TO piecemeal_old;")
}

fn denied(facts: &Facts, ledger: &Ledger) -> Option<Finding> {
    let role = &facts.server.role;
    let lacks = |table: &LedgerTable| {
        (!table.lacks.is_empty()).then(|| format!("{} on {}", table.lacks.join(", "), table.name))
    };
    let mut missing: Vec<_> = ledger.tables.iter().filter_map(lacks).collect();
    if !ledger.schema_usage {
        missing.insert(0, "USAGE on schema piecemeal".to_owned());
    }
    if missing.is_empty() {
        return None;
    }
    let what = format!("role {role} may not write the ledger; it lacks {}", missing.join("; "));
    Some(
        Finding::refuse("ledger-denied", what)
            .because("cursor and counters are written there, in the same transaction as the rows")
            .recipe(format!(
                "GRANT USAGE ON SCHEMA piecemeal TO {role};\n\
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA piecemeal TO {role};"
            )),
    )
}

fn unlogged(ledger: &Ledger) -> Option<Finding> {
    let tables: Vec<_> =
        ledger.tables.iter().filter(|table| !table.is_logged).map(|table| &table.name).collect();
    let what = format!("{} of the ledger is unlogged", tables.first()?);
    let sql: Vec<_> = tables.iter().map(|name| format!("ALTER TABLE {name} SET LOGGED;")).collect();
    Some(
        Finding::refuse("ledger-unlogged", what)
            .because("a crash would empty it, and rows would be done twice")
            .recipe(sql.join("\n")),
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::job;
    use super::is_read;

    #[test]
    fn a_column_is_read_where_it_is_a_word_of_the_sql() {
        let job = job("where = 'LNG > 0 AND latitude IS NULL'");
        for (name, read) in
            [("lat", true), ("lng", true), ("latitude", true), ("n", false), ("lati", false)]
        {
            assert_eq!(is_read(&job, name), read, "{name}");
        }
    }
}
