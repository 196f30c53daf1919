//! Random packets on three executors: the slice, the XDP programs, the TC programs. No difference is allowed,
//! in verdicts, bytes or tables.
//!
//! Needs root, Linux 6.6 and `ip`; fails where they are missing. `WEIR_SEED` runs another sequence.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by stopping"
)]

mod kernel;

use kernel::{Kernel, On, enter_town};
use std::env;
use std::ops::Range;
use weir_path::Reason;
use weir_testkit::{State, grammar};

const PACKETS: usize = 100_000;
/// A test run on TC can't have a VLAN tag where TC has it. What is met without is met often enough with it.
const TAGGED_PACKETS: usize = 30_000;

#[test]
fn a_hundred_thousand_random_packets_end_alike_on_the_slice_on_xdp_and_on_tc() {
    enter_town();
    for seed in seeds() {
        let [mut xdp, mut tc] = [On::Xdp, On::Tc].map(Kernel::new);
        let state = grammar::compare(seed, PACKETS, &mut [&mut xdp, &mut tc]);
        meets_everything(&state.unwrap_or_else(|what| panic!("{what}")), PACKETS);
    }
}

#[test]
fn random_packets_with_tags_end_alike_on_the_slice_and_on_xdp() {
    enter_town();
    for seed in seeds() {
        let mut xdp = Kernel::new(On::Xdp);
        let state = grammar::compare(seed, TAGGED_PACKETS, &mut [&mut xdp]);
        meets_everything(&state.unwrap_or_else(|what| panic!("{what}")), TAGGED_PACKETS);
    }
}

/// Ten sequences where `cargo xtask test --long` asks for what takes more.
fn seeds() -> Range<u64> {
    let seed = env::var("WEIR_SEED").map_or(1, |seed| seed.parse().expect("WEIR_SEED is a number"));
    seed..seed + if env::var_os("WEIR_LONG").is_some() { 10 } else { 1 }
}

fn meets_everything(state: &State, packets: usize) {
    let least = packets as u64 / 10_000;
    for why in Reason::ALL.iter().filter(|why| !grammar::NOT_ALONE.contains(why)) {
        assert!(state.left(*why) >= least, "{} was met {} times only", why.name(), state.left(*why));
    }
    let forwarded: u64 =
        [Reason::ToSlot, Reason::ToWire, Reason::SlotToSlot, Reason::WireToWire, Reason::Opened]
            .map(|why| state.left(why))
            .iter()
            .sum();
    assert!(forwarded >= packets as u64 / 2, "{forwarded} of {packets} packets were forwarded");
}
