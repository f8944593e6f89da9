//! What the job does, to which rows, and what they are like in the end.

use crate::ledger::Found;

/// What the job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Every row, whatever it holds; also those that are born meanwhile, if the walk meets them.
    Plain,
    /// The same in several passes, in wide rows, with an index on the column that is set.
    Indexed,
    /// Every other row that was there at the beginning.
    Half,
    /// One in sixteen of them.
    Few,
    /// All of them, block after block.
    Physical,
    /// Every row of a partitioned table, while writers move rows to other partitions.
    Partitioned,
    /// All that were there at the beginning, and those of partitions that come meanwhile.
    Growing,
    /// Every row, and a trigger keeps them in step with what the writers write.
    Synced,
    /// Every row, and the server refuses some, which go into the quarantine.
    Quarantined,
}

/// One row in so many is refused, if any is.
const BAD: i64 = 100;

/// How the new column follows from the old one, where a trigger keeps them in step.
const FOLLOWS: &str = "app_ver * 3 + 1";

impl Work {
    /// Those that are drawn; [`Work::Growing`] follows from its faults.
    pub(crate) const ALL: [Work; 8] = [
        Work::Plain,
        Work::Indexed,
        Work::Half,
        Work::Few,
        Work::Physical,
        Work::Partitioned,
        Work::Synced,
        Work::Quarantined,
    ];

    /// Of how many rows one is to do.
    pub(crate) fn one_in(self) -> i64 {
        match self {
            Work::Half => 2,
            Work::Few => 16,
            Work::Plain
            | Work::Indexed
            | Work::Physical
            | Work::Partitioned
            | Work::Growing
            | Work::Synced
            | Work::Quarantined => 1,
        }
    }

    /// Whether the table has partitions, and writers move rows between them.
    pub(crate) fn is_partitioned(self) -> bool {
        matches!(self, Work::Partitioned | Work::Growing)
    }

    /// Returns the condition on rows that are to do, if the job has one.
    pub(crate) fn filter(self) -> Option<String> {
        let has_filter = matches!(self, Work::Half | Work::Few | Work::Physical | Work::Growing);
        has_filter.then(|| format!("n = 0 AND NOT born AND tag % {} = 0", self.one_in()))
    }

    /// Returns the condition on rows that nobody has done yet.
    pub(crate) fn left(self) -> String {
        if self == Work::Quarantined {
            return "n = 0 AND ok".into();
        }
        self.filter().unwrap_or_else(|| "n = 0".into())
    }

    /// Returns what the job's file says, but for its batches; `key` are the columns that the walk goes by.
    pub(crate) fn job(self, key: &str) -> String {
        let filter = self.filter().map(|it| format!("where = \"{it}\"\n")).unwrap_or_default();
        let columns: Vec<_> = key.split(", ").map(|column| format!("\"{column}\"")).collect();
        let order = if self == Work::Physical {
            "order = \"physical\"\n".to_owned()
        } else if self.is_partitioned() {
            // A row that moves has another primary key then, and still the same place in the walk.
            format!("key = [{}]\n", columns.join(", "))
        } else {
            String::new()
        };
        let set = if self == Work::Synced { FOLLOWS } else { "n + 1" };
        let more = if self == Work::Synced {
            "[sync]\n\n"
        } else if self == Work::Quarantined {
            "[bad_rows]\npolicy = \"quarantine\"\nmax = 10_000\n\n"
        } else {
            ""
        };
        format!(
            "[table]\nname = \"public.torture\"\n{filter}{order}\n[set]\nn = \"{set}\"\n\n{more}"
        )
    }

    /// Returns what is wrong with a row of the table or of the graves, if something is.
    pub(crate) fn judge(self, row: &Found) -> Option<String> {
        let right = if self == Work::Synced {
            let new = row.app_ver * 3 + 1;
            // One that is gone may not have been done yet.
            if row.is_alive || row.n != 0 { new..=new } else { 0..=0 }
        } else {
            self.changes(row)
        };
        (!right.contains(&row.n)).then(|| format!("changed {} times: {row:?}", row.n))
    }

    /// How often a row may have been changed in the end.
    fn changes(self, row: &Found) -> std::ops::RangeInclusive<i32> {
        let is_meant = row.tag % self.one_in() == 0 && !(row.born && self.filter().is_some());
        match (is_meant, !row.born && row.is_alive) {
            (false, _) => 0..=0,
            (true, true) => 1..=1,
            (true, false) => 0..=1,
        }
    }

    /// Returns the statements after which the program's role may do what the job needs.
    pub(crate) fn grants(self) -> &'static str {
        if self == Work::Synced {
            // It makes a trigger.
            "ALTER TABLE torture OWNER TO walker; GRANT CREATE ON SCHEMA public TO walker"
        } else {
            "GRANT SELECT, UPDATE ON torture TO walker"
        }
    }

    /// Returns a column more, as it is declared, and its value for the tag `t`.
    pub(crate) fn column(self) -> Option<(&'static str, String)> {
        match self {
            Work::Partitioned | Work::Growing => Some(("part int", format!("(t % {PARTS})::int"))),
            Work::Quarantined => Some(("ok bool", format!("t % {BAD} <> 13"))),
            Work::Plain
            | Work::Indexed
            | Work::Half
            | Work::Few
            | Work::Physical
            | Work::Synced => None,
        }
    }

    /// Returns what is said after the columns of the table, and then to make it complete.
    pub(crate) fn forms(self) -> (&'static str, String) {
        match self {
            Work::Partitioned | Work::Growing => {
                let part = |no| {
                    format!("CREATE TABLE torture{no} PARTITION OF torture FOR VALUES IN ({no});")
                };
                (" PARTITION BY LIST (part)", (0..PARTS).map(part).collect())
            }
            Work::Indexed => {
                let wide: Vec<_> =
                    (0..8).map(|no| format!("ADD w{no} text DEFAULT repeat('w', 40)")).collect();
                (
                    "",
                    format!(
                        "CREATE INDEX ON torture (n); ALTER TABLE torture {};",
                        wide.join(", ")
                    ),
                )
            }
            Work::Quarantined => ("", "ALTER TABLE torture ADD CHECK (ok OR n = 0);".into()),
            Work::Plain | Work::Half | Work::Few | Work::Physical | Work::Synced => {
                ("", String::new())
            }
        }
    }
}

/// Partitions that are there from the beginning.
pub(crate) const PARTS: i64 = 4;
