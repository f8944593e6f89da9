//! The ways to change the table, by name.
//!
//! Walks are lines of a job file, so that a build that does not know a key says so, and the others are
//! measured all the same.

use piecemeal::Job;

use super::ground::{Key, Shape, job};
use super::sql;

/// What the others are compared with.
pub(crate) const UPDATE: &str = "update";
const COUNT: &str = "count";

/// All but the walks that are asked for, in the order of a round.
const ALL: [(&str, Kind); 6] = [
    (UPDATE, Kind::Update),
    (COUNT, Kind::Count),
    ("loop-1000", Kind::Loop(1_000)),
    ("loop-10000", Kind::Loop(10_000)),
    ("pg-batch", Kind::PgBatch),
    ("walk", Kind::Walk),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Update,
    Count,
    Loop(u32),
    PgBatch,
    /// A walk as it comes.
    Walk,
    /// A walk with more lines in its job, which are its name.
    WalkAs,
}

/// One way to change the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant {
    /// What it is called on the command line and in the table.
    pub(crate) name: String,
    kind: Kind,
}

/// What is to be done for a variant.
pub(crate) enum Work {
    /// Run a statement that changes nothing.
    Look(String),
    /// Run a statement, in a session that was told something first.
    Statement { first: &'static str, sql: String },
    /// Let the program from elsewhere do it.
    PgBatch,
    /// Walk.
    Walk(Box<Job>),
}

impl Variant {
    /// Returns the work, or why there is none.
    pub(crate) fn work(&self, shape: &Shape) -> Result<Work, String> {
        match self.kind {
            Kind::Update => Ok(Work::Statement { first: "", sql: sql::update(shape) }),
            Kind::Count => Ok(Work::Look(sql::count(shape))),
            Kind::Loop(rows) => {
                Ok(Work::Statement { first: sql::ON_THE_INDEX, sql: sql::looped(shape, rows) })
            }
            Kind::PgBatch if shape.key != Key::Bigint => {
                Err("its keys are one column of integers".to_owned())
            }
            Kind::PgBatch => Ok(Work::PgBatch),
            Kind::Walk => walk(shape, ""),
            Kind::WalkAs => walk(shape, &lines(&self.name)),
        }
    }
}

fn walk(shape: &Shape, more: &str) -> Result<Work, String> {
    job(shape.filter().as_deref(), more).map(|job| Work::Walk(Box::new(job)))
}

/// Returns what was written in one line as lines: a semicolon that is not in quotes ends one.
fn lines(text: &str) -> String {
    let mut quote = None;
    let line_end = |c: char| {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ';') => return '\n',
            _ => {}
        }
        c
    };
    let all: String = text.chars().map(line_end).collect();
    all.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

/// Chooses by name, with what they are compared with; jobs are walks, and always asked for.
pub(crate) fn choose(
    names: &[String],
    jobs: &[String],
    shape: &Shape,
) -> Result<Vec<Variant>, String> {
    let there: Vec<_> =
        ALL.iter().filter(|(name, _)| *name != COUNT || shape.matching.is_some()).collect();
    if let Some(unknown) = names.iter().find(|name| there.iter().all(|(it, _)| it != *name)) {
        let known: Vec<_> = there.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no variant {unknown:?} here; they are {}", known.join(", ")));
    }
    let is_asked = |name: &str| names.is_empty() || names.iter().any(|it| it == name);
    let named = there.iter().filter(|(name, _)| *name == UPDATE || is_asked(name));
    let named = named.map(|(name, kind)| Variant { name: (*name).to_owned(), kind: *kind });
    let walks = jobs.iter().map(|job| Variant { name: job.clone(), kind: Kind::WalkAs });
    Ok(named.chain(walks).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { rows: 9, key: Key::Bigint, indexes: 0, matching: None };
    const SPARSE: Shape = Shape { matching: Some(3), ..SHAPE };

    fn chosen(names: &[&str], jobs: &[&str], shape: &Shape) -> Result<Vec<String>, String> {
        let owned = |all: &[&str]| all.iter().map(|&it| it.to_owned()).collect::<Vec<_>>();
        let chosen = choose(&owned(names), &owned(jobs), shape)?;
        Ok(chosen.into_iter().map(|it| it.name).collect())
    }

    #[test]
    fn what_the_others_are_compared_with_comes_first() {
        assert_eq!(chosen(&["walk"], &["x = 1"], &SHAPE).unwrap(), [UPDATE, "walk", "x = 1"]);
        assert_eq!(chosen(&[], &[], &SPARSE).unwrap().len(), ALL.len());
        assert!(chosen(&["wlak"], &[], &SHAPE).is_err());
    }

    #[test]
    fn only_a_sparse_predicate_is_counted() {
        assert!(chosen(&[COUNT], &[], &SHAPE).is_err());
        assert_eq!(chosen(&[COUNT], &[], &SPARSE).unwrap(), [UPDATE, COUNT]);
    }

    #[test]
    fn a_semicolon_ends_a_line_unless_it_is_quoted() {
        assert_eq!(lines("a = 1; b = \"x;'y\" ;c = ';'"), "a = 1\nb = \"x;'y\"\nc = ';'");
    }

    #[test]
    fn a_job_has_the_lines_that_are_its_name() {
        let of =
            |name: &str, shape| Variant { name: name.to_owned(), kind: Kind::WalkAs }.work(shape);
        let Ok(Work::Walk(job)) = of("[pace]; rate = \"5 rows/s\"", &SPARSE) else {
            panic!("a job")
        };
        assert_eq!(job.pace.rate, Some("5 rows/s".parse().unwrap()));
        assert!(job.table.filter.is_some());
        let Err(why) = of("pace.wrokers = 2", &SHAPE) else { panic!("an unknown key") };
        assert!(why.contains("wrokers") && !why.contains('\n'), "{why}");
    }
}
