//! libpq connection settings as a map from keyword to value, and the `keyword=value` string form.
//!
//! Promises libpq's own quoting rules, an error for a keyword that libpq does not know, and that
//! neither an error nor `Debug` ever shows a password: a string that was misread because its
//! password holds a special character is not quoted back.
//!
//! Not here: the URL form (`uri`), what the values mean (`settings`).

use super::{keywords, keywords::Keyword, uri};
use std::{collections::BTreeMap, fmt};

/// Where a setting came from, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The connection URL or string given on the command line.
    Url,
    /// A section of a `pg_service.conf` file.
    Service,
    /// An environment variable of this name.
    Variable(&'static str),
    /// A built-in default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => f.write_str("the connection URL"),
            Self::Service => f.write_str("the service file"),
            Self::Variable(name) => f.write_str(name),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// Why a connection string cannot be read; never holds a value out of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConninfoError {
    /// The text is neither a `postgres://` URL nor `keyword=value` pairs.
    #[error(
        "is not a connection string because it neither begins with postgres:// or postgresql:// \
         nor holds keyword=value pairs"
    )]
    NotAConnectionString,
    /// A keyword is not one of libpq's; `name` is absent where it may be a part of a password.
    #[error("has an unknown keyword{}", spell(name.as_deref(), *near))]
    UnknownKeyword {
        /// The keyword as given.
        name: Option<String>,
        /// The known keyword that is most like it.
        near: Option<&'static str>,
    },
    /// A word of a `keyword=value` string lacks the equals sign; counted from 1.
    #[error(
        "lacks an = in setting {0} (put a value with spaces between single quotes, as in \
         password='a b')"
    )]
    MissingEquals(usize),
    /// A single quote is never closed.
    #[error("opens a single quote in the value of {0} and never closes it")]
    UnterminatedQuote(&'static str),
    /// A URL is malformed.
    #[error("{0}")]
    Url(&'static str),
    /// A URL is malformed in the way that an unescaped password makes it so.
    #[error(
        "{0} (if the password holds one of # / ? @ : percent-encode it, or leave it out and use \
         PGPASSWORD or ~/.pgpass)"
    )]
    UrlPassword(&'static str),
}

fn spell(name: Option<&str>, near: Option<&str>) -> String {
    let named = name.map(|name| format!(" {name:?}")).unwrap_or_default();
    let meant = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    named + &meant
}

#[derive(Clone, PartialEq, Eq)]
struct Setting {
    keyword: &'static Keyword,
    value: String,
    source: Source,
}

/// Connection settings by libpq keyword, each with its source; `Debug` hides the secret ones.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Conninfo {
    settings: BTreeMap<&'static str, Setting>,
}

impl fmt::Debug for Conninfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.settings.values().map(|setting| {
            let secret = setting.keyword.is_secret();
            (setting.keyword.name, if secret { "***" } else { &setting.value })
        });
        f.debug_map().entries(shown).finish()
    }
}

impl Conninfo {
    /// Parses a URL (`postgres://`, `postgresql://`) or a `keyword=value` string; surrounding
    /// white space does not count, and the last of two equal keywords wins.
    pub(crate) fn parse(text: &str, source: Source) -> Result<Self, ConninfoError> {
        let text = text.trim_start();
        let url = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
        let first_word = text.split('=').next().unwrap_or_default();
        match url {
            Some(rest) => uri::parse(rest.trim_end(), source),
            None if text.is_empty() || first_word.contains("://") => {
                Err(ConninfoError::NotAConnectionString)
            }
            None => parse_pairs(text, source),
        }
    }

    /// Returns the value of a keyword; an empty value counts as not set, as in libpq.
    pub(crate) fn get(&self, keyword: &str) -> Option<&str> {
        self.settings.get(keyword).map(|s| s.value.as_str()).filter(|value| !value.is_empty())
    }

    /// Returns where the value of a keyword came from, `Default` if it is not set.
    pub(crate) fn source(&self, keyword: &str) -> Source {
        self.settings.get(keyword).map_or(Source::Default, |setting| setting.source)
    }

    /// Sets a keyword, over an earlier value.
    pub(crate) fn set(&mut self, keyword: &'static Keyword, value: String, source: Source) {
        self.settings.insert(keyword.name, Setting { keyword, value, source });
    }

    /// Takes over those settings of `weaker` that are not set here.
    pub(crate) fn fill(&mut self, weaker: Self) {
        for (name, setting) in weaker.settings {
            self.settings.entry(name).or_insert(setting);
        }
    }

    /// Returns the first keyword whose value asks for something that piecemeal cannot do.
    pub(crate) fn unsupported(&self) -> Option<(&'static Keyword, Source)> {
        self.settings
            .values()
            .find(|setting| !setting.keyword.supports(&setting.value))
            .map(|setting| (setting.keyword, setting.source))
    }
}

fn parse_pairs(text: &str, source: Source) -> Result<Conninfo, ConninfoError> {
    let mut conninfo = Conninfo::default();
    let mut rest = text.trim_start();
    let mut count = 0;
    while !rest.is_empty() {
        count += 1;
        let end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = after
            .trim_ascii_start()
            .strip_prefix('=')
            .ok_or(ConninfoError::MissingEquals(count))?;
        let keyword = keywords::find(name).ok_or_else(|| unknown(name, &conninfo))?;
        let (value, left) = take_value(after.trim_ascii_start())
            .ok_or(ConninfoError::UnterminatedQuote(keyword.name))?;
        conninfo.set(keyword, value, source);
        rest = left.trim_ascii_start();
    }
    Ok(conninfo)
}

// Behind a password, a "keyword" may be the rest of a password with an unquoted space; one with
// punctuation may be a URL without its scheme.
fn unknown(name: &str, before: &Conninfo) -> ConninfoError {
    let wordlike = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let quotable = wordlike && before.get("password").is_none();
    ConninfoError::UnknownKeyword {
        name: quotable.then(|| name.to_owned()),
        near: keywords::nearest(name),
    }
}

/// Splits a value off the front of `text`, unquoted; `None` if a quote is never closed.
fn take_value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let body = quoted.unwrap_or(text);
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted.is_some() => return Some((value, &body[at + 1..])),
            c if quoted.is_none() && c.is_ascii_whitespace() => return Some((value, &body[at..])),
            c => value.push(c),
        }
    }
    quoted.is_none().then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Conninfo, ConninfoError> {
        Conninfo::parse(text, Source::Url)
    }

    fn quote(value: &str) -> String {
        format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
    }

    #[test]
    fn pairs_may_be_quoted_escaped_and_spaced() {
        let c = parse(r"host = db  user='o\'brien x' password=a\ b\\c dbname='' port=1").unwrap();
        assert_eq!(c.get("host"), Some("db"));
        assert_eq!(c.get("user"), Some("o'brien x"));
        assert_eq!(c.get("password"), Some(r"a b\c"));
        assert_eq!(c.get("dbname"), None);
        assert_eq!(c.get("port"), Some("1"));
        assert_eq!(c.source("port"), Source::Url);
    }

    #[test]
    fn white_space_around_does_not_count_unless_it_is_escaped() {
        assert_eq!(parse(" postgres://h/d\n").unwrap().get("dbname"), Some("d"));
        assert_eq!(parse(" dbname=d\n").unwrap().get("dbname"), Some("d"));
        assert_eq!(parse("dbname=d\\ ").unwrap().get("dbname"), Some("d "));
    }

    #[test]
    fn the_last_of_two_equal_keywords_wins() {
        assert_eq!(parse("port=1 port=2").unwrap().get("port"), Some("2"));
    }

    #[test]
    fn an_unknown_keyword_names_its_neighbour() {
        let error = parse("hots=x").unwrap_err().to_string();
        assert_eq!(error, "has an unknown keyword \"hots\"; did you mean host?");
    }

    #[test]
    fn a_keyword_behind_a_password_is_not_quoted_back() {
        let error = parse("password=my can=ary").unwrap_err().to_string();
        assert_eq!(error, "has an unknown keyword");
    }

    #[test]
    fn a_word_without_an_equals_sign_is_counted_not_quoted() {
        let error = parse("host=x password=my canary").unwrap_err();
        assert_eq!(error, ConninfoError::MissingEquals(3));
    }

    #[test]
    fn an_open_quote_is_refused() {
        let error = parse("password='canary").unwrap_err();
        assert_eq!(error, ConninfoError::UnterminatedQuote("password"));
    }

    #[test]
    fn the_url_of_another_database_is_refused() {
        let error = parse("mysql://u:canary@h/d").unwrap_err();
        assert_eq!(error, ConninfoError::NotAConnectionString);
        let error = parse("mysql://u:canary@h/d?x=y").unwrap_err();
        assert_eq!(error, ConninfoError::NotAConnectionString);
        let error = parse("u:canary@h/d?x=y").unwrap_err();
        assert_eq!(error, ConninfoError::UnknownKeyword { name: None, near: None });
        assert_eq!(parse("  ").unwrap_err(), ConninfoError::NotAConnectionString);
    }

    #[test]
    fn filling_keeps_what_is_set_even_if_empty() {
        let mut strong = parse("host='' port=1").unwrap();
        let mut weak = Conninfo::default();
        for (name, value) in [("host", "h"), ("port", "2"), ("user", "u")] {
            weak.set(keywords::find(name).unwrap(), value.into(), Source::Service);
        }
        strong.fill(weak);
        assert_eq!((strong.get("host"), strong.get("port")), (None, Some("1")));
        assert_eq!((strong.get("user"), strong.source("user")), (Some("u"), Source::Service));
    }

    proptest! {
        #[test]
        fn a_quoted_value_reads_back(password in "[^\0]*", user in "[^\0]*") {
            let text = format!("password={} user={}", quote(&password), quote(&user));
            let read = parse(&text).unwrap();
            prop_assert_eq!(read.get("password").unwrap_or(""), password);
            prop_assert_eq!(read.get("user").unwrap_or(""), user);
        }

        #[test]
        fn no_text_at_all_panics(text in "\\PC*") {
            let _ = parse(&text);
        }

        #[test]
        fn an_escaped_bare_value_reads_back(value in "[a-z' \\\\=@]{1,20}") {
            let escaped: String = value.chars().flat_map(|c| ['\\', c]).collect();
            let read = parse(&format!("user={escaped} port=1")).unwrap();
            prop_assert_eq!(read.get("user"), Some(value.as_str()));
            prop_assert_eq!(read.get("port"), Some("1"));
        }
    }
}
