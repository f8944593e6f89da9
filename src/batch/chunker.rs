//! Asks the server for the next chunk.

use crate::pg::{Fault, Param, Session};
use crate::plan::Statements;
use crate::walk::{Chunk, Key, Range};

/// Returns the chunk of at most `rows` keys that follows the range's cursor; `None` at its end.
///
/// The end comes from a plain read along the index, never from rows that were locked or changed
/// (R5). When fewer keys are left than asked for, the chunk ends with the range, whatever lies in
/// between: a range is over when this finds no key, not when a batch changed no row (R6).
pub(crate) async fn next(
    session: &mut Session,
    statements: &Statements,
    range: &Range,
    rows: u32,
) -> Result<Option<Chunk>, Fault> {
    let Some(end) = range.upto.as_ref().filter(|_| !range.done) else { return Ok(None) };
    let after = range.position().cloned();
    let lower = after.as_ref().map(Key::values);
    let sql = statements.boundary.of_stretch(lower.is_some());
    let mut params = vec![Param::Int(i64::from(rows) - 1), Param::Texts(Some(end.values()))];
    params.extend(lower.map(|lower| Param::Texts(Some(lower))));
    let found = session.transact_prepared(&statements.begin_read, sql, &params).await?;
    if let Some(row) = found.first() {
        let upto = Key::new(row.get(0));
        return Ok(Some(Chunk { after, upto, keys: rows, last: false }));
    }
    let counted = session
        .transact_prepared(
            &statements.begin_read,
            statements.count.of_stretch(params.len() > 2),
            &params[1..],
        )
        .await?;
    let keys = counted.first().map_or(0, |row| row.get::<_, i64>(0));
    let keys = u32::try_from(keys).unwrap_or(u32::MAX);
    Ok(Some(Chunk { after, upto: end.clone(), keys, last: true }))
}
