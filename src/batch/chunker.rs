//! Asks the server for the next chunk.

use crate::pg::{Fault, Param, Session};
use crate::plan::Statements;
use crate::walk::{Chunk, Key, Leg};

/// A question for the end of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    /// The stretch that it is cut from.
    pub leg: Leg,
    /// Its keys.
    pub keys: u32,
}

/// The end of a chunk, looked up before the chunk was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// What was asked.
    pub look: Look,
    /// Its last key; `None` if fewer keys than that are left.
    pub upto: Option<Key>,
}

impl Ahead {
    /// Whether it will do for a chunk of at most `keys` of `leg`.
    pub(crate) fn fits(&self, leg: &Leg, keys: u32) -> bool {
        self.look.leg == *leg && self.look.keys <= keys
    }
}

/// Returns the chunk of at most `keys` keys with which `leg` begins.
///
/// The end comes from a plain read along the index, never from rows that were locked or changed
/// (R5). When fewer keys are left than asked for, the chunk ends with the leg, whatever lies in
/// between: a leg is over when this finds no key, not when a batch changed no row (R6).
pub(crate) async fn next(
    session: &mut Session,
    statements: &Statements,
    leg: Leg,
    keys: u32,
) -> Result<Chunk, Fault> {
    let look = Look { leg, keys };
    let (sql, params) = boundary(statements, &look);
    let found = session.transact_prepared(&statements.begin_read, sql, &params).await?;
    let upto = found.first().map(|row| Key::new(row.get(0)));
    chunk(session, statements, Ahead { look, upto }).await
}

/// Returns the chunk whose end was looked up before.
pub(crate) async fn chunk(
    session: &mut Session,
    statements: &Statements,
    ahead: Ahead,
) -> Result<Chunk, Fault> {
    let Look { leg: Leg { after, end, stripe }, keys } = ahead.look;
    if let Some(upto) = ahead.upto {
        return Ok(Chunk { after, upto, keys, last: false, stripe });
    }
    let mut params = vec![Param::Texts(Some(end.values()))];
    params.extend(after.as_ref().map(|after| Param::Texts(Some(after.values()))));
    let sql = statements.count.of_stretch(after.is_some());
    let counted = session.transact_prepared(&statements.begin_read, sql, &params).await?;
    let keys = counted.first().map_or(0, |row| row.get::<_, i64>(0));
    let keys = u32::try_from(keys).unwrap_or(u32::MAX);
    Ok(Chunk { after, upto: end, keys, last: true, stripe })
}

/// Returns the query for the end of a chunk, and what it is asked with.
pub(super) fn boundary<'a>(
    statements: &'a Statements,
    look: &'a Look,
) -> (&'a str, Vec<Param<'a>>) {
    let Leg { after, end, .. } = &look.leg;
    let mut params = vec![Param::Int(i64::from(look.keys) - 1), Param::Texts(Some(end.values()))];
    params.extend(after.as_ref().map(|after| Param::Texts(Some(after.values()))));
    (statements.boundary.of_stretch(after.is_some()), params)
}
