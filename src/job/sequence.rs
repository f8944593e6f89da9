//! In which order several jobs are done: that in which they are named, but each after those that it comes after.

use super::model::Job;

/// Jobs of which each comes after another one of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} come after each other", .0.join(", "))]
pub struct Knot(pub Vec<String>);

/// Puts jobs into the order in which they can be done; a job of another folder that one comes after plays no part.
///
/// # Errors
/// The jobs that wait for each other.
pub fn in_order(jobs: Vec<Job>) -> Result<Vec<Job>, Knot> {
    let mut left = jobs;
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let waits = |job: &Job| {
            job.shape.after.iter().any(|name| left.iter().any(|other| other.name == *name))
        };
        let Some(next) = left.iter().position(|job| !waits(job)) else {
            return Err(Knot(left.into_iter().map(|job| job.name).collect()));
        };
        ordered.push(left.remove(next));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(name: &str, after: &[&str]) -> Job {
        Job::builder(name, "t").set("n", "1").after(after).build().unwrap()
    }

    fn names(jobs: Vec<Job>) -> Vec<String> {
        in_order(jobs).unwrap().into_iter().map(|job| job.name).collect()
    }

    #[test]
    fn jobs_stay_in_their_order_but_for_those_that_come_after_others() {
        let jobs =
            vec![job("a", &["c"]), job("b", &[]), job("c", &["elsewhere"]), job("d", &["a"])];
        assert_eq!(names(jobs), ["b", "c", "a", "d"]);
    }

    #[test]
    fn jobs_that_wait_for_each_other_are_named() {
        let knot = in_order(vec![job("a", &["b"]), job("b", &["a"]), job("c", &[])]).unwrap_err();
        assert_eq!(knot.to_string(), "a, b come after each other");
    }
}
