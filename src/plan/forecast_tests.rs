//! The forecast against what was measured on tables of a million rows, and where it must not know.

use proptest::prelude::*;

use super::*;
use crate::plan::rehearsal::{CameTo, Looked, Measured, Rehearsed};

fn measured(keys: u64, changed: u64, hot: Option<u64>) -> Measured {
    Measured {
        keys,
        matched: changed,
        changed,
        hot,
        took: Duration::from_millis(10),
        wal_bytes: Some(changed * 400),
        row_before: Some(156.0),
        row_after: Some(172.0),
        ..Measured::default()
    }
}

fn seen(measured: Measured) -> Rehearsal {
    let came_to = CameTo::Measured(measured);
    let batch = Rehearsed {
        after: None,
        rows: 1_000,
        held: Duration::ZERO,
        found: Duration::ZERO,
        tries: 1,
        came_to,
    };
    Rehearsal { batches: vec![batch], ..Rehearsal::default() }
}

/// A million rows are looked at in half a second.
fn seen_and_looked() -> Rehearsal {
    let looked = Looked { rows: 10_000, took: Duration::from_millis(5) };
    Rehearsal { looked, ..seen(measured(1_000, 1_000, Some(0))) }
}

fn ground(vacuum: Option<u32>) -> Ground {
    Ground {
        rows: Some(1_000_000),
        heap_bytes: 157_540_352,
        index_bytes: 44_974_080,
        indexes: 2,
        fillfactor: 100,
        passes: 1,
        workers: 1,
        vacuum,
        rate: None,
        target: Duration::from_millis(20),
    }
}

fn at_full_speed(rows: f64, speed: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(rows / speed).ok()
}

fn forecast(vacuum: Option<u32>, seen: &Rehearsal) -> Forecast {
    of(&ground(vacuum), seen, at_full_speed)
}

#[test]
fn a_whole_rewrite_is_forecast_as_it_was_measured() {
    let seen = seen(measured(1_000, 1_000, Some(0)));
    // The budget, and the size of the file that was found when a vacuum began at half of it.
    for (percent, found) in [(10, 184_934_400), (20, 191_045_632), (40, 205_946_880)] {
        let heap = forecast(Some(percent), &seen).heap;
        let ratio = as_f64(heap.vacuumed.unwrap()) / as_f64(found);
        assert!((0.95..1.05).contains(&ratio), "{percent} %: {heap:?} is {ratio} of {found}");
    }
    let plain = as_f64(forecast(None, &seen).heap.plain.unwrap()) / 330_792_960.0;
    assert!((0.98..1.02).contains(&plain), "{plain}");
}

#[test]
fn what_rows_cost_is_multiplied_by_the_rows_that_match() {
    let forecast = forecast(None, &seen(measured(1_000, 250, Some(0))));
    assert_eq!(forecast.matching, Some(250_000));
    // And each page once: with so many rows in each of them, all are touched.
    let wal = forecast.wal_bytes.unwrap();
    assert!(wal.abs_diff(100_000_000 + 157_540_352 + 44_974_080) < 1_000, "{wal}");
    // 25,000 matching rows a second, and a quarter of a million of them.
    assert_eq!(forecast.time, Some(Duration::from_secs(10)));
    assert_eq!(forecast.heap.vacuumed, None);
}

#[test]
fn images_of_pages_are_counted_once_for_each_page_and_not_for_each_row() {
    // Just after a checkpoint, a row meets a page of an index that nobody has changed since.
    let images =
        Measured { wal_bytes: Some(7_800_000), images: 988, ..measured(1_000, 1_000, Some(0)) };
    let wal = forecast(None, &seen(images)).wal_bytes.unwrap();
    assert!((500_000_000..800_000_000).contains(&wal), "{wal}");
}

#[test]
fn hot_updates_leave_the_files_as_they_are() {
    let forecast = forecast(None, &seen(measured(1_000, 1_000, Some(1_000))));
    assert_eq!(forecast.heap.plain, Some(157_540_352));
    assert_eq!(forecast.indexes.plain, Some(44_974_080));
}

#[test]
fn passes_make_rows_cheaper_as_it_was_measured() {
    let passes = |passes| {
        let seen = seen(measured(1_000, 1_000, Some(0)));
        of(&Ground { passes, ..ground(None) }, &seen, at_full_speed)
    };
    let (one, four) = (passes(1), passes(4));
    let ratio = |of: fn(&Forecast) -> f64| of(&four) / of(&one);
    // Of a million rows with two indexes, in one pass and in four: bytes of WAL, seconds, the file.
    for (ratio, found) in [
        (ratio(|it| as_f64(it.wal_bytes.unwrap())), 418.0 / 647.0),
        (ratio(|it| it.time.unwrap().as_secs_f64()), 6.96 / 9.45),
        (ratio(|it| as_f64(it.heap.plain.unwrap())), 1.26 / 2.04),
    ] {
        assert!((0.85..1.15).contains(&(ratio / found)), "{ratio}, and it was {found}");
    }
}

#[test]
fn where_pages_have_room_or_few_rows_are_to_do_passes_gain_nothing() {
    for (changed, hot) in [(1_000, 900), (200, 0)] {
        let seen = seen(measured(1_000, changed, Some(hot)));
        let with = of(&Ground { passes: 4, ..ground(None) }, &seen, at_full_speed);
        assert_eq!(with, forecast(None, &seen), "{changed} of 1,000, {hot} HOT");
    }
}

#[test]
fn the_time_is_that_of_one_worker_and_says_so_where_there_are_more() {
    let seen = seen(measured(1_000, 1_000, Some(0)));
    let forecast = of(&Ground { workers: 2, ..ground(None) }, &seen, at_full_speed);
    assert_eq!(forecast.time_in_words(), "about 10s at 100,000 rows/s by one worker, less by 2");
}

#[test]
fn the_time_is_less_by_no_more_workers_than_there_are_ranges() {
    let seen = seen(measured(1_000, 1_000, Some(0)));
    let words = |rows| {
        let ground = Ground { rows: Some(rows), workers: 8, ..ground(None) };
        of(&ground, &seen, at_full_speed).time_in_words()
    };
    assert_eq!(words(200_000), "about 2.0s at 100,000 rows/s by one worker, less by 4");
    assert_eq!(words(100_000), "about 1.0s at 100,000 rows/s");
}

#[test]
fn a_table_without_a_row_to_do_is_walked_and_stays_as_it_is() {
    let forecast = forecast(Some(10), &seen(measured(1_000, 0, Some(0))));
    assert_eq!((forecast.matching, forecast.wal_bytes), (Some(0), Some(0)));
    assert_eq!(forecast.time, Some(Duration::from_secs(10)));
    assert_eq!(forecast.heap.plain, Some(157_540_352));
    assert_eq!(forecast.heap.vacuumed, Some(157_540_352));
}

#[test]
fn the_verification_takes_as_long_for_each_row_as_for_those_that_were_looked_at() {
    let seen = seen_and_looked();
    let with = forecast(None, &seen);
    assert_eq!(with.verification, Some(Duration::from_millis(500)));
    assert!(with.to_string().contains(", and about 0.5s of verification after it"), "{with}");
    let limited = Ground { rate: "5k rows/s".parse().ok(), ..ground(None) };
    let limited = of(&limited, &seen, at_full_speed).verification;
    assert_eq!(limited, Some(Duration::from_secs(10)), "twenty are read for the price of one");
}

#[test]
fn what_is_not_known_stays_unknown() {
    let nothing = forecast(Some(10), &Rehearsal::default());
    assert_eq!((nothing.time, nothing.wal_bytes, nothing.matching), (None, None, None));
    assert!(nothing.to_string().contains(", and the verification after it"), "{nothing}");
    assert_eq!((nothing.heap.plain, nothing.indexes.plain), (None, None));
    let seen = seen(measured(1_000, 1_000, None));
    assert_eq!(forecast(None, &seen).heap.plain, None, "nobody counts HOT updates");
    assert!(forecast(None, &seen).wal_bytes.is_some());
    let uncounted = Ground { rows: None, ..ground(None) };
    let forecast = of(&uncounted, &seen, at_full_speed);
    assert_eq!((forecast.time, forecast.heap.plain), (None, None));
    assert!(forecast.to_string().contains("rows to do: unknown of unknown"), "{forecast}");
}

#[test]
fn a_rate_that_never_ends_is_unknown_and_one_that_limits_is_named() {
    let seen = seen(measured(1_000, 1_000, Some(0)));
    assert_eq!(of(&ground(None), &seen, |_, _| None).time, None);
    let limited = Ground { rate: "500 rows/s".parse().ok(), ..ground(None) };
    let forecast = of(&limited, &seen, |rows, _| at_full_speed(rows, 500.0));
    assert_eq!(forecast.time_in_words(), "about 34m at 500 rows/s, the limit of the job");
}

/// Windows of a job by the clock of Berlin, and a Wednesday there, 19:00.
fn nights(rate: &str) -> (Schedule, Timestamp) {
    let text = format!(
        "[table]\nname = 't'\n[set]\nn = '1'\n[[pace.window]]\nwhen = 'daily 08:00-20:00'\n\
         zone = 'Europe/Berlin'\nrate = '{rate}'\n"
    );
    let job = crate::job::Job::parse("job", crate::job::Source { path: None, text }).unwrap();
    (Schedule::new(job.pace.windows), "2026-07-01T17:00:00Z".parse().unwrap())
}

fn unchanged(schedule: &Schedule) -> Beside<'_> {
    static NOTHING: std::sync::LazyLock<Overrides> = std::sync::LazyLock::new(Overrides::default);
    Beside { schedule, changed: (&NOTHING, &[]) }
}

/// When a million rows are done at 100,000 a second, with this number of workers in each window.
fn text_of(schedule: &Schedule, changed: (&Overrides, &[Expiry]), now: Timestamp) -> String {
    let slow = Forecast { rows_per_second: Some(100.0), ..forecast(None, &seen_and_looked()) };
    let windowed = windowed(&slow, Beside { schedule, changed }, now);
    Forecast { windowed, ..slow }.to_string().lines().nth(3).unwrap().to_owned()
}

#[test]
fn a_window_with_other_workers_is_counted_with_them() {
    let (schedule, now) = nights("500/s");
    let mut nights = schedule.windows().to_vec();
    nights[0].rate = None;
    nights[0].workers = Some(4);
    let (nothing, four) = (Overrides::default(), Schedule::new(nights));
    // An hour of four: 1,440,000 rows; one would take nearly three hours.
    let line = text_of(&four, (&nothing, &[]), now);
    let expected = "over 19:41 Europe/Berlin, if each worker does as much as the first";
    assert!(line.ends_with(expected), "{line}");
    assert!(text_of(&schedule, (&nothing, &[]), now).ends_with("over 21:46 Europe/Berlin"));
}

#[test]
fn what_people_have_changed_is_counted_for_as_long_as_it_lasts() {
    let (schedule, now) = nights("pause");
    let off = Overrides { schedule: Some(Schedule::default()), ..Overrides::default() };
    let after =
        |minutes: i64, then| Expiry { at: now + jiff::SignedDuration::from_mins(minutes), then };
    let with = "  with its windows and what `throttle` has changed, begun now: over ";
    assert_eq!(text_of(&schedule, (&off, &[]), now), format!("{with}21:46 Europe/Berlin"));
    // Half an hour without windows, half an hour closed.
    let over = [after(30, Overrides::default())];
    assert_eq!(text_of(&schedule, (&off, &over), now), format!("{with}22:16 Europe/Berlin"));
    let said = Said { rate: Some(1), ..Said::default() };
    let slow = Overrides { said, ..Overrides::default() };
    let line = text_of(&Schedule::default(), (&slow, &over), now);
    assert_eq!(line, "  with what `throttle` has changed, begun now: over 20:16 UTC");
}

#[test]
fn where_all_hours_have_the_same_workers_the_time_is_that_of_one() {
    let (_, now) = nights("pause");
    let seen = seen_and_looked();
    // A million rows at 100 a second, of a job with as many workers, when `throttle` has said another number.
    let line = |of_job: u32, said: u32| {
        let slow =
            Forecast { rows_per_second: Some(100.0), workers: of_job, ..forecast(None, &seen) };
        let said = Said { workers: Some(said), ..Said::default() };
        let people = Overrides { said, ..Overrides::default() };
        let beside = Beside { schedule: &Schedule::default(), changed: (&people, &[]) };
        windowed(&slow, beside, now).unwrap().text
    };
    assert_eq!(line(4, 1), "19:46 UTC");
    assert_eq!(line(1, 4), "19:46 UTC, if one worker did all of it");
}

#[test]
fn closed_hours_are_counted_and_what_never_ends_is_said() {
    let seen = seen_and_looked();
    // 100,000 rows a second, and a million of them: an hour until it opens, and ten seconds.
    let forecast = forecast(None, &seen);
    let (schedule, now) = nights("pause");
    let text = |forecast: &Forecast, schedule: &Schedule| {
        windowed(forecast, unchanged(schedule), now).map(|windowed| windowed.text)
    };
    assert_eq!(text(&forecast, &schedule).as_deref(), Some("20:00 Europe/Berlin"));
    let over = windowed(&forecast, unchanged(&schedule), now).unwrap().over.unwrap();
    assert_eq!(over.to_string(), "2026-07-01T18:00:10.5Z");
    // Five rows a second until Monday, 03:33, and then a hundred that are looked at.
    let slow = Forecast { limit: Rate::new(5), ..forecast.clone() };
    assert_eq!(text(&slow, &schedule).as_deref(), Some("Mon 06:20 Europe/Berlin"));
    let unknown = Forecast { verification: None, ..slow.clone() };
    let walk = "Mon 03:33 Europe/Berlin, and the verification after it";
    assert_eq!(text(&unknown, &schedule).as_deref(), Some(walk));
    let late = Forecast { rows_per_second: Some(1e-3), ..forecast.clone() };
    assert_eq!(text(&late, &schedule).as_deref(), Some("in more than ten years, or never"));
    assert_eq!(text(&forecast, &Schedule::default()), None);
    let shown =
        Forecast { windowed: windowed(&slow, unchanged(&schedule), now), ..slow }.to_string();
    assert!(shown.contains("  with its windows, begun now: over Mon 06:20"), "{shown}");
}

proptest! {
    #[test]
    fn a_vacuum_never_makes_it_larger_and_nothing_shrinks(
        keys in 1..2_000_u64, part in 0.0..=1.0_f64, hot in 0.0..=1.0_f64,
        before in 30.0..8_000.0_f64, after in 30.0..8_000.0_f64, percent in 1..=100_u32,
        fillfactor in 10..=100_u32, heap_bytes in 0..u64::from(u32::MAX),
    ) {
        let changed = as_u64(as_f64(keys) * part);
        let hot = as_u64(as_f64(changed) * hot);
        let rows = Measured { row_before: Some(before), row_after: Some(after), ..measured(keys, changed, Some(hot)) };
        let ground = Ground { heap_bytes, fillfactor, ..ground(Some(percent)) };
        let forecast = of(&ground, &seen(rows), at_full_speed);
        for growth in [forecast.heap, forecast.indexes] {
            let (plain, vacuumed) = (growth.plain.unwrap(), growth.vacuumed.unwrap());
            prop_assert!(growth.now <= vacuumed && vacuumed <= plain, "{growth:?}");
        }
    }
}
