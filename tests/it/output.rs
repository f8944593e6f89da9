//! What people and programs read, word for word: snapshots to be read as their users will.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::cli::{Answer, Cli};
use crate::support::db::{Db, Held, port};
use crate::support::job::{Toml, numbers};

/// What differs from one call to the next, and what stands for it.
const FILTERS: [(&str, &str); 15] = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]"),
    (r"[\w-]+@\S+ as ", "[who]@[host] as "),
    (r"pid: \d+, host: \S+", "pid: [pid], host: [host]"),
    (r"(/\w+)+/\.tmp\w+", "[folder]"),
    (r"/\S+/\.s\.PGSQL\.\d+", "[socket]"),
    (r"\bt\d+\b", "[database]"),
    (r"batch \d+ rows · p95 \d+ ms · ", ""),
    (r"[\d,]+ rows/s", "[rate] rows/s"),
    (r"\b\d+\.\d s?ms\b|\bp95 \d+ ms", "[ms]"),
    (r"in \d+\.\ds\b", "in [took]"),
    (r"owner: \S+ \d+", "owner: [host] [pid]"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:[port]"),
    (r"127\.0\.0\.1 port \d+", "127.0.0.1 port [port]"),
    (r"cluster \d+", "cluster [id]"),
    (r"PostgreSQL \d+\.\d+( \([^)]*\))?,", "PostgreSQL [version],"),
];

#[track_caller]
fn shows(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, word) in FILTERS {
        settings.add_filter(pattern, word);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Both streams and the code, as a terminal would show them.
fn all(answer: &Answer) -> String {
    let part = |name: &str, text: &str| match text {
        "" => String::new(),
        text => format!("--- {name}\n{text}"),
    };
    let (out, err) = (part("stdout", &answer.stdout), part("stderr", &answer.stderr));
    format!("{out}{err}--- exit {}\n", answer.code)
}

/// The same, without those lines of progress that come as fast as the machine is.
fn calm(mut answer: Answer) -> String {
    let lines: Vec<_> = answer.stderr.lines().collect();
    let is_progress = |line: &str| line.contains(" / ") && line.contains("ETA");
    let first = lines.iter().position(|line| is_progress(line));
    let kept =
        lines.iter().enumerate().filter(|(at, line)| Some(*at) == first || !is_progress(line));
    answer.stderr = kept.flat_map(|(_, line)| [*line, "\n"]).collect();
    all(&answer)
}

/// The same, without the numbers that were measured.
fn unmeasured(text: &str) -> String {
    let mut is_measured = false;
    let number = |c: char| c.is_ascii_digit() || c == '.' || c == ',';
    let line = |line: &str| {
        is_measured = match line {
            "rehearsal:" => true,
            line if line.starts_with("---") => false,
            _ => is_measured,
        };
        if !is_measured {
            return format!("{line}\n");
        }
        let mut words = line.split(' ').map(|word| {
            let bare = word.trim_matches(|c: char| !c.is_ascii_digit());
            if bare.is_empty() || !bare.chars().all(number) {
                word.to_owned()
            } else {
                word.replace(bare, "N")
            }
        });
        let first = words.next().unwrap_or_default();
        words.fold(first, |line, word| line + " " + &word) + "\n"
    };
    text.lines().map(line).collect()
}

/// The same with columns as narrow as can be: the name of the host makes them wider.
fn narrow(text: &str) -> String {
    let cells = |line: &str| {
        line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect::<Vec<_>>().join("  ")
    };
    text.lines().map(|line| cells(line) + "\n").collect()
}

const POSTS: &str = "\
CREATE TABLE posts (id int8 PRIMARY KEY, lat float8, lng float8, loc point);
INSERT INTO posts SELECT i, i / 10, i / 5, NULL FROM generate_series(1, 250) i; ANALYZE posts;";

const JOB: &str = r#"description = "Merge lat and lng into one point column"

[table]
name = "posts"
where = "loc IS NULL AND lat IS NOT NULL"

[set]
loc = "point(lng, lat)"

[batch]
rows = 100
stripes = 1
"#;

fn posts() -> (Db, Cli) {
    let db = Db::with(POSTS);
    let cli = Cli::new(&db, "posts-loc", JOB);
    (db, cli)
}

#[test]
fn every_command_has_a_help_that_fits_a_screen() {
    let (_db, cli) = posts();
    let top = cli.done(&["--help"]).stdout;
    shows("help", &top);
    let commands = top.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<_> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 12, "{commands:?}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let help = cli.done(&[command, "--help"]).stdout;
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        // What is the same for all of them is shown once, by `--help` itself.
        let own = help.split("\nGlobal options:").next().unwrap_or_default();
        shows(&format!("help-{command}"), own);
    }
}

#[test]
fn a_plan_shows_what_would_happen() {
    let (_db, cli) = posts();
    shows("plan", &unmeasured(&all(&cli.done(&["plan", "posts-loc"]))));
    let mut plan = cli.done(&["plan", "posts-loc", "-o", "json"]).json();
    let parts = ["rehearsal", "forecast"].map(|part| plan["plan"][part].take());
    shows("plan-json", &serde_json::to_string_pretty(&plan).expect("JSON"));
    shows("plan-json-measured", &parts.map(|part| shape(&part).join("\n")).join("\n\n"));
}

/// Two windows of which one applies at every hour, so that the day of the test does not matter.
const PACE: &str = "\
[pace]\nrate = '20k/s'\n
[[pace.window]]\nwhen = 'daily'\nzone = 'Europe/Berlin'\nrate = '500/s'\n
[[pace.window]]\nwhen = 'Mon 08:00-20:00'\nzone = 'Europe/Berlin'\nrate = 'pause'\n
[[hold]]\non = 'lock-waits'\nabove = 5\n
[[hold]]\non = 'query'\nname = 'broken'\nsql = 'SELECT 1/0'\nabove = 1\n";

/// The part of a text from one line on, up to an empty one.
fn part<'t>(text: &'t str, begin: &str) -> &'t str {
    let start = text.find(begin).unwrap_or_else(|| panic!("`{begin}` is not in:\n{text}"));
    text[start..].split("\n\n").next().unwrap_or_default()
}

#[test]
fn a_plan_shows_its_windows_and_what_will_hold_it() {
    let (_db, cli) = posts();
    cli.write("posts-loc", &format!("{JOB}\n{PACE}"));
    let answer = cli.done(&["plan", "posts-loc"]);
    answer.clone().says("warn[hold-blind]: `broken` cannot be read").says("32 | on = 'query'");
    let said = answer.stdout;
    assert!(said.contains("pace: 20k rows/s, where no window applies"), "{said}");
    assert!(said.contains("\n  with its windows, begun now: over "), "{said}");
    let parts = ["windows:", "holds:"].map(|begin| part(&said, begin)).join("\n\n");
    let warning = part(&answer.stderr, "warn[hold-blind]");
    shows("plan-pace", &format!("{parts}\n\n{warning}"));
    let plan = cli.done(&["plan", "posts-loc", "-o", "json"]).json()["plan"].take();
    assert!(plan["forecast"]["with_windows_over_at"].is_string(), "{plan}");
    let shown = json!({ "pace": plan["pace"], "hold": plan["holds"][1] });
    shows("plan-pace-json", &serde_json::to_string_pretty(&shown).expect("JSON"));
}

#[test]
fn a_plan_says_what_comes_after_the_window_that_applies() {
    let (_db, cli) = posts();
    let half = |hours: &str, rate: u32| {
        format!("[[pace.window]]\nwhen = 'daily {hours}'\nrate = '{rate}/s'\n")
    };
    let windows = half("00:00-12:00", 100) + &half("12:00-24:00", 200);
    cli.write("posts-loc", &format!("{JOB}\n{windows}"));
    let said = cli.done(&["plan", "posts-loc", "--no-rehearsal"]).stdout;
    let (morning, evening) =
        ("window daily 00:00-12:00: 100 rows/s", "window daily 12:00-24:00: 200 rows/s");
    let either = [
        format!("windows:\n  now: {morning} until 12:00 UTC\n  then: {evening}\n"),
        format!("windows:\n  now: {evening} until 00:00 UTC\n  then: {morning}\n"),
    ];
    assert!(either.iter().any(|text| said.contains(text)), "{said}");
}

#[test]
fn the_doctor_names_what_would_hold_a_job_and_cannot_be_read() {
    let (_db, cli) = posts();
    cli.write("posts-loc", &format!("{JOB}\n{PACE}"));
    let said = cli.done(&["doctor", "posts-loc"]).stdout;
    let line = said.lines().find(|line| line.contains("broken")).unwrap_or_default();
    assert!(line.starts_with("warn  broken"), "{said}");
    assert!(
        line.ends_with("hidden: division by zero (SQLSTATE 22012), so it holds the run"),
        "{said}"
    );
}

#[test]
fn history_tells_changes_of_pace_from_old_to_new() {
    let (_db, cli) = posts();
    cli.call(&["run", "posts-loc", "--yes", "--limit", "120"]).exits(4);
    for args in [
        &["--rate", "500/s"][..],
        &["--rate", "2k/s", "--schedule", "off", "--for", "2h"],
        &["--hold", "replica-lag=20s"],
        &["--clear"],
    ] {
        cli.done(&[&["throttle", "posts-loc"], args].concat());
    }
    let said = cli.done(&["history", "posts-loc", "--last", "4"]).stdout;
    let details: Vec<_> =
        said.lines().skip(1).filter_map(|line| line.split(" as postgres  ").nth(1)).collect();
    assert_eq!(
        details,
        [
            "rate no limit → 500 rows/s",
            "rate 500 rows/s → 2,000 rows/s for 2h, windows stay off for 2h",
            "replica-lag 10s → 20s",
            "taken back: replica-lag 20s → 10s, rate 2,000 rows/s → no limit, windows off",
        ]
    );
    let lines = cli.done(&["history", "posts-loc", "-o", "json"]).json()["history"].take();
    let cleared = lines.as_array().and_then(|lines| lines.last()).expect("a line");
    assert_eq!((&cleared["what"], &cleared["detail"]["to"]), (&"throttle".into(), &json!({})));
    assert_eq!(cleared["detail"]["from"]["rate"]["value"], 2_000);
}

#[test]
fn a_plan_without_rehearsal_says_nothing_of_one() {
    let (_db, cli) = posts();
    let plan = cli.done(&["plan", "posts-loc", "--no-rehearsal"]).stdout;
    assert!(!plan.contains("rehearsal") && !plan.contains("forecast"), "{plan}");
    let plan = cli.done(&["plan", "posts-loc", "--no-rehearsal", "-o", "json"]).json();
    assert!(plan["plan"]["rehearsal"].is_null() && plan["plan"]["forecast"].is_null(), "{plan}");
}

#[test]
fn the_doctor_says_what_is_well_and_what_is_not() {
    let (_db, cli) = posts();
    shows("doctor", &all(&cli.done(&["doctor"])));
    shows("doctor-of-job", &all(&cli.done(&["doctor", "posts-loc"])));
    let checkup = cli.done(&["doctor", "-o", "json"]).json();
    shows("doctor-json", &shape(&checkup).join("\n"));
    cli.write("wrong", &JOB.replace("\"posts\"", "\"post\""));
    shows("doctor-unfit", &all(&cli.call(&["doctor", "wrong"]).exits(3)));
}

#[test]
fn a_run_from_its_first_line_to_its_last() {
    let (_db, cli) = posts();
    shows("run", &calm(cli.call(&["run", "posts-loc", "--yes"])));
    shows("run-again", &all(&cli.call(&["run", "posts-loc"])));
    shows("run-quiet", &all(&cli.call(&["run", "posts-loc", "--again", "--yes", "-q"])));
    shows("verify", &all(&cli.call(&["verify", "posts-loc"])));
    shows("history", &narrow(&all(&cli.call(&["history", "posts-loc"]))));
    shows("watch-done", &all(&cli.call(&["watch", "posts-loc"])));
    shows("status-done", &all(&cli.call(&["status", "posts-loc"])));
    shows("forget", &all(&cli.call(&["forget", "posts-loc"])));
}

#[test]
fn a_canary_and_what_it_says_about_going_on() {
    let (_db, cli) = posts();
    shows("canary", &calm(cli.call(&["run", "posts-loc", "--yes", "--limit", "120"])));
    shows("status", &all(&cli.call(&["status"])));
    shows("status-of-one", &all(&cli.call(&["status", "posts-loc"])));
    shows("pause", &all(&cli.call(&["pause", "posts-loc", "--reason", "peak hours"])));
    shows("paused-run", &all(&cli.call(&["run", "posts-loc"])));
    shows("status-of-paused", &all(&cli.call(&["status", "posts-loc"])));
    shows("throttle", &all(&cli.call(&["throttle", "posts-loc", "--rate", "500/s"])));
    shows("cancel", &all(&cli.call(&["cancel", "posts-loc"])));
    shows("cancelled-run", &all(&cli.call(&["run", "posts-loc"])));
}

/// The paths of all values in a document, without their values.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                keys(value, &format!("{path}.{key}"), found);
            }
        }
        Value::Array(list) => {
            for value in list {
                keys(value, &format!("{path}[]"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            found.insert(path.to_owned());
        }
    }
}

fn shape(value: &Value) -> Vec<String> {
    let mut found = BTreeSet::new();
    keys(value, "", &mut found);
    found.into_iter().collect()
}

#[test]
fn the_status_document_has_the_fields_of_its_contract() {
    let db = Db::with(&numbers(100));
    let held = Held::from(&db, 50);
    let cli = Cli::new(&db, "job", &Toml::increment().rows(10).text());
    let running = cli.start(&["run", "job", "-y"]);
    held.is_reached(&db);
    let status = cli.done(&["status", "-o", "json"]).json();
    let run = &status["runs"][0];
    assert_eq!(status["v"], 1);
    assert_eq!(
        (&run["job"], &run["status"], &run["owner"]["live"]),
        (&"job".into(), &"running".into(), &true.into())
    );
    assert_eq!((&run["rows"]["done"], &run["rows"]["total"]), (&49.into(), &100.into()));
    assert_eq!(run["owner"]["pid"], running.pid());
    shows("status-json", &shape(&status).join("\n"));
    let lines = cli.done(&["status", "-o", "jsonl"]).stdout;
    assert_eq!(lines.lines().count(), 1);
}

#[test]
fn progress_for_programs_is_one_object_a_line() {
    let (_db, cli) = posts();
    let answer = cli.done(&["run", "posts-loc", "-y", "--progress", "jsonl"]);
    let events: Vec<Value> = answer
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let name = |event: &Value| event["event"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<_> = events.iter().map(name).collect();
    names.retain(|name| name != "progress");
    assert_eq!(names, ["started", "verified", "finished"]);
    let last = events.last().expect("a last line");
    assert_eq!(last["run"]["status"], "succeeded");
    assert_eq!(last["run"]["rows"]["changed"], 250);
    assert!(
        events
            .iter()
            .all(|event| event["v"] == 1 && event["job"] == "posts-loc" && event["at"].is_string())
    );
    shows("progress-jsonl", &shape(last).join("\n"));
}

#[test]
fn what_cannot_be_done_says_why_and_what_to_do() {
    let (db, cli) = posts();
    shows("error-no-file", &all(&cli.call(&["run", "nosuch"])));
    shows("error-no-run", &all(&cli.call(&["pause", "posts-loc"])));
    shows("error-no-run-json", &all(&cli.call(&["status", "posts-loc", "-o", "json"])));
    shows("error-usage", &all(&cli.call(&["throttle", "posts-loc", "--rate", "500"])));
    cli.write("wrong", &JOB.replace("point(lng, lat)", "point(lng, latt)"));
    shows("refused-expression", &all(&cli.call(&["run", "wrong", "-y"])));
    cli.write("wrong", &JOB.replace("\"posts\"", "\"post\""));
    shows("refused-table", &all(&cli.call(&["run", "wrong", "-y"])));
    db.exec("ALTER TABLE posts ADD CHECK (loc IS NULL OR loc[0] <> 20)");
    shows("bad-row", &calm(cli.call(&["run", "posts-loc", "-y"])));
    shows("bad-row-json", &all(&cli.call(&["run", "posts-loc", "-o", "json"])));
    cli.write("posts-loc", &JOB.replace("point(lng, lat)", "point(lat, lng)"));
    shows("refused-definition", &all(&cli.call(&["resume", "posts-loc"])));
}

#[test]
fn verification_that_fails_shows_keys_and_a_cause() {
    let (_db, cli) = posts();
    cli.write("posts-loc", &format!("{JOB}\n[verify]\nexpect = \"loc[0] < 40\"\n"));
    shows("unverified", &calm(cli.call(&["run", "posts-loc", "-y"])));
}

#[test]
fn job_files_are_checked_without_a_database() {
    let (_db, mut cli) = posts();
    cli.url = "postgres://nobody@127.0.0.1:1/none".into();
    shows("check", &all(&cli.call(&["check"])));
    cli.write("wrong", &JOB.replace("[batch]\nrows", "[batch]\nrow"));
    shows("check-wrong", &all(&cli.call(&["check"])));
    let windows = "[[pace.window]]\nwhen = 'Mon-Fri 08:00-20:00'\nrate = 'pause'\n\
                   [[pace.window]]\nwhen = 'Mon 12:00-24:00'\nrate = '5/s'\n";
    cli.write("windows", &format!("{JOB}\n{windows}"));
    let said = all(&cli.call(&["check", "windows"]))
        + &all(&cli.call(&["check", "windows", "-o", "json"]));
    shows("check-windows", &said);
}

#[test]
fn the_ledger_can_be_installed_by_hand() {
    let (db, cli) = posts();
    let sql = cli.done(&["init", "--print-sql", "--operator", "some \"body"]).stdout;
    shows("init-print-sql", &sql);
    db.exec("CREATE ROLE \"some \"\"body\"");
    db.exec(&sql);
    shows("init", &all(&cli.call(&["init"])));
    cli.done(&["run", "posts-loc", "-y"]);
}

const PASSWORD: &str = "hunter2-s3cret%21";

#[test]
fn a_wrong_password_is_refused_at_once_and_shown_nowhere() {
    let (db, mut cli) = posts();
    db.exec("CREATE ROLE locked LOGIN PASSWORD 'another'");
    cli.url =
        format!("postgres://locked:{PASSWORD}@127.0.0.1:{}/{}?sslmode=disable", port(), db.name);
    let answer = cli.call(&["run", "posts-loc", "-y", "-v"]);
    shows("error-password", &all(&answer));
}

#[test]
fn a_database_that_is_not_there_is_named() {
    let (_db, mut cli) = posts();
    cli.url =
        cli.url.replace(&format!("/{}", cli.url.rsplit('/').next().unwrap_or_default()), "/nosuch");
    shows("error-no-database", &all(&cli.call(&["status"])));
    cli.url = "postgres://localhost/x?sslmode=nonsense".into();
    shows("error-settings", &all(&cli.call(&["status"])));
}

#[test]
fn a_password_is_seen_by_nobody() {
    let (db, mut cli) = posts();
    db.exec("CREATE ROLE canary SUPERUSER LOGIN PASSWORD 'hunter2-s3cret!'");
    let held = {
        db.exec(
            "CREATE TABLE t AS SELECT id, 0 AS n FROM posts; ALTER TABLE t ADD PRIMARY KEY (id)",
        );
        Held::from(&db, 50)
    };
    cli.write("job", &Toml::increment().rows(10).text());
    cli.url =
        format!("postgres://canary:{PASSWORD}@127.0.0.1:{}/{}?sslmode=disable", port(), db.name);
    let running = cli.start(&["run", "job", "-y", "-v", "--progress", "jsonl"]);
    held.is_reached(&db);
    let is_seen = |text: &str| text.contains("hunter2");
    let activity =
        db.rows("SELECT application_name, query FROM pg_stat_activity WHERE usename = 'canary'");
    assert!(activity.iter().any(|row| row[0] == "piecemeal job"), "{activity:?}");
    assert!(!activity.iter().flatten().any(|text| is_seen(text)), "{activity:?}");
    held.release();
    let mut said = all(&running.wait().exits(0));
    for args in [
        &["status", "-o", "json"][..],
        &["history", "job"],
        &["plan", "job", "-v"],
        &["--help"],
        &["run", "nosuch"],
    ] {
        said += &all(&cli.call(args));
    }
    assert!(said.contains("done: job") && !is_seen(&said), "{said}");
    for table in ["run", "range", "journal"] {
        let rows = db.rows(&format!("SELECT it::text FROM piecemeal.{table} it"));
        assert!(!rows.iter().flatten().any(|text| is_seen(text)), "{rows:?}");
    }
}
