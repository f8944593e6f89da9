//! Keys of rows, as a query has found them in its first column.
//!
//! A column that was NOT NULL when the plan was made may have a NULL by now.

use tokio_postgres::Row;

use crate::pg::fault::Keyless;
use crate::walk::Key;

/// Returns the key of the first row; `None` if there is none.
pub(crate) fn first_key(rows: &[Row]) -> Result<Option<Key>, Keyless> {
    rows.first().map_or(Ok(None), key)
}

/// Returns the keys of all rows.
pub(crate) fn keys(rows: &[Row]) -> Result<Vec<Key>, Keyless> {
    rows.iter().filter_map(|row| key(row).transpose()).collect()
}

fn key(row: &Row) -> Result<Option<Key>, Keyless> {
    let Some(values) = row.get::<_, Option<Vec<Option<String>>>>(0) else { return Ok(None) };
    let values: Option<Vec<String>> = values.into_iter().collect();
    values.map(|values| Some(Key::new(values))).ok_or(Keyless)
}
