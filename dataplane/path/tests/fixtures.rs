//! The fixture table on the slice, and what the table must be good for.

use std::collections::BTreeSet;
use weir_path::Reason;
use weir_testkit::executor::{End, Slice};
use weir_testkit::fixtures::{all, stories};
use weir_testkit::laws;

#[test]
fn every_fixture_holds_on_the_slice() {
    let broken: Vec<_> = all().iter().filter_map(|fixture| fixture.check_slice().err()).collect();
    assert!(broken.is_empty(), "{} fixtures do not hold\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn every_fixture_keeps_the_laws() {
    for fixture in all() {
        let ran = fixture.expected().ran;
        laws::packet(&fixture.packet, &ran, fixture.why)
            .unwrap_or_else(|law| panic!("{}: {law}", fixture.says));
    }
}

#[test]
fn every_reason_is_reached_by_a_fixture() {
    // One packet on its own can't get there. `trouble.rs` gets to those that take a kernel that refuses to change
    // a packet or another CPU, and stories to the full budget and to emptied buckets. No test gets to programs that aren't joined yet.
    const NOT_BY_A_PACKET: [Reason; 6] = [
        Reason::Unchangeable,
        Reason::RaceLost,
        Reason::HalfOpenFull,
        Reason::OverRateOut,
        Reason::OverRateIn,
        Reason::NotReady,
    ];
    let reached: BTreeSet<_> = all().iter().map(|fixture| fixture.why).collect();
    let missing: Vec<_> =
        Reason::ALL.iter().filter(|why| !reached.contains(why) && !NOT_BY_A_PACKET.contains(why)).collect();
    assert!(missing.is_empty(), "no fixture reaches {missing:?}");
    assert!(NOT_BY_A_PACKET.iter().all(|why| !reached.contains(why)), "the exception is not needed any more");
}

#[test]
fn no_two_fixtures_say_or_do_the_same() {
    let fixtures = all();
    let sentences: BTreeSet<_> = fixtures.iter().map(|fixture| fixture.says).collect();
    assert_eq!(sentences.len(), fixtures.len(), "two fixtures have the same sentence");
    for (n, one) in fixtures.iter().enumerate() {
        for other in &fixtures[n + 1..] {
            let same = one.walk == other.walk
                && one.arrival == other.arrival
                && one.packet == other.packet
                && one.world == other.world;
            assert!(!same, "\"{}\" and \"{}\" are the same packet in the same world", one.says, other.says);
        }
    }
}

#[test]
fn what_is_not_sent_is_expected_untouched() {
    for fixture in all().iter().filter(|fixture| fixture.end != End::Send) {
        assert_eq!(fixture.bytes, fixture.packet, "{}", fixture.says);
        assert_eq!(fixture.to, None, "{}", fixture.says);
    }
}

#[test]
fn every_story_holds_on_the_slice() {
    let broken: Vec<_> =
        stories::all().iter().filter_map(|story| story.check(&mut Slice::default()).err()).collect();
    assert!(broken.is_empty(), "{} stories do not hold\n{}", broken.len(), broken.join("\n"));
}

#[test]
fn no_two_stories_say_the_same_and_some_reach_the_full_budget() {
    let stories = stories::all();
    let sentences: BTreeSet<_> = stories.iter().map(|story| story.says).collect();
    assert_eq!(sentences.len(), stories.len());
    for reached in [Reason::HalfOpenFull, Reason::OverRateOut, Reason::OverRateIn] {
        assert!(stories.iter().flat_map(|story| story.reasons()).any(|why| why == reached), "{reached:?}");
    }
}
