//! The days and hours of a window, as people write them: "Mon-Fri 08:00-20:00", "Sat,Sun", "daily 22:00-06:00".
//!
//! Promises that what is shown reads back to the same value. Not here: in which zone (`window`), and which
//! instants that are (`run::Schedule`).

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Time, Weekday};

use super::keys::{nearest, shortened};
use super::units::UnitError;

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

/// The days by their names, in the order of the week.
const DAYS: [(&str, Weekday); 7] = [
    ("Monday", Weekday::Monday),
    ("Tuesday", Weekday::Tuesday),
    ("Wednesday", Weekday::Wednesday),
    ("Thursday", Weekday::Thursday),
    ("Friday", Weekday::Friday),
    ("Saturday", Weekday::Saturday),
    ("Sunday", Weekday::Sunday),
];

impl FromStr for When {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = without_blanks_in_lists(text);
        let mut parts = text.split_whitespace();
        let (days, hours) = (parts.next(), parts.next());
        if let Some(third) = parts.next() {
            let zone = if third.contains('/') { "; a time zone is written as `zone`" } else { "" };
            return Err(UnitError::new(format!("{}{zone}", no_window(&text))));
        }
        let days = days.ok_or_else(|| no_window(&text))?;
        if days.starts_with(|c: char| c.is_ascii_digit()) {
            let said = format!("\"{0}\" names no day; write \"daily {0}\"", shortened(&text));
            return Err(UnitError::new(said));
        }
        let (from, to) = hours.map_or(Ok((Time::midnight(), Time::midnight())), read_hours)?;
        Ok(When { days: read_days(days)?, from, to })
    }
}

/// Removes the blanks around `-` and `,`, so that a list is one word.
fn without_blanks_in_lists(text: &str) -> String {
    let mut joined = String::new();
    for word in text.split_whitespace() {
        let is_apart =
            !joined.is_empty() && !joined.ends_with(['-', ',']) && !word.starts_with(['-', ',']);
        joined.extend(is_apart.then_some(' '));
        joined.push_str(word);
    }
    joined
}

fn no_window(text: &str) -> UnitError {
    let shown = shortened(text);
    UnitError::new(format!(
        "\"{shown}\" is not days and hours; write for example \"Mon-Fri 08:00-20:00\", \"Sat,Sun\" or \"daily 22:00-06:00\""
    ))
}

fn read_days(text: &str) -> Result<Vec<Weekday>, UnitError> {
    let mut is_in = [false; 7];
    if text.eq_ignore_ascii_case("daily") {
        is_in = [true; 7];
    } else {
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (mut at, last) = (read_day(first)?, read_day(last)?);
            is_in[at] = true;
            while at != last {
                at = (at + 1) % 7;
                is_in[at] = true;
            }
        }
    }
    Ok(DAYS.iter().zip(is_in).filter(|(_, is_in)| *is_in).map(|((_, day), _)| *day).collect())
}

/// Reads a day by its name or the first three letters of it; 0 is Monday.
fn read_day(text: &str) -> Result<usize, UnitError> {
    let is_day =
        |name: &str| name.eq_ignore_ascii_case(text) || name[..3].eq_ignore_ascii_case(text);
    DAYS.iter().position(|(name, _)| is_day(name)).ok_or_else(|| {
        let names = DAYS.map(|(name, _)| name);
        let shown = shortened(text);
        let plain = text.to_ascii_lowercase();
        let meant = match nearest(text, &names) {
            _ if plain.starts_with("weekday") => "write Mon-Fri".to_owned(),
            _ if plain.starts_with("weekend") => "write Sat,Sun".to_owned(),
            Some(near) => format!("did you mean {}?", &near[..3]),
            None => "write Mon, Tue, Wed, Thu, Fri, Sat, Sun or daily".to_owned(),
        };
        UnitError::new(format!("\"{shown}\" is not a day; {meant}"))
    })
}

fn read_hours(text: &str) -> Result<(Time, Time), UnitError> {
    let shown = shortened(text);
    let Some((from, to)) = text.split_once('-') else {
        let said = format!("\"{shown}\" has no end; write from and to, as in \"08:00-20:00\"");
        return Err(UnitError::new(said));
    };
    let (begin, end) = (read_clock(from)?, read_clock(to)?);
    if begin == (24, 0) {
        return Err(UnitError::new("no day begins at 24:00; write 00:00, and the next day"));
    }
    if begin == end {
        let said = format!(
            "\"{shown}\" ends where it begins; leave the hours out for whole days, or write another end"
        );
        return Err(UnitError::new(said));
    }
    Ok((time(begin), time(end)))
}

/// Reads a time of the day, as in `08:00`; `24:00` is midnight.
pub(crate) fn parse_clock(text: &str) -> Result<Time, UnitError> {
    read_clock(text).map(time)
}

fn read_clock(text: &str) -> Result<(i8, i8), UnitError> {
    let number = |digits: &str| {
        let is_number = matches!(digits.len(), 1..=2) && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| digits.parse::<i8>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':').unwrap_or((text, ""));
    let minute_number = number(minute).filter(|_| minute.len() == 2);
    match (number(hour), minute_number) {
        (Some(hour), Some(minute)) if (hour < 24 && minute < 60) || (hour, minute) == (24, 0) => {
            Ok((hour, minute))
        }
        _ => {
            let shown = shortened(text);
            let said = format!(
                "\"{shown}\" is not a time of the day; write hours and minutes from 00:00 to 24:00"
            );
            Err(UnitError::new(said))
        }
    }
}

fn time((hour, minute): (i8, i8)) -> Time {
    Time::new(hour % 24, minute, 0, 0).unwrap_or_default()
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_days(f, &self.days)?;
        if (self.from, self.to) == (Time::midnight(), Time::midnight()) {
            return Ok(());
        }
        let to = self.to.strftime(if self.to == Time::midnight() { "24:00" } else { "%H:%M" });
        write!(f, " {}-{to}", self.from.strftime("%H:%M"))
    }
}

/// Writes days in short: three or more in a row as `Mon-Wed`, all of them as `daily`.
fn write_days(f: &mut fmt::Formatter<'_>, days: &[Weekday]) -> fmt::Result {
    if DAYS.iter().all(|(_, day)| days.contains(day)) {
        return f.write_str("daily");
    }
    let is_in = DAYS.map(|(_, day)| days.contains(&day));
    let mut at = 0;
    let mut comma = "";
    while at < DAYS.len() {
        let row = is_in[at..].iter().take_while(|is_in| **is_in).count();
        match row {
            0 => at += 1,
            1 | 2 => {
                write!(f, "{comma}{}", short(at))?;
                at += 1;
            }
            _ => {
                write!(f, "{comma}{}-{}", short(at), short(at + row - 1))?;
                at += row;
            }
        }
        comma = if row > 0 { "," } else { comma };
    }
    Ok(())
}

fn short(day: usize) -> &'static str {
    &DAYS[day].0[..3]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<When>().map_or_else(|error| error.to_string(), |when| when.to_string())
    }

    #[test]
    fn days_and_hours_are_read() {
        for (text, canonical) in [
            ("Mon-Fri 08:00-20:00", "Mon-Fri 08:00-20:00"),
            ("monday-FRIDAY 8:00-20:00", "Mon-Fri 08:00-20:00"),
            ("Sat,Sun 00:00-24:00", "Sat,Sun"),
            ("Sat-Sun", "Sat,Sun"),
            ("daily 22:00-06:00", "daily 22:00-06:00"),
            ("Daily", "daily"),
            ("Mon-Thu,Sat 08:00-20:00", "Mon-Thu,Sat 08:00-20:00"),
            ("Fri-Mon", "Mon,Fri-Sun"),
            ("Sun-Sat", "daily"),
            (" Tue - Thu , Sun  09:30 - 24:00 ", "Tue-Thu,Sun 09:30-24:00"),
            ("Wed 23:00-00:00", "Wed 23:00-24:00"),
            ("Wed,Wed", "Wed"),
        ] {
            assert_eq!(shown(text), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused_with_what_to_write() {
        for (text, said) in [
            ("", "is not days and hours"),
            ("Mon Tue", "\"Tue\" has no end"),
            ("Mon 08:00", "\"08:00\" has no end"),
            ("Mon 08:00-20:00 UTC", "is not days and hours"),
            ("08:00-20:00", "write \"daily 08:00-20:00\""),
            ("Mo-Fr 08:00-20:00", "\"Mo\" is not a day; did you mean Mon?"),
            ("Frieday", "did you mean Fri?"),
            ("weekend", "is not a day; write Sat,Sun"),
            ("Weekdays 08:00-20:00", "is not a day; write Mon-Fri"),
            ("Caturday", "is not a day; did you mean Sat?"),
            ("always", "is not a day; write Mon, Tue"),
            ("Mon, 08:00-20:00", "\"08:00\" is not a day"),
            ("Mon 8-20", "\"8\" is not a time of the day"),
            ("Mon 08:00-20:60", "\"20:60\" is not a time of the day"),
            ("Mon 08:00-24:01", "\"24:01\" is not a time of the day"),
            ("Mon 08:0-9:00", "\"08:0\" is not a time of the day"),
            ("Mon 08:00:00-9:00", "is not a time of the day"),
            ("Mon 24:00-06:00", "no day begins at 24:00"),
            ("Mon 08:00-08:00", "ends where it begins"),
            ("Mon 00:00-00:00", "ends where it begins"),
        ] {
            assert!(shown(text).contains(said), "{text}: {}", shown(text));
        }
    }

    pub(in super::super) fn any_when() -> impl Strategy<Value = When> {
        let minutes = (0..24 * 60_i16, 0..24 * 60_i16);
        (1..128_u8, minutes).prop_filter_map("ends where it begins", |(days, (from, to))| {
            let day = |at: &usize| days & (1 << at) != 0;
            let days = (0..7).filter(day).map(|at| DAYS[at].1).collect();
            let clock = |at: i16| Time::midnight() + jiff::SignedDuration::from_mins(at.into());
            (from != to || from == 0).then(|| When { days, from: clock(from), to: clock(to) })
        })
    }

    proptest! {
        #[test]
        fn a_shown_when_reads_back(when in any_when()) {
            prop_assert_eq!(when.to_string().parse::<When>(), Ok(when));
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,30}|(Mon|Tue|daily|[-, :0-9é]){0,9}") {
            let _ = text.parse::<When>();
        }
    }
}
