//! Reading the facts, in five statements of one transaction each, and a sixth for partitions.
//!
//! It promises to change nothing, and to fail only when the server cannot be asked: what this role
//! may not see or use is a fact like any other. A name with a schema is taken literally; one without
//! is looked up as the server would in this session, and no name is ever case-folded.
//!
//! Every statement returns one JSON object whose fields are those of [`facts`](super::facts). Its
//! names are qualified, and but for the first one only `pg_catalog` can be searched at all (F93).

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::facts::{CollationVersion, Facts, Partitions, Relation, Server, Table};
use crate::job::{Job, TableName};
use crate::pg::{DbMessage, Fault, Guards, Param, Session};
use crate::sync::name_of;

const SERVER: &str = include_str!("catalog/server.sql");
const RELATIONS: &str = include_str!("catalog/relations.sql");
const NEAR: &str = include_str!("catalog/near.sql");
const TABLE: &str = include_str!("catalog/table.sql");
const PARTITIONS: &str = include_str!("catalog/partitions.sql");
const SINCE_15: &str = include_str!("catalog/since_15.sql");
const SURROUNDINGS: &str = include_str!("catalog/surroundings.sql");

/// The first version whose catalogs have what the other statements ask for.
pub(super) const OLDEST: i32 = 14;

/// How many tables that may have been meant are shown.
const NEAR_SHOWN: usize = 3;

/// How alike a name must be to have been meant, from 0 to 1.
const LIKENESS: f64 = 0.8;

/// Reads everything that preflight wants to know of a job's table.
///
/// # Errors
/// When the server cannot be asked; what is missing or forbidden is no error.
pub(super) async fn read(session: &mut Session, job: &Job) -> Result<Facts, Fault> {
    let server: Server = read_server(session).await?;
    let mut facts =
        Facts { server, relations: Vec::new(), near: Vec::new(), table: None, surroundings: None };
    if facts.server.major() < OLDEST {
        return Ok(facts);
    }
    let name = &job.table.name;
    facts.relations = read_relations(session, name, &facts.server.path).await?;
    match facts.relations.first() {
        None => facts.near = read_near(session, name).await?,
        Some(relation) if relation.is_ordinary() => {
            facts.table = read_table(session, relation, facts.server.major()).await?;
            // The job's own trigger lets the walk by.
            let own = name_of(&job.name);
            if let Some(table) = &mut facts.table {
                table.triggers.retain(|trigger| trigger.name != own);
            }
        }
        Some(_) => {}
    }
    let path = Param::Texts(Some(&job.table.search_path));
    facts.surroundings = one(session, SURROUNDINGS, &[path]).await?;
    Ok(facts)
}

/// Reads what can be known without a job: the server, the role, the ledger and who holds old rows.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn read_around(session: &mut Session) -> Result<Facts, Fault> {
    let server: Server = read_server(session).await?;
    let mut facts =
        Facts { server, relations: Vec::new(), near: Vec::new(), table: None, surroundings: None };
    if facts.server.major() >= OLDEST {
        facts.surroundings = one(session, SURROUNDINGS, &[Param::Texts(Some(&[]))]).await?;
    }
    Ok(facts)
}

/// Reads the server's facts under the session's own search path, as it was before our guards.
async fn read_server(session: &mut Session) -> Result<Server, Fault> {
    let begin = Guards::reading().begin() + "; SET LOCAL search_path TO DEFAULT";
    let rows = session.transact_prepared(&begin, SERVER, &[]).await?;
    let server = decode(rows.first().map(|row| row.get(0))).map_err(|error| unexpected(&error))?;
    server.ok_or_else(|| unexpected(&"the role is not there"))
}

async fn read_relations(
    session: &mut Session,
    name: &TableName,
    path: &[String],
) -> Result<Vec<Relation>, Fault> {
    let schema = Param::from(name.schema.as_deref());
    let params = [schema, Param::from(name.name.as_str()), Param::Texts(Some(path))];
    Ok(one(session, RELATIONS, &params).await?.unwrap_or_default())
}

async fn read_table(
    session: &mut Session,
    relation: &Relation,
    major: i32,
) -> Result<Option<Table>, Fault> {
    #[derive(Deserialize)]
    struct Since15 {
        recorded: Option<String>,
        actual: Option<String>,
        publications: Vec<String>,
    }
    let oid = i64::from(relation.oid);
    let table: Option<Table> = one(session, TABLE, &[Param::Int(oid)]).await?;
    // It may have been dropped since the statement before.
    let Some(mut table) = table else { return Ok(None) };
    if major >= 15
        && let Some(more) = one::<Since15>(session, SINCE_15, &[Param::Int(oid)]).await?
    {
        let Since15 { recorded, actual, publications } = more;
        table.database_collation = recorded.map(|recorded| CollationVersion { recorded, actual });
        table.publications.extend(publications);
        table.publications.sort();
        table.publications.dedup();
    }
    if relation.is_partitioned()
        && let Some(partitions) = one::<Partitions>(session, PARTITIONS, &[Param::Int(oid)]).await?
    {
        table = table.with_partitions(partitions);
    }
    Ok(Some(table))
}

#[derive(Deserialize)]
struct Near {
    schema: String,
    name: String,
    quoted: String,
}

async fn read_near(session: &mut Session, name: &TableName) -> Result<Vec<String>, Fault> {
    let near: Option<Vec<Near>> = one(session, NEAR, &[Param::from(name.name.as_str())]).await?;
    Ok(likeliest(name, near.unwrap_or_default()))
}

/// Orders names by how alike they are to the one that was written, and leaves out the others.
fn likeliest(written: &TableName, near: Vec<Near>) -> Vec<String> {
    let fold = |text: &str| text.to_lowercase();
    let mut ranked: Vec<(f64, String)> = near
        .into_iter()
        .filter_map(|near| {
            let name = strsim::jaro_winkler(&fold(&written.name), &fold(&near.name));
            let schema = written
                .schema
                .as_ref()
                .map_or(1.0, |schema| strsim::jaro_winkler(&fold(schema), &fold(&near.schema)));
            (name >= LIKENESS).then_some((name + schema / 10.0, near.quoted))
        })
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    ranked.into_iter().map(|(_, quoted)| quoted).take(NEAR_SHOWN).collect()
}

/// Runs a statement that returns one JSON value, and decodes it; no row or NULL is nothing.
async fn one<T: DeserializeOwned>(
    session: &mut Session,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Option<T>, Fault> {
    let rows = session.transact(&Guards::reading(), sql, params).await?;
    decode(rows.first().and_then(|row| row.get(0))).map_err(|error| unexpected(&error))
}

fn decode<T: DeserializeOwned>(value: Option<Value>) -> serde_json::Result<Option<T>> {
    value.map(serde_json::from_value).transpose()
}

fn unexpected(what: &dyn std::fmt::Display) -> Fault {
    Fault::Fatal(DbMessage::local(format!("the catalog is not as expected: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(schema: &str, name: &str) -> Near {
        Near { schema: schema.into(), name: name.into(), quoted: format!("{schema}.{name}") }
    }

    fn ask(written: &str, tables: &[(&str, &str)]) -> Vec<String> {
        let near = tables.iter().map(|(schema, name)| near(schema, name)).collect();
        likeliest(&written.parse().unwrap(), near)
    }

    #[test]
    fn a_name_in_other_case_is_the_likeliest() {
        let tables = [("public", "post"), ("public", "Posts"), ("public", "users")];
        assert_eq!(ask("public.posts", &tables), ["public.Posts", "public.post"]);
    }

    #[test]
    fn of_equal_names_the_one_in_the_likelier_schema_comes_first() {
        assert_eq!(ask("app2.posts", &[("other", "posts"), ("app", "posts")])[0], "app.posts");
    }

    #[test]
    fn nothing_is_suggested_for_a_name_unlike_all() {
        assert!(ask("posts", &[("public", "users"), ("public", "zebra")]).is_empty());
    }

    #[test]
    fn a_catalog_that_is_not_understood_is_an_error_and_no_panic() {
        let answer = decode::<Server>(Some(serde_json::json!({ "version": "fifteen" })));
        assert!(answer.is_err(), "{answer:?}");
    }
}
