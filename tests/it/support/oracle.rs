//! Whether a run kept its promises, looked up in the database and not in what the program says.

use super::db::Db;

/// Checks that every row of `t` was done exactly once, and the books of the run `job` agree.
#[track_caller]
pub(crate) fn done_once(db: &Db, job: &str) {
    let wrong = db.rows("SELECT * FROM t WHERE n IS DISTINCT FROM 1 LIMIT 5");
    assert_eq!(wrong, Vec::<Vec<String>>::new(), "rows that were not done exactly once");
    let rows = db.text("SELECT count(*) FROM t");
    ended(db, job, "books");
    let books = db.rows(&format!(
        "SELECT sum(seen), sum(matched), sum(changed), sum(unchanged) FROM piecemeal.range \
         JOIN piecemeal.run ON id = run_id WHERE job = '{job}'"
    ));
    assert_eq!(books, [[rows.clone(), rows.clone(), rows, "0".into()]], "the books");
}

/// Checks that a run succeeded, proved by `how`, with every range at its end and no lease left.
#[track_caller]
pub(crate) fn ended(db: &Db, job: &str, how: &str) {
    let run = db.rows(&format!(
        "SELECT status, intent, verified, lease_token IS NULL FROM piecemeal.run WHERE job = '{job}'"
    ));
    assert_eq!(run, [["succeeded", "run", how, "t"]], "the run");
    let open = db.number(
        "SELECT count(*) FROM piecemeal.range WHERE NOT done OR cursor IS DISTINCT FROM upto",
    );
    assert_eq!(open, 0, "ranges that are not at their ends");
}

/// Returns the status of the newest run.
pub(crate) fn status(db: &Db) -> String {
    db.text("SELECT status FROM piecemeal.run ORDER BY id DESC LIMIT 1")
}
