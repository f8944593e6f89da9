//! Lengths of time, rates and amounts of data, as people write them: "20ms", "1h 30m", "20k rows/s", "100 MB".
//!
//! Promises that what is shown can be read back to the same value (but for [`show_bytes`], which rounds for people),
//! and that a number without a unit is refused.
//! Bounds are not here: what is too much depends on the key (`file`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;

/// Why a text is not a length of time, a rate or another value with a form of its own; says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(String);

impl UnitError {
    /// Says what is wrong, and what to write.
    pub(crate) fn new(message: impl Into<String>) -> UnitError {
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
        let rows = whole(number, unit).and_then(|rows| u32::try_from(rows).ok());
        rows.and_then(Self::new).ok_or_else(|| {
            UnitError(format!(
                "a rate is a whole number from 1 to 1,000,000,000 rows/s, found \"{text}\""
            ))
        })
    }
}

/// Multiplies a decimal text by a unit, exactly; none if a part of a row or byte is left or it does not fit.
fn whole(number: &str, unit: u64) -> Option<u64> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = part.trim_end_matches('0');
    let scale = 10_u128.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let part = if digits.is_empty() { 0 } else { digits.parse::<u128>().ok()? };
    let scaled = whole.parse::<u128>().ok()?.checked_mul(scale)?.checked_add(part)?;
    let units = scaled.checked_mul(u128::from(unit))?;
    if !units.is_multiple_of(scale) {
        return None;
    }
    u64::try_from(units / scale).ok()
}

/// Reads a length of time with its unit, such as "20ms", "1.5s" or "1h 30m"; never negative.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    parse_duration_in(text, "ms")
}

/// Reads a length of time; a number without a unit is refused with the unit that it probably has.
pub(super) fn parse_duration_in(text: &str, unit: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    if is_number(text) {
        return Err(UnitError(format!("{text} has no unit; write \"{text}{unit}\"")));
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

/// The units of data, the larger first; within a size, the one that people write more often.
const BYTES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// Reads an amount of data with its unit, such as "100 MB" or "2GiB"; kB, MB and GB are powers of ten.
///
/// The `B` is needed: "10m" is a length of time.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if is_number(text) {
        return Err(UnitError(format!("{text} has no unit; write \"{text} MB\"")));
    }
    let shown = text.escape_debug();
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text[..end].trim_end(), &text[end..]);
    let known = BYTES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let Some((_, unit)) = known.filter(|_| is_number(number)) else {
        return Err(UnitError(format!(
            "\"{shown}\" is not an amount of data; write for example \"100 MB\" or \"2 GiB\""
        )));
    };
    whole(number, *unit).ok_or_else(|| {
        UnitError(format!("an amount of data is a whole number of bytes, found \"{shown}\""))
    })
}

/// Shows an amount of data for people, rounded to a tenth of its unit; kB, MB and GB are powers of ten.
pub fn show_bytes(bytes: u64) -> String {
    let decimal = BYTES.iter().filter(|(name, _)| !name.contains('i'));
    let found = decimal.into_iter().find(|(_, unit)| *unit > 1 && bytes >= *unit);
    let Some((name, unit)) = found else { return format!("{bytes} B") };
    let tenths = (u128::from(bytes) * 10 + u128::from(unit / 2)) / u128::from(*unit);
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        part => format!("{}.{part} {name}", tenths / 10),
    }
}

/// Shows an amount of data as [`parse_bytes`] reads it to the same number.
pub(super) fn show_bytes_exactly(bytes: u64) -> String {
    exact(bytes).unwrap_or_else(|| format!("{bytes} B"))
}

/// Shows an amount of data without rounding, if that is short: at most one digit behind the point.
fn exact(bytes: u64) -> Option<String> {
    BYTES.iter().filter(|(_, unit)| bytes >= *unit || *unit == 1).find_map(|(name, unit)| {
        let whole = bytes.is_multiple_of(*unit) && bytes / unit < 10_000;
        let tenth = unit / 10;
        let has_tenths = unit.is_multiple_of(10) && bytes.is_multiple_of(tenth);
        if whole {
            Some(format!("{} {name}", bytes / unit))
        } else if has_tenths && bytes / unit < 10_000 {
            Some(format!("{}.{} {name}", bytes / unit, bytes % unit / tenth))
        } else {
            None
        }
    })
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

    #[test]
    fn amounts_of_data_are_read_with_their_units() {
        for (text, bytes) in [
            ("100 MB", 100_000_000),
            ("2GiB", 2 << 30),
            ("1.5 kB", 1_500),
            ("0 B", 0),
            (" 7 tib ", 7 << 40),
            ("18446744073709551615 B", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        // "10m" is ten minutes and "5k" is five thousand rows.
        for text in ["", "MB", "10m", "5k", "1 PB", "-1 MB", "1.0001 kB", "99999999 TB", "1e3 B"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        assert_eq!(parse_bytes("16").unwrap_err().to_string(), "16 has no unit; write \"16 MB\"");
    }

    #[test]
    fn an_amount_of_data_is_shown_in_short() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1_500, "1.5 kB"),
            (16 << 20, "16.8 MB"),
            (100_000_000, "100 MB"),
            (123_456_789, "123.5 MB"),
            (999_999_999, "1000 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(show_bytes(bytes), shown);
        }
    }

    proptest! {
        #[test]
        fn an_amount_of_data_shown_exactly_reads_back(
            bytes in prop_oneof![any::<u64>(), (0..5000_u64).prop_map(|n| n * 100_000), (0..5000_u64).prop_map(|n| n << 20)],
        ) {
            prop_assert_eq!(parse_bytes(&show_bytes_exactly(bytes)), Ok(bytes));
            prop_assert!(parse_bytes(&show_bytes(bytes)).is_ok() || bytes > u64::MAX / 2);
        }

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
            let _ = parse_bytes(&text);
        }
    }
}
