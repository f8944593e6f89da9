//! One result of preflight.
//!
//! A finding says what, where, why it matters and what to do about it. All of them are shown at
//! once, worst first; one refusal is enough for nothing to be written (R24).

use std::fmt;
use std::ops::Range;

/// How bad a finding is; the order is the order in which they are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The job cannot run like this.
    Refuse,
    /// It can, and somebody should know what it means first.
    Warn,
    /// Good to know.
    Note,
}

impl Severity {
    /// Returns the word that people and JSON see.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Refuse => "refuse",
            Severity::Warn => "warn",
            Severity::Note => "note",
        }
    }
}

/// One result of preflight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name, as in `key-nullable`.
    pub code: &'static str,
    /// What was found, in one line.
    pub what: String,
    /// The object it was found at.
    pub place: String,
    /// Why it matters.
    pub why: String,
    /// What to do, step by step; SQL where SQL does it.
    pub recipe: Vec<String>,
    /// The part of the job file that it is about.
    pub span: Option<Range<usize>>,
}

impl Finding {
    /// Returns a refusal; the other parts are added by the methods below.
    pub fn refuse(code: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Refuse, code, what.into())
    }

    /// Returns a warning.
    pub fn warn(code: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Warn, code, what.into())
    }

    /// Returns a note.
    pub fn note(code: &'static str, what: impl Into<String>) -> Finding {
        Finding::new(Severity::Note, code, what.into())
    }

    fn new(severity: Severity, code: &'static str, what: String) -> Finding {
        let (place, why) = (String::new(), String::new());
        Finding { severity, code, what, place, why, recipe: Vec::new(), span: None }
    }

    /// Says where it was found.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Finding {
        self.place = place.into();
        self
    }

    /// Says why it matters.
    #[must_use]
    pub fn because(mut self, why: impl Into<String>) -> Finding {
        self.why = why.into();
        self
    }

    /// Adds a step of the recipe.
    #[must_use]
    pub fn recipe(mut self, step: impl Into<String>) -> Finding {
        self.recipe.push(step.into());
        self
    }

    /// Says which part of the job file it is about.
    #[must_use]
    pub fn span(mut self, span: Option<Range<usize>>) -> Finding {
        self.span = span;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity.word(), self.code, self.what)?;
        if !self.place.is_empty() {
            write!(f, "\n  at: {}", self.place)?;
        }
        if !self.why.is_empty() {
            write!(f, "\n  because: {}", self.why)?;
        }
        for (no, step) in self.recipe.iter().enumerate() {
            let label = if no == 0 { "  do: " } else { "      " };
            for (line_no, line) in step.lines().enumerate() {
                let label = if line_no == 0 { label } else { "      " };
                write!(f, "\n{label}{line}")?;
            }
        }
        Ok(())
    }
}
