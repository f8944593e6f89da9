//! The gate with throttlers of the test's own: what hangs, fails, or is changed by people.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{DEADLINE, Scene};
use crate::job::Limit;
use crate::pg::{Guards, Session};
use crate::run::HoldChange;
use crate::throttle::gate::Guarded;
use crate::throttle::judge::Floor;
use crate::throttle::reading::{Blind, Reading, Trickle, Unit, Verdict};
use crate::throttle::{Changes, Gate, Throttler, View};

/// Answers as it is told to, and counts.
struct Told {
    name: &'static str,
    say: watch::Receiver<Say>,
    n_reads: Arc<AtomicU32>,
    aimed: watch::Sender<Vec<Option<Limit>>>,
}

#[derive(Debug, Clone, Copy)]
enum Say {
    Value(f64),
    Nothing,
    Error,
    /// After a statement on the session that it was given.
    Ask,
}

impl Throttler for Told {
    fn name(&self) -> &str {
        self.name
    }

    fn every(&self) -> Duration {
        Duration::from_millis(50)
    }

    fn aim(&mut self, limit: Option<Limit>) {
        self.aimed.send_modify(|aimed| aimed.push(limit));
    }

    fn read<'a>(&'a mut self, session: &'a mut Session) -> BoxFuture<'a, Result<Reading, Blind>> {
        self.n_reads.fetch_add(1, Ordering::Relaxed);
        let say = *self.say.borrow();
        Box::pin(async move {
            match say {
                Say::Value(value) => Ok(Reading::of(value, Unit::Things(""), Limit::Number(10.0))),
                Say::Nothing => std::future::pending().await,
                Say::Error => Err(Blind::new("told to fail")),
                Say::Ask => match session.transact(&Guards::reading(), "SELECT 1", &[]).await {
                    Ok(_) => Ok(Reading::of(1.0, Unit::Things(""), Limit::Number(10.0))),
                    Err(fault) => Err(Blind::new(fault.message().to_string())),
                },
            }
        })
    }
}

/// What holds the strings of a [`Told`].
struct Hand {
    say: watch::Sender<Say>,
    n_reads: Arc<AtomicU32>,
    aimed: watch::Receiver<Vec<Option<Limit>>>,
}

fn told(name: &'static str, say: Say) -> (Guarded, Hand) {
    let (sender, receiver) = watch::channel(say);
    let n_reads = Arc::new(AtomicU32::new(0));
    let (aimed, aims) = watch::channel(Vec::new());
    let told = Told { name, say: receiver, n_reads: n_reads.clone(), aimed };
    let hand = Hand { say: sender, n_reads, aimed: aims };
    (Guarded { throttler: Box::new(told), floor: Some(Floor::Rows(7)) }, hand)
}

/// Looks until a verdict is as wanted, and returns it.
pub(super) async fn until(view: &mut View, wanted: impl Fn(&Verdict) -> bool) -> Verdict {
    let started = Instant::now();
    loop {
        let verdict = view.verdict(Instant::now());
        if wanted(&verdict) {
            return verdict;
        }
        assert!(started.elapsed() < DEADLINE, "waited in vain after {verdict:?}");
        tokio::select! {
            () = view.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
}

pub(super) fn is_go(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Go(..))
}

/// Whether it holds in full, for a reason that contains this.
pub(super) fn holds(verdict: &Verdict, text: &str) -> bool {
    matches!(verdict, Verdict::Hold(cause, None) if cause.text.contains(text))
}

#[tokio::test]
async fn everything_was_read_when_the_gate_opens_and_what_fails_or_hangs_holds() {
    let scene = Scene::set(&[]).await;
    let (_changes, changes) = watch::channel(Changes::new());
    let (first, one) = told("one", Say::Value(1.0));
    let (second, two) = told("two", Say::Value(2.0));
    let gate = Gate::open(vec![first, second], scene.database("app"), changes).await;
    let mut view = gate.view();
    assert_eq!(view.verdict(Instant::now()), Verdict::Go(1.0, None));
    two.say.send_replace(Say::Value(11.0));
    let verdict = until(&mut view, |verdict| !is_go(verdict)).await;
    let Verdict::Hold(cause, Some(Trickle { floor: 7, .. })) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(cause.text, "two 11 > 10");
    two.say.send_replace(Say::Error);
    until(&mut view, |verdict| holds(verdict, "two cannot be read: told to fail")).await;
    two.say.send_replace(Say::Value(1.0));
    until(&mut view, is_go).await;
    one.say.send_replace(Say::Nothing);
    let started = Instant::now();
    until(&mut view, |verdict| holds(verdict, "cannot be read: the last reading is 3s old")).await;
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    // One that hangs does not keep the gate from being left.
    let started = Instant::now();
    gate.close().await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn what_people_change_counts_at_once_and_what_is_off_is_not_read() {
    let scene = Scene::set(&[]).await;
    let (change, changes) = watch::channel(Changes::new());
    let (second, clock) = told("clock", Say::Value(1.0));
    let (guarded, told) = told("one", Say::Value(11.0));
    let gate = Gate::open(vec![guarded, second], scene.database("app"), changes).await;
    let mut view = gate.view();
    assert!(!is_go(&view.verdict(Instant::now())));
    let set = |to| change.send_replace(Changes::from([("one".to_owned(), to)]));
    set(HoldChange::Above(Limit::Number(100.0)));
    assert!(is_go(&view.verdict(Instant::now())));
    set(HoldChange::Off);
    assert!(is_go(&view.verdict(Instant::now())));
    // While another signal is read five times, it is not. A reading may have begun before.
    let n_clock = || clock.n_reads.load(Ordering::Relaxed);
    let n_told = || told.n_reads.load(Ordering::Relaxed);
    let before = n_clock();
    until(&mut view, |_| n_clock() > before + 1).await;
    let (before, n_reads) = (n_clock(), n_told());
    until(&mut view, |_| n_clock() > before + 5).await;
    assert_eq!(n_told(), n_reads);
    assert!(is_go(&view.verdict(Instant::now())));
    change.send_replace(Changes::new());
    until(&mut view, |verdict| !is_go(verdict)).await;
    gate.close().await;
}

#[tokio::test]
async fn a_session_that_breaks_is_replaced_at_the_next_poll() {
    let scene = Scene::set(&[]).await;
    let (_changes, changes) = watch::channel(Changes::new());
    let (guarded, told) = told("one", Say::Ask);
    let gate = Gate::open(vec![guarded], scene.database("app"), changes).await;
    let mut view = gate.view();
    for _ in 0..3 {
        until(&mut view, is_go).await;
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'piecemeal inc'";
        let ended: i64 = scene.admin.query_one(end, &[]).await.unwrap().get(0);
        assert_eq!(ended, 1);
        let n_reads = told.n_reads.load(Ordering::Relaxed);
        until(&mut view, |verdict| {
            told.n_reads.load(Ordering::Relaxed) > n_reads + 2 && is_go(verdict)
        })
        .await;
    }
    // A server that is down is not fine, and one that is back is.
    scene.sandbox.stop_immediate().unwrap();
    until(&mut view, |verdict| holds(verdict, "one cannot be read: ")).await;
    scene.sandbox.start_again().unwrap();
    until(&mut view, is_go).await;
    gate.close().await;
}

#[tokio::test]
async fn a_new_limit_is_told_and_read_at_once() {
    let scene = Scene::set(&[]).await;
    let (change, changes) = watch::channel(Changes::new());
    let (guarded, told) = told("one", Say::Value(1.0));
    let gate = Gate::open(vec![guarded], scene.database("app"), changes).await;
    let mut view = gate.view();
    let limit = Limit::Bytes(1_000);
    change.send_replace(Changes::from([("one".to_owned(), HoldChange::Above(limit))]));
    until(&mut view, |_| *told.aimed.borrow() == [Some(limit)]).await;
    change.send_replace(Changes::new());
    until(&mut view, |_| *told.aimed.borrow() == [Some(limit), None]).await;
    gate.close().await;
}

/// What the engine does with it has to be able to move between threads.
#[test]
fn a_gate_can_be_opened_in_a_task() {
    fn is_send<T: Send>(_: &T) {}
    let check = |database: crate::pg::Database, mut view: View| {
        let (_changes, changes) = watch::channel(Changes::new());
        is_send(&Gate::open(Vec::new(), database, changes));
        is_send(&async move { view.changed().await });
    };
    let _ = check;
}
