//! The roll of standbys: one that was there and is gone is missed, not forgotten, also by the process
//! that works on the run next.
//!
//! Standbys are told apart by their `application_name`, and those that share one are counted: a
//! standby that comes back from another address is the same one. After a failover the roll begins anew:
//! the standby that is missed may be the primary by now.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::run::{Seen, Standbys};

/// A standby that nobody has seen for so long, in seconds, was taken away.
const TAKEN_AWAY: f64 = 24.0 * 3600.0;

/// A standby as a person finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    /// Its `application_name`.
    pub(super) name: String,
    /// Where it connects from; none through a socket of the same machine.
    pub(super) address: Option<String>,
}

/// The standbys that there were; its clones are one roll.
#[derive(Debug, Clone, Default)]
pub(crate) struct Roll(Arc<Mutex<Standbys>>);

impl Roll {
    /// Goes on from those that an earlier process has seen.
    pub(crate) fn of(standbys: Standbys) -> Roll {
        Roll(Arc::new(Mutex::new(standbys)))
    }

    /// Returns those that were seen, for the ledger.
    pub(crate) fn seen(&self) -> Standbys {
        self.standbys().clone()
    }

    /// Forgets those that were seen: whoever is gone is not missed.
    pub(super) fn forget(&self) {
        self.standbys().seen.clear();
    }

    fn standbys(&self) -> MutexGuard<'_, Standbys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters those that are there `now`, by the server's clock, and returns who is missed.
    pub(super) fn call(&self, timeline: &str, now: f64, present: &[Who]) -> Option<String> {
        let mut standbys = self.standbys();
        if standbys.timeline != timeline {
            *standbys = Standbys { timeline: timeline.to_owned(), ..Standbys::default() };
        }
        standbys.seen.retain(|_, seen| now - seen.last < TAKEN_AWAY);
        let mut here: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for who in present {
            let address = who.address.clone().unwrap_or_else(|| "this machine".to_owned());
            here.entry(who.name.clone()).or_default().push(address);
        }
        let mut missed = Vec::new();
        for (name, Seen { addresses, .. }) in &standbys.seen {
            let now = here.get(name).map_or(&[][..], Vec::as_slice);
            if now.len() < addresses.len() {
                missed.push(missing(name, addresses, now));
            }
        }
        for (name, addresses) in here {
            let before = standbys.seen.entry(name).or_default();
            if addresses.len() >= before.addresses.len() {
                *before = Seen { addresses, last: now };
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

    const TIMELINE: &str = "00000001";
    const HOUR: f64 = 3600.0;

    fn who(name: &str, address: &str) -> Who {
        Who { name: name.into(), address: (!address.is_empty()).then(|| address.to_owned()) }
    }

    fn call(roll: &Roll, present: &[Who]) -> Option<String> {
        roll.call(TIMELINE, 0.0, present)
    }

    #[test]
    fn who_was_forgotten_is_missed_no_more_and_the_others_are() {
        let roll = Roll::default();
        assert_eq!(call(&roll, &[who("a", "10.0.0.1"), who("b", "10.0.0.2")]), None);
        assert!(call(&roll, &[who("a", "10.0.0.1")]).is_some());
        roll.forget();
        assert!(!roll.seen().is_unknown(), "it is kept that nobody is there");
        assert_eq!(call(&roll, &[who("a", "10.0.0.1")]), None);
        assert!(call(&roll, &[]).is_some());
    }

    #[test]
    fn nobody_is_missed_who_was_never_there() {
        let roll = Roll::default();
        assert_eq!(call(&roll, &[]), None);
        assert_eq!(call(&roll, &[who("a", "10.0.0.1")]), None);
        assert_eq!(call(&roll, &[who("a", "10.0.0.1"), who("b", "")]), None);
    }

    #[test]
    fn one_that_is_gone_is_missed_by_name_and_address_until_it_is_back() {
        let roll = Roll::default();
        call(&roll, &[who("a", "10.0.0.1"), who("b", "")]);
        let missed = Some("standby \"a\" at 10.0.0.1 was there and is gone".to_owned());
        assert_eq!(call(&roll, &[who("b", "")]), missed);
        assert_eq!(call(&roll, &[who("b", "")]), missed);
        assert_eq!(call(&roll, &[who("b", ""), who("a", "10.0.0.9")]), None);
        let missed = call(&roll, &[]).unwrap();
        assert!(missed.contains("\"a\" at 10.0.0.9") && missed.contains("\"b\" at this machine"));
    }

    #[test]
    fn those_of_one_name_are_counted() {
        let roll = Roll::default();
        let all = [who("walreceiver", "10.0.0.1"), who("walreceiver", "10.0.0.2")];
        assert_eq!(call(&roll, &all), None);
        assert_eq!(
            call(&roll, &all[..1]).unwrap(),
            "1 of 2 standbys \"walreceiver\" were there and are gone, at 10.0.0.2"
        );
        assert!(call(&roll, &[]).unwrap().starts_with("2 of 2 standbys"));
        assert_eq!(call(&roll, &all), None);
    }

    #[test]
    fn the_next_process_misses_who_was_there_and_after_a_failover_nobody_does() {
        let first = Roll::default();
        first.call(TIMELINE, 0.0, &[who("a", "10.0.0.1")]);
        let kept = serde_json::to_value(first.seen()).unwrap();
        let next = || Roll::of(serde_json::from_value(kept.clone()).unwrap());
        assert!(next().call(TIMELINE, HOUR, &[]).unwrap().contains("\"a\" at 10.0.0.1"));
        assert_eq!(next().call("00000002", HOUR, &[]), None);
    }

    #[test]
    fn who_was_not_seen_for_a_day_was_taken_away() {
        let roll = Roll::default();
        let both = [who("a", "10.0.0.1"), who("a", "10.0.0.2")];
        roll.call(TIMELINE, 0.0, &both);
        // What there is of them does not stand for all of them.
        assert!(roll.call(TIMELINE, 23.0 * HOUR, &both[..1]).is_some());
        assert_eq!(roll.call(TIMELINE, 24.0 * HOUR, &both[..1]), None);
        assert!(roll.call(TIMELINE, 25.0 * HOUR, &[]).is_some());
        assert_eq!(roll.call(TIMELINE, 48.0 * HOUR, &[]), None);
    }
}
