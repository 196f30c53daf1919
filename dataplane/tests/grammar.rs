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
use weir_path::Reason;
use weir_testkit::grammar;

const PACKETS: usize = 100_000;

#[test]
fn a_hundred_thousand_random_packets_end_alike_on_the_slice_on_xdp_and_on_tc() {
    enter_town();
    let seed = env::var("WEIR_SEED").map_or(1, |seed| seed.parse().expect("WEIR_SEED is a number"));
    // Ten sequences where `cargo xtask test --long` asks for what takes more.
    let sequences = if env::var_os("WEIR_LONG").is_some() { 10 } else { 1 };
    (seed..seed + sequences).for_each(all_alike);
}

fn all_alike(seed: u64) {
    let [mut xdp, mut tc] = [On::Xdp, On::Tc].map(Kernel::new);
    let state =
        grammar::compare(seed, PACKETS, &mut [&mut xdp, &mut tc]).unwrap_or_else(|what| panic!("{what}"));

    for why in Reason::ALL.iter().filter(|why| !grammar::NOT_ALONE.contains(why)) {
        assert!(state.left(*why) >= 100, "{} was met {} times only", why.name(), state.left(*why));
    }
    let forwarded: u64 =
        [Reason::ToSlot, Reason::ToWire, Reason::Opened].map(|why| state.left(why)).iter().sum();
    assert!(forwarded >= PACKETS as u64 / 2, "{forwarded} of {PACKETS} packets were forwarded");
}
