//! Keeps what may be a password out of everything that is shown of a job file (R28).
//!
//! A job file may say where a standby is, and a message about its line, or about one next to it, must not show that.
//! What is hidden is found in the text alone, because a file that is no TOML has no keys: all of a connection URL,
//! and the password among `keyword=value` pairs.

use std::ops::Range;

/// What stands for hidden text.
const HIDDEN: &str = "…";

/// Returns a text without its secrets.
pub(super) fn hide(text: &str) -> String {
    Hidden::of(text).text
}

/// A text without its secrets, that knows where its parts were.
pub(super) struct Hidden {
    /// The text.
    pub(super) text: String,
    secrets: Vec<Range<usize>>,
}

impl Hidden {
    /// Takes a text, and leaves out what may be secret on each of its lines.
    pub(super) fn of(text: &str) -> Self {
        let mut secrets = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let url = url(line).into_iter();
            let found = url.chain(password(line)).max_by_key(Range::len);
            secrets.extend(found.map(|found| start + found.start..start + found.end));
            start += line.len();
        }
        let mut shown = text.to_owned();
        for secret in secrets.iter().rev() {
            shown.replace_range(secret.clone(), HIDDEN);
        }
        Self { text: shown, secrets }
    }

    /// Says whether something is left out.
    pub(super) fn has_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }

    /// Returns where a place of the whole text is in this one.
    pub(super) fn place(&self, at: usize) -> usize {
        let mut moved = at;
        for secret in &self.secrets {
            if at >= secret.end {
                moved = moved + HIDDEN.len() - secret.len();
            } else if at > secret.start {
                moved -= at - secret.start;
            }
        }
        moved
    }
}

/// Finds a connection URL on a line, but for its scheme. A password may hold anything, so it ends behind the last `@`.
fn url(line: &str) -> Option<Range<usize>> {
    let schemes = ["postgres://", "postgresql://"].into_iter();
    let start = schemes.filter_map(|it| line.find(it).map(|at| at + it.len())).min()?;
    let at = line[start..].rfind('@').map_or(start, |at| start + at);
    let end = at + line[at..].find(ends).unwrap_or(line.len() - at);
    (end > start && &line[start..end] != HIDDEN).then_some(start..end)
}

/// Finds the value of `password` on a line that has other keywords of a connection string.
fn password(line: &str) -> Option<Range<usize>> {
    let keywords = ["host", "hostaddr", "port", "user", "dbname", "service"];
    if !keywords.iter().any(|keyword| value_of(line, keyword).is_some()) {
        return None;
    }
    let start = value_of(line, "password")?;
    let value = &line[start..];
    let end = match value.strip_prefix('\'').and_then(|rest| rest.find('\'')) {
        Some(quote) => quote + 2,
        None => value.find(ends).unwrap_or(value.len()),
    };
    (end > 0 && &value[..end] != HIDDEN).then_some(start..start + end)
}

/// Finds where the value of `keyword = value` begins.
fn value_of(line: &str, keyword: &str) -> Option<usize> {
    line.match_indices(keyword).find_map(|(at, _)| {
        let before = line[..at].chars().next_back();
        let rest = &line[at + keyword.len()..];
        let value = rest.trim_start().strip_prefix('=')?.trim_start();
        let is_word = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
        is_word.then(|| line.len() - value.len())
    })
}

fn ends(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn where_a_standby_is_is_hidden() {
        for (text, shown) in [
            ("url = \"postgres://u:s@h/db\"", "url = \"postgres://…\""),
            ("url = postgresql://u:s e'c@h/db # x", "url = postgresql://… # x"),
            ("url = 'postgres://h/db?password=s'", "url = 'postgres://…'"),
            ("url = \"host=h password=s user=u\"", "url = \"host=h password=… user=u\""),
            ("host=h password = 'a b' user=u", "host=h password = … user=u"),
            (
                "say `postgres://u:s@h` twice\nhost=h password=s",
                "say `postgres://…` twice\nhost=h password=…",
            ),
        ] {
            assert_eq!(hide(text), shown);
            assert_eq!(hide(&hide(text)), shown);
        }
    }

    #[test]
    fn what_a_job_says_about_its_rows_is_shown() {
        for text in [
            "password = \"crypt(password, gen_salt('bf'))\"",
            "where = \"url LIKE 'https://%@%'\"",
            "url = \"lower(url)\"",
            "where = \"passwordless = 1 AND host IS NULL\"",
            "url = \"postgres://",
        ] {
            assert_eq!(hide(text), text);
        }
    }

    proptest! {
        #[test]
        fn places_move_with_their_text(
            before in "[a-zé ]{0,9}", secret in "[a-z:@]{1,9}", after in "[a-zé ]{0,9}", at in 0..40_usize,
        ) {
            let text = format!("{before}\"postgres://{secret}\"{after}");
            let hidden = Hidden::of(&text);
            prop_assert_eq!(&hidden.text, &format!("{before}\"postgres://…\"{after}"));
            let at = text.floor_char_boundary(at);
            let place = hidden.place(at);
            prop_assert!(hidden.text.is_char_boundary(place));
            let is_outside = at <= before.len() || at >= before.len() + 12 + secret.len();
            prop_assert!(!is_outside || hidden.text[place..].chars().next() == text[at..].chars().next());
        }
    }
}
