//! `archive-backlog`: how many WAL segments wait to be archived.
//!
//! They are counted where this role may list them. Where it may not, what the archiver says of its
//! last success is compared with where WAL is written now.

use futures_util::future::BoxFuture;
use serde::Deserialize;

use super::reading::{Blind, Reading, Unit};
use super::{Throttler, ask};
use crate::job::Limit;
use crate::pg::Session;

const ARCHIVER: &str = "\
SELECT pg_catalog.jsonb_build_object(
    'role', pg_catalog.quote_ident(CURRENT_USER),
    'is_on', pg_catalog.current_setting('archive_mode') <> 'off',
    'can_list', pg_catalog.has_function_privilege('pg_catalog.pg_ls_archive_statusdir()', 'EXECUTE'),
    'segment_size', (SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))),
    'current', pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()),
    'last', a.last_archived_wal, 'failed', a.failed_count)
FROM pg_catalog.pg_stat_archiver a";

const LIST: &str = "\
SELECT pg_catalog.to_jsonb(count(*)) FROM pg_catalog.pg_ls_archive_statusdir() f WHERE f.name LIKE '%.ready'";

const UNIT: Unit = Unit::Things("segments");

#[derive(Debug, Deserialize)]
struct Archiver {
    role: String,
    is_on: bool,
    can_list: bool,
    segment_size: u64,
    current: String,
    last: Option<String>,
    failed: u64,
}

impl Archiver {
    fn blind(&self, why: impl Into<String>) -> Blind {
        let grant = "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_archive_statusdir() TO";
        Blind::new(why).recipe(format!("{grant} {};", self.role))
    }

    /// Returns how many segments wait, from the names of files alone.
    fn waiting(&self) -> Result<u64, Blind> {
        let number = |name: &str| {
            segment(name, self.segment_size)
                .ok_or_else(|| self.blind(format!("{name} is not the name of a WAL segment")))
        };
        match &self.last {
            // The segment that is being written waits for nobody.
            Some(last) => {
                Ok(number(&self.current)?.saturating_sub(number(last)?).saturating_sub(1))
            }
            None if self.failed == 0 => Ok(0),
            None => Err(self.blind(
                "nothing was archived since the statistics were reset, and attempts failed",
            )),
        }
    }
}

/// Returns the number of a segment, counted from the beginning of all WAL; the timeline, which comes
/// first in its name, changes nothing about it. A part of a segment or its backup label counts as it.
fn segment(name: &str, size: u64) -> Option<u64> {
    let part = |range| u64::from_str_radix(name.get(range)?, 16).ok();
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    name.get(..24).filter(|text| is_hexadecimal(text))?;
    let (high, low) = (part(8..16)?, part(16..24)?);
    let each = 0x1_0000_0000_u64.checked_div(size)?;
    high.checked_mul(each)?.checked_add(low)
}

/// Counts segments that wait to be archived.
pub(super) struct ArchiveBacklog {
    pub(super) name: String,
    pub(super) limit: Limit,
}

impl Throttler for ArchiveBacklog {
    fn name(&self) -> &str {
        &self.name
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        Box::pin(async move {
            let archiver: Archiver = ask::one(session, ARCHIVER, &[]).await?;
            // The privilege is checked before the first row is read, so this is a statement of its own.
            let waiting = match (archiver.is_on, archiver.can_list) {
                (false, _) => 0,
                (true, true) => ask::one(session, LIST, &[]).await?,
                (true, false) => archiver.waiting()?,
            };
            let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
            Ok(Reading::of(f64::from(waiting), UNIT, self.limit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB_16: u64 = 16 << 20;

    fn archiver(current: &str, last: Option<&str>, failed: u64) -> Archiver {
        Archiver {
            role: "app".into(),
            is_on: true,
            can_list: false,
            segment_size: MIB_16,
            current: current.into(),
            last: last.map(str::to_owned),
            failed,
        }
    }

    fn waiting(current: &str, last: &str) -> Result<u64, Blind> {
        archiver(current, Some(last), 3).waiting()
    }

    #[test]
    fn segments_are_counted_between_the_last_one_and_the_one_that_is_written() {
        assert_eq!(waiting("000000010000000000000007", "000000010000000000000006"), Ok(0));
        assert_eq!(waiting("000000010000000000000007", "000000010000000000000002"), Ok(4));
        // Over the end of a log file of 4 GiB, and of a timeline.
        assert_eq!(waiting("000000010000000100000001", "0000000100000000000000FE"), Ok(2));
        assert_eq!(waiting("00000002000000000000000A", "000000010000000000000007"), Ok(2));
        let backup = "000000010000000000000005.00000028.backup";
        assert_eq!(waiting("000000010000000000000007", backup), Ok(1));
        assert_eq!(waiting("000000010000000000000001", "000000010000000000000006"), Ok(0));
    }

    #[test]
    fn the_size_of_a_segment_decides_how_many_a_log_file_has() {
        assert_eq!(segment("000000010000000100000000", MIB_16), Some(256));
        assert_eq!(segment("000000010000000100000000", 1 << 30), Some(4));
        assert_eq!(segment("000000010000000100000000", 0), None);
    }

    #[test]
    fn what_is_not_known_is_not_taken_for_nothing() {
        assert_eq!(archiver("000000010000000000000007", None, 0).waiting(), Ok(0));
        let blind = archiver("000000010000000000000007", None, 2).waiting().unwrap_err();
        assert!(blind.recipe.unwrap().ends_with("pg_ls_archive_statusdir() TO app;"));
        for name in ["00000002.history", "", "zz0000010000000000000007", "0000000100000000000000é7"]
        {
            assert!(waiting("000000010000000000000007", name).is_err(), "{name}");
        }
    }
}
