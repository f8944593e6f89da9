//! What pace applies at an instant, when the time is up, and when it will all be over.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::handle::{Options, Term};
use crate::job::{Rate, Size, Window};
use crate::ledger::control::Orders;
use crate::plan::{Plan, READS_PER_WRITE};
use crate::run::{
    Course, Eta, HoldChange, Meter, Overrides, Pace, Phase, Pulse, Said, Schedule, Snapshot, Speed,
    as_timestamp,
};

/// A limit of which this share is done is reached.
const REACHED: f64 = 0.9;

/// Measures what is done since the limit is what it is: what was done under another one says nothing of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Paced {
    meter: Meter,
    limit: Option<u32>,
}

impl Paced {
    /// Forgets everything.
    pub(super) fn restart(&mut self) {
        self.meter.restart();
    }

    /// Learns that `rows` had been done at `at`, in seconds of the server's clock; returns `pulse` with the rates
    /// under this limit.
    pub(super) fn measure(
        &mut self,
        limit: Option<u32>,
        (at, rows): (f64, u64),
        pulse: &Pulse,
    ) -> Pulse {
        if self.limit != limit {
            self.meter.restart();
            self.limit = limit;
        }
        self.meter.observe(at, rows);
        let mut pulse = pulse.clone();
        self.meter.rate(&mut pulse);
        pulse
    }
}

/// What decides the pace of one process's work on a run.
#[derive(Debug, Clone)]
pub(super) struct Pacing {
    base: Said,
    schedule: Schedule,
    /// The time that this process was given.
    term: Term,
}

impl Pacing {
    /// Takes from plan and options what decides the pace.
    pub(super) fn new(plan: &Plan, options: &Options) -> Pacing {
        let pace = &plan.job.pace;
        let rate = options.rate.or_else(|| pace.rate.map(Rate::rows_per_second));
        Pacing {
            base: Said { rate, target: options.target, workers: options.workers.or(pace.workers) },
            schedule: Schedule::new(pace.windows.clone()),
            term: options.term,
        }
    }

    /// Returns what applies where nobody has changed anything, as the ledger keeps changes; `holds` has the limits of
    /// the signals.
    pub(super) fn in_full(
        &self,
        batch: &Size,
        holds: BTreeMap<String, HoldChange>,
    ) -> Map<String, Value> {
        let of_job = match batch {
            Size::Target { target, .. } => Some(*target),
            Size::Fixed(_) => None,
        };
        let workers = Some(Pace::of(self.base, Said::default(), None).workers);
        let said = Said { target: self.base.target.or(of_job), workers, ..self.base };
        let all = Overrides { said, schedule: Some(self.schedule.clone()), holds };
        let mut values = all.write();
        values.entry("rate").or_insert(Value::Null);
        values
    }

    fn schedule<'a>(&'a self, overrides: &'a Overrides) -> &'a Schedule {
        overrides.schedule.as_ref().unwrap_or(&self.schedule)
    }

    /// Returns the pace that applies at `now`.
    pub(super) fn at(&self, now: Timestamp, orders: &Orders) -> Pace {
        let schedule = self.schedule(&orders.overrides);
        let current = schedule.at(now);
        let pace = Pace::of(self.base, orders.overrides.said, current.window);
        if schedule.is_empty() {
            return pace;
        }
        let applies = current.window.map_or_else(|| "no window".to_owned(), Window::to_string);
        Pace { applies: Some(applies), window: Some(current.to_string()), ..pace }
    }

    /// Whether this process has worked for as long as it may.
    pub(super) fn is_time_up(&self, now: Timestamp) -> bool {
        self.term.is_up(now)
    }

    /// Returns when the phase will be over, with all counted that changes by itself until then: closed
    /// hours, windows, and what people have said for a while. `None` where nothing does. The rates of `pulse` are
    /// those under its limit; `speed` is what a worker does while its batches are under way, in rows per second.
    pub(super) fn outlook(
        &self,
        orders: &Orders,
        snapshot: &Snapshot,
        pulse: &Pulse,
        speed: Option<f64>,
    ) -> Option<Eta> {
        let course = Course::new(self.base, &self.schedule, (&orders.overrides, &orders.expiries));
        let has_rows = matches!(snapshot.phase, Phase::Backfill | Phase::Verify);
        if course.is_even() || !has_rows {
            return None;
        }
        let Some(left) = snapshot.left() else { return Some(Eta::Unknown) };
        let all = f64::from(snapshot.workers().max(1));
        // Under a limit the rate that was measured is the limit's, and says nothing of other hours, but for the
        // share of what is allowed that is done.
        let is_limited = pulse.limit.is_some() || pulse.holding.is_some();
        let speeds = match (is_limited, pulse.rate_low, pulse.rate_high) {
            (false, Some(low), Some(high)) if low > 0.0 => Some((low, high)),
            _ => speed.map(|speed| speed * all).or(pulse.rate).map(|speed| (speed * 0.7, speed)),
        };
        let Some((low, high)) = speeds.filter(|(low, _)| *low > 0.0) else {
            return Some(Eta::Measuring);
        };
        let price = price(snapshot);
        let now = as_timestamp(snapshot.now);
        let by = self.at(now, orders).workers;
        let most = u32::try_from(snapshot.ranges.0).unwrap_or(u32::MAX);
        let shares = if is_limited { shares(pulse, high, price) } else { (1.0, 1.0) };
        #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
        let lasts = |rows: f64, share: f64| {
            let (left, rows) = (left as f64 * price / share, rows * price);
            let over = course.finish(now, left, Speed { rows, by, most })?;
            Duration::try_from(over.duration_since(now)).ok()
        };
        let ends = lasts(high, shares.1).zip(lasts(low, shares.0));
        Some(ends.map_or(Eta::Never, |(soonest, latest)| Eta::Between(soonest, latest)))
    }
}

/// Returns which share of what it may and can a run does under a limit, at least and at most: all of it where that is
/// not known. `speed` is what its batches can, in rows per second.
fn shares(pulse: &Pulse, speed: f64, price: f64) -> (f64, f64) {
    let (Some(limit), Some(low), Some(high)) = (pulse.limit, pulse.rate_low, pulse.rate_high)
    else {
        return (1.0, 1.0);
    };
    let allowed = f64::from(limit).min(speed * price);
    if pulse.holding.is_some() || low <= 0.0 || allowed <= 0.0 {
        return (1.0, 1.0);
    }
    let share = |rate: f64| Some(rate * price / allowed).filter(|share| *share < REACHED);
    (share(low).unwrap_or(1.0), share(high).unwrap_or(1.0))
}

/// What is paid under a rate for a row that is passed: one that is walked is paid for if it matches, as all are taken to
/// do while none has; one that is looked at costs a part of that.
fn price(snapshot: &Snapshot) -> f64 {
    if snapshot.phase == Phase::Verify {
        return 1.0 / f64::from(READS_PER_WRITE);
    }
    #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
    let (matched, seen) = (snapshot.rows.matched as f64, snapshot.rows.seen as f64);
    if matched > 0.0 && seen > 0.0 { (matched / seen).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::parse_zone;
    use crate::run::{Expiry, Held, Intent, Rows, Status};

    fn window(when: &str, rate: &str) -> Window {
        Window {
            when: when.parse().unwrap(),
            text: when.to_owned(),
            zone: parse_zone("Europe/Berlin").unwrap(),
            rate: Some(rate.parse().unwrap()),
            target: None,
            workers: None,
            span: 0..0,
        }
    }

    /// Closed at night, and slow by day.
    fn pacing() -> Pacing {
        let windows =
            vec![window("daily 02:30-05:00", "pause"), window("daily 05:00-20:00", "500/s")];
        let base = Said { rate: Some(2_000), ..Said::default() };
        Pacing { base, schedule: Schedule::new(windows), term: Term::default() }
    }

    fn orders(overrides: Overrides) -> Orders {
        Orders { overrides, ..Orders::at_will() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Whether it is closed at an instant, what limits it, and until when.
    fn applies(pacing: &Pacing, now: &str) -> (bool, Option<u32>, String) {
        let pace = pacing.at(at(now), &orders(Overrides::default()));
        let until = pace.window.unwrap().split(" until ").nth(1).unwrap_or("").to_owned();
        (pace.is_closed, pace.rate, until)
    }

    #[test]
    fn on_the_day_that_lacks_an_hour_it_closes_at_the_jump() {
        // 29 March 2026: 01:59:59 is followed by 03:00.
        for (now, is_closed, rate, until) in [
            ("2026-03-29T00:59:59.9Z", false, 2_000, "03:00 Europe/Berlin"),
            ("2026-03-29T01:00:00Z", true, 2_000, "05:00 Europe/Berlin"),
            ("2026-03-29T02:59:59Z", true, 2_000, "05:00 Europe/Berlin"),
            ("2026-03-29T03:00:00Z", false, 500, "20:00 Europe/Berlin"),
        ] {
            let expected = (is_closed, Some(rate), until.to_owned());
            assert_eq!(applies(&pacing(), now), expected, "{now}");
        }
    }

    #[test]
    fn on_the_day_that_has_an_hour_twice_it_opens_again_in_between() {
        // 25 October 2026: at 03:00 the clock is put back to 02:00, which comes before 02:30.
        for (now, is_closed, rate, until) in [
            ("2026-10-25T00:29:59Z", false, 2_000, "02:30 Europe/Berlin"),
            ("2026-10-25T00:30:00Z", true, 2_000, "02:00 Europe/Berlin"),
            ("2026-10-25T01:00:00Z", false, 2_000, "02:30 Europe/Berlin"),
            ("2026-10-25T01:30:00Z", true, 2_000, "05:00 Europe/Berlin"),
            ("2026-10-25T04:00:00Z", false, 500, "20:00 Europe/Berlin"),
        ] {
            let expected = (is_closed, Some(rate), until.to_owned());
            assert_eq!(applies(&pacing(), now), expected, "{now}");
        }
    }

    #[test]
    fn what_people_say_turns_windows_off_or_slows_them_down() {
        let night = at("2026-03-29T01:30:00Z");
        let off = Overrides { schedule: Some(Schedule::default()), ..Overrides::default() };
        let pace = pacing().at(night, &orders(off));
        assert_eq!((pace.is_closed, pace.rate, pace.window), (false, Some(2_000), None));
        let said =
            Said { rate: Some(9), target: Some(Duration::from_millis(7)), ..Said::default() };
        let slow = orders(Overrides { said, ..Overrides::default() });
        let (night, day) =
            (pacing().at(night, &slow), pacing().at(at("2026-03-29T10:00:00Z"), &slow));
        assert!(night.is_closed);
        assert_eq!((day.rate, day.target), (Some(9), Some(Duration::from_millis(7))));
    }

    #[test]
    fn the_time_is_up_at_an_hour_of_either_clock() {
        let zone = parse_zone("Europe/Berlin").unwrap();
        // Six hours after midnight, as people read it, are five and seven on these days.
        for (midnight, hours) in [("2026-03-28T23:00:00Z", 5), ("2026-10-24T22:00:00Z", 7)] {
            let until = crate::run::until("06:00", at(midnight), &zone).ok();
            let pacing = Pacing { term: Term { until, ..Term::default() }, ..pacing() };
            let after = |seconds: i64| at(midnight) + jiff::SignedDuration::from_secs(seconds);
            assert!(!pacing.is_time_up(after(hours * 3_600 - 1)), "{midnight}");
            assert!(pacing.is_time_up(after(hours * 3_600)), "{midnight}");
        }
        assert!(!pacing().is_time_up(at("2026-03-29T00:00:00Z")));
    }

    fn snapshot(now: f64, rows: u64) -> Snapshot {
        Snapshot {
            job: "j".into(),
            run: 1,
            phase: Phase::Backfill,
            status: Status::Running,
            intent: Intent::Run,
            reason: None,
            failure: None,
            since: String::new(),
            rows: Rows::default(),
            total: Some(rows),
            batches: 1,
            retries: 0,
            pass: 0,
            ranges: (1, 0),
            sweeps: 0,
            pulse: Pulse::default(),
            owner: None,
            members: Vec::new(),
            verified: None,
            looked: None,
            held: Held::default(),
            elapsed: 1.0,
            started_at: None,
            updated_at: String::new(),
            now,
            has_where: false,
            has_expect: false,
            contracts: false,
            steps: 0,
            fingerprint: String::new(),
        }
    }

    /// When so many rows are done by one that can do 4,000 a second.
    fn outlook(pacing: &Pacing, orders: &Orders, now: &str, rows: u64) -> Option<Eta> {
        let now = at(now).duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
        let pulse = Pulse { limit: Some(2_000), ..Pulse::default() };
        pacing.outlook(orders, &snapshot(now, rows), &pulse, Some(4_000.0))
    }

    /// The same in minutes, at least and at most.
    fn minutes(pacing: &Pacing, orders: &Orders, now: &str, rows: u64) -> Option<(u64, u64)> {
        let round = |time: Duration| (time.as_secs() + 30) / 60;
        match outlook(pacing, orders, now, rows) {
            Some(Eta::Between(low, high)) => Some((round(low), round(high))),
            Some(Eta::Unknown | Eta::Measuring | Eta::Never) | None => None,
        }
    }

    fn at_rate(rate: u32) -> Overrides {
        let said = Said { rate: Some(rate), ..Said::default() };
        Overrides { said, ..Overrides::default() }
    }

    #[test]
    fn closed_hours_of_both_days_are_in_the_eta() {
        let hour = 3_600 * 2_000;
        for (now, rows, expected) in [
            // An hour, two that are closed, and one at 500 rows/s.
            ("2026-03-29T00:00:00Z", hour / 2, 30),
            ("2026-03-29T00:00:00Z", hour + hour / 4, 240),
            // Half an hour, closed, half an hour, closed until five, and one at 500 rows/s.
            ("2026-10-25T00:00:00Z", hour / 2 + hour / 4, 75),
            ("2026-10-25T00:00:00Z", hour + hour / 4, 300),
        ] {
            let found = minutes(&pacing(), &orders(Overrides::default()), now, rows);
            assert_eq!(found, Some((expected, expected)), "{now}, {rows} rows");
        }
        let (pulse, orders) = (Pulse::default(), orders(Overrides::default()));
        let unknown = Snapshot { total: None, ..snapshot(0.0, 1) };
        let found = pacing().outlook(&orders, &unknown, &pulse, Some(1.0));
        assert_eq!(found, Some(Eta::Unknown));
        let known = snapshot(0.0, 1);
        assert_eq!(pacing().outlook(&orders, &known, &pulse, None), Some(Eta::Measuring));
        let still = Pulse { rate: Some(0.0), ..Pulse::default() };
        let found = pacing().outlook(&orders, &known, &still, None);
        assert_eq!(found, Some(Eta::Measuring), "what has not begun may end");
        let without = Pacing { schedule: Schedule::default(), ..pacing() };
        assert_eq!(without.outlook(&orders, &known, &pulse, Some(1.0)), None);
    }

    #[test]
    fn what_people_say_is_in_the_eta_for_as_long_as_it_lasts() {
        // By day, at 500 rows/s; an hour of that is 1,800,000 rows.
        let (day, rows) = ("2026-03-29T10:00:00Z", 1_800_000);
        assert_eq!(minutes(&pacing(), &orders(at_rate(9_000)), day, rows), Some((60, 60)));
        assert_eq!(minutes(&pacing(), &orders(at_rate(250)), day, rows), Some((120, 120)));
        let over = Expiry { at: at("2026-03-29T10:30:00Z"), then: Overrides::default() };
        let a_while = Orders { expiries: vec![over.clone()], ..orders(at_rate(250)) };
        assert_eq!(minutes(&pacing(), &a_while, day, rows), Some((75, 75)));
        // Also where there are no windows: half an hour of nearly nothing, and the rest at 2,000.
        let without = Pacing { schedule: Schedule::default(), ..pacing() };
        let a_while = Orders { expiries: vec![over], ..orders(at_rate(1)) };
        assert_eq!(minutes(&without, &a_while, day, rows), Some((45, 45)));
    }

    #[test]
    fn a_rate_is_for_rows_that_match_and_the_others_are_passed_at_full_speed() {
        let day = at("2026-03-29T10:00:00Z").duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
        let rows = Rows { seen: 1_000_000, matched: 1_000, ..Rows::default() };
        let sparse = Snapshot { rows, total: Some(19_000_000), ..snapshot(day, 0) };
        let pulse = Pulse { limit: Some(500), ..Pulse::default() };
        // 18,000 rows at 500 rows/s take 36 seconds, and the rows between them 30 to 43.
        let found =
            pacing().outlook(&orders(Overrides::default()), &sparse, &pulse, Some(600_000.0));
        let seconds = |low, high| Eta::Between(Duration::from_secs(low), Duration::from_secs(high));
        let Some(Eta::Between(low, high)) = found else { panic!("{found:?}") };
        assert_eq!(seconds(low.as_secs(), high.as_secs()), seconds(36, 42));
    }

    #[test]
    fn a_verification_has_closed_hours_in_its_eta_too_and_reads_twenty_rows_for_the_price_of_one() {
        let now = at("2026-03-29T00:00:00Z").duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
        // An hour at 2,000, two that are closed, and one at 500.
        let seen = 20 * 3_600 * (2_000 + 500);
        let rows = Rows { seen, ..Rows::default() };
        let looks = Snapshot { phase: Phase::Verify, ranges: (1, 1), rows, ..snapshot(now, seen) };
        let pulse = Pulse { limit: Some(2_000), ..Pulse::default() };
        let eta =
            pacing().outlook(&orders(Overrides::default()), &looks, &pulse, Some(20.0 * 4_000.0));
        let Some(Eta::Between(low, high)) = eta else { panic!("{eta:?}") };
        assert_eq!((low.as_secs().div_ceil(60), high.as_secs().div_ceil(60)), (240, 240));
        let down = Snapshot { phase: Phase::Down, ..looks };
        let orders = orders(Overrides::default());
        assert_eq!(pacing().outlook(&orders, &down, &pulse, Some(1.0)), None, "it has no rows");
    }

    #[test]
    fn what_was_done_under_another_limit_is_no_measure_of_this_one() {
        let mut paced = Paced::default();
        let mut rate = |limit, at, rows| paced.measure(limit, (at, rows), &Pulse::default()).rate;
        assert_eq!((rate(None, 0.0, 0), rate(None, 4.0, 4_000)), (None, Some(1_000.0)));
        assert_eq!((rate(Some(50), 5.0, 5_000), rate(Some(50), 9.0, 5_200)), (None, Some(50.0)));
        paced.restart();
        assert_eq!(paced.measure(Some(50), (20.0, 5_200), &Pulse::default()).rate, None);
    }

    #[test]
    fn what_slows_a_run_under_a_limit_is_in_the_eta_and_other_hours_are_slower_by_as_much() {
        // An hour until the limit of 500 rows/s is none, for one that can do 4,000 a second.
        let until = at("2026-03-29T11:00:00Z");
        let over = Expiry { at: until, then: Overrides::default() };
        let free =
            Pacing { base: Said::default(), schedule: Schedule::default(), term: Term::default() };
        let orders = Orders { expiries: vec![over], ..orders(at_rate(500)) };
        let now = at("2026-03-29T10:00:00Z").duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
        let lasts = |rows: u64, rates: Option<(f64, f64)>| {
            let pulse = Pulse {
                limit: Some(500),
                rate_low: rates.map(|(low, _)| low),
                rate_high: rates.map(|(_, high)| high),
                ..Pulse::default()
            };
            let eta = free.outlook(&orders, &snapshot(now, rows), &pulse, Some(4_000.0));
            let Some(Eta::Between(low, high)) = eta else { panic!("{eta:?}") };
            (low.as_secs() / 60, high.as_secs() / 60)
        };
        // Half an hour at the limit; nobody knows better, or it is reached.
        for rates in [None, Some((0.0, 50.0)), Some((480.0, 520.0))] {
            assert_eq!(lasts(900_000, rates), (30, 30), "{rates:?}");
        }
        // At a tenth of it, half an hour is for a tenth of the rows.
        assert_eq!(lasts(90_000, Some((50.0, 50.0))), (30, 30));
        assert_eq!(lasts(90_000, Some((50.0, 500.0))), (3, 30));
        // An hour at 50 rows/s, and then half an hour at a tenth of 4,000, or of 70 % of it.
        assert_eq!(lasts(180_000 + 720_000, Some((50.0, 50.0))), (90, 102));
    }

    #[test]
    fn a_run_that_cannot_end_under_its_windows_says_so() {
        let shut = Schedule::new(vec![window("daily", "pause")]);
        let shut = Overrides { schedule: Some(shut), ..Overrides::default() };
        let day = "2026-03-29T10:00:00Z";
        assert_eq!(outlook(&pacing(), &orders(shut.clone()), day, 1), Some(Eta::Never));
        let over = Expiry { at: at("2026-03-29T11:00:00Z"), then: Overrides::default() };
        let a_while = Orders { expiries: vec![over], ..orders(shut) };
        assert_eq!(minutes(&pacing(), &a_while, day, 30_000), Some((61, 61)));
    }
}
