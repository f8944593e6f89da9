//! Asks the server for the next chunk.

use crate::pg::fault::Keyless;
use crate::pg::{Fault, Param, Session};
use crate::plan::{Route, Statements, first_key};
use crate::walk::{Chunk, Key, Leg};
use tokio_postgres::Row;

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
    /// What was found.
    pub end: End,
}

/// Where a chunk ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct End {
    /// Its last key; `None` if fewer keys than were asked for are left.
    upto: Option<Key>,
    /// Its keys, if they were counted; as many as were asked for otherwise.
    keys: Option<u32>,
}

impl End {
    /// Reads the answer to a look.
    pub(super) fn of(rows: &[Row]) -> Result<End, Keyless> {
        let keys = rows.first().and_then(|row| row.get::<_, Option<i64>>(1));
        let keys = keys.map(|keys| u32::try_from(keys).unwrap_or(u32::MAX));
        Ok(End { upto: first_key(rows)?, keys })
    }
}

impl Ahead {
    /// Whether it will do for a chunk of at most `keys` of `leg`.
    pub(crate) fn fits(&self, leg: &Leg, keys: u32) -> bool {
        self.look.leg == *leg && self.look.keys <= keys
    }
}

/// Returns the chunk that `look` is for: of at most so many keys, with which its leg begins.
///
/// The end comes from a plain read along the index, or of blocks, never from rows that were locked or
/// changed (R5). When fewer keys are left than asked for, the chunk ends with the leg, whatever lies
/// in between: a leg is over when this finds no key, not when a batch changed no row (R6). One that
/// `is_lifted` may take longer than others should wait.
pub(crate) async fn next(
    session: &mut Session,
    route: &Route,
    look: Look,
    is_lifted: bool,
) -> Result<Chunk, Fault> {
    let begin = if is_lifted { &route.begin_lifted_read } else { &route.begin_end };
    let (sql, params) = boundary(route, &look);
    let found = session.transact_prepared(begin, sql, &params).await?;
    Ok(Chunk::from(Ahead { look, end: End::of(&found)? }))
}

impl From<Ahead> for Chunk {
    fn from(Ahead { look, end: found }: Ahead) -> Chunk {
        let Look { leg: Leg { after, end, stripe }, keys } = look;
        let keys = found.keys.unwrap_or(keys);
        match found.upto {
            Some(upto) => Chunk { after, upto, keys, last: false, stripe },
            None => Chunk { after, upto: end, keys, last: true, stripe },
        }
    }
}

/// Returns the place of the n-th row of a stretch that is to do, in physical order; `None` if it has fewer.
pub(crate) async fn nth_match(
    session: &mut Session,
    statements: &Statements,
    (after, upto): (Option<&Key>, &Key),
    n: u32,
) -> Result<Option<Key>, Fault> {
    let mut params = vec![Param::Int(n.into())];
    params.extend(stretch(after, upto));
    let sql = statements.nth_match.of_stretch(after.is_some());
    // Not kept: unlike a batch, it has nothing that takes the setting back before `where` is asked.
    let begin = &statements.of_walk().begin_read;
    let found = session.transact_prepared(begin, sql, &params).await?;
    let place = found.first().and_then(|row| row.get::<_, Option<Vec<String>>>(0));
    Ok(place.map(Key::new))
}

/// Returns the key of the only row of `chunk`, wherever that ends; `None` if it has none by now, or
/// several.
pub(crate) async fn key_of(
    session: &mut Session,
    route: &Route,
    chunk: &Chunk,
) -> Result<Option<Key>, Fault> {
    let sql = route.keys.of_stretch(chunk.after.is_some());
    let params = stretch(chunk.after.as_ref(), &chunk.upto);
    let rows = session.transact_prepared(&route.begin_rare_read, sql, &params).await?;
    if rows.len() == 1 { Ok(first_key(&rows)?) } else { Ok(None) }
}

fn stretch<'a>(after: Option<&'a Key>, upto: &'a Key) -> Vec<Param<'a>> {
    let keys = std::iter::once(upto).chain(after);
    keys.map(|key| Param::Texts(Some(key.values()))).collect()
}

/// Returns the query for the end of a chunk, and what it is asked with.
pub(super) fn boundary<'a>(route: &'a Route, look: &'a Look) -> (&'a str, Vec<Param<'a>>) {
    let Leg { after, end, .. } = &look.leg;
    let mut params = vec![Param::Int(i64::from(look.keys) - 1)];
    params.extend(stretch(after.as_ref(), end));
    (route.end.of_stretch(after.is_some()), params)
}
