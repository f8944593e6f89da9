//! The job that brings old columns back: what a job's `[sync] reverse` says, as a walk of its own.
//!
//! It has the table, the batches, the pace and the holds of the job that is taken back. Its trigger keeps
//! the old columns in step while it walks, and its verification compares them with what the new ones say.

use super::fragment::Fragment;
use super::model::{Job, Order, Sync, Table, Verify, Work};
use super::name::quoted;
use super::shape::Shape;

/// What is put behind the name of a job that is taken back.
const BACK: &str = ".down";

/// The most characters of a name.
const MOST: usize = 63;

impl Job {
    /// Returns the job that computes the old columns from the new ones; nothing if the job does not say how.
    /// `type_of` knows the types of the columns.
    pub fn reversed(&self, type_of: impl Fn(&str) -> Option<String>) -> Option<Job> {
        let sync = self.sync.as_ref().filter(|sync| !sync.reverse.is_empty())?;
        let reverse = sync.reverse.clone();
        let image = |each: &dyn Fn(&str, &str) -> String| {
            let columns = reverse.iter().map(|it| each(&it.column, &it.expression.text));
            columns.collect::<Vec<_>>().join(", ")
        };
        let is = image(&|column, _| quoted(column));
        let should_be = image(&|column, expression| {
            let cast = type_of(column).map(|it| format!("::{it}")).unwrap_or_default();
            format!("(\n{expression}\n){cast}")
        });
        // Images are compared, for types that have no equality.
        let expect = format!("NOT pg_catalog.record_image_ne(ROW({is}), ROW({should_be}))");
        Some(Job {
            name: self.name_of_way_back(),
            description: Some(format!("brings back what `{}` has replaced", self.name)),
            table: Table { order: Order::Key, filter: None, ..self.table.clone() },
            work: Work::Set(reverse.clone()),
            shape: Shape::default(),
            verify: Verify { expect: Some(Fragment { text: expect, span: 0..0 }) },
            sync: Some(Sync {
                forward: reverse,
                reverse: Vec::new(),
                filter: None,
                over_itself: true,
            }),
            ..self.clone()
        })
    }

    /// Returns the same job for rows that were written without the old columns when it was done and its trigger gone.
    /// It leaves alone what the application has written in them again.
    #[must_use]
    pub fn only_missed(self) -> Job {
        let Work::Set(set) = &self.work;
        let old: Vec<_> = set.iter().map(|it| quoted(&it.column) + " IS NULL").collect();
        let new: Vec<_> =
            set.iter().map(|it| format!("(\n{}\n) IS NULL", it.expression.text)).collect();
        let text = format!("{} AND NOT ({})", old.join(" AND "), new.join(" AND "));
        let filter = Some(Fragment { text, span: 0..0 });
        Job {
            table: Table { filter, ..self.table.clone() },
            verify: Verify { expect: None },
            ..self
        }
    }

    /// Returns the name of the job that brings its old columns back.
    pub fn name_of_way_back(&self) -> String {
        let kept: String = self.name.chars().take(MOST - BACK.len()).collect();
        kept + BACK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Source;

    fn job(sync: &str) -> Job {
        let text = format!(
            "[table]\nname = 't'\nwhere = 'loc IS NULL'\n[set]\nloc = 'point(lng, lat)'\n\
             [expand]\nup = ['SELECT 1']\ndown = []\n[batch]\nrows = 7\n{sync}"
        );
        Job::parse("posts", Source { path: None, text }).unwrap()
    }

    #[test]
    fn it_sets_what_reverse_says_in_every_row_and_keeps_the_batches() {
        let job = job("[sync]\nreverse = { lat = 'loc[1]', lng = 'loc[0]' }");
        let back = job.reversed(|column| (column == "lat").then(|| "float8".into())).unwrap();
        assert_eq!((back.name.as_str(), &back.batch), ("posts.down", &job.batch));
        assert_eq!((&back.table.filter, back.shape.expands()), (&None, false));
        assert_eq!(
            back.verify.expect.unwrap().text,
            "NOT pg_catalog.record_image_ne(ROW(\"lat\", \"lng\"), ROW((\nloc[1]\n)::float8, (\nloc[0]\n)))"
        );
        let sync = back.sync.unwrap();
        assert_eq!((sync.forward.len(), sync.reverse.len()), (2, 0));
    }

    #[test]
    fn what_was_missed_has_none_of_the_old_values_and_some_of_the_new() {
        let job = job("[sync]\nreverse = { lat = 'loc[1]', lng = 'loc[0]' }");
        let missed = job.reversed(|_| None).unwrap().only_missed();
        assert_eq!(
            missed.table.filter.unwrap().text,
            "\"lat\" IS NULL AND \"lng\" IS NULL AND NOT ((\nloc[1]\n) IS NULL AND (\nloc[0]\n) IS NULL)"
        );
        assert_eq!(missed.verify.expect, None);
    }

    #[test]
    fn without_a_reverse_there_is_no_way_back() {
        assert_eq!(job("[sync]\n").reversed(|_| None), None);
    }

    #[test]
    fn its_name_is_never_too_long() {
        let long = Job { name: "x".repeat(63), ..job("") };
        assert_eq!(long.name_of_way_back().len(), 63);
    }
}
