//! Random packets that make sense: a generator that knows which flows are open, so that most of what it sends
//! is forwarded and every reason is met again and again.
//!
//! The same sequence runs on the slice and on any other executor. Bytes and verdicts are compared packet by
//! packet, all tables every few thousand packets, and the laws are checked all the while. A seed repeats a
//! failure.

mod aimed;
mod chains;
mod conversations;
mod errors;
mod guards;
mod mangled;
mod neighbours;
mod outwards;
mod pieces;
mod shots;
mod shots_v6;
mod sizes;

use crate::executor::{Executor, Slice, Walk};
use crate::fixtures::state_differences;
use crate::model::{Held, Model};
use crate::random::Random;
use crate::world::{Change, FlowImage, Keyed, State, World};
use crate::{laws, town};
use std::collections::VecDeque;
use weir_path::Reason;
use weir_path::addr::{IfIndex, Ip4, Ip6, Mac, Zone};
use weir_path::flow::store::Room;
use weir_path::flow::{Key4, Key6, RecordId, V4, V6};
use weir_path::tables::{Interface, Target};
use weir_path::time::Now;

/// Small, so that the tables are full most of the time.
const MAX_FLOWS: u32 = 48;
/// Few, so that a burst of first packets finds no place.
const HALF_OPEN: u32 = 16;
/// Few, so that answers are withheld now and then.
const ANSWERS: u32 = 8;
/// Prod, with a gateway: one of these.
const PROD: Interface =
    Interface { answers: ANSWERS, gateway: GATEWAYS[0], gateway6: GATEWAYS_6[0], ..town::PROD };
const GATEWAYS: [Ip4; 2] = [Ip4([198, 51, 100, 253]), Ip4([198, 51, 100, 254])];
const GATEWAYS_6: [Ip6; 2] = [town::ip6(0x2001_0db8_0000_0051, 253), town::ip6(0x2001_0db8_0000_0051, 254)];
/// The stations that a gateway may be.
const STATIONS: [Mac; 3] = [town::DOOR, town::ROUTER, town::BYSTANDER];
/// How many packets lie between two comparisons of all tables.
const BETWEEN_COMPARISONS: usize = 5_000;

/// What no sequence of single packets meets: it takes another CPU, a kernel that refuses to change a packet, programs
/// that are not joined, a slot's record that is taken away under a flow, more flows than fit here, a VLAN, which TC's
/// test runs don't have, or a clock that all executors share.
pub const NOT_ALONE: [Reason; 10] = [
    Reason::NextHopUnresolved,
    Reason::RaceLost,
    Reason::Unchangeable,
    Reason::NotReady,
    Reason::NoInterface,
    Reason::AnsweredPortsExhausted,
    Reason::PortsExhausted,
    Reason::PortNotFound,
    Reason::OverRateOut,
    Reason::OverRateIn,
];

/// A packet, and where it comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shot {
    /// Which walk it takes.
    pub walk: Walk,
    /// The device it comes in by.
    pub arrival: IfIndex,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What happens next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A packet arrives.
    Packet(Shot),
    /// The tables are changed.
    Change(Change),
    /// All tables are at rest: the time to compare them.
    AtRest,
}

/// A flow that was seen to open: which one, and as it was then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known<K> {
    id: (RecordId, u16),
    flow: FlowImage<K>,
}

/// The generator.
#[derive(Debug)]
pub struct Grammar {
    random: Random,
    queue: VecDeque<Step>,
    packets: usize,
    /// The IPv4 flows that were seen to open.
    open: Vec<Known<Key4>>,
    opening: Option<Key4>,
    /// The IPv6 flows that were seen to open.
    open_6: Vec<Known<Key6>>,
    opening_6: Option<Key6>,
    slots: [Interface; 3],
    bindings: u32,
    /// Whether frames of VLANs that Weir has are sent.
    has_tags: bool,
    prod: Interface,
}

impl Grammar {
    /// The sequence of this seed, with frames of VLANs that Weir has or without.
    #[must_use]
    pub const fn new(seed: u64, has_tags: bool) -> Self {
        Self {
            random: Random::new(seed),
            queue: VecDeque::new(),
            packets: 0,
            open: Vec::new(),
            opening: None,
            open_6: Vec::new(),
            opening_6: None,
            slots: [town::SLOT_1, town::SLOT_2, town::SLOT_3],
            bindings: 3,
            has_tags,
            prod: PROD,
        }
    }

    /// Where the sequence starts.
    #[must_use]
    pub fn world() -> World {
        let world = town::world().with_half_open_room_for(MAX_FLOWS, HALF_OPEN);
        let interfaces = town::INTERFACES.map(|interface| match interface.egress.id {
            id if id == PROD.egress.id => PROD,
            // So that there is somebody without a route, who is not always told.
            id if id == town::LODGER.egress.id => Interface { answers: 1, ..town::LODGER },
            id if id == town::HOST_ENI.egress.id => Interface { gateway: Ip4([0; 4]), ..town::HOST_ENI },
            _ => Interface { answers: ANSWERS, ..interface },
        });
        guards::guard(World { interfaces: interfaces.to_vec(), ..world })
    }

    /// What happens next, after what `model` holds now.
    pub fn next(&mut self, model: &Model) -> Step {
        self.learn(model);
        if self.queue.is_empty() {
            self.plan(model);
        }
        self.queue.pop_front().unwrap_or(Step::AtRest)
    }

    /// Constancy: every flow that was seen to open, and has not ended, leads where it led then.
    ///
    /// # Errors
    /// The first flow that doesn't.
    pub fn nothing_moved(&self, model: &Model) -> Result<(), String> {
        stays::<V4>(&self.open, model)?;
        stays::<V6>(&self.open_6, model)
    }

    /// Whether nothing that was begun is unfinished.
    fn is_at_rest(&self) -> bool {
        self.queue.is_empty()
    }

    fn learn(&mut self, model: &Model) {
        let v4 = self.opening.take().and_then(|key| known::<V4>(&key, model));
        self.open.extend(v4);
        let v6 = self.opening_6.take().and_then(|key| known::<V6>(&key, model));
        self.open_6.extend(v6);
    }

    fn plan(&mut self, model: &Model) {
        if self.packets == BETWEEN_COMPARISONS {
            self.packets = 0;
            self.queue.push_back(Step::AtRest);
            self.reconfigure(model);
            return;
        }
        if self.random.once_in(80) {
            self.close_one(model);
        }
        if self.random.once_in(40) {
            self.let_time_pass(model);
        }
        self.packets += 1;
        self.shoot(model);
    }

    /// A configuration that places new flows elsewhere, and a slot that is bound anew. As the daemon does it,
    /// the flows of the old binding are ended first.
    fn reconfigure(&mut self, model: &Model) {
        let mut image = guards::image();
        for group in image.groups.iter_mut().filter(|group| !group.targets.is_empty()) {
            if self.random.once_in(3) {
                let targets = [1, 2, 3].map(|port| {
                    let slot = self.random.pick(&self.slots).egress.id;
                    Target::in_slot(slot, weir_path::addr::L4Port::new(7_000 + port))
                });
                group.targets = targets.to_vec();
                group.cells = (0..town::CELLS).map(|_| self.random.below(3) as u16).collect();
            }
        }
        self.queue.push_back(Step::Change(Change::Apply(image)));

        let [_, _, third] = &mut self.slots;
        let ended = third.zone;
        self.bindings += 1;
        *third = town::bound_anew(*third, self.bindings);
        let bound = *third;
        let flows = model.state().flows;
        let v4 = of_zone(flows.v4.into_values(), ended).map(Change::EndV4);
        let v6 = of_zone(flows.v6.into_values(), ended).map(Change::EndV6);
        self.queue.extend(v4.chain(v6).map(Step::Change));
        self.queue.push_back(Step::Change(Change::Bind(bound)));
        let (gateway, gateway6) = (*self.random.pick(&GATEWAYS), *self.random.pick(&GATEWAYS_6));
        self.prod = Interface { gateway, gateway6, ..PROD };
        self.queue.push_back(Step::Change(Change::Bind(self.prod)));
    }

    fn close_one(&mut self, model: &Model) {
        let v4 = self.known(model).map(|flow| Change::EndV4(original(&flow)));
        let v6 = self.known_6(model).map(|flow| Change::EndV6(original(&flow)));
        let change = if self.random.once_in(2) { v4 } else { v6 };
        self.queue.extend(change.map(Step::Change));
    }

    /// A moment, and now and then as long as makes flows end.
    fn let_time_pass(&mut self, model: &Model) {
        let eighths = if self.random.once_in(40) { 8 * 40 } else { 1 + self.random.below(4) };
        let now = Now(model.now().0.wrapping_add(eighths as u32));
        self.queue.push_back(Step::Change(Change::SetNow(now)));
        if self.random.once_in(2) {
            self.queue.push_back(Step::Change(Change::AgeStep));
        }
    }

    /// One of the flows that are there.
    fn known(&mut self, model: &Model) -> Option<FlowImage<Key4>> {
        pick::<V4>(&mut self.random, &mut self.open, model)
    }

    fn known_6(&mut self, model: &Model) -> Option<FlowImage<Key6>> {
        pick::<V6>(&mut self.random, &mut self.open_6, model)
    }
}

fn original<K: Keyed>(flow: &FlowImage<K>) -> K {
    let [original, _] = flow.keys;
    original
}

fn of_zone<K: Keyed>(flows: impl Iterator<Item = FlowImage<K>>, zone: Zone) -> impl Iterator<Item = K> {
    flows.filter(move |flow| flow.keys.iter().any(|key| key.zone() == zone)).map(|flow| original(&flow))
}

fn known<F: Held>(key: &F::Key, model: &Model) -> Option<Known<F::Key>> {
    Some(Known { id: model.record_of::<F>(key)?, flow: model.flow::<F>(key)? })
}

/// A flow that has not ended, as it is now; those that have are forgotten on the way.
fn pick<F: Held>(
    random: &mut Random,
    open: &mut Vec<Known<F::Key>>,
    model: &Model,
) -> Option<FlowImage<F::Key>> {
    while !open.is_empty() {
        let at = random.below(open.len());
        let Known { id, flow } = *open.get(at)?;
        if model.record_of::<F>(&original(&flow)) == Some(id) {
            return model.flow::<F>(&original(&flow));
        }
        open.swap_remove(at);
    }
    None
}

fn stays<F: Held>(open: &[Known<F::Key>], model: &Model) -> Result<(), String> {
    for Known { id, flow } in open {
        let key = original(flow);
        if model.record_of::<F>(&key) != Some(*id) {
            continue;
        }
        let is = model.flow::<F>(&key);
        if is.map(|is| is.way()) != Some(flow.way()) {
            return Err(format!("{flow:?} became {is:?}"));
        }
    }
    Ok(())
}

/// Runs a sequence on the slice and on all of `others`, and compares.
///
/// # Errors
/// The seed, the packet's number, and what differs or which law is broken.
pub fn compare(seed: u64, packets: usize, others: &mut [&mut dyn Executor]) -> Result<State, String> {
    let has_tags = others.iter().all(|other| other.takes(&TAGGED));
    let mut grammar = Grammar::new(seed, has_tags);
    let mut slice = Slice::default();
    let world = World { pots: if others.is_empty() { 2 } else { cpus() }, ..Grammar::world() };
    slice.load(&world);
    others.iter_mut().for_each(|other| other.load(&world));
    let mut number = 0;
    while number < packets || !grammar.is_at_rest() {
        let done = match grammar.next(slice.model()) {
            Step::Packet(shot) => {
                number += 1;
                one_packet(&shot, &mut slice, others)
            }
            Step::Change(change) => {
                slice.change(&change);
                others.iter_mut().for_each(|other| other.change(&change));
                Ok(())
            }
            Step::AtRest => all_tables(&grammar, &mut slice, others),
        };
        done.map_err(|what| format!("seed {seed}, packet {number}: {what}"))?;
    }
    all_tables(&grammar, &mut slice, others).map_err(|what| format!("seed {seed}, at the end: {what}"))?;
    Ok(slice.state())
}

/// A frame with a tag.
const TAGGED: [u8; 60] = {
    let mut frame = [0; 60];
    frame[12] = 0x81;
    frame
};

/// How many pots the kernel's tables have here: one a CPU that there may be.
fn cpus() -> u32 {
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible").expect("Linux says it here");
    let last = possible.trim().rsplit(['-', ',']).next().and_then(|last| last.parse::<u32>().ok());
    (last.expect("the number of a CPU") + 1).min(Room::MAX_POTS)
}

fn one_packet(shot: &Shot, slice: &mut Slice, others: &mut [&mut dyn Executor]) -> Result<(), String> {
    let Shot { walk, arrival, bytes } = shot;
    let expected = slice.run(*walk, *arrival, bytes);
    let why = slice.witness().map(|seen| seen.why).ok_or("it left without a reason")?;
    laws::packet(bytes, &expected, why)
        .and_then(|()| laws::no_leak(why, &expected.bytes, town::SLOT_1))
        .map_err(|law| format!("{law}\n {shot:02x?}\n became {expected:02x?}"))?;
    for other in others.iter_mut() {
        let seen = other.run(*walk, *arrival, bytes);
        if seen.end != expected.end || seen.bytes != other.shows(bytes, &expected.bytes) {
            return Err(format!(
                "the slice and {} differ ({why:?})\n {shot:02x?}\n slice {expected:02x?}\n other {seen:02x?}",
                other.name()
            ));
        }
    }
    Ok(())
}

fn all_tables(grammar: &Grammar, slice: &mut Slice, others: &mut [&mut dyn Executor]) -> Result<(), String> {
    let expected = slice.state();
    laws::both_or_neither(&expected)?;
    laws::books_close(&expected)?;
    laws::conservation(&expected)?;
    laws::every_flow_is_accounted_for(&Grammar::world(), &expected)?;
    grammar.nothing_moved(slice.model())?;
    for other in others.iter_mut() {
        let seen = other.state();
        if seen != expected {
            let differences = state_differences(&expected, &seen).join("\n ");
            return Err(format!("the tables differ: the slice and {}\n {differences}", other.name()));
        }
    }
    Ok(())
}
