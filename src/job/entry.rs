//! The parts of a job of which there may be several, for [`Builder`](super::Builder): windows, holds and gates.
//!
//! Like the builder, they write the text of a job file, and nothing is checked before that is read.

use std::fmt;
use std::time::Duration;

use super::builder::quoted;
use super::hold::{Hold, Signal};
use super::keys::{GATE, HOLD, WINDOW, header};
use super::shape::Gate;
use super::units::{Rate, show_duration};
use super::window::{Window, WindowRate};

/// One table of a list, such as a `[[hold]]`.
#[derive(Clone)]
pub(super) struct Entry {
    section: &'static str,
    lines: Vec<String>,
}

impl Entry {
    fn with(mut self, key: &str, value: &str) -> Self {
        self.lines.push(format!("{key} = {}", quoted(value)));
        self
    }

    /// Writes it as a job file has it.
    pub(super) fn text(&self) -> String {
        format!("{}\n{}\n", header(self.section), self.lines.join("\n"))
    }
}

/// Collects what a `[[pace.window]]` says; it needs a rate, a target or workers.
#[derive(Clone)]
pub struct WindowBuilder(pub(super) Entry);

/// Collects what a `[[hold]]` says.
#[derive(Clone)]
pub struct HoldBuilder(pub(super) Entry);

/// Holds what a `[[gate]]` says.
#[derive(Clone)]
pub struct GateBuilder(pub(super) Entry);

impl Gate {
    /// Returns a gate for a [`Builder`](super::Builder) that holds when a query returns true.
    pub fn by_query(sql: impl AsRef<str>) -> GateBuilder {
        let entry = Entry { section: GATE, lines: Vec::new() };
        GateBuilder(entry.with("sql", sql.as_ref()))
    }

    /// Returns a gate for a [`Builder`](super::Builder) that holds when a person says so.
    pub fn by_word(message: impl AsRef<str>) -> GateBuilder {
        let entry = Entry { section: GATE, lines: Vec::new() };
        GateBuilder(entry.with("message", message.as_ref()))
    }
}

impl GateBuilder {
    /// Says what it is about.
    #[must_use]
    pub fn message(self, message: impl AsRef<str>) -> Self {
        Self(self.0.with("message", message.as_ref()))
    }
}

impl fmt::Debug for GateBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GateBuilder").field(&self.0.lines).finish()
    }
}

impl Window {
    /// Starts a window for a [`Builder`](super::Builder), with days and hours as in `Mon-Fri 08:00-20:00`.
    pub fn builder(when: impl AsRef<str>) -> WindowBuilder {
        let entry = Entry { section: WINDOW, lines: Vec::new() };
        WindowBuilder(entry.with("when", when.as_ref()))
    }
}

impl Hold {
    /// Starts a hold for a [`Builder`](super::Builder).
    pub fn builder(on: Signal) -> HoldBuilder {
        let entry = Entry { section: HOLD, lines: Vec::new() };
        HoldBuilder(entry.with("on", on.word()))
    }
}

impl WindowBuilder {
    /// Names the time zone; UTC if none is named.
    #[must_use]
    pub fn zone(self, zone: impl AsRef<str>) -> Self {
        Self(self.0.with("zone", zone.as_ref()))
    }

    /// Limits the speed, or stands still, instead of the job's rate.
    #[must_use]
    pub fn rate(self, rate: WindowRate) -> Self {
        Self(self.0.with("rate", &rate.to_string()))
    }

    /// Sets the time that a batch aims at, instead of the job's target.
    #[must_use]
    pub fn target(self, target: Duration) -> Self {
        Self(self.0.with("target", &show_duration(target)))
    }

    /// Sets the ranges that each process walks side by side, instead of the job's.
    #[must_use]
    pub fn workers(mut self, workers: u32) -> Self {
        self.0.lines.push(format!("workers = {workers}"));
        self
    }
}

impl HoldBuilder {
    /// Sets the limit, as in `5s`, `100 MB` or `40`.
    #[must_use]
    pub fn above(self, limit: impl AsRef<str>) -> Self {
        Self(self.0.with("above", limit.as_ref()))
    }

    /// Keeps a trickle through a hold.
    #[must_use]
    pub fn floor(self, floor: Rate) -> Self {
        Self(self.0.with("floor", &floor.to_string()))
    }

    /// Says where the standby is, for [`Signal::ReplicaLag`].
    #[must_use]
    pub fn url(self, url: impl AsRef<str>) -> Self {
        Self(self.0.with("url", url.as_ref()))
    }

    /// Sets the query, for [`Signal::Query`].
    #[must_use]
    pub fn sql(self, sql: impl AsRef<str>) -> Self {
        Self(self.0.with("sql", sql.as_ref()))
    }

    /// Names it, for [`Signal::Query`].
    #[must_use]
    pub fn name(self, name: impl AsRef<str>) -> Self {
        Self(self.0.with("name", name.as_ref()))
    }
}

impl fmt::Debug for WindowBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WindowBuilder").field(&self.0.lines).finish()
    }
}

/// Nothing is shown, because it may name a standby with its password (R28).
impl fmt::Debug for HoldBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldBuilder").finish_non_exhaustive()
    }
}
