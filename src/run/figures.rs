//! Counts in words, the same wherever a person reads them.

/// Writes a count with separators, as in `48,012,331`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a count of things, as in `1 row` and `1,283 rows`; `things` is the plural.
pub fn counted(n: u64, things: &str) -> String {
    let singular = match things {
        "batches" => "batch",
        other => other.trim_end_matches('s'),
    };
    format!("{} {}", count(n), if n == 1 { singular } else { things })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_three() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(48_012_331), "48,012,331");
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!(counted(1, "batches"), "1 batch");
        assert_eq!(counted(1, "rows"), "1 row");
        assert_eq!(counted(0, "rows"), "0 rows");
        assert_eq!(counted(1_283, "batches"), "1,283 batches");
    }
}
