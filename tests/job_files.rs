//! The corpus of job files: wrong ones are refused with a message that says what to do, good ones are read.
//!
//! A case is a file. The messages are in `snapshots/`, one for each, to be read as their users will.

#![expect(clippy::unwrap_used, reason = "a case that cannot be read is a broken test")]

use std::fs;
use std::path::{Path, PathBuf};

use piecemeal::job::{Job, Size};
use serde_json::Value;

fn cases(directory: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(directory);
    let mut files: Vec<PathBuf> =
        fs::read_dir(root).unwrap().map(|it| it.unwrap().path()).collect();
    files.sort();
    files
}

fn stem(path: &Path) -> &str {
    path.file_stem().unwrap().to_str().unwrap()
}

/// The message, with paths as a person in the directory of the cases sees them.
fn message(path: &Path) -> Option<String> {
    let problems = Job::from_file(path).err()?;
    let directory = format!("{}/", path.parent().unwrap().display());
    Some(problems.to_string().replace(&directory, ""))
}

/// A long line is cut by the renderer, but a message is read in a terminal.
fn fits_a_screen(message: &str) -> bool {
    message.lines().all(|line| line.chars().count() <= 200)
}

#[test]
fn every_wrong_job_file_is_refused_with_its_place_and_what_to_do() {
    let files = cases("job-files");
    assert!(files.len() >= 200);
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in &files {
        let name = stem(path);
        let message = message(path).unwrap_or_else(|| panic!("{name} is accepted"));
        let has_place = message.lines().any(|line| {
            let place = line.trim_start().strip_prefix(&format!("--> {name}.toml:"));
            let numbers = place.and_then(|place| place.split_once(':'));
            numbers.is_some_and(|(line, column)| {
                line.parse::<u32>().is_ok() && column.parse::<u32>().is_ok()
            })
        });
        assert!(has_place || name == "_name-of-the-job", "{name} has no place:\n{message}");
        assert!(fits_a_screen(&message), "{name} is too wide:\n{message}");
        settings.bind(|| insta::assert_snapshot!(name.trim_start_matches('_'), message));
    }
}

#[test]
fn a_wrong_job_file_has_exactly_one_problem_but_for_the_one_with_many() {
    for path in cases("job-files") {
        let n_problems = Job::from_file(&path).unwrap_err().iter().count();
        match stem(&path) {
            "everything-at-once" => assert_eq!(n_problems, 8),
            "syntax-empty" | "syntax-only-a-comment" => assert_eq!(n_problems, 2),
            "contradiction-two-kinds-of-work" => assert_eq!(n_problems, 2),
            name => assert_eq!(n_problems, 1, "{name}:\n{}", message(&path).unwrap()),
        }
    }
}

#[test]
fn every_good_job_file_is_read() {
    let files = cases("job-files-good");
    assert!(files.len() >= 10);
    for path in files {
        if let Some(message) = message(&path) {
            panic!("{message}");
        }
    }
}

fn as_json(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    toml::from_str(text.trim_start_matches('\u{feff}')).ok()
}

/// Says what of `value` a schema does not allow; it knows the words that ours uses, but for `pattern`, `if` and what
/// only describes.
fn against(schema: &Value, root: &Value, value: &Value) -> Option<String> {
    if let Some(at) = schema["$ref"].as_str() {
        let named = &root["$defs"][at.trim_start_matches("#/$defs/")];
        return against(named, root, value);
    }
    let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
    let is_kind = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        _ => kind.is_null(),
    };
    let any = |name: &str| schema[name].as_array().filter(|list| !list.is_empty());
    let is_within = |low: &str, high: &str, size: i64| {
        schema[low].as_i64().is_none_or(|low| size >= low)
            && schema[high].as_i64().is_none_or(|high| size <= high)
    };
    // What is no whole number is below every lower bound.
    let number = |it: &Value| it.as_i64().unwrap_or(i64::MIN);
    let is_allowed = kinds.iter().any(is_kind)
        && any("enum").is_none_or(|them| them.contains(value))
        && any("anyOf")
            .is_none_or(|them| them.iter().any(|one| against(one, root, value).is_none()))
        && any("required")
            .is_none_or(|them| them.iter().all(|key| value.get(key.as_str().unwrap()).is_some()))
        && (!value.is_number() || is_within("minimum", "maximum", number(value)))
        && value
            .as_str()
            .is_none_or(|it| is_within("minLength", "maxLength", it.len().cast_signed() as i64))
        && value
            .as_array()
            .is_none_or(|it| is_within("minItems", "maxItems", it.len().cast_signed() as i64));
    if !is_allowed {
        return Some(format!("{value} is not as in {schema}"));
    }
    let of_key = |(key, value): (&String, &Value)| {
        let known = &schema["properties"][key];
        if !known.is_null() {
            return against(known, root, value);
        }
        if schema["additionalProperties"] == false {
            return Some(format!("{key} is unknown"));
        }
        against(&schema["additionalProperties"], root, value)
    };
    let mut items = value.as_array().into_iter().flatten();
    let of_items = items.find_map(|item| against(&schema["items"], root, item));
    of_items.or_else(|| value.as_object().into_iter().flatten().find_map(of_key))
}

fn against_ours(job: &Value) -> Option<String> {
    let schema: Value = serde_json::from_str(piecemeal::job::SCHEMA).unwrap();
    against(&schema, &schema, job)
}

#[test]
fn the_schema_accepts_every_good_job_file() {
    let jobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    let jobs = fs::read_dir(jobs).unwrap().map(|entry| entry.unwrap().path());
    for path in cases("job-files-good").into_iter().chain(jobs) {
        let wrong = against_ours(&as_json(&path).unwrap());
        assert_eq!(wrong, None, "{}", path.display());
    }
}

#[test]
fn the_schema_refuses_unknown_keys_and_wrong_types() {
    let mut n_refused = 0;
    for path in cases("job-files") {
        let is_meant =
            ["unknown-", "type-", "bounds-"].iter().any(|it| stem(&path).starts_with(it));
        let Some(job) = as_json(&path).filter(|_| is_meant) else { continue };
        // A schema does not calculate with units.
        let has_unit = ["bounds-give-way", "bounds-target", "bounds-rate"];
        if !has_unit.iter().any(|it| stem(&path).starts_with(it)) {
            assert!(against_ours(&job).is_some(), "{} is accepted", path.display());
            n_refused += 1;
        }
    }
    assert!(n_refused > 30, "{n_refused} were refused");
}

#[test]
fn one_written_bound_moves_the_default_of_the_other() {
    let sizes = ["only-max", "slow-target"].map(|name| {
        let path = cases("job-files-good").into_iter().find(|path| stem(path) == name).unwrap();
        match Job::from_file(path).unwrap().batch.size {
            Size::Target { min, max, .. } => (min, max),
            Size::Fixed(rows) => (rows, rows),
        }
    });
    assert_eq!(sizes, [(50, 50), (60_000, 60_000)]);
}

fn many(count: u32, text: impl Fn(u32) -> String) -> String {
    (0..count).map(text).collect::<Vec<_>>().concat()
}

#[test]
fn a_hostile_file_of_full_size_is_refused_with_a_message_of_bounded_length() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hostile.toml");
    let nested = format!("a = {}", "[".repeat(100_000));
    let keys = many(60_000, |n| format!("tabel{n} = 1\n"));
    let line = many(50_000, |n| format!("a{n} = 1, "));
    let key = many(100_000, |n| format!("\"c{n}\","));
    let texts = [
        nested,
        keys,
        format!("batch = {{ {line} }}"),
        format!("[table]\nname = 't'\nkey = [{key}]\n"),
        "\"".repeat(1024 * 1024),
        format!("[set]\na = '''\n{}'''", "(\n".repeat(32_000)),
    ];
    for text in texts {
        fs::write(&path, &text).unwrap();
        let message = message(&path).unwrap();
        let beginning: String = text.chars().take(40).collect();
        assert!(message.len() < 100_000, "{} bytes for {beginning}", message.len());
    }
}
