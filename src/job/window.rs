//! A stretch of the week in which another pace applies, as a job file has it.
//!
//! Values only; which window contains an instant is `run::Schedule`'s to say.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use super::units::Rate;

/// Days and hours, by the clock on the wall of a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct When {
    /// The days on which it begins, in the order of the week; at least one.
    pub days: Vec<Weekday>,
    /// The hour at which it begins.
    pub from: Time,
    /// The hour at which it ends, on the next day if it is not after `from`; `00:00` is midnight.
    pub to: Time,
}

/// How fast a window lets a run be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowRate {
    /// Not at all.
    Pause,
    /// So many rows per second.
    Rate(Rate),
}

impl fmt::Display for WindowRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WindowRate::Pause => f.write_str("pause"),
            WindowRate::Rate(rate) => rate.fmt(f),
        }
    }
}

/// One `[[pace.window]]` of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// When it applies.
    pub when: When,
    /// The text of `when`, as the job has it.
    pub text: String,
    /// In which zone.
    pub zone: TimeZone,
    /// Instead of the job's rate.
    pub rate: Option<WindowRate>,
    /// Instead of the job's target.
    pub target: Option<Duration>,
    /// Where it is in the source.
    pub span: Range<usize>,
}

impl serde::Serialize for Window { fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> { s.serialize_str("") } }
impl<'de> serde::Deserialize<'de> for Window { fn deserialize<D: serde::Deserializer<'de>>(_d: D) -> Result<Self, D::Error> { Err(serde::de::Error::custom("stub")) } }
