//! Long histories of the ports of ENIs, compared after every step with a plain list of ports: whose each one is, which
//! rest, and who may be refused.
//!
//! A seed that fails says how to tell its history again: `WEIR_SEED`. `cargo xtask test --long` tells ten times as
//! much.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code: it prints what it told, and stops where that is wrong"
)]

use std::env;
use weir_path::Reason;
use weir_testkit::pool::{Chronicle, Room, tell};

/// Steps of each history.
const STEPS: usize = 20_000;

fn history(room: Room) -> Chronicle {
    let seed = env::var("WEIR_SEED").map_or(1, |seed| seed.parse().expect("WEIR_SEED is a number"));
    let times = if env::var_os("WEIR_LONG").is_some() { 10 } else { 1 };
    let chronicle = tell(seed, times * STEPS, room).unwrap_or_else(|what| panic!("{what}"));
    println!("{room:?}: {chronicle:?}");
    assert!(chronicle.opened > 1_000 && chronicle.rested > 500, "{chronicle:?}");
    assert!(chronicle.configurations > 20, "{chronicle:?}");
    chronicle
}

fn times(chronicle: &Chronicle, why: Reason) -> u64 {
    chronicle.left.get(&why).copied().unwrap_or_default()
}

#[test]
fn no_port_is_two_flows_and_nobody_is_refused_while_a_port_is_free() {
    let chronicle = history(Room { flows: 16_384, opens: 55 });
    assert!(chronicle.fullest >= 64, "no address ran out of ports: {chronicle:?}");
    assert!(times(&chronicle, Reason::AnsweredPortsExhausted) > 50, "{chronicle:?}");
    assert!(chronicle.most_sets >= 2, "{chronicle:?}");
}

#[test]
fn with_one_set_of_ports_for_all_remotes_ports_are_found_nearly_always() {
    let chronicle = history(Room { flows: 2_048, opens: 55 });
    let refused = times(&chronicle, Reason::PortNotFound) + times(&chronicle, Reason::AnsweredPortsExhausted);
    assert!(refused > 50, "no address ran out of ports: {chronicle:?}");
    assert!(chronicle.not_found < 20, "free ports were not found: {chronicle:?}");
}

#[test]
fn a_table_with_less_room_than_there_are_ports_takes_back_what_rests() {
    let chronicle = history(Room { flows: 96, opens: 55 });
    assert!(times(&chronicle, Reason::AnsweredNoRoom) > 50, "{chronicle:?}");
}
