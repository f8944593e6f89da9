//! Verdicts of readings, ages and changes: each rule by itself, and that no combination lets a run
//! go on at full speed while blind.

use proptest::prelude::*;

use super::*;
use crate::job::Limit;
use crate::run::HoldChange;

const POLL: Duration = Duration::from_secs(1);
const LIMIT: Limit = Limit::Time(Duration::from_secs(10));

/// A moment, and signals that were read up to it.
struct Scene {
    now: Instant,
    all: Vec<Watched>,
    changes: Changes,
}

/// What was read of one signal.
type Seen = Result<Reading, Blind>;

#[expect(clippy::unnecessary_wraps, reason = "it stands beside what could not be read")]
fn lag(value: f64) -> Seen {
    Ok(Reading::of(value, Unit::Seconds, LIMIT))
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside what could not be read")]
fn count(value: f64, limit: f64) -> Seen {
    Ok(Reading::of(value, Unit::Things(""), Limit::Number(limit)))
}

impl Scene {
    fn of(signals: &[(&str, Option<u32>)]) -> Scene {
        let with: Vec<_> = signals.iter().map(|it| (it.0, it.1.map(Floor::Rows))).collect();
        Scene::with(&with)
    }

    fn with(signals: &[(&str, Option<Floor>)]) -> Scene {
        let now = Instant::now();
        let watch = |(name, floor): &(&str, _)| Watched::new((*name).into(), *floor, POLL, now);
        Scene { now, all: signals.iter().map(watch).collect(), changes: Changes::new() }
    }

    fn one() -> Scene {
        Scene::of(&[("replica-lag", None)])
    }

    /// A poll later, these are read.
    fn read(&mut self, seen: &[Seen]) -> Verdict {
        self.now += POLL;
        for (watched, seen) in self.all.iter_mut().zip(seen) {
            watched.note(seen.clone(), self.changes.get(&watched.name).copied(), self.now);
        }
        self.verdict()
    }

    fn verdict(&self) -> Verdict {
        verdict(&self.all, &self.changes, self.now)
    }
}

fn text(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Go(share, None) => format!("go {share:.2}"),
        Verdict::Go(share, Some(cause)) => format!("go {share:.2}: {}", cause.text),
        Verdict::Hold(cause, None) => format!("hold: {}", cause.text),
        Verdict::Hold(cause, Some(Trickle { floor, slowed_by: None, .. })) => {
            format!("trickle {floor}: {}", cause.text)
        }
        Verdict::Hold(cause, Some(Trickle { floor, share, slowed_by: Some(by) })) => {
            format!("trickle {floor}, {share:.2}: {}; {}", cause.text, by.text)
        }
    }
}

#[test]
fn below_the_limit_it_goes_above_it_holds() {
    let mut scene = Scene::one();
    assert_eq!(text(&scene.verdict()), "go 1.00");
    assert_eq!(text(&scene.read(&[lag(6.0)])), "go 1.00");
    assert_eq!(text(&scene.read(&[lag(8.0)])), "go 0.39: replica-lag 8s of 10s");
    assert_eq!(text(&scene.read(&[lag(10.1)])), "hold: replica-lag 10.1s > 10s");
}

#[test]
fn a_hold_ends_at_nine_tenths_of_the_limit_and_says_so() {
    let mut scene = Scene::one();
    scene.read(&[lag(12.0)]);
    assert_eq!(text(&scene.read(&[lag(9.6)])), "hold: replica-lag 9.6s > 9s (90 % of 10s)");
    assert_eq!(text(&scene.read(&[lag(9.0)])), "go 0.05: replica-lag 9s of 10s");
    // Without a hold before it, the same value goes on.
    assert!(matches!(Scene::one().read(&[lag(9.6)]), Verdict::Go(..)));
}

#[test]
fn a_small_count_is_released_below_the_limit_and_not_stuck_at_it() {
    let mut scene = Scene::of(&[("lock-waits", None)]);
    assert_eq!(text(&scene.read(&[count(2.0, 1.0)])), "hold: lock-waits 2 > 1");
    assert_eq!(text(&scene.read(&[count(1.0, 1.0)])), "hold: lock-waits 1 > 0.9 (90 % of 1)");
    let mut polls = 1;
    while matches!(scene.read(&[count(1.0, 1.0)]), Verdict::Hold(..)) {
        polls += 1;
    }
    assert_eq!(polls, 30);
    let mut scene = Scene::of(&[("lock-waits", None)]);
    assert!(matches!(scene.read(&[count(1.0, 0.0)]), Verdict::Hold(..)));
    assert!(matches!(scene.read(&[count(0.0, 0.0)]), Verdict::Go(..)));
}

#[test]
fn what_was_above_the_limit_again_has_to_be_calm_anew() {
    let mut scene = Scene::one();
    scene.read(&[lag(11.0)]);
    for _ in 0..3 {
        for _ in 0..20 {
            assert!(matches!(scene.read(&[lag(9.5)]), Verdict::Hold(..)));
        }
        scene.read(&[lag(11.0)]);
    }
}

#[test]
fn what_cannot_be_read_holds_whatever_its_floor() {
    let mut scene = Scene::of(&[("autovacuum", Some(100))]);
    let blind = Blind::new("nobody knows").recipe("GRANT x TO y;");
    let verdict = scene.read(&[Err(blind)]);
    assert_eq!(text(&verdict), "hold: autovacuum cannot be read: nobody knows; GRANT x TO y;");
    assert!(matches!(scene.read(&[lag(1.0)]), Verdict::Go(..)));
}

#[test]
fn a_limit_for_what_is_true_or_false_does_nothing_and_that_is_said() {
    let busy = || Ok(Reading::of(1.0, Unit::Truth("is true"), Limit::Never));
    let mut scene = Scene::of(&[("busy", None)]);
    assert_eq!(text(&scene.read(&[busy()])), "hold: busy is true");
    scene.changes.insert("busy".into(), HoldChange::Above(Limit::Number(50.0)));
    assert_eq!(text(&scene.read(&[busy()])), "hold: busy is true, and takes no limit");
    scene.changes.insert("busy".into(), HoldChange::Off);
    assert_eq!(text(&scene.verdict()), "go 1.00");
}

#[test]
fn a_reading_that_is_older_than_three_polls_is_none() {
    let mut scene = Scene::of(&[("replica-lag", Some(100))]);
    scene.read(&[lag(1.0)]);
    scene.now += Duration::from_secs(3);
    assert_eq!(text(&scene.verdict()), "go 1.00");
    scene.now += Duration::from_millis(1_500);
    assert_eq!(
        text(&scene.verdict()),
        "hold: replica-lag cannot be read: the last reading is 4s old"
    );
    assert_eq!(text(&scene.read(&[lag(1.0)])), "go 1.00");
}

#[test]
fn slow_readings_in_turn_do_not_make_each_other_old() {
    let names: Vec<String> = (0..6).map(|at| format!("slow-{at}")).collect();
    let signals: Vec<_> = names.iter().map(|name| (name.as_str(), None)).collect();
    let mut scene = Scene::of(&signals);
    let took = Duration::from_millis(950);
    for turn in 0..30 {
        scene.now += took;
        // It is the oldest just before it is read again.
        assert_eq!(text(&scene.verdict()), "go 1.00", "turn {turn}");
        let watched = &mut scene.all[turn % 6];
        watched.took(took);
        watched.note(lag(1.0), None, scene.now);
    }
    // One that hangs is found out all the same.
    scene.now += Duration::from_secs(3) + took * 5;
    assert!(
        text(&scene.verdict()).starts_with("hold: slow-0 cannot be read: the last reading is ")
    );
    // And what hung once does not excuse the others for as long.
    scene.all[0].took(Duration::from_mins(1));
    scene.all[0].note(lag(1.0), None, scene.now);
    assert!(
        text(&scene.verdict()).starts_with("hold: slow-1 cannot be read: the last reading is ")
    );
}

#[test]
fn what_was_never_read_is_waited_for_and_then_holds() {
    let mut scene = Scene::one();
    scene.now += Duration::from_secs(3);
    assert_eq!(text(&scene.verdict()), "go 1.00");
    scene.now += Duration::from_secs(2);
    assert_eq!(text(&scene.verdict()), "hold: replica-lag cannot be read: no answer for 5s");
}

#[test]
fn long_polls_give_nobody_longer_to_go_on_blind() {
    let now = Instant::now();
    let slow = Watched::new("slow".into(), None, Duration::from_mins(1), now);
    let at = |seconds| {
        verdict(std::slice::from_ref(&slow), &Changes::new(), now + Duration::from_secs(seconds))
    };
    assert!(matches!(at(2), Verdict::Go(..)));
    assert!(matches!(at(5), Verdict::Hold(..)));
}

#[test]
fn a_floor_keeps_a_trickle_only_if_all_that_hold_have_one() {
    let mut scene = Scene::of(&[("a", Some(100)), ("b", Some(30)), ("c", None)]);
    assert_eq!(text(&scene.read(&[lag(20.0), lag(1.0), lag(1.0)])), "trickle 100: a 20s > 10s");
    assert_eq!(text(&scene.read(&[lag(20.0), lag(15.0), lag(1.0)])), "trickle 30: a 20s > 10s");
    assert_eq!(text(&scene.read(&[lag(20.0), lag(15.0), lag(11.0)])), "hold: c 11s > 10s");
}

#[test]
fn a_floor_leaves_no_more_than_what_the_others_slow_down_to() {
    let tenth = Some(Floor::Share(0.1));
    let all = [("a", Some(Floor::Rows(100))), ("b", None), ("c", tenth)];
    let mut scene = Scene::with(&all);
    let slow = "trickle 100, 0.39: a 20s > 10s; b 8s of 10s";
    assert_eq!(text(&scene.read(&[lag(20.0), lag(8.0), lag(1.0)])), slow);
    // The smallest share of them counts, also of one that never holds.
    for _ in 0..10 {
        scene.read(&[lag(20.0), lag(8.0), lag(30.0)]);
    }
    assert_eq!(text(&scene.verdict()), "trickle 100, 0.10: a 20s > 10s; c 30s > 10s");
}

#[test]
fn a_share_for_a_floor_slows_down_and_never_holds() {
    let mut scene = Scene::with(&[("a", Some(Floor::Share(0.1))), ("b", None)]);
    for _ in 0..10 {
        scene.read(&[lag(30.0), lag(1.0)]);
    }
    assert_eq!(text(&scene.verdict()), "go 0.10: a 30s > 10s");
    // Below the limit it is released at once, and comes back as slowly as others.
    assert_eq!(text(&scene.read(&[lag(9.9), lag(1.0)])), "go 0.10: a 9.9s of 10s");
    assert!(text(&scene.read(&[lag(0.0), lag(1.0)])).starts_with("go 0.1"));
    // It does not stand in the way of one that holds, and blind it holds itself.
    assert_eq!(text(&scene.read(&[lag(30.0), lag(11.0)])), "hold: b 11s > 10s");
    let blind = Err(Blind::new("x"));
    assert_eq!(text(&scene.read(&[blind, lag(1.0)])), "hold: a cannot be read: x");
    // Nor does a limit that people lower make it hold.
    let mut scene = Scene::with(&[("a", Some(Floor::Share(0.1)))]);
    scene.read(&[lag(5.0)]);
    let lowered = HoldChange::Above(Limit::Time(Duration::from_secs(1)));
    scene.changes.insert("a".into(), lowered);
    assert_eq!(text(&scene.verdict()), "go 0.10: a 5s > 1s");
}

#[test]
fn the_worst_signal_is_named() {
    let mut scene = Scene::of(&[("a", None), ("b", None), ("c", None)]);
    assert_eq!(text(&scene.read(&[lag(7.0), lag(9.0), lag(1.0)])), "go 0.24: b 9s of 10s");
    assert_eq!(text(&scene.read(&[lag(11.0), lag(20.0), lag(1.0)])), "hold: b 20s > 10s");
    let blind = Err(Blind::new("x"));
    assert_eq!(text(&scene.read(&[lag(11.0), lag(20.0), blind])), "hold: c cannot be read: x");
}

#[test]
fn a_change_counts_at_once_without_another_reading() {
    let mut scene = Scene::one();
    scene.read(&[lag(8.0)]);
    let mut change = |change| {
        scene.changes = change;
        text(&scene.verdict())
    };
    let above = |seconds| HoldChange::Above(Limit::Time(Duration::from_secs(seconds)));
    let of = |change| Changes::from([("replica-lag".to_owned(), change)]);
    assert_eq!(change(of(above(5))), "hold: replica-lag 8s > 5s");
    assert_eq!(change(of(above(60))), "go 1.00");
    assert_eq!(change(of(above(9))), "go 0.11: replica-lag 8s of 9s");
    assert_eq!(change(of(HoldChange::Off)), "go 1.00");
    assert_eq!(change(Changes::new()), "go 0.39: replica-lag 8s of 10s");
    // A limit of another kind has to be read first, and until then the old one counts.
    assert_eq!(change(of(HoldChange::Above(Limit::Bytes(1)))), "go 0.39: replica-lag 8s of 10s");
}

#[test]
fn a_hold_ends_when_its_limit_is_raised() {
    let mut scene = Scene::one();
    scene.read(&[lag(20.0)]);
    let raised = HoldChange::Above(Limit::Time(Duration::from_mins(1)));
    scene.changes.insert("replica-lag".into(), raised);
    assert_eq!(text(&scene.verdict()), "go 1.00");
    let verdict = scene.read(&[lag(20.0)]);
    assert!(matches!(verdict, Verdict::Go(..)), "{verdict:?}");
}

#[test]
fn a_hold_of_another_limit_says_nothing_about_a_new_one_that_is_just_above() {
    let above = |seconds| HoldChange::Above(Limit::Time(Duration::from_secs(seconds)));
    let mut scene = Scene::one();
    scene.read(&[lag(14.5)]);
    scene.changes.insert("replica-lag".into(), above(15));
    assert!(matches!(scene.verdict(), Verdict::Go(..)));
    assert_eq!(text(&scene.read(&[lag(14.5)])), "go 0.05: replica-lag 14.5s of 15s");
    // From then on the new one holds and releases as any other.
    scene.read(&[lag(15.5)]);
    assert_eq!(text(&scene.read(&[lag(14.5)])), "hold: replica-lag 14.5s > 13.5s (90 % of 15s)");
    // One that people take back is a new one, too.
    scene.changes.clear();
    assert!(matches!(scene.read(&[lag(9.5)]), Verdict::Go(..)));
}

#[test]
fn a_limit_that_people_set_in_another_unit_ends_no_hold() {
    let mut scene = Scene::one();
    scene.read(&[lag(11.0)]);
    scene.changes.insert("replica-lag".into(), HoldChange::Above(Limit::Bytes(1 << 20)));
    assert!(matches!(scene.read(&[lag(9.5)]), Verdict::Hold(..)));
}

#[test]
fn a_signal_that_is_off_does_not_hold_even_if_it_cannot_be_read() {
    let mut scene = Scene::one();
    scene.changes.insert("replica-lag".into(), HoldChange::Off);
    assert_eq!(text(&scene.read(&[Err(Blind::new("x"))])), "go 1.00");
    scene.now += Duration::from_mins(1);
    assert_eq!(text(&scene.verdict()), "go 1.00");
}

#[test]
fn full_speed_comes_back_slowly_after_a_hold() {
    let mut scene = Scene::one();
    scene.read(&[lag(20.0)]);
    let mut polls = 0;
    while text(&scene.read(&[lag(0.0)])) != "go 1.00" {
        polls += 1;
    }
    assert!((10..15).contains(&polls), "{polls}");
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![
        3 => (0.0..15.0_f64).prop_map(lag),
        1 => Just(Err(Blind::new("x"))),
    ]
}

proptest! {
    #[test]
    fn nothing_goes_on_while_something_is_blind_or_above_its_limit(
        polls in prop::collection::vec(prop::collection::vec(seen(), 3), 1..40),
        floor in prop::option::of(1..100_u32),
    ) {
        let mut scene = Scene::of(&[("a", floor), ("b", None), ("c", floor)]);
        for all in polls {
            let verdict = scene.read(&all);
            let is_blind = all.iter().any(Result::is_err);
            let above = |seen: &Seen| seen.as_ref().is_ok_and(|it| it.value > it.limit);
            match verdict {
                Verdict::Go(share, cause) => {
                    prop_assert!(!is_blind && !all.iter().any(above));
                    prop_assert!(share > 0.0 && share <= 1.0);
                    prop_assert_eq!(cause.is_some(), share < 1.0);
                }
                Verdict::Hold(_, None) => {}
                Verdict::Hold(_, Some(trickle)) => {
                    prop_assert!(!is_blind && trickle.share > 0.0);
                    prop_assert_eq!(trickle.slowed_by.is_some(), trickle.share < 1.0);
                }
            }
        }
    }
}
