//! stub
use super::target::Target;
use crate::job::Job;
use crate::pg::{Fault, Session};
/// stub
pub struct Facts {
    target: Target,
}
/// stub
pub async fn read(session: &mut Session, job: &Job) -> Result<Facts, Fault> {
    use crate::pg::Guards;
    use crate::walk::{KeyColumn, Keyset};
    let schema = job.table.name.schema.clone().unwrap_or("public".into());
    let rows = session.transact(&Guards::reading(), "select c.oid, c.oid::regclass::text, i.indexrelid::regclass::text, (select array_agg(quote_ident(a.attname) order by k.ord) from unnest(i.indkey) with ordinality k(n, ord) join pg_attribute a on a.attrelid = c.oid and a.attnum = k.n), (select array_agg(format_type(a.atttypid, a.atttypmod) order by k.ord) from unnest(i.indkey) with ordinality k(n, ord) join pg_attribute a on a.attrelid = c.oid and a.attnum = k.n), case when c.reltuples >= 0 then c.reltuples::int8 end from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_index i on i.indrelid = c.oid and i.indisprimary where n.nspname = $1 and c.relname = $2", &[schema.as_str().into(), job.table.name.name.as_str().into()]).await?;
    let row = &rows[0];
    let names: Vec<String> = row.get(3);
    let types: Vec<String> = row.get(4);
    let crate::job::Work::Set(set) = &job.work;
    Ok(Facts {
        target: Target {
            oid: row.get(0),
            keyset: Keyset {
                table: format!("{schema}.{}", job.table.name.name),
                columns: names
                    .into_iter()
                    .zip(types)
                    .map(|(name, sql_type)| KeyColumn { name, sql_type })
                    .collect(),
            },
            index: row.get(2),
            search_path: vec![schema],
            set_columns: set.iter().map(|a| a.column.clone()).collect(),
            has_before_update_trigger: false,
            estimate: row.get::<_, Option<i64>>(5).map(|n| n as u64),
        },
    })
}
impl Facts {
    /// stub
    pub fn resolve(&self, _: &Job) -> Option<Target> {
        Some(self.target.clone())
    }
}
