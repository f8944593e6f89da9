//! What one rehearsed batch measured, read from what `EXPLAIN (ANALYZE)` says of it.
//!
//! Pure: JSON in, figures out. What the server did not say is `None`, never zero. WAL is that of the
//! UPDATE with its BEFORE triggers; what AFTER triggers write is not counted by the server.

use std::time::Duration;

use serde_json::Value;

/// What one batch was like.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Keys of the stretch.
    pub keys: u64,
    /// Rows that matched `where`.
    pub matched: u64,
    /// Rows that were rewritten; a trigger may have suppressed others.
    pub changed: u64,
    /// Of those, for how many `where` was still true afterwards.
    pub still: u64,
    /// Of those, how many needed no new entry in any index; `None` if the server does not count.
    pub hot: Option<u64>,
    /// Time on the server, for planning and for doing it.
    pub took: Duration,
    /// Bytes of WAL.
    pub wal_bytes: Option<u64>,
    /// Images of whole pages in it: of each page that was changed for the first time since a checkpoint.
    pub images: u64,
    /// Blocks of 8 kB that were not in the server's cache.
    pub blocks_read: Option<u64>,
    /// Bytes of a row in the table's file, on average, before.
    pub row_before: Option<f64>,
    /// The same after.
    pub row_after: Option<f64>,
    /// The triggers that fired.
    pub triggers: Vec<Fired>,
}

/// A trigger that fired, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Fired {
    /// Its name, or that of the foreign key whose check it is.
    pub name: String,
    /// How often.
    pub calls: u64,
    /// How long, in all.
    pub took: Duration,
}

impl Measured {
    /// Reads the document of `EXPLAIN (ANALYZE, BUFFERS, WAL, FORMAT JSON)` of the work of a batch.
    pub(super) fn of_explain(document: &Value) -> Measured {
        let explained = &document[0];
        let nothing = Value::Null;
        let find = |is_it: &dyn Fn(&Value) -> bool| find(&explained["Plan"], is_it);
        let update = find(&|node| node["Node Type"] == "ModifyTable").unwrap_or(&nothing);
        // Of the two looks at what was done, the one that filters.
        let still = find(&|node| node["CTE Name"] == "piecemeal_work" && !node["Filter"].is_null());
        let took =
            milliseconds(&explained["Planning Time"]) + milliseconds(&explained["Execution Time"]);
        Measured {
            matched: rows_of(update),
            still: still.and_then(|scan| count(&scan["Actual Rows"])).unwrap_or(0),
            took,
            wal_bytes: count(&update["WAL Bytes"]),
            images: count(&update["WAL FPI"]).unwrap_or(0),
            blocks_read: count(&update["Shared Read Blocks"]),
            triggers: explained["Triggers"].as_array().into_iter().flatten().map(fired).collect(),
            ..Measured::default()
        }
    }
}

/// The first such node; what belongs to the outermost statement comes before what is within it.
fn find<'p>(plan: &'p Value, is_it: &dyn Fn(&Value) -> bool) -> Option<&'p Value> {
    if is_it(plan) {
        return Some(plan);
    }
    plan["Plans"].as_array()?.iter().find_map(|inner| find(inner, is_it))
}

/// The rows that went into the UPDATE; its subplans belong to the user's expressions.
fn rows_of(update: &Value) -> u64 {
    let inner = update["Plans"].as_array().into_iter().flatten();
    let mut inner = inner.filter(|plan| plan["Parent Relationship"] == "Outer");
    inner.next().and_then(|plan| count(&plan["Actual Rows"])).unwrap_or(0)
}

fn fired(trigger: &Value) -> Fired {
    let text = |key: &str| trigger[key].as_str();
    let name = text("Constraint Name").or(text("Trigger Name")).unwrap_or("(unnamed)");
    let calls = count(&trigger["Calls"]).unwrap_or(0);
    Fired { name: name.to_owned(), calls, took: milliseconds(&trigger["Time"]) }
}

/// A whole number; newer servers write some of them with decimals.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count is not negative, and one above 2^53 is not met"
)]
fn count(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().map(|number| number.round() as u64))
}

fn milliseconds(value: &Value) -> Duration {
    let seconds = value.as_f64().unwrap_or(0.0) / 1e3;
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_says_is_read_and_subplans_are_passed_over() {
        let subplan = json!({"Parent Relationship": "SubPlan", "Actual Rows": 7});
        let outer = json!({"Parent Relationship": "Outer", "Actual Rows": 250.00});
        let update = json!({
            "Node Type": "ModifyTable", "WAL Bytes": 4096, "Shared Read Blocks": 3,
            "Plans": [subplan, outer],
        });
        let all = json!({"CTE Name": "piecemeal_work", "Actual Rows": 250});
        let still = json!({"CTE Name": "piecemeal_work", "Filter": "piecemeal_work.still", "Actual Rows": 3});
        let whole =
            json!({"Node Type": "Aggregate", "WAL Bytes": 1, "Plans": [update, still, all]});
        let trigger = json!({"Trigger Name": "touch", "Time": 1.5, "Calls": 250});
        let check = json!({"Trigger Name": "RI_1", "Constraint Name": "t_fk", "Calls": 2});
        let document = json!([{
            "Plan": whole, "Planning Time": 0.5, "Execution Time": 9.5, "Triggers": [trigger, check],
        }]);
        let seen = Measured::of_explain(&document);
        assert_eq!((seen.matched, seen.wal_bytes, seen.blocks_read), (250, Some(4096), Some(3)));
        assert_eq!((seen.still, seen.took), (3, Duration::from_millis(10)));
        let names: Vec<_> = seen.triggers.iter().map(|it| (&*it.name, it.calls)).collect();
        assert_eq!(names, [("touch", 250), ("t_fk", 2)]);
        assert_eq!(seen.triggers[0].took, Duration::from_micros(1500));
    }

    #[test]
    fn what_the_server_does_not_say_is_unknown() {
        let seen = Measured::of_explain(&json!([{"Plan": {}}]));
        assert_eq!((seen.wal_bytes, seen.hot, seen.blocks_read), (None, None, None));
        assert_eq!(seen.matched, 0);
    }
}
