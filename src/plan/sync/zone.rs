//! Whether a default is another value for a writer with other settings.
//!
//! The trigger takes for "not given" what is equal to the default, and computes that under settings of its own: what
//! follows from the time zone of the writer would look like a value that was given. The server tells, as of now.

use super::Subject;
use crate::finding::Finding;
use crate::job::Assignment;
use crate::pg::{Fault, Guards, Session};
use crate::plan::facts::Column;

/// The settings that the trigger has of its own and that a value may follow from, each with two values that are far
/// apart: between the zones there is always another day, and never the same time.
const SETTINGS: [(&str, [&str; 2]); 5] = [
    ("timezone", ["<-12>+12", "<+14>-14"]),
    ("datestyle", ["ISO, YMD", "German, DMY"]),
    ("intervalstyle", ["postgres", "iso_8601"]),
    ("extra_float_digits", ["1", "-15"]),
    ("bytea_output", ["hex", "escape"]),
];

/// Looks at the defaults that values are compared with.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn look(
    session: &mut Session,
    subject: &Subject<'_>,
) -> Result<Vec<Finding>, Fault> {
    let mut found = Vec::new();
    for it in subject.written() {
        let Some(column) = subject.table.column(&it.column) else { continue };
        let default = subject.situation.default(column.number).and_then(|it| it.sql.as_ref());
        let Some(sql) = default else { continue };
        // As the trigger has it.
        let query = query(&format!("ROW(({sql})::{})::pg_catalog.record", column.sql_type));
        match session.transact(&Guards::reading(), &query, &[]).await {
            Ok(rows) if rows.first().is_some_and(|row| row.get(0)) => {
                found.push(depends(subject, it, column));
            }
            Err(Fault::Unknown(message)) => return Err(Fault::Unknown(message)),
            // It may need a setting that only the application has.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(found)
}

/// Computes a default under the one settings, then under the others. Every step reads the row of the one before, so
/// that none comes earlier.
fn query(default: &str) -> String {
    let settings = |nth: usize| {
        let each = SETTINGS.map(|(name, values)| {
            format!("pg_catalog.set_config('{name}', '{}', true)", values[nth])
        });
        format!("pg_catalog.concat({})", each.join(", "))
    };
    format!(
        "WITH first AS MATERIALIZED (SELECT {}),\n\
         computed AS MATERIALIZED (SELECT {default} AS value FROM first),\n\
         second AS MATERIALIZED (SELECT value, {} FROM computed)\n\
         SELECT value OPERATOR(pg_catalog.*<>) {default} FROM second",
        settings(0),
        settings(1),
    )
}

fn depends(subject: &Subject<'_>, it: &Assignment, column: &Column) -> Finding {
    let table = &subject.relation.name;
    let what = format!(
        "column `{}` has a default that follows from the session's time zone, or from how it shows values",
        it.column
    );
    Finding::refuse("sync-default-zone", what)
        .at(format!("{table}, column `{}`", it.column))
        .because("the trigger has a time zone of its own, and would take the default of a writer in another one for a value that was given")
        .recipe(format!(
            "ALTER TABLE {table} ALTER COLUMN {} DROP DEFAULT; or one that names its zone, as in now() AT TIME ZONE 'UTC'",
            column.quoted
        ))
        .span(Some(it.column_span.clone()))
}
