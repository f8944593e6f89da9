//! How a walk goes over its chunks: passes, sizes, and when it searches instead.

use super::*;
use crate::walk::{Key, Open};

fn striper(stripes: Stripes) -> Striper {
    Striper::new(stripes, true, Sizer::fixed(100))
}

fn key() -> Key {
    Key::new(vec!["1".into()])
}

/// A batch over `keys` of `stripe` of four, none if it is a single pass, that changed `changed`
/// rows, of which `hot` were HOT.
fn batch(
    striper: &mut Striper,
    stripe: Option<u32>,
    keys: u32,
    (changed, hot): (u64, u64),
    now: Instant,
) {
    let stripe = stripe.map(|no| Stripe { no, of: 4 });
    let chunk = Chunk { after: None, upto: key(), keys, last: false, stripe };
    let outcome = Outcome { changed, hot, took: Duration::from_millis(20), ..Outcome::default() };
    let is_last = stripe.is_none_or(|stripe| stripe.no == 3);
    let open = stripe.map(|stripe| Open { front: key(), mark: key(), stripe });
    let range = Range { open: open.filter(|_| !is_last), ..Range::default() };
    striper.observe(&chunk, &outcome, &range, now);
}

/// A chunk of four passes over 400 keys, of which `hot` rows of each later pass were HOT.
fn chunk(striper: &mut Striper, hot: u64, now: Instant) {
    batch(striper, Some(0), 400, (100, 0), now);
    for no in 1..4 {
        batch(striper, Some(no), 400, (100, hot), now);
    }
}

#[test]
fn a_single_pass_comes_first_and_four_follow() {
    let (mut striper, now) = (striper(Stripes::Auto), Instant::now());
    assert_eq!(striper.passes(), 1);
    batch(&mut striper, None, 100, (100, 2), now);
    assert_eq!(striper.passes(), PASSES);
    chunk(&mut striper, 80, now);
    assert_eq!(striper.passes(), PASSES);
}

#[test]
fn passes_that_do_not_pay_are_left_at_once_and_tried_again_later_and_later() {
    let (mut striper, now) = (striper(Stripes::Auto), Instant::now());
    batch(&mut striper, None, 100, (100, 0), now);
    let longest = 600_000;
    for pause in (0..15).map(|times| (100_u64 << times).min(longest)) {
        chunk(&mut striper, 20, now);
        assert_eq!(striper.passes(), 1);
        let after = |millis: u64| now + Duration::from_millis(millis);
        batch(&mut striper, None, 100, (100, 0), after(pause - 1));
        assert_eq!(striper.passes(), 1, "after {pause} ms");
        batch(&mut striper, None, 100, (100, 0), after(pause));
        assert_eq!(striper.passes(), PASSES, "after {pause} ms");
    }
    chunk(&mut striper, 70, now);
    chunk(&mut striper, 20, now);
    batch(&mut striper, None, 100, (100, 0), now + FIRST_BREAK);
    assert_eq!(striper.passes(), PASSES, "once they have paid, the breaks begin anew");
}

#[test]
fn a_chunk_that_somebody_has_spoilt_after_one_that_paid_is_no_reason_to_leave_them() {
    let (mut striper, now) = (striper(Stripes::Auto), Instant::now());
    batch(&mut striper, None, 100, (100, 0), now);
    for (hot, passes) in [(80, PASSES), (30, PASSES), (80, PASSES), (30, PASSES), (30, 1)] {
        chunk(&mut striper, hot, now);
        assert_eq!(striper.passes(), passes);
    }
}

#[test]
fn rows_are_searched_for_where_few_are_to_do_however_many_passes_are_wanted() {
    let sizer = Sizer::aiming_at(Duration::from_millis(20), 100, 50_000);
    let (mut striper, now) = (Striper::new(Stripes::Fixed(4), true, sizer), Instant::now());
    let range = Range::default();
    for (matched, is_few) in [(100, false), (5, false), (4, true), (0, true)] {
        for no in 0..4 {
            let stripe = Some(Stripe { no, of: 4 });
            let chunk = Chunk { after: None, upto: key(), keys: 400, last: false, stripe };
            let open = Open { front: key(), mark: key(), stripe: Stripe { no, of: 4 } };
            let after = Range { open: Some(open).filter(|_| no < 3), ..range.clone() };
            striper.observe(&chunk, &found(matched, 20), &after, now);
        }
        assert_eq!(striper.is_searching(&range), is_few, "{matched} of 100 keys in each pass");
    }
}

#[test]
fn a_table_with_room_or_with_few_rows_to_do_gets_a_single_pass() {
    for (changed, hot) in [(100, 80), (10, 0), (0, 0)] {
        let (mut striper, now) = (striper(Stripes::Auto), Instant::now());
        batch(&mut striper, None, 100, (changed, hot), now);
        assert_eq!(striper.passes(), 1, "{changed} rows, {hot} HOT");
    }
}

#[test]
fn an_index_on_a_column_that_is_set_forbids_them_and_a_number_insists() {
    let now = Instant::now();
    let mut indexed = Striper::new(Stripes::Auto, false, Sizer::fixed(100));
    batch(&mut indexed, None, 100, (100, 0), now);
    assert_eq!(indexed.passes(), 1);
    let mut insisted = Striper::new(Stripes::Fixed(4), false, Sizer::fixed(100));
    chunk(&mut insisted, 0, now);
    assert_eq!(insisted.passes(), 4);
}

#[test]
fn the_first_pass_turns_before_a_later_one_takes_more_than_a_batch() {
    let (mut striper, now) = (striper(Stripes::Fixed(4)), Instant::now());
    batch(&mut striper, Some(0), 400, (100, 0), now);
    assert!(!striper.has_gone_far(true));
    batch(&mut striper, Some(0), 400, (100, 0), now);
    assert!(striper.has_gone_far(true));
    assert_eq!(striper.keys_of_chunk(), Some(800));
    for _ in 2..IN_A_CROWD {
        assert!(!striper.has_gone_far(false), "others are about");
        batch(&mut striper, Some(0), 400, (100, 0), now);
    }
    assert!(striper.has_gone_far(false));
}

#[test]
fn what_is_foreseen_of_a_first_pass_turns_as_what_is_seen() {
    let (mut striper, now) = (striper(Stripes::Fixed(4)), Instant::now());
    let stripe = Some(Stripe { no: 0, of: 4 });
    let chunk = Chunk { after: None, upto: key(), keys: 400, last: false, stripe };
    for _ in 0..2 {
        let foreseen = striper.foreseen(&chunk);
        batch(&mut striper, Some(0), 400, (100, 0), now);
        let both = [&foreseen, &striper];
        assert_eq!(both.map(|it| it.has_gone_far(true)), [striper.has_gone_far(true); 2]);
        assert_eq!(both.map(Striper::keys_of_chunk), [striper.keys_of_chunk(); 2]);
    }
    assert!(striper.has_gone_far(true));
}

#[test]
fn the_first_pass_turns_after_some_batches_however_few_keys_they_had() {
    let (mut striper, now) = (striper(Stripes::Fixed(4)), Instant::now());
    for _ in 1..MOST_BATCHES {
        batch(&mut striper, Some(0), 0, (0, 0), now);
    }
    assert!(!striper.has_gone_far(true));
    batch(&mut striper, Some(0), 0, (0, 0), now);
    assert!(striper.has_gone_far(true));
}

#[test]
fn the_keys_of_a_chunk_that_somebody_else_began_are_not_known() {
    let mut striper = striper(Stripes::Fixed(4));
    let open = Open { front: key(), mark: key(), stripe: Stripe { no: 0, of: 4 } };
    striper.begin(&Range { open: Some(open), ..Range::default() });
    batch(&mut striper, Some(0), 400, (100, 0), Instant::now());
    assert_eq!(striper.keys_of_chunk(), None);
}

/// What came of a search that has found so many rows in so many milliseconds.
fn found(matched: u64, took: u64) -> Outcome {
    Outcome { matched, took: Duration::from_millis(took), ..Outcome::default() }
}

#[test]
fn a_search_learns_from_its_rows_and_not_from_the_clock_that_ends_it() {
    let sizer = Sizer::aiming_at(Duration::from_millis(20), 100, 50_000);
    let mut striper = Striper::new(Stripes::Auto, true, sizer);
    let none = Duration::ZERO;
    for (rows, matched, took, expected) in [
        (1_000, 1_000, 5, 2_000),
        (2_000, 3, 21, 2_000),
        (2_000, 0, 90, 2_000),
        (2_000, 1_500, 60, 500),
        (500, 500, 40, 250),
    ] {
        striper.observe_rows(rows, &found(matched, took), none);
        assert_eq!(striper.rows_of_search(), expected, "{matched} of {rows} in {took} ms");
    }
    striper.shrink_rows(250);
    assert_eq!(striper.rows_of_search(), 125);
    striper.observe_rows(125, &found(125, 90), Duration::from_millis(80));
    assert_eq!(striper.rows_of_search(), 250, "sorting them takes as long for fewer of them");
    striper.aim_at(Duration::from_millis(5));
    striper.observe_rows(250, &found(250, 10), none);
    assert_eq!(striper.rows_of_search(), 125, "what somebody says holds for them as well");
}

#[test]
fn after_a_search_chunks_are_no_longer_than_the_first_and_no_longer_than_they_were() {
    let now = Instant::now();
    for (seen, expected) in [(100_000, 1_000), (200, 200)] {
        let sizer = Sizer::aiming_at(Duration::from_millis(20), 100, 50_000);
        let mut striper = Striper::new(Stripes::Fixed(1), true, sizer);
        for _ in 0..10 {
            let keys = striper.sizer(None).rows();
            let chunk = Chunk { after: None, upto: key(), keys, last: false, stripe: None };
            let took = Duration::from_millis(20) * keys / seen;
            let outcome = Outcome { took, ..Outcome::default() };
            striper.observe(&chunk, &outcome, &Range::default(), now);
        }
        striper.stop_searching();
        assert_eq!(striper.sizer(None).rows(), expected, "{seen} keys in the time of a batch");
    }
}

#[test]
fn chunks_between_searches_that_are_rolled_back_grow_until_one_is_committed() {
    let now = Instant::now();
    let sizer = Sizer::aiming_at(Duration::from_millis(20), 100, 50_000);
    let mut striper = Striper::new(Stripes::Fixed(1), true, sizer);
    for expected in [1_000, 2_000, 4_000] {
        striper.stop_searching();
        let keys = striper.sizer(None).rows();
        assert_eq!(keys, expected);
        let chunk = Chunk { after: None, upto: key(), keys, last: false, stripe: None };
        striper.observe(&chunk, &found(0, 1), &Range::default(), now);
    }
    let chunk = Chunk { after: None, upto: key(), keys: 100, last: false, stripe: None };
    striper.observe_search(&chunk, &found(100, 1));
    assert_eq!(striper.sizer(None).rows(), 1_000, "it has found that many are to do");
}

#[test]
fn a_single_row_is_a_single_key_in_every_stripe() {
    let stripe = Some(Stripe { no: 2, of: 4 });
    assert_eq!((Striper::keys(stripe, 1), Striper::keys(stripe, 25)), (1, 100));
    assert_eq!((Striper::rows(stripe, 1), Striper::rows(stripe, 100)), (1, 25));
    assert_eq!((Striper::keys(None, 25), Striper::rows(None, 25)), (25, 25));
}
