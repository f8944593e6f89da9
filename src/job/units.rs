//! Lengths of time and rates, as people write them: "20ms", "1h 30m", "500/s", "20k rows/s".
//!
//! Promises that what is shown can be read back to the same value, and that a number without a unit is refused.
//! Bounds are not here: what is too much depends on the key (`file`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

/// Why a text is not a length of time or a rate; says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

impl UnitError {
    /// Says what is wrong, and what to write.
    pub(super) fn new(message: impl Into<String>) -> UnitError {
        UnitError(message.into())
    }
}

/// Rows per second, from 1 to 1,000,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u32);

impl Rate {
    /// The highest rate there is, in rows per second.
    pub const MAX: u32 = 1_000_000_000;

    /// Creates a rate from rows per second; none if that is 0 or above [`Rate::MAX`].
    pub fn new(rows: u32) -> Option<Self> {
        (1..=Self::MAX).contains(&rows).then_some(Self(rows))
    }

    /// Returns the rows per second.
    pub fn rows_per_second(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, letter) in [(1_000_000, 'm'), (1_000, 'k')] {
            let (whole, tenths) = (self.0 / unit, self.0 % unit / (unit / 10));
            if whole > 0 && self.0.is_multiple_of(unit) {
                return write!(f, "{whole}{letter} rows/s");
            } else if whole > 0 && self.0.is_multiple_of(unit / 10) {
                return write!(f, "{whole}.{tenths}{letter} rows/s");
            }
        }
        write!(f, "{} rows/s", self.0)
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if is_number(text) {
            return Err(UnitError(format!("{text} has no unit; write \"{text} rows/s\"")));
        }
        let not_a_rate = || {
            let shown = text.escape_debug();
            UnitError(format!(
                "\"{shown}\" is not a rate; write rows per second, as in \"500 rows/s\" or \"20k rows/s\""
            ))
        };
        let rows = text.strip_suffix("/s").ok_or_else(not_a_rate)?;
        let rows = rows.strip_suffix("rows").or_else(|| rows.strip_suffix("row")).unwrap_or(rows);
        let rows = rows.trim_end();
        let (number, unit) = match rows.char_indices().next_back() {
            Some((at, 'k' | 'K')) => (&rows[..at], 1_000),
            Some((at, 'm' | 'M')) => (&rows[..at], 1_000_000),
            _ => (rows, 1),
        };
        if !is_number(number) {
            return Err(not_a_rate());
        }
        whole_rows(number, unit).and_then(Self::new).ok_or_else(|| {
            UnitError(format!(
                "a rate is a whole number from 1 to 1,000,000,000 rows/s, found \"{text}\""
            ))
        })
    }
}

/// Multiplies a decimal text by a unit, exactly; none if a part of a row is left or it does not fit.
fn whole_rows(number: &str, unit: u64) -> Option<u32> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = part.trim_end_matches('0');
    let scale = 10_u64.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let part = if digits.is_empty() { 0 } else { digits.parse::<u64>().ok()? };
    let scaled = whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(part)?;
    let rows = scaled.checked_mul(unit)?;
    if !rows.is_multiple_of(scale) {
        return None;
    }
    u32::try_from(rows / scale).ok()
}

/// Reads a length of time with its unit, such as "20ms", "1.5s" or "1h 30m"; never negative.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    if is_number(text) {
        return Err(UnitError(format!("{text} has no unit; write \"{text}ms\"")));
    }
    let shown = text.escape_debug();
    let length: SignedDuration = text.parse().map_err(|_| {
        UnitError(format!(
            "\"{shown}\" is not a length of time; write a number and a unit, as in \"20ms\", \"1s\" or \"1h 30m\""
        ))
    })?;
    Duration::try_from(length)
        .map_err(|_| UnitError(format!("\"{shown}\" is negative; write a length of time above 0")))
}

/// Shows a length of time as [`parse_duration`] reads it.
pub fn show_duration(duration: Duration) -> String {
    SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{duration:?}"), |d| format!("{d:#}"))
}

/// Reads an amount of data with its unit, such as "100 MB" or "2GiB"; kB, MB and GB are powers of ten.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if is_number(text) {
        return Err(UnitError(format!("{text} has no unit; write \"{text} MB\"")));
    }
    let bytes: Result<bytesize::ByteSize, _> = text.parse();
    bytes.map(|bytes| bytes.as_u64()).map_err(|_| {
        let shown = text.escape_debug();
        UnitError(format!("\"{shown}\" is not an amount of data; write for example \"100 MB\" or \"2 GiB\""))
    })
}

/// Shows an amount of data with its unit.
pub fn show_bytes(bytes: u64) -> String {
    bytesize::ByteSize::b(bytes).display().si().to_string()
}

/// A plain decimal number, such as `20` or `1.5`.
fn is_number(text: &str) -> bool {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    [whole, part]
        .iter()
        .all(|digits| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_are_read_with_and_without_the_word_rows() {
        for (text, rows) in [
            ("20k rows/s", 20_000),
            ("500/s", 500),
            ("1.5m rows/s", 1_500_000),
            ("1 row/s", 1),
            ("2.50k/s", 2_500),
            (" 7K rows/s ", 7_000),
            ("1000m rows/s", Rate::MAX),
        ] {
            assert_eq!(text.parse::<Rate>().unwrap().rows_per_second(), rows, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_rate_is_refused() {
        for text in [
            "",
            "/s",
            "k/s",
            "rows/s",
            "0/s",
            "0.5/s",
            "1.0005k/s",
            "-1/s",
            "20k",
            "5/min",
            "1e3/s",
            "1001m/s",
            "99999999999999999999/s",
            "1../s",
            ".5k/s",
            "1,000/s",
            "20k rows/sec",
            "٣/s",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_what_to_write() {
        assert_eq!(parse_duration("20").unwrap_err().to_string(), "20 has no unit; write \"20ms\"");
        let rate = "500".parse::<Rate>().unwrap_err();
        assert_eq!(rate.to_string(), "500 has no unit; write \"500 rows/s\"");
    }

    #[test]
    fn times_are_read_with_their_units() {
        for (text, ms) in [("20ms", 20), ("1s", 1_000), ("1h 30m", 5_400_000), ("1.5s", 1_500)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in ["", "ms", "-5ms", "20 lightyears", "1s ago", "999999999999999999h", "1\0s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_rate_reads_back(rows in prop_oneof![1..=Rate::MAX, (1..1000_u32).prop_map(|n| n * 100_000)]) {
            let rate = Rate::new(rows).unwrap();
            prop_assert_eq!(rate.to_string().parse::<Rate>().unwrap(), rate);
        }

        #[test]
        fn a_shown_time_reads_back(nanos in 0..=u64::MAX / 4) {
            let time = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&show_duration(time)).unwrap(), time);
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,20}|[0-9.kmrows/ ]{0,14}") {
            let _ = text.parse::<Rate>();
            let _ = parse_duration(&text);
        }
    }
}
