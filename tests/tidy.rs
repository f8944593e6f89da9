//! The layout rules of this crate, held without a database.
//!
//! The module list of `lib.rs` is the architecture: a module uses only those above it. Words and
//! foreign crates have homes; everything else asks there. Unit tests are exempt from all of it.

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines that a file may have; functions are clippy's.
const MAX_LINES: usize = 500;

/// A word, and the only places under `src` where it may stand.
const HOMES: &[(&str, &[&str])] = &[
    ("deadpool", &["pg/pool.rs"]),
    ("toml::", &["job/"]),
    ("clap::", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("indicatif", &["cli/bar.rs"]),
    ("println!", &[]),
    ("eprintln!", &[]),
    ("io::stdout()", &["cli/printer.rs"]),
    ("io::stderr()", &["cli/printer.rs", "cli/settings.rs"]),
    ("process::exit", &["cli/signals.rs"]),
    ("env::", &["cli/settings.rs", "pg/environment.rs", "sandbox/"]),
    ("BEGIN ISOLATION", &["pg/guards.rs"]),
    ("\"COMMIT\"", &["pg/session.rs", "job/statement.rs"]),
    (".transaction()", &[]),
    ("SAVEPOINT", &["job/statement.rs"]),
    ("SKIP LOCKED", &["ledger/ranges.rs"]),
    ("SystemTime", &[]),
    (".unwrap()", &[]),
];

/// Words that have no place among the pure values.
const IMPURE: &[&str] = &["async ", ".await", "tokio", "Instant::now", "jiff::Timestamp::now"];

/// The folders of the pure values.
const PURE: &[&str] = &["job/", "walk/", "run/"];

struct File {
    /// The path under `src`.
    path: String,
    /// All of it.
    text: String,
    /// Its code: without comments, and without unit tests.
    code: String,
}

impl File {
    fn read(root: &Path, path: &Path) -> File {
        let text = fs::read_to_string(path).expect("a source file");
        let path = path.strip_prefix(root).expect("a path under src");
        let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.fold(String::new(), |code, line| code + line + "\n");
        File { path: path.to_string_lossy().into_owned(), text, code }
    }

    fn is_in(&self, homes: &[&str]) -> bool {
        homes.iter().any(|home| self.path.starts_with(home))
    }

    /// The module of `lib.rs` that it belongs to; none for the binary and for `lib.rs` itself.
    fn module(&self) -> Option<&str> {
        let name = self.path.split('/').next()?.trim_end_matches(".rs");
        (!["main", "lib", "cli"].contains(&name)).then_some(name)
    }
}

/// All files under `src`, except those that are unit tests.
fn sources() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).expect("a folder of sources");
        let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        folders.extend(paths.iter().filter(|path| path.is_dir()).cloned());
        let is_source = |path: &&PathBuf| path.extension().is_some_and(|it| it == "rs");
        files.extend(paths.iter().filter(is_source).map(|path| File::read(&root, path)));
    }
    files.retain(|file| !file.path.contains("_tests") && !file.path.ends_with("/tests.rs"));
    assert!(files.len() > 50, "the sources are not where they were");
    files
}

/// The modules of `lib.rs`, in its order.
fn modules(files: &[File]) -> Vec<&str> {
    let lib = files.iter().find(|file| file.path == "lib.rs").expect("lib.rs");
    let declared = lib
        .code
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'));
    declared.collect()
}

/// The modules that a file uses: `crate::x` and `use crate::{x, y::Z}`.
fn uses(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begins = true;
        for (at, c) in group.char_indices() {
            match c {
                '}' if depth == 0 => break,
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => begins = true,
                _ if begins && c.is_alphabetic() => {
                    found.push(word(&group[at..]));
                    begins = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Whether a piece of text is a SQLSTATE in quotes: five digits and capitals, a digit among them;
/// `128MB` is not one.
fn is_sqlstate(literal: &str) -> bool {
    literal.len() == 5
        && !literal.ends_with("MB")
        && literal.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        && literal.bytes().any(|b| b.is_ascii_digit())
}

#[test]
fn a_module_uses_only_those_above_it_in_the_list() {
    let files = sources();
    let modules = modules(&files);
    assert!(modules.contains(&"engine") && modules.len() > 10, "{modules:?}");
    let floor = |name: &str| modules.iter().position(|module| *module == name);
    let mut wrong = Vec::new();
    for file in &files {
        let Some(module) = file.module() else { continue };
        let own = floor(module).unwrap_or_else(|| panic!("{module} is not in lib.rs"));
        for used in uses(&file.code) {
            match floor(used) {
                Some(used) if used <= own => {}
                _ => wrong.push(format!("{} uses {used}", file.path)),
            }
        }
    }
    assert!(wrong.is_empty(), "against the order of lib.rs:\n{}", wrong.join("\n"));
}

#[test]
fn a_file_says_what_it_is_for_and_has_an_end() {
    for file in sources() {
        assert!(file.text.starts_with("//! "), "{} does not begin with `//!`", file.path);
        let lines = file.text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines, at most {MAX_LINES}", file.path);
    }
}

#[test]
fn words_stand_only_where_they_are_at_home() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (word, homes) in HOMES {
            if file.code.contains(word) && !file.is_in(homes) {
                wrong.push(format!("{}: `{word}` belongs to {homes:?}", file.path));
            }
        }
        for word in IMPURE.iter().filter(|word| file.is_in(PURE) && file.code.contains(*word)) {
            wrong.push(format!("{}: `{word}` among the pure values", file.path));
        }
        let states = file.code.split('"').filter(|literal| is_sqlstate(literal));
        if file.path != "pg/fault.rs" {
            wrong.extend(states.map(|it| format!("{}: SQLSTATE {it} outside pg/fault", file.path)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_rules_see_what_they_are_to_see() {
    let code = "use crate::{walk::{Key, Range}, engine};\nfn f() { crate::pg::fault::x(); }";
    assert_eq!(uses(code), ["walk", "engine", "pg"]);
    assert!(is_sqlstate("57014") && is_sqlstate("P0001") && !is_sqlstate("start"));
    assert!(!is_sqlstate("128MB") && !is_sqlstate("CLOCK"));
}
