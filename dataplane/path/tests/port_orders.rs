//! Two CPUs at the ports of one address, in every order of their accesses: claiming one, making a set of them, giving
//! one back, taking the set away.
//!
//! At each end: no port is two flows', no record, place or set is lost, and no set holds a port for taken that nobody
//! has; so every port that is free can still be had, which the ends are asked for one by one.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what is wrong by stopping")]

use std::collections::{BTreeMap, BTreeSet};
use weir_path::Reason;
use weir_path::flow::store::PortSetId;
use weir_path::flow::{Key, Key4, RecordId, V4};
use weir_path::frame::Frame;
use weir_path::tables::{Interface, PortBlock};
use weir_path::time::Now;
use weir_testkit::executor::run_packet;
use weir_testkit::image::Image;
use weir_testkit::interleave::{Actor, Cpu, Done, Job, Tried, every_order};
use weir_testkit::model::Op;
use weir_testkit::packets::{Party, tcp};
use weir_testkit::town::{
    self, CROWD, FEW, FEW_1, FEW_BLOCK, FEW_REST, GATEWAY, OUT, PROD, SERVER, TCP, by_gateway, out_flow,
};
use weir_testkit::world::Change;
use weir_testkit::{FlowImage, Model, Walk, World, laws};

/// The only port block there is has so many.
const PORTS: usize = PortBlock::PORTS as usize;

fn syn(port: u16, to: Party) -> Vec<u8> {
    tcp(OUT.port(port), to.mac(GATEWAY.mac)).syn().bytes()
}

fn opens(cpu: u32, port: u16) -> Actor {
    let job = Job::Packet { walk: Walk::FromSlot, arrival: CROWD.egress.ifindex, bytes: syn(port, SERVER) };
    Actor::Cpu(Cpu::new(cpu, job))
}

/// The same, that begins when it ran up to its `nth` look after the remote's set of ports.
fn searching(cpu: u32, model: &Model, port: u16, nth: usize) -> Actor {
    let job = Job::Packet { walk: Walk::FromSlot, arrival: CROWD.egress.ifindex, bytes: syn(port, SERVER) };
    Actor::Cpu(Cpu::new(cpu, job).up_to(model, Op::Ports, nth))
}

fn job(cpu: u32, job: Job) -> Actor {
    Actor::Cpu(Cpu::new(cpu, job))
}

/// One address for the crowd, of one block, and nothing else: many states are made of it.
fn world() -> World {
    let town = town::world();
    let image = &town.image;
    let mut crowd = image.connectors.get(&FEW).unwrap().clone();
    crowd.v4.retain(|source| source.eni == FEW_1.egress.id);
    crowd.v6.clear();
    let (hash_key, times) = (image.hash_key, image.times);
    let image = Image { hash_key, times, connectors: BTreeMap::from([(FEW, crowd)]), ..Image::default() };
    let interfaces = [PROD, FEW_1, CROWD].map(|it| Interface { answers: 1 << 20, ..it });
    World { interfaces: interfaces.to_vec(), image, ..town }.with_room_for(160)
}

/// A flow of the crowd's at this place in the block.
fn at(place: u32) -> FlowImage<Key4> {
    let outside = Party { mac: FEW_1.mac, ip: FEW_1.local, port: FEW_BLOCK.port(place).number() };
    let inside = OUT.port(40_000 + place as u16);
    let flow = out_flow(TCP, (CROWD, inside, SERVER), (FEW_1, outside), by_gateway(FEW_1));
    FlowImage { rest: FEW_REST, ..flow }
}

fn with_flows(places: impl IntoIterator<Item = u32>) -> World {
    places.into_iter().fold(world(), |world, place| world.with_flow(at(place)))
}

/// One packet of the sandbox's to the server, all of it, and why it left.
fn run(model: &Model, port: u16) -> Reason {
    says(model, port, SERVER)
}

fn says(model: &Model, port: u16, to: Party) -> Reason {
    let tables = model.seen_from(Walk::FromSlot, CROWD.egress.ifindex);
    let bytes = syn(port, to);
    let mut buffer = bytes.clone();
    buffer.resize(bytes.len() + 64, 0);
    run_packet(&tables, &mut Frame::new(&mut buffer, bytes.len()).unwrap());
    tables.last_reason().unwrap()
}

fn place_of(model: &Model, port: u16) -> Option<u32> {
    let flows = model.state().flows.v4;
    let flow = flows.values().find(|flow| flow.keys.first().unwrap().ends().sport.number() == port)?;
    let (_, place) = PortBlock::of(flow.keys.last().unwrap().ends().dport);
    Some(place)
}

/// The places that these SYNs try first, whichever of them is first: taken, so that all guesses fail.
fn guessed(ports: [u16; 2]) -> World {
    let mut taken = BTreeSet::new();
    for (port, is_second) in ports.into_iter().flat_map(|port| [(port, false), (port, true)]) {
        // As many as a packet guesses.
        for _ in 0..4 {
            let model = Model::new(&with_flows(taken.iter().copied()));
            if is_second {
                assert_eq!(says(&model, 1, SERVER.port(444)), Reason::Opened);
            }
            assert_eq!(run(&model, port), Reason::Opened);
            taken.insert(place_of(&model, port).unwrap());
        }
    }
    with_flows(taken)
}

/// How the CPUs ended.
type Ends = BTreeMap<Vec<How>, usize>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum How {
    Left(Reason),
    Ended(bool),
    Tended,
}

fn ends(model: &Model, actors: &[Actor]) -> (Tried, Ends) {
    let mut ends = Ends::new();
    let tried = every_order(model, actors, &mut |model, actors, is_end| {
        no_port_is_twos(model);
        if !is_end {
            return;
        }
        let state = model.state();
        laws::both_or_neither(&state).unwrap();
        let flows = model.flows::<V4>();
        assert_eq!((flows.leaked(), flows.lost_sets()), (0, 0), "records and sets that are lost");
        let marked: Vec<Key4> = flows.marked().into_iter().filter(|key| !flows.has_entry(key)).collect();
        assert_eq!(marked, [], "a set holds ports for taken that are nobody's");
        assert!(
            flows.port_bits().iter().all(|(bits, used)| u64::from(*bits) == *used),
            "{:?}",
            flows.port_bits()
        );
        let how: Vec<How> = actors.iter().filter_map(how).collect();
        let seen = ends.entry(how).or_default();
        *seen += 1;
        if *seen <= 40 {
            every_free_port_is_had(model);
        }
    });
    println!("{tried:?} {ends:?}");
    (tried, ends)
}

fn how(actor: &Actor) -> Option<How> {
    let Actor::Cpu(cpu) = actor else { return None };
    Some(match cpu.done().unwrap() {
        Done::Left(why, _) => How::Left(why),
        Done::Ended(is_ended) => How::Ended(is_ended),
        Done::Tended => How::Tended,
    })
}

fn no_port_is_twos(model: &Model) {
    let flows = model.state().flows.v4;
    let replies: BTreeSet<_> = flows.values().map(|flow| flow.keys.last().copied()).collect();
    assert_eq!(replies.len(), flows.len(), "a port is two flows': {flows:?}");
}

/// Every port but those that are in use or rest is found, and then no more.
fn every_free_port_is_had(model: &Model) {
    let model = model.clone();
    let state = model.state();
    let free = PORTS - state.flows.v4.len() - state.resting.len();
    for nth in 0..free {
        assert_eq!(run(&model, 1 + nth as u16), Reason::Opened, "{nth} of {free} free ports were had");
    }
    assert_eq!(run(&model, 30_000), Reason::AnsweredPortsExhausted);
}

#[test]
fn two_flows_that_open_at_once_towards_one_remote_have_a_port_each() {
    let (tried, ends) = ends(&Model::new(&with_flows([])), &[opens(0, 1_001), opens(1, 1_002)]);
    assert!(tried.states > 500, "{tried:?}");
    assert_eq!(ends.into_keys().collect::<Vec<_>>(), [vec![How::Left(Reason::Opened); 2]]);
}

#[test]
fn a_flow_that_two_cpus_open_at_once_has_one_port() {
    let (_, ends) = ends(&Model::new(&with_flows([])), &[opens(0, 1_001), opens(1, 1_001)]);
    for how in ends.keys() {
        let opened = how.iter().filter(|how| **how == How::Left(Reason::Opened)).count();
        assert_eq!(opened, 1, "{ends:?}");
        let other = [Reason::Opened, Reason::ToWire, Reason::RaceLost];
        assert!(how.iter().all(|how| other.map(How::Left).contains(how)), "{ends:?}");
    }
}

#[test]
fn of_two_cpus_that_make_a_set_at_once_one_is_taken_and_none_is_lost() {
    let ports = [1_001, 1_002];
    let model = Model::new(&guessed(ports));
    // One of them has just found that there is no set, the other one has made one and is about to enter it.
    let both = [searching(0, &model, ports[0], 2), searching(1, &model, ports[1], 3)];
    let (tried, ends) = ends(&model, &both);
    assert!(tried.states > 1_000, "{tried:?}");
    assert!(ends.keys().all(|how| *how == [How::Left(Reason::Opened); 2]), "{ends:?}");
}

/// A model whose set has learnt of all ports but `free`, which nobody has.
fn learnt(free: &[u32]) -> Model {
    let taken = (0..64).filter(|place| !free.contains(place));
    let model = Model::new(&with_flows(taken));
    for nth in 0..free.len() as u16 {
        assert_eq!(run(&model, 20_000 + nth), Reason::Opened);
    }
    assert_eq!(run(&model, 30_000), Reason::AnsweredPortsExhausted);
    let mut model = model;
    for nth in 0..free.len() as u16 {
        end(&mut model, 20_000 + nth);
    }
    // What rests has rested.
    wait(&mut model, 8 * 25);
    model
}

fn end(model: &mut Model, port: u16) {
    let flows = model.state().flows.v4;
    let mut keys = flows.keys().filter(|key| key.ends().sport.number() == port);
    model.change(&Change::EndV4(*keys.next().unwrap()));
}

fn wait(model: &mut Model, eighths: u32) {
    model.change(&Change::SetNow(Now(model.now().0 + eighths)));
    (0..4).for_each(|_| model.change(&Change::AgeStep));
}

#[test]
fn the_last_free_port_is_one_flows() {
    let model = learnt(&[17]);
    assert_eq!(model.flows::<V4>().marked().len(), PORTS - 1);
    let (_, ends) = ends(&model, &[opens(0, 1_001), opens(1, 1_002)]);
    let refused = [Reason::Opened, Reason::AnsweredPortsExhausted].map(How::Left);
    let sorted = |how: &Vec<How>| how.iter().copied().collect::<BTreeSet<_>>();
    assert!(ends.keys().all(|how| sorted(how) == BTreeSet::from(refused)), "{ends:?}");
}

/// The record of a port that rests, whose time is up.
fn rested(model: &mut Model, port: u16) -> RecordId {
    let flows = model.state().flows.v4;
    let key = *flows.keys().find(|key| key.ends().sport.number() == port).unwrap();
    let (record, _) = model.record_of::<V4>(&key).unwrap();
    model.change(&Change::EndV4(key));
    model.change(&Change::SetNow(Now(model.now().0 + 8 * 25)));
    record
}

#[test]
fn a_port_that_is_given_back_while_another_flow_looks_for_one_is_had_or_free() {
    let mut model = learnt(&[17]);
    assert_eq!(run(&model, 2_000), Reason::Opened);
    let record = rested(&mut model, 2_000);
    let (_, ends) = ends(&model, &[opens(0, 1_001), job(1, Job::Age(record))]);
    let ways = [Reason::Opened, Reason::AnsweredPortsExhausted].map(How::Left);
    assert!(ends.keys().all(|how| ways.contains(&how[0]) && how[1] == How::Ended(true)), "{ends:?}");
    assert_eq!(ends.len(), 2, "either may be first: {ends:?}");
}

#[test]
fn a_port_that_is_given_back_while_its_set_is_made_is_not_lost() {
    let ports = [1_001, 1_002];
    let mut model = Model::new(&guessed(ports));
    let (first, _) = model.state().flows.v4.into_iter().next().unwrap();
    let record = rested(&mut model, first.ends().sport.number());
    let (_, ends) = ends(&model, &[opens(0, ports[0]), job(1, Job::Age(record))]);
    assert!(ends.keys().all(|how| *how == [How::Left(Reason::Opened), How::Ended(true)]), "{ends:?}");
}

/// A set that few ports are taken of any more, and that is old enough to be taken away.
fn deserted() -> (Model, u16) {
    let mut model = learnt(&[17]);
    let flows = model.state().flows.v4;
    let ports: Vec<u16> = flows.keys().map(|key| key.ends().sport.number()).collect();
    let (kept, gone) = ports.split_first().unwrap();
    for port in gone {
        end(&mut model, *port);
    }
    // Aged, but not looked after: the step does both, so the set is kept young until the ports are free.
    model.change(&Change::SetNow(Now(model.now().0 + 8 * 25)));
    for record in 0..160 {
        weir_path::flow::room::age::<V4, _>(
            &model.from_nowhere(),
            RecordId(record),
            model.now(),
            &town::TIMES,
            false,
        );
    }
    model.change(&Change::SetNow(Now(model.now().0 + 8 * 61)));
    (model, *kept)
}

#[test]
fn a_set_that_is_taken_away_while_a_flow_opens_loses_no_port() {
    let (model, _) = deserted();
    assert_eq!(model.flows::<V4>().port_bits().len(), 1, "the set is still there");
    let (_, ends) = ends(&model, &[opens(0, 1_001), job(1, Job::Tend(PortSetId(0)))]);
    assert!(ends.keys().all(|how| *how == [How::Left(Reason::Opened), How::Tended]), "{ends:?}");
}

#[test]
fn a_set_that_is_taken_away_while_a_port_is_given_back_loses_no_port() {
    let (mut model, kept) = deserted();
    let record = rested(&mut model, kept);
    let actors = [job(0, Job::Age(record)), job(1, Job::Tend(PortSetId(0)))];
    let (_, ends) = ends(&model, &actors);
    assert_eq!(ends.into_keys().collect::<Vec<_>>(), [vec![How::Ended(true), How::Tended]]);
}

#[test]
fn a_set_that_is_taken_away_and_made_again_at_once_is_one_set() {
    let (model, _) = deserted();
    let tended = [job(0, Job::Tend(PortSetId(0))), job(1, Job::Tend(PortSetId(0)))];
    let (_, ends) = ends(&model, &tended);
    assert_eq!(ends.into_keys().collect::<Vec<_>>(), [vec![How::Tended; 2]]);
}
