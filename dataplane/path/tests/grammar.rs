//! Random packets on the slice alone: the laws hold for every one of them. The comparison with the kernel is
//! `weir-dataplane`'s. `cargo xtask test --long` takes twenty times as many.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it met, and what is wrong by stopping"
)]

use std::env;
use weir_path::Reason;
use weir_testkit::grammar;

#[test]
fn the_laws_hold_for_a_hundred_thousand_random_packets_and_every_reason_is_met_often() {
    let seed = env::var("WEIR_SEED").map_or(1, |seed| seed.parse().expect("WEIR_SEED is a number"));
    let sequences = if env::var_os("WEIR_LONG").is_some() { 20 } else { 1 };
    (seed..seed + sequences).for_each(laws_hold);
}

fn laws_hold(seed: u64) {
    let state = grammar::compare(seed, 100_000, &mut []).unwrap_or_else(|what| panic!("{what}"));
    println!("{:?}", state.walks);
    for why in Reason::ALL.iter().filter(|why| !grammar::NOT_ALONE.contains(why)) {
        assert!(state.left(*why) >= 50, "{} was met {} times only", why.name(), state.left(*why));
    }
    let forwards = [Reason::ToSlot, Reason::ToWire, Reason::SlotToSlot, Reason::WireToWire, Reason::Opened];
    let forwarded: u64 = forwards.map(|why| state.left(why)).iter().sum();
    assert!(forwarded >= 50_000, "{forwarded} of 100,000 packets were forwarded");
}

#[test]
fn the_same_seed_gives_the_same_packets_and_another_seed_others() {
    let [one, again, other] = [7, 7, 8].map(|seed| grammar::compare(seed, 3_000, &mut []).unwrap());
    assert_eq!(one, again);
    assert_ne!(one, other);
}
