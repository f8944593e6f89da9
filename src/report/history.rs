//! What `throttle` changed, from old to new, as people read it in `history`.
//!
//! A pure view of a line of the journal; programs read the line itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::job::show_duration;
use crate::run::{Overrides, counted};

/// Writes what a `throttle` at the instant `at` changed, as in `rate 500 rows/s → 2,000 rows/s for 2h`;
/// `None` if `detail` is not that of a throttle.
pub fn throttled(at: &str, detail: &Value) -> Option<String> {
    let part = |name: &str| detail.get(name).and_then(Value::as_object);
    let (from, to) = (part("from")?, part("to")?);
    let base = |key: &str| base(detail, key);
    let keys: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let (mut changed, mut taken_back) = (Vec::new(), Vec::new());
    for key in keys {
        match (from.get(key), to.get(key)) {
            (before, Some(after)) if before != Some(after) => {
                let before = before.cloned().or_else(|| base(key));
                changed.push(change(key, before.as_ref(), after) + &lasting(at, after));
            }
            (Some(before), None) => {
                let after = base(key).map(|after| value(key, &after));
                let after = after.filter(|after| *after != value(key, before));
                let after = after.map(|after| format!(" → {after}")).unwrap_or_default();
                taken_back.push(words(key, before) + &after);
            }
            (Some(_) | None, Some(_)) | (None, None) => {}
        }
    }
    if !taken_back.is_empty() {
        changed.push(format!("taken back: {}", taken_back.join(", ")));
    }
    Some(if changed.is_empty() { nothing(to) } else { changed.join(", ") })
}

/// Writes what applied again when changes of pace expired, as in `rate 2,000 rows/s → 500 rows/s`; `None`
/// if `detail` does not say.
pub fn expired(detail: &Value) -> Option<String> {
    let part = |name: &str| detail.get(name).and_then(Value::as_object);
    let (from, to) = (part("from")?, part("to")?);
    let over = |(key, before): (&String, &Value)| {
        let after = to.get(key).cloned().or_else(|| base(detail, key));
        after.map_or_else(
            || format!("{} is over", words(key, before)),
            |after| change(key, Some(before), &after),
        )
    };
    Some(
        from.iter()
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .map(over)
            .collect::<Vec<_>>()
            .join(", "),
    )
}

/// What job and flags say of what was changed, if that is known.
fn base(detail: &Value, key: &str) -> Option<Value> {
    Some(json!({ "value": detail.get("base")?.get(key)? }))
}

/// Writes which partitions came and went, or how many there were when the run was created; `None` if
/// `detail` does not say.
pub fn partitions(detail: &Value) -> Option<String> {
    let names = |key: &str| -> Option<Vec<&str>> {
        detail.get(key)?.as_array()?.iter().map(Value::as_str).collect()
    };
    let Some((attached, detached)) = names("attached").zip(names("detached")) else {
        let there = detail.get("partitions")?.as_object()?.len();
        return Some(format!("{} of the table", counted(there as u64, "partitions")));
    };
    Some(came_and_went(&attached, &detached))
}

/// Writes that a table is kept in step, and how, or is no more; `None` if `detail` does not say.
pub fn sync(detail: &Value) -> Option<String> {
    let table = detail.get("table")?.as_str()?;
    if !detail.get("kept")?.as_bool()? {
        return Some(format!("{table} is kept in step no more"));
    }
    let writes = detail.get("writes").and_then(Value::as_str).unwrap_or_default();
    Some(format!("a trigger keeps {table} in step, {writes}"))
}

/// Says which partitions came and which went, as in `attached: public.p3; detached: public.p1`.
pub fn came_and_went<T: AsRef<str>>(attached: &[T], detached: &[T]) -> String {
    let part = |what: &str, names: &[T]| {
        let names: Vec<_> = names.iter().map(AsRef::as_ref).collect();
        (!names.is_empty()).then(|| format!("{what}: {}", names.join(", ")))
    };
    let parts = [part("attached", attached), part("detached", detached)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn nothing(to: &Map<String, Value>) -> String {
    if to.is_empty() { "there was nothing to take back" } else { "nothing changed" }.into()
}

/// One change under its key, as in `rate 500 rows/s → 2,000 rows/s`, or `windows → off`.
fn change(key: &str, before: Option<&Value>, after: &Value) -> String {
    let (name, new) = (name(key), value(key, after));
    match before.map(|before| value(key, before)) {
        None => format!("{name} → {new}"),
        Some(old) if old == new && key == "schedule" => format!("{name} stay {new}"),
        Some(old) if old == new => format!("{name} stays {new}"),
        Some(old) => format!("{name} {old} → {new}"),
    }
}

fn name(key: &str) -> &str {
    match key {
        "target_ms" => "target",
        "schedule" => "windows",
        key => key.strip_prefix("hold ").unwrap_or(key),
    }
}

fn words(key: &str, entry: &Value) -> String {
    let value = entry.get("value").filter(|value| !value.is_null());
    value.map_or_else(|| format!("{} no limit", name(key)), |it| Overrides::in_words(key, it))
}

/// The value without the name of what it is of.
fn value(key: &str, entry: &Value) -> String {
    let words = words(key, entry);
    let names = [key, name(key), "window"];
    let bare = names.iter().find_map(|name| words.strip_prefix(name)?.strip_prefix(' '));
    bare.map_or(words.clone(), str::to_owned)
}

/// How long a change lasts, if it has an end. Both instants are of one clock, and `at` has no part
/// of a second.
fn lasting(at: &str, entry: &Value) -> String {
    let until = entry.get("until").and_then(Value::as_str).and_then(|it| it.parse().ok());
    let span = |(at, until): (Timestamp, Timestamp)| {
        let seconds = u64::try_from(at.duration_until(until).as_secs()).ok()?;
        Some(format!(" for {}", show_duration(Duration::from_secs(seconds))))
    };
    at.parse().ok().zip(until).and_then(span).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "2026-07-01T12:00:00Z";

    fn for_ever(value: impl Into<Value>) -> Value {
        json!({ "value": value.into(), "until": null })
    }

    fn shown(from: &Value, to: &Value) -> String {
        throttled(AT, &json!({ "from": from, "to": to })).unwrap()
    }

    #[test]
    fn a_change_is_told_from_old_to_new_with_its_length() {
        let until = json!({ "value": 2_000, "until": "2026-07-01T14:00:00.734+00:00" });
        let from = json!({ "rate": for_ever(500), "hold replica-lag": for_ever("10s") });
        let to = json!({ "rate": until, "hold replica-lag": for_ever("20s") });
        assert_eq!(
            shown(&from, &to),
            "replica-lag 10s → 20s, rate 500 rows/s → 2,000 rows/s for 2h"
        );
        let early = json!({ "value": 5, "until": "2026-07-01T11:00:00+00:00" });
        assert_eq!(shown(&json!({}), &json!({ "target_ms": early })), "target → 5 ms");
    }

    #[test]
    fn what_only_now_has_a_value_has_no_old_one() {
        let to = json!({ "schedule": for_ever(json!([])), "hold busy": for_ever("off") });
        assert_eq!(shown(&json!({}), &to), "busy → off, windows → off");
    }

    #[test]
    fn what_job_and_flags_say_is_the_old_value_where_nobody_had_changed_it() {
        let base = json!({ "rate": null, "workers": 2 });
        let to = json!({ "rate": for_ever(500), "workers": for_ever(3) });
        let told = |from: &Value, to: &Value| {
            throttled(AT, &json!({ "from": from, "to": to, "base": base })).unwrap()
        };
        assert_eq!(told(&json!({}), &to), "rate no limit → 500 rows/s, workers 2 → 3");
        let cleared = "taken back: rate 500 rows/s → no limit, workers 3 → 2";
        assert_eq!(told(&to, &json!({})), cleared);
        let over = |detail: &Value| expired(detail).unwrap();
        let to = json!({ "rate": for_ever(500), "hold busy": for_ever("off") });
        let lasting = json!({ "from": to, "to": { "rate": for_ever(9) }, "base": base });
        assert_eq!(over(&lasting), "busy off is over, rate 500 rows/s → 9 rows/s");
        let nothing = json!({ "from": { "rate": for_ever(500) }, "to": {}, "base": base });
        assert_eq!(over(&nothing), "rate 500 rows/s → no limit");
    }

    #[test]
    fn what_stays_is_not_told_and_a_new_length_is() {
        let kept = json!({ "rate": for_ever(500), "target_ms": for_ever(5) });
        let longer = json!({ "value": 500, "until": "2026-07-01T12:00:30+00:00" });
        let to = json!({ "rate": longer, "target_ms": for_ever(5) });
        assert_eq!(shown(&kept, &to), "rate stays 500 rows/s for 30s");
        assert_eq!(shown(&kept, &kept), "nothing changed");
    }

    #[test]
    fn what_was_cleared_is_taken_back() {
        let from = json!({ "rate": for_ever(500), "schedule": for_ever(json!([])) });
        assert_eq!(shown(&from, &json!({})), "taken back: rate 500 rows/s, windows off");
        assert_eq!(shown(&json!({}), &json!({})), "there was nothing to take back");
    }

    #[test]
    fn a_table_is_kept_in_step_or_no_more() {
        let kept = json!({ "table": "public.t", "kept": true, "writes": "forward to n" });
        assert_eq!(sync(&kept).unwrap(), "a trigger keeps public.t in step, forward to n");
        let ended = json!({ "table": "public.t", "kept": false });
        assert_eq!(sync(&ended).unwrap(), "public.t is kept in step no more");
        assert_eq!(sync(&json!({})), None);
    }

    #[test]
    fn windows_and_what_a_newer_release_wrote_are_told_too() {
        let window = json!({
            "when": { "days": ["Mon"], "from": "08:00", "to": "20:00" }, "colour": "red",
        });
        let to = json!({ "colour": for_ever("red"), "schedule": for_ever(json!([window])) });
        let shown = shown(&json!({}), &to);
        assert!(shown.starts_with("colour → \"red\", windows → "), "{shown}");
        assert_eq!(throttled(AT, &json!({ "reason": "x" })), None);
    }
}
