//! The calendar, against tables and against a clock that is looked at minute by minute.

use std::collections::BTreeSet;

use jiff::civil::{Time, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::{Course, Schedule, Speed, until};
use crate::job::{When, Window, WindowRate, parse_zone};
use crate::run::{Overrides, Said};

fn window(when: &str, zone: &str, rate: &str) -> Window {
    Window {
        when: when.parse().unwrap(),
        text: when.to_owned(),
        zone: parse_zone(zone).unwrap(),
        rate: (!rate.is_empty()).then(|| rate.parse().unwrap()),
        target: None,
        workers: None,
        span: 0..0,
    }
}

pub(super) fn schedule(windows: &[(&str, &str, &str)]) -> Schedule {
    Schedule::new(windows.iter().map(|(when, zone, rate)| window(when, zone, rate)).collect())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What applies at an instant: the number of the window, and until when.
fn applies(schedule: &Schedule, now: &str) -> (Option<usize>, Option<String>) {
    let current = schedule.at(at(now));
    (schedule.first(at(now)), current.until.map(|until| until.to_string()))
}

/// When rows are done under windows that nobody changes.
fn finish(
    schedule: &Schedule,
    now: Timestamp,
    rows: f64,
    speed: f64,
    base: Option<u32>,
) -> Option<Timestamp> {
    let (base, nothing) = (Said { rate: base, ..Said::default() }, Overrides::default());
    let speed = Speed { rows: speed, by: 1, most: 64 };
    Course::new(base, schedule, (&nothing, &[])).finish(now, rows, speed)
}

pub(super) const BERLIN: &str = "Europe/Berlin";

#[test]
fn a_window_begins_and_ends_by_the_clock_of_its_zone() {
    let schedule = schedule(&[("Mon-Fri 08:00-20:00", BERLIN, "500/s"), ("Sat", "UTC", "pause")]);
    for (now, window, until) in [
        ("2026-01-05T06:59:59Z", None, "2026-01-05T07:00:00Z"),
        ("2026-01-05T07:00:00Z", Some(0), "2026-01-05T19:00:00Z"),
        ("2026-01-05T18:59:59.999Z", Some(0), "2026-01-05T19:00:00Z"),
        ("2026-01-05T19:00:00Z", None, "2026-01-06T07:00:00Z"),
        ("2026-01-09T23:00:00Z", None, "2026-01-10T00:00:00Z"),
        ("2026-01-10T00:00:00Z", Some(1), "2026-01-11T00:00:00Z"),
        ("2026-01-10T12:00:00Z", Some(1), "2026-01-11T00:00:00Z"),
        ("2026-01-11T00:00:00Z", None, "2026-01-12T07:00:00Z"),
        ("2026-07-06T06:00:00Z", Some(0), "2026-07-06T18:00:00Z"),
    ] {
        assert_eq!(applies(&schedule, now), (window, Some(until.to_owned())), "{now}");
    }
}

#[test]
fn a_time_that_does_not_exist_begins_at_the_jump_and_one_that_comes_twice_applies_twice() {
    let night = schedule(&[("daily 02:30-04:00", BERLIN, "pause")]);
    for (now, window, until) in [
        // 29 March 2026: 01:59:59 is followed by 03:00, which is within the window.
        ("2026-03-29T00:00:00Z", None, "2026-03-29T01:00:00Z"),
        ("2026-03-29T01:00:00Z", Some(0), "2026-03-29T02:00:00Z"),
    ] {
        assert_eq!(applies(&night, now), (window, Some(until.to_owned())), "{now}");
    }
    let short = schedule(&[("Sun 02:15-02:45", BERLIN, "pause")]);
    for (now, window, until) in [
        // The whole of it is jumped over in March, and comes twice in October.
        ("2026-03-22T02:00:00Z", None, "2026-04-05T00:15:00Z"),
        ("2026-10-25T00:00:00Z", None, "2026-10-25T00:15:00Z"),
        ("2026-10-25T00:15:00Z", Some(0), "2026-10-25T00:45:00Z"),
        ("2026-10-25T00:45:00Z", None, "2026-10-25T01:15:00Z"),
        ("2026-10-25T01:15:00Z", Some(0), "2026-10-25T01:45:00Z"),
        ("2026-10-25T01:45:00Z", None, "2026-11-01T01:15:00Z"),
    ] {
        assert_eq!(applies(&short, now), (window, Some(until.to_owned())), "{now}");
    }
    // It begins before 03:00 and goes on behind it: when the clock is put back it ends, and begins again.
    let across = schedule(&[("Sun 02:30-03:30", BERLIN, "pause")]);
    for (now, window, until) in [
        ("2026-10-25T00:30:00Z", Some(0), "2026-10-25T01:00:00Z"),
        ("2026-10-25T01:00:00Z", None, "2026-10-25T01:30:00Z"),
        ("2026-10-25T01:30:00Z", Some(0), "2026-10-25T02:30:00Z"),
    ] {
        assert_eq!(applies(&across, now), (window, Some(until.to_owned())), "{now}");
    }
}

#[test]
fn over_midnight_the_tail_belongs_to_the_day_before() {
    let schedule = schedule(&[("Sat 22:00-06:00", BERLIN, "pause")]);
    for (now, window, until) in [
        ("2026-03-28T20:59:00Z", None, "2026-03-28T21:00:00Z"),
        // Seven hours, because the night is short.
        ("2026-03-28T21:00:00Z", Some(0), "2026-03-29T04:00:00Z"),
        ("2026-03-29T04:00:00Z", None, "2026-04-04T20:00:00Z"),
        // Nine hours.
        ("2026-10-24T20:00:00Z", Some(0), "2026-10-25T05:00:00Z"),
        ("2026-10-25T21:00:00Z", None, "2026-10-31T21:00:00Z"),
    ] {
        assert_eq!(applies(&schedule, now), (window, Some(until.to_owned())), "{now}");
    }
}

#[test]
fn a_day_that_is_left_out_has_no_window_and_no_tail() {
    // There was no 30 December 2011, a Friday, on Samoa.
    let apia = |when| schedule(&[(when, "Pacific/Apia", "pause")]);
    let jump = "2011-12-30T10:00:00Z";
    let (thursday, friday) = (apia("Thu 22:00-06:00"), apia("Fri"));
    let begun = applies(&thursday, "2011-12-30T09:30:00Z");
    assert_eq!(begun, (Some(0), Some(jump.to_owned())));
    assert_eq!(applies(&friday, "2011-12-24T12:00:00Z").1.unwrap(), "2012-01-05T10:00:00Z");
}

#[test]
fn the_first_window_that_contains_an_instant_applies() {
    let schedule = schedule(&[
        ("Mon 10:00-12:00", "UTC", "1k/s"),
        ("Mon 08:00-20:00", "UTC", "pause"),
        ("Mon 12:00-13:00", "UTC", "5/s"),
    ]);
    for (now, window, until) in [
        ("2026-01-05T08:00:00Z", Some(1), "2026-01-05T10:00:00Z"),
        ("2026-01-05T10:00:00Z", Some(0), "2026-01-05T12:00:00Z"),
        ("2026-01-05T12:00:00Z", Some(1), "2026-01-05T20:00:00Z"),
    ] {
        assert_eq!(applies(&schedule, now), (window, Some(until.to_owned())), "{now}");
    }
}

#[test]
fn what_never_changes_has_no_end() {
    assert_eq!(applies(&Schedule::default(), "2026-01-05T08:00:00Z"), (None, None));
    assert!(Schedule::default().is_empty());
    let always = schedule(&[("daily", BERLIN, "5/s"), ("Mon", "UTC", "pause")]);
    assert_eq!(applies(&always, "2026-03-28T08:00:00Z"), (Some(0), None));
    assert_eq!(always.windows().len(), 2);
    // At the end of time there is nothing to say, and no panic.
    assert_eq!(always.at(Timestamp::MAX).until, None);
    assert!(schedule(&[("Mon", BERLIN, "5/s")]).at(Timestamp::MIN).until.is_some());
}

#[test]
fn what_applies_is_said_with_its_end() {
    let week = schedule(&[("Mon-Fri 08:00-20:00", BERLIN, "500/s")]);
    let said = |schedule: &Schedule, now: &str| schedule.at(at(now)).to_string();
    for (now, text) in [
        (
            "2026-01-05T08:00:00Z",
            "window Mon-Fri 08:00-20:00: 500 rows/s until 20:00 Europe/Berlin",
        ),
        ("2026-01-05T20:00:00Z", "no window until 08:00 Europe/Berlin"),
        ("2026-01-09T20:00:00Z", "no window until Mon 08:00 Europe/Berlin"),
    ] {
        assert_eq!(said(&week, now), text);
    }
    let sunday = schedule(&[("Sun 02:15-02:45", BERLIN, "pause")]);
    let long = "no window until Sun 2026-04-05 02:15 Europe/Berlin";
    assert_eq!(said(&sunday, "2026-03-22T02:00:00Z"), long);
    assert_eq!(
        said(&schedule(&[("daily", "UTC", "pause")]), "2026-03-22T02:00:00Z"),
        "window daily: pause"
    );
    assert_eq!(said(&Schedule::default(), "2026-03-22T02:00:00Z"), "no window");
}

#[test]
fn the_limit_is_the_windows_or_the_jobs() {
    let schedule =
        schedule(&[("Mon", "UTC", "500/s"), ("Tue", "UTC", "pause"), ("Wed", "UTC", "")]);
    let limit = |now: &str, base| schedule.at(at(now)).limit(base);
    assert_eq!(limit("2026-01-05T08:00:00Z", Some(7.0)), Some(500.0));
    assert_eq!(limit("2026-01-06T08:00:00Z", Some(7.0)), Some(0.0));
    assert!(schedule.at(at("2026-01-06T08:00:00Z")).is_paused());
    assert_eq!(limit("2026-01-07T08:00:00Z", Some(7.0)), Some(7.0));
    assert_eq!(limit("2026-01-08T08:00:00Z", None), None);
}

#[test]
fn each_hour_has_its_workers_as_far_as_there_is_something_to_do_for_them() {
    let nights = Window { workers: Some(4), ..window("daily 20:00-08:00", "UTC", "") };
    let (schedule, nothing) = (Schedule::new(vec![nights]), Overrides::default());
    let course = Course::new(Said::default(), &schedule, (&nothing, &[]));
    assert_eq!(course.workers(), [1, 4].into());
    let hours = |rows: f64, by, most| {
        let begin = at("2026-01-05T00:00:00Z");
        let over = course.finish(begin, rows * 3600.0, Speed { rows: 1.0, by, most }).unwrap();
        begin.duration_until(over).as_hours()
    };
    // Eight hours of four, and four hours of one.
    assert_eq!((hours(32.0, 1, 64), hours(36.0, 1, 64)), (8, 12));
    // What was measured is that of all four; and where there are two ranges, two are idle.
    assert_eq!((hours(9.0, 4, 64), hours(20.0, 1, 2)), (12, 12));
}

#[test]
fn closed_hours_are_counted() {
    let day = schedule(&[("daily 08:00-20:00", "UTC", "pause")]);
    let half = schedule(&[("daily 08:00-20:00", "UTC", "10/s")]);
    let hour = 3600.0;
    for (schedule, rows, speed, base, done) in [
        (&Schedule::default(), hour, 1.0, None, Some("2026-01-05T01:00:00Z")),
        (&Schedule::default(), hour, 4.0, Some(2), Some("2026-01-05T00:30:00Z")),
        (&Schedule::default(), 0.0, 1.0, None, Some("2026-01-05T00:00:00Z")),
        // Eight hours before it closes, and one behind.
        (&day, 9.0 * hour, 1.0, None, Some("2026-01-05T21:00:00Z")),
        (&day, 8.0 * hour, 1.0, None, Some("2026-01-05T08:00:00Z")),
        (&half, 8.0 * 100.0 * hour + 600.0, 100.0, None, Some("2026-01-05T08:01:00Z")),
        // Twelve hours a day; whole weeks are leapt over.
        (&day, 12.0 * 365.0 * hour, 1.0, None, Some("2027-01-04T24:00:00Z")),
        (&day, 1e15, 1.0, None, None),
        (&day, hour, 0.0, None, None),
        (&day, hour, f64::NAN, None, None),
        (&day, f64::NAN, 1.0, None, None),
        (&day, hour, 1.0, Some(0), None),
        (&schedule(&[("daily", "UTC", "pause")]), hour, 1.0, None, None),
    ] {
        let found = finish(schedule, at("2026-01-05T00:00:00Z"), rows, speed, base);
        let done = done.map(|done| done.replace("T24:00", "T23:59"));
        let expected = done.as_deref().map(at);
        let is_near = match (found, expected) {
            (Some(found), Some(expected)) => {
                found.duration_until(expected).abs() <= SignedDuration::from_mins(1)
            }
            (found, expected) => found == expected,
        };
        assert!(is_near, "{rows} at {speed}: {found:?}, expected {expected:?}");
    }
}

#[test]
fn a_clock_time_is_found_once_it_comes() {
    let berlin = parse_zone(BERLIN).unwrap();
    for (text, now, next) in [
        ("06:00", "2026-01-05T04:00:00Z", "2026-01-05T05:00:00Z"),
        ("06:00", "2026-01-05T05:00:00Z", "2026-01-06T05:00:00Z"),
        ("06:00 UTC", "2026-01-05T05:00:00Z", "2026-01-05T06:00:00Z"),
        ("24:00", "2026-01-05T05:00:00Z", "2026-01-05T23:00:00Z"),
        ("2:30", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"),
        ("02:30", "2026-10-24T23:00:00Z", "2026-10-25T00:30:00Z"),
        ("02:30", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
        ("12:00 Pacific/Apia", "2011-12-30T09:00:00Z", "2011-12-30T10:00:00Z"),
        ("12:00 Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"),
    ] {
        assert_eq!(until(text, at(now), &berlin), Ok(at(next)), "{text} at {now}");
    }
    for text in ["", "6", "06:00:00", "25:00", "06:00 Berlin", "06:00 UTC x", "tomorrow"] {
        assert!(until(text, at("2026-01-05T00:00:00Z"), &berlin).is_err(), "{text}");
    }
    assert!(until("06:00", Timestamp::MAX, &berlin).is_err());
}

/// Zones with odd rules, and a year in which they show them.
const ODD: [(&str, i16); 10] = [
    ("Australia/Lord_Howe", 2026),
    ("Africa/Casablanca", 2025),
    ("Europe/Dublin", 2026),
    ("Antarctica/Troll", 2026),
    ("Pacific/Apia", 2011),
    ("America/Sao_Paulo", 2018),
    ("Asia/Kathmandu", 2026),
    ("Europe/Berlin", 2026),
    ("Asia/Gaza", 2025),
    ("America/Nuuk", 2023),
];

/// What the rule says, of the two days on which a window that is open may have begun.
fn oracle(windows: &[Window], instant: Timestamp) -> Option<usize> {
    let minutes = |time: Time| i32::from(time.hour()) * 60 + i32::from(time.minute());
    windows.iter().position(|Window { when: When { days, from, to }, zone, .. }| {
        let wall = zone.to_datetime(instant);
        let (from, mut to) = (minutes(*from), minutes(*to));
        if to <= from {
            to += 24 * 60;
        }
        (0..2).any(|ago| {
            let day = (0..ago).fold(wall.date().weekday(), |day, _| day.previous());
            let since = minutes(wall.time()) + ago * 24 * 60;
            days.contains(&day) && from <= since && since < to
        })
    })
}

fn any_window(zone: &'static str, step: i16) -> impl Strategy<Value = Window> {
    let minutes = 0..(24 * 60 / step);
    (1..128_u8, minutes.clone(), minutes).prop_map(move |(days, from, to)| {
        let clock = |at: i16| Time::midnight() + SignedDuration::from_mins(i64::from(at * step));
        let all: When = "daily".parse().unwrap();
        let is_in = |day: &jiff::civil::Weekday| days & (1 << day.to_monday_zero_offset()) != 0;
        let days = all.days.into_iter().filter(is_in).collect();
        let when = When { days, from: clock(from), to: clock(to) };
        let rate = Some(WindowRate::Pause);
        Window { when, rate, ..window("daily", zone, "pause") }
    })
}

/// Windows of one odd zone and of Berlin, and an instant near a jump of its clock, or anywhere in the year.
fn near_a_jump() -> impl Strategy<Value = (Vec<Window>, Timestamp)> {
    (prop::sample::select(&ODD[..]), any::<prop::sample::Index>(), -48 * 60..48 * 60_i64, 0..60_i64)
        .prop_flat_map(|((zone, year), which, minutes, seconds)| {
            let start =
                date(year, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
            let end = start + SignedDuration::from_hours(366 * 24);
            let of = parse_zone(zone).unwrap();
            let mut places: Vec<Timestamp> = super::wall::jumps(&of, start, end).collect();
            places.push(
                start + SignedDuration::from_hours(which.index(365 * 24).try_into().unwrap()),
            );
            let at = places[which.index(places.len())];
            let now = at + SignedDuration::from_secs(minutes * 60 + seconds);
            let windows = prop::collection::vec(
                prop_oneof![3 => any_window(zone, 5), 1 => any_window(BERLIN, 5)],
                1..4,
            );
            (windows, Just(now))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn near_jumps_it_agrees_with_a_clock_that_is_looked_at_every_minute((windows, now) in near_a_jump()) {
        let schedule = Schedule::new(windows.clone());
        let applies = oracle(&windows, now);
        prop_assert_eq!(schedule.first(now), applies);
        let minute = SignedDuration::from_mins(1);
        let start = Timestamp::from_second(now.as_second().div_euclid(60) * 60).unwrap();
        let minutes = (1..2 * 24 * 60).map(|n| start + minute * n);
        let change = minutes.into_iter().find(|at| oracle(&windows, *at) != applies);
        let current = schedule.at(now);
        match (change, current.until) {
            (Some(change), until) => {
                prop_assert_eq!(until, Some(change));
                let next = oracle(&windows, change).map(|next| &schedule.windows()[next]);
                prop_assert_eq!(current.next, next);
            }
            (None, Some(until)) => prop_assert!(until >= start + minute * (2 * 24 * 60)),
            (None, None) => {}
        }
    }

    #[test]
    fn what_is_said_of_the_week_is_said_of_every_instant_of_the_year(
        windows in prop::collection::vec(
            prop::sample::select(&["UTC", BERLIN, "America/New_York", "Australia/Sydney", "Africa/Casablanca"][..])
                .prop_flat_map(|zone| any_window(zone, 60)),
            2..4,
        ),
    ) {
        let schedule = Schedule::new(windows);
        let overlaps = schedule.overlaps();
        let said: BTreeSet<_> = overlaps.iter().map(|it| (it.applies, it.yields)).collect();
        let (mut seen, mut has_gaps) = (BTreeSet::new(), false);
        for hour in 0..365 * 24 {
            let all: Vec<usize> = schedule.containing(at("2026-01-05T00:30:00Z") + SignedDuration::from_hours(hour)).collect();
            seen.extend(all.iter().skip(1).map(|other| (all[0], *other)));
            has_gaps |= all.is_empty();
        }
        prop_assert_eq!((said, !schedule.gaps().is_empty()), (seen, has_gaps));
    }

    #[test]
    fn a_forecast_is_what_is_done_step_by_step(
        (windows, now) in near_a_jump(), rows in 0.0..2e6_f64, base in prop::option::of(2..20_u32),
    ) {
        let schedule = Schedule::new(windows);
        let found = finish(&schedule, now, rows, 10.0, base);
        // From change to change, without any leap.
        let (mut at, mut left) = (now, rows);
        let mut done = None;
        for _ in 0..60 {
            let current = schedule.at(at);
            let speed = current.limit(base.map(f64::from)).map_or(10.0, |limit| limit.min(10.0));
            let end = current.until.unwrap_or(Timestamp::MAX);
            let length = at.duration_until(end).as_secs_f64();
            if speed * length >= left {
                done = Some(at + SignedDuration::try_from_secs_f64(left / speed.max(1e-9)).unwrap());
                break;
            }
            left -= speed * length;
            if current.until.is_none() {
                break;
            }
            at = end;
        }
        if let Some(done) = done.filter(|done| now.duration_until(*done) < super::WEEK * 2) {
            let found = found.unwrap();
            prop_assert!(found.duration_until(done).abs() < SignedDuration::from_secs(2), "{} {}", found, done);
        }
    }
}

#[test]
fn a_whole_year_from_change_to_change_agrees_with_a_clock() {
    let whens = [
        "Mon-Fri 00:00-02:30",
        "Sun 23:30-03:00",
        "daily 01:30-02:00",
        "Sat",
        "Thu,Fri 22:00-01:00",
    ];
    for (zone, year) in ODD {
        let windows: Vec<Window> = whens.iter().map(|when| window(when, zone, "pause")).collect();
        let schedule = Schedule::new(windows.clone());
        let start = date(year, 1, 1).at(0, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
        let end = start + SignedDuration::from_hours(365 * 24);
        let (mut now, mut looked) = (start, start);
        while now < end {
            let until = schedule.at(now).until.unwrap();
            assert!(until > now);
            let applies = schedule.first(now);
            assert_ne!(oracle(&windows, until), applies, "{zone}: nothing changes at {until}");
            while looked < until {
                assert_eq!(oracle(&windows, looked), applies, "{zone} at {looked}");
                looked += SignedDuration::from_mins(15);
            }
            now = until;
        }
    }
}
