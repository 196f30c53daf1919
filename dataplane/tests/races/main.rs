//! Races between two CPUs, on the real programs and maps: whatever two program runs do to the same flow at the
//! same moment, no flow is left half, no key is anybody else's, no established flow is lost, and every record,
//! place and packet is accounted for.
//!
//! Two threads run programs by kernel test run, in step, on tables so small that elements and records are used
//! again at once. After every fight the books are closed. What was really lost (a draft that was given up
//! because another CPU was first) is counted from the records themselves, and printed.
//!
//! Needs root, two CPUs, Linux 6.6 and `ip`; fails where they are missing. `WEIR_SEED` runs another sequence.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by stopping, and what it counted"
)]

mod arena;
mod books;
mod duel;
mod nobody;
mod ports;
mod town;

use arena::Arena;
use duel::{Act, Came};
use town::{Says, Service, Talk};
use weir_path::flow::end::End;
use weir_path::time::Now;

/// Races that must really have been lost in each kind of race for openings, so that one knows they were run.
const LOST_AT_LEAST: u64 = 1_000;
/// Of two packets of one flow that came at once, both went the same way, or one was dropped: its sender says it
/// again.
fn are_alike(one: &Came, other: &Came) -> bool {
    match [one, other] {
        [Came::Sent(one), Came::Sent(other)] => one == other,
        [Came::Sent(_), Came::Dropped] | [Came::Dropped, Came::Sent(_)] => true,
        _ => false,
    }
}

#[test]
fn a_flow_that_two_cpus_open_at_once_is_opened_once() {
    let mut arena = Arena::new(64, 1);
    let mut shared = 0;
    while arena.goes_on(3_000) {
        let talks: Vec<_> = (0..16).map(|client| Talk { vip: 0, ..arena.talk(client) }).collect();
        let acts: Vec<_> = talks.iter().map(|talk| Act::Say(*talk, Says::Syn, 0)).collect();
        let [one, other] = arena.fight([&acts, &acts]);
        for ((talk, one), other) in talks.iter().zip(&one).zip(&other) {
            assert!(are_alike(one, other), "{talk:?}: {one:?}, {other:?}");
        }
        assert_eq!(arena.others().len(), talks.len());
        arena.settle();
        shared += u64::from(arena.end_all());
        arena.advance(3);
    }
    let report = arena.report("the same flow");
    println!("the same flow: {shared} orders to end 16 flows were fulfilled by both CPUs together");
    assert_eq!(report.opened, report.account.made(), "each flow has one packet that opened it");
    assert!(report.lost >= LOST_AT_LEAST, "only {} races were lost", report.lost);
}

#[test]
fn of_two_flows_whose_replies_collide_one_is_opened_or_both_apart() {
    let mut arena = Arena::new(64, 2);
    while arena.goes_on(3_000) {
        let talks: Vec<_> = (0..16).map(|client| arena.talk(client)).collect();
        let at = |vip: u8| -> Vec<_> {
            talks.iter().map(|talk| Act::Say(Talk { vip, ..*talk }, Says::Syn, 0)).collect()
        };
        let [one, other] = arena.fight([&at(0), &at(1)]);
        for ((talk, one), other) in talks.iter().zip(&one).zip(&other) {
            let are_apart = match [one, other] {
                [Came::Sent(one), Came::Sent(other)] => one != other,
                both => {
                    both.contains(&&Came::Dropped) && both.iter().any(|came| matches!(came, Came::Sent(_)))
                }
            };
            assert!(are_apart, "{talk:?}: {one:?}, {other:?}");
        }
        arena.settle();
        arena.end_all();
        arena.advance(3);
    }
    let report = arena.report("colliding replies");
    assert_eq!(report.opened, report.account.made(), "each flow has one packet that opened it");
    assert!(report.lost >= LOST_AT_LEAST / 4, "only {} races were lost", report.lost);
}

#[test]
fn a_flow_that_two_cpus_replace_at_once_is_replaced_once() {
    let mut arena = Arena::new(64, 3);
    let mut over = 0;
    while arena.goes_on(3_000) {
        let web = |client| Talk { service: Service::Web, vip: 0, ..arena.talk(client) };
        let talks: Vec<_> = (0..16).map(web).collect();
        let talks: Vec<_> = talks.into_iter().filter(|talk| arena.establish(*talk)).collect();
        for talk in &talks {
            // Half of them are over because both sides said so, half because one said RST.
            let says = if talk.client % 2 == 0 { [Says::Fin, Says::AnswerFin] } else { [Says::Rst; 2] };
            arena.say_alone(says.map(|says| Act::Say(*talk, says, 0)));
        }
        over += talks.len() as u64;
        let acts: Vec<_> = talks.iter().map(|talk| Act::Say(*talk, Says::Syn, 0)).collect();
        let [one, other] = arena.fight([&acts, &acts]);
        for ((talk, one), other) in talks.iter().zip(&one).zip(&other) {
            assert!(are_alike(one, other), "{talk:?}: {one:?}, {other:?}");
        }
        assert_eq!(arena.others().len(), talks.len());
        arena.settle();
        arena.end_all();
        arena.advance(3);
    }
    let report = arena.report("replaced");
    assert_eq!(report.ends.get(&End::Replaced), Some(&over), "each flow that was over is ended once");
    assert!(report.lost >= LOST_AT_LEAST, "only {} races were lost", report.lost);
}

#[test]
fn a_flow_that_is_ended_under_its_packets_leaves_nothing_behind() {
    let mut arena = Arena::new(64, 4);
    let (mut named, mut between) = (0, 0);
    while arena.goes_on(1_000) {
        let talks: Vec<_> = (0..12).map(|client| arena.talk(client)).collect();
        let talks: Vec<_> = talks.into_iter().filter(|talk| arena.establish(*talk)).collect();
        let flows = arena.runner.tables().flows();
        let of = |talk: &Talk| flows.iter().find(|flow| talk.is_of(flow)).expect("it is established").id;
        let ends: Vec<_> = talks.iter().map(|talk| Act::End(vec![of(talk)])).collect();
        let speech: Vec<_> = talks
            .iter()
            .map(|talk| {
                let last = *arena.random.pick(&[Says::Ack, Says::Syn, Says::Fin, Says::Rst, Says::Answer]);
                let nth = arena.random.below(talk.service.targets().len());
                let says = [Says::Ack, Says::Ack, Says::Ack, Says::Ack, last];
                Act::All(says.map(|says| Act::Say(*talk, says, nth)).into())
            })
            .collect();
        let [ended, said] = arena.fight([&ends, &speech]);
        // The packets' own flow ends once: by the order, or by a packet before it.
        named += ended.iter().filter(|came| **came == Came::Ended(1)).count() as u64;
        between += said.iter().filter(|came| was_cut(came)).count() as u64;
        arena.settle();
        arena.end_all();
        arena.advance(3);
    }
    arena.report("ended under traffic");
    println!("ended under traffic: {between} of {named} flows ended between two packets that came at once");
    assert!(between >= 100, "only {between} flows ended between two packets");
}

/// Whether of packets that came at once the first was sent on by the flow and a later one was not.
fn was_cut(came: &Came) -> bool {
    let Came::Each(each) = came else { return false };
    matches!(each[..], [Came::Sent(_), ..]) && each[..4].iter().any(|came| !matches!(came, Came::Sent(_)))
}

#[test]
fn a_flow_that_expires_under_its_packets_ends_once_or_goes_on() {
    let mut arena = Arena::new(64, 5);
    let mut established = 0;
    while arena.goes_on(1_000) {
        let talks: Vec<_> = (0..12).map(|client| arena.talk(client)).collect();
        let talks: Vec<_> = talks.into_iter().filter(|talk| arena.establish(*talk)).collect();
        established += talks.len() as u64;
        // One CPU lets the flows' time run out and ages them, the other one talks on them.
        let start = arena.now.0;
        let ages: Vec<_> = (0..talks.len() as u32)
            .map(|nth| Act::All(vec![Act::Tick(Now(start + 14 + nth / 2)), Act::Age]))
            .collect();
        let speech: Vec<_> = talks
            .iter()
            .map(|talk| {
                let says = *arena.random.pick(&[Says::Ack, Says::Syn, Says::Fin]);
                Act::All([says; 3].map(|says| Act::Say(*talk, says, 0)).into())
            })
            .collect();
        arena.fight([&ages, &speech]);
        arena.advance(30);
        arena.settle();
        arena.end_all();
        arena.advance(3);
    }
    let report = arena.report("expiring under traffic");
    let idle = report.ends.get(&End::Idle).copied().unwrap_or_default();
    assert!(idle >= established / 4, "{idle} of {established} flows expired");
}

#[test]
fn records_and_elements_that_are_used_again_at_once_never_mix_flows_up() {
    let mut arena = Arena::new(16, 6);
    while arena.goes_on(6_000) {
        let named = arena.others();
        let acts = [0, 1].map(|cpu| -> Vec<_> {
            (0..32)
                .map(|nth| match arena.random.below(16) {
                    0 if cpu == 0 => Act::End(named.clone()),
                    1 if cpu == 0 => Act::Age,
                    2 if cpu == 0 => Act::Tick(Now(arena.now.0 + nth / 2)),
                    _ => arena.anything(),
                })
                .collect()
        });
        arena.fight([&acts[0], &acts[1]]);
        arena.advance(16);
        arena.settle();
    }
    let report = arena.report("used again");
    assert!(report.account.made() >= 100 * 16, "{:?}: nothing was used again", report.account);
}
