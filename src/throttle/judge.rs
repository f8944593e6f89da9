//! What all signals together come to. Pure: last readings, their ages, and what people changed.
//!
//! - A signal that could not be read, or was not read for three polls, holds fully, whatever its
//!   floor: never full speed while blind (R16). All are read in turn, so what the others took when
//!   they were read last is no time in which it could have been.
//! - One above its limit holds, and is released at nine tenths of it. So that a steady value between
//!   the two does not hold for ever, it is also released after half a minute at or below the limit.
//! - One with a share for a floor never holds: above its limit that share is left.
//! - One with rows for a floor spares nobody else: what the others slow down by counts beside it.
//! - Otherwise the smallest share rules (`ease`).
//!
//! The worst signal rules and is named: one that holds fully, then one that leaves a trickle, then
//! the smallest share.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::ease;
use super::reading::{Blind, Cause, Reading, Trickle, Unit, Verdict};
use crate::job::show_duration;
use crate::run::HoldChange;

/// A reading older than so many polls is none.
const POLLS: u32 = 3;

/// And is let to be so old, if polls are short: a server under load answers late.
const YOUNG: Duration = Duration::from_secs(3);

/// A hold ends at this part of the limit.
const RELEASE: f64 = 0.9;

/// Or after so long at or below the limit.
const CALM: Duration = Duration::from_secs(30);

/// Shares above this are full speed; who is told of a hundredth?
const ALL: f64 = 0.99;

/// What goes on while a signal is above its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Floor {
    /// So many rows per second.
    Rows(u32),
    /// This share of the speed, and it does not count as a hold.
    Share(f64),
}

/// The changes, by the name of the signal.
pub(crate) type Changes = BTreeMap<String, HoldChange>;

/// A signal, and what was last read of it.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) name: String,
    floor: Option<Floor>,
    every: Duration,
    /// When it was last read; or, if it was not yet, since when it is to be.
    at: Instant,
    seen: Option<Result<Reading, Blind>>,
    /// How long that took.
    took: Duration,
    /// The share of the speed, eased.
    share: f64,
    is_held: bool,
    /// Since when it is at or below its limit.
    calm: Option<Instant>,
    /// The limit for which the three above were found.
    judged: f64,
    /// The limit that people had set by then.
    set: Option<f64>,
    /// Whether they had set one, and it takes none.
    is_in_vain: bool,
}

/// What one signal asks for; the worst is the largest.
#[derive(Debug, Clone, PartialEq)]
enum Says {
    Go(f64, Option<Cause>),
    Trickle(u32, f64, Cause),
    Stop(f64, Cause),
}

impl Watched {
    /// Begins to watch a signal that is to be read from now on.
    pub(super) fn new(
        name: String,
        floor: Option<Floor>,
        every: Duration,
        now: Instant,
    ) -> Watched {
        Watched {
            name,
            floor,
            every,
            at: now,
            seen: None,
            took: Duration::ZERO,
            share: 1.0,
            is_held: false,
            calm: None,
            judged: f64::NAN,
            set: None,
            is_in_vain: false,
        }
    }

    /// Whether it was read since it is to be.
    pub(super) fn is_read(&self) -> bool {
        self.seen.is_some()
    }

    /// Forgets what was read, for a signal that is not read for now.
    pub(super) fn forget(&mut self, now: Instant) {
        (self.at, self.seen, self.is_held, self.calm) = (now, None, false, None);
        self.took = Duration::ZERO;
    }

    /// Takes how long the reading took, of which no more than a reading may count for the others.
    pub(super) fn took(&mut self, took: Duration) {
        self.took = took.min(YOUNG);
    }

    /// Takes a reading that has been the same for long.
    #[cfg(test)]
    pub(super) fn settle(&mut self, reading: Reading) {
        for _ in 0..100 {
            self.note(Ok(reading), None, self.at + self.every);
        }
    }

    /// Takes what was read.
    pub(super) fn note(
        &mut self,
        seen: Result<Reading, Blind>,
        change: Option<HoldChange>,
        now: Instant,
    ) {
        // What was not seen for long is no reason to leap.
        let since = now.saturating_duration_since(self.at).min(self.every * POLLS);
        let seconds = since.as_secs_f64();
        if let Ok(reading) = &seen {
            self.is_in_vain = reading.is_truth() && matches!(change, Some(HoldChange::Above(_)));
            let set = set(*reading, change);
            if self.set != set {
                // A hold of another limit says nothing about this one.
                (self.is_held, self.calm, self.set) = (false, None, set);
            }
            let reading = with(*reading, change);
            self.hold_or_release(&reading, now);
            // A blind time is no reason to begin anew: the share waits where it was.
            self.share = if self.is_held {
                ease::LEAST
            } else {
                ease::step(self.share, reading.utilisation(), seconds).max(self.least_share())
            };
            self.judged = reading.limit;
        }
        (self.at, self.seen) = (now, Some(seen));
    }

    /// The share below which it does not slow a run down.
    fn least_share(&self) -> f64 {
        if let Some(Floor::Share(share)) = self.floor { share } else { ease::LEAST }
    }

    fn may_hold(&self) -> bool {
        !matches!(self.floor, Some(Floor::Share(_)))
    }

    fn hold_or_release(&mut self, reading: &Reading, now: Instant) {
        if !self.may_hold() {
            return;
        }
        if reading.value > reading.limit {
            (self.is_held, self.calm) = (true, None);
            return;
        }
        let calm = *self.calm.get_or_insert(now);
        let is_low = reading.value <= RELEASE * reading.limit;
        if is_low || now.saturating_duration_since(calm) >= CALM {
            self.is_held = false;
        }
    }

    /// `others` is how long the others took when they were read last.
    fn says(&self, change: Option<HoldChange>, others: Duration, now: Instant) -> Says {
        let age = now.saturating_duration_since(self.at);
        // What was never read is due at once, however long its polls are.
        let old = if self.is_read() { (self.every * POLLS).max(YOUNG) } else { YOUNG };
        match &self.seen {
            Some(Err(blind)) => self.blind(blind),
            _ if age > old + others => {
                let age = show_duration(Duration::from_secs(age.as_secs()));
                let what = if self.is_read() { "the last reading is" } else { "no answer for" };
                let old = if self.is_read() { " old" } else { "" };
                self.blind(&Blind::new(format!("{what} {age}{old}")))
            }
            Some(Ok(reading)) => self.judge(with(*reading, change)),
            None => Says::Go(1.0, None),
        }
    }

    fn judge(&self, reading: Reading) -> Says {
        // What was found for another limit says nothing about this one.
        let is_judged = self.judged.total_cmp(&reading.limit) == Ordering::Equal;
        let is_above = reading.value > reading.limit && self.may_hold();
        if is_above || (is_judged && self.is_held) {
            return self.hold(reading);
        }
        let share = if is_judged {
            self.share
        } else {
            ease::aim(reading.utilisation()).max(self.least_share())
        };
        if share >= ALL { Says::Go(1.0, None) } else { Says::Go(share, Some(self.cause(reading))) }
    }

    fn hold(&self, reading: Reading) -> Says {
        let (cause, worst) = (self.cause(reading), reading.utilisation());
        match self.floor {
            Some(Floor::Rows(floor)) => Says::Trickle(floor, worst, cause),
            Some(Floor::Share(_)) | None => Says::Stop(worst, cause),
        }
    }

    fn cause(&self, reading: Reading) -> Cause {
        let low = Reading { limit: RELEASE * reading.limit, ..reading };
        let is_between =
            self.is_held && reading.value <= reading.limit && reading.value > low.limit;
        let text = match (is_between, reading.unit) {
            (_, Unit::Truth(_)) if self.is_in_vain => {
                format!("{} {reading}, and takes no limit", self.name)
            }
            (_, Unit::Truth(_)) | (false, _) => format!("{} {reading}", self.name),
            (true, unit) => format!("{} {low} (90 % of {})", self.name, unit.show(reading.limit)),
        };
        Cause { signal: self.name.clone(), text, reading: Some(reading) }
    }

    fn blind(&self, blind: &Blind) -> Says {
        let text = format!("{} {blind}", self.name);
        Says::Stop(f64::INFINITY, Cause { signal: self.name.clone(), text, reading: None })
    }
}

/// Returns the limit that people set, if it is one for this reading.
fn set(reading: Reading, change: Option<HoldChange>) -> Option<f64> {
    match change {
        Some(HoldChange::Above(limit)) => reading.unit.amount(limit),
        Some(HoldChange::Off) | None => None,
    }
}

/// Returns the reading with that limit.
fn with(reading: Reading, change: Option<HoldChange>) -> Reading {
    Reading { limit: set(reading, change).unwrap_or(reading.limit), ..reading }
}

/// Comes to a verdict about all signals.
pub(super) fn verdict(all: &[Watched], changes: &Changes, now: Instant) -> Verdict {
    let mut share = (1.0, None);
    let mut trickle: Option<(u32, f64, Cause)> = None;
    let mut stop: Option<(f64, Cause)> = None;
    let round: Duration = all.iter().map(|watched| watched.took).sum();
    for watched in all {
        let change = changes.get(&watched.name).copied();
        if change == Some(HoldChange::Off) {
            continue;
        }
        match watched.says(change, round.saturating_sub(watched.took), now) {
            Says::Go(found, cause) if found < share.0 => share = (found, cause),
            Says::Go(..) => {}
            Says::Trickle(floor, worst, cause) => {
                let lowest = trickle.as_ref().map_or(floor, |(lowest, ..)| floor.min(*lowest));
                let before = trickle.take().filter(|(_, before, _)| *before >= worst);
                let (worst, cause) =
                    before.map_or((worst, cause), |(_, worst, cause)| (worst, cause));
                trickle = Some((lowest, worst, cause));
            }
            Says::Stop(worst, cause) => {
                let before = stop.take().filter(|(before, _)| *before >= worst);
                stop = Some(before.unwrap_or((worst, cause)));
            }
        }
    }
    match (stop, trickle) {
        (Some((_, cause)), _) => Verdict::Hold(cause, None),
        (None, Some((floor, _, cause))) => {
            let (share, slowed_by) = share;
            Verdict::Hold(cause, Some(Trickle { floor, share, slowed_by }))
        }
        (None, None) => Verdict::Go(share.0, share.1),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
