//! What was measured of one variant in one round, as a line of the table, and the medians.

use super::ground::columns::{self, Column, NOISE};

/// The numbers of a line, in their order.
const COLUMNS: &[Column] = &[
    ("s", 9, 3),
    ("ratio", 7, 2),
    ("verified", 10, 2),
    ("ratio", 7, 2),
    ("rows/s", 9, 0),
    ("WAL/row", 9, 0),
    ("heap", 6, 2),
    ("index", 7, 2),
    ("HOT", 6, 2),
    ("server", 8, 2),
    ("client", 8, 2),
    ("MB", 6, 0),
    ("foreign", 9, 2),
];

/// What came out; NaN is what is not known, or what there is not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Seconds without the verification.
    pub(crate) seconds: f64,
    /// Seconds with it.
    pub(crate) verified: f64,
    /// Rows of the table by these seconds, changed or passed.
    pub(crate) rows_per_s: f64,
    /// Bytes of WAL for each changed row.
    pub(crate) wal: f64,
    /// Sizes afterwards, by those before.
    pub(crate) heap: f64,
    pub(crate) indexes: f64,
    /// The share of updates that no index had to know of.
    pub(crate) hot: f64,
    /// Seconds of a processor, without the verification.
    pub(crate) server: f64,
    pub(crate) client: f64,
    /// The client's peak of memory in MB.
    pub(crate) memory: f64,
    /// Processors that others used.
    pub(crate) foreign: f64,
}

/// A line of the table: numbers, or why there are none.
pub(crate) struct Line {
    name: String,
    numbers: Result<Vec<f64>, String>,
}

impl Line {
    /// Compares with the seconds of the UPDATE of the same round. Ratios are of speeds: 0.85 means
    /// 85 % of its rows per second.
    pub(crate) fn of(name: &str, measured: Result<Measured, String>, update: f64) -> Line {
        let numbers = measured.map(|it| {
            vec![
                it.seconds,
                update / it.seconds,
                it.verified,
                update / it.verified,
                it.rows_per_s,
                it.wal,
                it.heap,
                it.indexes,
                it.hot,
                it.server,
                it.client,
                it.memory,
                it.foreign,
            ]
        });
        Line { name: name.to_owned(), numbers }
    }

    fn is_noisy(&self) -> bool {
        let foreign = self.numbers.as_ref().ok().and_then(|numbers| numbers.last());
        foreign.is_some_and(|foreign| *foreign > NOISE)
    }

    /// Returns the line of a round.
    pub(crate) fn show(&self, round: &str) -> String {
        self.text(round, if self.is_noisy() { "  (noisy)" } else { "" })
    }

    fn text(&self, round: &str, mark: &str) -> String {
        let name = &self.name;
        match &self.numbers {
            Ok(numbers) => format!("{round:>6}{}  {name}{mark}", columns::cells(COLUMNS, numbers)),
            Err(why) => format!("{round:>6}  {name} was not measured: {why}"),
        }
    }
}

/// Returns the names of the columns.
pub(crate) fn header() -> String {
    format!("{:>6}{}  of", "round", columns::names(COLUMNS))
}

/// Returns the median of each number of a variant over its rounds, and how many were noisy; or why
/// none was measured.
pub(crate) fn medians(lines: &[&Line]) -> String {
    let Some(last) = lines.last() else { return String::new() };
    let known: Vec<_> = lines.iter().filter_map(|line| line.numbers.as_deref().ok()).collect();
    if known.is_empty() {
        return last.text("median", "");
    }
    let noisy = lines.iter().filter(|line| line.is_noisy()).count();
    let mark =
        if noisy > 0 { format!("  ({noisy} of {} noisy)", known.len()) } else { String::new() };
    let numbers = Ok(columns::medians(&known));
    Line { name: last.name.clone(), numbers }.text("median", &mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Measured = Measured {
        seconds: 8.0,
        verified: 10.0,
        rows_per_s: 1_000.0,
        wal: 680.4,
        heap: 1.5,
        indexes: 2.0,
        hot: f64::NAN,
        server: 7.0,
        client: 0.1,
        memory: 12.0,
        foreign: 0.0,
    };

    fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn every_column_has_a_number() {
        let line = Line::of("walk", Ok(MEASURED), 4.0).show("1");
        assert_eq!(words(&line).len(), words(&header()).len());
        assert_eq!(words(&line)[..7], ["1", "8.000", "0.50", "10.00", "0.40", "1000", "680"]);
        assert_eq!(line.find("walk").unwrap(), header().find("of").unwrap());
    }

    #[test]
    fn medians_are_of_what_was_measured() {
        let at = |seconds, foreign| Ok(Measured { seconds, foreign, ..MEASURED });
        let lines = [
            Line::of("walk", at(9.0, 0.0), 9.0),
            Line::of("walk", Err("it broke".into()), 9.0),
            Line::of("walk", at(3.0, 0.5), 9.0),
            Line::of("walk", at(4.0, 0.0), 2.0),
        ];
        let median = medians(&lines.iter().collect::<Vec<_>>());
        assert_eq!(words(&median)[..3], ["median", "4.000", "1.00"]);
        assert!(median.ends_with("walk  (1 of 3 noisy)"), "{median}");
    }

    #[test]
    fn what_was_never_measured_says_why() {
        let line = Line::of("x = 1", Err("there is no `x`".into()), 9.0);
        assert_eq!(medians(&[&line]), "median  x = 1 was not measured: there is no `x`");
    }
}
