//! A stretch of the week in which another pace applies, as a job file has it.
//!
//! A window is also kept in the ledger, as the same texts. The rules of a zone are those of the machine's time zone
//! database, or of ours where the machine has none.
//!
//! Values only; which window contains an instant is `run::Schedule`'s to say.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::{self, TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::keys::shortened;
use super::units::{Rate, UnitError, parse_duration, show_duration};
use super::when::When;

/// How fast a window lets a run be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowRate {
    /// Not at all.
    Pause,
    /// So many rows per second.
    Rate(Rate),
}

impl fmt::Display for WindowRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WindowRate::Pause => f.write_str("pause"),
            WindowRate::Rate(rate) => rate.fmt(f),
        }
    }
}

impl FromStr for WindowRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.trim().eq_ignore_ascii_case("pause") {
            return Ok(WindowRate::Pause);
        }
        let or_pause =
            |error: UnitError| UnitError::new(format!("{error}; to stand still write \"pause\""));
        text.parse().map(WindowRate::Rate).map_err(or_pause)
    }
}

/// One `[[pace.window]]` of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// When it applies.
    pub when: When,
    /// The text of `when`, as the job has it.
    pub text: String,
    /// In which zone, one that has a name.
    pub zone: TimeZone,
    /// Instead of the job's rate.
    pub rate: Option<WindowRate>,
    /// Instead of the job's target.
    pub target: Option<Duration>,
    /// Instead of the job's workers.
    pub workers: Option<u32>,
    /// Where it is in the source.
    pub span: Range<usize>,
}

/// The shortest and the longest target, as for `batch.target`.
pub(super) const TARGETS: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_secs(10));

/// The fewest and the most workers of a process; a run has no more ranges than that.
pub(super) const WORKERS: (u32, u32) = (1, 64);

/// Shows what it does and when, as in `window Mon-Fri 08:00-20:00: 500 rows/s`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "window {}:", self.when)?;
        let rate = self.rate.map(|rate| format!(" {rate}"));
        let target = self.target.map(|target| format!(" target {}", show_duration(target)));
        let workers = self.workers.map(|workers| match workers {
            1 => " 1 worker".to_owned(),
            workers => format!(" {workers} workers"),
        });
        let says: Vec<String> = rate.into_iter().chain(target).chain(workers).collect();
        f.write_str(&says.join(","))
    }
}

/// Reads the name of a time zone, such as `Europe/Berlin`; a slip is answered with what was meant.
pub fn parse_zone(text: &str) -> Result<TimeZone, UnitError> {
    let name = text.trim();
    match TimeZone::get(name) {
        Ok(zone) if zone.iana_name().is_some_and(is_same_everywhere) => Ok(zone),
        Ok(_) | Err(_) => {
            let shown = shortened(name);
            let meant = near_zone(name).map_or_else(
                || "write a name such as \"Europe/Berlin\" or \"UTC\"".to_owned(),
                |near| format!("did you mean \"{near}\"?"),
            );
            Err(UnitError::new(format!("\"{shown}\" is not a time zone; {meant}")))
        }
    }
}

/// Whether a name means the same on every machine: some directories also hold the machine's own zone, and copies.
fn is_same_everywhere(name: &str) -> bool {
    let own = ["localtime", "posixrules", "Factory", "Etc/Unknown"];
    !own.contains(&name) && !name.starts_with("posix/") && !name.starts_with("right/")
}

/// Finds the zone that was probably meant: a city's own, or the one whose name is most like it.
fn near_zone(written: &str) -> Option<String> {
    if written.len() > 40 {
        return None;
    }
    let written = written.to_lowercase().replace(' ', "_");
    let names = tz::db().available().map(|name| name.to_string());
    let names: Vec<String> = names.filter(|name| is_same_everywhere(name)).collect();
    let city = |name: &&String| {
        name.rsplit_once('/').is_some_and(|(_, city)| city.eq_ignore_ascii_case(&written))
    };
    let nearest = || {
        names
            .iter()
            .map(|name| (strsim::jaro_winkler(&written, &name.to_lowercase()), name))
            .filter(|(likeness, _)| *likeness >= 0.85)
            .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(a.1)))
            .map(|(_, name)| name)
    };
    names.iter().filter(city).min().or_else(nearest).cloned()
}

/// Returns the name by which a zone is read back.
pub(crate) fn zone_name(zone: &TimeZone) -> &str {
    zone.iana_name().unwrap_or("UTC")
}

/// A window as the ledger keeps it: the texts of the job file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    when: String,
    zone: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    workers: Option<u32>,
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = Texts {
            when: self.when.to_string(),
            zone: zone_name(&self.zone).to_owned(),
            rate: self.rate.map(|rate| rate.to_string()),
            target: self.target.map(show_duration),
            workers: self.workers,
        };
        texts.serialize(serializer)
    }
}

impl TryFrom<Texts> for Window {
    type Error = UnitError;

    fn try_from(texts: Texts) -> Result<Self, UnitError> {
        let target = texts.target.as_deref().map(parse_duration).transpose()?;
        let (low, high) = TARGETS;
        if let Some(target) = target.filter(|target| !(low..=high).contains(target)) {
            let said = format!("a target is from 1ms to 10s, found {}", show_duration(target));
            return Err(UnitError::new(said));
        }
        let rate = texts.rate.as_deref().map(str::parse).transpose()?;
        let workers = texts.workers;
        if let Some(workers) = workers.filter(|it| !(WORKERS.0..=WORKERS.1).contains(it)) {
            return Err(UnitError::new(format!("workers are from 1 to 64, found {workers}")));
        }
        if (rate, target, workers) == (None, None, None) {
            return Err(UnitError::new("a window needs a `rate`, a `target` or `workers`"));
        }
        Ok(Window {
            when: texts.when.parse()?,
            text: texts.when,
            zone: parse_zone(&texts.zone)?,
            rate,
            target,
            workers,
            span: 0..0,
        })
    }
}

impl<'de> Deserialize<'de> for Window {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Texts::deserialize(deserializer)?;
        Window::try_from(texts).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn window(value: serde_json::Value) -> Result<Window, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn it_survives_the_ledger() {
        for value in [
            json!({"when": "Mon-Fri 08:00-20:00", "zone": "Europe/Berlin", "rate": "500 rows/s"}),
            json!({"when": "daily", "zone": "UTC", "rate": "pause", "target": "5ms"}),
            json!({"when": "Sat,Sun", "zone": "America/New_York", "target": "1s", "workers": 4}),
        ] {
            let read = window(value.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), value);
            assert_eq!(read.text, value["when"]);
        }
        let read = window(json!({"when": "monday", "zone": "europe/berlin", "rate": "500/s"}));
        let written = json!({"when": "Mon", "zone": "Europe/Berlin", "rate": "500 rows/s"});
        assert_eq!(serde_json::to_value(read.unwrap()).unwrap(), written);
    }

    #[test]
    fn what_no_job_file_could_say_is_refused() {
        for (value, said) in [
            (json!({"when": "daily", "zone": "UTC"}), "needs a `rate`, a `target` or `workers`"),
            (json!({"when": "Mo", "zone": "UTC", "rate": "pause"}), "did you mean Mon?"),
            (json!({"when": "daily", "zone": "Berlin", "rate": "pause"}), "Europe/Berlin"),
            (
                json!({"when": "daily", "zone": "UTC", "rate": "0/s"}),
                "to stand still write \"pause\"",
            ),
            (json!({"when": "daily", "zone": "UTC", "target": "11s"}), "from 1ms to 10s"),
            (json!({"when": "daily", "zone": "UTC", "workers": 65}), "from 1 to 64"),
            (json!({"when": "daily", "zone": "UTC", "rates": "pause"}), "unknown field"),
        ] {
            let error = window(value.clone()).unwrap_err();
            assert!(error.contains(said), "{value}: {error}");
        }
    }

    #[test]
    fn a_slip_in_a_zone_is_answered_with_what_was_meant() {
        for (text, said) in [
            ("Berlin", "did you mean \"Europe/Berlin\"?"),
            ("new york", "did you mean \"America/New_York\"?"),
            ("Europe/Belrin", "did you mean \"Europe/Berlin\"?"),
            ("+02:00", "write a name such as"),
            ("local", "write a name such as"),
            ("localtime", "is not a time zone"),
            ("Etc/Unknown", "is not a time zone"),
            ("", "write a name such as"),
            ("../../etc/passwd", "write a name such as"),
        ] {
            let said_of =
                parse_zone(text).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(said_of.contains(said), "{text}: {said_of}");
        }
        assert_eq!(zone_name(&parse_zone("utc").unwrap()), "UTC");
    }

    #[test]
    fn it_is_shown_with_what_it_sets() {
        let shown = |value| window(value).unwrap().to_string();
        let both = json!({"when": "sun", "zone": "UTC", "rate": "20000/s", "target": "5ms"});
        assert_eq!(shown(both), "window Sun: 20k rows/s, target 5ms");
        let pause = json!({"when": "daily 22:00-6:00", "zone": "UTC", "rate": "Pause"});
        assert_eq!(shown(pause), "window daily 22:00-06:00: pause");
    }
}
