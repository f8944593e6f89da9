//! Windows, people and clocks decide the pace of a run while it goes on, and all of them say so.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::cli::{Cli, Running};
use crate::support::db::{Db, Held};
use crate::support::job::{Toml, numbers};
use crate::support::oracle::{done_once, status};
use crate::support::until;
use crate::support::zones::Zones;

/// What a person may have to wait until an order is obeyed: a second, and a busy machine.
const SOON: Duration = Duration::from_millis(2_500);

const JSON: &[&str] = &["run", "job", "-y", "--progress", "jsonl"];

fn done(db: &Db) -> i64 {
    db.number("SELECT sum(n) FROM t")
}

fn window(when: &str, zone: &str, rate: &str) -> String {
    format!("[[pace.window]]\nwhen = \"{when}\"\nzone = \"{zone}\"\nrate = \"{rate}\"\n")
}

/// Waits for what must come soon, and says how long it took if it did not.
fn soon<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    let found = until(what, look);
    assert!(started.elapsed() < SOON, "{what}: {:?}", started.elapsed());
    found
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn a_window_closes_and_opens_while_the_run_goes_on() {
    let db = Db::with(&numbers(20_000));
    let zones = Zones::new();
    zones.noon_in(&db, 4, "Busy");
    zones.noon_in(&db, 7, "Shut");
    let windows = window("daily 11:00-12:00", "Busy", "500 rows/s")
        + &window("daily 11:00-12:00", "Shut", "pause");
    // A pause that was meant is no hold that lasts too long.
    let job = Toml::increment().rows(50).with("[pace]\nmax_hold = \"1s\"").with(&windows);
    let mut cli = Cli::new(&db, "job", &job.text());
    cli.zones = Some(zones.dir());
    let running = cli.start(JSON);
    let first = running.event("window", 1);
    assert_eq!(first["now"], "window daily 11:00-12:00: 500 rows/s until 12:00 Busy");
    let open = running.progress("a rate", |run| run["batch"]["count"].as_i64() > Some(2));
    assert_eq!(open["rate"]["limit_rows_per_s"], 500);

    let held = running.event("held", 1);
    let began = Instant::now();
    assert_eq!((&held["by"], &held["value"]), (&"window".into(), &Value::Null));
    let reason = "window daily 11:00-12:00: pause until 12:00 Shut";
    let turned = running.event("window", 2);
    assert_eq!((&turned["was"], &turned["now"]), (&first["now"], &reason.into()));
    let limits = (&first["limit_rows_per_s"], &turned["limit_rows_per_s"]);
    assert_eq!(limits, (&500.into(), &0.into()));
    assert!(turned["since"].as_str() > first["since"].as_str(), "{first} {turned}");
    assert_eq!(held["reason"], reason);
    let before = done(&db);
    assert!((500..4_000).contains(&before), "{before} rows before it closed");
    let shown = soon("`status` shows it", || {
        let run = cli.status("job");
        (run["shown"] == "holding").then_some(run)
    });
    assert_eq!((&shown["holding"]["reason"], &shown["reason"]), (&reason.into(), &reason.into()));
    assert_eq!((&shown["status"], &shown["window"]), (&"running".into(), &reason.into()));
    // What is left takes much less than a second; the hours that are closed come before it.
    let left = 3.0 - began.elapsed().as_secs_f64();
    assert!(seconds(&shown["eta_s"]["high"]) >= (left - 2.0).floor(), "{}", shown["eta_s"]);
    let text = cli.done(&["status", "job"]).stdout;
    assert!(text.contains(&format!("holding: {reason}, for ")), "{text}");
    assert_eq!(done(&db), before, "a closed window lets nothing through");

    let released = running.event("released", 1);
    let watched = began.elapsed().as_secs_f64();
    assert_eq!(released["by"], "window");
    let lasted = seconds(&released["lasted_s"]);
    assert!((lasted - watched).abs() < 0.5, "{lasted} s, by the stop-watch {watched} s");
    assert!((lasted - 3.0).abs() < 1.5, "the window was closed for 3 s, it held for {lasted} s");
    running.wait().exits(0).says("held ").says(": window ");
    done_once(&db, "job");
    let held = seconds(&cli.status("job")["held"]["window"]["held_s"]);
    assert!((held - watched).abs() < 0.5, "{held} s, by the stop-watch {watched} s");
}

#[test]
fn a_window_that_ends_at_an_hour_that_is_left_out_opens_when_clocks_are_turned() {
    let db = Db::with(&numbers(100));
    let zones = Zones::new();
    zones.turn_in(&db, 3, "Spring", (2, 3));
    let job = Toml::increment().with(&window("daily 01:00-02:30", "Spring", "pause"));
    let mut cli = Cli::new(&db, "job", &job.text());
    cli.zones = Some(zones.dir());
    let running = cli.start(JSON);
    let held = running.event("held", 1);
    assert_eq!(held["reason"], "window daily 01:00-02:30: pause until 03:00 Spring");
    assert_eq!(done(&db), 0);
    assert_eq!(running.event("released", 1)["by"], "window");
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_window_in_an_hour_that_comes_twice_closes_again_when_clocks_are_turned() {
    let db = Db::with(&numbers(20_000));
    let zones = Zones::new();
    zones.turn_in(&db, 4, "Autumn", (3, 2));
    let windows = window("daily 02:00-02:30", "Autumn", "pause")
        + &window("daily 02:30-03:00", "Autumn", "500 rows/s");
    let mut cli = Cli::new(&db, "job", &Toml::increment().rows(50).with(&windows).text());
    cli.zones = Some(zones.dir());
    let running = cli.start(JSON);
    let first = running.event("window", 1);
    assert_eq!(first["now"], "window daily 02:30-03:00: 500 rows/s until 02:00 Autumn");
    let held = running.event("held", 1);
    assert_eq!(held["reason"], "window daily 02:00-02:30: pause until 02:30 Autumn");
    let before = done(&db);
    assert!((1..4_000).contains(&before), "{before} rows before it closed");
    cli.done(&["throttle", "job", "--schedule", "off"]);
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_pause_comes_and_goes_with_the_file_and_the_windows_can_be_turned_off() {
    let db = Db::with(&numbers(50_000));
    let job = Toml::increment().rows(50).with("[pace]\nrate = \"1k/s\"");
    let cli = Cli::new(&db, "job", &job.text());
    let running = cli.start(&["run", "job", "-y"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT sum(seen) > 0 FROM piecemeal.range");
    // The file is read by `throttle`, not by the run: editing it changes nothing by itself.
    let shut = job_with(&window("daily", "UTC", "pause"));
    cli.write("job", &shut);
    cli.done(&["throttle", "job", "--schedule", "file"]).says("pace: window daily");
    soon("a hold", || running.stderr().contains("holding: window daily: pause").then_some(()));
    let (before, began) = (done(&db), Instant::now());
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    soon("that pace", || running.stderr().contains("rate 1,000,000 rows/s").then_some(()));
    soon("the limit that holds", || {
        (cli.status("job")["rate"]["limit_rows_per_s"] == 0).then_some(())
    });
    assert_eq!(done(&db), before, "a rate from outside opens no window that is closed");
    let run = cli.status("job");
    // It never opens again, so it is never over.
    let never = serde_json::json!({ "low": null, "high": null, "is_never": true });
    assert_eq!(run["eta_s"], never);
    cli.done(&["throttle", "job", "--schedule", "off"]).says("windows off");
    soon("it goes on", || running.stderr().contains("going on: window").then_some(()));
    let held = began.elapsed();
    running.wait().exits(0).says(": window ");
    done_once(&db, "job");
    let sum = seconds(&cli.status("job")["held"]["window"]["held_s"]);
    assert!((sum - held.as_secs_f64()).abs() < 1.5, "{sum} s, by the stop-watch {held:?}");
    let lines = cli.done(&["history", "job", "-o", "json"]).json()["history"].take();
    let throttles: Vec<_> = lines
        .as_array()
        .expect("lines")
        .iter()
        .filter(|line| line["what"] == "throttle")
        .map(|line| line["detail"].clone())
        .collect();
    assert_eq!(throttles.len(), 3, "{lines}");
    assert_eq!(throttles[0]["from"], serde_json::json!({}));
    assert_eq!(throttles[2]["from"]["schedule"], throttles[0]["to"]["schedule"]);
    assert_eq!(throttles[2]["to"]["schedule"]["value"], serde_json::json!([]));
}

#[test]
fn the_time_of_a_hold_is_no_time_of_trouble() {
    let db = Db::with(&numbers(100));
    let job = Toml::increment().rows(50).with("[pace]\nmax_hold = \"6s\"");
    let cli = Cli::new(&db, "job", &job.text());
    let locked = Held::from(&db, 51);
    let running = cli.start(JSON);
    running.event("retried", 1);
    soon("`status` shows the trouble", || {
        let run = cli.status("job");
        run["reason"].as_str().is_some_and(|it| it.contains("lock timeout")).then_some(())
    });
    cli.write("job", &job_with(&window("daily", "UTC", "pause")));
    cli.done(&["throttle", "job", "--schedule", "file"]);
    running.event("held", 1);
    let (shut, before) = (Instant::now(), running.events("retried").len());
    until("more than `max_hold`", || (shut.elapsed() > Duration::from_secs(7)).then_some(()));
    cli.done(&["throttle", "job", "--schedule", "off"]);
    running.event("retried", before + 1);
    locked.release();
    running.wait().exits(0);
    done_once(&db, "job");
}

fn job_with(more: &str) -> String {
    Toml::increment().rows(50).with("[pace]\nrate = \"1k/s\"").with(more).text()
}

#[test]
fn windows_off_for_a_while_come_back_by_themselves() {
    let db = Db::with(&numbers(100_000));
    let cli = Cli::new(&db, "job", &job_with(&window("daily", "UTC", "pause")));
    let running = cli.start(JSON);
    running.event("held", 1);
    assert_eq!(done(&db), 0);
    cli.done(&["throttle", "job", "--schedule", "off", "--for", "2s"]);
    let started = Instant::now();
    running.event("released", 1);
    running.event("held", 2);
    let lasted = started.elapsed();
    let expected = Duration::from_secs(2)..Duration::from_millis(4_500);
    assert!(expected.contains(&lasted), "{lasted:?}");
    // It went on as the job says, and not faster.
    assert!((100..4_000).contains(&done(&db)), "{} rows", done(&db));
    cli.done(&["cancel", "job"]);
    running.wait().exits(4);
    assert_eq!(status(&db), "cancelled");
}

#[test]
fn a_target_from_outside_changes_the_size_of_the_next_batches() {
    let db = Db::with(&format!(
        "{};
         CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep(0.001); RETURN NULL; END';
         CREATE TRIGGER slow AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION slow()",
        numbers(20_000)
    ));
    let job = Toml::increment().batch("target = \"60ms\"").batch("min = 1");
    let cli = Cli::new(&db, "job", &job.text());
    let running = cli.start(JSON);
    let size = |run: &Value| run["batch"]["rows"].as_i64().unwrap_or(0);
    running.progress("batches of 60 ms", |run| size(run) > 25);
    cli.done(&["throttle", "job", "--target", "6ms"]).says("target 6 ms");
    soon("small batches", || {
        let run = running.events("progress").pop()?["run"].take();
        (size(&run) <= 8).then_some(())
    });
    cli.done(&["throttle", "job", "--clear"]);
    running.progress("batches of 60 ms again", |run| size(run) > 25);
    cli.done(&["cancel", "job"]);
    running.wait().exits(4);
}

/// A run that is killed while 20 rows/s hold for `lasting`.
fn killed_while_slow(db: &Db, lasting: &str) -> Cli {
    let cli = Cli::new(db, "job", &Toml::increment().rows(20).text());
    let running = cli.start(&["run", "job", "-y", "--rate", "100/s", "--progress", "jsonl"]);
    running.progress("it goes on", |run| run["rows"]["done"].as_i64() > Some(0));
    cli.done(&["throttle", "job", "--rate", "20/s", "--for", lasting]);
    soon("the rate", || (limit(&running) == 20).then_some(()));
    running.signal("KILL");
    running.wait();
    cli
}

/// Returns the rows that were done from the first look to the last one before the pace was `text`.
fn rows_before(running: &Running, text: &str) -> i64 {
    let stdout = running.stdout();
    let until = stdout.lines().take_while(|line| !line.contains(text));
    let events = until.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let rows: Vec<i64> = events.filter_map(|event| event["run"]["rows"]["done"].as_i64()).collect();
    rows.last().expect("a look") - rows[0]
}

fn limit(running: &Running) -> Value {
    let progress = running.events("progress").pop();
    progress.map_or(Value::Null, |event| event["run"]["rate"]["limit_rows_per_s"].clone())
}

#[test]
fn a_pace_for_a_while_outlives_the_process_and_expires_in_the_next_one() {
    let db = Db::with(&numbers(2_000));
    let cli = killed_while_slow(&db, "4s");
    let said = Instant::now();
    let running = cli.start(JSON);
    let first = running.event("throttled", 1);
    assert_eq!(first["now"], "rate 20 rows/s");
    running.progress("the rate, still", |run| run["rate"]["limit_rows_per_s"] == 20);
    let expired = running.event("throttled", 2);
    assert_eq!(expired["now"], "as it was started");
    assert_eq!((&first["was"], &expired["was"]), (&Value::Null, &"rate 20 rows/s".into()));
    assert!(said.elapsed() < Duration::from_millis(6_500), "{:?}", said.elapsed());
    let rows = rows_before(&running, "as it was started");
    assert!((0..20 * 6 + 20).contains(&rows), "{rows} rows while it was slow");
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_pace_for_a_while_expires_also_if_nobody_is_alive_to_see_it() {
    let db = Db::with(&numbers(2_000));
    let cli = killed_while_slow(&db, "2s");
    let over = "SELECT bool_and((value ->> 'until')::timestamptz < clock_timestamp())
                FROM piecemeal.run, jsonb_each(overrides)";
    db.until(&format!("({over})"));
    // Nobody has written that, and it is told.
    let told = cli.done(&["history", "job", "--last", "2"]).stdout;
    let lines: Vec<_> = told.lines().skip(1).collect();
    assert!(lines[0].ends_with("rate 100 rows/s → 20 rows/s for 2s"), "{told}");
    assert!(lines[1].contains("  expired  ") && lines[1].contains("  by itself  "), "{told}");
    assert!(lines[1].ends_with("rate 20 rows/s → 100 rows/s"), "{told}");
    let running = cli.start(JSON);
    running.event("finished", 1);
    assert_eq!(running.events("throttled"), Vec::<Value>::new());
    running.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn a_run_that_nobody_works_on_shows_nothing_of_the_pace_it_had() {
    let db = Db::with(&numbers(20_000));
    let cli = Cli::new(&db, "job", &job_with(&window("daily", "UTC", "500 rows/s")));
    let running = cli.start(JSON);
    running.progress("batches", |run| run["batch"]["rows"].as_i64() == Some(50));
    db.until("SELECT pulse ->> 'rows' = '50' FROM piecemeal.run");
    running.signal("KILL");
    running.wait();
    let shows_nothing = |run: &Value| {
        let nothing = serde_json::json!([null, null, null, null, null, null]);
        let (rate, eta) = (&run["rate"], &run["eta_s"]);
        let of_now = [&rate["rows_per_s"], &rate["limit_rows_per_s"], &eta["high"], &run["window"]];
        let all = [&of_now[..], &[&run["batch"]["rows"], &run["slowing"]]].concat();
        assert_eq!(serde_json::json!(all), nothing, "{run}");
        let text = cli.done(&["status", "job"]).stdout;
        assert!(!text.contains("window") && !text.contains("limit"), "{text}");
    };
    shows_nothing(&until("it is stalled", || {
        let run = cli.status("job");
        (run["shown"] == "stalled").then_some(run)
    }));
    cli.done(&["pause", "job"]).says("paused: `job`");
    shows_nothing(&cli.status("job"));
}

/// A run that nobody works on, and that is to be throttled.
fn at_rest(db: &Db) -> Cli {
    let cli = Cli::new(db, "job", &Toml::increment().rows(50).text());
    cli.call(&["run", "job", "-y", "--limit", "50"]).exits(4);
    cli
}

#[test]
fn what_is_changed_again_or_ends_with_its_run_does_not_expire() {
    let db = Db::with(&numbers(100));
    let cli = at_rest(&db);
    let throttle = |args: &[&str]| drop(cli.done(&[&["throttle", "job"], args].concat()));
    throttle(&["--rate", "7/s"]);
    throttle(&["--rate", "5/s", "--target", "9ms", "--for", "1s"]);
    throttle(&["--target", "8ms"]);
    let what = || {
        let lines = cli.done(&["history", "job", "-o", "json"]).json()["history"].take();
        lines.as_array().expect("lines").clone()
    };
    let expired = until("it is over", || what().pop().filter(|line| line["what"] == "expired"));
    assert_eq!(expired["detail"]["from"].as_object().map(serde_json::Map::len), Some(1));
    assert_eq!(expired["detail"]["to"]["rate"]["value"], 7);
    throttle(&["--rate", "9/s", "--for", "1s"]);
    throttle(&["--clear"]);
    throttle(&["--rate", "8/s", "--for", "3s"]);
    cli.done(&["cancel", "job"]);
    let over =
        "SELECT (overrides #>> '{rate,until}')::timestamptz < clock_timestamp() FROM piecemeal.run";
    db.until(over);
    let lines = what();
    let told: Vec<_> = lines.iter().filter(|line| line["what"] == "expired").collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_change_for_a_shorter_time_gives_way_to_the_longer_one_before_it() {
    let db = Db::with(&numbers(2_000));
    let cli = at_rest(&db);
    let throttle = |args: &[&str]| drop(cli.done(&[&["throttle", "job"], args].concat()));
    let told = || {
        let lines = cli.done(&["history", "job", "-o", "json"]).json()["history"].take();
        let lines = lines.as_array().expect("lines").clone();
        let rates = |line: &Value| {
            let rate = |part: &str| line["detail"][part]["rate"]["value"].as_i64();
            (line["what"] == "expired").then(|| (rate("from"), rate("to")))
        };
        lines.iter().filter_map(rates).collect::<Vec<_>>()
    };
    throttle(&["--rate", "9/s", "--for", "8h"]);
    throttle(&["--rate", "7/s", "--for", "6s"]);
    throttle(&["--rate", "5/s", "--for", "1s"]);
    until("the first is over", || (told() == [(Some(5), Some(7))]).then_some(()));
    // What is said of something else is no end of it.
    throttle(&["--target", "8ms"]);
    let expected = [(Some(5), Some(7)), (Some(7), Some(9))];
    until("the second is over", || (told() == expected).then_some(()));
    assert!(cli.done(&["history", "job"]).stdout.contains("rate 7 rows/s → 9 rows/s"));
    let running = cli.start(JSON);
    assert_eq!(running.event("throttled", 1)["now"], "rate 9 rows/s, target 8 ms");
    cli.done(&["cancel", "job"]);
    running.wait().exits(4);
}

#[test]
fn of_changes_for_a_while_only_those_are_kept_that_come_to_hold_and_not_too_many() {
    let db = Db::with(&numbers(100));
    let cli = at_rest(&db);
    let throttle = |rate: u32, length: &str| {
        cli.done(&["throttle", "job", "--rate", &format!("{rate}/s"), "--for", length]);
    };
    // From the first to the last.
    let rates = || {
        let entry = db.text("SELECT overrides -> 'rate' FROM piecemeal.run");
        let entry: Value = serde_json::from_str(&entry).expect("an entry");
        let links = std::iter::successors(Some(&entry), |entry| entry.get("then"));
        links.map(|entry| entry["value"].as_u64().expect("a rate")).collect::<Vec<_>>()
    };
    throttle(1, "1h");
    throttle(2, "2h");
    assert_eq!(rates(), [2], "what is over by then is dropped");
    cli.done(&["throttle", "job", "--rate", "9/s"]);
    throttle(3, "1h");
    throttle(4, "50min");
    throttle(5, "55min");
    assert_eq!(rates(), [5, 3, 9]);
    for minutes in (30..50).rev() {
        throttle(minutes, &format!("{minutes}min"));
    }
    let kept = rates();
    assert_eq!((kept.len(), kept[0], kept[7]), (8, 30, 9), "{kept:?}");
    cli.done(&["throttle", "job", "--rate", "6/s"]);
    assert_eq!(rates(), [6], "what lasts ends never");
}

#[test]
fn a_plan_counts_what_people_have_changed_of_the_pace() {
    let db = Db::with(&numbers(2_000));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(50).text());
    let forecast = "begun now: over ";
    let plan = || cli.done(&["plan", "job"]).stdout;
    assert!(!plan().contains(forecast), "{}", plan());
    cli.call(&["run", "job", "-y", "--limit", "50"]).exits(4);
    cli.done(&["throttle", "job", "--rate", "1/s", "--for", "30m"]);
    let line = format!("with what `throttle` has changed, {forecast}");
    assert!(plan().contains(&line), "{}", plan());
    let over = cli.done(&["plan", "job", "-o", "json"]).json()["plan"]["forecast"].take();
    let over = over["with_windows_over_at"].as_str().expect("an instant").to_owned();
    let seconds = format!("SELECT extract(epoch FROM '{over}' - clock_timestamp())::int8");
    // What is not done in half an hour of nearly nothing is done just after it.
    assert!((1_700..1_810).contains(&db.number(&seconds)), "{over}");
}

#[test]
fn a_run_that_may_take_two_seconds_leaves_after_them_and_goes_on_later() {
    let db = Db::with(&numbers(2_000));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(20).text());
    let started = Instant::now();
    let left = cli.call(&["run", "job", "-y", "--rate", "200/s", "--max-runtime", "2s"]).exits(4);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    left.says("time is up").says("left: job; committed: ").says("`piecemeal run job` continues");
    assert_eq!(status(&db), "ready");
    assert!((20..1_000).contains(&done(&db)), "{} rows", done(&db));
    cli.done(&["run", "job"]);
    done_once(&db, "job");
}

#[test]
fn a_run_that_may_go_on_until_an_hour_leaves_then_also_out_of_a_hold() {
    let db = Db::with(&numbers(2_000));
    let zones = Zones::new();
    zones.noon_in(&db, 3, "Here");
    let mut cli = Cli::new(&db, "job", &job_with(&window("daily 10:00-14:00", "Here", "pause")));
    cli.zones = Some(zones.dir());
    cli.call(&["run", "job", "-y", "--until", "25:00"]).exits(2).says("--until 25:00");
    cli.call(&["run", "job", "-y", "--until", "12:00 Nowhere/Atall"]).exits(2).says("time zone");
    let started = Instant::now();
    let left = cli.call(&["run", "job", "-y", "--until", "12:00 Here"]).exits(4);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    left.says("holding: window").says("time is up").says("left: job");
    assert_eq!((status(&db), done(&db)), ("ready".to_owned(), 0));
    cli.done(&["throttle", "job", "--schedule", "off"]);
    cli.done(&["run", "job"]);
    done_once(&db, "job");
}

/// A statement that lasts for so many seconds.
fn slow(seconds: u32) -> String {
    format!("[expand]\nup = ['SELECT pg_sleep({seconds})']\n")
}

#[test]
fn the_jobs_of_a_command_have_its_time_together_and_one_that_comes_too_late_is_not_begun() {
    for end in [["--max-runtime", "2s"], ["--until", "12:00 Here"]] {
        let db = Db::with(&numbers(100));
        let zones = Zones::new();
        let mut cli = Cli::new(&db, "a", &slow(5));
        cli.write("b", &Toml::increment().rows(50).text());
        zones.noon_in(&db, 4, "Here");
        cli.zones = Some(zones.dir());
        let left = cli.call(&[&["run", "-y"], &end[..]].concat()).exits(4);
        left.says("done: a, 1 statement")
            .says("time is up\nnot begun: b; `piecemeal run b` begins it");
        assert_eq!((db.number("SELECT count(*) FROM piecemeal.run"), done(&db)), (1, 0));
        cli.done(&["run", "b", "-y", "--max-runtime", "1h"]);
        done_once(&db, "b");
    }
}

#[test]
fn the_rows_of_a_job_are_not_begun_when_its_statements_took_all_the_time() {
    let db = Db::with(&numbers(100));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(50).with(&slow(4)).text());
    let left = cli.call(&["run", "job", "-y", "--max-runtime", "2s"]).exits(4);
    left.says("time is up")
        .says("left: job; committed: 1 statement of expand; `piecemeal run job`");
    assert_eq!((status(&db), done(&db)), ("ready".to_owned(), 0));
    assert_eq!(db.text("SELECT phase FROM piecemeal.run"), "expand");
    // What was left goes on in the time of the next command, and not before that begins.
    cli.call(&["run", "job", "--max-runtime", "1ms"])
        .exits(4)
        .says("left: job; committed: 1 statement");
    cli.done(&["run", "job", "--max-runtime", "1h"]);
    done_once(&db, "job");
}

#[test]
fn one_that_waits_for_the_lease_of_another_waits_no_longer_than_its_time() {
    let db = Db::with(&numbers(50_000));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(50).text());
    let first = cli.start(&["run", "job", "-y", "--rate", "500/s"]);
    db.until("to_regclass('piecemeal.range') IS NOT NULL");
    db.until("SELECT sum(seen) > 0 FROM piecemeal.range");
    // It is there, and does not renew its lease.
    first.freeze(&db);
    let started = Instant::now();
    let left = cli.call(&["run", "job", "--max-runtime", "2s"]).exits(4);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    left.says("time is up").says("left: job; committed: ");
    first.signal("CONT");
    cli.done(&["throttle", "job", "--rate", "1M/s"]);
    first.wait().exits(0);
    done_once(&db, "job");
}

#[test]
fn one_that_joins_others_waits_for_their_statements_no_longer_than_its_time() {
    let db = Db::with(&numbers(100));
    let cli = Cli::new(&db, "job", &Toml::increment().rows(50).with(&slow(8)).text());
    let first = cli.start(&["join", "job", "-y"]);
    db.until("to_regclass('piecemeal.step') IS NOT NULL");
    db.until("EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%')");
    cli.call(&["join", "job", "-y", "--max-runtime", "2s"]).exits(4).says("time is up");
    assert_eq!(db.text("SELECT phase || ' ' || status FROM piecemeal.run"), "expand running");
    first.wait().exits(0);
    done_once(&db, "job");
}
