//! What the traffic is measured beside.
//!
//! The backfills of the program are job files, so that a build that does not know a key leaves
//! that variant out instead of not compiling.

use piecemeal::Job;

use super::ground::{NEW, job};

/// Rows that the loop does before it commits.
const LOOP_ROWS: u32 = 1_000;

/// All variants, in the order of a round.
///
/// A baseline comes first and the UPDATE second, since the others are compared with them.
/// `target-20ms` says what the default is, so that it shows what two equal runs differ by.
pub(crate) const ALL: &[Variant] = &[
    Variant { name: ALONE, kind: Kind::Nothing },
    Variant { name: UPDATE, kind: Kind::Update },
    Variant { name: "loop", kind: Kind::Loop },
    Variant { name: DEFAULT, kind: Kind::Job("") },
    Variant { name: "vacuum-off", kind: Kind::Job("[pace]\nvacuum = \"off\"\n") },
    Variant { name: "target-5ms", kind: Kind::Job("[batch]\ntarget = \"5ms\"\n") },
    Variant { name: "target-20ms", kind: Kind::Job("[batch]\ntarget = \"20ms\"\n") },
    Variant {
        name: "target-100ms",
        kind: Kind::Job("[batch]\ntarget = \"100ms\"\ngive_way = \"500ms\"\n"),
    },
    Variant { name: HALF, kind: Kind::HalfSpeed },
    Variant {
        name: "commit-2ms",
        kind: Kind::Job("[[hold]]\non = \"commit-latency\"\nabove = \"2ms\"\n"),
    },
    Variant {
        name: "commit-4ms",
        kind: Kind::Job("[[hold]]\non = \"commit-latency\"\nabove = \"4ms\"\n"),
    },
    Variant { name: "latency", kind: Kind::Job("[[hold]]\non = \"latency\"\nabove = \"2ms\"\n") },
];

/// The traffic by itself, which everything is compared with.
pub(crate) const ALONE: &str = "alone";
/// One plain UPDATE.
pub(crate) const UPDATE: &str = "update";
/// The program as it comes.
pub(crate) const DEFAULT: &str = "default";
/// Half of the speed of `default`.
pub(crate) const HALF: &str = "half-rate";

/// One of the backfills.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    /// What it is called on the command line and in the table.
    pub(crate) name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Nothing,
    Update,
    Loop,
    /// A job file with these lines more.
    Job(&'static str),
    HalfSpeed,
}

/// What is to be done for a variant.
pub(crate) enum Work {
    /// Wait.
    Nothing,
    /// Run this statement.
    Statement(String),
    /// Walk.
    Job(Box<Job>),
}

impl Variant {
    /// Returns the work on so many rows; `speed` is that of the default.
    pub(crate) fn work(self, rows: u32, speed: Option<f64>) -> Result<Work, String> {
        match self.kind {
            Kind::Nothing => Ok(Work::Nothing),
            Kind::Update => Ok(Work::Statement(format!("UPDATE t SET new = {NEW}"))),
            Kind::Loop => Ok(Work::Statement(looped(rows))),
            Kind::Job(more) => job(None, more).map(|job| Work::Job(Box::new(job))),
            Kind::HalfSpeed => {
                let half = speed.ok_or("the speed of `default` is not known")? / 2.0;
                job(None, &format!("[pace]\nrate = \"{half:.0} rows/s\"\n"))
                    .map(|job| Work::Job(Box::new(job)))
            }
        }
    }
}

fn looped(rows: u32) -> String {
    format!(
        "DO $$ BEGIN
           FOR batch IN 0..{} LOOP
             UPDATE t SET new = {NEW} WHERE id > batch * {LOOP_ROWS} AND id <= (batch + 1) * {LOOP_ROWS};
             COMMIT;
           END LOOP;
         END $$",
        rows.saturating_sub(1) / LOOP_ROWS
    )
}

/// Chooses variants by name, in the order of a round, with those that they are compared with.
pub(crate) fn choose(names: &[String]) -> Result<Vec<Variant>, String> {
    if let Some(unknown) = names.iter().find(|name| ALL.iter().all(|it| it.name != **name)) {
        let known: Vec<_> = ALL.iter().map(|it| it.name).collect();
        return Err(format!("there is no variant {unknown:?}; they are {}", known.join(", ")));
    }
    let is_asked = |name: &str| names.is_empty() || names.iter().any(|it| it == name);
    let is_needed = |name: &str| name == ALONE || (name == DEFAULT && is_asked(HALF));
    let chosen = ALL.iter().filter(|it| is_asked(it.name) || is_needed(it.name));
    Ok(chosen.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<Vec<&'static str>, String> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        Ok(choose(&names)?.iter().map(|it| it.name).collect())
    }

    #[test]
    fn what_a_variant_is_compared_with_comes_before_it() {
        assert_eq!(chosen(&["loop"]).unwrap(), [ALONE, "loop"]);
        assert_eq!(chosen(&[HALF, UPDATE]).unwrap(), [ALONE, UPDATE, DEFAULT, HALF]);
        assert_eq!(chosen(&[]).unwrap().len(), ALL.len());
        assert!(chosen(&["lop"]).is_err());
    }

    #[test]
    fn the_default_says_nothing_about_pace() {
        let work = ALL.iter().find(|it| it.name == DEFAULT).unwrap().work(1, None);
        let Ok(Work::Job(job)) = work else { panic!("a job") };
        let plain = Job::builder("bench", "public.t").set("new", NEW).build().unwrap();
        assert_eq!((&job.pace, &job.batch, &job.holds), (&plain.pace, &plain.batch, &plain.holds));
    }

    #[test]
    fn the_loop_reaches_the_last_row() {
        assert!(looped(1_000).contains("0..0 LOOP") && looped(1_001).contains("0..1 LOOP"));
    }
}
