//! The fixture table on the real programs. The kernel runs each packet; nothing is attached.
//!
//! Needs root, Linux 6.6 and `ip`; fails where they are missing.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by stopping"
)]

mod kernel;

use kernel::{Kernel, On, enter_town};
use weir_testkit::fixtures::stories;
use weir_testkit::packets::is_tagged;
use weir_testkit::{Executor, fixtures};

/// Frames that a test run on TC refuses: shorter than Ethernet and an IPv4 header, or longer than a page. It can't have
/// a tag either, where TC has it: beside the bytes.
const REFUSED_BY_TC: usize = 6 + 3;
/// Frames that a test run on XDP refuses: shorter than Ethernet's header.
const TOO_SHORT_FOR_XDP: usize = 1;

fn check_all(on: On, left_out: usize) {
    enter_town();
    let mut kernel = Kernel::new(on);
    let all = fixtures::all();
    let taken: Vec<_> = all.iter().filter(|fixture| kernel.takes(&fixture.packet)).collect();
    let tagged = all.iter().filter(|fixture| on == On::Tc && is_tagged(&fixture.packet)).count();
    let left = all.len() - taken.len() - tagged;
    assert_eq!(left, left_out, "another number of fixtures than said is left out");
    let broken: Vec<_> = taken.iter().filter_map(|fixture| fixture.check(&mut kernel).err()).collect();
    assert!(
        broken.is_empty(),
        "{} of {} fixtures do not hold\n{}",
        broken.len(),
        all.len(),
        broken.join("\n")
    );
}

fn tell_all(on: On) {
    enter_town();
    let mut kernel = Kernel::new(on);
    let all = stories::all();
    let broken: Vec<_> = all.iter().filter_map(|story| story.check(&mut kernel).err()).collect();
    assert!(
        broken.is_empty(),
        "{} of {} stories do not hold\n{}",
        broken.len(),
        all.len(),
        broken.join("\n")
    );
}

#[test]
fn every_story_holds_on_xdp() {
    tell_all(On::Xdp);
}

#[test]
fn every_story_holds_on_tc() {
    tell_all(On::Tc);
}

#[test]
fn every_fixture_but_the_shortest_holds_on_xdp() {
    check_all(On::Xdp, TOO_SHORT_FOR_XDP);
}

#[test]
fn every_fixture_but_the_shortest_and_longest_holds_on_tc() {
    check_all(On::Tc, REFUSED_BY_TC);
}
