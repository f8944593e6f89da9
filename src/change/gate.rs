//! What contract waits for: queries that must return true, and words of a person.

use super::ddl::Path;
use crate::job::Gate;
use crate::pg::{Fault, Session};

/// A gate that does not let contract pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// What it is about.
    pub(crate) what: String,
    /// Why it does not hold.
    pub(crate) why: String,
    /// Whether it waits for a person's word.
    pub(crate) is_for_people: bool,
}

/// Asks the gates, and returns those that do not hold. With `is_acknowledged`, a person has given their word.
pub(crate) async fn held(
    session: &mut Session,
    path: &Path,
    gates: &[Gate],
    is_acknowledged: bool,
) -> Result<Vec<Held>, Fault> {
    let mut held = Vec::new();
    for gate in gates {
        let what = gate.message.clone();
        match &gate.sql {
            Some(sql) => {
                let what = what.unwrap_or_else(|| sql.text.trim().to_owned());
                if let Some(why) = asked(session, path, &sql.text).await? {
                    held.push(Held { what, why, is_for_people: false });
                }
            }
            None if !is_acknowledged => held.push(Held {
                what: what.unwrap_or_default(),
                why: "nobody has said that it is done".into(),
                is_for_people: true,
            }),
            None => {}
        }
    }
    Ok(held)
}

/// Returns why a query does not hold; what the server refuses does not, either.
async fn asked(session: &mut Session, path: &Path, sql: &str) -> Result<Option<String>, Fault> {
    // Text, so that any type that is not a truth is told from one.
    let wrapped = format!(
        "SELECT pg_catalog.to_jsonb(gate) AS answer FROM (\n{}\n) gate LIMIT 2",
        sql.trim()
    );
    // Rolled back: some functions write even where only reading is allowed.
    let rows: Vec<_> = match session.rehearse(&path.begin_read(), &[(&wrapped, &[])]).await {
        Ok(answers) => answers.into_iter().flatten().collect(),
        Err(fault @ Fault::Unknown(_)) if !fault.is_refused_write() => return Err(fault),
        Err(fault) => return Ok(Some(fault.message().to_string())),
    };
    let answers: Vec<serde_json::Value> = rows.iter().map(|row| row.get("answer")).collect();
    let values = |row: &serde_json::Value| -> Vec<serde_json::Value> {
        row.as_object().map(|row| row.values().cloned().collect()).unwrap_or_default()
    };
    Ok(match answers.as_slice() {
        [] => Some("it returned no row".into()),
        [row] => match values(row).as_slice() {
            [serde_json::Value::Bool(true)] => None,
            [value] => Some(format!("it returned {value}, and only true lets it pass")),
            _ => Some("it returned several columns, and one that is true lets it pass".into()),
        },
        _ => Some("it returned several rows, and one that is true lets it pass".into()),
    })
}
