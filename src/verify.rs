//! Does the table say what the job promised?
//!
//! Looks at every row from the first key to the last one there is now, in windows of its own: not
//! at the batches' chunks, not at the cursor, and not only up to the walk's upper end. `where` must
//! be true nowhere, where that says what is left to do; `expect` must be true everywhere, and NULL
//! is not true. Changes nothing. A verification that looked at no row of a table that has some is
//! an error (R25).

use std::time::Duration;

use crate::batch::took;
use crate::pg::{Fault, Param, Session};
use crate::plan::{Statements, keys};
use crate::run::{Failure, FailureKind, Pending, Rows, count, counted};
use crate::walk::{Key, Walk};

/// Keys of violations that are shown.
const SAMPLES: i64 = 5;

/// A stretch that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    /// The key before it.
    pub after: Option<Key>,
    /// Its last key.
    pub upto: Key,
    /// Rows in it.
    pub looked: u64,
    /// Rows for which `where` is true.
    pub still: u64,
    /// Rows for which `expect` is not true.
    pub broken: u64,
    /// How long that took, by the server's clock.
    pub took: Duration,
}

/// What the windows so far add up to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Rows looked at.
    pub looked: u64,
    /// Rows for which `where` is true.
    pub still: u64,
    /// Rows for which `expect` is not true.
    pub broken: u64,
    /// From before the first row that is left to do, to the end of the last window with one.
    pub stretch: Option<(Option<Key>, Key)>,
    /// Some keys that are not as they should be.
    pub samples: Vec<Key>,
}

impl Tally {
    /// Adds a window.
    pub(crate) fn add(&mut self, window: &Window) {
        self.looked += window.looked;
        self.still += window.still;
        self.broken += window.broken;
        if window.still > 0 {
            let after = match self.stretch.take() {
                Some((after, _)) => after,
                None => window.after.clone(),
            };
            self.stretch = Some((after, window.upto.clone()));
        }
    }

    /// Whether every row was as it should be, where `where` has turned out to be `pending`.
    pub(crate) fn is_clean(&self, pending: Pending) -> bool {
        self.broken == 0 && (self.still == 0 || !pending.is_checked())
    }

    /// Joins what was seen behind it.
    pub(crate) fn and(self, behind: Tally) -> Tally {
        let stretch = match (self.stretch, behind.stretch) {
            (Some((after, _)), Some((_, upto))) => Some((after, upto)),
            (one, other) => one.or(other),
        };
        Tally {
            looked: self.looked + behind.looked,
            still: self.still + behind.still,
            broken: self.broken + behind.broken,
            stretch,
            samples: if self.samples.is_empty() { behind.samples } else { self.samples },
        }
    }
}

/// Looks at one stretch, `(after, upto]`. Rows in the quarantine of the run are accounted for there.
pub(crate) async fn look(
    session: &mut Session,
    statements: &Statements,
    (run, is_lifted): (i64, bool),
    (after, upto): (Option<&Key>, &Key),
) -> Result<Window, Fault> {
    let mut params = vec![Param::Int(run), Param::Texts(Some(upto.values()))];
    params.extend(after.map(|after| Param::Texts(Some(after.values()))));
    let sql = statements.look.of_stretch(after.is_some());
    let begin = statements.by_key.begin_read(is_lifted);
    let rows = session.transact_prepared(begin, sql, &params).await?;
    let count = |name: &str| {
        rows.first().and_then(|row| u64::try_from(row.get::<_, i64>(name)).ok()).unwrap_or(0)
    };
    Ok(Window {
        after: after.cloned(),
        upto: upto.clone(),
        looked: count("looked"),
        still: count("still"),
        broken: count("broken"),
        took: rows.first().map(took).unwrap_or_default(),
    })
}

/// Returns some keys of a window that are not as they should be.
pub(crate) async fn sample(
    session: &mut Session,
    statements: &Statements,
    (run, is_lifted): (i64, bool),
    window: &Window,
    is_where_checked: bool,
) -> Result<Vec<Key>, Fault> {
    let mut params = vec![
        Param::Int(SAMPLES),
        Param::Texts(Some(window.upto.values())),
        Param::Bool(is_where_checked),
        Param::Int(run),
    ];
    params.extend(window.after.as_ref().map(|after| Param::Texts(Some(after.values()))));
    let sql = statements.sample.of_stretch(window.after.is_some());
    let begin = statements.by_key.begin_read(is_lifted);
    let rows = session.transact_prepared(begin, sql, &params).await?;
    Ok(keys(&rows)?)
}

/// Checks the books of a job that has nothing else to be checked by: the ranges tile, each is at
/// its end, and no row that was to be done was left as it is.
///
/// # Errors
/// What does not agree, in words.
pub(crate) fn books(walk: &Walk, rows: &Rows) -> Result<(), String> {
    walk.tiles().map_err(|gap| gap.to_string())?;
    left_alone(rows).map_or(Ok(()), Err)
}

/// Says that rows were to be done and were not, though nothing failed.
fn left_alone(rows: &Rows) -> Option<String> {
    (rows.unchanged > 0).then(|| {
        format!(
            "{} of {} were left as they are: a BEFORE trigger returned NULL for them, or somebody else changed them at that moment",
            count(rows.unchanged),
            counted(rows.matched, "rows")
        )
    })
}

/// What is to be proved, and of what run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question<'a> {
    /// The job's name.
    pub(crate) job: &'a str,
    /// What `where` has turned out to be.
    pub(crate) pending: Pending,
    /// Whether the job has an `expect`.
    pub(crate) has_expect: bool,
    /// What came of the rows.
    pub(crate) rows: &'a Rows,
    /// Sweeps so far.
    pub(crate) sweeps: u64,
    /// Whether the run can still go on.
    pub(crate) is_open: bool,
}

impl Question<'_> {
    /// Decides whether what was seen proves the job done, and by what. As long as rows wait in quarantine
    /// it is not, whatever else was seen.
    pub(crate) fn verdict(
        &self,
        tally: &Tally,
        books: Result<(), String>,
    ) -> Result<&'static str, Failure> {
        let judged = self.judge(tally, books);
        if self.rows.waiting() > 0 { Err(self.quarantined(judged)) } else { judged }
    }

    fn judge(&self, tally: &Tally, books: Result<(), String>) -> Result<&'static str, Failure> {
        let left = counted(tally.still, "rows");
        if tally.broken > 0 {
            let broken = counted(tally.broken, "rows");
            return Err(self.failure(
                tally,
                &format!("`expect` is not true for {broken}"),
                BROKEN,
                &self.next(),
            ));
        }
        if self.pending == Pending::Proven && tally.still > 0 {
            let sweeps = counted(self.sweeps, "sweeps");
            let what = if self.sweeps > 0 {
                format!("{left} still to do after {sweeps}")
            } else {
                format!("{left} still to do")
            };
            let why = if self.sweeps > 0 { OUTRUN } else { LEFT };
            let why = left_alone(self.rows).unwrap_or_else(|| why.to_owned());
            return Err(self.failure(tally, &what, &why, &self.next()));
        }
        if self.pending == Pending::Unproven && tally.still > 0 {
            let what = format!("{left} match `where`, and the walk had changed none");
            let why = left_alone(self.rows).unwrap_or_else(|| UNPROVEN.to_owned());
            return Err(self.failure(tally, &what, &why, &self.anew()));
        }
        if self.pending == Pending::Mixed && !self.has_expect {
            let what = "`where` is still true for some of the rows that are done";
            return Err(self.failure(tally, what, MIXED, NEEDS_EXPECT));
        }
        if self.proves_rows() {
            return Ok("rows");
        }
        books
            .map(|()| "books")
            .map_err(|why| self.failure(tally, "the books do not agree", &why, NEEDS_EXPECT))
    }

    /// Whether each row of the table says by itself that it is done.
    pub(crate) fn proves_rows(&self) -> bool {
        self.has_expect || self.pending.is_checked()
    }

    fn quarantined(&self, judged: Result<&'static str, Failure>) -> Failure {
        let job = self.job;
        let because = match judged {
            Ok("rows") => vec!["every other row is done and verified".to_owned()],
            Ok(_) => vec!["every other row is done, by the books".to_owned()],
            Err(besides) => std::iter::once(besides.message).chain(besides.because).collect(),
        };
        Failure {
            kind: FailureKind::Quarantined,
            message: format!(
                "run `{job}` has {} in quarantine",
                counted(self.rows.waiting(), "rows")
            ),
            because,
            hint: Some(format!(
                "`piecemeal quarantine {job}` shows them; repair them, then `piecemeal quarantine {job} --retry`; or accept them as they are with `--skip --reason`"
            )),
            sqlstate: None,
        }
    }

    fn failure(&self, tally: &Tally, what: &str, why: &str, hint: &str) -> Failure {
        let keys: Vec<_> = tally.samples.iter().map(Key::to_string).collect();
        let samples = (!keys.is_empty()).then(|| format!("for example keys {}", keys.join(", ")));
        Failure {
            kind: FailureKind::Unverified,
            message: format!("verification of `{}` failed: {what}", self.job),
            because: std::iter::once(why.to_owned()).chain(samples).collect(),
            hint: Some(hint.to_owned()),
            sqlstate: None,
        }
    }

    /// What brings rows in the old form into the new one.
    fn next(&self) -> String {
        let job = self.job;
        if self.is_open {
            return format!(
                "let the application write the new form, then `piecemeal resume {job}` sweeps and verifies again"
            );
        }
        format!(
            "let the application write the new form, then `piecemeal run {job} --again`; mind that it does every row that `where` selects"
        )
    }

    fn anew(&self) -> String {
        let job = self.job;
        format!("`piecemeal cancel {job}`, then `piecemeal run {job} --again`")
    }
}

const BROKEN: &str = "rows in the old form were written after the walk had passed them, or `[set]` does not do what `expect` says";
const OUTRUN: &str = "writers still produce rows in the old form, faster than they are done";
const LEFT: &str = "rows in the old form were written since the walk passed them";
const UNPROVEN: &str = "they appeared behind the walk; whether `where` says what is left to do cannot be known without a changed row";
const MIXED: &str =
    "of the others it is not, so it cannot be told from `where` which rows are left to do";
const NEEDS_EXPECT: &str =
    "look at the rows; a job with an `expect` under [verify] says what must be true of them";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::Range;

    fn window(after: Option<&str>, upto: &str, still: u64) -> Window {
        let key = |value: &str| Key::new(vec![value.to_owned()]);
        Window {
            after: after.map(key),
            upto: key(upto),
            looked: 10,
            still,
            broken: 0,
            took: Duration::ZERO,
        }
    }

    #[test]
    fn the_stretch_to_sweep_spans_all_windows_with_rows_left() {
        let mut tally = Tally::default();
        for window in [
            window(None, "1", 0),
            window(Some("1"), "2", 3),
            window(Some("2"), "3", 0),
            window(Some("3"), "4", 1),
        ] {
            tally.add(&window);
        }
        let key = |value: &str| Key::new(vec![value.to_owned()]);
        assert_eq!(tally.stretch, Some((Some(key("1")), key("4"))));
        assert_eq!((tally.looked, tally.still), (40, 4));
    }

    #[test]
    fn parts_that_are_joined_are_as_one() {
        let windows = [window(None, "1", 3), window(Some("1"), "2", 0), window(Some("2"), "3", 1)];
        let mut whole = Tally::default();
        let parts = windows.iter().map(|window| {
            let mut part = Tally::default();
            part.add(window);
            whole.add(window);
            part
        });
        let joined = parts.reduce(Tally::and);
        assert_eq!(joined, Some(whole));
    }

    #[test]
    fn a_stretch_from_the_very_first_row_stays_open_below() {
        let mut tally = Tally::default();
        tally.add(&window(None, "1", 1));
        tally.add(&window(Some("1"), "2", 1));
        assert_eq!(tally.stretch.map(|(after, _)| after), Some(None));
    }

    #[test]
    fn a_suppressed_row_unbalances_the_books() {
        let range = Range { done: true, ..Range::default() };
        let walk = Walk { ranges: vec![range], upto: None };
        let rows = Rows { matched: 7, changed: 6, quarantined: 1, ..Rows::default() };
        assert_eq!(books(&walk, &rows), Ok(()));
        let rows = Rows { unchanged: 1, quarantined: 0, ..rows };
        assert!(books(&walk, &rows).is_err());
    }

    #[test]
    fn rows_in_quarantine_stand_against_a_verified_end_until_they_are_skipped() {
        let rows = Rows { matched: 3, changed: 2, quarantined: 1, ..Rows::default() };
        let question = |rows| Question {
            job: "x",
            pending: Pending::Proven,
            has_expect: false,
            rows,
            sweeps: 0,
            is_open: true,
        };
        let clean = Tally { looked: 3, ..Tally::default() };
        let failure = question(&rows).verdict(&clean, Ok(())).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Quarantined);
        assert_eq!(failure.because, ["every other row is done and verified"]);
        let besides = Tally { still: 1, ..clean.clone() };
        let failure = question(&rows).verdict(&besides, Ok(())).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Quarantined, "5 wins over 6");
        assert!(failure.because[0].contains("1 row still to do"), "{failure:?}");
        let skipped = Rows { skipped: 1, ..rows };
        assert_eq!(question(&skipped).verdict(&clean, Ok(())), Ok("rows"));
    }
}
