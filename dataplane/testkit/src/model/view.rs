//! The tables as one packet sees them that comes in by one device on one CPU.

use super::bucket::Bucket;
use super::cells::PortsAt;
use super::flows::FlowModel;
use super::watch::{Op, Quiet, Watch};
use super::words::{EntryAt, RecordAt, Which, WordAt};
use super::{Configuration, Held, Model};
use crate::executor::Walk;
use std::cell::Cell;
use weir_dataplane::image::{MAX_CONNECTORS, MAX_INTERFACES, Route};
use weir_path::Reason;
use weir_path::addr::{IfIndex, InterfaceId, Ip6, Mac, Zone};
use weir_path::asked::Asked;
use weir_path::flow::end::{End, end};
use weir_path::flow::ports::tend;
use weir_path::flow::room::age;
use weir_path::flow::store::{Flows, PortSetId, PortSetRef, RecordCell, Room, RoomWord, Word};
use weir_path::flow::{Hop, Life, RecordId, Side};
use weir_path::hash::HashKey;
use weir_path::layout::{ENDED_IN_A_STEP, LOOKED_AT_IN_A_STEP, NEIGHBOURS_REMEMBERED};
use weir_path::packet::VlanTag;
use weir_path::rate;
use weir_path::tables::{
    Claim, Clock, Connector, ConnectorId, Connectors, Counters, Forward, Group, GroupId, Half, Interface,
    Interfaces, Listener, Listeners, NextHop, NextHopId, Owner, Source, Target, Vip,
};
use weir_path::time::{Now, Times};

/// The tables as one packet sees them.
#[derive(Debug)]
pub struct View<'a, W = Quiet> {
    pub(super) model: &'a Model,
    pub(super) watch: &'a W,
    pub(super) walk: Walk,
    pub(super) arrival: IfIndex,
    pub(super) cpu: u32,
    pub(super) last_reason: Cell<Option<Reason>>,
    /// The neighbour that the packet is sent to, where the kernel is to find it.
    pub(super) neighbour: Cell<Ip6>,
}

impl<'a, W: Watch> View<'a, W> {
    /// The same, on another CPU than the first.
    #[must_use]
    pub fn on_cpu(self, cpu: u32) -> Self {
        Self { cpu, ..self }
    }

    /// Past this watcher.
    #[must_use]
    pub fn watched_by<V: Watch>(self, watch: &'a V) -> View<'a, V> {
        let Self { model, walk, arrival, cpu, last_reason, neighbour, .. } = self;
        View { model, watch, walk, arrival, cpu, last_reason, neighbour }
    }

    /// Where its packet comes from.
    #[must_use]
    pub fn walk(&self) -> Walk {
        self.walk
    }

    /// Why the last packet left.
    #[must_use]
    pub fn last_reason(&self) -> Option<Reason> {
        self.last_reason.get()
    }

    /// Ends a flow as the daemon orders it, if it is there; whether it did.
    pub fn end_flow<F: Held>(&self, original: &F::Key) -> bool {
        let found = F::table(self.model).record_of(original);
        found.is_some_and(|(id, life)| self.end_ordered::<F>(id, life.incarnation()))
    }

    /// Ends the flow of a record as the daemon orders it, if that is still this of its lives; whether it did.
    pub fn end_ordered<F: Held>(&self, id: RecordId, incarnation: u16) -> bool {
        let Some(record) = Flows::<F>::record(self, id) else { return false };
        let life = Life(record.life().load());
        life.incarnation() == incarnation && end::<F, Self>(self, id, life, End::Removed)
    }

    /// One step of ageing, as the programs' timer takes it.
    pub fn age_step(&self) {
        self.tend_family::<weir_path::flow::V4>();
        self.tend_family::<weir_path::flow::V6>();
        self.age_family::<weir_path::flow::V4>();
        self.age_family::<weir_path::flow::V6>();
    }

    fn tend_family<F: Held>(&self) {
        let table = F::table(self.model);
        let id = PortSetId(table.next_ports.get());
        table.next_ports.set(if id.0 + 1 < table.room.port_sets { id.0 + 1 } else { 0 });
        tend::<F, Self>(self, id, self.now());
    }

    fn age_family<F: Held>(&self) {
        let (now, times) = (self.now(), self.times(self.live()));
        let table = F::table(self.model);
        let used = table.used();
        let mut ended = 0;
        for _ in 0..LOOKED_AT_IN_A_STEP {
            let id = RecordId(table.next_to_age.get());
            let next = if id.0 + 1 < used { id.0 + 1 } else { 0 };
            table.next_to_age.set(next);
            ended += u32::from(age::<F, Self>(self, id, now, &times, false));
            if next == 0 || ended >= ENDED_IN_A_STEP {
                return;
            }
        }
    }

    pub(super) fn half(&self, half: Half) -> &'a Configuration {
        self.model.half(half)
    }
}

impl<W: Watch> Interfaces for View<'_, W> {
    fn arrival(&self, tag: VlanTag) -> Option<&Interface> {
        self.interface(*self.model.by_device.get(&(self.arrival, tag))?)
    }

    fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        if id.0 >= MAX_INTERFACES {
            return None;
        }
        Some(self.model.interfaces.get(&id).unwrap_or(&self.model.not_in_use))
    }

    fn next_hop(&self, id: NextHopId) -> NextHop {
        let station = || self.model.next_hops.borrow().get(&id).copied();
        self.watch.access(Op::NextHop, || station().map_or(NextHop::UNRESOLVED, NextHop::resolved))
    }

    fn learn(&self, id: NextHopId, station: Mac) {
        self.watch.access(Op::Learn, || {
            self.model.next_hops.borrow_mut().insert(id, station);
        });
    }

    fn may_answer(&self, here: &Interface) -> bool {
        let now = self.now();
        let bucket = Bucket { model: self.model, id: here.egress.id };
        self.watch.access(Op::Bucket, || rate::take(bucket, now, here.answers))
    }

    fn may_look_for(&self, out: &Interface, neighbour: &Vip) -> bool {
        let now = self.now();
        let lately = self.model.looked_for.borrow().get(neighbour).copied();
        if lately.is_some_and(|seen| now.since(seen) < NEIGHBOURS_REMEMBERED) {
            return true;
        }
        let is_allowed = self.may_answer(out);
        if is_allowed {
            self.model.looked_for.borrow_mut().insert(*neighbour, now);
        }
        is_allowed
    }

    fn send_by(&self, neighbour: Ip6) {
        self.neighbour.set(neighbour);
    }
}

impl<W: Watch> Listeners for View<'_, W> {
    fn live(&self) -> Half {
        self.watch.access(Op::Live, || Half::of_epoch(self.model.epoch))
    }

    fn hash_key(&self, half: Half) -> HashKey {
        self.half(half).hash_key
    }

    fn owner(&self, half: Half, vip: &Vip) -> Owner {
        self.half(half).owners.get(vip).copied().unwrap_or_default()
    }

    fn listener(&self, half: Half, listener: &Listener) -> Option<&Forward> {
        self.half(half).listeners.get(listener)
    }

    fn times(&self, half: Half) -> Times {
        self.watch.access(Op::Times, || self.half(half).times)
    }

    fn group(&self, half: Half, id: GroupId) -> Option<Group> {
        self.half(half).arena.groups.get(id.0 as usize).copied()
    }

    fn cell(&self, half: Half, index: u32) -> Option<u16> {
        self.half(half).arena.cells.get(index as usize).copied()
    }

    fn target(&self, half: Half, index: u32) -> Option<&Target> {
        self.half(half).arena.targets.get(index as usize)
    }
}

impl<W: Watch> Connectors for View<'_, W> {
    fn connector(&self, half: Half, id: ConnectorId) -> Option<&Connector> {
        let known = self.half(half).arena.connectors.iter().find(|(known, _)| *known == id);
        // An array has an element for every number.
        let connector = known.map_or(&self.half(half).no_connector, |(_, connector)| connector);
        (id.0 <= MAX_CONNECTORS).then_some(connector)
    }

    fn source(&self, half: Half, index: u32) -> Option<&Source> {
        self.half(half).arena.sources.get(index as usize)
    }

    fn route(&self, half: Half, zone: Zone, address: Ip6) -> Option<Ip6> {
        let bits = u128::from_be_bytes(address.0);
        let leads_there = |route: &Route| {
            let prefix = u128::from_be_bytes(route.destination.0);
            route.zone == zone && (prefix ^ bits).leading_zeros() >= u32::from(route.bits)
        };
        let routes = self.half(half).routes.iter().filter(|(route, _)| leads_there(route));
        routes.max_by_key(|(route, _)| route.bits).map(|(_, via)| *via)
    }
}

impl<W: Watch> Clock for View<'_, W> {
    fn now(&self) -> Now {
        self.watch.access(Op::Now, || self.model.now.get())
    }
}

impl<W: Watch> Counters for View<'_, W> {
    fn entered(&self, packets: u32) {
        self.watch.access(Op::Statistics, || {
            self.model.walks.borrow_mut().entry(self.walk).or_default().entered += u64::from(packets);
        });
    }

    fn left(&self, why: Reason, packets: u32) {
        self.last_reason.set(Some(why));
        self.watch.access(Op::Statistics, || {
            let mut walks = self.model.walks.borrow_mut();
            *walks.entry(self.walk).or_default().left.entry(why).or_default() += u64::from(packets);
        });
    }

    fn sent(&self, to: InterfaceId, packets: u32) {
        self.watch.access(Op::Statistics, || {
            *self.model.sent.borrow_mut().entry(to).or_default() += u64::from(packets);
        });
    }
}

impl<'a, F: Held, W: Watch> Flows<F> for View<'a, W> {
    type Entry = EntryAt<'a, F, W>;
    type Record = RecordAt<'a, F, W>;
    type Word = WordAt<'a, F, W>;
    type Ports = PortsAt<'a, F, W>;

    fn find(&self, key: &F::Key) -> Option<Self::Entry> {
        let (table, watch) = (F::table(self.model), self.watch);
        let at = watch.access(Op::Find, || table.lookup(key))?;
        Some(EntryAt { table, watch, at })
    }

    fn claim(&self, record: Self::Record, side: Side, hop: Hop) -> Claim {
        self.watch.access(Op::Claim, || F::table(self.model).claim(record.id, side, hop))
    }

    fn find_side(&self, record: Self::Record, side: Side) -> Option<Self::Entry> {
        let (table, watch) = (F::table(self.model), self.watch);
        let at = watch.access(Op::Find, || table.lookup(&table.key_of(record.id, side)))?;
        Some(EntryAt { table, watch, at })
    }

    fn remove(&self, record: Self::Record, side: Side) {
        let table: &FlowModel<F> = F::table(self.model);
        self.watch.access(Op::Remove, || table.remove(&table.key_of(record.id, side)));
    }

    fn record(&self, id: RecordId) -> Option<Self::Record> {
        let (table, watch) = (F::table(self.model), self.watch);
        (id.0 < table.room.records).then_some(RecordAt { table, watch, id })
    }

    fn room(&self) -> Room {
        F::table(self.model).room
    }

    fn own_pot(&self) -> u32 {
        self.cpu % F::table(self.model).room.pots
    }

    fn word(&self, which: RoomWord) -> Option<Self::Word> {
        let (table, watch) = (F::table(self.model), self.watch);
        let is_there = match which {
            RoomWord::Place(number) => number < table.room.pots * table.room.places_in_pot,
            RoomWord::Free(pot) | RoomWord::Turn(pot) => pot < table.room.pots,
            RoomWord::Fresh | RoomWord::Hand | RoomWord::FreshPorts | RoomWord::FreePorts => true,
        };
        is_there.then_some(WordAt { table, watch, which: Which::Room(which) })
    }

    fn datagram(&self, key: &F::Key) -> Option<F::Datagram> {
        let table: &FlowModel<F> = F::table(self.model);
        F::datagram(self.watch, || table.datagrams.borrow().get(key).copied())
    }

    fn note_datagram(&self, key: &F::Key, datagram: &F::Datagram) {
        let table: &FlowModel<F> = F::table(self.model);
        self.watch.access(Op::Datagram, || {
            table.datagrams.borrow_mut().insert(*key, *datagram);
        });
    }

    fn next_number(&self) -> u32 {
        self.watch.access(Op::Datagram, || {
            let count = self.model.datagrams.get();
            self.model.datagrams.set(count.wrapping_add(1));
            count
        })
    }

    fn ports_towards(&self, record: Self::Record) -> PortSetRef {
        let table: &FlowModel<F> = F::table(self.model);
        let key = table.key_of(record.id, Side::Reply);
        let read = || u64::from(table.port_sets.borrow().get(&key).copied().unwrap_or_default());
        PortSetRef::from(self.watch.access(Op::Ports, read))
    }

    fn enter_ports(&self, record: Self::Record, set: PortSetRef) -> bool {
        let table: &FlowModel<F> = F::table(self.model);
        let key = table.key_of(record.id, Side::Reply);
        self.watch.access(Op::Ports, || {
            let mut sets = table.port_sets.borrow_mut();
            let is_new = !sets.contains_key(&key);
            if is_new {
                sets.insert(key, set);
            }
            is_new
        })
    }

    fn remove_ports(&self, id: PortSetId) {
        let table: &FlowModel<F> = F::table(self.model);
        self.watch.access(Op::Ports, || table.port_sets.borrow_mut().retain(|_, set| set.id() != id));
    }

    fn ports(&self, id: PortSetId) -> Option<Self::Ports> {
        let (table, watch) = (F::table(self.model), self.watch);
        (id.0 < table.room.port_sets).then_some(PortsAt { table, watch, id })
    }

    fn refused(&self, record: Self::Record) {
        let table: &FlowModel<F> = F::table(self.model);
        let key = table.key_of(record.id, Side::Reply);
        self.watch.access(Op::Tell, || *table.refused.borrow_mut().entry(key).or_default() += 1);
    }

    fn ask(&self, note: impl FnOnce(&mut Asked<F::Key, F::Address>)) {
        let table: &FlowModel<F> = F::table(self.model);
        note(&mut table.asked.borrow_mut());
    }

    fn asked<R>(&self, see: impl FnOnce(&Asked<F::Key, F::Address>) -> R) -> Option<R> {
        let table: &FlowModel<F> = F::table(self.model);
        let asked = *table.asked.borrow();
        Some(see(&asked))
    }

    fn repeat(times: u32, mut body: impl FnMut() -> bool) {
        (0..times).any(|_| body());
    }

    fn made(&self) {
        self.watch.access(Op::Tell, || self.model.opened.set(self.model.opened.get() + 1));
    }

    fn tell(&self, _: Self::Record, why: End, _: Life) {
        self.watch.access(Op::Tell, || {
            *self.model.ended.borrow_mut().entry(why).or_default() += 1;
        });
    }
}
