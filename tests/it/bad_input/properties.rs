//! What holds for any text at all: it is read or refused, and no password of it is shown.

use std::fmt::Debug;
use std::fs;

use piecemeal::job::Source;
use piecemeal::{Connect, Environment, Job, Key};
use proptest::prelude::*;

use super::path;

/// A password that no other text holds, with what must be escaped in a URL or not.
const PASSWORDS: [&str; 3] = ["hunter2canary", "hunter2%2Fcanary", "hunter2!canary"];

fn is_seen(text: &str) -> bool {
    text.contains("hunter2") || text.contains("canary")
}

/// Whatever people, logs and debuggers are shown of a result.
fn shown<T: Debug, E: Debug + ToString>(read: &Result<T, E>) -> String {
    match read {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{error:?} {}", error.to_string()),
    }
}

fn good_files() -> Vec<String> {
    let folder = fs::read_dir(path("tests/cases/job-files-good")).expect("a folder");
    let texts =
        folder.map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("text"));
    texts.collect()
}

/// A piece of a job file, of SQL, or anything.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\\[\\]{}=,.#'\"\\\\\n]{1,6}",
        "\n\\[{1,2}(table|set|batch|pace|hold|gate|sync|expand|contract|verify)\\]{1,2}\n",
        "\n(name|where|key|rows|target|rate|up|down|sql|above|n) = ('x'|\"\"|1|-1|1e400|inf|true|\\[\\]|\\{\\}|'\\(')\n",
        "\\PC{0,20}",
        "\u{0}|\u{feff}|\r|\u{202e}|\u{1b}\\[2J",
    ]
}

/// A connection setting with a password, as people write it and get it wrong.
fn connection(password: &'static str) -> impl Strategy<Value = String> {
    let any = "[a-z0-9:/@?#&=%,\\[\\] ']{0,12}";
    prop_oneof![
        (any, any).prop_map(move |(user, rest)| format!("postgres://{user}:{password}@{rest}")),
        (any, any).prop_map(move |(host, rest)| format!(
            "postgresql://{host}?password={password}&{rest}"
        )),
        (any, any).prop_map(move |(before, rest)| format!("{before} password={password} {rest}")),
        (any, any)
            .prop_map(move |(before, rest)| format!("host={before} password='{password}' {rest}")),
        any.prop_map(move |rest| format!("postgres://app:{password}{rest}")),
    ]
}

fn any_connection() -> impl Strategy<Value = String> {
    (0..PASSWORDS.len()).prop_flat_map(|nth| connection(PASSWORDS[nth]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_job_file_with_anything_in_it_is_read_or_refused(
        nth in 0..100_usize, pieces in prop::collection::vec((any::<prop::sample::Index>(), piece()), 1..4),
    ) {
        let files = good_files();
        let mut text = files[nth % files.len()].clone();
        for (at, piece) in pieces {
            text.insert_str(text.floor_char_boundary(at.index(text.len() + 1)), &piece);
        }
        if let Err(problems) = Job::parse("any", Source { path: None, text }) {
            let message = problems.to_string();
            prop_assert!(!message.is_empty() && !message.contains('\u{1b}'), "{}", message);
        }
    }

    #[test]
    fn any_text_at_all_is_no_reason_to_panic(text in "\\PC{0,200}") {
        let _ = Job::parse(&text, Source { path: None, text: text.clone() });
        let _ = text.parse::<Key>();
    }

    #[test]
    fn a_password_in_a_job_file_is_not_shown_by_whatever_is_wrong_around_it(
        at in any::<prop::sample::Index>(), piece in piece(), before: bool,
    ) {
        let job = "[table]\nname = 't'\n[set]\nn = '1'\n";
        let url = format!("url = 'postgres://app:{}@standby/app'\n", PASSWORDS[0]);
        let hold = "[[hold]]\non = 'replica-lag'\nabove = '5s'\n";
        let (mut head, mut tail) = (format!("{job}{hold}"), "[batch]\nrows = 10\n".to_owned());
        let part = if before { &mut head } else { &mut tail };
        part.insert_str(at.index(part.len() + 1), &piece);
        // What is read may be another job, whose expression it is.
        if let Err(problems) = Job::parse("any", Source { path: None, text: format!("{head}{url}{tail}") }) {
            prop_assert!(!is_seen(&problems.to_string()), "{}", problems);
        }
    }

    #[test]
    fn a_key_that_is_shown_is_read_back(values in prop::collection::vec(".*", 1..5)) {
        let text = serde_json::to_string(&values).expect("JSON");
        prop_assert_eq!(text.parse(), Ok(Key::new(values)));
    }

    #[test]
    fn a_key_is_read_or_refused(text in "[\\[\\](){}\",:0-9a-z.e+ -]{0,30}") {
        if let Err(why) = text.parse::<Key>() {
            prop_assert!(!why.is_empty());
        }
    }

    #[test]
    fn a_password_in_a_connection_setting_is_not_shown(text in any_connection()) {
        let read = Connect::resolve(Some(&text), &Environment::default());
        let shown = shown(&read);
        prop_assert!(!is_seen(&shown), "{}: {}", text, shown);
    }
}
