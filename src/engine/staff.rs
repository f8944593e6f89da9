//! As many workers as the pace says, while there is something to do.
//!
//! Their number follows the pace while they work. One that meets something that stops the run stops the others, each
//! between two of its transactions.

use std::collections::BTreeSet;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::steering::{Asked, Steering};
use super::worker::Stop;

/// Lets workers work until one of them has found nothing more to do, and `is_left` knows of nothing that another has
/// left behind, or until there is a reason to stop; returns that, or the end.
pub(super) async fn staffed<F>(
    steering: &Steering,
    work: impl Fn(Steering) -> F,
    is_left: impl Fn() -> bool,
) -> Stop
where
    F: Future<Output = Stop> + Send + 'static,
{
    let (halt, halted) = watch::channel(false);
    let mut brief = steering.brief.clone();
    let (mut workers, mut active) = (JoinSet::new(), BTreeSet::new());
    let (mut is_over, mut reason) = (false, None);
    loop {
        let wanted = brief.borrow_and_update().pace.workers;
        for no in (0..wanted).filter(|_| reason.is_none() && (!is_over || is_left())) {
            if active.insert(no) {
                let working = work(steering.of_worker(no, halted.clone()));
                workers.spawn(async move { (no, working.await) });
            }
        }
        tokio::select! {
            ended = workers.join_next() => match ended {
                None => return reason.unwrap_or(Stop::End),
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
                Some(Ok((no, stop))) => {
                    active.remove(&no);
                    if matches!(stop, Stop::End) {
                        is_over = true;
                    } else if !matches!(stop, Stop::Asked(Asked::ToStepBack)) {
                        halt.send_replace(true);
                        reason.get_or_insert(stop);
                    }
                }
            },
            Ok(()) = brief.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::sync::Notify;

    use super::super::steering::tests::steering;
    use super::*;

    #[tokio::test]
    async fn what_one_leaves_behind_is_done_by_one_who_had_found_nothing_more() {
        let (steering, tell, _leave, _heard) = steering();
        tell.send_modify(|brief| brief.pace.workers = 2);
        let (is_left, is_idle) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let work = |steering: Steering| {
            let (is_left, is_idle, tell) =
                (Arc::clone(&is_left), Arc::clone(&is_idle), tell.clone());
            async move {
                if steering.no() == 0 {
                    is_left.store(false, Ordering::Relaxed);
                    is_idle.notify_one();
                    return Stop::End;
                }
                is_idle.notified().await;
                is_left.store(true, Ordering::Relaxed);
                tell.send_modify(|brief| brief.pace.workers = 1);
                Stop::Asked(Asked::ToStepBack)
            }
        };
        let stop = staffed(&steering, work, || is_left.load(Ordering::Relaxed)).await;
        assert!(matches!(stop, Stop::End), "{stop:?}");
        assert!(!is_left.load(Ordering::Relaxed), "nobody came back for it");
    }
}
