//! Long histories of flows on the pure path, compared after every step with a plain list of flows: every verdict,
//! every byte that leaves, every flow, its stage, its time and its counts.
//!
//! A seed that fails says how to tell its history again: `WEIR_SEED`. `cargo xtask test --long` tells ten times as
//! much.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code: it prints what it told, and stops where that is wrong"
)]

use std::env;
use weir_path::Reason;
use weir_path::flow::end::End;
use weir_testkit::history::{Chronicle, FamilySizes, tell};

/// Steps of each history.
const STEPS: usize = 25_000;

/// Rooms that meet their limits: everything fits; few half-open flows; a full table; nearly nothing.
const ROOMS: [FamilySizes; 4] = [
    FamilySizes { flows: 256, half_open: 128 },
    FamilySizes { flows: 128, half_open: 8 },
    FamilySizes { flows: 24, half_open: 24 },
    FamilySizes { flows: 6, half_open: 2 },
];

/// Ways out that a history leads to.
const REASONS: [Reason; 12] = [
    Reason::ToSlot,
    Reason::ToWire,
    Reason::Opened,
    Reason::AnsweredReset,
    Reason::NoListener,
    Reason::AnsweredNoTarget,
    Reason::ResetWithoutFlow,
    Reason::FlowTableFull,
    Reason::HalfOpenFull,
    Reason::ReplyCollision,
    Reason::AnsweredNotAllowedOut,
    Reason::RaceLost,
];

fn history(nth: usize) -> Chronicle {
    let seed = env::var("WEIR_SEED").map_or(1, |seed| seed.parse().expect("WEIR_SEED is a number"));
    let times = if env::var_os("WEIR_LONG").is_some() { 12 } else { 1 };
    let chronicle = tell(seed, times * STEPS, ROOMS[nth]).unwrap_or_else(|what| panic!("{what}"));
    println!("{:?}: {chronicle:?}", ROOMS[nth]);
    for why in chronicle.left.keys() {
        assert!(REASONS.contains(why), "{} is no way out of a history", why.name());
    }
    // One packet at a time loses no race.
    assert_eq!(chronicle.left.get(&Reason::RaceLost), None);
    assert!(chronicle.adoptions >= 10 && chronicle.configurations >= 20, "{chronicle:?}");
    chronicle
}

fn was_met(chronicle: &Chronicle, reasons: &[Reason], ends: &[End]) {
    for why in reasons {
        let met = chronicle.left.get(why).copied().unwrap_or_default();
        assert!(met >= 10, "{} was met {met} times only", why.name());
    }
    for why in ends {
        let met = chronicle.ended.get(why).copied().unwrap_or_default();
        assert!(met >= 10, "{} was met {met} times only", why.name());
    }
}

#[test]
fn flows_live_and_end_as_a_plain_list_of_flows_says() {
    let chronicle = history(0);
    let reasons = [
        Reason::ToSlot,
        Reason::ToWire,
        Reason::Opened,
        Reason::AnsweredReset,
        Reason::ResetWithoutFlow,
        Reason::NoListener,
        Reason::AnsweredNoTarget,
        Reason::AnsweredNotAllowedOut,
        Reason::ReplyCollision,
    ];
    let ends = [End::Closed, End::Reset, End::Idle, End::Unanswered, End::Replaced, End::Removed];
    was_met(&chronicle, &reasons, &ends);
}

#[test]
fn a_flood_ends_half_open_flows_and_no_others() {
    was_met(&history(1), &[Reason::HalfOpenFull], &[End::MadeWay]);
}

#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_others() {
    was_met(&history(2), &[Reason::FlowTableFull], &[End::MadeWay, End::Closed, End::Reset]);
}

#[test]
fn the_smallest_tables_use_all_their_room() {
    was_met(&history(3), &[Reason::FlowTableFull, Reason::HalfOpenFull], &[End::MadeWay]);
}
