//! Several CPUs at once, in every order: each access to a shared table is a step, and all sequences of steps
//! are tried.
//!
//! No threads are needed. A run is a function of what the tables tell it, so a CPU is halted by writing down
//! what it was told, and taken one step further by running it again: the old answers come from the notes, the
//! next one from the tables, and what follows is not believed and changes nothing. Orders that lead to the same
//! tables and the same notes go on alike, so each such state is gone on from once.

use crate::executor::Walk;
use crate::model::watch::{Answer, NOTHING, Note};
use crate::model::{Model, Op, View, Watch};
use crate::world::Change;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};
use weir_path::addr::IfIndex;
use weir_path::asked::Asked;
use weir_path::flow::ports::tend;
use weir_path::flow::room::age;
use weir_path::flow::store::{Flows, PortSetId};
use weir_path::flow::{RecordId, V4};
use weir_path::frame::Frame;
use weir_path::tables::{Clock, Listeners};
use weir_path::{Reason, Verdict, from_slot, from_uplink};

/// What a CPU runs.
#[derive(Clone, Debug)]
pub enum Job {
    /// A packet.
    Packet {
        /// Where it comes from.
        walk: Walk,
        /// The device that it comes in by.
        arrival: IfIndex,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// An order to end the IPv4 flow of this record, in this of its lives.
    End(RecordId, u16),
    /// The ageing of one IPv4 record.
    Age(RecordId),
    /// A look after a set of ports of IPv4 flows.
    Tend(PortSetId),
}

/// How a job ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// The packet left for this reason.
    Left(Reason, Verdict),
    /// Whether this run ended a flow.
    Ended(bool),
    /// The set of ports was looked after.
    Tended,
}

/// A job on a CPU of its own.
#[derive(Clone, Debug)]
pub struct Cpu {
    number: u32,
    job: Job,
    notes: Vec<Note>,
    done: Option<Done>,
}

/// Whoever takes steps.
#[derive(Clone, Debug)]
pub enum Actor {
    /// A CPU.
    Cpu(Cpu),
    /// User space, with what it has yet to do, last things first.
    Daemon(Vec<Change>),
}

impl Cpu {
    /// This job on this CPU, not begun.
    #[must_use]
    pub fn new(number: u32, job: Job) -> Self {
        Self { number, job, notes: Vec::new(), done: None }
    }

    /// The same, after it ran alone up to its `nth` access of this kind, counted from 1.
    #[must_use]
    pub fn up_to(mut self, model: &Model, op: Op, nth: usize) -> Self {
        let mut seen = 0;
        while self.done.is_none() && seen < nth {
            seen += usize::from(self.step(model) == Some(op));
        }
        self
    }

    /// How it ended, once it is through.
    #[must_use]
    pub fn done(&self) -> Option<Done> {
        self.done
    }

    /// One access to the shared tables further. Says which one would be next.
    fn step(&mut self, model: &Model) -> Option<Op> {
        let halt = Halt {
            notes: &self.notes,
            asked: Cell::new(0),
            fresh: RefCell::default(),
            has_stepped: Cell::new(false),
            is_beyond: Cell::new(false),
            next: Cell::new(None),
        };
        let done = self.run(model, &halt);
        let (fresh, is_beyond, next) = (halt.fresh.take(), halt.is_beyond.get(), halt.next.get());
        self.notes.extend(fresh);
        if !is_beyond {
            self.done = Some(done);
        }
        next
    }

    fn run(&self, model: &Model, halt: &Halt<'_>) -> Done {
        let seen_from = |walk, arrival| -> View<'_, Halt<'_>> {
            model.seen_from(walk, arrival).on_cpu(self.number).watched_by(halt)
        };
        match &self.job {
            Job::Packet { walk, arrival, bytes } => {
                let tables = seen_from(*walk, *arrival);
                let mut bytes = bytes.clone();
                let len = bytes.len();
                let mut frame = Frame::new(&mut bytes, len).expect("a buffer of the packet's own length");
                // A CPU that runs again begins as it did: what its last run asked for was not to be.
                Flows::<V4>::ask(&tables, |asked| *asked = Asked::default());
                let verdict = match walk {
                    Walk::FromUplink => from_uplink(&mut frame, &tables),
                    Walk::FromSlot => from_slot(&mut frame, &tables),
                };
                Done::Left(tables.last_reason().expect("every walk ends for a reason"), verdict)
            }
            Job::End(id, incarnation) => {
                let tables = seen_from(Walk::FromSlot, IfIndex(0));
                Done::Ended(tables.end_ordered::<V4>(*id, *incarnation))
            }
            Job::Age(id) => {
                let tables = seen_from(Walk::FromSlot, IfIndex(0));
                let (now, times) = (tables.now(), tables.times(tables.live()));
                Done::Ended(age::<V4, _>(&tables, *id, now, &times, false))
            }
            Job::Tend(id) => {
                let tables = seen_from(Walk::FromSlot, IfIndex(0));
                tend::<V4, _>(&tables, *id, tables.now());
                Done::Tended
            }
        }
    }
}

impl Actor {
    fn is_done(&self) -> bool {
        match self {
            Self::Cpu(cpu) => cpu.done.is_some(),
            Self::Daemon(changes) => changes.is_empty(),
        }
    }

    fn step(&mut self, model: &mut Model) {
        match self {
            Self::Cpu(cpu) => drop(cpu.step(model)),
            Self::Daemon(changes) => changes.pop().iter().for_each(|change| model.change(change)),
        }
    }
}

/// How much was tried.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tried {
    /// States between two steps, each one gone on from in every way.
    pub states: usize,
    /// Ends that differ in the tables or in what a CPU was told.
    pub ends: usize,
}

/// Tries every order of the actors' steps; shows `judge` each state between two steps, and whether it is an end.
pub fn every_order(model: &Model, actors: &[Actor], judge: &mut impl FnMut(&Model, &[Actor], bool)) -> Tried {
    let mut tried = Tried::default();
    let mut known = HashSet::new();
    let mut open = vec![(model.clone(), actors.to_vec())];
    while let Some((model, actors)) = open.pop() {
        if !known.insert(fingerprint(&model, &actors)) {
            continue;
        }
        tried.states += 1;
        let is_end = actors.iter().all(Actor::is_done);
        tried.ends += usize::from(is_end);
        judge(&model, &actors, is_end);
        for next in (0..actors.len()).filter(|next| actors.get(*next).is_some_and(|actor| !actor.is_done())) {
            let (mut model, mut actors) = (model.clone(), actors.clone());
            actors.iter_mut().skip(next).take(1).for_each(|actor| actor.step(&mut model));
            open.push((model, actors));
        }
    }
    tried
}

/// What tells one state from another.
fn fingerprint(model: &Model, actors: &[Actor]) -> u64 {
    struct Hash(DefaultHasher);
    impl Write for Hash {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.write(text.as_bytes());
            Ok(())
        }
    }
    let mut hash = Hash(DefaultHasher::new());
    model.write_down(&mut hash).expect("a hasher takes everything");
    for actor in actors {
        match actor {
            Actor::Cpu(cpu) => cpu.notes.iter().for_each(|note| hash.0.write(note)),
            Actor::Daemon(changes) => hash.0.write_usize(changes.len()),
        }
        hash.0.write_u8(0xff);
    }
    hash.0.finish()
}

/// A watcher that lets one new access happen.
#[derive(Debug)]
struct Halt<'a> {
    notes: &'a [Note],
    asked: Cell<usize>,
    fresh: RefCell<Vec<Note>>,
    has_stepped: Cell<bool>,
    is_beyond: Cell<bool>,
    /// The access that it was halted before.
    next: Cell<Option<Op>>,
}

impl Watch for Halt<'_> {
    /// The noted answer, or the new one, or nothing: beyond that nothing counts. What makes no difference to
    /// others is done along with the step before it.
    fn access<A: Answer>(&self, op: Op, really: impl FnOnce() -> A) -> A {
        let number = self.asked.replace(self.asked.get() + 1);
        if let Some(noted) = self.notes.get(number) {
            return A::of(noted);
        }
        if self.is_beyond.get() || (op.is_shared() && self.has_stepped.get()) {
            if !self.is_beyond.replace(true) {
                self.next.set(Some(op));
            }
            return A::of(&NOTHING);
        }
        self.has_stepped.set(self.has_stepped.get() || op.is_shared());
        let answer = really();
        self.fresh.borrow_mut().push(answer.note());
        answer
    }
}
