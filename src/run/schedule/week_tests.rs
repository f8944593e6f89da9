//! What is said of a week of windows.

use super::super::tests::{BERLIN, schedule};
use super::Schedule;

#[test]
fn overlaps_and_gaps_are_said() {
    let notes = |windows: &[_]| schedule(windows).notes(Some("20k rows/s".parse().unwrap()));
    let all = schedule(&[("daily", "UTC", "5/s")]);
    assert_eq!(all.notes(None), [""; 0]);
    assert_eq!(Schedule::default().notes(None), [""; 0]);
    insta::assert_snapshot!(
        notes(&[
            ("Mon-Fri 08:00-20:00", BERLIN, "500/s"),
            ("daily 19:00-21:00", BERLIN, "pause"),
            ("Tue,Thu 09:00-10:00", BERLIN, "5/s"),
        ]).join("\n"),
        @r"
    windows 1 (Mon-Fri 08:00-20:00) and 2 (daily 19:00-21:00) overlap Mon-Fri 19:00-20:00 Europe/Berlin: window 1 applies
    windows 1 (Mon-Fri 08:00-20:00) and 3 (Tue,Thu 09:00-10:00) overlap Tue,Thu 09:00-10:00 Europe/Berlin: window 1 applies
    window 3 (Tue,Thu 09:00-10:00) never applies: those above it cover all of it
    no window Mon-Thu,Sun 21:00-08:00, Fri,Sat 21:00-19:00 Europe/Berlin: `rate` under [pace] applies there, 20k rows/s
    ");
    insta::assert_snapshot!(
        schedule(&[("Mon-Fri", BERLIN, "5/s"), ("Sat 00:00-12:00", "America/New_York", "5/s")]).notes(None).join("\n"),
        @r"
    no window Sat 00:00-06:00, Sat 18:00-Mon 00:00 Europe/Berlin (as clocks stand from 2026-01-05 on): nothing limits the rate there, because [pace] has no `rate`
    no window Sat 00:00-05:00, Sat 17:00-Mon 00:00 Europe/Berlin (as clocks stand from 2026-03-08 on): nothing limits the rate there, because [pace] has no `rate`
    "
    );
    insta::assert_snapshot!(
        notes(&[("daily", BERLIN, "5/s"), ("daily", "UTC", "pause")]).join("\n"),
        @r"
    windows 1 (daily) and 2 (daily) overlap all week: window 1 applies
    window 2 (daily) never applies: those above it cover all of it
    "
    );
    let many = schedule(&[("Sun", "UTC", "5/s"); 25]).notes(None);
    assert_eq!(many[20], "and 4 more overlaps of windows");
}

#[test]
fn what_is_so_only_while_clocks_stand_in_a_certain_way_is_said_with_the_day() {
    let notes = |windows: &[_]| schedule(windows).notes(None).join("\n");
    // At eight in Berlin it is seven in UTC, and six in summer.
    insta::assert_snapshot!(
        notes(&[("Mon 08:00-12:00", BERLIN, "5/s"), ("Mon 06:00-07:00", "UTC", "pause"), ("daily", "UTC", "5/s")]),
        @r"
    windows 1 (Mon 08:00-12:00) and 2 (Mon 06:00-07:00) overlap Mon 08:00-09:00 Europe/Berlin (as clocks stand from 2026-03-29 on): window 1 applies
    windows 1 (Mon 08:00-12:00) and 3 (daily) overlap Mon 08:00-12:00 Europe/Berlin: window 1 applies
    windows 2 (Mon 06:00-07:00) and 3 (daily) overlap Mon 06:00-07:00 UTC (as clocks stand from 2026-01-05 on): window 2 applies
    "
    );
    // Clocks that change together stand to each other as before.
    assert_eq!(notes(&[("Mon", BERLIN, "5/s"), ("Tue-Sun", "Europe/Vienna", "5/s")]), "");
}

#[test]
fn the_reference_week_is_told_apart_to_the_minute() {
    let odd = schedule(&[("Wed 23:59-00:01", "Asia/Kathmandu", "5/s")]);
    let gaps = odd.gaps().remove(0);
    let ends: Vec<_> =
        gaps.instants().iter().map(|it| (it.start.to_string(), it.end.to_string())).collect();
    let end = ("2026-01-07T18:16:00Z".to_owned(), "2026-01-14T18:14:00Z".to_owned());
    assert_eq!(ends, [end]);
    assert_eq!(gaps.to_string(), "Thu 00:01-Wed 23:59 Asia/Kathmandu");
    assert!(Schedule::default().gaps().is_empty());
}
