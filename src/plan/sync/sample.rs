//! What the expressions come to on rows that are there: whether they fail, and whether old values
//! survive the way to the new columns and back.

use super::Subject;
use crate::finding::Finding;
use crate::pg::{Fault, Session};
use crate::plan::limits::read_guards;
use crate::plan::split::PAGE;
use crate::sync::{Design, Written};

/// Rows that are looked at, from so many pages all over the table; and fewer, where that takes longer than
/// others should wait. If these do, too, nothing is known.
const SAMPLES: [(u32, u64); 2] = [(1_000, 200), (100, 20)];

/// Looks at some rows.
///
/// # Errors
/// When the server cannot be asked.
pub(super) async fn look(
    session: &mut Session,
    subject: &Subject<'_>,
    design: &Design,
) -> Result<Vec<Finding>, Fault> {
    let guards = read_guards(subject.job, &design.search_path);
    for sample in SAMPLES {
        match session.transact(&guards, &query(subject, design, sample), &[]).await {
            Ok(rows) => {
                let found = rows.first().map(|row| (row.get::<_, i64>(0), row.get::<_, i64>(1)));
                let lossy = found.filter(|(_, lost)| *lost > 0).map(|found| lossy(design, found));
                return Ok(lossy.into_iter().collect());
            }
            Err(Fault::Unknown(message)) => return Err(Fault::Unknown(message)),
            Err(Fault::Smaller(_) | Fault::Again(_)) => {}
            Err(fault) => return Ok(vec![fails(design, &fault)]),
        }
    }
    Ok(Vec::new())
}

fn fails(design: &Design, fault: &Fault) -> Finding {
    Finding::warn("sync-fails", "an expression of [sync] fails on a row that is there")
        .at(&design.table)
        .because(format!(
            "{}; whoever writes such a row would be refused by the trigger",
            fault.message()
        ))
        .recipe(
            "write the expression so that it gives NULL there, as in CASE WHEN ... THEN ... END",
        )
}

fn lossy(design: &Design, (looked, lost): (i64, i64)) -> Finding {
    let what = format!("`sync.reverse` gives other old values back in {lost} of {looked} rows");
    Finding::warn("sync-reverse-lossy", what)
        .at(&design.table)
        .because(
            "once the new side writes such a row, its old columns hold what can be computed back; \
             the walk itself computes nothing back",
        )
        .recipe("if that is not meant, keep what is lost in a new column, or read the old column in `reverse`")
}

/// Rows of a sample, with the new columns as they would be, and what comes back from them.
fn query(subject: &Subject<'_>, design: &Design, (rows, pages): (u32, u64)) -> String {
    let Design { alias, table, .. } = design;
    let all = subject.table.heap_bytes / PAGE;
    let percent = (100 * pages).checked_div(all).unwrap_or(100).clamp(1, 100);
    let names = |written: &[Written]| {
        written.iter().map(|it| it.column.name.clone()).collect::<Vec<_>>().join(", ")
    };
    let columns: Vec<_> = subject.columns().map(|column| column.quoted.clone()).collect();
    let values: Vec<_> = columns
        .iter()
        .map(|name| {
            let new = design.forward.iter().find(|it| it.column.name == *name);
            new.map_or_else(|| name.clone(), |new| format!("{} AS {name}", cast(new)))
        })
        .collect();
    let filter = design.filter.as_ref().map(|it| format!(" WHERE (\n{it}\n)")).unwrap_or_default();
    let back: Vec<_> = design.reverse.iter().map(cast).collect();
    // Without a way back, the new columns are still computed.
    let (back, was) = if back.is_empty() {
        (names(&design.forward), names(&design.forward))
    } else {
        (back.join(", "), names(&design.reverse))
    };
    format!(
        "SELECT count(*), count(*) FILTER (WHERE ROW({back})::pg_catalog.record\n\
         OPERATOR(pg_catalog.*<>) ROW({was})::pg_catalog.record)\n\
         FROM (SELECT {values} FROM (SELECT {columns} FROM ONLY {table} AS {alias} TABLESAMPLE SYSTEM ({percent}) REPEATABLE (0){filter}\n\
         LIMIT {rows}) AS {alias}) AS {alias}",
        values = values.join(", "),
        columns = columns.join(", "),
    )
}

fn cast(written: &Written) -> String {
    format!("(\n{}\n)::{}", written.expression, written.column.sql_type)
}
