//! From facts to a target, when nothing stands against it.

use super::check;
use super::check::triggers;
use super::facts::{Column, Facts};
use super::target::Target;
use crate::finding::Severity;
use crate::job::{Job, Work};
use crate::walk::{KeyColumn, Keyset, Scatter};

impl Facts {
    /// Returns the table as the walk needs it, or nothing if any finding refuses the job.
    pub(super) fn resolve(&self, job: &Job) -> Option<Target> {
        let findings = check::findings(self, job);
        if findings.iter().any(|finding| finding.severity == Severity::Refuse) {
            return None;
        }
        let (relation, table) = (self.relation()?, self.table.as_ref()?);
        let index = check::key::walked(table, job)?;
        let key = check::key::walked_columns(table, job).into_iter().map(|number| {
            let column = table.numbered(number)?;
            Some(KeyColumn {
                number,
                name: column.quoted.clone(),
                sql_type: column.bare_type.clone(),
                collation: column.collation.as_ref().map(|collation| collation.name.clone()),
                version: column
                    .collation
                    .as_ref()
                    .and_then(|collation| table.versions(collation)?.1)
                    .map(str::to_owned),
                stripe: Scatter::Hashed,
                is_it: column.is_it.clone(),
            })
        });
        let keyset = Keyset { table: relation.name.clone(), columns: key.collect::<Option<_>>()? };
        let leading =
            check::key::walked_columns(table, job).first().and_then(|it| table.numbered(*it));
        let follows =
            table.partitions.as_ref().zip(leading).map(|(it, leading)| it.follow(&leading.name));
        let leaves = table.partitions.as_ref().map(|partitions| partitions.leaves.clone());
        let Work::Set(assignments) = &job.work;
        let set = assignments.iter().map(|set| Some(table.column(&set.column)?.quoted.clone()));
        let is_set = |column: &&Column| {
            column.is_generated || assignments.iter().any(|set| set.column == column.name)
        };
        let set_numbers = table.columns.iter().filter(is_set).map(|column| column.number);
        let parts = |column: &&Column| check::key::is_of_partition(table, column.number);
        let partition_numbers = table.columns.iter().filter(parts).map(|column| column.number);
        let schemas = self.surroundings.iter().flat_map(|around| &around.search_path);
        let path = std::iter::once(&relation.schema).chain(schemas.map(|schema| &schema.quoted));
        let columns = table.columns.iter().filter(|column| !column.is_dropped);
        let readable = columns.map(|column| column.can_select.then(|| column.quoted.clone()));
        Some(Target {
            readable_columns: readable.collect(),
            oid: relation.oid,
            is_partitioned: leaves.is_some(),
            partition_numbers: partition_numbers.collect(),
            needs_all_partitions: follows == Some(false),
            leaves: leaves.unwrap_or_else(|| vec![relation.oid]),
            keyset: keyset.scattered(|it| check::key::is_of_partition(table, it.number)),
            index: index.name.clone(),
            search_path: path.cloned().collect(),
            set_numbers: set_numbers.collect(),
            set_columns: set.collect::<Option<_>>()?,
            has_before_update_trigger: triggers::can_suppress(table, job),
            estimate: table.estimate,
        })
    }
}
