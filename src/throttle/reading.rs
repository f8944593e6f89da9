//! What was read, and what follows from it.
//!
//! Every reason has one grammar: `<signal> <value> > <limit>`.

use std::fmt;
use std::time::Duration;

use crate::job::{Limit, show_bytes, show_duration};

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
            Unit::Things("") => number(value),
            Unit::Things(things) => format!("{} {things}", number(value)),
            Unit::Truth(meaning) => meaning.to_owned(),
        }
    }

    /// Returns what `limit` is in this unit; none if it is a limit of something else.
    pub(crate) fn amount(self, limit: Limit) -> Option<f64> {
        match (self, limit) {
            (Unit::Seconds, Limit::Time(_))
            | (Unit::Bytes, Limit::Bytes(_))
            | (Unit::Things(_), Limit::Number(_)) => Some(amount(limit)),
            (Unit::Truth(_), Limit::Never) => Some(0.0),
            _ => None,
        }
    }
}

/// Returns a limit as a number; "never" is 0, which whatever is true is above. A multiple of what is
/// not known yet is the least that it can come to.
#[expect(clippy::cast_precision_loss, reason = "a limit is not meant to the byte")]
fn amount(limit: Limit) -> f64 {
    match limit {
        Limit::Time(time) => time.as_secs_f64(),
        Limit::Bytes(bytes) => bytes as f64,
        Limit::Number(number) => number,
        Limit::Times { least, .. } => least.as_secs_f64(),
        Limit::Never => 0.0,
    }
}

/// Whole where it is whole, and else with as few digits as help a person.
fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn seconds(value: f64) -> String {
    let time = Duration::try_from_secs_f64(value).unwrap_or_default();
    match value {
        ..0.9995 => format!("{:.0}ms", value.max(0.0) * 1e3),
        0.9995..59.95 => format!("{}s", format!("{value:.1}").trim_end_matches(".0")),
        _ => show_duration(Duration::from_secs(time.as_secs().max(60))),
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
    /// Returns what was read, beside the limit for it.
    pub(crate) fn of(value: f64, unit: Unit, limit: Limit) -> Reading {
        Reading { value, limit: amount(limit), unit }
    }

    /// Returns how much of the limit is used up: above 1 the run is held.
    pub(crate) fn utilisation(&self) -> f64 {
        match (self.value, self.limit) {
            (value, _) if value <= 0.0 => 0.0,
            (_, limit) if limit <= 0.0 => f64::INFINITY,
            (value, limit) => value / limit,
        }
    }

    /// Whether it is true or false, and no amount.
    pub(crate) fn is_truth(&self) -> bool {
        matches!(self.unit, Unit::Truth(_))
    }

    /// Whether it alone would let the run go at full speed.
    pub(crate) fn is_fine(&self) -> bool {
        self.utilisation() <= super::ease::FULL
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.unit.show(self.value);
        if let Unit::Truth(meaning) = self.unit {
            let not = if self.value > self.limit { "" } else { "not: " };
            return write!(f, "{not}{meaning}");
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
    /// Stand still, or let so much through.
    Hold(Cause, Option<Trickle>),
}

/// What goes on through a hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Trickle {
    /// No more rows per second than these.
    pub(crate) floor: u32,
    /// And no more than this share of the speed: what the signals leave that do not hold.
    pub(crate) share: f64,
    /// Which of them does; as in [`Verdict::Go`].
    pub(crate) slowed_by: Option<Cause>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: f64, limit: f64, unit: Unit) -> String {
        Reading { value, limit, unit }.to_string()
    }

    #[test]
    fn a_reading_is_shown_as_people_read_it() {
        assert_eq!(shown(7.24, 5.0, Unit::Seconds), "7.2s > 5s");
        assert_eq!(shown(0.02, 0.05, Unit::Seconds), "20ms of 50ms");
        assert_eq!(shown(0.9999, 59.97, Unit::Seconds), "1s of 1m");
        assert_eq!(shown(90.7, 60.0, Unit::Seconds), "1m 30s > 1m");
        assert_eq!(shown(-1.0, 60.0, Unit::Seconds), "0ms of 1m");
        assert_eq!(shown(101.0, 100.0, Unit::Things("segments")), "101 segments > 100 segments");
        assert_eq!(shown(1.0 / 3.0, 4.5, Unit::Things("")), "0.33 of 4.5");
        assert_eq!(shown(1.0, 0.0, Unit::Truth("is true")), "is true");
        assert_eq!(shown(0.0, 0.0, Unit::Truth("is true")), "not: is true");
        assert_eq!(shown(3e9, 1e9, Unit::Bytes), "3 GB > 1 GB");
    }

    #[test]
    fn what_is_true_is_above_never() {
        let truth = |value| Reading::of(value, Unit::Truth("is true"), Limit::Never).utilisation();
        assert!(truth(1.0) > 1.0 && truth(0.0) <= 0.0);
    }

    #[test]
    fn a_limit_counts_only_in_its_own_unit() {
        assert_eq!(Unit::Seconds.amount(Limit::Time(Duration::from_secs(5))), Some(5.0));
        assert_eq!(Unit::Seconds.amount(Limit::Bytes(5)), None);
        assert_eq!(Unit::Truth("is true").amount(Limit::Number(5.0)), None);
    }
}
