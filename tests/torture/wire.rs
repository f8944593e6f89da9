//! What is said on the wire: messages, and requests, which are what the server answers at once.
//!
//! Pure. A sabotage changes the SQL in a request on its way, so that the program under test is the one
//! that people get, and not one that was built to fail.

use std::collections::HashSet;

use crate::tricks::is_batch;

/// One piece of the SQL that is replaced wherever it stands, in statements that hold `within`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rewrite {
    pub(crate) within: &'static str,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

impl Rewrite {
    fn apply(&self, sql: &str) -> Option<String> {
        let is_meant = sql.contains(self.within) && sql.contains(self.from);
        is_meant.then(|| sql.replace(self.from, self.to))
    }
}

/// Cuts a stream into messages, whole ones only.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    rest: Vec<u8>,
    /// Whether the first message has passed: it has no letter in front.
    is_begun: bool,
}

impl Frames {
    /// Returns those of a server, whose every message has a letter.
    pub(crate) fn of_server() -> Frames {
        Frames { rest: Vec::new(), is_begun: true }
    }

    /// Takes what was read, and returns the messages that are complete by now.
    pub(crate) fn push(&mut self, said: &[u8]) -> Vec<Vec<u8>> {
        self.rest.extend_from_slice(said);
        let mut messages = Vec::new();
        while let Some(length) = self.length().filter(|length| *length <= self.rest.len()) {
            let rest = self.rest.split_off(length);
            messages.push(std::mem::replace(&mut self.rest, rest));
            self.is_begun = true;
        }
        messages
    }

    /// Takes what has not become a message.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }

    fn length(&self) -> Option<usize> {
        let letter = usize::from(self.is_begun);
        let length = self.rest.get(letter..letter + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(length) as usize + letter)
    }
}

/// Messages up to one that the server answers, and is ready again.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    /// Whether it opens a connection.
    pub(crate) is_opening: bool,
    /// Whether it ends a transaction.
    pub(crate) is_commit: bool,
    /// Whether it runs a batch.
    pub(crate) is_batch: bool,
}

/// Gathers messages of a client to requests, and changes their SQL.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    frames: Frames,
    open: Request,
    /// The names of batches that the connection has prepared.
    kept: HashSet<Vec<u8>>,
    pub(crate) applied: usize,
}

impl Requests {
    /// Takes what was read, and returns the requests that are complete by now.
    pub(crate) fn push(&mut self, said: &[u8], rewrites: &[Rewrite]) -> Vec<Request> {
        let mut requests = Vec::new();
        let is_first = !self.frames.is_begun;
        for (no, message) in self.frames.push(said).into_iter().enumerate() {
            let is_opening = is_first && no == 0;
            let kind = if is_opening { b'S' } else { message[0] };
            let is_commit = message.strip_prefix(b"Q").is_some_and(|it| it[4..] == *b"COMMIT\0");
            let changed = (!is_opening).then(|| rewritten(&message, rewrites)).flatten();
            self.applied += usize::from(changed.is_some());
            self.open.is_batch |= !is_opening && self.runs_batch(&message);
            self.open.bytes.extend(changed.unwrap_or(message));
            if matches!(kind, b'S' | b'Q' | b'X') {
                let open = std::mem::take(&mut self.open);
                requests.push(Request { is_opening, is_commit, ..open });
            }
        }
        requests
    }

    /// Whether a message runs a batch, or a part of what does: its text without a name, or the name of
    /// one that was prepared before.
    fn runs_batch(&mut self, message: &[u8]) -> bool {
        let mut names = message[5..].split(|byte| *byte == 0);
        match (message[0], names.next(), names.next()) {
            (b'P', Some(b""), _) => is_batch(message),
            (b'P', Some(name), _) => {
                if is_batch(message) {
                    self.kept.insert(name.to_owned());
                }
                false
            }
            (b'B', _, Some(name)) => self.kept.contains(name),
            _ => false,
        }
    }

    /// Takes what has not become a request.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.open.bytes);
        rest.extend(self.frames.take_rest());
        rest
    }
}

/// Returns a message with other SQL, if it has SQL that is meant.
fn rewritten(message: &[u8], rewrites: &[Rewrite]) -> Option<Vec<u8>> {
    let start = match message[0] {
        b'Q' => 5,
        // A statement's name comes first.
        b'P' => 6 + message[5..].iter().position(|byte| *byte == 0)?,
        _ => return None,
    };
    let end = start + message[start..].iter().position(|byte| *byte == 0)?;
    let sql = std::str::from_utf8(&message[start..end]).ok()?;
    let mut text = sql.to_owned();
    for rewrite in rewrites {
        text = rewrite.apply(&text).unwrap_or(text);
    }
    (text != sql)
        .then(|| framed(message[0], &[&message[5..start], text.as_bytes(), &message[end..]]))
}

/// Returns the request that runs a script.
pub(crate) fn query(sql: &str) -> Vec<u8> {
    framed(b'Q', &[sql.as_bytes(), b"\0"])
}

/// Returns what a server says to whoever it does not let in.
pub(crate) fn refusal() -> Vec<u8> {
    framed(b'E', &[b"SFATAL\0VFATAL\0C53300\0Mno room, says the torture test\0\0"])
}

fn framed(letter: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[letter], &length.to_be_bytes()[..], &body].concat()
}

/// Whether a message of the server says that it is ready for the next request.
pub(crate) fn is_ready(message: &[u8]) -> bool {
    message.first() == Some(&b'Z')
}

/// Checks what this file promises; there is no harness in this test to do it.
pub(crate) fn check() -> Result<(), String> {
    let opening = [&8u32.to_be_bytes()[..], b"abcd"].concat();
    let parse = framed(b'P', &[b"\0", b"SELECT 1 WHERE rev = 3", b"\0\0\0"]);
    let sync = framed(b'S', &[]);
    let all = [&opening[..], &query("COMMIT"), &parse, &sync].concat();
    let rewrites = [Rewrite { within: "SELECT", from: "rev = 3", to: "true" }];
    for at in 0..all.len() {
        let mut requests = Requests::default();
        let mut found = requests.push(&all[..at], &rewrites);
        found.extend(requests.push(&all[at..], &rewrites));
        let expected = framed(b'P', &[b"\0", b"SELECT 1 WHERE true", b"\0\0\0"]);
        let is_right = found.len() == 3
            && found[0].is_opening
            && found[1].is_commit
            && found[2].bytes == [&expected[..], &sync].concat()
            && requests.applied == 1;
        if !is_right {
            return Err(format!("cut at {at}: {found:?}"));
        }
    }
    let update = b"UPDATE public.torture SET n = 1";
    let parse = |name: &[u8]| framed(b'P', &[name, b"\0", update, b"\0\0\0"]);
    let bind = framed(b'B', &[b"\0s1\0", b"\0\0\0\0\0\0"]);
    let all = [&opening[..], &parse(b"s1"), &sync, &bind, &sync, &parse(b""), &sync].concat();
    let found = Requests::default().push(&all, &[]);
    let batches: Vec<_> = found.iter().map(|request| request.is_batch).collect();
    if batches == [false, false, true, true] {
        Ok(())
    } else {
        Err(format!("batches are taken for something else: {found:?}"))
    }
}
