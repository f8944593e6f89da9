//! A statement that changes the schema: the check that it is one, and how it must be run.
//!
//! Lexical, like [`fragment`](super::fragment): its first words say whether it ends or outlives a transaction,
//! which is refused, and whether the server takes it only outside of one. What it does, only the server knows.

use super::fragment::{Refusal, tokens};

/// How a statement is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// In one transaction with its row of the ledger.
    Within,
    /// Outside any transaction; what came of it is read from the catalog.
    Outside(Outside),
}

/// A statement that the server takes only outside a transaction. Names are as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outside {
    /// `CREATE INDEX CONCURRENTLY`.
    CreateIndex {
        /// The index.
        index: String,
        /// Its table.
        table: String,
    },
    /// `DROP INDEX CONCURRENTLY`.
    DropIndex {
        /// The index.
        index: String,
    },
    /// `REINDEX INDEX CONCURRENTLY` or `REINDEX TABLE CONCURRENTLY`.
    Reindex {
        /// The index or the table.
        relation: String,
    },
}

/// Words with which a statement begins that cannot be run here, and what to do instead.
const REFUSED: &[(&[&str], &str, &str)] = &[
    (
        &[
            "BEGIN",
            "START",
            "COMMIT",
            "END",
            "ROLLBACK",
            "ABORT",
            "SAVEPOINT",
            "RELEASE",
            "PREPARE",
        ],
        "begins or ends a transaction",
        "remove it: each statement is run in a transaction of its own, together with its row of the ledger",
    ),
    (
        &[
            "SET",
            "RESET",
            "DISCARD",
            "LOAD",
            "DEALLOCATE",
            "EXECUTE",
            "DECLARE",
            "FETCH",
            "MOVE",
            "CLOSE",
            "LISTEN",
            "UNLISTEN",
            "LOCK",
        ],
        "is forgotten when its transaction ends",
        "remove it: each statement is run in a transaction, and on a connection, of its own",
    ),
    (
        &["COPY"],
        "needs a client that sends or takes the rows",
        "load the rows with psql, or with INSERT",
    ),
    (
        &["VACUUM"],
        "cannot be run in a transaction",
        "remove it: the walk vacuums its table by itself; else run it by hand",
    ),
];

/// Two words that cannot be run in a transaction, either.
const REFUSED_PAIRS: &[(&str, &str)] = &[
    ("ALTER", "SYSTEM"),
    ("CREATE", "DATABASE"),
    ("DROP", "DATABASE"),
    ("CREATE", "TABLESPACE"),
    ("DROP", "TABLESPACE"),
];

/// Reads how a text that was scanned as one statement is to be run.
///
/// # Errors
/// Why it cannot be run.
pub(super) fn read(text: &str) -> Result<Manner, Refusal> {
    let tokens = tokens(text);
    let words: Vec<&str> = tokens.iter().map(|range| &text[range.clone()]).collect();
    let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.eq_ignore_ascii_case(word));
    let refuse = |message: String, help: &'static str| {
        let at = tokens.first().cloned().unwrap_or_default();
        Err(Refusal { message, help, at })
    };
    for (firsts, why, help) in REFUSED {
        if let Some(first) = firsts.iter().find(|first| is(0, first)) {
            return refuse(format!("{first} {why}"), help);
        }
    }
    if let Some((one, two)) = REFUSED_PAIRS.iter().find(|(one, two)| is(0, one) && is(1, two)) {
        return refuse(format!("{one} {two} cannot be run in a transaction"), "run it by hand");
    }
    let Some(at) = words.iter().position(|word| word.eq_ignore_ascii_case("CONCURRENTLY")) else {
        return Ok(Manner::Within);
    };
    let rest = &words[at + 1..];
    if is(0, "CREATE") && (is(1, "INDEX") || is(2, "INDEX")) {
        return created(rest).map_or_else(
            || {
                refuse(
                    "an index that is built CONCURRENTLY needs a name here".into(),
                    "name it: by its name it is found again after a crash",
                )
            },
            |outside| Ok(Manner::Outside(outside)),
        );
    }
    if is(0, "DROP") && is(1, "INDEX") {
        let index = named(after_if(rest)).0;
        return Ok(Manner::Outside(Outside::DropIndex { index }));
    }
    if is(0, "REINDEX") {
        return reindexed(&words).map_or_else(
            || {
                refuse(
                    "REINDEX CONCURRENTLY takes one INDEX or one TABLE here".into(),
                    "name the index or the table",
                )
            },
            |outside| Ok(Manner::Outside(outside)),
        );
    }
    if is(0, "ALTER") && words.iter().any(|word| word.eq_ignore_ascii_case("DETACH")) {
        return refuse(
            "DETACH PARTITION CONCURRENTLY cannot be run in a transaction".into(),
            "run it by hand, or leave CONCURRENTLY out",
        );
    }
    // REFRESH MATERIALIZED VIEW CONCURRENTLY, for one, is at home in a transaction.
    Ok(Manner::Within)
}

/// Reads `[IF NOT EXISTS] name ON [ONLY] table …`.
fn created(rest: &[&str]) -> Option<Outside> {
    let (index, rest) = named(after_if(rest));
    let rest = rest.split_first().filter(|(on, _)| on.eq_ignore_ascii_case("ON"))?.1;
    let is_only = rest.first().is_some_and(|word| word.eq_ignore_ascii_case("ONLY"));
    let (table, _) = named(if is_only { &rest[1..] } else { rest });
    let is_named = !index.is_empty() && !index.eq_ignore_ascii_case("ON") && !table.is_empty();
    is_named.then_some(Outside::CreateIndex { index, table })
}

/// Reads the name behind the kind, in either place that CONCURRENTLY may have.
fn reindexed(words: &[&str]) -> Option<Outside> {
    let is_kind = |word: &str| ["INDEX", "TABLE"].iter().any(|it| it.eq_ignore_ascii_case(word));
    let at = words.iter().position(|word| is_kind(word))?;
    let rest = &words[at + 1..];
    let is_there = rest.first().is_some_and(|word| word.eq_ignore_ascii_case("CONCURRENTLY"));
    let (relation, _) = named(if is_there { &rest[1..] } else { rest });
    (!relation.is_empty()).then_some(Outside::Reindex { relation })
}

fn after_if<'w, 't>(words: &'w [&'t str]) -> &'w [&'t str] {
    let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.eq_ignore_ascii_case(word));
    match (is(0, "IF"), is(1, "NOT")) {
        (true, true) => words.get(3..).unwrap_or_default(),
        (true, false) => words.get(2..).unwrap_or_default(),
        (false, _) => words,
    }
}

/// Takes a name with its dots, and what follows it.
fn named<'w, 't>(words: &'w [&'t str]) -> (String, &'w [&'t str]) {
    let mut name = words.first().copied().unwrap_or_default().to_owned();
    let mut rest = words.get(1..).unwrap_or_default();
    while let [".", part, more @ ..] = rest {
        name.extend([".", part]);
        rest = more;
    }
    (name, rest)
}

/// Reads how a statement of a checked job is to be run.
pub fn manner(text: &str) -> Manner {
    read(text).unwrap_or(Manner::Within)
}

/// Whether all that a statement of a checked job does is to validate constraints of a table: reading it whole, under a
/// lock that lets readers and writers pass.
pub(crate) fn is_validation(text: &str) -> bool {
    let is_one = |action: &String| {
        let words: Vec<&str> = tokens(action).into_iter().map(|range| &action[range]).collect();
        let is = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
        matches!(words[..], [alter, table, .., validate, constraint, _]
            if is(alter, "ALTER") && is(table, "TABLE") && is(validate, "VALIDATE") && is(constraint, "CONSTRAINT"))
    };
    apart(text).is_some_and(|actions| actions.iter().all(is_one))
}

/// Takes a statement of a checked job apart into those that do one thing each; none if it cannot be done by its words.
pub(crate) fn apart(text: &str) -> Option<Vec<String>> {
    let tokens = tokens(text);
    let words: Vec<&str> = tokens.iter().map(|range| &text[range.clone()]).collect();
    let is = |at: usize, word: &str| words.get(at).is_some_and(|it| it.eq_ignore_ascii_case(word));
    let commas = commas(&words);
    if commas.is_empty() {
        // A block may do anything.
        return (!is(0, "DO")).then(|| vec![text.to_owned()]);
    }
    if !(is(0, "ALTER") && is(1, "TABLE")) {
        return None;
    }
    let rest = after_if(&words[2..]);
    let is_only = rest.first().is_some_and(|word| word.eq_ignore_ascii_case("ONLY"));
    let (_, rest) = named(if is_only { &rest[1..] } else { rest });
    let first = words.len() - rest.len();
    let head = &text[..tokens.get(first)?.start];
    let starts = std::iter::once(first).chain(commas.iter().map(|at| at + 1));
    let ends = commas.iter().copied().chain([words.len()]);
    let one = |(start, end): (usize, usize)| {
        let action = tokens.get(start)?.start..tokens.get(end.checked_sub(1)?)?.end;
        Some(format!("{head}{}", text.get(action)?))
    };
    starts.zip(ends).map(one).collect()
}

/// Where commas stand outside of all brackets.
fn commas(words: &[&str]) -> Vec<usize> {
    let mut depth = 0_usize;
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        match *word {
            "(" | "[" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "," if depth == 0 => found.push(at),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(text: &str) -> Outside {
        match read(text) {
            Ok(Manner::Outside(outside)) => outside,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_validation_is_known_by_its_words() {
        for one in [
            "alter table only a.t /* x */ validate constraint \"c d\"",
            "ALTER TABLE IF EXISTS t VALIDATE CONSTRAINT c, VALIDATE CONSTRAINT d",
        ] {
            assert!(is_validation(one), "{one}");
        }
        for other in [
            "ALTER TABLE t ADD validate int",
            "COMMENT ON TABLE t IS 'VALIDATE CONSTRAINT'",
            "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID, VALIDATE CONSTRAINT c",
            "ALTER TABLE t VALIDATE CONSTRAINT c, ALTER n SET NOT NULL",
            "ALTER DOMAIN d VALIDATE CONSTRAINT c",
        ] {
            assert!(!is_validation(other), "{other}");
        }
    }

    #[test]
    fn what_is_built_concurrently_is_found_by_its_name() {
        let index = |index: &str, table: &str| Outside::CreateIndex {
            index: index.to_owned(),
            table: table.to_owned(),
        };
        assert_eq!(outside("CREATE INDEX CONCURRENTLY i ON t (a)"), index("i", "t"));
        assert_eq!(
            outside(
                "create unique index /* CONCURRENTLY x */ concurrently if not exists \"I\" on only s.\"T\"(a)"
            ),
            index("\"I\"", "s.\"T\"")
        );
        assert_eq!(
            outside("DROP INDEX CONCURRENTLY IF EXISTS s.i"),
            Outside::DropIndex { index: "s.i".into() }
        );
        for text in ["REINDEX TABLE CONCURRENTLY t", "REINDEX (CONCURRENTLY, VERBOSE) TABLE t"] {
            assert_eq!(outside(text), Outside::Reindex { relation: "t".into() });
        }
    }

    #[test]
    fn a_statement_is_taken_apart_into_those_that_do_one_thing() {
        for one in [
            "ALTER TABLE t DROP COLUMN a",
            "ALTER TABLE t ADD COLUMN a numeric(8, 2) DEFAULT round(1.5, 1)",
            "CREATE INDEX i ON t (a, b)",
            "COMMENT ON TABLE t IS 'a, b'",
        ] {
            assert_eq!(apart(one), Some(vec![one.to_owned()]));
        }
        let two = |text: &str, first: &str, second: &str| {
            assert_eq!(apart(text), Some(vec![first.to_owned(), second.to_owned()]));
        };
        two(
            "ALTER TABLE t DROP COLUMN a, DROP COLUMN b",
            "ALTER TABLE t DROP COLUMN a",
            "ALTER TABLE t DROP COLUMN b",
        );
        two(
            "alter table if exists only s.\"a, b\"\n  add c numeric(8, 2), -- why, though\n  add d int[]",
            "alter table if exists only s.\"a, b\"\n  add c numeric(8, 2)",
            "alter table if exists only s.\"a, b\"\n  add d int[]",
        );
        for none in ["DROP TABLE a, b", "do $$ BEGIN DROP TABLE a; DROP TABLE b; END $$"] {
            assert_eq!(apart(none), None);
        }
    }

    #[test]
    fn everything_else_is_run_in_a_transaction() {
        for text in [
            "ALTER TABLE t ADD COLUMN concurrently int",
            "CREATE INDEX i ON t (a)",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY v",
            "ALTER TYPE mood ADD VALUE 'so so'",
            "DO $$ BEGIN NULL; END $$",
            "COMMENT ON TABLE t IS 'CREATE INDEX CONCURRENTLY'",
        ] {
            assert_eq!(read(text), Ok(Manner::Within), "{text}");
        }
    }

    #[test]
    fn what_would_end_or_outlive_its_transaction_is_refused() {
        for text in [
            "BEGIN",
            "commit",
            "/* x */ ROLLBACK",
            "SET ROLE admin",
            "VACUUM t",
            "COPY t FROM stdin",
            "CREATE DATABASE x",
            "CREATE INDEX CONCURRENTLY ON t (a)",
            "REINDEX SCHEMA CONCURRENTLY s",
            "ALTER TABLE t DETACH PARTITION p CONCURRENTLY",
        ] {
            assert!(read(text).is_err(), "{text}: {:?}", read(text));
        }
    }
}
