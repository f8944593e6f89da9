//! What was read, and what follows from it.
//!
//! Every reason has one grammar: `<signal> <value> > <limit>`.

use std::fmt;
use std::time::Duration;

use crate::job::{show_bytes, show_duration};

/// What a value is a number of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Things, in their plural, as in `segments`; nothing for a bare number.
    Things(&'static str),
    /// True or false, 1 or 0; what it means that it is true.
    Truth(&'static str),
}

impl Unit {
    /// Writes a value with this unit, with as many digits as help a person.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds => seconds(value),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an amount of data is not negative"
            )]
            Unit::Bytes => show_bytes(value as u64),
            Unit::Things("") => format!("{value}"),
            Unit::Things(things) => format!("{value} {things}"),
            Unit::Truth(meaning) => meaning.to_owned(),
        }
    }
}

fn seconds(value: f64) -> String {
    let time = Duration::try_from_secs_f64(value).unwrap_or_default();
    match value {
        ..1.0 => format!("{:.0}ms", value * 1e3),
        1.0..60.0 => format!("{value:.1}s"),
        _ => show_duration(Duration::from_secs(time.as_secs())),
    }
}

/// A value and the limit that it must not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    /// What was read.
    pub(crate) value: f64,
    /// Above this the run is held.
    pub(crate) limit: f64,
    /// What both are numbers of.
    pub(crate) unit: Unit,
}

impl Reading {
    /// Returns how much of the limit is used up: above 1 the run is held.
    pub(crate) fn utilisation(&self) -> f64 {
        match (self.value, self.limit) {
            (value, _) if value <= 0.0 => 0.0,
            (_, limit) if limit <= 0.0 => f64::INFINITY,
            (value, limit) => value / limit,
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.unit.show(self.value);
        if matches!(self.unit, Unit::Truth(_)) {
            return f.write_str(&value);
        }
        let sign = if self.value > self.limit { ">" } else { "of" };
        write!(f, "{value} {sign} {}", self.unit.show(self.limit))
    }
}

/// Why a signal could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blind {
    /// What went wrong, as in `pg_stat_replication shows nothing to this role`.
    pub(crate) why: String,
    /// What would let it be read, if that is known: SQL.
    pub(crate) recipe: Option<String>,
}

impl Blind {
    /// Says what went wrong.
    pub(crate) fn new(why: impl Into<String>) -> Blind {
        Blind { why: why.into(), recipe: None }
    }

    /// Says what would let it be read.
    #[must_use]
    pub(crate) fn recipe(mut self, recipe: impl Into<String>) -> Blind {
        self.recipe = Some(recipe.into());
        self
    }
}

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot be read: {}", self.why)?;
        self.recipe.as_ref().map_or(Ok(()), |recipe| write!(f, "; {recipe}"))
    }
}

/// The signal that rules, and what it says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cause {
    /// The throttler's name.
    pub(crate) signal: String,
    /// What it says, as in `replica-lag 7.2s > 5s`.
    pub(crate) text: String,
    /// The value and the limit, if it could be read.
    pub(crate) reading: Option<Reading>,
}

/// What all signals together come to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// Go on at this share of the speed, above 0 and at most 1; below 1 the cause is named.
    Go(f64, Option<Cause>),
    /// Stand still, or go on at so many rows per second.
    Hold(Cause, Option<u32>),
}
