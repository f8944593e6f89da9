//! How long a worker waits, and what ends it: orders, windows, and what signals say meanwhile.

use super::*;
use crate::engine::voice::{self, Listener};

/// One that nobody has said anything to, and those who must be there as long as it is.
pub(in crate::engine) fn steering()
-> (Steering, watch::Sender<Brief>, watch::Sender<bool>, Listener) {
    let brief = Brief { orders: Orders::at_will(), pace: Pace::default(), is_time_up: false };
    let ((tell, brief), (leave, leaving)) = (watch::channel(brief), watch::channel(false));
    let (voice, events) = voice::pair();
    let steering = Steering::new(brief, leaving, Arc::default(), voice);
    (steering, tell, leave, events)
}

#[tokio::test]
async fn a_wait_lasts_also_when_nobody_can_say_anything_any_more() {
    let (mut steering, tell, leave, _events) = steering();
    drop((tell, leave));
    let (began, time) = (Instant::now(), Duration::from_millis(30));
    steering.wait(time).await;
    assert!(began.elapsed() >= time);
}

#[tokio::test]
async fn a_back_off_lasts_whatever_is_read_or_said_of_the_pace_and_an_order_ends_it() {
    let (steering, tell, _leave, _events) = steering();
    let (gate, read) = View::told(&[]);
    let mut steering = steering.held_by(gate, Duration::MAX);
    let tell = Arc::new(tell);
    let teller = Arc::clone(&tell);
    let news = tokio::spawn(async move {
        loop {
            read(&[]);
            teller.send_modify(|brief| brief.pace.rate = Some(brief.pace.rate.unwrap_or(0) + 1));
            tokio::task::yield_now().await;
        }
    });
    let (began, time) = (Instant::now(), Duration::from_millis(30));
    steering.back_off(time).await;
    assert!(began.elapsed() >= time, "{:?} of {time:?}", began.elapsed());
    news.abort();
    let order = async { tell.send_modify(|brief| brief.orders.intent = Intent::Pause) };
    tokio::join!(steering.back_off(Duration::from_hours(1)), order);
    assert_eq!(steering.asked(), Some(Asked::For(Intent::Pause)));
}

#[tokio::test]
async fn who_has_nothing_to_do_waits_whatever_is_read_until_it_is_asked_to_stop() {
    let (steering, tell, _leave, _events) = steering();
    let (gate, read) = View::told(&[]);
    let mut steering = steering.held_by(gate, Duration::MAX);
    let news = tokio::spawn(async move {
        loop {
            read(&[]);
            tokio::task::yield_now().await;
        }
    });
    let (began, time) = (Instant::now(), Duration::from_millis(30));
    steering.idle(time).await.unwrap();
    assert!(began.elapsed() >= time, "{:?} of {time:?}", began.elapsed());
    news.abort();
    let order = async { tell.send_modify(|brief| brief.orders.intent = Intent::Pause) };
    tokio::join!(async { steering.idle(Duration::from_hours(1)).await.unwrap() }, order);
}

#[tokio::test]
async fn what_holds_the_run_begins_and_ends_also_for_who_has_nothing_to_do() {
    let (mut steering, tell, _leave, _events) = steering();
    let holding = |steering: &Steering| steering.gauge.lock().unwrap().holding.clone();
    tell.send_modify(|brief| brief.pace.is_closed = true);
    steering.idle(Duration::from_millis(1)).await.unwrap();
    assert_eq!(holding(&steering).map(|it| it.by), Some("window".to_owned()));
    tell.send_modify(|brief| brief.pace.is_closed = false);
    steering.idle(Duration::from_millis(1)).await.unwrap();
    assert_eq!(holding(&steering), None);
    assert_ne!(steering.gauge.lock().unwrap().held, crate::run::Held::default());
}

#[tokio::test]
async fn of_several_workers_those_beyond_the_wanted_step_back_and_a_halt_stops_all() {
    let (steering, tell, _leave, _events) = steering();
    tell.send_modify(|brief| brief.pace.workers = 2);
    let (halt, halted) = watch::channel(false);
    let mut workers: Vec<_> = (0..3).map(|no| steering.of_worker(no, halted.clone())).collect();
    let asked: Vec<_> = workers.iter().map(Steering::asked).collect();
    assert_eq!(asked, [None, None, Some(Asked::ToStepBack)]);
    halt.send_replace(true);
    workers[0].wait(Duration::from_hours(1)).await;
    assert_eq!(workers[0].asked(), Some(Asked::ToStepBack));
}

#[tokio::test]
async fn what_was_said_of_the_time_comes_before_the_job_and_signals_make_it_shorter() {
    let (mut steering, tell, _leave, _events) = steering();
    let time = |steering: &Steering| {
        steering.time(Duration::from_millis(20), Duration::from_millis(100)).as_millis()
    };
    assert_eq!(time(&steering), 20);
    steering.share = 0.5;
    assert_eq!(time(&steering), 10);
    tell.send_modify(|brief| brief.pace.target = Some(Duration::from_secs(1)));
    assert_eq!(time(&steering), 40, "others wait for what comes behind it, too");
    steering.share = 0.0;
    assert_eq!(time(&steering), 20);
    steering.share = 1.0;
    tell.send_modify(|brief| brief.pace.target = Some(Duration::from_millis(100)));
    assert_eq!(time(&steering), 80, "one that takes as long as others should wait is cut off");
}

#[tokio::test]
async fn a_process_has_the_part_of_the_rate_that_its_workers_are_of_all() {
    let (steering, tell, _leave, _events) = steering();
    tell.send_modify(|brief| (brief.pace.rate, brief.orders.others) = (Some(1_000), 6));
    let part = |wanted: f64| (steering.portion().part - wanted).abs() < 1e-9;
    assert!(part(1.0 / 7.0), "{:?}", steering.portion());
    steering.note(|gauge| gauge.busy = 2);
    assert!(part(0.25), "{:?}", steering.portion());
}

/// A worker that is slowed down by a signal that is at its limit, with what tells of the signal.
fn slowed() -> (Steering, impl Fn(&[f64]), watch::Sender<Brief>, String) {
    let (steering, tell, _leave, _events) = steering();
    let (gate, read) = View::told(&[None]);
    read(&[1.0]);
    let mut steering = steering.held_by(gate, Duration::MAX);
    let by = steering.take_share().expect("it is slowed down");
    (steering, read, tell, by)
}

#[tokio::test]
async fn after_a_long_batch_the_share_is_waited_for_however_long_that_takes() {
    let (mut steering, _read, _tell, by) = slowed();
    let cycle = Duration::from_secs(100);
    let (worked, left) = (cycle.mul_f64(steering.share), Duration::from_millis(300));
    let began = Instant::now();
    steering.began = began.checked_sub(cycle.saturating_sub(left)).expect("a minute ago");
    steering.slow_down(worked, by).await;
    assert!(began.elapsed() >= left, "{:?} of {left:?}", began.elapsed());
    let slowed = steering.gauge.lock().unwrap().held.by_reason(|it| it.slowed_s)[0].1;
    let all = cycle.saturating_sub(worked).as_secs_f64();
    assert!((slowed.as_secs_f64() - all).abs() < 5.0, "{slowed:?} of {all} s");
}

#[tokio::test]
async fn a_long_wait_for_a_share_ends_with_an_order_a_window_and_a_signal_that_is_fine_or_holds() {
    let hours = Duration::from_hours(1);
    let (mut steering, _read, tell, by) = slowed();
    let order = async { tell.send_modify(|brief| brief.orders.intent = Intent::Pause) };
    tokio::join!(steering.slow_down(hours, by), order);
    let (mut steering, _read, tell, by) = slowed();
    let closes = async { tell.send_modify(|brief| brief.pace.is_closed = true) };
    tokio::join!(steering.slow_down(hours, by), closes);
    for part in [0.0, 2.0] {
        let (mut steering, read, _tell, by) = slowed();
        tokio::join!(steering.slow_down(hours, by), async { read(&[part]) });
    }
}

#[tokio::test]
async fn trouble_of_one_counts_from_when_another_has_got_on_last() {
    let (steering, ..) = steering();
    let other = steering.of_worker(1, watch::channel(false).1);
    let (began, after) = (Instant::now(), |seconds| Duration::from_secs(seconds));
    assert_eq!(steering.stuck(began), began);
    other.note(|gauge| gauge.got_on = Some(began + after(60)));
    assert_eq!(steering.stuck(began), began + after(60));
    assert_eq!(steering.stuck(began + after(90)), began + after(90));
}
