//! `.pgpass`: passwords by host, port, database and user.
//!
//! Promises libpq's rules: the first matching line wins, `*` matches all, `\:` and `\\` are
//! escapes, and a file that others can read is not used. Warnings are returned, not printed.

use std::{fmt, fs, io::ErrorKind, os::unix::fs::PermissionsExt, path::Path};

/// The connection that a password is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account<'a> {
    /// Host name, address, or directory of a Unix socket, which matches `localhost` too.
    pub host: &'a str,
    /// TCP port, also for a Unix socket.
    pub port: u16,
    /// Database name.
    pub dbname: &'a str,
    /// User name.
    pub user: &'a str,
}

/// The lines of a password file; `Debug` shows their number only.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Passfile {
    lines: Vec<Line>,
}

#[derive(Clone, PartialEq, Eq)]
struct Line {
    /// Host, port, database, user; `None` is the wildcard.
    patterns: [Option<String>; 4],
    password: String,
}

impl fmt::Debug for Passfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passfile({} lines)", self.lines.len())
    }
}

impl Passfile {
    /// Parses the text of a password file; comments and lines with fewer than five fields do not
    /// count, as in libpq.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self { lines: lines.filter_map(parse_line).collect() }
    }

    /// Reads a password file; an empty one and a warning if it cannot or must not be used. A file
    /// that does not exist is no warning unless the user named it.
    pub(crate) fn read(path: &Path, named: bool) -> (Self, Option<String>) {
        match read_private(path) {
            Ok(text) => (Self::parse(&text), None),
            Err(None) if !named => (Self::default(), None),
            Err(reason) => {
                let reason = reason.unwrap_or_else(|| "it does not exist".to_owned());
                let warning =
                    format!("the password file {} is ignored because {reason}", path.display());
                (Self::default(), Some(warning))
            }
        }
    }

    /// Returns the password of the first line that matches.
    pub(crate) fn password_for(&self, account: Account<'_>) -> Option<&str> {
        let port = account.port.to_string();
        let is_socket = account.host.starts_with('/');
        let found = self.lines.iter().find(|line| {
            let [host, line_port, dbname, user] = &line.patterns;
            let matches =
                |pattern: &Option<String>, value| pattern.as_ref().is_none_or(|p| p == value);
            let host_matches =
                matches(host, account.host) || is_socket && matches(host, "localhost");
            host_matches
                && matches(line_port, &port)
                && matches(dbname, account.dbname)
                && matches(user, account.user)
        });
        found.map(|line| line.password.as_str())
    }
}

/// Reads a file that only its owner can read; `Err(None)` if there is none.
fn read_private(path: &Path) -> Result<String, Option<String>> {
    let explain = |error: std::io::Error| {
        (error.kind() != ErrorKind::NotFound).then(|| format!("of an error: {error}"))
    };
    let about = fs::metadata(path).map_err(explain)?;
    if !about.is_file() {
        return Err(Some("it is not a plain file".to_owned()));
    }
    if about.permissions().mode() & 0o077 != 0 {
        return Err(Some("others may access it (chmod 0600 it)".to_owned()));
    }
    fs::read_to_string(path).map_err(explain)
}

fn parse_line(line: &str) -> Option<Line> {
    let mut rest = line;
    let mut patterns = [const { None }; 4];
    for pattern in &mut patterns {
        let (field, after) = split_field(rest);
        *pattern = (field != "*").then(|| unescape(field));
        rest = after?;
    }
    Some(Line { patterns, password: unescape(split_field(rest).0) })
}

/// Splits at the first colon that is not escaped; the rest is `None` where there is none.
fn split_field(text: &str) -> (&str, Option<&str>) {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ':' => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

fn unescape(field: &str) -> String {
    let mut chars = field.chars();
    let mut text = String::new();
    while let Some(c) = chars.next() {
        text.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOB: Account<'_> = Account { host: "db", port: 5432, dbname: "app", user: "bob" };

    fn found(text: &str, account: Account<'_>) -> Option<String> {
        Passfile::parse(text).password_for(account).map(str::to_owned)
    }

    #[test]
    fn the_first_matching_line_wins() {
        let text = "#db:5432:app:bob:no\ndb:1:app:bob:no\ndb:*:app:bob:yes\n*:*:*:*:late\n";
        assert_eq!(found(text, BOB).as_deref(), Some("yes"));
        assert_eq!(found(text, Account { user: "al", ..BOB }).as_deref(), Some("late"));
        assert_eq!(found("db:5432:app:bob", BOB), None);
        assert_eq!(found("", BOB), None);
    }

    #[test]
    fn each_of_the_four_fields_must_match() {
        for line in ["dx:5432:app:bob:p", "db:5433:app:bob:p", "db:*:apx:bob:p", "db:*:app:box:p"] {
            assert_eq!(found(line, BOB), None, "{line}");
        }
    }

    #[test]
    fn escapes_hold_colons_backslashes_and_stars() {
        let v6 = Account { host: "::1", ..BOB };
        assert_eq!(found(r"\:\:1:*:*:*:a\:b\\c:rest", v6).as_deref(), Some(r"a:b\c"));
        assert_eq!(found(r"\*:*:*:*:p", BOB), None);
        assert_eq!(found(r"\*:*:*:*:p", Account { host: "*", ..BOB }).as_deref(), Some("p"));
    }

    #[test]
    fn a_unix_socket_matches_localhost_and_its_directory() {
        let socket = Account { host: "/run/pg", ..BOB };
        assert_eq!(found("localhost:*:*:*:p", socket).as_deref(), Some("p"));
        assert_eq!(found("/run/pg:*:*:*:p", socket).as_deref(), Some("p"));
        assert_eq!(found("localhost:*:*:*:p", BOB), None);
    }

    #[test]
    fn a_file_that_others_can_read_is_ignored_with_a_warning() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "*:*:*:*:canary").unwrap();
        for (mode, used) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let (passfile, warning) = Passfile::read(file.path(), true);
            assert_eq!(passfile.password_for(BOB).is_some(), used, "{mode:o}");
            assert_eq!(warning.is_none(), used);
            assert!(!format!("{passfile:?} {warning:?}").contains("canary"));
        }
    }

    #[test]
    fn a_missing_file_is_worth_a_warning_only_if_it_was_named() {
        let path = Path::new("/nonexistent/pgpass");
        assert_eq!(Passfile::read(path, false), (Passfile::default(), None));
        let warning = Passfile::read(path, true).1.unwrap();
        assert!(warning.ends_with("is ignored because it does not exist"), "{warning}");
        assert!(Passfile::read(Path::new("/"), false).1.is_some());
    }

    proptest! {
        #[test]
        fn an_escaped_line_reads_back(fields in proptest::array::uniform4("[^\r\n\0]+")) {
            let escape = |text: &str| {
                text.chars().map(|c| match c {
                    ':' | '\\' | '*' | '#' => format!("\\{c}"),
                    c => c.to_string(),
                }).collect::<String>()
            };
            let [host, dbname, user, password] = fields.each_ref().map(|field| escape(field));
            let account =
                Account { host: &fields[0], dbname: &fields[1], user: &fields[2], port: 7 };
            let line = format!("{host}:7:{dbname}:{user}:{password}");
            prop_assert_eq!(found(&line, account), Some(fields[3].clone()));
        }
    }
}
