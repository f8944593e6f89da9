//! What a job does to the schema around its rows: statements before and after, and what is waited for.

use std::fmt;
use std::ops::Range;

use super::fragment::Fragment;

/// The schema side of a job; empty for a plain backfill.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shape {
    /// Adds the new shape, before any row is changed.
    pub expand: Steps,
    /// Takes the old shape away, when every row is done and somebody says so.
    pub contract: Steps,
    /// What contract waits for.
    pub gates: Vec<Gate>,
    /// Jobs that must be done before this one begins.
    pub after: Vec<String>,
}

/// Statements that are run one by one, and those that undo them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Steps {
    /// The statements; none if the job has no such part.
    pub up: Vec<Fragment>,
    /// Those that undo all of them; `None` if there is no way back, and empty if none is needed.
    pub down: Option<Vec<Fragment>>,
}

/// Something that must hold before contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// A query that returns true when it holds; without one, a person says so.
    pub sql: Option<Fragment>,
    /// What it is about, for people.
    pub message: Option<String>,
    /// Where it is in the source.
    pub span: Range<usize>,
}

/// One of the four lists of statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// `[expand] up`.
    ExpandUp,
    /// `[expand] down`.
    ExpandDown,
    /// `[contract] up`.
    ContractUp,
    /// `[contract] down`.
    ContractDown,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ExpandUp, Self::ExpandDown, Self::ContractUp, Self::ContractDown];

    /// Returns the word of the ledger, as in `expand.up`.
    pub fn word(self) -> &'static str {
        match self {
            Self::ExpandUp => "expand.up",
            Self::ExpandDown => "expand.down",
            Self::ContractUp => "contract.up",
            Self::ContractDown => "contract.down",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, key) = self.word().split_once('.').unwrap_or_default();
        write!(f, "[{table}] {key}")
    }
}

impl Shape {
    /// Whether the job changes the schema before its rows.
    pub fn expands(&self) -> bool {
        !self.expand.up.is_empty()
    }

    /// Whether the job takes something away in the end.
    pub fn contracts(&self) -> bool {
        !self.contract.up.is_empty()
    }

    /// Returns the statements of a part; `None` if the job does not say how.
    pub fn statements(&self, part: Part) -> Option<&[Fragment]> {
        match part {
            Part::ExpandUp => Some(&self.expand.up),
            Part::ExpandDown => self.expand.down.as_deref(),
            Part::ContractUp => Some(&self.contract.up),
            Part::ContractDown => self.contract.down.as_deref(),
        }
    }

    /// Goes through all statements, with the part that each is of.
    pub fn all(&self) -> impl Iterator<Item = (Part, &Fragment)> {
        Part::ALL.into_iter().flat_map(|part| {
            self.statements(part).unwrap_or_default().iter().map(move |it| (part, it))
        })
    }
}
