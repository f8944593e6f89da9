//! How large will the table become, and may anything be done about it?

use super::columns;
use crate::finding::Finding;
use crate::job::{Job, Vacuum, show_bytes};
use crate::plan::facts::{Facts, Table};

/// The size from which it is worth a thought how full pages are.
const LARGE: u64 = 100_000_000;

/// The table is vacuumed beside the walk, or somebody decided that it is not.
pub(crate) fn vacuum(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let name = &relation.name;
    let finding = match job.pace.vacuum {
        Vacuum::Every(_) if table.can_vacuum => return Vec::new(),
        Vacuum::Every(_) => {
            let (role, owner) = (&facts.server.role, &table.owner);
            let what = format!("role {role} may not vacuum {name}, so the walk goes without");
            let finding = Finding::warn("vacuum-privilege", what).because(cost(table));
            let finding = if facts.server.major() >= 17 {
                finding.recipe(format!("GRANT MAINTAIN ON {name} TO {role};"))
            } else if table.owner_is_superuser {
                finding.recipe(format!(
                    "run it as a role that owns {name} and is no superuser; {owner}, its owner now, is one"
                ))
            } else {
                finding.recipe(format!("let it act as the owner: GRANT {owner} TO {role};"))
            };
            finding
                .recipe(format!(
                    "or, as {owner}, now and then during the run: VACUUM (TRUNCATE false) {name};"
                ))
                .recipe("or take it as it is: vacuum = \"off\" under [pace]")
        }
        Vacuum::Off => Finding::note("vacuum-off", format!("the walk does not vacuum {name}"))
            .because(format!("the job says vacuum = \"off\": {}", cost(table)))
            .recipe("vacuum = \"10%\" under [pace] is the default"),
    };
    vec![finding.at(name)]
}

/// What it costs if every row is written once and nothing is vacuumed.
fn cost(table: &Table) -> String {
    let doubled = |bytes: u64| format!("{} to {}", show_bytes(bytes), show_bytes(2 * bytes));
    let autovacuum = if table.is_autovacuum_off {
        "autovacuum is switched off for it"
    } else {
        "autovacuum comes when it comes"
    };
    format!(
        "each changed row leaves a dead one, whose space is used again only after VACUUM, and \
         {autovacuum}: the table may grow from {} and its indexes from {}, and more",
        doubled(table.heap_bytes),
        doubled(table.index_bytes),
    )
}

/// Updates of a large table could be HOT, and full pages stand in their way.
pub(crate) fn fillfactor(facts: &Facts, job: &Job) -> Vec<Finding> {
    let Some((relation, table)) = facts.subject() else { return Vec::new() };
    let is_full = table.fillfactor == 100 && table.heap_bytes >= LARGE;
    if !is_full || !columns::can_be_hot(facts, table, job) {
        return Vec::new();
    }
    let name = &relation.name;
    // A partitioned table has no pages, and takes no such setting.
    let altered = if table.partitions.is_some() { "<each partition>" } else { name.as_str() };
    let finding = Finding::note("fillfactor", format!("pages of {name} are filled to the brim"))
        .at(name)
        .because(
            "no index has a column that is set, so an update of it need not touch any index (HOT), \
             but only if the new row finds room in the page of the old one",
        )
        .recipe(format!(
            "ALTER TABLE {altered} SET (fillfactor = 90);  -- the rows that the run writes then leave \
             room for later updates; the pages there are now stay as they are, and the table becomes \
             a tenth larger"
        ));
    vec![finding]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{job, table};
    use super::*;
    use crate::plan::facts::{Relation, Server};

    fn facts(table: Table) -> Facts {
        let server = json!({
            "version": 150_000, "version_text": "x", "in_recovery": false, "is_read_only": false,
            "encoding": "UTF8", "database": "db", "role": "app", "is_superuser": false,
            "bypasses_row_security": false, "sees_activity": true, "shared_buffers": 1_000_000, "path": [],
        });
        let server: Server = serde_json::from_value(server).unwrap();
        let relation = json!({
            "oid": 1, "schema": "public", "name": "public.t", "kind": "r", "is_temporary": false,
            "is_system": false, "is_ledger": false, "place": 0,
        });
        let relation: Relation = serde_json::from_value(relation).unwrap();
        let (relations, near) = (vec![relation], Vec::new());
        Facts { server, relations, near, table: Some(table), surroundings: None }
    }

    #[test]
    fn a_job_that_vacuums_is_told_only_if_it_may_not() {
        let found = |can_vacuum, pace| {
            let facts = facts(Table { can_vacuum, ..table(&["id", "n"]) });
            let mut job = job("");
            job.pace.vacuum = pace;
            vacuum(&facts, &job).first().map(|finding| finding.code)
        };
        assert_eq!(found(true, Vacuum::Every(10)), None);
        assert_eq!(found(false, Vacuum::Every(10)), Some("vacuum-privilege"));
        assert_eq!(found(false, Vacuum::Off), Some("vacuum-off"));
        assert_eq!(found(true, Vacuum::Off), Some("vacuum-off"));
    }

    #[test]
    fn the_cost_is_said_in_bytes_and_whether_autovacuum_helps() {
        let table = Table { heap_bytes: 1_000_000, is_autovacuum_off: true, ..table(&[]) };
        let cost = cost(&table);
        assert!(cost.contains("from 1 MB to 2 MB"), "{cost}");
        assert!(cost.contains("autovacuum is switched off for it"), "{cost}");
    }

    #[test]
    fn only_full_pages_of_a_large_table_are_worth_a_note() {
        let found = |heap_bytes, fillfactor| {
            let facts = facts(Table { heap_bytes, fillfactor, ..table(&["id", "n"]) });
            super::fillfactor(&facts, &job("")).len()
        };
        assert_eq!([found(LARGE, 100), found(LARGE - 1, 100), found(LARGE, 99)], [1, 0, 0]);
    }
}
