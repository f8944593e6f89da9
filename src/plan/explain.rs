//! Asks the server whether the job's SQL makes sense, and how it would walk.
//!
//! Every expression is compiled by itself first, so that a mistake is shown in the line of the job
//! file that has it. Then boundary query and batch are explained under the settings that the walk
//! uses, with keys of the table; a plan that leaves the key's order even so is refused (F23). The
//! server is the parser: nothing here understands SQL.

use std::ops::Range;

use serde_json::Value;
use tokio_postgres::Row;

use super::found::first_key;
use super::statements::{Route, Statements};
use super::target::Target;
use crate::finding::Finding;
use crate::job::{Fragment, Job, Work};
use crate::pg::fault::is_denied;
use crate::pg::{Act, DbMessage, Fault, Guards, Param, Session};
use crate::walk::{Key, KeyColumn};

/// The sample that is explained: the first chunk of a walk.
const SAMPLE: i64 = crate::walk::FIRST as i64;

/// What stands before a piece that is tried.
const EXPLAIN: &str = "EXPLAIN (FORMAT JSON) ";

/// How the server would do it.
#[derive(Debug, Clone, Default)]
pub struct Explained {
    /// The query for the end of a chunk, line by line.
    pub boundary: Vec<String>,
    /// The UPDATE of a batch, line by line.
    pub batch: Vec<String>,
}

/// A piece of the job's SQL in a statement that the server is to accept.
pub(super) struct Trial<'f> {
    /// How the piece is called in the job file.
    pub(super) name: String,
    pub(super) fragment: &'f Fragment,
    /// What stands before it, and behind it.
    pub(super) prefix: String,
    pub(super) suffix: String,
}

impl<'f> Trial<'f> {
    /// Tries whether a column takes the value of an expression.
    pub(super) fn assignment(
        name: String,
        fragment: &'f Fragment,
        target: &Target,
        column: &str,
    ) -> Trial<'f> {
        let prefix = format!("UPDATE {} SET {column} = (\n", target.keyset.table);
        Trial { name, fragment, prefix, suffix: "\n) WHERE false".into() }
    }
}

/// Returns every expression of the walk.
pub(super) fn trials<'j>(job: &'j Job, target: &Target) -> Vec<Trial<'j>> {
    let Work::Set(assignments) = &job.work;
    let set = assignments.iter().zip(&target.set_columns).map(|(assignment, column)| {
        let name = format!("[set] {}", assignment.column);
        Trial::assignment(name, &assignment.expression, target, column)
    });
    let conditions = [("where", job.table.filter.as_ref()), ("expect", job.verify.expect.as_ref())];
    let conditions = conditions.into_iter().filter_map(|(name, fragment)| {
        let prefix = format!("SELECT FROM {} WHERE (\n", target.keyset.table);
        let name = name.to_owned();
        Some(Trial { name, fragment: fragment?, prefix, suffix: "\n) IS TRUE".into() })
    });
    set.chain(conditions).collect()
}

/// Compiles expressions of the job against the table.
pub(super) async fn compile(
    session: &mut Session,
    job: &Job,
    target: &Target,
    trials: &[Trial<'_>],
) -> Result<Vec<Finding>, Fault> {
    let guards = Guards { search_path: target.search_path.clone(), ..Guards::reading() };
    let mut findings = Vec::new();
    for Trial { name, fragment, prefix, suffix } in trials {
        let sql = format!("{EXPLAIN}{prefix}{}{suffix}", fragment.text);
        match session.transact(&guards, &sql, &[]).await {
            Ok(rows) if locks_rows(&first_plan(&rows)) => {
                let finding = row_lock(name, fragment);
                // An expression may be tried in more than one place.
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
            }
            Ok(_) => {}
            Err(Fault::Unknown(message)) => return Err(Fault::Unknown(message)),
            Err(fault) => {
                let before = EXPLAIN.chars().count() + prefix.chars().count();
                findings.push(refused(job, name, fragment, before, fault.message()));
            }
        }
    }
    Ok(findings)
}

/// Returns the plan in an answer to EXPLAIN.
fn first_plan(rows: &[Row]) -> Value {
    rows.first().map_or(Value::Null, |row| row.get::<_, Value>(0)[0]["Plan"].take())
}

/// Whether a plan locks rows that it reads, anywhere.
fn locks_rows(plan: &Value) -> bool {
    plan["Node Type"] == "LockRows"
        || plan["Plans"].as_array().is_some_and(|parts| parts.iter().any(locks_rows))
}

fn row_lock(name: &str, fragment: &Fragment) -> Finding {
    Finding::refuse("row-lock", format!("`{name}` locks rows that it only reads"))
        .at(fragment.text.trim())
        .because("a batch would hold the rows of others until it commits, wait for theirs, and meet those of another worker: a deadlock")
        .recipe("leave out FOR UPDATE or FOR SHARE, also in a view that it reads")
        .span(Some(fragment.span.clone()))
}

fn refused(
    job: &Job,
    name: &str,
    fragment: &Fragment,
    before: usize,
    message: &DbMessage,
) -> Finding {
    let span = position(fragment, before, message)
        .map_or_else(|| fragment.span.clone(), |part| job.source.locate(fragment, part));
    let finding = if is_denied(message) {
        Finding::refuse(
            "privilege-expression",
            format!("`{name}` reads what this role may not read"),
        )
        .recipe(format!("GRANT SELECT ON {} TO <this role>;", job.table.name))
    } else {
        Finding::refuse("expression", format!("the server does not accept `{name}`"))
            .recipe("correct the expression; its names are looked up in the table's schema, then in `search_path`")
    };
    let hint = message
        .hint
        .as_ref()
        .map(|hint| format!("; the server's hint: {hint}"))
        .unwrap_or_default();
    finding.at(fragment.text.trim()).because(format!("{message}{hint}")).span(Some(span))
}

/// The place in the fragment's text, in bytes, that the server's position points at.
fn position(fragment: &Fragment, before: usize, message: &DbMessage) -> Option<Range<usize>> {
    let at = usize::try_from(message.position?).ok()?.checked_sub(before + 1)?;
    let (start, first) = fragment.text.char_indices().nth(at)?;
    Some(start..start + first.len_utf8())
}

/// Explains boundary query and batch over the table's first chunk, in each order that a run goes in;
/// an empty table has no plan to judge. What is returned for people is of the walk itself.
pub(super) async fn judge(
    session: &mut Session,
    target: &Target,
    statements: &Statements,
    (last, upto): (Option<&Key>, Option<&Key>),
) -> Result<(Explained, Vec<Finding>), Fault> {
    let (Some(last), Some(upto)) = (last, upto) else { return Ok(Default::default()) };
    let key = Some(target.keyset.columns.as_slice());
    let (mut explained, mut findings) =
        follow(session, target, &statements.by_key, (last, key)).await?;
    if let Some(physical) = &statements.physical {
        let (of_walk, strays) = follow(session, target, physical, (upto, None)).await?;
        explained = of_walk;
        findings.extend(strays);
    }
    Ok((explained, findings))
}

/// Explains one route, up to `last`, along the key of these columns, or along the file.
async fn follow(
    session: &mut Session,
    target: &Target,
    route: &Route,
    (last, key): (&Key, Option<&[KeyColumn]>),
) -> Result<(Explained, Vec<Finding>), Fault> {
    let (first, upto) = ends(session, route, last).await?;
    let (after, end) = (Param::Texts(Some(first.values())), Param::Texts(Some(upto.values())));
    let boundary = [
        Param::Int(SAMPLE - 1),
        Param::Texts(Some(last.values())),
        Param::Texts(Some(first.values())),
    ];
    let mut explained = Explained::default();
    let mut findings = Vec::new();
    let update = [end, after];
    let queries: [(&str, &str, &[Param<'_>]); 2] = [
        ("boundary query", route.boundary.of_stretch(true), &boundary),
        ("batch", route.update.of_stretch(true), &update),
    ];
    for (name, sql, params) in queries {
        // A plan that is kept is made without the values.
        let judged = if target.lets_keep() { without_values(sql) } else { sql.to_owned() };
        let (json, text) = explain(session, route, (&judged, sql), params).await?;
        if let Some(reason) = strays(&first_plan(&json), key) {
            findings.push(stray(name, &reason, target, key.is_none()));
        }
        let lines = text.iter().map(|row| row.get(0)).collect();
        if name == "batch" { explained.batch = lines } else { explained.boundary = lines }
    }
    Ok((explained, findings))
}

/// Hides the values of keys from the planner.
fn without_values(sql: &str) -> String {
    (1..=3).fold(sql.to_owned(), |sql, no| {
        sql.replace(&format!("(${no}::text[])"), &format!("(SELECT ${no}::text[])"))
    })
}

/// Returns the plan of a statement as JSON, and for people; it is given as it is judged, and as it is shown.
async fn explain(
    session: &mut Session,
    route: &Route,
    (judged, shown): (&str, &str),
    params: &[Param<'_>],
) -> Result<(Vec<Row>, Vec<Row>), Fault> {
    let begin = &route.begin_rare_read;
    let (json, text) = (format!("{EXPLAIN}{judged}"), format!("EXPLAIN (COSTS OFF) {shown}"));
    let json = Act { begin, sql: &json, params };
    let (json, _, text) = session.transact_both(&json, &Act { begin, sql: &text, params }).await?;
    Ok((json, text?))
}

/// Returns the first key of the table, and the one that ends the first chunk, or the last.
async fn ends(session: &mut Session, route: &Route, last: &Key) -> Result<(Key, Key), Fault> {
    let (begin, sql) = (&route.begin_rare_read, route.boundary.of_stretch(false));
    let params = |n: i64| [Param::Int(n - 1), Param::Texts(Some(last.values()))];
    let (first, upto) = (params(1), params(SAMPLE));
    let first = Act { begin, sql, params: &first };
    let upto = Act { begin, sql, params: &upto };
    let (first, _, upto) = session.transact_both(&first, &upto).await?;
    let key = |found: Option<Key>| found.unwrap_or_else(|| last.clone());
    Ok((key(first_key(&first)?), key(first_key(&upto?)?)))
}

fn stray(name: &str, reason: &str, target: &Target, is_physical: bool) -> Finding {
    let (table, finding) = (&target.keyset.table, |what: String| {
        Finding::refuse("plan-strays", what).because(
            "each batch would read far more than its own rows, and slow down as the walk goes on",
        )
    });
    if is_physical {
        return finding(format!(
            "the {name} would not read the table's blocks one after the other: {reason}"
        ))
        .at(table)
        .recipe("write `order = \"key\"` under [table], or leave it out");
    }
    finding(format!("the {name} would not follow the key's index: {reason}"))
        .at(&target.index)
        .recipe(format!("ANALYZE {table};  -- then look at `piecemeal plan` again"))
        .recipe("or give another unique key under [table] key")
}

/// Why a plan leaves the order of the key of these columns, or without one that of the blocks, if it
/// does. Subplans belong to the user's expressions and are their own affair.
fn strays(plan: &Value, key: Option<&[KeyColumn]>) -> Option<String> {
    let node = plan["Node Type"].as_str().unwrap_or_default();
    let text = |name: &str| plan[name].as_str().unwrap_or_default();
    if matches!(text("Parent Relationship"), "SubPlan" | "InitPlan") {
        return None;
    }
    let is_by_key = key.is_some_and(|columns| {
        let condition = text("Index Cond");
        condition.contains(&columns[0].name) && compared(condition) >= columns.len()
    });
    match node {
        "Seq Scan" | "Bitmap Heap Scan" | "Tid Scan" | "Sort" | "Incremental Sort" | "Gather"
        | "Gather Merge" => Some(node.to_lowercase()),
        "Index Scan" | "Index Only Scan" if key.is_none() => {
            Some(format!("{} of {}", node.to_lowercase(), text("Index Name")))
        }
        "Index Scan" | "Index Only Scan" if !is_by_key => Some(format!(
            "{} of {} without a condition on the whole key",
            node.to_lowercase(),
            text("Index Name")
        )),
        _ => plan["Plans"].as_array()?.iter().find_map(|child| strays(child, key)),
    }
}

/// How many columns a condition compares at once. An index that has only the first columns of a key
/// compares those alone, and gives all rows that have the same values in them.
fn compared(condition: &str) -> usize {
    let Some((_, row)) = condition.split_once("ROW(") else { return 1 };
    let (mut depth, mut columns, mut is_quoted) = (0_usize, 1, false);
    for sign in row.chars() {
        match sign {
            '"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '(' => depth += 1,
            ')' if depth == 0 => break,
            ')' => depth -= 1,
            ',' if depth == 0 => columns += 1,
            _ => {}
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::column;
    use serde_json::json;

    fn of_key(plan: &Value, columns: &[&str]) -> Option<String> {
        let columns: Vec<_> = columns.iter().map(|name| column(name, "bigint")).collect();
        strays(plan, Some(&columns))
    }

    #[test]
    fn a_scan_of_the_whole_table_strays_and_a_subplan_may() {
        let index =
            json!({"Node Type": "Index Scan", "Index Cond": "(id > 1)", "Index Name": "t_pkey"});
        let seq = json!({"Node Type": "Seq Scan"});
        let subplan = json!({"Node Type": "Seq Scan", "Parent Relationship": "SubPlan"});
        let update = |parts: Value| json!({"Node Type": "ModifyTable", "Plans": parts});
        assert_eq!(of_key(&update(json!([index, subplan])), &["id"]), None);
        assert!(of_key(&update(json!([seq])), &["id"]).is_some());
        let other = json!({"Node Type": "Index Scan", "Index Cond": "(kind = 'a')", "Index Name": "t_kind"});
        assert_eq!(
            of_key(&json!({"Node Type": "Limit", "Plans": [other]}), &["id"]).as_deref(),
            Some("index scan of t_kind without a condition on the whole key")
        );
    }

    #[test]
    fn a_scan_by_the_first_columns_of_the_key_alone_strays() {
        let strays = |columns: &[&str], condition: &str| {
            let scan =
                json!({"Node Type": "Index Scan", "Index Name": "i", "Index Cond": condition});
            of_key(&scan, columns).is_some()
        };
        assert!(strays(&["a", "b"], "((a >= $0) AND (a <= $1))"));
        assert!(!strays(&["a", "b"], "((ROW(a, b) > ROW($0, ($1)[2])) AND (a >= $2))"));
        assert!(!strays(
            &["a", "b"],
            "((ROW(t_1.a, (t_1.b)::text) > ROW($0, $1)) AND (t_1.a >= $2))"
        ));
        assert!(!strays(&["\"a)\"", "b"], "(ROW(\"a)\", b) > ROW($0, $1))"));
        assert!(strays(&["a", "b", "c"], "(ROW(a, (b)::numeric(9,2)) >= ROW($0, $1))"));
    }

    #[test]
    fn in_physical_order_only_a_scan_of_a_range_of_blocks_does_not_stray() {
        let of = |node: &str| json!({"Node Type": "ModifyTable", "Plans": [{"Node Type": node, "Index Name": "t_old"}]});
        assert_eq!(strays(&of("Tid Range Scan"), None), None);
        assert_eq!(strays(&of("Index Scan"), None).as_deref(), Some("index scan of t_old"));
        for node in ["Seq Scan", "Bitmap Heap Scan", "Gather"] {
            assert!(strays(&of(node), None).is_some(), "{node}");
        }
    }
}
