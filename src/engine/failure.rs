//! What is written down when a run cannot go on: the words of each reason, for people. Pure.

use super::worker::Unfit;
use crate::pg::DbMessage;
use crate::plan::Plan;
use crate::run::{Failure, FailureKind, Rows, count, counted, plain};
use crate::walk::{Gap, Key};

/// The server refused a row.
pub(super) fn bad_row(plan: &Plan, key: &Key, message: &DbMessage) -> Failure {
    let job = &plan.job.name;
    Failure {
        kind: FailureKind::BadRow,
        message: format!("run `{job}` stopped: the server refused a row"),
        because: about_row(plan, key, message),
        hint: Some(format!(
            "fix the row, then `piecemeal resume {job}`; or write `policy = \"quarantine\"` under [bad_rows] and resume; to change the job's SQL: `piecemeal cancel {job}`, then `piecemeal run {job} --again`"
        )),
        sqlstate: message.sqlstate.clone(),
    }
}

/// The server refused a row, and `used` are in quarantine already.
pub(super) fn full(
    plan: &Plan,
    (key, message): (&Key, &DbMessage),
    used: u64,
    rows: &Rows,
) -> Failure {
    let (job, max) = (&plan.job.name, plan.job.bad_rows.max);
    let mut because = about_row(plan, key, message);
    because.push(format!(
        "{} in quarantine already, and `max` under [bad_rows] is {}",
        counted(used, "rows"),
        count(max.into())
    ));
    // A few bad rows among good ones are the rows' fault; bad ones only are the job's.
    let is_expression = rows.changed <= rows.quarantined;
    if is_expression {
        because.push(format!(
            "this looks like the expression, and not like the rows: of {} that were tried, {} could be done",
            counted(rows.changed + rows.quarantined + 1, "rows"),
            count(rows.changed)
        ));
    }
    let hint = if is_expression {
        format!(
            "look at [set]; to change it: `piecemeal cancel {job}`, then `piecemeal run {job} --again`"
        )
    } else {
        format!(
            "`piecemeal quarantine {job}` shows them; repair or skip some, or raise `max`, then `piecemeal resume {job}`"
        )
    };
    Failure {
        kind: FailureKind::BadRow,
        message: format!("run `{job}` stopped: one bad row more than may be in quarantine"),
        because,
        hint: Some(hint),
        sqlstate: message.sqlstate.clone(),
    }
}

fn about_row(plan: &Plan, key: &Key, message: &DbMessage) -> Vec<String> {
    let row = format!("table {}, key ({}) = {key}", plan.target.keyset.table, plan.key_names());
    let context = message.context.as_ref().and_then(|context| context.lines().next());
    let place = context.map(|context| format!("in {context}"));
    [message.to_string(), row].iter().chain(&place).map(|line| plain(line)).collect()
}

/// The order of the walk does not fit.
pub(super) fn unfit(job: &str, unfit: Unfit) -> Failure {
    let by_key = format!(
        "`piecemeal cancel {job}`, write `order = \"key\"` under [table], then `piecemeal run {job} --again`"
    );
    let (what, why, hint) = match unfit {
        Unfit::NotPending => (
            "`where` is still true for rows that are done",
            "in physical order the walk would meet them again, and do them twice; nothing of the batch that showed it was written",
            by_key,
        ),
        Unfit::Rewritten => (
            "the table is rewritten again and again",
            "after each VACUUM FULL, CLUSTER or rewriting ALTER TABLE a walk in physical order begins again",
            by_key,
        ),
        Unfit::OtherKey => (
            "a column of the key has another type or collation than when the walk was planned, or may be NULL",
            "where its values have another order, rows behind the cursor may not be done, and no batch finds a row by a NULL; nothing was written since",
            format!(
                "if the order is the same (a number of a wider type), `piecemeal resume {job}` goes on; if not, give the column its type and collation, or NOT NULL, back, then resume"
            ),
        ),
        Unfit::Unindexed => (
            "the key along which it walks has no unique index any more",
            "without one, each batch reads the whole table; what is done stays done, and nothing was done twice",
            format!(
                "make its primary key, or unique index, again, then `piecemeal resume {job}` goes on"
            ),
        ),
    };
    Failure {
        kind: FailureKind::Unfit,
        message: format!("run `{job}` stopped: {what}"),
        because: vec![why.to_owned()],
        hint: Some(hint),
        sqlstate: None,
    }
}

/// The ledger does not lead to every row of the table.
pub(super) fn torn(job: &str, gap: &Gap) -> Failure {
    Failure {
        kind: FailureKind::Refused,
        message: format!("run `{job}` stopped: its ranges in the ledger do not cover the table"),
        because: vec![gap.to_string(), "somebody has changed the ledger from outside".to_owned()],
        hint: Some(format!(
            "see to it that no row is done twice; then `piecemeal cancel {job}` and `piecemeal run {job} --again`"
        )),
        sqlstate: None,
    }
}

/// The server refused the statement itself.
pub(super) fn refused(job: &str, message: &DbMessage) -> Failure {
    Failure {
        kind: FailureKind::Refused,
        message: format!("run `{job}` stopped: the server refused the statement"),
        because: vec![plain(&message.to_string())],
        hint: Some(format!(
            "`piecemeal plan {job}` shows what is wrong; then `piecemeal resume {job}`"
        )),
        sqlstate: message.sqlstate.clone(),
    }
}
