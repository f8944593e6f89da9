//! Letting the trigger go in the transaction of the statement that takes away what it stands on.
//!
//! The server does not know what a function reads: where a column is dropped the trigger stays, and fails whoever
//! writes next. So it is looked before a statement and after it, in its transaction. As long as the trigger can do its
//! work it stays; else it goes with the statement, and nobody sees the one without the other.

use super::design::name_of;
use crate::job::Job;
use crate::pg::literal;

/// What lets the trigger of a job go in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Release {
    /// The job's name.
    pub(crate) job: String,
    /// The trigger's name.
    name: String,
    /// Everything that it computes and writes, as a query, before and after the name of its table.
    probe: (String, String),
}

impl Release {
    /// Returns what it takes for a job; nothing if it keeps no rows in step.
    pub(crate) fn of(job: &Job) -> Option<Release> {
        let sync = job.sync.as_ref()?;
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let written = sync.forward.iter().chain(&sync.reverse);
        let values =
            written.map(|it| format!("(\n{}\n), {}", it.expression.text, quoted(&it.column)));
        let conditions = sync.filter.iter().chain(&job.table.filter);
        let conditions = conditions.map(|it| format!("(\n{}\n) IS TRUE", it.text));
        let list: Vec<_> = values.chain(conditions).collect();
        let before = format!("EXPLAIN SELECT {} FROM ONLY ", list.join(", "));
        let alias = format!(" AS {}", quoted(&job.table.name.name));
        Some(Release { job: job.name.clone(), name: name_of(&job.name), probe: (before, alias) })
    }

    /// Returns what goes before the statement: it notes on which columns the trigger stands.
    pub(crate) fn before(&self) -> String {
        let columns = self.columns();
        format!(
            "SELECT pg_catalog.set_config('piecemeal.stands', ({columns})::pg_catalog.text, true)"
        )
    }

    /// Returns what goes after it: it drops the trigger if one of them is gone, or is not what it was, or if something
    /// else is gone that an expression needs. With it goes `note`, a statement.
    pub(crate) fn after(&self, note: &str) -> String {
        let Release { name, probe: (before, alias), .. } = self;
        let body = format!(
            "
DECLARE
    held pg_catalog.regclass := (
        SELECT g.tgrelid FROM pg_catalog.pg_trigger g
        WHERE g.tgname OPERATOR(pg_catalog.=) '{name}' AND g.tgparentid OPERATOR(pg_catalog.=) 0 LIMIT 1);
    stands pg_catalog.bool := held IS NOT NULL
        AND pg_catalog.current_setting('piecemeal.stands')::pg_catalog.text[] OPERATOR(pg_catalog.<@) {columns};
    left_over pg_catalog.regprocedure;
BEGIN
    IF stands THEN
        BEGIN
            EXECUTE pg_catalog.concat({before}, held::pg_catalog.text, {alias});
        EXCEPTION WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
            stands := false;
        END;
    END IF;
    IF NOT stands THEN
        IF held IS NOT NULL THEN
            EXECUTE pg_catalog.concat('DROP TRIGGER {name} ON ', held::pg_catalog.text);
        END IF;
        FOR left_over IN
            SELECT p.oid FROM pg_catalog.pg_proc p
            WHERE p.proname OPERATOR(pg_catalog.=) '{name}' AND p.pronargs OPERATOR(pg_catalog.=) 0
        LOOP
            EXECUTE pg_catalog.concat('DROP FUNCTION ', left_over::pg_catalog.text);
        END LOOP;
        {note};
    END IF;
END",
            columns = self.columns(),
            before = literal(before),
            alias = literal(alias),
        );
        format!("DO {}", literal(&body))
    }

    /// The columns of the table that the function names, each with its number and its type.
    fn columns(&self) -> String {
        format!(
            "ARRAY(SELECT pg_catalog.concat_ws(' ', a.attrelid, a.attnum, a.atttypid, a.attname)
        FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) g.tgfoid
        JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) g.tgrelid
        WHERE g.tgname OPERATOR(pg_catalog.=) '{}' AND g.tgparentid OPERATOR(pg_catalog.=) 0
          AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
          AND pg_catalog.strpos(pg_catalog.lower(p.prosrc),
              pg_catalog.lower(pg_catalog.replace(a.attname::pg_catalog.text, '\"', '\"\"')))
              OPERATOR(pg_catalog.>) 0)",
            self.name
        )
    }
}
