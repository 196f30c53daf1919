//! Whatever can run a packet: the path over plain maps here, the real programs in `weir-dataplane`'s tests.

use crate::model::{Model, View, Watch};
use crate::world::{Change, State, World};
use weir_path::addr::IfIndex;
use weir_path::frame::Frame;
use weir_path::packet::{MOST_INSERTED, Packet};
use weir_path::tables::Egress;
use weir_path::{Reason, Verdict, from_slot, from_uplink};

/// One of the path's two walks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Walk {
    /// From the wire.
    FromUplink,
    /// From a sandbox.
    FromSlot,
}

/// What became of a packet. Where it was sent is in the counters: a kernel test run doesn't tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Left to the kernel.
    Pass,
    /// Dropped.
    Drop,
    /// Sent out of an interface.
    Send,
}

/// One packet's run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// What became of it.
    pub end: End,
    /// Its bytes afterwards.
    pub bytes: Vec<u8>,
}

/// One packet's run, and the tables after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The packet.
    pub ran: Ran,
    /// The tables.
    pub state: State,
}

/// Runs packets over tables that start as a [`World`].
pub trait Executor {
    /// What to call it where it disagrees.
    fn name(&self) -> &'static str;

    /// Whether it can run this frame.
    fn takes(&self, frame: &[u8]) -> bool;

    /// What it shows of a frame that came with these bytes, and leaves with those.
    fn shows(&self, _came: &[u8], left: &[u8]) -> Vec<u8> {
        left.to_vec()
    }

    /// Starts afresh from `world`; all counters are zero.
    fn load(&mut self, world: &World);

    /// Changes the tables in place.
    fn change(&mut self, change: &Change);

    /// Runs one packet that comes in by `arrival`.
    fn run(&mut self, walk: Walk, arrival: IfIndex, packet: &[u8]) -> Ran;

    /// Reads everything out.
    fn state(&mut self) -> State;

    /// Runs one packet in a fresh `world`.
    fn outcome(&mut self, world: &World, walk: Walk, arrival: IfIndex, packet: &[u8]) -> Outcome {
        self.load(world);
        let ran = self.run(walk, arrival, packet);
        Outcome { ran, state: self.state() }
    }
}

/// Room for answers that are longer than what they answer.
const ROOM: usize = 2 * MOST_INSERTED;

/// Runs one packet as a view of the tables sees it: what another CPU does while one is halted.
pub fn run_packet<P: Packet, W: Watch>(tables: &View<'_, W>, packet: &mut P) -> Verdict {
    match tables.walk() {
        Walk::FromUplink => from_uplink(packet, tables),
        Walk::FromSlot => from_slot(packet, tables),
    }
}

/// The path as user space compiles it, over the model. It also tells what the kernel can't.
#[derive(Debug, Default)]
pub struct Slice {
    model: Model,
    witness: Option<Witness>,
}

/// What only the slice tells about its last packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Witness {
    /// Why it left.
    pub why: Reason,
    /// Where it was sent.
    pub to: Option<Egress>,
}

impl Slice {
    /// The path over these tables.
    #[must_use]
    pub fn over(model: Model) -> Self {
        Self { model, witness: None }
    }

    /// The tables.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What became of the last packet, in more words.
    #[must_use]
    pub fn witness(&self) -> Option<Witness> {
        self.witness
    }

    /// Runs any kind of packet, such as one that stands for an skb.
    pub fn walk<P: Packet>(&mut self, walk: Walk, arrival: IfIndex, packet: &mut P) -> Verdict {
        let tables = self.model.seen_from(walk, arrival);
        let verdict = run_packet(&tables, packet);
        let to = match verdict {
            Verdict::Send(egress) => Some(egress),
            Verdict::Pass | Verdict::Drop => None,
        };
        self.witness = tables.last_reason().map(|why| Witness { why, to });
        verdict
    }
}

impl Executor for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn takes(&self, _: &[u8]) -> bool {
        true
    }

    fn load(&mut self, world: &World) {
        self.model = Model::new(world);
        self.witness = None;
    }

    fn change(&mut self, change: &Change) {
        self.model.change(change);
    }

    fn run(&mut self, walk: Walk, arrival: IfIndex, packet: &[u8]) -> Ran {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + ROOM, 0);
        let mut frame = Frame::new(&mut buffer, packet.len()).expect("a buffer longer than the packet");
        let verdict = self.walk(walk, arrival, &mut frame);
        Ran { end: verdict.into(), bytes: frame.bytes().to_vec() }
    }

    fn state(&mut self) -> State {
        self.model.state()
    }
}

impl From<Verdict> for End {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Drop => Self::Drop,
            Verdict::Send(_) => Self::Send,
        }
    }
}
