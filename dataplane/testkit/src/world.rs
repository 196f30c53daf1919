//! What a packet meets and what it leaves behind, as plain values that every executor can be loaded with and
//! read out into.

use crate::executor::Walk;
use std::collections::BTreeMap;
use weir_dataplane::image::Image;
use weir_path::Reason;
use weir_path::addr::InterfaceId;
use weir_path::flow::{Flow, FlowKey};
use weir_path::tables::Interface;

/// The flow table, by key.
pub type FlowTable = BTreeMap<FlowKey, Flow>;

/// The tables before the first packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct World {
    /// The uplinks and slots.
    pub interfaces: Vec<Interface>,
    /// The configuration.
    pub image: Image,
    /// The flows, each direction by itself.
    pub flows: FlowTable,
    /// How many flows fit, both directions together: twice as many entries.
    pub max_flows: u32,
}

/// Something that changes the tables between two packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Another configuration becomes live.
    Apply(Image),
    /// An interface's record is written, as when a slot is bound anew.
    Bind(Interface),
    /// One direction of a flow is entered.
    Insert(FlowKey, Flow),
    /// One direction of a flow is taken out.
    Remove(FlowKey),
}

/// What one walk counted. Only what is not zero is listed, so that equality is exact.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct WalkCounters {
    /// Packets that came in.
    pub entered: u64,
    /// Packets that left, by reason.
    pub left: BTreeMap<Reason, u64>,
}

/// What can be read out of the tables afterwards.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct State {
    /// The flows, each direction by itself.
    pub flows: FlowTable,
    /// The counters of the walks that saw a packet.
    pub walks: BTreeMap<Walk, WalkCounters>,
    /// Packets sent out of each interface, where there were any.
    pub sent: BTreeMap<InterfaceId, u64>,
}

impl World {
    /// The same world with one more flow, both directions.
    #[must_use]
    pub fn with_flow(mut self, both: [(FlowKey, Flow); 2]) -> Self {
        self.flows.extend(both);
        self
    }

    /// The same world with one direction of a flow and not the other: another CPU is in the middle of it.
    #[must_use]
    pub fn with_half_flow(mut self, one: (FlowKey, Flow)) -> Self {
        self.flows.extend([one]);
        self
    }

    /// The same world with room for this many flows.
    #[must_use]
    pub fn with_room_for(self, max_flows: u32) -> Self {
        Self { max_flows, ..self }
    }

    /// How many entries the flow table has room for.
    #[must_use]
    pub const fn max_entries(&self) -> usize {
        2 * self.max_flows as usize
    }
}

impl State {
    /// Packets that left for this reason, in both walks.
    #[must_use]
    pub fn left(&self, why: Reason) -> u64 {
        self.walks.values().filter_map(|walk| walk.left.get(&why)).sum()
    }
}
