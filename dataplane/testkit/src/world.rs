//! What a packet meets and what it leaves behind, as plain values that every executor can be loaded with and
//! read out into.

mod books;

pub use books::{Blocked, Books};

use crate::executor::Walk;
use crate::town::TCP;
use std::collections::BTreeMap;
use weir_dataplane::flows::{FlowState, SideState};
use weir_dataplane::image::Image;
use weir_dataplane::{FamilySizes, Sizes};
use weir_path::Reason;
use weir_path::addr::{InterfaceId, Ip6, Mac, Zone};
use weir_path::flow::end::End;
use weir_path::flow::{
    Account, Counts, Ends, Hop, Key, Key4, Key6, Life, Meta, Phase, PortUse, RecordId, Side, Stamp,
};
use weir_path::tables::{Interface, NextHopId, Rates};
use weir_path::time::{Now, Seconds};

/// A flow, without what may differ from run to run: its record, the record's life, its place, when it is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowImage<K> {
    /// The keys of both directions, by [`Side`].
    pub keys: [K; 2],
    /// Both directions, by [`Side`]; `None` where no entry is this flow's.
    pub sides: [Option<SideImage>; 2],
    /// How far it has come.
    pub phase: Phase,
    /// Which sides said that they are done.
    pub fins: [bool; 2],
    /// When it was last heard, as far as that was written down.
    pub seen: Now,
    /// When it was opened.
    pub opened: Now,
    /// How long it may be silent once it is established.
    pub idle: Seconds,
    /// TCP: what the handshake waits for.
    pub expected: u32,
    /// TCP: by how much each side's window is to be shifted.
    pub shifts: [u8; 2],
    /// Whose the port is that its answers come to.
    pub port: PortUse,
    /// How long that port is to rest afterwards.
    pub rest: Seconds,
    /// Whose it is.
    pub account: Account,
    /// 1 where both ends are told when it was silent for too long; else 0.
    pub tells_idle: u8,
}

/// What answers look like that come from a remote to an ENI, with the protocol and the VPC. IPv4 addresses are mapped.
pub type Answers = (Ends<Ip6>, u8, Zone);

/// The ports that rest: since when, and for how long.
pub type Rests = BTreeMap<Answers, (Now, Seconds)>;

/// How often flows towards a remote were refused because no port was to be had there, by their answers without a port.
pub type Refusals = BTreeMap<Answers, u64>;

/// One direction of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SideImage {
    /// Where its packets go.
    pub hop: Hop,
    /// What it carried.
    pub counts: Counts,
    /// TCP's acknowledgement number in the last segment that had one.
    pub acknowledged: u32,
}

/// One family's flows, by the key of the original direction.
pub type FlowTable<K> = BTreeMap<K, FlowImage<K>>;

/// The flows of both families.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Flows {
    /// IPv4.
    pub v4: FlowTable<Key4>,
    /// IPv6.
    pub v6: FlowTable<Key6>,
}

/// A key of either family: it knows which of the two tables it is of.
pub trait Keyed: Key + Ord {
    /// Its family's flows.
    fn table(flows: &Flows) -> &FlowTable<Self>;
    /// The same, to be changed.
    fn table_mut(flows: &mut Flows) -> &mut FlowTable<Self>;
}

impl Keyed for Key4 {
    fn table(flows: &Flows) -> &FlowTable<Self> {
        &flows.v4
    }

    fn table_mut(flows: &mut Flows) -> &mut FlowTable<Self> {
        &mut flows.v4
    }
}

impl Keyed for Key6 {
    fn table(flows: &Flows) -> &FlowTable<Self> {
        &flows.v6
    }

    fn table_mut(flows: &mut Flows) -> &mut FlowTable<Self> {
        &mut flows.v6
    }
}

/// The tables before the first packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct World {
    /// The uplinks and slots.
    pub interfaces: Vec<Interface>,
    /// The configuration.
    pub image: Image,
    /// Which stations gateways are, where that is known.
    pub next_hops: BTreeMap<NextHopId, Mac>,
    /// How fast slots may be.
    pub rates: BTreeMap<InterfaceId, Rates>,
    /// The flows.
    pub flows: Flows,
    /// How many flows fit.
    pub sizes: Sizes,
    /// Among how many pots the model shares records and places. The kernel has one a CPU.
    pub pots: u32,
    /// The time.
    pub now: Now,
}

/// Something that changes the tables between two packets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Another configuration becomes live.
    Apply(Image),
    /// An interface's record is written, as when a slot is bound anew.
    Bind(Interface),
    /// The clock moves.
    SetNow(Now),
    /// A slot may be so fast from now on.
    SetRates(InterfaceId, Rates),
    /// The daemon orders the end of the flow whose original direction has this key, if it is there.
    EndV4(Key4),
    /// The same for IPv6.
    EndV6(Key6),
    /// One step of ageing.
    AgeStep,
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
    /// The flows.
    pub flows: Flows,
    /// The ports that rest.
    pub resting: Rests,
    /// How often flows found no port, by remote.
    pub refused: Refusals,
    /// Entries that are no live flow's, and of no port that rests.
    pub strays: usize,
    /// Flows that were opened.
    pub opened: u64,
    /// Flows that ended, by why, where there were any.
    pub ended: BTreeMap<End, u64>,
    /// The counters of the walks that saw a packet.
    pub walks: BTreeMap<Walk, WalkCounters>,
    /// Which stations gateways are, where that is known.
    pub next_hops: BTreeMap<NextHopId, Mac>,
    /// Packets sent out of each interface, where there were any.
    pub sent: BTreeMap<InterfaceId, u64>,
    /// What sandboxes and tenants hold, and were refused.
    pub books: Books,
    /// Flows that security groups blocked, by connector and direction, where there were any.
    pub blocked: Blocked,
}

impl World {
    /// The same world with one more flow.
    #[must_use]
    pub fn with_flow<K: Keyed>(mut self, flow: FlowImage<K>) -> Self {
        self.flows.insert(flow);
        self
    }

    /// The same world with room for this many flows of each family, all of them half-open if they like.
    #[must_use]
    pub fn with_room_for(self, flows: u32) -> Self {
        self.with_half_open_room_for(flows, flows)
    }

    /// The same world with room for this many flows of each family, and fewer half-open ones.
    #[must_use]
    pub fn with_half_open_room_for(self, flows: u32, half_open: u32) -> Self {
        let family = FamilySizes { flows, half_open };
        Self { sizes: Sizes { v4: family, v6: family }, ..self }
    }

    /// The same world at another time.
    #[must_use]
    pub fn at(self, now: Now) -> Self {
        Self { now, ..self }
    }

    /// The flows as they are to lie in the tables: records in the order of the keys.
    #[must_use]
    pub fn states<K: Keyed>(&self) -> Vec<FlowState<K>> {
        let flows = K::table(&self.flows).values();
        flows.enumerate().map(|(nth, flow)| flow.to_state(RecordId(nth as u32), self.now)).collect()
    }
}

impl Flows {
    /// Enters a flow, in the place of one with the same first key.
    pub fn insert<K: Keyed>(&mut self, flow: FlowImage<K>) {
        let [original, _] = flow.keys;
        K::table_mut(self).insert(original, flow);
    }

    /// The flow whose original direction has this key.
    #[must_use]
    pub fn get<K: Keyed>(&self, original: &K) -> Option<&FlowImage<K>> {
        K::table(self).get(original)
    }

    /// How many there are, both families together.
    #[must_use]
    pub fn count(&self) -> usize {
        self.v4.len() + self.v6.len()
    }
}

impl<K: Keyed> FlowImage<K> {
    /// What the tables hold of it.
    #[must_use]
    pub fn of(state: &FlowState<K>) -> Self {
        let FlowState { record, life, keys, meta, sides } = *state;
        let both = [Side::Original, Side::Reply];
        let ([original, reply], [original_key, _]) = (sides, keys);
        let image = |side, state: SideState| {
            let own = Stamp::new(record, life.incarnation(), side, Now(0));
            let SideState { hop, counts, acknowledged, stamp } = state;
            stamp.is_of_the_same(own).then_some(SideImage { hop, counts, acknowledged })
        };
        Self {
            keys,
            sides: [image(Side::Original, original), image(Side::Reply, reply)],
            phase: life.phase(),
            fins: both.map(|side| life.has_fin(side)),
            seen: life.seen(),
            opened: meta.opened,
            idle: meta.idle,
            expected: if original_key.protocol() == TCP { meta.expected } else { 0 },
            shifts: meta.shifts,
            port: meta.port,
            rest: meta.rest,
            account: meta.account,
            tells_idle: meta.tells_idle,
        }
    }

    /// How it is to lie in the tables. An established flow is due in a second, any other at once.
    #[must_use]
    pub fn to_state(&self, record: RecordId, now: Now) -> FlowState<K> {
        const FIRST: u16 = 1;
        let mut life = Life::new(self.phase, FIRST, self.seen);
        for (side, has_fin) in [Side::Original, Side::Reply].into_iter().zip(self.fins) {
            life = if has_fin { life.with_fin(side) } else { life };
        }
        let side = |side: Side, image: Option<SideImage>| {
            let Some(SideImage { hop, counts, acknowledged }) = image else { return SideState::default() };
            let stamp = Stamp::new(record, FIRST, side, now);
            let stamp = if self.phase == Phase::Established { stamp.due_in(now, 1) } else { stamp };
            SideState { hop, counts, acknowledged, stamp }
        };
        let [original, reply] = self.sides;
        let meta = Meta {
            opened: self.opened,
            expected: self.expected,
            idle: self.idle,
            shifts: self.shifts,
            port: self.port,
            rest: self.rest,
            account: self.account,
            tells_idle: self.tells_idle,
            ..Meta::default()
        };
        let sides = [side(Side::Original, original), side(Side::Reply, reply)];
        FlowState { record, life, keys: self.keys, meta, sides }
    }

    /// Where both directions lead: what must never change. Stations on the wire may.
    #[must_use]
    pub fn way(&self) -> ([K; 2], [Option<InterfaceId>; 2]) {
        (self.keys, self.sides.map(|side| side.map(|side| side.hop.interface())))
    }
}

/// The port that a record keeps; `None` where it keeps none.
#[must_use]
pub fn rest<K: Key>(life: Life, [_, reply]: [K; 2], meta: Meta) -> Option<(Answers, (Now, Seconds))> {
    (life.phase() == Phase::Resting).then(|| (answers(&reply), (life.seen(), meta.rest)))
}

/// What answers with this key are called.
#[must_use]
pub fn answers<K: Key>(reply: &K) -> Answers {
    (reply.ends().mapped(), reply.protocol(), reply.zone())
}

impl State {
    /// Packets that left for this reason, in both walks.
    #[must_use]
    pub fn left(&self, why: Reason) -> u64 {
        self.walks.values().filter_map(|walk| walk.left.get(&why)).sum()
    }

    /// Flows that ended, for all reasons together.
    #[must_use]
    pub fn all_ended(&self) -> u64 {
        self.ended.values().sum()
    }
}
