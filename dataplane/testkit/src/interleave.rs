//! Several CPUs at once, in every order: each access to a shared table is a step, and all sequences of steps
//! are tried.
//!
//! No threads are needed. A walk is a function of what the tables tell it, so a CPU is halted by writing down
//! what it was told, and taken one step further by running its walk again: the old answers come from the
//! notes, the next one from the tables, and what follows is not believed and changes nothing.

use crate::executor::Walk;
use crate::model::{Model, View};
use crate::world::Change;
use std::cell::Cell;
use weir_path::addr::{IfIndex, InterfaceId};
use weir_path::flow::{Flow, FlowKey};
use weir_path::hash::HashKey;
use weir_path::packet::Frame;
use weir_path::tables::{
    Claim, Counters, Flows, Group, GroupId, Half, Interface, Interfaces, Listener, Listeners, Target, Vip,
};
use weir_path::{Reason, Verdict, from_slot, from_uplink};

/// What the shared tables told a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Live(Half),
    Flow(Option<Flow>),
    Claim(Claim),
    Released,
}

/// A packet on a CPU of its own.
#[derive(Clone, Debug)]
pub struct Cpu {
    walk: Walk,
    arrival: IfIndex,
    packet: Vec<u8>,
    notes: Vec<Answer>,
    end: Option<(Reason, Verdict)>,
}

/// Whoever takes steps.
#[derive(Clone, Debug)]
pub enum Actor {
    /// A packet on a CPU.
    Cpu(Cpu),
    /// User space, with what it has yet to do, last things first.
    Daemon(Vec<Change>),
}

impl Cpu {
    /// This packet, not begun.
    #[must_use]
    pub fn new(walk: Walk, arrival: IfIndex, packet: Vec<u8>) -> Self {
        Self { walk, arrival, packet, notes: Vec::new(), end: None }
    }

    /// Why the packet left and what became of it, once it is through.
    #[must_use]
    pub fn end(&self) -> Option<(Reason, Verdict)> {
        self.end
    }

    /// One access to the shared tables further.
    fn step(&mut self, model: &Model) {
        let tables = Halting {
            inner: model.seen_from(self.walk, self.arrival),
            notes: &self.notes,
            asked: Cell::new(0),
            fresh: Cell::new(None),
            is_beyond: Cell::new(false),
            why: Cell::new(None),
        };
        let mut bytes = self.packet.clone();
        let len = bytes.len();
        let mut frame = Frame::new(&mut bytes, len).expect("a buffer of the packet's own length");
        let verdict = match self.walk {
            Walk::FromUplink => from_uplink(&mut frame, &tables),
            Walk::FromSlot => from_slot(&mut frame, &tables),
        };
        let (fresh, is_beyond, why) = (tables.fresh.get(), tables.is_beyond.get(), tables.why.get());
        self.notes.extend(fresh);
        if !is_beyond {
            self.end = why.map(|why| (why, verdict));
        }
    }
}

impl Actor {
    fn is_done(&self) -> bool {
        match self {
            Self::Cpu(cpu) => cpu.end.is_some(),
            Self::Daemon(changes) => changes.is_empty(),
        }
    }

    fn step(&mut self, model: &mut Model) {
        match self {
            Self::Cpu(cpu) => cpu.step(model),
            Self::Daemon(changes) => changes.pop().iter().for_each(|change| model.change(change)),
        }
    }
}

/// Tries every order of the actors' steps, and shows `judge` each end. Returns how many orders there were.
pub fn every_order(model: &Model, actors: &[Actor], judge: &mut impl FnMut(&Model, &[Actor])) -> usize {
    if actors.iter().all(Actor::is_done) {
        judge(model, actors);
        return 1;
    }
    let mut orders = 0;
    for next in (0..actors.len()).filter(|next| actors.get(*next).is_some_and(|actor| !actor.is_done())) {
        let (mut model, mut actors) = (model.clone(), actors.to_vec());
        actors.iter_mut().skip(next).take(1).for_each(|actor| actor.step(&mut model));
        orders += every_order(&model, &actors, judge);
    }
    orders
}

/// Tables that give one new answer.
#[derive(Debug)]
struct Halting<'a> {
    inner: View<'a>,
    notes: &'a [Answer],
    asked: Cell<usize>,
    fresh: Cell<Option<Answer>>,
    is_beyond: Cell<bool>,
    why: Cell<Option<Reason>>,
}

impl Halting<'_> {
    /// The noted answer, or the one new one, or `None`: beyond that nothing counts.
    fn ask(&self, really: impl FnOnce() -> Answer) -> Option<Answer> {
        let number = self.asked.replace(self.asked.get() + 1);
        if let Some(noted) = self.notes.get(number) {
            return Some(*noted);
        }
        if self.fresh.get().is_some() {
            self.is_beyond.set(true);
            return None;
        }
        let answer = really();
        self.fresh.set(Some(answer));
        Some(answer)
    }
}

impl Flows for Halting<'_> {
    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        match self.ask(|| Answer::Flow(self.inner.flow(key))) {
            Some(Answer::Flow(flow)) => flow,
            _ => None,
        }
    }

    fn claim(&self, key: &FlowKey, flow: &Flow) -> Claim {
        match self.ask(|| Answer::Claim(self.inner.claim(key, flow))) {
            Some(Answer::Claim(claim)) => claim,
            _ => Claim::NoRoom,
        }
    }

    fn release(&self, key: &FlowKey) {
        self.ask(|| {
            self.inner.release(key);
            Answer::Released
        });
    }
}

impl Listeners for Halting<'_> {
    fn live(&self) -> Half {
        match self.ask(|| Answer::Live(self.inner.live())) {
            Some(Answer::Live(half)) => half,
            _ => self.inner.live(),
        }
    }

    fn hash_key(&self, half: Half) -> HashKey {
        self.inner.hash_key(half)
    }

    fn is_vip(&self, half: Half, vip: &Vip) -> bool {
        self.inner.is_vip(half, vip)
    }

    fn listener(&self, half: Half, listener: &Listener) -> Option<GroupId> {
        self.inner.listener(half, listener)
    }

    fn group(&self, half: Half, id: GroupId) -> Option<Group> {
        self.inner.group(half, id)
    }

    fn cell(&self, half: Half, index: u32) -> Option<u16> {
        self.inner.cell(half, index)
    }

    fn target(&self, half: Half, index: u32) -> Option<Target> {
        self.inner.target(half, index)
    }
}

impl Interfaces for Halting<'_> {
    fn arrival(&self) -> Option<&Interface> {
        self.inner.arrival()
    }

    fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.inner.interface(id)
    }
}

impl Counters for Halting<'_> {
    fn entered(&self, _: u32) {}

    fn left(&self, why: Reason, _: u32) {
        self.why.set(Some(why));
    }

    fn sent(&self, _: InterfaceId, _: u32) {}
}
