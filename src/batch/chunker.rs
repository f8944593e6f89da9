//! Asks the server for the next chunk.

use crate::pg::{Fault, Param, Session};
use crate::plan::Statements;
use crate::walk::{Chunk, Key, Range};

/// The end of a chunk, looked up before the chunk was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// The key after which it begins.
    pub after: Key,
    /// Its keys.
    pub keys: u32,
    /// Its last key; `None` if fewer than that are left.
    pub upto: Option<Key>,
}

impl Ahead {
    /// Whether it is what would be looked up now for a chunk of at most `rows` keys.
    pub(crate) fn fits(&self, range: &Range, rows: u32) -> bool {
        range.position() == Some(&self.after) && self.keys <= rows && !range.done
    }
}

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
    let lower = range.position().map(Key::values);
    let sql = statements.boundary.of_stretch(lower.is_some());
    let params = boundary(rows, end, lower);
    let found = session.transact_prepared(&statements.begin_read, sql, &params).await?;
    let upto = found.first().map(|row| Key::new(row.get(0)));
    chunk(session, statements, range, (rows, upto)).await.map(Some)
}

/// Returns the chunk whose end was looked up before: `keys` of them up to a key, or the rest.
pub(crate) async fn chunk(
    session: &mut Session,
    statements: &Statements,
    range: &Range,
    (keys, upto): (u32, Option<Key>),
) -> Result<Chunk, Fault> {
    let after = range.position().cloned();
    if let Some(upto) = upto {
        return Ok(Chunk { after, upto, keys, last: false });
    }
    let lower = after.as_ref().map(Key::values);
    let end = range.upto.clone().unwrap_or_else(|| Key::new(Vec::new()));
    let sql = statements.count.of_stretch(lower.is_some());
    let params = &boundary(keys, &end, lower)[1..];
    let counted = session.transact_prepared(&statements.begin_read, sql, params).await?;
    let keys = counted.first().map_or(0, |row| row.get::<_, i64>(0));
    let keys = u32::try_from(keys).unwrap_or(u32::MAX);
    Ok(Chunk { after, upto: end, keys, last: true })
}

/// Returns what the query for the end of a chunk is asked with.
pub(super) fn boundary<'a>(rows: u32, end: &'a Key, lower: Option<&'a [String]>) -> Vec<Param<'a>> {
    let mut params = vec![Param::Int(i64::from(rows) - 1), Param::Texts(Some(end.values()))];
    params.extend(lower.map(|lower| Param::Texts(Some(lower))));
    params
}
