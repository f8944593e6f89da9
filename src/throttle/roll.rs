//! The roll of standbys: one that was there and is gone is missed, not forgotten. Pure.
//!
//! Standbys are told apart by their `application_name`, and those that share one are counted: a
//! standby that comes back from another address is the same one.

use std::collections::BTreeMap;

/// A standby as a person finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// Its `application_name`.
    pub(super) name: String,
    /// Where it connects from; none through a socket of the same machine.
    pub(super) address: Option<String>,
}

/// The standbys that there were.
#[derive(Debug, Default)]
pub(super) struct Roll {
    /// For each name, the most addresses that were there at once.
    seen: BTreeMap<String, Vec<String>>,
}

impl Roll {
    /// Enters those that are there, and returns who is missed.
    pub(super) fn call(&mut self, present: &[Who]) -> Option<String> {
        let mut here: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for who in present {
            let address = who.address.clone().unwrap_or_else(|| "this machine".to_owned());
            here.entry(who.name.clone()).or_default().push(address);
        }
        let mut missed = Vec::new();
        for (name, before) in &self.seen {
            let now = here.get(name).map_or(&[][..], Vec::as_slice);
            if now.len() < before.len() {
                missed.push(missing(name, before, now));
            }
        }
        for (name, now) in here {
            let before = self.seen.entry(name).or_default();
            if now.len() >= before.len() {
                *before = now;
            }
        }
        (!missed.is_empty()).then(|| missed.join("; "))
    }
}

fn missing(name: &str, before: &[String], now: &[String]) -> String {
    let mut gone = before.to_vec();
    for address in now {
        // One that came from elsewhere stands for any of them.
        let at = gone.iter().position(|one| one == address).unwrap_or(0);
        if !gone.is_empty() {
            gone.remove(at);
        }
    }
    let gone = gone.join(", ");
    match before.len() {
        1 => format!("standby {name:?} at {gone} was there and is gone"),
        all => {
            format!(
                "{} of {all} standbys {name:?} were there and are gone, at {gone}",
                all - now.len()
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str, address: &str) -> Who {
        Who { name: name.into(), address: (!address.is_empty()).then(|| address.to_owned()) }
    }

    #[test]
    fn nobody_is_missed_who_was_never_there() {
        let mut roll = Roll::default();
        assert_eq!(roll.call(&[]), None);
        assert_eq!(roll.call(&[who("a", "10.0.0.1")]), None);
        assert_eq!(roll.call(&[who("a", "10.0.0.1"), who("b", "")]), None);
    }

    #[test]
    fn one_that_is_gone_is_missed_by_name_and_address_until_it_is_back() {
        let mut roll = Roll::default();
        roll.call(&[who("a", "10.0.0.1"), who("b", "")]);
        let missed = Some("standby \"a\" at 10.0.0.1 was there and is gone".to_owned());
        assert_eq!(roll.call(&[who("b", "")]), missed);
        assert_eq!(roll.call(&[who("b", "")]), missed);
        assert_eq!(roll.call(&[who("b", ""), who("a", "10.0.0.9")]), None);
        let missed = roll.call(&[]).unwrap();
        assert!(missed.contains("\"a\" at 10.0.0.9") && missed.contains("\"b\" at this machine"));
    }

    #[test]
    fn those_of_one_name_are_counted() {
        let mut roll = Roll::default();
        let all = [who("walreceiver", "10.0.0.1"), who("walreceiver", "10.0.0.2")];
        assert_eq!(roll.call(&all), None);
        assert_eq!(
            roll.call(&all[..1]).unwrap(),
            "1 of 2 standbys \"walreceiver\" were there and are gone, at 10.0.0.2"
        );
        assert!(roll.call(&[]).unwrap().starts_with("2 of 2 standbys"));
        assert_eq!(roll.call(&all), None);
    }
}
