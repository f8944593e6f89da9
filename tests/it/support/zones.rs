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
        // To the minute of the day, so that the day of the week is of no matter.
        let now = db.number("SELECT floor(extract(epoch FROM clock_timestamp()))::int8 % 86400");
        let offset = i32::try_from(12 * 3_600 - now - seconds).expect("less than a day");
        fs::write(self.0.path().join(name), file(offset)).expect("a zone");
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> std::path::PathBuf {
        self.0.path().to_owned()
    }
}

/// The file of a zone that always has the same offset from UTC: RFC 9636, version 1.
fn file(offset: i32) -> Vec<u8> {
    let mut bytes = b"TZif".to_vec();
    bytes.extend([0; 16]);
    // No flags, no leap seconds, no changes; one kind of time, and the four letters of its name.
    for count in [0_u32, 0, 0, 0, 1, 4] {
        bytes.extend(count.to_be_bytes());
    }
    bytes.extend(offset.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(b"TST\0");
    bytes
}
