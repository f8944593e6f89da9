//! The way back: which statements take a run back from where it is, or what is missing for that.

use crate::job::{Job, Part, Work};
use crate::ledger::shaped::Marks;
use crate::ledger::steps::Steps;
use crate::pg::fault::WITHOUT_EFFECT;
use crate::pg::literal;

/// Something without which a run cannot be taken back, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    /// A stable name.
    pub code: &'static str,
    /// What is missing, in one line.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

/// Returns the parts whose statements take the run back, in their order.
///
/// # Errors
/// Everything that is missing; nothing has been touched then.
pub(crate) fn way_back(job: &Job, steps: &Steps, marks: &Marks) -> Result<Vec<Part>, Vec<Missing>> {
    let is_under_way = steps.began(Part::ContractDown) || steps.began(Part::ExpandDown);
    let mut missing = Vec::new();
    let mut parts = Vec::new();
    for (up, down) in [(Part::ContractUp, Part::ContractDown), (Part::ExpandUp, Part::ExpandDown)] {
        if !steps.began(up) {
            continue;
        }
        if job.shape.statements(down).is_none() {
            missing.push(Missing {
                code: "down-missing",
                what: format!("statements of {up} were run, and there is no {down}"),
                hint: format!(
                    "write the statements that undo them as {down} of the job file, or `down = []` if nothing is to be undone"
                ),
            });
        }
        parts.push(down);
    }
    if !is_under_way {
        missing.extend(in_place(job, marks));
        missing.extend(dropped(job, marks));
    }
    if missing.is_empty() { Ok(parts) } else { Err(missing) }
}

/// Columns that were there before, and whose values were overwritten.
fn in_place(job: &Job, marks: &Marks) -> Option<Missing> {
    let Work::Set(assignments) = &job.work;
    let set = assignments.iter().map(|set| &set.column);
    let old: Vec<&str> =
        set.filter(|column| !marks.added.contains(column)).map(String::as_str).collect();
    (marks.changed > 0 && !old.is_empty()).then(|| Missing {
        code: "down-in-place",
        what: format!(
            "[set] has overwritten {}, and what was there before is not kept",
            listed(&old)
        ),
        hint: "restore the values from a backup, or write a job that computes them".into(),
    })
}

/// Whether the old columns, if `reverse` says what they are, may have to be computed from the new ones before
/// `[expand] down`: once contract has begun, they may be kept in step no more.
pub(crate) fn reverses(steps: &Steps) -> bool {
    steps.began(Part::ContractUp) && !steps.began(Part::ExpandDown)
}

/// Returns one statement that runs each of these, and passes over those that find nothing to undo.
pub(crate) fn in_parts(parts: &[String]) -> String {
    let codes = WITHOUT_EFFECT.map(|code| format!("SQLSTATE '{code}'")).join(" OR ");
    let each = parts.iter().map(|part| {
        format!("BEGIN EXECUTE {}; EXCEPTION WHEN {codes} THEN NULL; END;\n", literal(part))
    });
    format!("DO {}", literal(&format!("BEGIN\n{}END", each.collect::<String>())))
}

/// Columns that contract took away with their values, and that nothing computes.
fn dropped(job: &Job, marks: &Marks) -> Option<Missing> {
    let reverse = job.sync.iter().flat_map(|sync| &sync.reverse);
    let computed: Vec<&str> = reverse.map(|it| it.column.as_str()).collect();
    let dropped = marks.dropped.iter().map(String::as_str);
    let is_lost = |column: &&str| !computed.contains(column) && !is_read_back(job, marks, column);
    let dropped: Vec<&str> = dropped.filter(is_lost).collect();
    (!dropped.is_empty()).then(|| Missing {
        code: "down-dropped",
        what: format!(
            "contract has dropped {}, and `reverse` under [sync] does not say what their values were",
            listed(&dropped)
        ),
        hint: "a run goes on only with the [sync] that it began with: add the columns with a job of their own, and compute their values from the new ones with [set]"
            .into(),
    })
}

/// Whether a column is new, and one that `reverse` reads. Contract has given it the name of an old one then:
/// the walk back cannot begin before it has its own again.
fn is_read_back(job: &Job, marks: &Marks, column: &str) -> bool {
    let is_new = marks.added.iter().any(|it| it == column);
    let names = |text: &str| {
        let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == column)
    };
    is_new && job.sync.iter().flat_map(|it| &it.reverse).any(|it| names(&it.expression.text))
}

fn listed(columns: &[&str]) -> String {
    let names: Vec<String> = columns.iter().map(|column| format!("`{column}`")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Source;
    use crate::ledger::steps::Step;

    fn job(text: &str) -> Job {
        let text = format!("[table]\nname = 't'\nwhere = 'n IS NULL'\n[set]\nn = '1'\n{text}");
        Job::parse("job", Source { path: None, text }).unwrap()
    }

    fn steps(parts: &[Part]) -> Steps {
        let step = |part: &Part| Step {
            part: part.word().into(),
            no: 1,
            sql: "SELECT 1".into(),
            is_done: true,
            running: None,
        };
        Steps(parts.iter().map(step).collect())
    }

    const BOTH_WAYS: &str = "[expand]\nup = ['SELECT 1']\ndown = ['SELECT 2']\n\
                             [contract]\nup = ['SELECT 3']\ndown = ['SELECT 4']\n";

    fn added(changed: u64) -> Marks {
        Marks { added: vec!["n".into()], dropped: Vec::new(), changed }
    }

    fn codes(found: Result<Vec<Part>, Vec<Missing>>) -> Vec<&'static str> {
        found.unwrap_err().iter().map(|it| it.code).collect()
    }

    #[test]
    fn it_goes_back_by_what_was_begun_the_last_first() {
        let job = job(BOTH_WAYS);
        let back = |parts: &[Part]| way_back(&job, &steps(parts), &added(5));
        assert_eq!(back(&[]), Ok(vec![]));
        assert_eq!(back(&[Part::ExpandUp]), Ok(vec![Part::ExpandDown]));
        let both = Ok(vec![Part::ContractDown, Part::ExpandDown]);
        assert_eq!(back(&[Part::ExpandUp, Part::ContractUp]), both);
        assert_eq!(back(&[Part::ExpandUp, Part::ContractUp, Part::ContractDown]), both);
    }

    #[test]
    fn what_is_missing_is_said_all_at_once() {
        let job = job("[expand]\nup = ['SELECT 1']\n[contract]\nup = ['SELECT 3']\n");
        let marks = Marks { added: vec![], dropped: vec!["lat".into()], changed: 1 };
        let found = way_back(&job, &steps(&[Part::ExpandUp, Part::ContractUp]), &marks);
        let all = ["down-missing", "down-missing", "down-in-place", "down-dropped"];
        assert_eq!(codes(found), all);
    }

    #[test]
    fn a_new_column_that_got_an_old_name_is_lost_only_if_nothing_reads_it_back() {
        let steps = steps(&[Part::ExpandUp, Part::ContractUp]);
        let marks = Marks { dropped: vec!["n".into()], ..added(5) };
        let back = |sync: &str| way_back(&job(&(BOTH_WAYS.to_owned() + sync)), &steps, &marks);
        let both = Ok(vec![Part::ContractDown, Part::ExpandDown]);
        assert_eq!(back("[sync]\nreverse = { old = 'n::int' }"), both);
        assert_eq!(codes(back("[sync]\nreverse = { old = 'n_other' }")), ["down-dropped"]);
        assert_eq!(codes(back("")), ["down-dropped"]);
    }

    #[test]
    fn a_column_that_expand_added_goes_with_it_and_one_that_was_there_does_not() {
        let job = job(BOTH_WAYS);
        let expanded = steps(&[Part::ExpandUp]);
        let kept = Marks { added: vec![], ..added(5) };
        assert_eq!(codes(way_back(&job, &expanded, &kept)), ["down-in-place"]);
        let untouched = Marks { added: vec![], ..added(0) };
        assert!(way_back(&job, &expanded, &untouched).is_ok());
    }
}
