//! Time zones of the test's own, so that a minute of a wall clock ends when the test wants it to.
//!
//! The server's clock cannot be set, and windows begin and end with a minute. A zone, though, may be
//! a few seconds off the others: as Amsterdam was until 1940.

use std::fs;

use tempfile::TempDir;

use super::db::Db;

/// A directory of time zones.
pub(crate) struct Zones(TempDir);

impl Zones {
    /// Returns one without any.
    pub(crate) fn new() -> Zones {
        Zones(TempDir::new().expect("a folder"))
    }

    /// Adds a zone in which the clock shows 12:00:00 in so many seconds, by the server's clock.
    pub(crate) fn noon_in(&self, db: &Db, seconds: i64, name: &str) {
        self.turn_in(db, seconds, name, (12, 12));
    }

    /// Adds a zone in which the clock would show the first of two hours in so many seconds, by the server's clock, and
    /// is turned to the second one then.
    pub(crate) fn turn_in(&self, db: &Db, seconds: i64, name: &str, (from, to): (i64, i64)) {
        let at = db.number("SELECT floor(extract(epoch FROM clock_timestamp()))::int8") + seconds;
        // To the minute of the day, so that the day of the week is of no matter.
        let offset =
            |hour: i64| i32::try_from(hour * 3_600 - at % 86_400).expect("less than a day");
        fs::write(self.0.path().join(name), file(at, offset(from), offset(to))).expect("a zone");
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> std::path::PathBuf {
        self.0.path().to_owned()
    }
}

/// The file of a zone that has one offset from UTC before an instant, and another one from then on: RFC 9636,
/// version 1.
fn file(at: i64, before: i32, after: i32) -> Vec<u8> {
    let mut bytes = b"TZif".to_vec();
    bytes.extend([0; 16]);
    // No flags, no leap seconds; one change, two kinds of time, and the four letters of their name.
    for count in [0_u32, 0, 0, 1, 2, 4] {
        bytes.extend(count.to_be_bytes());
    }
    bytes.extend(i32::try_from(at).expect("an instant before 2038").to_be_bytes());
    bytes.push(1);
    for offset in [before, after] {
        bytes.extend(offset.to_be_bytes());
        bytes.extend([0, 0]);
    }
    bytes.extend(b"TST\0");
    bytes
}
