//! What the statements of a job do to those who use the table meanwhile.
//!
//! Advice, and never a refusal: the linter reads the text and not the catalog, so it knows neither how large a table is nor
//! whether somebody uses it. Only its rules about locks, scans, rewrites and names in use are asked; what is said about
//! them is ours. A statement that it cannot read is left to the server.

use std::ops::Range;

use squawk_linter::{Linter, Rule, Version};
use squawk_syntax::SourceFile;

use crate::finding::Finding;
use crate::job::{Fragment, Job, Manner, Part, manner};
use crate::plan::facts::Facts;

/// What stands between two statements of a part, for the linter.
const BETWEEN: &str = ";\n";

/// A rule, our name for it, what it found, why that matters, and what to write instead.
type Advice = (Rule, &'static str, &'static str, &'static str, &'static [&'static str]);

const ADVICE: &[Advice] = &[
    (
        Rule::RequireConcurrentIndexCreation,
        "ddl-index",
        "an index is built while writers wait",
        "CREATE INDEX keeps everybody from writing for as long as it reads the table",
        &["CREATE INDEX CONCURRENTLY ..."],
    ),
    (
        Rule::RequireConcurrentIndexDeletion,
        "ddl-index",
        "an index is dropped while everybody waits",
        "DROP INDEX waits for every transaction that uses the table, and those that come later wait behind it",
        &["DROP INDEX CONCURRENTLY ..."],
    ),
    (
        Rule::RequireConcurrentReindex,
        "ddl-index",
        "an index is built again while writers wait",
        "REINDEX keeps everybody from writing, and from reading by that index",
        &["REINDEX TABLE CONCURRENTLY ..."],
    ),
    (
        Rule::ConstraintMissingNotValid,
        "ddl-constraint",
        "a constraint is checked for every row while writers wait",
        "the lock is held for as long as the table is read",
        &[
            "ALTER TABLE ... ADD CONSTRAINT c CHECK (...) NOT VALID",
            "then, as a statement of its own: ALTER TABLE ... VALIDATE CONSTRAINT c",
        ],
    ),
    (
        Rule::AddingForeignKeyConstraint,
        "ddl-constraint",
        "a foreign key is checked for every row while writers of both tables wait",
        "the locks are held for as long as the table is read",
        &[
            "ALTER TABLE ... ADD CONSTRAINT c FOREIGN KEY (...) REFERENCES ... NOT VALID",
            "then, as a statement of its own: ALTER TABLE ... VALIDATE CONSTRAINT c",
        ],
    ),
    (
        Rule::DisallowedUniqueConstraint,
        "ddl-unique",
        "a unique index is built while everybody waits",
        "the constraint builds its index under an exclusive lock",
        &[
            "CREATE UNIQUE INDEX CONCURRENTLY i ON ...",
            "then, as a statement of its own: ALTER TABLE ... ADD CONSTRAINT c UNIQUE USING INDEX i",
        ],
    ),
    (
        Rule::AddingSerialPrimaryKeyField,
        "ddl-unique",
        "the index of a primary key is built while everybody waits",
        "the constraint builds its index under an exclusive lock",
        &[
            "CREATE UNIQUE INDEX CONCURRENTLY i ON ...",
            "then, as a statement of its own: ALTER TABLE ... ADD CONSTRAINT c PRIMARY KEY USING INDEX i",
        ],
    ),
    (
        Rule::AddingFieldWithDefault,
        "ddl-rewrite",
        "a column is added with a value that may have to be computed for each row",
        "the whole table is rewritten under an exclusive lock, unless the default is a constant",
        &[
            "ALTER TABLE ... ADD COLUMN c ..., without the default",
            "then: ALTER TABLE ... ALTER COLUMN c SET DEFAULT ...; fill the rows that are there with [set]",
        ],
    ),
    (
        Rule::ChangingColumnType,
        "ddl-rewrite",
        "the type of a column is changed",
        "but for a few pairs of types, the whole table is rewritten under an exclusive lock",
        &["add a column of the new type, fill it with [set], and swap the two under [contract]"],
    ),
    (
        Rule::AddingNotNullableField,
        "ddl-not-null",
        "every row is looked at under an exclusive lock, for NOT NULL",
        "nobody can read or write for as long as the table is read, unless a valid CHECK constraint proves it",
        &[
            "ALTER TABLE ... ADD CONSTRAINT c CHECK (n IS NOT NULL) NOT VALID",
            "then: ALTER TABLE ... VALIDATE CONSTRAINT c",
            "then: ALTER TABLE ... ALTER COLUMN n SET NOT NULL; and drop the constraint",
        ],
    ),
    (
        Rule::AddingRequiredField,
        "ddl-not-null",
        "a column is added that must not be NULL and has no default",
        "the server refuses it if the table has a row, and every writer that does not know the column fails",
        &[
            "ALTER TABLE ... ADD COLUMN c ...; fill it with [set]; and make it NOT NULL under [contract]",
        ],
    ),
    (
        Rule::RenamingColumn,
        "ddl-rename",
        "a column is renamed that the application may use",
        "what asks for the old name fails from the moment on in which this is committed",
        &["add a column, fill it with [set], and drop the old one under [contract]"],
    ),
    (
        Rule::RenamingTable,
        "ddl-rename",
        "a table is renamed that the application may use",
        "what asks for the old name fails from the moment on in which this is committed",
        &["let a view have the old name, in one statement with DO $$ ... $$"],
    ),
];

/// What the statements of a job do to others.
pub(crate) fn statements(facts: &Facts, job: &Job) -> Vec<Finding> {
    // Should it not know this one, it takes its own.
    let version: Option<Version> = facts.server.major().to_string().parse().ok();
    Part::ALL
        .into_iter()
        .filter_map(|part| Some((part, job.shape.statements(part)?)))
        .flat_map(|(part, list)| of_part(part, list, version.as_ref()))
        .collect()
}

/// Which statements cannot be run through a pooler, where there may be one.
pub(crate) fn pooled(job: &Job, is_direct: bool) -> Vec<Finding> {
    let parts = Part::ALL.into_iter().filter(|_| !is_direct);
    let parts = parts.filter_map(|part| Some((part, job.shape.statements(part)?)));
    let all = parts.flat_map(|(part, list)| (1..).zip(list).map(move |(no, it)| (part, no, it)));
    let those = all.filter(|(.., it)| matches!(manner(&it.text), Manner::Outside(_)));
    let finding = |(part, no, it): (Part, i32, &Fragment)| {
        Finding::warn("ddl-pooled", "a pooler may be in between, and a statement cannot be run through one")
            .at(format!("statement {no} of {part}"))
            .because("it needs a session of its own on the server, and is refused before it is begun if there is none")
            .recipe("run it with the URL of the server itself")
            .span(Some(it.span.clone()))
    };
    those.map(finding).collect()
}

/// All statements of a part at once: what is done to a table that one of them has made hurts nobody.
fn of_part(part: Part, list: &[Fragment], version: Option<&Version>) -> Vec<Finding> {
    let texts: Vec<&str> = list.iter().map(|statement| statement.text.as_str()).collect();
    let text = texts.join(BETWEEN);
    let parsed = SourceFile::parse(&text);
    if !parsed.errors().is_empty() {
        return Vec::new();
    }
    let rules: Vec<Rule> = ADVICE.iter().map(|advice| advice.0).collect();
    let mut linter = Linter::from(rules);
    if let Some(version) = version {
        linter.settings.pg_version = *version;
    }
    linter.settings.assume_in_transaction = true;
    let mut found = Vec::new();
    for violation in linter.lint(&parsed, &text) {
        // Each statement has a transaction of its own.
        if violation.message.contains("same transaction") {
            continue;
        }
        let Some(advice) = ADVICE.iter().find(|advice| advice.0 == violation.code) else {
            continue;
        };
        let at = usize::from(violation.text_range.start());
        found.extend(located(list, at).map(|(no, statement)| finding(advice, part, no, statement)));
    }
    found
}

/// Returns the statement that has this place of all of them.
fn located(list: &[Fragment], at: usize) -> Option<(usize, &Fragment)> {
    let mut start = 0;
    (1..).zip(list).find(|(_, statement)| {
        let range: Range<usize> = start..start + statement.text.len() + BETWEEN.len();
        start = range.end;
        range.contains(&at)
    })
}

fn finding(advice: &Advice, part: Part, no: usize, statement: &Fragment) -> Finding {
    let (_, code, what, why, recipe) = *advice;
    let finding = Finding::warn(code, what)
        .at(format!("statement {no} of {part}"))
        .because(why)
        .span(Some(statement.span.clone()));
    recipe.iter().fold(finding, |finding, step| finding.recipe(*step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Source;

    fn codes(statements: &[&str]) -> Vec<String> {
        let list: Vec<String> = statements.iter().map(|sql| format!("'''{sql}'''")).collect();
        let text = format!("[expand]\nup = [{}]\n", list.join(", "));
        let job = Job::parse("job", Source { path: None, text }).unwrap();
        let version: Version = "15".parse().ok().unwrap();
        let found = of_part(Part::ExpandUp, &job.shape.expand.up, Some(&version));
        found.iter().map(|it| format!("{} {}", it.code, it.place)).collect()
    }

    #[test]
    fn what_hurts_others_is_said_at_its_statement() {
        let first = "ALTER TABLE t ADD COLUMN n int";
        for (statement, code) in [
            ("CREATE INDEX i ON t (n)", "ddl-index"),
            ("DROP INDEX i", "ddl-index"),
            ("ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0)", "ddl-constraint"),
            ("ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (n) REFERENCES u", "ddl-constraint"),
            ("ALTER TABLE t ADD CONSTRAINT c UNIQUE (n)", "ddl-unique"),
            ("ALTER TABLE t ADD COLUMN m uuid DEFAULT gen_random_uuid()", "ddl-rewrite"),
            ("ALTER TABLE t ALTER COLUMN n TYPE int8", "ddl-rewrite"),
            ("ALTER TABLE t ALTER COLUMN k SET NOT NULL", "ddl-not-null"),
            ("ALTER TABLE t RENAME COLUMN k TO l", "ddl-rename"),
        ] {
            let found = codes(&[first, statement]);
            let expected = format!("{code} statement 2 of [expand] up");
            assert!(found.contains(&expected), "{statement}: {found:?}");
        }
    }

    #[test]
    fn what_hurts_nobody_is_not_spoken_of() {
        for statements in [
            &["ALTER TABLE t ADD COLUMN n int"][..],
            &["ALTER TABLE t ADD COLUMN n int DEFAULT 0"],
            &["CREATE INDEX CONCURRENTLY i ON t (n)"],
            &["CREATE TABLE u (n int)", "CREATE INDEX i ON u (n)"],
            &[
                "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID",
                "ALTER TABLE t VALIDATE CONSTRAINT c",
            ],
            &["ALTER TABLE t DROP COLUMN n"],
            &["SELECT nonsense FROM"],
        ] {
            assert_eq!(codes(statements), [""; 0], "{statements:?}");
        }
    }

    #[test]
    fn not_null_that_a_constraint_proves_is_free() {
        let found = codes(&[
            "ALTER TABLE t ADD CONSTRAINT c CHECK (n IS NOT NULL) NOT VALID",
            "ALTER TABLE t VALIDATE CONSTRAINT c",
            "ALTER TABLE t ALTER COLUMN n SET NOT NULL",
        ]);
        assert_eq!(found, [""; 0]);
    }
}
