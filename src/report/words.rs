//! Numbers and times in words: one place, so that bar, lines and status say the same thing.

use std::time::Duration;

use crate::run::{Eta, Phase, Shown, Slowing, Snapshot, Status};
pub use crate::run::{count, counted, plain};

/// Writes a large count in short, as in `29.3M`.
pub fn short(n: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits for people")]
    let n_f = n as f64;
    match n {
        0..10_000 => count(n),
        10_000..1_000_000 => format!("{:.1}k", n_f / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", n_f / 1e6),
        _ => format!("{:.1}G", n_f / 1e9),
    }
}

/// Writes a time with its two largest units, as in `1h 41m`.
pub fn span(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{s}s"),
        60..3_600 => format!("{}m {}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Writes when it will be over, as in `ETA 38m–44m`.
pub fn eta(eta: Eta) -> String {
    match eta {
        Eta::Unknown => "ETA unknown".into(),
        Eta::Measuring => "ETA measuring".into(),
        Eta::Never => "ETA never, as it is now".into(),
        Eta::Between(low, high) => {
            let (low, high) = (span(rounded(low)), span(rounded(high)));
            if low == high { format!("ETA {low}") } else { format!("ETA {low}–{high}") }
        }
    }
}

/// An estimate of minutes is not told in seconds.
fn rounded(time: Duration) -> Duration {
    let step = match time.as_secs() {
        0..60 => 1,
        60..600 => 10,
        600..3_600 => 60,
        _ => 600,
    };
    Duration::from_secs(time.as_secs().div_ceil(step) * step)
}

/// Writes the fraction done, as in `61%`.
pub fn percent(fraction: Option<f64>) -> String {
    fraction.map_or("unknown".into(), |fraction| format!("{}%", (fraction * 100.0).floor()))
}

/// Writes how fast a run is and when it will be over, as in `8,421 rows/s   ETA 38m–44m`; nothing of one that does
/// not go on.
pub fn speed(snapshot: &Snapshot, gap: &str) -> String {
    if !snapshot.goes_on() {
        return String::new();
    }
    format!("{}{gap}{}", rate(snapshot.pulse.rate), eta(snapshot.eta()))
}

/// Writes a rate, as in `8,421 rows/s`.
pub fn rate(rows_per_second: Option<f64>) -> String {
    match rows_per_second {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is not negative"
        )]
        Some(rate) => format!("{} rows/s", count(rate.round() as u64)),
        None => "measuring".into(),
    }
}

/// Writes rows done of rows expected, as in `29.3M / ~48.0M rows`.
pub fn rows(snapshot: &Snapshot) -> String {
    let done = snapshot.done();
    match snapshot.total() {
        Some(total) if snapshot.is_walked() => {
            format!("{} / {} rows", short(done), short(total))
        }
        Some(total) => format!("{} / ~{} rows", short(done), short(total)),
        None => format!("{} / unknown rows", short(done)),
    }
}

/// Writes the phase, and the sweep if it is one.
pub fn phase(snapshot: &Snapshot) -> String {
    match (snapshot.phase, snapshot.pass) {
        (Phase::Backfill, pass @ 1..) => format!("sweep {pass}"),
        (phase, _) => phase.to_string(),
    }
}

/// Writes what the batches are like.
pub fn batch(snapshot: &Snapshot) -> String {
    let pulse = &snapshot.pulse;
    let mut parts = Vec::new();
    parts.extend(pulse.rows.map(|rows| format!("batch {}", counted(rows.into(), "rows"))));
    parts.extend(pulse.p95_ms.map(|p95| format!("p95 {p95:.0} ms")));
    let workers = snapshot.workers();
    parts.extend((workers > 1).then(|| format!("{workers} workers")));
    parts.extend(pulse.limit.map(|limit| format!("limit {} rows/s", count(limit.into()))));
    parts.push(format!("{} retried", snapshot.retries));
    parts.push(quarantined(snapshot));
    parts.extend(pulse.window.clone());
    parts.extend(pulse.vacuum.clone());
    parts.join(" · ")
}

/// Writes how many rows are recorded instead of done, as in `3 quarantined (1 skipped)`.
pub fn quarantined(snapshot: &Snapshot) -> String {
    let rows = &snapshot.rows;
    let skipped = (rows.skipped > 0).then(|| format!(" ({} skipped)", count(rows.skipped)));
    format!("{} quarantined{}", count(rows.quarantined), skipped.unwrap_or_default())
}

/// Writes why the run is not going, or what it is waiting out; `None` while all is well.
pub fn hold(snapshot: &Snapshot) -> Option<String> {
    let shown = snapshot.shown();
    match shown {
        Shown::As(Status::Running) => return slowed(snapshot),
        Shown::Holding => return Some(holding(snapshot)),
        Shown::As(_)
        | Shown::Pausing
        | Shown::Cancelling
        | Shown::Stalled
        | Shown::Verified
        | Shown::Contracted
        | Shown::Undone => {}
    }
    let is_owned = snapshot.owner.as_ref().is_some_and(|owner| owner.is_live);
    let why = snapshot.reason.as_deref().or(match shown {
        Shown::As(Status::Ready) if is_owned => Some("its owner goes on within a second"),
        Shown::As(Status::Ready) => Some("nobody works on it"),
        Shown::Stalled => Some("its owner has gone away without a word"),
        Shown::Verified => Some("contract comes next"),
        Shown::As(_)
        | Shown::Pausing
        | Shown::Cancelling
        | Shown::Holding
        | Shown::Contracted
        | Shown::Undone => None,
    });
    Some(why.map_or_else(|| shown.to_string(), |why| format!("{shown}: {why}")))
}

/// Writes what holds a run, as in `holding: replica-lag 7.2s > 5s, for 41s`, and what slows down that goes on.
fn holding(snapshot: &Snapshot) -> String {
    let Some(it) = &snapshot.pulse.holding else { return Shown::Holding.to_string() };
    let lasted = snapshot.held_for().unwrap_or_default();
    let floor = it.floor.map(|floor| format!(", at most {} rows/s", count(floor.into())));
    let slowed = snapshot.pulse.slowing.as_ref().map(|it| format!("; {}", slowing(it)));
    let (floor, slowed) = (floor.unwrap_or_default(), slowed.unwrap_or_default());
    format!("holding: {}{floor}, for {}{slowed}", it.reason, span(lasted))
}

/// Writes what a run that goes on is slowed by.
fn slowed(snapshot: &Snapshot) -> Option<String> {
    let pulse = &snapshot.pulse;
    if let Some(why) = &pulse.trouble {
        return Some(plain(&format!("waiting: {why}")));
    }
    pulse.slowing.as_ref().map(slowing)
}

/// Writes what slows a run down, as in `slowed to 40%: replica-lag 4.1s of 5s`.
pub fn slowing(slowing: &Slowing) -> String {
    format!("slowed to {}: {}", percent(Some(slowing.share)), slowing.reason)
}

/// Writes a run as one line.
pub fn line(snapshot: &Snapshot) -> String {
    if snapshot.is_of_statements() {
        let steps = counted(snapshot.steps, "statements");
        let state = hold(snapshot).map(|state| format!("  {state}")).unwrap_or_default();
        return format!("{}  {}  {steps}{state}", snapshot.job, snapshot.phase);
    }
    let head = format!("{}  {}  {}", snapshot.job, phase(snapshot), percent(snapshot.fraction()));
    let state = hold(snapshot).unwrap_or_else(|| speed(snapshot, "  "));
    format!("{head}  {}  {state}", rows(snapshot))
}

/// Writes how a run ended, in the words of the contract.
pub fn done(snapshot: &Snapshot) -> String {
    if snapshot.is_of_statements() {
        let steps = counted(snapshot.steps, "statements");
        let what = match snapshot.phase {
            Phase::Contract => "contracted",
            Phase::Down => "undone",
            Phase::Expand | Phase::Sync | Phase::Backfill | Phase::Verify => "done",
        };
        return format!("{what}: {}, {steps}", snapshot.job);
    }
    // The verification has a line of its own, with its own time.
    let walked = snapshot.elapsed - snapshot.looked.map_or(0.0, |(_, seconds)| seconds);
    let elapsed = Duration::try_from_secs_f64(walked).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let mean = snapshot.rows.changed as f64 / walked.max(0.001);
    let mut text = format!(
        "done: {}, {} in {} ({}), {}, {} retried, {}",
        snapshot.job,
        counted(snapshot.rows.changed, "rows"),
        span(elapsed),
        rate(Some(mean)),
        counted(snapshot.batches, "batches"),
        snapshot.retries,
        quarantined(snapshot),
    );
    text.extend(held(snapshot).map(|held| format!("\n{held}")));
    text.extend(verified(snapshot).map(|verified| format!("\nverified: {verified}")));
    text
}

/// Writes what held and slowed a run in all, as in `held 6m 12s: replica-lag 5m 50s, window 22s`;
/// `None` if nothing did.
pub fn held(snapshot: &Snapshot) -> Option<String> {
    let sums = [
        ("held", snapshot.held.by_reason(|spent| spent.held_s)),
        ("slowed by", snapshot.held.by_reason(|spent| spent.slowed_s)),
    ];
    let line = |(word, sums): (&str, Vec<(&str, Duration)>)| {
        let total: Duration = sums.iter().map(|(_, time)| *time).sum();
        let parts: Vec<_> = sums.iter().map(|(by, time)| format!("{by} {}", span(*time))).collect();
        (!sums.is_empty()).then(|| format!("{word} {}: {}", span(total), parts.join(", ")))
    };
    let lines: Vec<_> = sums.into_iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Writes by what a run was verified; nothing is claimed that was not looked at.
fn verified(snapshot: &Snapshot) -> Option<String> {
    let (looked, seconds) = snapshot.looked?;
    let took = span(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let looked = format!("{} looked at in {took}", counted(looked, "rows"));
    if snapshot.verified.as_deref() != Some("rows") {
        return Some(format!(
            "by the books alone: every range is at its end and the counts agree ({looked})"
        ));
    }
    let mut proofs = Vec::new();
    proofs.extend(snapshot.pending().is_checked().then_some("no row left for `where`"));
    proofs.extend(snapshot.has_expect.then_some("none against `expect`"));
    let skipped = snapshot.rows.skipped;
    let but = (skipped > 0).then(|| format!("but {} that were skipped", counted(skipped, "rows")));
    proofs.extend(but.as_deref());
    Some(format!("{} ({looked})", proofs.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_counts_are_cut_to_three_digits() {
        assert_eq!(short(29_300_112), "29.3M");
        assert_eq!(short(9_999), "9,999");
    }

    #[test]
    fn times_have_two_units() {
        assert_eq!(span(Duration::from_millis(430)), "0.4s");
        assert_eq!(span(Duration::from_mins(101)), "1h 41m");
        assert_eq!(span(Duration::from_hours(25)), "1d 1h");
    }

    #[test]
    fn an_eta_is_a_range_and_may_be_unknown() {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        assert_eq!(eta(Eta::Between(minutes(38), minutes(44))), "ETA 38m 0s–44m 0s");
        assert_eq!(eta(Eta::Measuring), "ETA measuring");
        assert_eq!(percent(None), "unknown");
        assert_eq!(percent(Some(0.999)), "99%");
    }
}
