//! What was measured of one variant in one round, as a line of the table, and the medians.
//!
//! A number that is not known is `-`, in a line and in the medians.

use super::felt::Felt;
use super::ground::columns::{self, Column, NOISE};
use super::variant::ALONE;

/// The numbers of a line, in their order.
const COLUMNS: &[Column] = &[
    ("s", 7, 1),
    ("rows/s", 8, 0),
    ("speed", 7, 2),
    ("p50", 9, 2),
    ("x", 9, 1),
    ("p99", 9, 1),
    ("x", 9, 1),
    ("max", 7, 0),
    ("x", 9, 1),
    ("verify p99 x", 14, 1),
    ("waited", 8, 0),
    ("heap", 6, 2),
    ("foreign", 9, 2),
];

/// What came out; NaN is what is not known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Seconds from the first batch to the last.
    pub(crate) seconds: f64,
    /// Rows that were changed in that time.
    pub(crate) rows_per_s: f64,
    /// The traffic that was due in that time.
    pub(crate) felt: Felt,
    /// The traffic that was due during the verification.
    pub(crate) verifying: Option<Felt>,
    /// The longest wait on the backfill, in milliseconds.
    pub(crate) waited: f64,
    /// The heap in sizes of what the rows need.
    pub(crate) heap: f64,
    /// Processors that others used.
    pub(crate) foreign: f64,
}

/// A line of the table.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    name: &'static str,
    numbers: Vec<f64>,
}

impl Line {
    /// Compares with the baseline and the UPDATE of the same round.
    pub(crate) fn of(name: &'static str, it: &Measured, alone: &Felt, update: Option<f64>) -> Line {
        let Felt { p50, p99, max } = it.felt;
        let verifying = it.verifying.map_or(f64::NAN, |felt| felt.p99 / alone.p99);
        let speed = it.rows_per_s / update.unwrap_or(f64::NAN);
        let numbers = vec![
            it.seconds,
            it.rows_per_s,
            speed,
            p50,
            p50 / alone.p50,
            p99,
            p99 / alone.p99,
            max,
            max / alone.max,
            verifying,
            if name == ALONE { f64::NAN } else { it.waited },
            if name == ALONE { f64::NAN } else { it.heap },
            it.foreign,
        ];
        Line { name, numbers }
    }

    fn is_noisy(&self) -> bool {
        self.numbers.last().is_some_and(|foreign| *foreign > NOISE)
    }

    /// Returns the line of a round.
    pub(crate) fn show(&self, round: &str) -> String {
        self.text(round, if self.is_noisy() { "  noisy" } else { "" })
    }

    fn text(&self, round: &str, mark: &str) -> String {
        format!("{round:>6}  {:<12}{}{mark}", self.name, columns::cells(COLUMNS, &self.numbers))
    }
}

/// Returns the names of the columns.
pub(crate) fn header() -> String {
    format!("{:>6}  {:<12}{}", "round", "beside", columns::names(COLUMNS))
}

/// Returns the median of each number of a variant over its rounds, and how many were noisy.
pub(crate) fn medians(name: &'static str, lines: &[Line]) -> Option<String> {
    let lines: Vec<&Line> = lines.iter().filter(|line| line.name == name).collect();
    lines.first()?;
    let numbers = columns::medians(&lines.iter().map(|line| &line.numbers[..]).collect::<Vec<_>>());
    let noisy = lines.iter().filter(|line| line.is_noisy()).count();
    let mark =
        if noisy > 0 { format!("  {noisy} of {} noisy", lines.len()) } else { String::new() };
    Some(Line { name, numbers }.text("median", &mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rows_per_s: f64, p99: f64) -> Measured {
        let felt = Felt { p50: 1.0, p99, max: 40.0 };
        let verifying = None;
        let (seconds, waited, heap, foreign) = (9.0, 30.0, 1.5, 0.2);
        Measured { seconds, rows_per_s, felt, verifying, waited, heap, foreign }
    }

    #[test]
    fn medians_are_of_the_ratios_of_each_round() {
        let mut lines = Vec::new();
        for (p99, alone) in [(10.0, 5.0), (30.0, 10.0), (8.0, 1.0)] {
            let alone = Felt { p50: 1.0, p99: alone, max: 20.0 };
            lines.push(Line::of("default", &measured(900.0, p99), &alone, Some(1000.0)));
        }
        let median = medians("default", &lines).unwrap();
        let words: Vec<_> = median.split_whitespace().collect();
        assert_eq!(words[1..9], ["default", "9.0", "900", "0.90", "1.00", "1.0", "10.0", "3.0"]);
        assert!(median.ends_with("3 of 3 noisy"), "{median}");
    }

    #[test]
    fn what_is_not_known_is_not_a_number() {
        let alone = Felt { p50: 1.0, p99: 1.0, max: 1.0 };
        let line = Line::of("loop", &measured(900.0, 1.0), &alone, None);
        assert_eq!(line.show("1").split_whitespace().nth(4), Some("-"));
    }
}
