//! Which columns an expression reads.
//!
//! A column is read if its name is a word of the text, and the server does not accept the text without
//! the column: `date` may be a column, a type or a function.

use super::Subject;
use crate::job::Fragment;
use crate::pg::{Fault, Guards, Session};

/// What the row is called where its table's name is not needed.
const ALIAS: &str = "piecemeal_row";

/// The columns that are read, by name, in the order of the table.
pub(super) struct Reads {
    pub(super) forward: Vec<String>,
    pub(super) reverse: Vec<String>,
    /// By `sync.where`.
    pub(super) filter: Vec<String>,
    /// By the job's own `where`.
    pub(super) pending: Vec<String>,
}

/// Asks the server what each side reads, and each condition.
///
/// # Errors
/// When it cannot be asked.
pub(super) async fn read(session: &mut Session, subject: &Subject<'_>) -> Result<Reads, Fault> {
    let Subject { job, sync, .. } = subject;
    Ok(Reads {
        forward: of(session, subject, sync.forward.iter().map(|it| &it.expression)).await?,
        reverse: of(session, subject, sync.reverse.iter().map(|it| &it.expression)).await?,
        filter: of(session, subject, sync.filter.iter()).await?,
        pending: of(session, subject, job.table.filter.iter()).await?,
    })
}

async fn of(
    session: &mut Session,
    subject: &Subject<'_>,
    fragments: impl Iterator<Item = &Fragment>,
) -> Result<Vec<String>, Fault> {
    let texts: Vec<_> = fragments.map(|fragment| fragment.text.as_str()).collect();
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let values: Vec<_> = texts.iter().map(|text| format!("(\n{text}\n)")).collect();
    let without = |column, alias| {
        format!("EXPLAIN SELECT {} {}", values.join(", "), subject.from(column, alias))
    };
    // Where the texts do without the table's name, nothing in them is the row; a column may be called like the table.
    let alias = &subject.situation.alias;
    let is_free = is_taken(session, subject, &without(None, ALIAS)).await?;
    let alias = if is_free { ALIAS } else { alias };
    let takes_row =
        !is_free && texts.iter().any(|text| takes_row(text, &subject.situation.bare_name));
    let mut read = Vec::new();
    for column in subject.columns() {
        let is_mentioned = texts.iter().any(|text| mentions(text, &column.name, &column.quoted));
        let sql = without(Some(column.number), alias);
        if takes_row || (is_mentioned && !is_taken(session, subject, &sql).await?) {
            read.push(column.name.clone());
        }
    }
    Ok(read)
}

/// Whether the server takes a statement.
async fn is_taken(session: &mut Session, subject: &Subject<'_>, sql: &str) -> Result<bool, Fault> {
    let search_path = subject.target.search_path.clone();
    let guards = Guards { search_path, ..Guards::reading() };
    match session.transact(&guards, sql, &[]).await {
        Ok(_) => Ok(true),
        Err(Fault::Unknown(message)) => Err(Fault::Unknown(message)),
        Err(_) => Ok(false),
    }
}

fn continues(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Whether the name may stand in the text, as it is, folded or quoted.
fn mentions(text: &str, name: &str, quoted: &str) -> bool {
    (quoted.starts_with('"') && text.contains(quoted))
        || text.split(|c| !continues(c)).any(|word| word == name || word.to_lowercase() == name)
}

/// Whether the text may take the row as a whole: the table's name stands there, and no column of it.
fn takes_row(text: &str, table: &str) -> bool {
    let folded = text.to_lowercase();
    let table = table.to_lowercase();
    folded.match_indices(&table).any(|(at, _)| {
        let before = folded[..at].chars().next_back();
        let after = folded[at + table.len()..].trim_start_matches('"').trim_start();
        let is_word =
            !before.is_some_and(|c| continues(c) || c == '.') && !after.starts_with(continues);
        let column = after.strip_prefix('.').map(str::trim_start);
        is_word && column.is_none_or(|column| column.starts_with('*'))
    })
}

/// The functions that a text seems to call, folded.
pub(super) fn called(text: &str) -> Vec<String> {
    let calls = text.match_indices('(').filter_map(|(at, _)| {
        let before = text[..at].trim_end().trim_end_matches('"');
        let start = before
            .rfind(|c| !continues(c))
            .map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8));
        let name = &before[start..];
        (!name.is_empty()).then(|| name.to_lowercase())
    });
    calls.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_mentioned_as_a_word_or_in_quotes() {
        assert!(mentions("point(LNG, lat)", "lng", "lng"));
        assert!(!mentions("latitude", "lat", "lat"));
        assert!(mentions("\"a b\" + 1", "a b", "\"a b\""));
    }

    #[test]
    fn a_row_is_taken_whole_where_the_table_stands_without_a_column() {
        for (text, whole) in [
            ("to_jsonb(posts)", true),
            ("row_to_json( posts.* )", true),
            ("posts", true),
            ("posts.lat + 1", false),
            ("myposts(1)", false),
            ("x.posts", false),
            ("\"Posts\".lat", false),
            ("f(\"Posts\")", true),
        ] {
            assert_eq!(takes_row(text, "Posts"), whole, "{text}");
        }
    }

    #[test]
    fn what_stands_before_a_parenthesis_is_called() {
        assert_eq!(called("Point(lng , ext.f (lat)) + (1)"), ["point", "f"]);
        assert_eq!(called("nextval('s'::regclass)"), ["nextval"]);
    }
}
