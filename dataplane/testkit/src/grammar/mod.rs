//! Random packets that make sense: a generator that knows which flows are open, so that most of what it sends
//! is forwarded and every reason is met again and again.
//!
//! The same sequence runs on the slice and on any other executor. Bytes and verdicts are compared packet by
//! packet, all tables every few thousand packets, and the laws are checked all the while. A seed repeats a
//! failure.

mod shots;

use crate::executor::{Executor, Slice, Walk};
use crate::model::Model;
use crate::random::Random;
use crate::world::{Change, State, World};
use crate::{laws, town};
use std::collections::VecDeque;
use weir_path::addr::IfIndex;
use weir_path::flow::{Flow, FlowKey};
use weir_path::tables::{Interface, Target};

/// Small, so that the table is full most of the time.
const MAX_FLOWS: u32 = 256;
/// How many packets lie between two comparisons of all tables.
const BETWEEN_COMPARISONS: usize = 5_000;

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

/// The generator.
#[derive(Debug)]
pub struct Grammar {
    random: Random,
    queue: VecDeque<Step>,
    packets: usize,
    /// The flows that were seen to open, by the direction from the wire, as they were then.
    open: Vec<(FlowKey, Flow)>,
    opening: Option<FlowKey>,
    slots: [Interface; 3],
    bindings: u32,
}

impl Grammar {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            queue: VecDeque::new(),
            packets: 0,
            open: Vec::new(),
            opening: None,
            slots: [town::SLOT_1, town::SLOT_2, town::SLOT_3],
            bindings: 3,
        }
    }

    /// Where the sequence starts.
    #[must_use]
    pub fn world() -> World {
        town::world().with_room_for(MAX_FLOWS)
    }

    /// What happens next, after what `model` holds now.
    pub fn next(&mut self, model: &Model) -> Step {
        self.learn(model);
        if self.queue.is_empty() {
            self.plan(model);
        }
        self.queue.pop_front().unwrap_or(Step::AtRest)
    }

    /// Constancy: every flow that was seen to open is as it was then.
    ///
    /// # Errors
    /// The first flow that isn't.
    pub fn nothing_moved(&self, state: &State) -> Result<(), String> {
        match self.open.iter().find(|(key, flow)| state.flows.get(key) != Some(flow)) {
            None => Ok(()),
            Some((key, flow)) => Err(format!("{key:?} was {flow:?} and is {:?}", state.flows.get(key))),
        }
    }

    /// Whether nothing that was begun is unfinished.
    fn is_at_rest(&self) -> bool {
        self.queue.is_empty()
    }

    fn learn(&mut self, model: &Model) {
        let Some(key) = self.opening.take() else { return };
        let Some(flow) = model.flow(&key) else { return };
        if self.open.iter().all(|(known, _)| *known != key) {
            self.open.push((key, flow));
        }
    }

    fn plan(&mut self, model: &Model) {
        if self.packets == BETWEEN_COMPARISONS {
            self.packets = 0;
            self.queue.push_back(Step::AtRest);
            self.reconfigure();
            return;
        }
        if self.random.once_in(60) {
            self.close_one();
        }
        self.packets += 1;
        self.shoot(model);
    }

    /// A configuration that places new flows elsewhere, and a slot that is bound anew. As the daemon does it,
    /// the flows of the old binding are ended first.
    fn reconfigure(&mut self) {
        let mut image = town::image();
        for group in image.groups.iter_mut().filter(|group| !group.targets.is_empty()) {
            if self.random.once_in(3) {
                let targets = [1, 2, 3].map(|port| Target {
                    slot: self.random.pick(&self.slots).egress.id,
                    port: weir_path::addr::L4Port::new(7_000 + port),
                    zero: [0; 2],
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
        let (gone, kept) = self.open.iter().partition(|(_, flow)| flow.other.zone == ended);
        self.open = kept;
        let gone: Vec<(FlowKey, Flow)> = gone;
        gone.iter().for_each(|(key, flow)| self.end(key, flow));
        self.queue.push_back(Step::Change(Change::Bind(bound)));
    }

    fn close_one(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let (key, flow) = self.open.swap_remove(self.random.below(self.open.len()));
        self.end(&key, &flow);
    }

    fn end(&mut self, key: &FlowKey, flow: &Flow) {
        self.queue.extend([*key, flow.other].map(|key| Step::Change(Change::Remove(key))));
    }
}

/// Runs a sequence on the slice and on all of `others`, and compares.
///
/// # Errors
/// The seed, the packet's number, and what differs or which law is broken.
pub fn compare(seed: u64, packets: usize, others: &mut [&mut dyn Executor]) -> Result<State, String> {
    let mut grammar = Grammar::new(seed);
    let mut slice = Slice::default();
    slice.load(&Grammar::world());
    others.iter_mut().for_each(|other| other.load(&Grammar::world()));
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

fn one_packet(shot: &Shot, slice: &mut Slice, others: &mut [&mut dyn Executor]) -> Result<(), String> {
    let Shot { walk, arrival, bytes } = shot;
    let expected = slice.run(*walk, *arrival, bytes);
    let why = slice.witness().map(|seen| seen.why).ok_or("it left without a reason")?;
    laws::packet(bytes, &expected, why)
        .and_then(|()| laws::no_leak(why, &expected.bytes, town::SANDBOX.ip))
        .map_err(|law| format!("{law}\n {shot:02x?}\n became {expected:02x?}"))?;
    for other in others.iter_mut() {
        let seen = other.run(*walk, *arrival, bytes);
        if seen != expected {
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
    laws::both_or_neither(&expected.flows)?;
    laws::conservation(&expected)?;
    grammar.nothing_moved(&expected)?;
    for other in others.iter_mut() {
        let seen = other.state();
        if seen != expected {
            return Err(format!(
                "the tables differ: the slice has {} entries, {} and {:?}; {} has {} entries, {} and {:?}",
                expected.flows.len(),
                counted(&expected),
                expected.sent,
                other.name(),
                seen.flows.len(),
                counted(&seen),
                seen.sent
            ));
        }
    }
    Ok(())
}

fn counted(state: &State) -> String {
    format!("{:?}", state.walks)
}
