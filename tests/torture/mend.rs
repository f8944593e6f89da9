//! The end of a run that has set rows aside: they are looked at, mended, and tried again.

use crate::Outcome;
use crate::program::JOB;
use crate::storm::Storm;

impl Storm<'_> {
    /// Checks that exactly the rows that the server refuses are in the quarantine, lets it refuse none, and
    /// sees the run come to its good end.
    pub(crate) async fn mend(&self) -> Outcome<()> {
        let client = self.scene.connect().await?;
        let key = self.scene.case.shape.key_texts();
        // One that was deleted may have been recorded before, and one that was born may not have been met.
        let sql = format!(
            "SELECT count(*) FILTER (WHERE q.id IS NULL AND NOT t.ok AND NOT t.born) AS missing,
                    count(*) FILTER (WHERE t.ok AND q.id IS NOT NULL) AS wrong, count(q.id) AS records
             FROM (SELECT *, {key} AS record FROM torture) t
             FULL JOIN piecemeal.quarantine q ON q.key COLLATE \"C\" = t.record COLLATE \"C\""
        );
        client.batch_execute("SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'").await?;
        let row = client.query_one(&sql, &[]).await?;
        let [missing, wrong, records] =
            ["missing", "wrong", "records"].map(|it| row.get::<_, i64>(it));
        if missing > 0 || wrong > 0 || records == 0 {
            return Err(format!(
                "of {records} records {wrong} are about good rows, and {missing} bad rows have none"
            )
            .into());
        }
        client.batch_execute("UPDATE torture SET ok = true WHERE NOT ok").await?;
        match self.scene.program.call(&["quarantine", JOB, "--retry"]).await? {
            Some(0) => Ok(()),
            code => Err(format!("the rows that were mended: exit {code:?}").into()),
        }
    }
}
