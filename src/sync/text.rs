//! The SQL of the trigger.
//!
//! What the job's author wrote stands in parentheses on lines of its own, over a subquery that has the
//! row's columns under the table's name: so names mean there what they mean in the walk, and a column
//! wins over a variable of the function. Changes are seen by the image of values (`*<>`) and not by
//! IS DISTINCT FROM, which fails on a `point`, and takes two circles of one area for the same.

use super::design::{Column, Design, Written};
use crate::pg::{WALK, literal};

/// What pins the values of expressions to those that the walk computes, whatever the session of the
/// writer says; and its names, so that nobody else's function is called in the writer's name (F93).
const PINNED: [(&str, &str); 6] = [
    ("standard_conforming_strings", "on"),
    ("timezone", "'UTC'"),
    ("datestyle", "'ISO, YMD'"),
    ("intervalstyle", "'postgres'"),
    ("extra_float_digits", "1"),
    ("bytea_output", "'hex'"),
];

/// Returns what the function sets while it runs.
pub(super) fn settings(search_path: &[String]) -> Vec<(&'static str, String)> {
    let mut path = search_path.to_vec();
    path.push("pg_temp".to_owned());
    let pinned = PINNED.map(|(name, value)| (name, value.to_owned()));
    std::iter::once(("search_path", path.join(", "))).chain(pinned).collect()
}

/// Returns the statement that makes the function.
pub(super) fn function(
    design: &Design,
    name: &str,
    settings: &[(&'static str, String)],
    body: &str,
) -> String {
    let schema = &design.schema;
    let settings: Vec<_> =
        settings.iter().map(|(name, value)| format!("SET {name} = {value}")).collect();
    format!(
        "CREATE OR REPLACE FUNCTION {schema}.{name}() RETURNS pg_catalog.trigger\nLANGUAGE plpgsql {}\nAS {};\n\
         COMMENT ON FUNCTION {schema}.{name}() IS {}",
        settings.join(" "),
        literal(body),
        comment(design),
    )
}

/// Returns the statements that make the trigger. It also fires for those who replicate rows, and whose
/// sessions skip ordinary triggers (F14).
pub(super) fn trigger(design: &Design, name: &str) -> String {
    let Design { schema, table, .. } = design;
    format!(
        "CREATE OR REPLACE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table}\n\
         FOR EACH ROW EXECUTE FUNCTION {schema}.{name}();\n\
         ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name};\n\
         COMMENT ON TRIGGER {name} ON {table} IS {}",
        comment(design),
    )
}

fn comment(design: &Design) -> String {
    literal(&format!("piecemeal: keeps rows in step for job {}", design.job))
}

/// Returns what the function does.
pub(super) fn body(design: &Design, name: &str) -> String {
    let filter = design.filter.as_ref().map(|filter| {
        format!(
            "    IF {} IS NOT TRUE THEN\n        RETURN NEW;\n    END IF;\n",
            truth(filter, design, "NEW")
        )
    });
    format!(
        "\
#variable_conflict use_column
-- By piecemeal, for job {job}. Which side did the writer give, or change?
DECLARE
    piecemeal_new pg_catalog.bool;
    piecemeal_old pg_catalog.bool;
    piecemeal_due pg_catalog.bool := true;
BEGIN
{filter}    IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
{insert}    ELSE
{update}    END IF;
    IF NOT piecemeal_new THEN
        IF piecemeal_due THEN
{forward}        END IF;
{reverse}    END IF;
    RETURN NEW;
END",
        job = design.job,
        filter = filter.unwrap_or_default(),
        insert = inserted(design),
        update = updated(design, name),
        forward = assigned(&design.forward, design, 3),
        reverse = reversed(design),
    )
}

fn inserted(design: &Design) -> String {
    let new = given(&columns(&design.forward));
    // Without a way back it does not matter.
    let old =
        if design.reverse.is_empty() { "true".into() } else { given(&columns(&design.reverse)) };
    format!("        piecemeal_new := {new};\n        piecemeal_old := {old};\n")
}

fn updated(design: &Design, name: &str) -> String {
    let (old, others) = if design.reverse.is_empty() {
        (design.inputs.iter().collect(), Vec::new())
    } else {
        (columns(&design.reverse), design.inputs.iter().chain(&design.shared).collect())
    };
    let due = if others.is_empty() {
        "piecemeal_old".to_owned()
    } else {
        format!("piecemeal_old OR {}", changed(&others))
    };
    format!(
        "        piecemeal_new := {new};
        piecemeal_old := {old};
        piecemeal_due := {due};
        IF piecemeal_new AND pg_catalog.current_setting('{WALK}', true) OPERATOR(pg_catalog.=) '{name}'
            AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.=) 1 THEN
            -- The walk itself, which nothing is to be computed back from.
            piecemeal_new := false;
{pending}        END IF;
",
        new = changed(&columns(&design.forward)),
        old = changed(&old),
        pending = pending(design),
    )
}

/// A row that the walk has still to do is done by whoever writes to it. Of several new columns, those
/// that were not written follow from the old ones: nothing is computed back from half of them.
fn pending(design: &Design) -> String {
    let Some(pending) = &design.pending else { return String::new() };
    let mut text = format!(
        "        ELSIF NOT (piecemeal_new OR piecemeal_due) THEN
            -- Still to do, and done now.
            piecemeal_due := {} IS TRUE;
",
        truth(pending, design, "NEW")
    );
    if design.forward.len() > 1 {
        text += &halves(pending, design);
    }
    text
}

fn halves(pending: &str, design: &Design) -> String {
    let each = design.forward.iter().map(|written| {
        let one = std::slice::from_ref(written);
        let (is_changed, assigned) = (changed(&columns(one)), assigned(one, design, 4));
        format!("            IF NOT {is_changed} THEN\n{assigned}            END IF;\n")
    });
    format!(
        "        ELSIF piecemeal_new AND NOT piecemeal_old AND {} IS TRUE THEN
            -- Still to do: what was not written is computed, before anything is computed back.
{}",
        truth(pending, design, "OLD"),
        each.collect::<String>()
    )
}

fn reversed(design: &Design) -> String {
    if design.reverse.is_empty() {
        return String::new();
    }
    format!("    ELSIF NOT piecemeal_old THEN\n{}", assigned(&design.reverse, design, 2))
}

/// The row `which`, with its columns under the table's name.
fn from(which: &str, design: &Design) -> String {
    format!("FROM (SELECT ({which}).*) AS {}", design.alias)
}

fn truth(condition: &str, design: &Design, which: &str) -> String {
    format!("(SELECT {} {})", wrapped(condition), from(which, design))
}

fn wrapped(fragment: &str) -> String {
    format!("(\n{fragment}\n)")
}

/// Everything is computed from the row as it was written, then assigned.
fn assigned(written: &[Written], design: &Design, depth: usize) -> String {
    let values: Vec<_> = written.iter().map(|it| wrapped(&it.expression)).collect();
    let targets: Vec<_> = written.iter().map(|it| format!("NEW.{}", it.column.name)).collect();
    format!(
        "{:indent$}SELECT {} INTO {} {};\n",
        "",
        values.join(", "),
        targets.join(", "),
        from("NEW", design),
        indent = 4 * depth,
    )
}

/// Returns the query for rows whose new columns are not what `forward` makes of the old ones.
pub(super) fn apart(design: &Design) -> String {
    let Design { table, alias, .. } = design;
    // Only a comment needs the line to end.
    let wrapped = |text: &str| {
        if text.contains("--") { wrapped(text) } else { format!("({})", text.trim()) }
    };
    let names: Vec<_> = design.forward.iter().map(|it| it.column.name.as_str()).collect();
    let value = |it: &Written| format!("{}::{}", wrapped(&it.expression), it.column.sql_type);
    let values: Vec<_> = design.forward.iter().map(value).collect();
    let filter = design.filter.as_ref().map(|it| format!(" AND {}", wrapped(it)));
    format!(
        "SELECT * FROM {table} AS {alias} WHERE ROW({})::record *<> ROW({})::record{}",
        names.join(", "),
        values.join(", "),
        filter.unwrap_or_default()
    )
}

fn columns(written: &[Written]) -> Vec<&Column> {
    written.iter().map(|it| &it.column).collect()
}

/// Whether an UPDATE changed one of them.
fn changed(columns: &[&Column]) -> String {
    if columns.is_empty() {
        return "false".to_owned();
    }
    let row = |prefix: &str| {
        let names: Vec<_> = columns.iter().map(|it| format!("{prefix}.{}", it.name)).collect();
        format!("ROW({})::pg_catalog.record", names.join(", "))
    };
    format!("({} OPERATOR(pg_catalog.*<>) {})", row("NEW"), row("OLD"))
}

/// Whether an INSERT gave one of them anything but its default. `num_nonnulls` takes no notice of what
/// a value consists of, and makes no NULL of a domain that forbids it.
fn given(columns: &[&Column]) -> String {
    let (with, without): (Vec<&&Column>, Vec<&&Column>) =
        columns.iter().partition(|column| column.default.is_some());
    let mut tests = Vec::new();
    if !without.is_empty() {
        let names: Vec<_> = without.iter().map(|it| format!("NEW.{}", it.name)).collect();
        tests.push(format!(
            "pg_catalog.num_nonnulls({}) OPERATOR(pg_catalog.>) 0",
            names.join(", ")
        ));
    }
    if !with.is_empty() {
        let names: Vec<_> = with.iter().map(|it| format!("NEW.{}", it.name)).collect();
        let defaults: Vec<_> = with
            .iter()
            .map(|it| format!("({})::{}", it.default.as_deref().unwrap_or("NULL"), it.sql_type))
            .collect();
        tests.push(format!(
            "(ROW({})::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW({})::pg_catalog.record)",
            names.join(", "),
            defaults.join(", ")
        ));
    }
    tests.join(" OR ")
}
