//! The fence against a real server: what a superseded owner, or one whose memory is old, can do.

use std::time::Duration;

use super::{
    Applied, Attempt, Fence, Found, Look, Place, Recorded, Requeue, Search, apply, apply_one, next,
    quarantine, requeued, search,
};
use crate::control::Desk;
use crate::job::Job;
use crate::ledger::Actor;
use crate::ledger::lease::{self, Claim, Holder};
use crate::ledger::members;
use crate::ledger::quarantine as ledger;
use crate::ledger::ranges::{self, Taken};
use crate::pg::{
    Begin, Connect, Database, DbMessage, Environment, Fault, Guards, Lane, Session, find_out,
};
use crate::plan::Plan;
use crate::run::Pulse;
use crate::sandbox::{self, Sandbox};
use crate::walk::{Key, Range};

struct Scene {
    _sandbox: Sandbox,
    database: Database,
    plan: Plan,
    run: i64,
}

impl Scene {
    async fn set() -> Scene {
        let sandbox = sandbox::start(&[]);
        let connect =
            Connect::resolve(Some(&sandbox.url("postgres")), &Environment::default()).unwrap();
        let (client, _) = connect.open().await.unwrap();
        let table = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
            INSERT INTO t SELECT generate_series(1, 100)";
        client.batch_execute(table).await.unwrap();
        let database = Database::new(connect).unwrap();
        let job = Job::builder("inc", "public.t").set("n", "n + 1").build().unwrap();
        let plan = Plan::build(&job, &database).await.unwrap();
        let desk = Desk::new(database.clone(), Actor("test".into()));
        let run = desk.create(&plan, None).await.unwrap();
        Scene { _sandbox: sandbox, database, plan, run }
    }

    async fn session(&self) -> Session {
        self.database.session(Lane::Work).await.unwrap()
    }

    /// Claims the run. An owner that is not direct has no backend by which it could be seen to live.
    async fn claim(&self, token: &str) -> Claim {
        lease::claim(&mut self.session().await, self.run, &holder(token)).await.unwrap()
    }

    async fn join(&self, token: &str) {
        let leader = members::join(&mut self.session().await, self.run, &holder(token)).await;
        assert_eq!(leader.unwrap().as_deref(), Some("here 1"));
    }

    async fn take(&self, token: &str) -> Taken {
        self.take_beside(token, &[]).await
    }

    /// Takes a range for a worker whose siblings walk `walked`.
    async fn take_beside(&self, token: &str, walked: &[i64]) -> Taken {
        ranges::take(&mut self.session().await, (self.run, token), walked).await.unwrap().0
    }

    async fn exec(&self, sql: &str) {
        self.database.connect().open().await.unwrap().0.batch_execute(sql).await.unwrap();
    }

    /// Counts those who say by which backend they are known, to lead the run or to help.
    async fn backends_noted(&self) -> i64 {
        let (client, _) = self.database.connect().open().await.unwrap();
        let sql = "SELECT count(owner ->> 'backend') FROM (SELECT owner FROM piecemeal.run UNION ALL SELECT owner FROM piecemeal.member) o";
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    async fn expire_lease(&self) {
        let past = "lease_until = clock_timestamp() - interval '1 second'";
        let sql = format!("UPDATE piecemeal.run SET {past}; UPDATE piecemeal.member SET {past}");
        self.exec(&sql).await;
    }

    /// Does ten rows from where `range` says that it is.
    async fn batch(&self, token: &str, range: &Range) -> Applied {
        let mut session = self.session().await;
        let route = self.plan.statements.of_range(range);
        let leg = range.leg(1, false).unwrap();
        let chunk = next(&mut session, route, Look { leg, keys: 10 }, false).await.unwrap();
        let fence = Fence { run: self.run, token: token.into() };
        let place = Place::new(range.clone(), chunk);
        let attempt = Attempt::default();
        apply_one(&mut session, route, &fence, &place, &attempt).await.unwrap().0
    }

    /// Records the next row from where `range` says that it is, if there is room for `max`.
    async fn record(&self, token: &str, range: &Range, max: u32) -> Recorded {
        self.record_of(token, range, 1, max).await
    }

    async fn record_of(&self, token: &str, range: &Range, keys: u32, max: u32) -> Recorded {
        let mut session = self.session().await;
        let route = self.plan.statements.of_range(range);
        let leg = range.leg(1, false).unwrap();
        let chunk = next(&mut session, route, Look { leg, keys }, false).await.unwrap();
        let after = range.after_batch(&chunk);
        let fence = Fence { run: self.run, token: token.into() };
        let (range, why) = ((range, &chunk, &after), DbMessage::local("x"));
        quarantine(&mut session, route, &fence, range, (&why, 0, max)).await.unwrap()
    }

    async fn rows_with(&self, n: i32) -> i64 {
        let (client, _) = self.database.connect().open().await.unwrap();
        let sql = "SELECT count(*) FROM t WHERE n = $1";
        client.query_one(sql, &[&n]).await.unwrap().get(0)
    }
}

/// What a search for 50 rows comes to that may look for so long.
async fn found(scene: &Scene, range: &Range, time: Duration) -> Found {
    let fence = Fence { run: scene.run, token: "a".into() };
    let wanted = Search { rows: 50, time, retries: 0 };
    let statements = &scene.plan.statements;
    let mut session = scene.session().await;
    search(&mut session, statements, &fence, range, wanted).await.unwrap().unwrap()
}

fn holder(token: &str) -> Holder {
    Holder {
        token: token.into(),
        host: "here".into(),
        pid: 1,
        actor: Actor("test".into()),
        workers: 1,
    }
}

fn taken(taken: Taken) -> Range {
    let Taken::Range(range) = taken else { panic!("{taken:?}") };
    range
}

#[tokio::test]
async fn a_batch_whose_transaction_did_not_begin_does_not_stand_by_itself() {
    let mut scene = Scene::set().await;
    scene.claim("a").await;
    let range = taken(scene.take("a").await);
    let begin = std::mem::replace(&mut scene.plan.statements.by_key.begin_batch, Begin::refused());
    let mut session = scene.session().await;
    let route = &scene.plan.statements.by_key;
    let look = Look { leg: range.leg(1, false).unwrap(), keys: 10 };
    let chunk = next(&mut session, route, look, false).await.unwrap();
    let fence = Fence { run: scene.run, token: "a".into() };
    let place = Place::new(range.clone(), chunk);
    let applied = apply_one(&mut session, route, &fence, &place, &Attempt::default()).await;
    assert!(applied.is_err(), "{applied:?}");
    assert_eq!(scene.rows_with(0).await, 100);
    scene.plan.statements.by_key.begin_batch = begin;
    assert!(matches!(scene.batch("a", &range).await, Applied::Committed(_)));
}

#[tokio::test]
async fn a_search_ends_at_so_many_rows_or_at_the_next_one_when_its_time_is_over() {
    let scene = Scene::set().await;
    scene.claim("a").await;
    let first = taken(scene.take("a").await);
    let late = found(&scene, &first, Duration::ZERO).await;
    assert_eq!((late.chunk.upto.values(), late.outcome.changed), (&["1".to_owned()][..], 1));
    let full = found(&scene, &late.after, Duration::from_mins(1)).await;
    assert_eq!((full.chunk.upto.values(), full.outcome.changed), (&["51".to_owned()][..], 50));
    let last = found(&scene, &full.after, Duration::from_mins(1)).await;
    assert_eq!((last.chunk.last, last.outcome.changed), (true, 49));
    let seen = [&late, &full, &last].map(|it| it.chunk.keys);
    assert_eq!((seen, scene.rows_with(1).await), ([1, 50, 49], 100));
}

/// Two batches of ten rows that are sent together, of which the first waits for a row of its own for too
/// long; what came of both.
async fn convoy_behind_a_locked_row(scene: &Scene, range: &Range) -> [Result<Applied, Fault>; 2] {
    let route = &scene.plan.statements.by_key;
    let (locker, _) = scene.database.connect().open().await.unwrap();
    locker.batch_execute("BEGIN; SELECT FROM t WHERE id = 5 FOR UPDATE").await.unwrap();
    let mut session = scene.session().await;
    let look = Look { leg: range.leg(1, false).unwrap(), keys: 10 };
    let first = next(&mut session, route, look, false).await.unwrap();
    let first = Place::new(range.clone(), first);
    let leg = first.after.leg(1, false).unwrap();
    let second = next(&mut session, route, Look { leg, keys: 10 }, false).await.unwrap();
    let second = Place::new(first.after.clone(), second);
    let fence = Fence { run: scene.run, token: "a".into() };
    let convoy = [first, second];
    let answers = apply(&mut session, route, &fence, &convoy, &Attempt::default()).await;
    locker.batch_execute("ROLLBACK").await.unwrap();
    let [(first, _), (second, _)] = answers.unwrap().0.try_into().unwrap();
    [first, second]
}

#[tokio::test]
async fn of_a_convoy_nothing_behind_a_batch_that_failed_is_done() {
    let scene = Scene::set().await;
    scene.claim("a").await;
    let range = taken(scene.take("a").await);
    let [first, second] = convoy_behind_a_locked_row(&scene, &range).await;
    assert!(matches!(first, Err(Fault::Again(_) | Fault::Smaller(_))), "{first:?}");
    assert_eq!(second.unwrap(), Applied::Fenced);
    assert_eq!(scene.rows_with(0).await, 100);
}

#[tokio::test]
async fn of_a_convoy_nothing_behind_it_is_done_either_where_somebody_has_moved_rev_in_between() {
    let scene = Scene::set().await;
    scene.claim("a").await;
    let range = taken(scene.take("a").await);
    // As whoever skips a row of the quarantine does.
    scene.exec("UPDATE piecemeal.range SET rev = rev + 1").await;
    let [first, second] = convoy_behind_a_locked_row(&scene, &range).await;
    assert_eq!(first.unwrap(), Applied::Fenced);
    assert_eq!(second.unwrap(), Applied::Fenced, "`rev` is as if the first had been committed");
    assert_eq!(scene.rows_with(0).await, 100);
}

#[tokio::test]
async fn a_convoy_is_done_one_batch_after_the_other() {
    let scene = Scene::set().await;
    scene.claim("a").await;
    let mut range = taken(scene.take("a").await);
    let route = &scene.plan.statements.by_key;
    let mut session = scene.session().await;
    let mut convoy = Vec::new();
    for _ in 0..3 {
        let leg = range.leg(1, false).unwrap();
        let chunk = next(&mut session, route, Look { leg, keys: 10 }, false).await.unwrap();
        let place = Place::new(range, chunk);
        range = place.after.clone();
        convoy.push(place);
    }
    let fence = Fence { run: scene.run, token: "a".into() };
    let (answers, _) =
        apply(&mut session, route, &fence, &convoy, &Attempt::default()).await.unwrap();
    assert!(answers.iter().all(|(it, _)| matches!(it, Ok(Applied::Committed(_)))), "{answers:?}");
    assert_eq!(scene.rows_with(1).await, 30);
    assert!(matches!(scene.batch("a", &range).await, Applied::Committed(_)));
}

#[tokio::test]
async fn a_batch_from_an_old_memory_of_the_cursor_writes_nothing() {
    let scene = Scene::set().await;
    scene.claim("a").await;
    let range = taken(scene.take("a").await);
    assert!(matches!(scene.batch("a", &range).await, Applied::Committed(_)));
    // The token is right, and only `rev` tells that these rows are done.
    assert_eq!(scene.batch("a", &range).await, Applied::Fenced);
    assert_eq!((scene.rows_with(1).await, scene.rows_with(2).await), (10, 0));
}

#[tokio::test]
async fn an_owner_that_was_superseded_writes_nothing_and_takes_nothing_back() {
    let scene = Scene::set().await;
    scene.claim("zombie").await;
    let range = taken(scene.take("zombie").await);
    scene.expire_lease().await;
    assert!(matches!(scene.claim("successor").await, Claim::Ours(Some(_))));
    let successors = taken(scene.take("successor").await);
    // The cursor has not moved, and only the token tells that the range is somebody else's.
    assert_eq!(scene.batch("zombie", &range).await, Applied::Fenced);
    assert_eq!(scene.rows_with(1).await, 0);
    assert_eq!(scene.take("zombie").await, Taken::NotOurs);
    assert!(matches!(scene.batch("successor", &successors).await, Applied::Committed(_)));
    assert_eq!(scene.rows_with(1).await, 10);
}

#[tokio::test]
async fn a_lease_that_is_alive_is_not_taken() {
    let scene = Scene::set().await;
    scene.claim("a").await;
    assert!(matches!(scene.claim("b").await, Claim::Held(..)));
    assert_eq!(scene.claim("a").await, Claim::Ours(None));
}

#[tokio::test]
async fn a_range_that_a_sibling_walks_is_not_taken_and_one_that_was_left_is() {
    let scene = Scene::set().await;
    scene.claim("a").await;
    let range = taken(scene.take("a").await);
    assert_eq!(scene.take_beside("a", &[range.no]).await, Taken::NothingFree);
    // The answer to that was lost, or its worker is gone.
    assert_eq!(taken(scene.take("a").await), range);
}

#[tokio::test]
async fn a_range_of_a_living_member_is_not_free_and_that_of_a_dead_one_is_and_fences_it() {
    let scene = Scene::set().await;
    scene.claim("a").await;
    scene.join("b").await;
    let before = taken(scene.take("b").await);
    assert_eq!(scene.take("a").await, Taken::NothingFree);
    let dead = "lease_until = clock_timestamp() - interval '1 second' WHERE token = 'b'";
    scene.exec(&format!("UPDATE piecemeal.member SET {dead}")).await;
    let after = taken(scene.take("a").await);
    assert_eq!(scene.batch("b", &before).await, Applied::Fenced);
    assert!(matches!(scene.batch("a", &after).await, Applied::Committed(_)));
    assert_eq!((scene.rows_with(1).await, scene.rows_with(2).await), (10, 0));
}

#[tokio::test]
async fn nobody_takes_a_range_of_a_run_that_stands_nor_without_being_a_member() {
    let scene = Scene::set().await;
    scene.claim("a").await;
    assert_eq!(scene.take("stranger").await, Taken::NotOurs);
    scene.exec("UPDATE piecemeal.run SET status = 'paused'").await;
    assert_eq!(scene.take("a").await, Taken::NotOurs);
}

#[tokio::test]
async fn a_row_is_recorded_only_by_who_has_its_range_as_it_is() {
    let scene = Scene::set().await;
    scene.claim("zombie").await;
    let range = taken(scene.take("zombie").await);
    let key = Key::new(vec!["1".into()]);
    assert_eq!(scene.record("zombie", &range, 1).await, Recorded::Done(key));
    // The same again, from an old memory.
    assert_eq!(scene.record("zombie", &range, 9).await, Recorded::Other);
    scene.expire_lease().await;
    scene.claim("successor").await;
    let range = taken(scene.take("successor").await);
    assert_eq!(scene.record("zombie", &range, 9).await, Recorded::Other);
    assert_eq!(
        scene.record("successor", &range, 1).await,
        Recorded::Full(Key::new(vec!["2".into()]), 1)
    );
    assert_eq!(taken(scene.take("successor").await), range, "nothing has moved");
}

#[tokio::test]
async fn a_chunk_of_two_rows_is_not_recorded_as_one() {
    let scene = Scene::set().await;
    scene.claim("a").await;
    let range = taken(scene.take("a").await);
    assert_eq!(scene.record_of("a", &range, 2, 9).await, Recorded::Other);
    assert_eq!(taken(scene.take("a").await), range, "nothing has moved");
}

#[tokio::test]
async fn rows_are_tried_again_only_by_who_has_their_range_as_it_is() {
    let scene = Scene::set().await;
    scene.claim("zombie").await;
    let range = taken(scene.take("zombie").await);
    scene.record("zombie", &range, 9).await;
    scene.exec("UPDATE piecemeal.run SET status = 'failed', lease_token = NULL").await;
    let actor = Actor("test".into());
    let queued = ledger::requeue(&mut scene.session().await, scene.run, None, &actor).await;
    assert_eq!(queued.unwrap().unwrap().rows, 1);
    scene.exec("UPDATE piecemeal.run SET status = 'ready'; UPDATE piecemeal.range SET done = true, cursor = upto, rev = 9 WHERE no = 0").await;
    scene.claim("a").await;
    let range = taken(scene.take("a").await);
    assert!(range.is_requeued);
    let requeue = Requeue { rows: 5, retries: 0, is_lifted: false };
    for (token, rev, rows) in
        [("zombie", 0, None), ("a", 7, None), ("a", 0, Some(1)), ("a", 0, None)]
    {
        let fence = Fence { run: scene.run, token: token.into() };
        let range = Range { rev: range.rev + rev, ..range.clone() };
        let statements = &scene.plan.statements;
        let done = requeued(&mut scene.session().await, statements, &fence, &range, requeue).await;
        assert_eq!(done.unwrap().map(|(_, rows, ..)| rows), rows, "{token} {rev}");
    }
    assert_eq!((scene.rows_with(1).await, scene.rows_with(2).await), (1, 0));
}

#[tokio::test]
async fn a_kept_statement_whose_name_means_nothing_is_not_run_and_nothing_is_kept_after_that() {
    let scene = Scene::set().await;
    let mut session = scene.session().await;
    find_out(&mut session, &scene.database).await.unwrap();
    scene.claim("a").await;
    assert_eq!(scene.backends_noted().await, 2);
    let begin = Guards::passing().begin().keeping(true);
    let add = "UPDATE public.t SET n = n + 1 WHERE id = $1";
    for _ in 0..3 {
        session.transact_prepared(&begin, add, &[7.into()]).await.unwrap();
    }
    assert_eq!(prepared(&mut session).await, 1);
    // As when a pooler hands out another backend.
    session.transact(&Guards::passing(), "DEALLOCATE ALL", &[]).await.unwrap();
    let lost = session.transact_prepared(&begin, add, &[7.into()]).await;
    assert!(matches!(lost, Err(Fault::Again(_))), "{lost:?}");
    for _ in 0..3 {
        session.transact_prepared(&begin, add, &[7.into()]).await.unwrap();
    }
    assert_eq!((prepared(&mut session).await, scene.rows_with(6).await), (0, 1));
    // Nor does a backend stand for the process any more.
    let pulse = (&Pulse::default(), None, 1);
    assert!(lease::renew(&mut session, scene.run, &holder("a"), pulse).await.unwrap());
    assert_eq!(scene.backends_noted().await, 0);
}

async fn prepared(session: &mut Session) -> i64 {
    let count = "SELECT count(*) FROM pg_catalog.pg_prepared_statements";
    session.transact(&Guards::reading(), count, &[]).await.unwrap()[0].get(0)
}
