//! Numbers in columns, and their medians. What is not known is NaN, and shown as `-`.

/// How a column is called, its width, and its decimals.
pub(crate) type Column = (&'static str, usize, usize);

/// More than this of a processor used by others makes a measurement doubtful.
pub(crate) const NOISE: f64 = 0.15;

/// Returns the names of the columns.
pub(crate) fn names(columns: &[Column]) -> String {
    columns.iter().fold(String::new(), |line, (name, width, _)| line + &format!("{name:>width$}"))
}

/// Returns a number for each column.
pub(crate) fn cells(columns: &[Column], numbers: &[f64]) -> String {
    let cells = columns.iter().zip(numbers).map(|(column, number)| cell(*column, *number));
    cells.collect()
}

fn cell((_, width, decimals): Column, number: f64) -> String {
    if number.is_nan() { format!("{:>width$}", "-") } else { format!("{number:>width$.decimals$}") }
}

/// Returns the median of each column by itself.
pub(crate) fn medians(lines: &[&[f64]]) -> Vec<f64> {
    let columns = 0..lines.first().map_or(0, |numbers| numbers.len());
    columns.map(|at| median(lines.iter().map(|numbers| numbers[at]))).collect()
}

/// Returns the middle of the values; of an even number the upper one of the two, of none NaN.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.into_iter().filter(|value| !value.is_nan()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_what_is_known() {
        let rounds: [&[f64]; 4] = [&[3.0, f64::NAN], &[1.0, 7.0], &[2.0, f64::NAN], &[9.0, 5.0]];
        assert_eq!(medians(&rounds), [3.0, 7.0]);
        assert!(median([f64::NAN]).is_nan());
    }

    #[test]
    fn what_is_not_known_is_not_a_number() {
        assert_eq!(cells(&[("s", 6, 2), ("x", 4, 1)], &[1.234, f64::NAN]), "  1.23   -");
    }
}
