//! Two and three CPUs that open flows at the same time, in every order of their accesses to the flow table.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by stopping")]

use std::collections::BTreeMap;
use weir_path::addr::L4Port;
use weir_path::tables::Target;
use weir_path::{Reason, Verdict};
use weir_testkit::interleave::{Actor, Cpu, every_order};
use weir_testkit::packets::{Party, tcp};
use weir_testkit::town::{self, ALIAS, CLIENT, PROD, SLOT_2, SLOT_3, TCP, WEB};
use weir_testkit::world::{Change, FlowTable};
use weir_testkit::{Model, Walk, World, laws};

fn syn(client: Party, vip: Party) -> Actor {
    Actor::Cpu(Cpu::new(Walk::FromUplink, PROD.egress.ifindex, tcp(client, vip).syn().bytes()))
}

/// Tries every order, checks the laws at each end, and returns the ends: reasons, and how many flows there are.
fn ends(world: &World, actors: &[Actor]) -> BTreeMap<(Vec<Reason>, usize), usize> {
    let mut ends = BTreeMap::new();
    every_order(&Model::new(world), actors, &mut |model, actors| {
        let flows = model.state().flows;
        laws::both_or_neither(&flows).unwrap();
        for actor in actors {
            if let Actor::Cpu(cpu) = actor {
                goes_where_its_flow_does(cpu, &flows);
            }
        }
        let why = actors.iter().filter_map(|actor| match actor {
            Actor::Cpu(cpu) => Some(cpu.end().unwrap().0),
            Actor::Daemon(_) => None,
        });
        *ends.entry((why.collect(), flows.len() / 2)).or_default() += 1;
    });
    ends
}

/// Whoever sent a packet into a slot sent it where the flow that is now in the table goes.
fn goes_where_its_flow_does(cpu: &Cpu, flows: &FlowTable) {
    if let (Reason::Opened | Reason::ToSlot, Verdict::Send(to)) = cpu.end().unwrap() {
        assert!(flows.values().any(|flow| flow.egress == to), "a packet went where no flow goes: {cpu:?}");
    }
}

fn all_why(ends: &BTreeMap<(Vec<Reason>, usize), usize>) -> Vec<Reason> {
    let mut all: Vec<_> = ends.keys().flat_map(|(why, _)| why.iter().copied()).collect();
    all.sort();
    all.dedup();
    all
}

#[test]
fn the_same_syn_on_two_cpus_makes_one_flow_in_every_order() {
    let ends = ends(&town::world(), &[syn(CLIENT, WEB), syn(CLIENT, WEB)]);
    assert!(ends.values().sum::<usize>() > 50, "{ends:?}");
    assert!(ends.keys().all(|(_, flows)| *flows == 1), "{ends:?}");
    assert_eq!(all_why(&ends), [Reason::ToSlot, Reason::Opened, Reason::RaceLost]);
    assert!(ends.keys().all(|(why, _)| why.contains(&Reason::Opened)), "somebody always opens it: {ends:?}");
}

#[test]
fn the_same_syn_by_two_routers_makes_one_flow_with_one_way_back() {
    let ends = ends(&town::world(), &[syn(CLIENT, WEB), syn(CLIENT.mac(town::BYSTANDER), WEB)]);
    assert!(ends.keys().all(|(why, flows)| *flows == 1 && why.contains(&Reason::Opened)), "{ends:?}");
}

#[test]
fn two_flows_with_the_same_replies_end_as_one_flow_and_one_collision() {
    let ends = ends(&town::world(), &[syn(CLIENT, WEB), syn(CLIENT, ALIAS)]);
    assert_eq!(all_why(&ends), [Reason::Opened, Reason::ReplyCollision]);
    assert!(ends.keys().all(|(_, flows)| *flows == 1), "{ends:?}");
}

#[test]
fn two_flows_where_there_is_room_for_one_never_leave_a_half() {
    let one = town::world().with_room_for(1);
    let ends = ends(&one, &[syn(CLIENT, WEB), syn(CLIENT.port(1), WEB)]);
    assert_eq!(all_why(&ends), [Reason::Opened, Reason::FlowTableFull]);
    // Each may take the room that the other would have needed: then both give it back.
    assert!(ends.keys().all(|(_, flows)| *flows <= 1), "{ends:?}");
}

#[test]
fn three_cpus_with_one_flow_and_a_colliding_one_leave_whole_flows_only() {
    let ends = ends(&town::world(), &[syn(CLIENT, WEB), syn(CLIENT, WEB), syn(CLIENT, ALIAS)]);
    assert!(ends.values().sum::<usize>() > 5_000, "{ends:?}");
    assert!(ends.keys().all(|(_, flows)| *flows == 1), "{ends:?}");
}

/// The town, with other targets behind `WEB`.
fn moved() -> Change {
    let mut image = town::image();
    let target = |slot: weir_path::tables::Interface| Target {
        slot: slot.egress.id,
        port: L4Port::new(9_090),
        zero: [0; 2],
    };
    image.groups[0].targets = vec![target(SLOT_2), target(SLOT_3)];
    image.groups[0].cells = (0..town::CELLS as u16).map(|cell| cell % 2).collect();
    Change::Apply(image)
}

#[test]
fn a_configuration_that_changes_between_two_cpus_leaves_one_flow_to_one_target() {
    let ends = ends(&town::world(), &[syn(CLIENT, WEB), syn(CLIENT, WEB), Actor::Daemon(vec![moved()])]);
    assert!(ends.values().sum::<usize>() > 500, "{ends:?}");
    assert!(ends.keys().all(|(_, flows)| *flows == 1), "{ends:?}");
}

#[test]
fn an_established_flow_is_untouched_by_whatever_opens_beside_it() {
    let established = town::flow(TCP, (PROD, CLIENT.port(7), WEB), (town::SLOT_1, 8_080));
    let world = town::world().with_room_for(2).with_flow(established);
    let actors = [syn(CLIENT, WEB), syn(CLIENT, ALIAS), syn(CLIENT.port(7), WEB)];
    every_order(&Model::new(&world), &actors, &mut |model, actors| {
        let flows = model.state().flows;
        assert!(established.iter().all(|(key, flow)| flows.get(key) == Some(flow)));
        let Some(Actor::Cpu(known)) = actors.last() else { panic!("three actors") };
        assert_eq!(known.end(), Some((Reason::ToSlot, Verdict::Send(town::SLOT_1.egress))));
    });
}
