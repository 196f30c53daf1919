//! The fuzz target, run bounded: seeded inputs of every shape, on stable Rust.
#![expect(clippy::expect_used, reason = "a test says what is wrong by stopping")]

use std::collections::BTreeMap;
use weir_path::Reason;
use weir_path::addr::IfIndex;
use weir_testkit::executor::{End, Executor, Ran, Slice, Walk};
use weir_testkit::fuzz::Target;
use weir_testkit::random::Random;
use weir_testkit::world::{Change, State, World};
use weir_testkit::{fixtures, grammar};

#[test]
fn no_law_is_broken_by_two_hundred_thousand_spoiled_or_random_packets() {
    let (mut target, mut random) = (
        Target::default(),
        Random::new(std::env::var("WEIR_SEED").map_or(1, |s| s.parse().expect("a number"))),
    );
    let mut met = BTreeMap::new();
    for number in 0..200_000 {
        let len = if random.once_in(8) { random.below(200) } else { 3 + 3 * random.below(5) };
        let mut input = random.bytes(len);
        if let Some(source) = input.first_mut().filter(|_| number % 4 != 0) {
            *source &= !1;
        }
        let why = target.one(&input).unwrap_or_else(|law| panic!("input {number}, {input:02x?}: {law}"));
        *met.entry(why).or_insert(0) += 1;
    }
    // A single packet meets no other CPU, no burst of others, and no kernel that refuses a change.
    let alone = |why: &&Reason| !grammar::NOT_ALONE.contains(why) && **why != Reason::HalfOpenFull;
    for why in Reason::ALL.iter().filter(alone) {
        assert!(met.get(&Some(*why)).is_some_and(|times| *times > 50), "{why:?} was hardly met: {met:?}");
    }
    assert!(met[&None] < 10_000, "too many inputs were no packet: {met:?}");
}

#[test]
fn every_length_of_every_fixture_is_survived() {
    let mut target = Target::default();
    for name in 0..fixtures::all().len() as u16 {
        let [high, low] = name.to_be_bytes();
        for cut in 0..=255 {
            let input = [0, high, low, cut, 0, 0];
            target.one(&input).unwrap_or_else(|law| panic!("{input:02x?}: {law}"));
        }
    }
}

// ---- the judges can tell ----

/// The slice, with one fault.
struct Liar<F> {
    slice: Slice,
    packets: usize,
    lie: F,
}

impl<F: FnMut(usize, &mut Ran, &mut State)> Executor for Liar<F> {
    fn name(&self) -> &'static str {
        "the liar"
    }

    fn takes(&self, _: &[u8]) -> bool {
        true
    }

    fn load(&mut self, world: &World) {
        self.slice.load(world);
    }

    fn change(&mut self, change: &Change) {
        self.slice.change(change);
    }

    fn run(&mut self, walk: Walk, arrival: IfIndex, packet: &[u8]) -> Ran {
        self.packets += 1;
        let mut ran = self.slice.run(walk, arrival, packet);
        (self.lie)(self.packets, &mut ran, &mut State::default());
        ran
    }

    fn state(&mut self) -> State {
        let mut state = self.slice.state();
        let mut ran = Ran { end: End::Pass, bytes: Vec::new() };
        (self.lie)(self.packets, &mut ran, &mut state);
        state
    }
}

fn caught(lie: impl FnMut(usize, &mut Ran, &mut State)) -> String {
    let mut liar = Liar { slice: Slice::default(), packets: 0, lie };
    grammar::compare(3, 6_000, &mut [&mut liar]).expect_err("the lie was believed")
}

#[test]
fn one_wrong_byte_one_wrong_verdict_or_one_wrong_count_among_thousands_is_found_and_named() {
    let byte = caught(|number, ran, _| {
        if let Some(last) = ran.bytes.last_mut().filter(|_| number == 1_234) {
            *last ^= 1;
        }
    });
    assert!(byte.starts_with("seed 3, packet 1234: the slice and the liar differ"), "{byte}");

    let verdict = caught(|number, ran, _| {
        if number == 999 {
            ran.end = if ran.end == End::Drop { End::Pass } else { End::Drop };
        }
    });
    assert!(verdict.starts_with("seed 3, packet 999: "), "{verdict}");

    let count = caught(|_, _, state| {
        if let Some(packets) = state.sent.values_mut().next() {
            *packets += 1;
        }
    });
    assert!(count.contains("the tables differ"), "{count}");

    let flow = caught(|_, _, state| {
        state.flows.v4.pop_first();
    });
    assert!(flow.contains("the tables differ"), "{flow}");
}

#[test]
fn a_fixture_that_does_not_hold_says_so_with_the_part_that_differs() {
    for fixture in fixtures::all() {
        let mut liar = Liar {
            slice: Slice::default(),
            packets: 0,
            lie: |_, ran: &mut Ran, _: &mut State| ran.bytes.push(0),
        };
        let complaint = fixture.check(&mut liar).expect_err("a longer packet was believed");
        assert!(complaint.contains(fixture.says) && complaint.contains("bytes: expected"), "{complaint}");
        assert!(!complaint.contains("verdict: expected"), "{complaint}");
    }
}
