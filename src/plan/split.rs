//! Where a walk is cut into ranges: at keys that exist, so that each has as many rows as the others, and as
//! many that are to do.
//!
//! Often what is to do lies together, such as the oldest rows of a table whose others were done before: cut by
//! all rows, it would lie in a few ranges, and most workers would soon be idle. So the rows of the sample that
//! match `where` weigh more. A `where` that is too slow for that, or fails, leaves a cut by all rows.
//!
//! The number follows from the table and not from the workers: those change while a run goes on, and
//! processes join. There are more ranges than workers, so that none is idle for long at the end. The
//! server sorts and compares; a table that cannot be sampled in time is walked as one range.

use std::time::{Duration, Instant};

use super::found::keys;
use super::limits::read_guards;
use super::prepare::Plan;
use super::statements::matches;
use crate::pg::fault::is_lock_timeout;
use crate::pg::{Fault, Param, Session};
use crate::walk::{Heap, Key};

/// A table of so many rows or fewer is walked before a second worker would be of use.
const SMALL: u64 = 100_000;
/// Rows of a range: enough for a chunk in stripes beside other workers, which is some tens of batches.
const ROWS: u64 = 50_000;
/// The most ranges, and so the most workers that can be busy.
const MOST: u64 = 64;

/// Pages that are sampled, at first and whenever that took longer than others should wait. With 64 ranges
/// the first are 30 pages for each, and a range is a fifth larger or smaller than the others at most times.
const PAGES: [f64; 4] = [2_000.0, 1_000.0, 400.0, 80.0];
/// Rows that are taken of these pages, 300 for each of 64 ranges: more would only take longer to sort.
const SAMPLE: f64 = 20_000.0;
/// How long the smallest sample is tried.
const PATIENCE: Duration = Duration::from_secs(2);
/// The bytes of a page, unless the server was built with another size; then the sample is another.
pub(super) const PAGE: u64 = 8_192;

/// Decides into how many ranges a table of so many rows is cut.
pub(super) fn ranges(rows: Option<u64>) -> u32 {
    let wanted = rows.filter(|rows| *rows > SMALL).map_or(1, |rows| (rows / ROWS).min(MOST));
    u32::try_from(wanted).unwrap_or(1)
}

/// Decides how many of a table's pages are sampled, in percent.
fn percent(pages: u64, wanted: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let pages = pages.max(1) as f64;
    (wanted * 100.0 / pages).clamp(0.001, 100.0)
}

/// Decides which share of the rows on so many percent of the pages is taken, for a sample of so many of them.
fn share(sample: f64, rows: u64, percent: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let rows = rows.max(1) as f64;
    (sample * 100.0 / percent / rows).min(1.0)
}

/// Decides the same where it is not known how many rows a page has: for each try.
pub(super) fn percents_of_unknown(bytes: u64) -> impl Iterator<Item = f64> {
    PAGES.into_iter().map(move |wanted| percent(bytes / PAGE, wanted))
}

/// Returns the keys at which the walk of `plan` up to `upto` is cut, or the places.
///
/// # Errors
/// What passes: the connection is lost, or somebody has locked the table.
pub(crate) async fn cuts(
    session: &mut Session,
    plan: &Plan,
    upto: &Key,
) -> Result<Vec<Key>, Fault> {
    if plan.statements.physical.is_some() {
        return Ok(places(plan.heap_bytes / PAGE, plan.ranges().into()));
    }
    let weighs = plan.job.table.filter.is_some();
    cut_into(session, plan, (upto, plan.ranges()), weighs).await
}

/// Returns the keys that cut the table of `plan` up to `upto` by all rows, in whatever order it is walked.
///
/// # Errors
/// As for [`cuts`].
pub(crate) async fn cuts_by_key(
    session: &mut Session,
    plan: &Plan,
    upto: &Key,
) -> Result<Vec<Key>, Fault> {
    cut_into(session, plan, (upto, plan.ranges()), false).await
}

/// Returns the places that cut a file into so many parts of as many blocks, or fewer.
fn places(blocks: u64, parts: u64) -> Vec<Key> {
    let parts = parts.min(blocks);
    (1..parts).map(|part| Key::new(vec![Heap::before(part * blocks / parts)])).collect()
}

/// Returns the keys that cut it up to a key into so many ranges, or fewer; rows that match `where` count more if
/// it `weighs`.
async fn cut_into(
    session: &mut Session,
    plan: &Plan,
    (upto, ranges): (&Key, u32),
    weighs: bool,
) -> Result<Vec<Key>, Fault> {
    if ranges < 2 {
        return Ok(Vec::new());
    }
    // The same pages are in each sample, so that a try goes on where a slow disk has stopped the one before it.
    for wanted in PAGES.into_iter().filter(|_| weighs) {
        match sampled(session, plan, &weighed(plan, wanted), (upto, ranges)).await {
            Err(fault) if is_elsewhere(&fault) => return Err(fault),
            Ok(cuts) => return Ok(cuts),
            Err(_) => {}
        }
    }
    let since = Instant::now();
    let tries = PAGES.into_iter().chain(std::iter::repeat(PAGES[PAGES.len() - 1]));
    for (no, wanted) in tries.enumerate() {
        match sampled(session, plan, &plain(plan, wanted), (upto, ranges)).await {
            Ok(cuts) => return Ok(cuts),
            Err(fault) if is_elsewhere(&fault) => return Err(fault),
            Err(Fault::Smaller(_) | Fault::Again(_) | Fault::Unknown(_)) => {}
            // A smaller sample would meet the same.
            Err(Fault::BadRow(_) | Fault::Fatal(_)) => break,
        }
        if no >= PAGES.len() && since.elapsed() >= PATIENCE {
            break;
        }
    }
    Ok(Vec::new())
}

/// Whether it says nothing of the sample; and what is not cut now never will be.
fn is_elsewhere(fault: &Fault) -> bool {
    fault.spoils_connection() || is_lock_timeout(fault.message())
}

/// Returns the query that cuts by all rows.
fn plain(plan: &Plan, pages: f64) -> String {
    cuts_of(plan, pages, (SAMPLE, "false"))
}

/// Returns the one by which rows that match `where` weigh more. It may be what is slow, so fewer pages have fewer rows.
fn weighed(plan: &Plan, pages: f64) -> String {
    cuts_of(plan, pages, (SAMPLE * pages / PAGES[0], &matches(&plan.job)))
}

fn cuts_of(plan: &Plan, pages: f64, (rows, matches): (f64, &str)) -> String {
    let percent = percent(plan.heap_bytes / PAGE, pages);
    let share = share(rows, plan.estimate.unwrap_or(0), percent);
    plan.target.keyset.cuts(percent, share, matches)
}

async fn sampled(
    session: &mut Session,
    plan: &Plan,
    sql: &str,
    (upto, ranges): (&Key, u32),
) -> Result<Vec<Key>, Fault> {
    let guards = read_guards(&plan.job, &plan.target.search_path);
    let params = [Param::Int(ranges.into()), Param::Texts(Some(upto.values()))];
    let rows = session.transact(&guards, sql, &params).await?;
    Ok(keys(&rows)?)
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod server_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_small_table_or_one_of_unknown_size_is_one_range() {
        assert_eq!([ranges(None), ranges(Some(0)), ranges(Some(SMALL))], [1, 1, 1]);
        assert_eq!((ranges(Some(SMALL + 1)), ranges(Some(1_000_000))), (2, 20));
        assert_eq!(ranges(Some(u64::MAX)), 64);
    }

    #[test]
    fn a_file_is_cut_into_parts_of_as_many_blocks() {
        let places =
            |blocks, parts| places(blocks, parts).iter().map(Key::to_string).collect::<Vec<_>>();
        assert_eq!(places(10, 3), ["((3,0))", "((6,0))"]);
        assert_eq!(places(2, 64), ["((1,0))"]);
        assert_eq!((places(0, 64), places(100, 1)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_small_table_is_sampled_whole_and_a_large_one_in_pages() {
        assert!((percent(1_000, PAGES[0]) - 100.0).abs() < 1e-9);
        assert!((percent(1_000_000, PAGES[0]) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn of_rows_that_are_few_all_are_taken_and_of_many_a_share() {
        let about = |share: f64, wanted: f64| assert!((share - wanted).abs() < 1e-9, "{share}");
        about(share(SAMPLE, 20_000, 100.0), 1.0);
        about(share(SAMPLE, 2_000_000, 1.0), 1.0);
        about(share(SAMPLE, 2_000_000, 10.0), 0.1);
    }

    proptest! {
        #[test]
        fn it_is_a_percentage_whatever_the_catalog_says(pages: u64, rows: u64) {
            for wanted in PAGES {
                let percent = percent(pages, wanted);
                prop_assert!((0.001..=100.0).contains(&percent));
                let share = share(SAMPLE, rows, percent);
                prop_assert!(share > 0.0 && share <= 1.0, "{share}");
            }
        }
    }
}
