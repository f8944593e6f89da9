//! Partitioned tables: which are walked, and what is said of them.

use crate::plan::facts::{Facts, Partitions};

use super::{Case, along, on, setting};

/// By its key, so that a batch is in few partitions.
const BY_KEY: &str = "CREATE TABLE p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9); CREATE TABLE p2 PARTITION OF p DEFAULT;";

/// By another column, so that keys that follow each other may be in any of them.
const BY_DAY: &str =
    "CREATE TABLE p (id int, day int, n int, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);
    CREATE TABLE p2 PARTITION OF p DEFAULT PARTITION BY LIST (day);
    CREATE TABLE p3 PARTITION OF p2 DEFAULT;";

fn partitions_of(facts: &mut Facts) -> &mut Partitions {
    facts.table.as_mut().and_then(|table| table.partitions.as_mut()).unwrap()
}

pub(super) fn partitions() -> Vec<Case> {
    let case = Case::new;
    let some = |facts: &mut Facts| partitions_of(facts).leaves = (1..=50).collect();
    let many = |facts: &mut Facts| partitions_of(facts).leaves = (1..=201).collect();
    let too_many = |facts: &mut Facts| partitions_of(facts).leaves = (1..=501).collect();
    let no_room_at_all = |facts: &mut Facts| partitions_of(facts).max_locks = 7;
    let no_room = |facts: &mut Facts| partitions_of(facts).max_locks = 40;
    vec![
        case("partitions: by the key", BY_KEY, on("public.p"), &[]),
        case("partitions: by the key, and many", BY_KEY, on("public.p"), &[]).with(too_many),
        case("partitions: by the key, and more than there is room for", BY_KEY, on("public.p"), &["table-partitions-many"]).with(no_room_at_all),
        case("partitions: by the key, without any", "CREATE TABLE p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id)",
            on("public.p"), &[]),
        case("partitions: without a key", "CREATE TABLE p (id int, n int) PARTITION BY RANGE (id)",
            on("public.p"), &["key-missing"]),
        case("partitions: by another column", BY_DAY, on("public.p"), &["key-moves"]),
        case("partitions: by another column, which the key leaves out", BY_DAY, along("public.p", &["id"]), &[]),
        case("partitions: a key that leaves out more", BY_DAY, along("public.p", &["day"]), &["key-no-index"]),
        case("partitions: some", BY_DAY, along("public.p", &["id"]), &["table-partitions"]).with(some),
        case("partitions: many", BY_DAY, along("public.p", &["id"]), &["table-partitions"]).with(many),
        case("partitions: too many", BY_DAY, along("public.p", &["id"]), &["table-partitions-many"]).with(too_many),
        case("partitions: too many locks", BY_DAY, along("public.p", &["id"]), &["table-partitions-many"]).with(no_room),
        case("partitions: the column that says in which", BY_DAY, setting("public.p", "day"),
            &["column-in-key", "column-unique", "column-indexed", "key-moves"]),
        case("partitions: the column that says in which, which the key leaves out", BY_DAY,
            setting("public.p", "day").replace("name =", "key = ['id']\nname ="),
            &["column-unique", "column-indexed"]),
        case("partitions: in physical order", BY_KEY,
            on("public.p").replace("name =", "order = 'physical'\nwhere = 'n IS NULL'\nname ="), &["order-partitioned"]),
        case("partitions: one is elsewhere",
            "CREATE TABLE p (id int NOT NULL, n int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
             CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
             CREATE FOREIGN TABLE p2 PARTITION OF p FOR VALUES IN (2) SERVER s",
            on("public.p"), &["table-partition-foreign", "key-missing"]).never_analyzed(),
        case("partitions: one has an index and a trigger of its own, and is unlogged",
            &format!("{BY_KEY} ALTER TABLE p1 SET UNLOGGED; CREATE INDEX p1_n ON p1 (n);
             CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
             CREATE TRIGGER own BEFORE UPDATE OF n ON p1 FOR EACH ROW EXECUTE FUNCTION quiet()"),
            on("public.p"), &["trigger", "column-indexed", "table-unlogged"]),
        case("partitions: columns have other numbers in one of them",
            "CREATE TABLE p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
             CREATE TABLE p1 (gone int, n int, id int NOT NULL); ALTER TABLE p1 DROP gone; CREATE INDEX p1_n ON p1 (n);
             ALTER TABLE p ATTACH PARTITION p1 DEFAULT",
            on("public.p"), &["column-indexed"]),
        case("partitions: one is published, and has no identity",
            &format!("{BY_KEY} ALTER TABLE p1 REPLICA IDENTITY NOTHING; CREATE PUBLICATION pub FOR TABLE p1"),
            on("public.p"), &["replica-identity-missing"]),
        case("partitions: published with the whole row",
            &format!("{BY_KEY} ALTER TABLE p1 REPLICA IDENTITY FULL; CREATE PUBLICATION pub FOR TABLE p"),
            on("public.p"), &["replica-identity-full"]),
    ]
}
