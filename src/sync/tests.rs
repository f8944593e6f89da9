//! The texts of triggers, for people to review, and the trigger on a partitioned table.

use super::*;
use crate::pg::{Connect, Database, Environment, Lane, Session};
use crate::sandbox::{self, Sandbox};
use std::time::Duration;

fn column(name: &str, sql_type: &str) -> Column {
    Column { name: name.into(), sql_type: sql_type.into(), default: None }
}

fn written(name: &str, sql_type: &str, expression: &str) -> Written {
    Written { column: column(name, sql_type), expression: expression.into() }
}

fn design() -> Design {
    Design {
        job: "posts-loc".into(),
        oid: 0,
        schema: "public".into(),
        table: "public.posts".into(),
        alias: "posts".into(),
        search_path: vec!["public".into(), "ext".into()],
        forward: vec![written("loc", "point", "point(lng, lat)")],
        reverse: Vec::new(),
        inputs: vec![column("lat", "double precision"), column("lng", "double precision")],
        shared: Vec::new(),
        filter: None,
        pending: None,
    }
}

fn both_ways() -> Design {
    let reverse = vec![
        written("lat", "double precision", "loc[1]"),
        written("lng", "double precision", "loc[0]"),
    ];
    let pending = Some("loc IS NULL -- still".into());
    Design { reverse, inputs: Vec::new(), pending, ..design() }
}

#[test]
fn the_statements_of_a_trigger_with_a_way_back() {
    let trigger = both_ways().trigger();
    insta::assert_snapshot!(format!("{}\n\n{}", trigger.function_sql, trigger.trigger_sql));
    assert_eq!(trigger.writes, "forward to loc; in reverse to lat, lng");
}

#[test]
fn the_body_without_a_way_back() {
    insta::assert_snapshot!(design().trigger().body);
}

#[test]
fn the_body_for_two_new_columns_one_with_a_default_and_some_rows() {
    let mut design = both_ways();
    design.forward.push(written("\"Day\"", "date", "at::date"));
    design.forward[1].column.default = Some("'2000-01-01'::date".into());
    design.inputs = vec![column("at", "timestamp with time zone")];
    design.filter = Some("kind = 'geo'".into());
    insta::assert_snapshot!(design.trigger().body);
}

#[test]
fn a_quote_in_an_expression_stays_in_the_function() {
    let mut design = design();
    design.forward[0].expression = "'it''s $piecemeal$'".into();
    assert!(design.trigger().function_sql.contains("(\n''it''''s $piecemeal$''\n)"));
}

#[test]
fn names_follow_from_the_job_and_sort_last() {
    assert_eq!(name_of("posts-loc"), name_of("posts-loc"));
    assert_ne!(name_of("posts-loc"), name_of("posts-log"));
    assert!(name_of("posts-loc").as_str() > "zz_audit");
}

struct Scene {
    _sandbox: Sandbox,
    database: Database,
}

impl Scene {
    async fn with(sql: &str) -> Scene {
        let sandbox = sandbox::start(&[]);
        let connect =
            Connect::resolve(Some(&sandbox.url("postgres")), &Environment::default()).unwrap();
        let scene = Scene { _sandbox: sandbox, database: Database::new(connect).unwrap() };
        scene.exec(sql).await;
        scene
    }

    async fn session(&self) -> Session {
        self.database.session(Lane::Work).await.unwrap()
    }

    async fn exec(&self, sql: &str) {
        self.database.connect().open().await.unwrap().0.batch_execute(sql).await.unwrap();
    }

    async fn number(&self, sql: &str) -> i64 {
        let (client, _) = self.database.connect().open().await.unwrap();
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// The same trigger, for the table that is there.
    async fn trigger(&self, design: Design) -> Trigger {
        let oid = self.number("SELECT 'posts'::regclass::oid::int8").await;
        Design { oid: u32::try_from(oid).unwrap(), ..design }.trigger()
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn partitions_of_a_table_and_those_that_come_later_are_kept_in_step() {
    let scene = Scene::with(
        "CREATE TABLE posts (id int, lat float8, lng float8, loc point, PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE TABLE posts_1 PARTITION OF posts FOR VALUES FROM (0) TO (10)",
    )
    .await;
    let trigger = scene.trigger(both_ways()).await;
    let mut session = scene.session().await;
    let found = create(&mut session, &trigger, PATIENCE, &mut |_| ()).await.unwrap();
    assert_eq!(found, State::Missing);
    assert_eq!(state(&mut session, &trigger).await.unwrap(), State::Same);
    // With another order of columns, and columns that were dropped.
    scene
        .exec(
            "CREATE TABLE posts_2 (gone int, loc point, lng float8, lat float8, id int NOT NULL);
             ALTER TABLE posts_2 DROP COLUMN gone;
             ALTER TABLE posts ATTACH PARTITION posts_2 FOR VALUES FROM (10) TO (20);
             CREATE TABLE posts_3 PARTITION OF posts FOR VALUES FROM (20) TO (30);
             SET session_replication_role = replica;
             INSERT INTO posts (id, lat, lng) VALUES (1, 1, 2), (11, 3, 4), (21, 5, 6);
             INSERT INTO posts (id, loc) VALUES (2, '(2,1)'), (12, '(4,3)'), (22, '(6,5)');
             INSERT INTO posts_2 (id, lat, lng) VALUES (13, 7, 8); UPDATE posts SET id = 23 WHERE id = 1",
        )
        .await;
    let in_step = "SELECT count(*) FROM posts WHERE loc ~= point(lng, lat)";
    assert_eq!(scene.number(in_step).await, 7);
    assert!(drop(&mut session, ("posts-loc", None), PATIENCE, &mut |_| ()).await.unwrap());
    assert_eq!(scene.number("SELECT count(*) FROM pg_trigger").await, 0);
    assert_eq!(state(&mut session, &trigger).await.unwrap(), State::Missing);
}

#[tokio::test]
async fn whatever_was_changed_of_a_trigger_is_seen_and_made_good() {
    let scene = Scene::with("CREATE TABLE posts (id int, lat float8, lng float8, loc point)").await;
    let trigger = scene.trigger(both_ways()).await;
    let mut session = scene.session().await;
    let name = &trigger.name;
    for (change, expected) in [
        ("SELECT".to_owned(), State::Missing),
        ("SELECT".to_owned(), State::Same),
        ("ALTER TABLE posts DISABLE TRIGGER USER".to_owned(), State::Different),
        ("ALTER TABLE posts ENABLE TRIGGER USER".to_owned(), State::Different),
        (format!("ALTER FUNCTION {name}() SECURITY DEFINER"), State::Different),
        (format!("ALTER FUNCTION {name}() SET timezone = 'Asia/Tokyo'"), State::Different),
        (format!("DROP TRIGGER {name} ON posts"), State::Missing),
        (
            format!(
                "CREATE OR REPLACE TRIGGER {name} BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION {name}()"
            ),
            State::Different,
        ),
        (
            "DROP TABLE posts; CREATE TABLE posts (id int, lat float8, lng float8, loc point)"
                .into(),
            State::Missing,
        ),
    ] {
        scene.exec(&change).await;
        let trigger = scene.trigger(both_ways()).await;
        let found = create(&mut session, &trigger, PATIENCE, &mut |_| ()).await.unwrap();
        assert_eq!(found, expected, "{change}");
        assert_eq!(state(&mut session, &trigger).await.unwrap(), State::Same, "{change}");
    }
}

#[tokio::test]
async fn a_partition_in_which_it_is_off_is_seen_and_made_good() {
    let scene = Scene::with(
        "CREATE TABLE posts (id int, lat float8, lng float8, loc point) PARTITION BY RANGE (id);
         CREATE TABLE posts_1 PARTITION OF posts FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id);
         CREATE TABLE posts_1_1 PARTITION OF posts_1 FOR VALUES FROM (0) TO (10);
         CREATE TABLE posts_2 PARTITION OF posts FOR VALUES FROM (10) TO (20)",
    )
    .await;
    let trigger = scene.trigger(both_ways()).await;
    let mut session = scene.session().await;
    create(&mut session, &trigger, PATIENCE, &mut |_| ()).await.unwrap();
    assert!(is_at_work(&mut session, "posts-loc").await.unwrap());
    for partition in ["posts_1", "posts_1_1", "posts_2"] {
        // As a restore of one partition with --disable-triggers has it, meanwhile and afterwards.
        for change in ["DISABLE TRIGGER ALL", "ENABLE TRIGGER ALL"] {
            scene.exec(&format!("ALTER TABLE ONLY {partition} {change}")).await;
            let what = format!("{partition} {change}");
            assert!(!is_at_work(&mut session, "posts-loc").await.unwrap(), "{what}");
            let found = create(&mut session, &trigger, PATIENCE, &mut |_| ()).await.unwrap();
            assert_eq!(found, State::Different, "{what}");
            assert_eq!(state(&mut session, &trigger).await.unwrap(), State::Same, "{what}");
            assert!(is_at_work(&mut session, "posts-loc").await.unwrap(), "{what}");
        }
    }
    // What is no part of the table any more does not matter.
    scene.exec("ALTER TABLE posts DETACH PARTITION posts_2").await;
    assert_eq!(state(&mut session, &trigger).await.unwrap(), State::Same);
}

#[tokio::test]
async fn several_who_begin_at_once_make_one_trigger() {
    let scene = Scene::with("CREATE TABLE posts (id int, lat float8, lng float8, loc point)").await;
    let trigger = scene.trigger(both_ways()).await;
    for _ in 0..10 {
        let mut sessions = [scene.session().await, scene.session().await, scene.session().await];
        let [a, b, c] = &mut sessions;
        let (mut quiet_a, mut quiet_b, mut quiet_c) = (|_: &_| (), |_: &_| (), |_: &_| ());
        let made = tokio::join!(
            create(a, &trigger, PATIENCE, &mut quiet_a),
            create(b, &trigger, PATIENCE, &mut quiet_b),
            create(c, &trigger, PATIENCE, &mut quiet_c),
        );
        assert!(made.0.is_ok() && made.1.is_ok() && made.2.is_ok(), "{made:?}");
        assert_eq!(state(a, &trigger).await.unwrap(), State::Same);
        assert!(drop(a, ("posts-loc", None), PATIENCE, &mut |_| ()).await.unwrap());
    }
}
