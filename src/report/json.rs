//! What programs read: versioned documents, apart from the internal types.
//!
//! Field names are a contract. Counts that could exceed 2^53 would be strings; rows of one table do
//! not. Keys are strings always.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::control::{Bad, Line};
use crate::error::Error;
use crate::finding::Finding;
use crate::run::{Eta, Event, Shown, Slowing, Snapshot, Status, Turn, as_timestamp};

/// The version of every document.
pub(super) const VERSION: u32 = 1;

/// Returns a run, as `status -o json` has it.
pub fn run(snapshot: &Snapshot) -> Value {
    let eta = snapshot.eta();
    let (low, high) = match eta {
        Eta::Between(low, high) => (Some(low.as_secs()), Some(high.as_secs())),
        Eta::Unknown | Eta::Measuring | Eta::Never => (None, None),
    };
    let pulse = &snapshot.pulse;
    json!({
        "job": snapshot.job, "run": snapshot.run, "phase": snapshot.phase.word(),
        "status": snapshot.status.word(), "intent": snapshot.intent.word(),
        "shown": snapshot.shown().to_string(), "reason": reason(snapshot), "since": snapshot.since,
        "rows": {
            "done": snapshot.rows.seen, "total": snapshot.keys(), "total_is_estimate": !snapshot.is_walked(),
            "changed": snapshot.rows.changed, "unchanged": snapshot.rows.unchanged,
            "quarantined": snapshot.rows.quarantined, "skipped": snapshot.rows.skipped,
        },
        "fraction": snapshot.fraction(),
        "rate": { "rows_per_s": pulse.rate, "limit_rows_per_s": pulse.limit },
        "eta_s": { "low": low, "high": high, "is_never": eta == Eta::Never },
        "batch": { "rows": pulse.rows, "p50_ms": pulse.p50_ms, "p95_ms": pulse.p95_ms, "count": snapshot.batches },
        "retries": snapshot.retries, "steps": snapshot.steps,
        "holding": pulse.holding.as_ref().filter(|_| snapshot.shown() == Shown::Holding).map(|it| json!({
            "by": it.by, "reason": it.reason, "value": it.value, "limit": it.limit,
            "floor_rows_per_s": it.floor, "for_s": snapshot.held_for().map(|time| time.as_secs_f64()),
        })),
        "slowing": pulse.slowing.as_ref().map(|it| slowing(it, snapshot.now)), "window": pulse.window, "vacuum": pulse.vacuum, "held": snapshot.held,
        "ranges": { "total": snapshot.ranges.0, "done": snapshot.ranges.1 },
        "owner": snapshot.owner.as_ref().map(|owner| json!({
            "host": owner.host, "pid": owner.pid, "live": owner.is_live,
        })),
        "workers": snapshot.workers(), "members": snapshot.members,
        "verified": snapshot.verified, "started_at": snapshot.started_at, "updated_at": snapshot.updated_at,
    })
}

fn slowing(slowing: &Slowing, now: f64) -> Value {
    let mut document = of_slowing(slowing);
    document["for_s"] = (now - slowing.since).max(0.0).into();
    document
}

fn slowed(slowing: &Slowing) -> Value {
    let mut document = of_slowing(slowing);
    document["since"] = since(slowing.since).into();
    document
}

fn of_slowing(it: &Slowing) -> Value {
    json!({
        "by": it.by, "reason": it.reason, "value": it.value, "limit": it.limit, "share": it.share,
    })
}

fn of_turn(it: &Turn) -> Value {
    json!({
        "was": it.was, "now": it.now, "limit_rows_per_s": it.limit, "since": since(it.since),
    })
}

/// As all other times have it.
pub(super) fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn since(seconds: f64) -> String {
    instant(as_timestamp(seconds))
}

fn reason(snapshot: &Snapshot) -> Option<&str> {
    let pulse = &snapshot.pulse;
    match snapshot.shown() {
        Shown::Holding => pulse.holding.as_ref().map(|it| it.reason.as_str()),
        Shown::As(Status::Running) => pulse.trouble.as_deref(),
        Shown::As(_)
        | Shown::Pausing
        | Shown::Cancelling
        | Shown::Stalled
        | Shown::Verified
        | Shown::Contracted
        | Shown::Undone => snapshot.reason.as_deref(),
    }
}

/// Returns the document of `status -o json`.
pub fn runs(snapshots: &[Snapshot]) -> Value {
    json!({ "v": VERSION, "runs": snapshots.iter().map(run).collect::<Vec<_>>() })
}

/// Returns the document of a failure.
pub fn error(error: &Error) -> Value {
    let because = (!error.reasons().is_empty()).then(|| error.reasons().join("; "));
    json!({ "v": VERSION, "error": {
        "code": error.code(), "message": error.message(), "because": because,
        "committed": error.committed(), "hint": error.hint(), "sqlstate": error.sqlstate(),
        "findings": error.findings().iter().map(finding).collect::<Vec<_>>(),
    }})
}

/// Returns one finding.
pub fn finding(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.word(), "code": finding.code, "what": finding.what,
        "where": finding.place, "why": finding.why, "recipe": finding.recipe,
    })
}

/// Returns the document of `history -o json`.
pub fn history(lines: &[Line]) -> Value {
    let line = |line: &Line| json!({ "run": line.run, "at": line.at, "who": line.who, "what": line.what, "detail": line.detail });
    json!({ "v": VERSION, "history": lines.iter().map(line).collect::<Vec<_>>() })
}

/// Returns the document of `quarantine -o json`.
pub fn quarantine(snapshot: &Snapshot, rows: &[Bad]) -> Value {
    json!({
        "v": VERSION, "job": snapshot.job, "run": snapshot.run,
        "quarantined": snapshot.rows.quarantined, "skipped": snapshot.rows.skipped,
        "rows": rows.iter().map(row_of_quarantine).collect::<Vec<_>>(),
    })
}

/// Returns a line of `quarantine -o jsonl`.
pub fn bad(snapshot: &Snapshot, row: &Bad) -> Value {
    let mut line = row_of_quarantine(row);
    line["v"] = VERSION.into();
    line["job"] = snapshot.job.as_str().into();
    line["run"] = snapshot.run.into();
    line
}

fn row_of_quarantine(row: &Bad) -> Value {
    json!({
        "key": row.key, "state": row.state(), "sqlstate": row.sqlstate, "message": row.message,
        "seen_at": row.seen_at, "tried_at": row.tried_at, "tries": row.tries,
        "skipped": row.skipped.as_ref().map(|it| json!({ "at": it.at, "by": it.by, "reason": it.reason })),
    })
}

/// Returns a line of `--progress jsonl`, without its time; `None` for what programs are not told.
pub fn event(job: &str, event: &Event) -> Option<Value> {
    let (name, more) = told(event)?;
    let mut line = json!({ "v": VERSION, "job": job, "event": name });
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
    Some(line)
}

/// The name of an event, and what belongs to it.
fn told(event: &Event) -> Option<(&'static str, Value)> {
    Some(match event {
        Event::Started(snapshot) => ("started", json!({ "run": run(snapshot) })),
        Event::Progress(snapshot) => ("progress", json!({ "run": run(snapshot) })),
        Event::OneRange => ("one_range", json!({})),
        Event::Takeover { from } => ("takeover", json!({ "from": from })),
        Event::Joined { leader } => ("joined", json!({ "leader": leader })),
        Event::Waiting { owner } => ("waiting", json!({ "owner": owner })),
        Event::Retried { why, wait, rows } => {
            ("retried", json!({ "why": why, "wait_ms": wait.as_millis(), "rows": rows }))
        }
        Event::PutAside { upto, keys } => {
            ("put_aside", json!({ "upto": upto.values(), "keys": keys }))
        }
        Event::Lifted { key, give_way } => {
            ("lifted", json!({ "key": key.values(), "give_way_ms": give_way.as_millis() }))
        }
        Event::Quarantined { key, sqlstate, message } => (
            "quarantined",
            json!({ "key": key.values(), "sqlstate": sqlstate, "message": message }),
        ),
        Event::Held(holding) => (
            "held",
            json!({
                "by": holding.by, "reason": holding.reason, "value": holding.value,
                "limit": holding.limit, "floor_rows_per_s": holding.floor, "since": since(holding.since),
            }),
        ),
        Event::Released { by, lasted } => {
            ("released", json!({ "by": by, "lasted_s": lasted.as_secs_f64() }))
        }
        Event::Slowed(slowing) => ("slowed", slowed(slowing)),
        Event::Unslowed { by, lasted } => {
            ("unslowed", json!({ "by": by, "lasted_s": lasted.as_secs_f64() }))
        }
        Event::Window(turn) => ("window", of_turn(turn)),
        Event::Missed { events } => ("missed", json!({ "events": events })),
        Event::Vacuumed { took } => ("vacuumed", json!({ "took_s": took.as_secs_f64() })),
        Event::VacuumPutOff { why } => ("vacuum_put_off", json!({ "why": why })),
        Event::Paused(snapshot) => ("paused", json!({ "run": run(snapshot) })),
        Event::Leaving => ("leaving", json!({})),
        Event::Resumed => ("resumed", json!({})),
        Event::Throttled(turn) => ("throttled", of_turn(turn)),
        Event::Rewritten { times } => ("rewritten", json!({ "times": times })),
        Event::Partitions { attached, detached } => {
            ("partitions", json!({ "attached": attached, "detached": detached }))
        }
        Event::Statement { part, no, of, sql } => {
            ("statement", json!({ "part": part.word(), "no": no, "of": of, "sql": sql }))
        }
        Event::PassedOver { part, no, why } => {
            ("passed_over", json!({ "part": part.word(), "no": no, "why": why }))
        }
        Event::Blocked { by } => ("blocked", json!({ "by": by })),
        Event::GaveWay { to } => ("gave_way", json!({ "to": to })),
        Event::LetGo { table } => ("let_go", json!({ "table": table })),
        Event::Sweeping { pass, rows } => ("sweeping", json!({ "pass": pass, "rows": rows })),
        Event::Verified(snapshot) => ("verified", json!({ "run": run(snapshot) })),
        Event::BatchCommitted { .. } | Event::Verifying => return None,
    })
}

/// Returns the last line of `--progress jsonl`.
pub fn last(job: &str, name: &str, snapshot: Option<&Snapshot>, failure: Option<&Error>) -> Value {
    let mut line = json!({ "v": VERSION, "job": job, "event": name });
    if let Some(snapshot) = snapshot {
        line["run"] = run(snapshot);
    }
    if let Some(failure) = failure {
        line["error"] = error(failure)["error"].take();
    }
    line
}
