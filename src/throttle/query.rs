//! `query`: what the job's own SQL returns. A number counts against the limit, `true` holds.
//!
//! It is run as the job's SQL is, with the table's schema and the job's search path, but in a
//! transaction that can only read, and is rolled back. Whatever else it returns is not taken for "fine".

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::reading::{Blind, Reading, Unit};
use super::{Throttler, ask, denied};
use crate::job::Limit;
use crate::pg::{Begin, Guards, Session};

/// Asks the job's question.
pub(super) struct Query {
    pub(super) name: String,
    pub(super) limit: Limit,
    sql: String,
    begin: Begin,
}

impl Query {
    /// Composes the statement; the lines around `sql` keep a comment at its end from swallowing what
    /// follows (F57).
    pub(super) fn new(name: String, limit: Limit, sql: &str, search_path: Vec<String>) -> Query {
        let sql = format!("SELECT pg_catalog.to_jsonb((\n{sql}\n))");
        let begin = Guards { search_path, ..ask::guards() }.begin();
        Query { name, limit, sql, begin }
    }
}

/// Takes an answer for a reading.
fn judge(answer: &Value, limit: Limit) -> Result<Reading, Blind> {
    let not =
        |what: &str| Blind::new(format!("the query returned {what}, not a number or a boolean"));
    match answer {
        Value::Bool(truth) => {
            let value = f64::from(u8::from(*truth));
            Ok(Reading::of(value, Unit::Truth("is true"), Limit::Never))
        }
        Value::Number(_) if limit == Limit::Never => {
            Err(Blind::new("the query returned a number, and the hold has no `above`"))
        }
        Value::Number(number) => {
            let value = number.as_f64().filter(|value| value.is_finite());
            let value = value.ok_or_else(|| not("a number out of range"))?;
            Ok(Reading::of(value, Unit::Things(""), limit))
        }
        Value::Null => Err(not("NULL")),
        Value::String(_) => Err(not("a text, or what becomes one,")),
        Value::Array(_) | Value::Object(_) => Err(not("a value with parts")),
    }
}

impl Throttler for Query {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        Box::pin(async move {
            // Rolled back: some functions write even where only reading is allowed.
            let rows = match session.rehearse(&self.begin, &[(&self.sql, &[])]).await {
                Ok(rows) => rows,
                Err(fault) => return Err(denied::blind(session, &self.begin, &fault).await),
            };
            let answer = rows.iter().flatten().next().map(|row| row.try_get::<_, Option<Value>>(0));
            let answer = answer.transpose().map_err(|error| Blind::new(error.to_string()))?;
            judge(&answer.flatten().unwrap_or_default(), self.limit)
        })
    }
}
