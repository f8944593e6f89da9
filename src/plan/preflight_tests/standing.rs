//! Whether the key still has an index, after what others have done to it since the plan was made.

use super::cases::Role;
use super::{Case, Server, parse};
use crate::plan::{Plan, Standing, standing};

/// A table with the constraint `k`, `key` under [table], and what is done to it, each with whether the key has an index
/// then.
type Row = (&'static str, &'static str, &'static [(&'static str, bool)]);

const ROWS: &[Row] = &[
    (
        "CREATE TABLE t (id int, code int NOT NULL, n int, CONSTRAINT k PRIMARY KEY (id))",
        "id",
        &[
            ("REINDEX INDEX CONCURRENTLY k", true),
            ("CREATE UNIQUE INDEX other ON t (id) INCLUDE (code)", true),
            ("ALTER TABLE t DROP CONSTRAINT k", true),
            ("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'other'::regclass", false),
            ("UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'other'::regclass", true),
            ("DROP INDEX other", false),
            ("ALTER TABLE t ADD PRIMARY KEY (code)", false),
            ("CREATE INDEX ON t (id)", false),
            ("CREATE UNIQUE INDEX ON t (id) WHERE n > 0", false),
            ("CREATE UNIQUE INDEX ON t (id, code)", false),
            ("CREATE UNIQUE INDEX ON t (code, id)", false),
            ("CREATE UNIQUE INDEX ON t ((id + 0))", false),
            ("ALTER TABLE t ADD UNIQUE (id) DEFERRABLE", false),
            ("ALTER TABLE t ADD UNIQUE (id)", true),
        ],
    ),
    (
        "CREATE TABLE t (a int, n int, b int, CONSTRAINT k PRIMARY KEY (b, a))",
        "b', 'a",
        &[
            ("ALTER TABLE t DROP CONSTRAINT k", false),
            ("CREATE UNIQUE INDEX ON t (a, b)", false),
            ("CREATE UNIQUE INDEX ON t (b)", false),
            ("CREATE UNIQUE INDEX ON t (b, a)", true),
        ],
    ),
    (
        "CREATE TABLE t (id int, day int, n int, CONSTRAINT k PRIMARY KEY (id, day)) PARTITION BY LIST (day);
         CREATE TABLE t_1 PARTITION OF t FOR VALUES IN (1)",
        "id",
        &[
            ("ALTER TABLE t DROP CONSTRAINT k", false),
            ("CREATE UNIQUE INDEX ON t (day, id)", false),
            ("CREATE UNIQUE INDEX ON t (id, n, day)", false),
            ("CREATE UNIQUE INDEX ON t (id, day)", true),
        ],
    ),
];

#[tokio::test]
async fn a_key_has_an_index_as_long_as_one_has_the_form_that_was_asked_for() {
    let mut server = Server::start().await;
    for (table, key, changes) in ROWS {
        let job = format!("[table]\nname = 't'\nkey = ['{key}']\n[set]\nn = '1'");
        let case = Case::new("standing", table, job, &[]).seen_by(Role::Super);
        let (name, client) = server.prepare(&case).await;
        let job = parse(&case, &client).await;
        let plan = Plan::build(&job, &server.database(&name, case.role)).await.unwrap();
        let mut session = server.session(&name, case.role).await;
        assert_eq!(standing(&mut session, &plan).await.unwrap(), Standing::Same, "{table}");
        for (change, has_index) in *changes {
            client.batch_execute(change).await.unwrap();
            let expected = if *has_index { Standing::Same } else { Standing::Unindexed };
            assert_eq!(standing(&mut session, &plan).await.unwrap(), expected, "{change}");
        }
    }
}
