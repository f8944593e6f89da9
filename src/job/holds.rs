//! The job file: its holds.
//!
//! Promises that a hold is returned only if it is complete. Whether a signal can be read, only the server knows.

use std::ops::Range;

use toml::Spanned;

use super::document::Section;
use super::file::File;
use super::fragment::{Fragment, scan_query};
use super::hold::{Hold, Limit, Signal, Url};
use super::keys::{HOLD, shortened};
use super::name::is_word;
use super::problem::Problem;
use crate::pg::conninfo::{Conninfo, Source};

/// The most holds that a job has; each of them is read every second.
const MAX_HOLDS: usize = 32;

impl File<'_> {
    pub(super) fn holds(&mut self, root: &Section<'_>) -> Vec<Hold> {
        let sections = self.reader.sections(root, HOLD, MAX_HOLDS);
        let holds: Vec<Hold> = sections.iter().filter_map(|hold| self.hold(hold)).collect();
        for (at, hold) in holds.iter().enumerate() {
            if holds[..at].iter().any(|earlier| earlier.is_same(hold)) {
                self.note(same_name(hold), hold.span.clone());
            }
        }
        holds
    }

    fn hold(&mut self, hold: &Section<'_>) -> Option<Hold> {
        let on = self.signal(hold)?;
        let (on, span) = (*on.get_ref(), on.span());
        for (key, only) in
            [("url", Signal::ReplicaLag), ("sql", Signal::Query), ("name", Signal::Query)]
        {
            if on != only && hold.span_of(key).is_some() {
                let message =
                    format!("`hold.{key}` is only for `{only}`, and this hold is on `{on}`");
                let help = format!("remove `{key}`, or write on = \"{only}\"");
                // Not at the key: the line of a `url` may hold a password.
                self.note(Problem::new("contradiction", message).help(help), span.clone());
            }
        }
        let above = self.above(hold, on, &span);
        let floor = self.reader.measure(hold, "floor", str::parse).map(Spanned::into_inner);
        let url = if on == Signal::ReplicaLag { self.url(hold, &span) } else { None };
        let is_query = on == Signal::Query;
        let sql = if is_query { self.query(hold, &span) } else { None };
        let name = if is_query { self.hold_name(hold) } else { None };
        let name = name.unwrap_or_else(|| on.word().to_owned());
        Some(Hold { on, name, above: above?, floor, url, sql, span })
    }

    fn signal(&mut self, hold: &Section<'_>) -> Option<Spanned<Signal>> {
        if !hold.mentions("on") {
            let problem = Problem::new("missing-key", "[[hold]] needs `on`, the signal to look at")
                .help("add for example on = \"replica-lag\"");
            self.note(problem, hold.span.clone());
        }
        let word = self.reader.string(hold, "on", "replica-lag")?;
        let signal = Signal::from_word(word.get_ref());
        if signal.is_none() {
            let words: Vec<&str> = Signal::ALL.iter().map(|signal| signal.word()).collect();
            self.not_a_choice("hold.on", &word, &words);
        }
        signal.map(|signal| Spanned::new(word.span(), signal))
    }

    /// Takes the limit, or the one that holds without: a query that has none is true or false.
    fn above(&mut self, hold: &Section<'_>, on: Signal, span: &Range<usize>) -> Option<Limit> {
        if hold.span_of("above").is_some() {
            let above = self.reader.measure(hold, "above", |text| on.parse_limit(text))?;
            return Some(above.into_inner());
        }
        let default = on.default_limit().or((on == Signal::Query).then_some(Limit::Never));
        if default.is_none() && !hold.mentions("above") {
            let message = format!("a hold on `{on}` needs `above`, its limit");
            let help = format!("add for example above = {}", on.example());
            self.note(Problem::new("missing-key", message).help(help), span.clone());
        }
        default
    }

    fn url(&mut self, hold: &Section<'_>, span: &Range<usize>) -> Option<Url> {
        let url = self.reader.string(hold, "url", "postgres://…")?.into_inner();
        let wrong = match Conninfo::parse(&url, Source::Url) {
            Err(error) => error.to_string(),
            Ok(_) if url.contains('\0') => "contains a NUL byte".to_owned(),
            Ok(_) => return Some(Url(url)),
        };
        let help = "write it as for --database-url; leave the password to ~/.pgpass";
        let problem = Problem::new("url", format!("`hold.url` {wrong}")).help(help);
        // Not at its own place: the line may hold a password.
        self.note(problem, span.clone());
        None
    }

    fn query(&mut self, hold: &Section<'_>, span: &Range<usize>) -> Option<Fragment> {
        if !hold.mentions("sql") {
            let problem = Problem::new("missing-key", "a hold on `query` needs `sql`, the query")
                .help("add for example sql = \"SELECT count(*) FROM …\"");
            self.note(problem, span.clone());
        }
        let sql = self.reader.string(hold, "sql", "SELECT count(*) FROM …")?;
        let fragment = Fragment { span: sql.span(), text: sql.into_inner() };
        self.check_fragment("hold.sql", &fragment, scan_query);
        Some(fragment)
    }

    fn hold_name(&mut self, hold: &Section<'_>) -> Option<String> {
        let name = self.reader.string(hold, "name", "queue-depth")?;
        let shown = shortened(name.get_ref());
        let signal = Signal::from_word(name.get_ref()).filter(|signal| *signal != Signal::Query);
        let problem = if !is_word(name.get_ref()) {
            Problem::new("name", format!("`{shown}` cannot be the name of a hold")).help(
                "write 1 to 63 letters, digits, `_`, `.` or `-`, beginning with a letter or digit",
            )
        } else if signal.is_some() {
            Problem::new("name", format!("`{shown}` is the name of a signal"))
                .help("give the query a name of its own")
        } else {
            return Some(name.into_inner());
        };
        self.note(problem, name.span());
        None
    }
}

fn same_name(hold: &Hold) -> Problem {
    let message = format!("a hold named `{}` is here for the second time", hold.name);
    let help = match hold.on {
        Signal::Query => "give one a `name`",
        Signal::ReplicaLag => {
            "keep one of the two; one in time and one in bytes may stand side by side"
        }
        Signal::SlotLag
        | Signal::ArchiveBacklog
        | Signal::LockWaits
        | Signal::ActiveSessions
        | Signal::OldestTransaction
        | Signal::Autovacuum
        | Signal::Latency
        | Signal::CommitLatency => "keep one of the two; a signal has one limit",
    };
    Problem::new("contradiction", message).help(help)
}
