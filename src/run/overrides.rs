//! What people changed with `throttle` while a run goes on, as the ledger keeps it.
//!
//! Each change has a key of its own, so that each can expire by itself. Which of them apply is for the
//! server's clock to say; here they are read and put into words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::figures::count;
use super::pace::Said;
use super::schedule::Schedule;
use crate::job::{Limit, Signal, Window};

/// What a key begins with that changes a hold.
const HOLD: &str = "hold ";

/// The changes that apply.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides {
    /// Rate, target and workers.
    pub said: Said,
    /// Windows instead of the job's; none at all turns them off.
    pub schedule: Option<Schedule>,
    /// Limits of holds, by their names.
    pub holds: BTreeMap<String, HoldChange>,
}

/// What becomes of a hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HoldChange {
    /// It holds nothing any more.
    Off,
    /// It holds above another limit.
    Above(Limit),
}

impl fmt::Display for HoldChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HoldChange::Off => f.write_str("off"),
            HoldChange::Above(limit) => limit.fmt(f),
        }
    }
}

impl HoldChange {
    /// Reads a change of the hold `name`: a limit, or `off`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(name: &str, text: &str) -> Result<HoldChange, String> {
        if text.trim() == "off" {
            return Ok(HoldChange::Off);
        }
        // A name that is no signal's own was given to a query by the job.
        let signal = Signal::from_word(name).unwrap_or(Signal::Query);
        signal.parse_limit(text).map(HoldChange::Above).map_err(|error| error.to_string())
    }
}

/// What applies from an instant on, at which some of what people changed is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Expiry {
    /// The instant, by the server's clock.
    pub at: Timestamp,
    /// What is left of the changes then.
    pub then: Overrides,
}

impl Overrides {
    /// Reads entries as the ledger keeps them, each with its value, until when, and the entry that holds again then;
    /// returns what applies before the first of them is over, and what then, one after the other.
    pub fn in_force(entries: &Map<String, Value>) -> (Overrides, Vec<Expiry>) {
        let until = |entry: &Value| entry["until"].as_str()?.parse::<Timestamp>().ok();
        let at = |now: Timestamp| {
            let is_over = |entry: &Value| until(entry).is_some_and(|until| until <= now);
            let applies =
                |entry| links(entry).find(|it| !is_over(it)).map(|it| it["value"].clone());
            let values = entries.iter().filter_map(|(key, it)| Some((key.clone(), applies(it)?)));
            Overrides::read(&values.collect())
        };
        let ends: BTreeSet<_> = entries.values().flat_map(links).filter_map(until).collect();
        let expiries = ends.into_iter().map(|end| Expiry { at: end, then: at(end) }).collect();
        (at(Timestamp::MIN), expiries)
    }

    /// Reads them from the values that the ledger keeps under their keys; what another release wrote
    /// and this one cannot read is left out.
    pub fn read(values: &Map<String, Value>) -> Overrides {
        let number = |key: &str| values.get(key).and_then(Value::as_u64);
        let windows = values.get("schedule").cloned();
        let windows = windows.and_then(|it| serde_json::from_value::<Vec<Window>>(it).ok());
        let hold = |(key, value): (&String, &Value)| {
            let name = key.strip_prefix(HOLD)?;
            Some((name.to_owned(), HoldChange::parse(name, value.as_str()?).ok()?))
        };
        Overrides {
            said: Said {
                rate: number("rate").and_then(|rate| u32::try_from(rate).ok()),
                target: number("target_ms").map(Duration::from_millis),
                workers: number("workers").and_then(|workers| u32::try_from(workers).ok()),
            },
            schedule: windows.map(Schedule::new),
            holds: values.iter().filter_map(hold).collect(),
        }
    }

    /// Returns the values under the keys that the ledger keeps.
    pub fn write(&self) -> Map<String, Value> {
        let mut values = Map::new();
        let mut put = |key: String, value: Value| drop(values.insert(key, value));
        if let Some(rate) = self.said.rate {
            put("rate".into(), json!(rate));
        }
        if let Some(target) = self.said.target {
            put("target_ms".into(), json!(u64::try_from(target.as_millis()).unwrap_or(u64::MAX)));
        }
        if let Some(workers) = self.said.workers {
            put("workers".into(), json!(workers));
        }
        if let Some(schedule) = &self.schedule {
            put("schedule".into(), json!(schedule.windows()));
        }
        for (name, change) in &self.holds {
            put(format!("{HOLD}{name}"), json!(change.to_string()));
        }
        values
    }

    /// Puts the change under one of the ledger's keys into words, as in `rate 500 rows/s`.
    pub fn in_words(key: &str, value: &Value) -> String {
        let one = Map::from_iter([(key.to_owned(), value.clone())]);
        let read = Overrides::read(&one);
        if read == Overrides::default() { format!("{key} {value}") } else { read.to_string() }
    }
}

/// An entry, the one that holds again after it, and so on.
fn links(entry: &Value) -> impl Iterator<Item = &Value> {
    std::iter::successors(Some(entry), |entry| entry.get("then"))
}

impl fmt::Display for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(self.said.rate.map(|rate| format!("rate {} rows/s", count(rate.into()))));
        words.extend(self.said.target.map(|target| format!("target {} ms", target.as_millis())));
        words.extend(self.said.workers.map(|workers| format!("workers {workers}")));
        words.extend(self.schedule.as_ref().map(|schedule| match schedule.windows() {
            [] => "windows off".to_owned(),
            [one] => format!("window {}", one.text),
            many => format!("{} windows", many.len()),
        }));
        words.extend(self.holds.iter().map(|(name, change)| format!("{name} {change}")));
        if words.is_empty() {
            return f.write_str("as it was started");
        }
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed() -> Overrides {
        let said =
            Said { rate: Some(500), target: Some(Duration::from_millis(5)), workers: Some(3) };
        let lag = HoldChange::parse("replica-lag", "20s").unwrap();
        let holds = [("replica-lag".to_owned(), lag), ("busy".to_owned(), HoldChange::Off)];
        Overrides { said, schedule: Some(Schedule::new(Vec::new())), holds: holds.into() }
    }

    #[test]
    fn they_are_put_into_words() {
        let words =
            "rate 500 rows/s, target 5 ms, workers 3, windows off, busy off, replica-lag 20s";
        assert_eq!(changed().to_string(), words);
        assert_eq!(Overrides::default().to_string(), "as it was started");
        assert_eq!(Overrides::in_words("rate", &json!(2_000)), "rate 2,000 rows/s");
        assert_eq!(Overrides::in_words("colour", &json!("red")), "colour \"red\"");
    }

    #[test]
    fn the_ledger_gives_back_what_it_was_given() {
        assert_eq!(Overrides::read(&changed().write()), changed());
    }

    #[test]
    fn what_ends_by_itself_gives_way_to_what_lasts() {
        let end = |hour: u32| format!("2026-07-01T{hour}:00:00.734+02:00");
        let entries = json!({
            "rate": { "value": 20, "until": end(14), "then": { "value": 500, "until": null } },
            "workers": { "value": 3, "until": null },
            "hold busy": { "value": "off", "until": end(16) },
        });
        let (now, later) = Overrides::in_force(entries.as_object().unwrap());
        let rates: Vec<_> =
            later.iter().map(|it| (it.then.said.rate, it.then.holds.len())).collect();
        assert_eq!((now.said.rate, now.said.workers, now.holds.len()), (Some(20), Some(3), 1));
        assert_eq!(rates, [(Some(500), 1), (Some(500), 0)]);
        assert_eq!(later[0].at, "2026-07-01T12:00:00.734Z".parse().unwrap());
        assert_eq!(Overrides::in_force(&Map::new()), (Overrides::default(), Vec::new()));
    }

    #[test]
    fn what_ends_by_itself_gives_way_to_what_ends_later() {
        let end = |hour: u32| format!("2026-07-01T{hour}:00:00Z");
        let last = json!({ "value": 7, "until": null });
        let day = json!({ "value": 500, "until": end(20), "then": last });
        let entries = json!({
            "rate": { "value": 2_000, "until": end(12), "then": day },
            "workers": { "value": 3, "until": end(14) },
        });
        let (now, later) = Overrides::in_force(entries.as_object().unwrap());
        let of = |said: Said| (said.rate, said.workers);
        assert_eq!(of(now.said), (Some(2_000), Some(3)));
        let later: Vec<_> = later.iter().map(|it| (it.at.to_string(), of(it.then.said))).collect();
        let expected = [(12, (Some(500), Some(3))), (14, (Some(500), None)), (20, (Some(7), None))];
        assert_eq!(later, expected.map(|(hour, said)| (end(hour), said)));
    }

    #[test]
    fn what_a_newer_release_wrote_is_left_out_and_nothing_else() {
        let mut values = changed().write();
        values.insert("colour".into(), json!("red"));
        values.insert("hold replica-lag".into(), json!("three fathoms"));
        let read = Overrides::read(&values);
        assert_eq!((read.said, read.holds.len()), (changed().said, 1));
    }
}
