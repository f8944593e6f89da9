//! A piece of SQL that a person wrote, and the check that it is one expression, query or statement.
//!
//! The check is lexical, by the rules of `PostgreSQL`'s scanner: it promises that an accepted text cannot leave the
//! `(\n<text>\n)` that every statement puts around it, whatever follows. It relies on `standard_conforming_strings`
//! being on, which the session pins. Where servers of different versions would split a text differently, it refuses.
//!
//! Not here: a parser. Whether the text is valid, what it calls and which type it has, only the server knows.

use std::ops::Range;

/// An expression is code, not data; one of this size is a mistake.
const MAX_BYTES: usize = 64 * 1024;

/// An SQL expression, query or statement of the user, as it stands in the job file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The SQL, verbatim.
    pub text: String,
    /// The bytes of the source that hold it, with the quotes.
    pub span: Range<usize>,
}

/// Why a text is not taken as one expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: &'static str,
    /// The bytes of the text that it is about.
    pub at: Range<usize>,
}

/// Checks that a text is one SQL expression that cannot leave the parentheses put around it.
pub fn scan(text: &str) -> Result<(), Refusal> {
    Scanner::new(text, Kind::Expression).scan()
}

/// Checks that a text is one SQL query that cannot leave the parentheses put around it.
pub fn scan_query(text: &str) -> Result<(), Refusal> {
    let mut scanner = Scanner::new(text, Kind::Query);
    scanner.scan()?;
    let start = scanner.tokens.first().map_or(0, |token| token.start);
    scanner.at = start;
    scanner.skip_while(continues_word);
    let word = &text[start..scanner.at];
    if ["SELECT", "WITH"].iter().any(|first| first.eq_ignore_ascii_case(word)) {
        return Ok(());
    }
    scanner.refuse(start, "a query begins with SELECT", "write for example SELECT count(*) FROM …")
}

/// Checks that a text is one SQL statement that can be run by itself, and what is said of it elsewhere.
pub fn scan_statement(text: &str) -> Result<(), Refusal> {
    Scanner::new(text, Kind::Statement).scan()?;
    super::statement::read(text).map(drop)
}

/// Returns where the words, names, values and signs of a text are that was accepted.
pub(super) fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut scanner = Scanner::new(text, Kind::Statement);
    // Of a text that was not accepted, what comes before the mistake.
    let _ = scanner.scan();
    scanner.tokens
}

/// What a text must be; only an expression has no commas, and each has a word in messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Expression,
    Query,
    Statement,
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
    /// Brackets not closed yet, with their places.
    open: Vec<(u8, usize)>,
    /// What is neither a blank nor a comment.
    tokens: Vec<Range<usize>>,
    kind: Kind,
}

impl<'t> Scanner<'t> {
    fn new(text: &'t str, kind: Kind) -> Self {
        Scanner { text, at: 0, open: Vec::new(), tokens: Vec::new(), kind }
    }

    fn scan(&mut self) -> Result<(), Refusal> {
        if self.text.len() > MAX_BYTES {
            let (what, bytes) = (self.what(), self.text.len());
            let message = format!("{what} has at most 64 KiB, this one has {bytes} bytes");
            let help = "put it into an SQL function, and call that here";
            return Err(Refusal { message, help, at: 0..bytes });
        }
        while let Some(byte) = self.byte(0) {
            self.token(byte)?;
        }
        self.finish()
    }

    fn what(&self) -> &'static str {
        match self.kind {
            Kind::Expression => "an expression",
            Kind::Query => "a query",
            Kind::Statement => "a statement",
        }
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn refuse<T>(&self, from: usize, message: &str, help: &'static str) -> Result<T, Refusal> {
        let at = from..self.at.max(from + 1).min(self.text.len());
        Err(Refusal { message: message.to_owned(), help, at })
    }

    fn skip_while(&mut self, accepts: impl Fn(u8) -> bool) {
        while self.byte(0).is_some_and(&accepts) {
            self.at += 1;
        }
    }

    fn token(&mut self, byte: u8) -> Result<(), Refusal> {
        match (byte, self.byte(1)) {
            (b'-', Some(b'-')) => return self.line_comment(),
            (b'/', Some(b'*')) => return self.block_comment(),
            (byte, _) if is_blank(byte) => self.at += 1,
            (byte, next) => {
                let start = self.at;
                self.element(byte, next)?;
                self.tokens.push(start..self.at);
            }
        }
        Ok(())
    }

    fn element(&mut self, byte: u8, next: Option<u8>) -> Result<(), Refusal> {
        match byte {
            b'e' | b'E' if next == Some(b'\'') => return self.escape_string(),
            b'\'' => return self.quoted(b'\'', "a string is not closed"),
            b'"' => return self.quoted(b'"', "a quoted name is not closed"),
            b'$' => return self.dollar(),
            b'(' | b'[' => self.open.push((byte, self.at)),
            b')' | b']' => return self.close(byte),
            b'0'..=b'9' => return self.number(),
            b';' | b',' | 0 => return self.separator(byte),
            // The prefixes U&, B, X and N need no care: what follows them ends like any other string or name.
            byte if starts_word(byte) => {
                self.skip_while(|byte| continues_word(byte) || byte == b'$');
                return Ok(());
            }
            _ => {}
        }
        self.at += 1;
        Ok(())
    }

    fn separator(&mut self, byte: u8) -> Result<(), Refusal> {
        let from = self.at;
        match byte {
            b';' if self.kind == Kind::Query => self.refuse(
                from,
                "`;` ends a statement, and this must be one query",
                "remove the `;`, and what follows it",
            ),
            b';' if self.kind == Kind::Statement => self.refuse(
                from,
                "`;` ends a statement, and this must be one",
                "remove the `;`; each statement is a string of its own in the list, and a function's body is put into $$…$$",
            ),
            b';' => self.refuse(
                from,
                "`;` ends a statement, and this must be one expression",
                "remove the `;`; a job changes rows only by the expressions under [set]",
            ),
            0 => {
                let message = format!("{} contains a NUL byte", self.what());
                self.refuse(from, &message, "remove the `\\u0000`")
            }
            _ if self.open.is_empty() && self.kind == Kind::Expression => self.refuse(
                from,
                "one expression is expected, found a comma",
                "write each column on its own line under [set], or put a row or list into parentheses",
            ),
            _ => {
                self.at += 1;
                Ok(())
            }
        }
    }

    fn close(&mut self, byte: u8) -> Result<(), Refusal> {
        let expected = if byte == b')' { b'(' } else { b'[' };
        let from = self.at;
        self.at += 1;
        match self.open.pop() {
            Some((open, _)) if open == expected => Ok(()),
            Some((open, _)) => self.refuse(
                from,
                &format!(
                    "`{}` does not close the `{}` before it",
                    char::from(byte),
                    char::from(open)
                ),
                "parentheses and brackets must come in matching pairs",
            ),
            None => self.refuse(
                from,
                &format!("`{}` closes nothing that was opened here", char::from(byte)),
                "remove it, or write the opening one that belongs to it",
            ),
        }
    }

    /// Skips a string or a quoted name, in which the quote is written twice.
    fn quoted(&mut self, quote: u8, message: &str) -> Result<(), Refusal> {
        let from = self.at;
        self.at += 1;
        while let Some(byte) = self.byte(0) {
            self.check_nul(byte)?;
            let twice = self.byte(1) == Some(quote);
            self.at += if byte == quote && twice { 2 } else { 1 };
            if byte == quote && !twice {
                return Ok(());
            }
        }
        self.refuse(from, message, "close the quote; within it, a quote is written twice")
    }

    /// Skips an E'…' string, in which a backslash takes the next character with it.
    fn escape_string(&mut self) -> Result<(), Refusal> {
        let from = self.at;
        self.at += 2;
        while let Some(byte) = self.byte(0) {
            self.check_nul(byte)?;
            match (byte, self.byte(1)) {
                (b'\\', Some(next)) => {
                    self.check_nul(next)?;
                    self.at += 2;
                }
                (b'\'', Some(b'\'')) => self.at += 2,
                (b'\'', _) => {
                    self.at += 1;
                    return self.check_not_continued(from);
                }
                _ => self.at += 1,
            }
        }
        self.refuse(from, "a string is not closed", "close it with `'`; in E'…' a `\\'` does not")
    }

    /// A string after an E'…' on a later line continues it, backslashes included; that is too easy to misread.
    fn check_not_continued(&self, from: usize) -> Result<(), Refusal> {
        let mut rest = &self.text[self.at..];
        loop {
            rest = rest.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(is_blank));
            match rest.strip_prefix("--") {
                Some(comment) => rest = comment.trim_start_matches(|c| !matches!(c, '\n' | '\r')),
                None if rest.starts_with('\'') => {
                    let help = "write it in one piece";
                    return self.refuse(
                        from,
                        "an E'…' string is continued by another string",
                        help,
                    );
                }
                None => return Ok(()),
            }
        }
    }

    fn dollar(&mut self) -> Result<(), Refusal> {
        let from = self.at;
        self.at += 1;
        if self.byte(0).is_some_and(|byte| byte.is_ascii_digit()) {
            self.skip_while(|byte| byte.is_ascii_digit());
            let message =
                format!("`{}` is a parameter, and a job has none", &self.text[from..self.at]);
            return self.refuse(from, &message, "write the value or the column itself");
        }
        if self.byte(0).is_some_and(starts_word) {
            self.skip_while(continues_word);
        }
        if self.byte(0) != Some(b'$') {
            let help = "quote it if it is part of a name: \"a$\"";
            return self.refuse(from, "a `$` outside quotes starts no dollar-quoted string", help);
        }
        self.at += 1;
        let tag = &self.text[from..self.at];
        let body = &self.text[self.at..];
        let Some(length) = body.find(tag) else {
            let message = format!("the dollar-quoted string {tag}… is not closed");
            return self.refuse(from, &message, "close it with the same tag");
        };
        if let Some(nul) = body[..length].find('\0') {
            self.at += nul;
            return self.check_nul(0);
        }
        self.at += length + tag.len();
        Ok(())
    }

    /// Skips a number; older servers split `1E'…'` or `1$a$` into two tokens and newer ones do not.
    fn number(&mut self) -> Result<(), Refusal> {
        let from = self.at;
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
        match self.byte(0) {
            Some(byte) if matches!(byte, b'$' | b'\'' | b'"') || !byte.is_ascii() => self.refuse(
                from,
                "a number runs into a quote or a name",
                "put a blank between them",
            ),
            _ => Ok(()),
        }
    }

    fn line_comment(&mut self) -> Result<(), Refusal> {
        let from = self.at;
        while let Some(byte) = self.byte(0).filter(|byte| !matches!(byte, b'\n' | b'\r')) {
            self.check_nul(byte)?;
            self.at += 1;
        }
        if self.byte(0).is_none() {
            let what = self.what();
            let whole = what.split_once(' ').map_or(what, |(_, noun)| noun);
            let message = format!(
                "the comment `--` runs to the end of the {whole} and would hide what follows it"
            );
            let help = "remove it, write /* … */, or put it behind a `#` outside the quotes";
            return self.refuse(from, &message, help);
        }
        Ok(())
    }

    fn block_comment(&mut self) -> Result<(), Refusal> {
        let from = self.at;
        let mut depth = 0_usize;
        loop {
            match (self.byte(0), self.byte(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(byte), _) => {
                    self.check_nul(byte)?;
                    self.at += 1;
                }
                (None, _) => break,
            }
        }
        let help = "close it with `*/`; comments nest, so each `/*` within needs its own";
        self.refuse(from, "a comment `/*` is not closed", help)
    }

    fn check_nul(&mut self, byte: u8) -> Result<(), Refusal> {
        if byte == 0 { self.separator(0) } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), Refusal> {
        if let Some((open, place)) = self.open.pop() {
            self.at = place + 1;
            let message = format!("`{}` is not closed", char::from(open));
            let help = "write the closing one that belongs to it, or remove it";
            return self.refuse(place, &message, help);
        }
        if !self.tokens.is_empty() {
            return Ok(());
        }
        let is_empty = self.text.trim().is_empty();
        let (message, help) = match (self.kind, is_empty) {
            (Kind::Query, true) => ("the query is empty", "write a SELECT"),
            (Kind::Query, false) => ("the query is only a comment", "write a SELECT"),
            (Kind::Expression, true) => ("the expression is empty", WRITE_EXPRESSION),
            (Kind::Expression, false) => ("the expression is only a comment", WRITE_EXPRESSION),
            (Kind::Statement, true) => ("the statement is empty", "remove it"),
            (Kind::Statement, false) => ("the statement is only a comment", "remove it"),
        };
        self.refuse(0, message, help)
    }
}

const WRITE_EXPRESSION: &str = "write an SQL expression, or leave the key out";

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Every byte of a character beyond ASCII belongs to a word, as on the server.
fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

fn continues_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit()
}

#[cfg(test)]
#[path = "fragment_tests.rs"]
mod tests;
