//! Counts in words, and the words of others, the same wherever a person reads them.

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

/// Writes a text of the server's, or of somebody's rows, on one line: nothing in it moves a cursor or ends
/// the line.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // Marks that turn the direction of writing are no control characters, and as bad.
        if c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
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
    fn what_somebody_else_wrote_stays_on_its_line() {
        assert_eq!(plain("a\nb\u{1b}[31m\u{202e}ö"), "a\\nb\\u{1b}[31m\\u{202e}ö");
    }

    #[test]
    fn one_is_no_plural() {
        assert_eq!(counted(1, "batches"), "1 batch");
        assert_eq!(counted(1, "rows"), "1 row");
        assert_eq!(counted(0, "rows"), "0 rows");
        assert_eq!(counted(1_283, "batches"), "1,283 batches");
    }
}
