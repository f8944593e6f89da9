//! A job as the rest of the program sees it: checked, with units read and defaults filled in.
//!
//! These are values. `file` and `resolve` make them from text, [`Builder`](super::Builder) writes such a text for
//! library users, and nothing else makes them. Spans point into `source`, for whoever finds a problem later.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::builder::Builder;
use super::fragment::Fragment;
use super::hold::Hold;
use super::name::TableName;
use super::problem::Problems;
use super::shape::Shape;
use super::source::Source;
use super::units::{Rate, show_duration};
use super::window::Window;
use super::{read, resolve};

/// What should change in one table, and how gently.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The name, 1 to 63 of letters, digits, `_`, `.` and `-`; the stem of the file.
    pub name: String,
    /// What it is for, in the words of its author.
    pub description: Option<String>,
    /// The table and which of its rows.
    pub table: Table,
    /// What is done to each row.
    pub work: Work,
    /// What is done to the schema before and after.
    pub shape: Shape,
    /// How large a batch is.
    pub batch: Batch,
    /// How fast batches follow each other.
    pub pace: Pace,
    /// What the run is held by, in the order of the file.
    pub holds: Vec<Hold>,
    /// What happens when the server refuses a row.
    pub bad_rows: BadRows,
    /// What is true of every row in the end.
    pub verify: Verify,
    /// How rows are kept in step while old and new columns live side by side; not at all if none.
    pub sync: Option<Sync>,
    /// The text it was read from.
    pub source: Source,
}

/// The table a job walks, and which of its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name; an empty one if a job of statements alone names no table.
    pub name: TableName,
    /// The columns of the key to walk by, 1 to 32; the primary key if none.
    pub key: Option<Vec<String>>,
    /// In which order its rows are walked.
    pub order: Order,
    /// `where`: the rows that are still to do; every row if none.
    pub filter: Option<Fragment>,
    /// Schemas searched after the table's own, for the SQL of the job.
    pub search_path: Vec<String>,
    /// Where the name is in the source.
    pub name_span: Range<usize>,
    /// Where the key is in the source.
    pub key_span: Option<Range<usize>>,
    /// Where the order is in the source.
    pub order_span: Option<Range<usize>>,
}

/// In which order the rows of a table are walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// That of the key.
    #[default]
    Key,
    /// That in which they lie in the table's file, for keys that are random.
    Physical,
}

impl Order {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Key, Self::Physical];

    /// Returns the word of the job file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Physical => "physical",
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it like this")]
    pub(super) fn is_key(&self) -> bool {
        *self == Self::Key
    }
}

/// What is done to each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Columns are set from expressions over the row, in place, in the order of the file; none in a job that has
    /// only statements.
    Set(Vec<Assignment>),
}

/// One column and what it is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The column, literally.
    pub column: String,
    /// The expression over the row.
    pub expression: Fragment,
    /// Where the column is in the source.
    pub column_span: Range<usize>,
}

/// How large a batch is, and how it commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// How many rows it takes.
    pub size: Size,
    /// The longest that others wait on it, 1 ms to 60 s; never less than the target. 100 ms if unset, or a target
    /// that is longer needs one.
    pub give_way: Duration,
    /// What the commit waits for.
    pub synchronous_commit: SynchronousCommit,
    /// In how many passes a chunk is updated.
    pub stripes: Stripes,
}

/// The part of `give_way` that work may aim at: what comes behind it, and chance, need the rest, or every
/// other batch would be cut off.
pub(crate) const ROOM: f64 = 0.8;

impl Batch {
    /// Returns what bounds the time that can be asked of a batch.
    pub fn target_bounds(&self) -> TargetBounds {
        match self.size {
            Size::Target { .. } => TargetBounds { give_way: self.give_way, rows: None },
            Size::Fixed(rows) => TargetBounds { give_way: self.give_way, rows: Some(rows) },
        }
    }
}

/// What bounds the time that can be asked of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetBounds {
    /// The longest that others wait on it.
    pub give_way: Duration,
    /// Its rows, where their number is fixed.
    pub rows: Option<u32>,
}

impl TargetBounds {
    /// Returns why a batch cannot aim at `target`, if it cannot.
    pub fn against(&self, target: Duration) -> Option<String> {
        if let Some(rows) = self.rows {
            return Some(format!(
                "its batches have {rows} rows (`batch.rows`), whatever time they take"
            ));
        }
        let (give_way, target) = (self.give_way, (target > self.give_way).then_some(target)?);
        let (give_way, target) = (show_duration(give_way), show_duration(target));
        Some(format!(
            "`batch.give_way` ({give_way}) is less than {target}, so every batch would be cut off"
        ))
    }
}

/// In how many committed passes a chunk is updated, each over a part of its rows: between them, the
/// server can prune the pages, and the later ones are HOT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stripes {
    /// As long as it pays.
    #[default]
    Auto,
    /// Always so many: 1 for a single pass, or a power of two up to 64.
    Fixed(u32),
}

/// The most passes: with more, a page has hardly a row for each of them.
const MAX_STRIPES: u32 = 64;

impl FromStr for Stripes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        match text.parse() {
            Ok(passes) if passes <= MAX_STRIPES && u32::is_power_of_two(passes) => {
                Ok(Self::Fixed(passes))
            }
            _ => Err(format!(
                "`{text}` is not a number of passes; write \"auto\", 1 for a single pass, or 2, 4, 8, 16, 32 or {MAX_STRIPES}"
            )),
        }
    }
}

/// How many rows a batch takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Size {
    /// As many as fit into a time.
    Target {
        /// The time to aim at, 1 ms to 10 s; 20 ms if unset.
        target: Duration,
        /// The fewest rows, at least 1, unless a limit of time or WAL says less; 100 if unset, or `max` if
        /// that is less.
        min: u32,
        /// The most rows, at most 1,000,000; 50,000 if unset, or `min` if that is more.
        max: u32,
    },
    /// Always so many, 1 to 1,000,000.
    Fixed(u32),
}

/// What the commit of a batch waits for, as `PostgreSQL` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SynchronousCommit {
    /// Nothing; the cursor commits with the rows, so a crash loses both or neither.
    #[default]
    Off,
    /// The local disk.
    Local,
    /// The standbys' memory.
    RemoteWrite,
    /// The standbys' disks.
    On,
    /// The standbys' readers.
    RemoteApply,
}

impl SynchronousCommit {
    /// All of them, from the fastest to the safest.
    pub const ALL: [Self; 5] =
        [Self::Off, Self::Local, Self::RemoteWrite, Self::On, Self::RemoteApply];

    /// Returns the setting's text for the server.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Local => "local",
            Self::RemoteWrite => "remote_write",
            Self::On => "on",
            Self::RemoteApply => "remote_apply",
        }
    }
}

/// How fast batches follow each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Pace {
    /// The most rows per second; no limit if none.
    pub rate: Option<Rate>,
    /// Ranges that each process walks side by side, 1 to 64; 1 if unset.
    pub workers: Option<u32>,
    /// When the table is vacuumed beside the walk.
    pub vacuum: Vacuum,
    /// A hold that lasts longer stops the run, resumable; 1 s to 30 days, 1 h if unset.
    pub max_hold: Duration,
    /// Stretches of the week with a pace of their own; the first that contains now applies.
    pub windows: Vec<Window>,
}

/// When the table is vacuumed beside the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vacuum {
    /// Never.
    Off,
    /// When the run has made so many dead rows, in percent of the table's rows, 1 to 100; 10 if unset.
    Every(u32),
}

impl fmt::Display for Vacuum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Every(percent) => write!(f, "{percent}%"),
        }
    }
}

/// What happens when the server refuses a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRows {
    /// Whether the run goes on.
    pub policy: Policy,
    /// The most rows that may be in quarantine at the same time; 100 if unset.
    pub max: u32,
}

/// What happens to a row that the server refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// The run stops at it, and can go on when it is fixed.
    #[default]
    Stop,
    /// It is recorded in the ledger, and the run goes on.
    Quarantine,
}

impl Policy {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Stop, Self::Quarantine];

    /// Returns its word in the job file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Quarantine => "quarantine",
        }
    }
}

/// What is true of every row in the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verify {
    /// A condition that must be true, not only not false, for every row.
    pub expect: Option<Fragment>,
}

/// How a trigger keeps rows in step that others write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// The new columns from the old ones; `[set]` if the job does not say.
    pub forward: Vec<Assignment>,
    /// The old columns from the new ones; empty if the old ones may fall behind.
    pub reverse: Vec<Assignment>,
    /// Which rows are kept in step; every row if none.
    pub filter: Option<Fragment>,
    /// Whether `forward` may read what it writes. Only the way back may: the columns that it fills are empty.
    pub over_itself: bool,
}

impl Job {
    /// Reads a job from the text of its file, and reports everything that is wrong with it.
    pub fn parse(name: &str, source: Source) -> Result<Self, Problems> {
        resolve::resolve(name, source)
    }

    /// Reads a job from a regular file of at most 1 MiB of UTF-8; the stem of the file is its name.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Problems> {
        let path = path.as_ref();
        let source = read::read(path)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&stem, source)
    }

    /// Whether it changes rows; if not, it is a migration of statements alone.
    pub fn has_work(&self) -> bool {
        let Work::Set(assignments) = &self.work;
        !assignments.is_empty()
    }

    /// Starts a job in Rust; it is checked like a file when it is built.
    pub fn builder(name: impl Into<String>, table: impl AsRef<str>) -> Builder {
        Builder::new(name.into(), table.as_ref())
    }
}
