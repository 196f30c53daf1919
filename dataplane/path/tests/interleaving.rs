//! Two and three CPUs at the same flow, in every order of their accesses to the tables.
//!
//! Between any two accesses: each flow that packets may follow is whole, and no two flows have a key in common. At
//! each end: nothing is left of what was not to be, no record and no place is lost, and every flow is accounted for.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by stopping"
)]

use std::collections::{BTreeMap, BTreeSet};
use weir_path::addr::L4Port;
use weir_path::flow::{Key as _, Key4, Phase, RecordId, V4};
use weir_path::tables::{Interface, Target};
use weir_path::time::Now;
use weir_path::{Reason, Verdict};
use weir_testkit::interleave::{Actor, Cpu, Done, Job, Tried, every_order};
use weir_testkit::packets::{Party, flag, tcp, udp};
use weir_testkit::town::{self, ALIAS, CLIENT, DNS, PROD, SLOT_1, SLOT_2, SLOT_3, WEB, web_flow};
use weir_testkit::world::Change;
use weir_testkit::{FlowImage, Model, State, Walk, World, laws};

const FIRST: RecordId = RecordId(0);

fn from_wire(cpu: u32, bytes: Vec<u8>) -> Actor {
    let job = Job::Packet { walk: Walk::FromUplink, arrival: PROD.egress.ifindex, bytes };
    Actor::Cpu(Cpu::new(cpu, job))
}

fn syn(cpu: u32, client: Party, vip: Party) -> Actor {
    from_wire(cpu, tcp(client, vip).syn().bytes())
}

/// The daemon's order to end the first flow of the world.
fn order(cpu: u32) -> Actor {
    Actor::Cpu(Cpu::new(cpu, Job::End(FIRST, 1)))
}

fn ageing(cpu: u32) -> Actor {
    Actor::Cpu(Cpu::new(cpu, Job::Age(FIRST)))
}

/// How the CPUs ended, and how many flows there are.
type Ends = BTreeMap<(Vec<How>, usize), usize>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum How {
    Left(Reason),
    Ended(bool),
}

/// Tries every order, checks what must always hold, and returns the ends.
fn ends(world: &World, actors: &[Actor]) -> (Tried, Ends) {
    let mut ends = Ends::new();
    let tried = every_order(&Model::new(world), actors, &mut |model, actors, is_end| {
        let state = model.state();
        live_flows_are_whole(&state);
        if !is_end {
            return;
        }
        laws::both_or_neither(&state).unwrap();
        laws::books_close(&state).unwrap();
        laws::conservation(&state).unwrap();
        let opened = state.opened + world.flows.count() as u64;
        assert_eq!(opened, state.flows.count() as u64 + state.all_ended(), "{state:?}");
        nothing_is_lost(model, &state);
        *ends.entry((actors.iter().filter_map(how).collect(), state.flows.count())).or_default() += 1;
    });
    println!("{tried:?} {ends:?}");
    (tried, ends)
}

fn how(actor: &Actor) -> Option<How> {
    let Actor::Cpu(cpu) = actor else { return None };
    Some(match cpu.done().unwrap() {
        Done::Left(why, _) => How::Left(why),
        Done::Ended(is_ended) => How::Ended(is_ended),
        Done::Tended => return None,
    })
}

fn live_flows_are_whole(state: &State) {
    let mut keys = BTreeSet::new();
    for flow in state.flows.v4.values() {
        assert!(flow.sides.iter().all(Option::is_some), "half a flow can be followed: {flow:?}");
        assert!(flow.keys.into_iter().all(|key| keys.insert(key)), "a key is two flows': {flow:?}");
    }
}

fn nothing_is_lost(model: &Model, state: &State) {
    assert_eq!(model.flows::<V4>().leaked(), 0, "a record is lost");
    let half_open = state.flows.v4.values().filter(|flow| flow.phase.is_half_open()).count();
    let places = model.flows::<V4>().places_taken();
    assert!(places <= half_open, "{places} places are taken by {half_open} half-open flows");
}

fn all_how(ends: &Ends) -> BTreeSet<How> {
    ends.keys().flat_map(|(how, _)| how.iter().copied()).collect()
}

fn reasons<const N: usize>(reasons: [Reason; N]) -> BTreeSet<How> {
    reasons.map(How::Left).into_iter().collect()
}

fn small() -> World {
    town::world().with_room_for(4)
}

// ---- opening ----

#[test]
fn the_same_syn_on_two_cpus_makes_one_flow_in_every_order() {
    let (tried, ends) = ends(&small(), &[syn(0, CLIENT, WEB), syn(1, CLIENT, WEB)]);
    assert!(tried.states > 500, "{tried:?}");
    assert!(ends.keys().all(|(_, flows)| *flows == 1), "{ends:?}");
    assert_eq!(all_how(&ends), reasons([Reason::ToSlot, Reason::Opened, Reason::RaceLost]));
    let opens =
        |(how, _): &(Vec<How>, usize)| how.iter().filter(|how| **how == How::Left(Reason::Opened)).count();
    assert!(ends.keys().all(|end| opens(end) == 1), "exactly one opens it: {ends:?}");
}

#[test]
fn two_flows_with_the_same_replies_end_as_one_flow() {
    let (_, ends) = ends(&small(), &[syn(0, CLIENT, WEB), syn(1, CLIENT, ALIAS)]);
    let expected = [Reason::Opened, Reason::ReplyCollision, Reason::RaceLost];
    assert_eq!(all_how(&ends), reasons(expected));
    assert!(ends.keys().all(|(_, flows)| *flows == 1), "{ends:?}");
}

#[test]
fn two_flows_where_there_is_room_for_one_never_leave_a_half() {
    let one = town::world().with_room_for(1);
    let (_, ends) = ends(&one, &[syn(0, CLIENT, WEB), syn(1, CLIENT.port(1), WEB)]);
    assert!(ends.keys().all(|(_, flows)| *flows == 1), "{ends:?}");
    assert_eq!(all_how(&ends), reasons([Reason::Opened, Reason::FlowTableFull]));
}

#[test]
fn two_flows_where_one_may_be_half_open_leave_one() {
    let one_place = World { pots: 1, ..town::world().with_half_open_room_for(4, 1) };
    let (_, ends) = ends(&one_place, &[syn(0, CLIENT, WEB), syn(1, CLIENT.port(1), WEB)]);
    assert!(ends.keys().all(|(_, flows)| *flows == 1), "{ends:?}");
    assert_eq!(all_how(&ends), reasons([Reason::Opened, Reason::HalfOpenFull]));
}

/// The town, with other targets behind `WEB`.
fn moved() -> Change {
    let mut image = town::image();
    let target = |slot: Interface| Target::in_slot(slot.egress.id, L4Port::new(9_090));
    image.groups[0].targets = vec![target(SLOT_2), target(SLOT_3)];
    image.groups[0].cells = (0..town::CELLS as u16).map(|cell| cell % 2).collect();
    Change::Apply(image)
}

#[test]
fn a_configuration_that_changes_between_two_cpus_leaves_one_flow_to_one_target() {
    let actors = [syn(0, CLIENT, WEB), syn(1, CLIENT, WEB), Actor::Daemon(vec![moved()])];
    let (tried, ends) = ends(&small(), &actors);
    assert!(tried.states > 2_000, "{tried:?}");
    assert!(ends.keys().all(|(_, flows)| *flows == 1), "{ends:?}");
}

/// What a connector's flows leave from is read in two steps. Where lines of the table move in between, because another
/// connector has fewer, the flow leaves from what was asked for.
#[test]
fn a_configuration_that_changes_under_a_flow_outwards_gives_it_no_other_connectors_address() {
    let mut image = town::image();
    let functions = image.connectors.get_mut(&town::FUNCTIONS).unwrap();
    functions.v4.clear();
    let bytes = tcp(town::OUT, town::SERVER.mac(town::GATEWAY.mac)).syn().bytes();
    let job = Job::Packet { walk: Walk::FromSlot, arrival: town::LAB_FN.egress.ifindex, bytes };
    let actors = [Actor::Cpu(Cpu::new(0, job)), Actor::Daemon(vec![Change::Apply(image)])];
    let tried = every_order(&Model::new(&small()), &actors, &mut |model, _, _| {
        for flow in model.state().flows.v4.values() {
            let [_, reply] = flow.keys;
            assert_eq!((reply.ends().dst, reply.zone()), (town::LAB_ENI.local, town::LAB.zone), "{flow:?}");
        }
    });
    assert!(tried.ends > 1, "{tried:?}");
}

// ---- ending ----

fn silent() -> World {
    let silent = FlowImage { seen: Now(town::NOW.0 - 8 * 1_000), ..web_flow() };
    small().with_flow(silent)
}

#[test]
fn a_flow_that_two_cpus_end_ends_once() {
    let (tried, ends) = ends(&silent(), &[order(0), ageing(1)]);
    assert!(tried.states > 50, "{tried:?}");
    let once = |how: &[How]| how.iter().filter(|how| **how == How::Ended(true)).count() == 1;
    assert!(ends.keys().all(|(how, flows)| *flows == 0 && once(how)), "{ends:?}");
    assert_eq!(ends.len(), 2, "either may be the one: {ends:?}");
}

#[test]
fn a_flow_that_three_cpus_end_ends_once() {
    let late = from_wire(2, udp(CLIENT, DNS).bytes());
    let expired = FlowImage { seen: Now(town::NOW.0 - 8 * 1_000), ..town::dns_flow() };
    let (_, ends) = ends(&small().with_flow(expired), &[order(0), ageing(1), late]);
    for (how, flows) in ends.keys() {
        let ended = how.iter().filter(|how| **how == How::Ended(true)).count();
        let opens = how[2] == How::Left(Reason::Opened);
        assert!(ended <= 1 && *flows == usize::from(opens), "{ends:?}");
    }
}

#[test]
fn a_syn_that_replaces_a_closing_flow_meets_the_order_to_end_it() {
    let closing = FlowImage { phase: Phase::Closing, ..web_flow() };
    let (_, ends) = ends(&small().with_flow(closing), &[syn(0, CLIENT, WEB), order(1)]);
    let is_right = |(how, flows): &(Vec<How>, usize)| match how[0] {
        How::Left(Reason::Opened) => *flows == 1,
        // Its keys are just being removed: the SYN follows the flow that ends, or is lost by name. It comes again.
        How::Left(Reason::ToSlot | Reason::RaceLost) => *flows == 0,
        _ => false,
    };
    assert!(ends.keys().all(is_right), "{ends:?}");
    assert!(ends.keys().any(|(how, _)| how[1] == How::Ended(true)), "{ends:?}");
    assert!(ends.keys().any(|(how, _)| how[1] == How::Ended(false)), "{ends:?}");
}

/// A reader, an ender, and another flow that gets the elements: the packet goes where its flow led, or nowhere.
#[test]
fn a_packet_never_goes_where_another_flow_leads_while_its_flow_ends_and_another_opens() {
    let data = from_wire(0, tcp(CLIENT, WEB).payload(b"data").bytes());
    let other = from_wire(1, udp(CLIENT.port(7), DNS).bytes());
    let world = small().with_flow(web_flow());
    let mut whys = BTreeSet::new();
    let tried = every_order(&Model::new(&world), &[data, order(1), other], &mut |model, actors, is_end| {
        live_flows_are_whole(&model.state());
        let Actor::Cpu(reader) = &actors[0] else { panic!("the first one is the reader") };
        match reader.done() {
            Some(Done::Left(Reason::ToSlot, Verdict::Send(to))) => assert_eq!(to, SLOT_1.egress),
            Some(Done::Left(Reason::AnsweredReset, Verdict::Send(to))) => assert_eq!(to, PROD.egress),
            Some(other) => panic!("{other:?}"),
            None => {}
        }
        if is_end {
            laws::both_or_neither(&model.state()).unwrap();
            laws::books_close(&model.state()).unwrap();
            nothing_is_lost(model, &model.state());
            whys.extend(how(&actors[0]));
        }
    });
    println!("{tried:?}");
    assert_eq!(whys, reasons([Reason::ToSlot, Reason::AnsweredReset]));
}

#[test]
fn a_fin_that_meets_the_flows_end_moves_nothing_else() {
    let fin = from_wire(0, tcp(CLIENT, WEB).flags(flag::FIN | flag::ACK).bytes());
    let (_, ends) = ends(&small().with_flow(web_flow()), &[fin, order(1)]);
    // Who ends it may find that its life has just moved; then the order finds another life, and ends nothing.
    assert!(ends.keys().all(|(how, flows)| (*flows == 0) == (how[1] == How::Ended(true))), "{ends:?}");
}

#[test]
fn an_established_flow_is_untouched_by_whatever_opens_beside_it() {
    let established = town::flow(town::TCP, (PROD, CLIENT.port(7), WEB), (SLOT_1, 8_080));
    let key: Key4 = established.keys[0];
    let world = town::world().with_room_for(2).with_flow(established);
    let actors = [syn(0, CLIENT, WEB), syn(1, CLIENT, ALIAS)];
    every_order(&Model::new(&world), &actors, &mut |model, _, _| {
        assert_eq!(model.flow::<V4>(&key), Some(established));
    });
}
