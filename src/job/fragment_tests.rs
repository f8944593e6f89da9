//! What is one expression and what is not.

use proptest::prelude::*;

use super::{scan, scan_query};

const ACCEPTED: &[&str] = &[
    "point(lng, lat)",
    "'it''s; fine -- really ) $1'",
    r"E'it\'s \\' || 'x'",
    r"e'\\'",
    r"'a\' || b",
    "U&'d\\0061t' UESCAPE '!'",
    "U&\"d\\0061t\" + 1",
    "\"weird;)\"\"(name\"",
    "$$ ; ) ' $$",
    "$tag$ $$ $other$ $tag$",
    "a$1 + a$b$c",
    "é$1",
    "loc::text",
    "a[1:2]",
    "x = :name",
    "a /* ) /* ; */ ' */ + b",
    "a -- not the end )\n+ b",
    "a -- not the end )\r+ b",
    "ARRAY[1, 2, (3)]",
    "(1, 2)",
    "(SELECT max(x) FROM t)",
    "2*/* comment */3",
    "1e5 + .5 + 0x1F + 1_000",
    "x ? 'k' AND y @> '{\"a\": [1'",
    "b'01' || X'ff' || N'x'",
    "CASE WHEN a THEN 'b' ELSE E'\\n' END",
    "fooE'bar'",
    "a\u{0b}+ b",
];

const REFUSED: &[(&str, &str, &str)] = &[
    ("", "", "empty"),
    (" \n\t", " \n\t", "empty"),
    ("/* x */", "/* x */", "only a comment"),
    ("-- x\n", "-- x\n", "only a comment"),
    ("x; DROP TABLE t", ";", "ends a statement"),
    ("1) OR (1=1", ")", "closes nothing"),
    ("(1", "(", "not closed"),
    ("a[1", "[", "not closed"),
    ("(a]", "]", "does not close"),
    ("([a)]", ")", "does not close"),
    ("x -- ", "-- ", "runs to the end"),
    ("x --", "--", "runs to the end"),
    ("x /* y", "/* y", "not closed"),
    ("x /* /* */ y", "/* /* */ y", "not closed"),
    ("x /*/", "/*/", "not closed"),
    ("x || 'y", "'y", "not closed"),
    ("x || 'y''", "'y''", "not closed"),
    (r"E'y\'", r"E'y\'", "not closed"),
    (r"E'y\", r"E'y\", "not closed"),
    ("\"x", "\"x", "not closed"),
    ("$$ x", "$$", "not closed"),
    ("$a$ x $A$", "$a$", "not closed"),
    ("x = $1", "$1", "parameter"),
    ("x + $12::int", "$12", "parameter"),
    ("x + $name", "$name", "starts no dollar-quoted"),
    ("a, b", ",", "a comma"),
    ("1, loc = 2", ",", "a comma"),
    ("a\0b", "\0", "NUL"),
    ("'a\0b'", "\0", "NUL"),
    ("$$a\0b$$", "\0", "NUL"),
    ("a /* \0 */", "\0", "NUL"),
    // The second string is a continuation, in which the server reads `\'` as an escape.
    ("E'a'\n'\\') OR (1=1 --'", "E'a'", "continued"),
    ("E'a' -- c\n 'b'", "E'a'", "continued"),
    // A newer server reads the number and then a dollar quote, an older one a name.
    ("1_0$a$'$a$) OR (1=1 --'", "1_0", "runs into"),
    ("1E'x'", "1E", "runs into"),
];

#[test]
fn one_expression_is_accepted() {
    for text in ACCEPTED {
        assert_eq!(scan(text), Ok(()), "{text}");
    }
}

#[test]
fn what_is_not_one_expression_is_refused_at_its_place() {
    for (text, at, message) in REFUSED {
        let refusal = scan(text).unwrap_err();
        assert!(refusal.message.contains(message), "{text}: {refusal}");
        assert_eq!(&text[refusal.at], *at, "{text}");
    }
}

#[test]
fn the_size_is_bounded() {
    assert!(scan(&"x".repeat(64 * 1024)).is_ok());
    assert!(scan(&"x".repeat(64 * 1024 + 1)).is_err());
}

#[test]
fn deep_nesting_is_only_a_matter_of_size() {
    let deep = "(".repeat(30_000) + "x" + &")".repeat(30_000);
    assert_eq!(scan(&deep), Ok(()));
}

#[test]
fn one_query_is_accepted_and_more_or_less_is_refused() {
    for text in [
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'",
        "/* load */ select a.n > b.n FROM a, b",
        "WITH x AS (SELECT 1) SELECT * FROM x",
    ] {
        assert_eq!(scan_query(text), Ok(()), "{text}");
    }
    for (text, at, message) in [
        ("SELECT 1; DELETE FROM t", ";", "one query"),
        ("SELECT 1) OR (SELECT 2", ")", "closes nothing"),
        ("SELECT $1", "$1", "is a parameter"),
        ("SELECT 1 -- x", "-- x", "runs to the end"),
        ("pg_is_in_recovery()", "pg_is_in_recovery", "begins with SELECT"),
        ("DELETE FROM t", "DELETE", "begins with SELECT"),
        ("selected", "selected", "begins with SELECT"),
        ("(SELECT 1)", "(", "begins with SELECT"),
        ("", "", "the query is empty"),
        ("/* x */", "/", "only a comment"),
    ] {
        let refusal = scan_query(text).unwrap_err();
        assert!(refusal.message.contains(message), "{text}: {}", refusal.message);
        assert!(text[refusal.at.clone()].starts_with(at), "{text}: {:?}", refusal.at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn scanning_never_panics_and_points_into_the_text(text in "\\PC{0,40}|[eE'\"$a1é\0()\\[\\];,\\-/* \n\r\\\\]{0,40}") {
        if let Err(refusal) = scan(&text) {
            prop_assert!(text.get(refusal.at).is_some());
        }
    }

    #[test]
    fn an_accepted_text_stays_within_its_parentheses(
        text in "[eE'\"$a1_()\\-/* \n\\\\]{1,12}",
        other in "[eE'\"$a1_()\\-/* \n\\\\]{1,12}",
    ) {
        if scan(&text).is_ok() {
            prop_assert_eq!(scan(&format!("(\n{text}\n)")), Ok(()));
            // What follows must be read as code: an unbalanced tail is always noticed, and at its own place.
            let tail = format!("(\n{text}\n) )");
            prop_assert_eq!(scan(&tail).unwrap_err().at, tail.len() - 1..tail.len());
            if scan(&other).is_ok() {
                prop_assert_eq!(scan(&format!("(\n{text}\n) AND (\n{other}\n)")), Ok(()));
            }
        }
    }
}
