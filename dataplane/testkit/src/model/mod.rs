//! The tables as plain maps: what the kernel's maps are measured against.
//!
//! The model keeps both halves of the configuration, so that a walk that mixed them up would show, and the
//! kernel's habit of giving an empty record for an interface number that is not in use.

mod bucket;
mod cells;
mod flows;
mod guards;
mod sets;
mod view;
pub mod watch;
mod words;

pub use flows::{FlowModel, Kept};
pub use guards::{GuardCell, GuardWord};
pub use view::View;
pub use watch::{Op, Quiet, Watch};
pub use words::{EntryAt, RecordAt, Which, WordAt};

use crate::executor::Walk;
use crate::world::{Blocked, Books, Change, FlowImage, Flows, Keyed, State, WalkCounters, World};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use weir_dataplane::image::{Arena, Image, MAX_IFINDEX, MAX_INTERFACES, Route};
use weir_path::addr::{IfIndex, InterfaceId, Ip6, Mac};
use weir_path::flow::end::End;
use weir_path::flow::{RecordId, V4, V6};
use weir_path::hash::HashKey;
use weir_path::packet::VlanTag;
use weir_path::tables::{
    Connector, Forward, Half, Interface, Listener, NextHopId, Owner, Rates, Tenant, TenantId, Vip,
};
use weir_path::time::{Now, Times};

/// All tables.
#[derive(Clone, Debug)]
pub struct Model {
    by_device: BTreeMap<(IfIndex, VlanTag), InterfaceId>,
    interfaces: BTreeMap<InterfaceId, Interface>,
    not_in_use: Interface,
    halves: [Configuration; 2],
    epoch: u64,
    now: Cell<Now>,
    v4: FlowModel<V4>,
    v6: FlowModel<V6>,
    next_hops: RefCell<BTreeMap<NextHopId, Mac>>,
    buckets: RefCell<BTreeMap<InterfaceId, u64>>,
    /// When the kernel was made to look for a neighbour.
    looked_for: RefCell<BTreeMap<Vip, Now>>,
    /// How many datagrams were given an identification.
    datagrams: Cell<u32>,
    opened: Cell<u64>,
    ended: RefCell<BTreeMap<End, u64>>,
    guards: RefCell<BTreeMap<GuardWord, u64>>,
    blocked: RefCell<Blocked>,
    rates: BTreeMap<InterfaceId, Rates>,
    no_rates: Rates,
    walks: RefCell<BTreeMap<Walk, WalkCounters>>,
    sent: RefCell<BTreeMap<InterfaceId, u64>>,
}

/// One half of the configuration tables.
#[derive(Clone, Debug, Default)]
struct Configuration {
    hash_key: HashKey,
    times: Times,
    owners: BTreeMap<Vip, Owner>,
    routes: BTreeMap<Route, Ip6>,
    listeners: BTreeMap<Listener, Forward>,
    arena: Arena,
    /// What an array has under a number that is no connector's.
    no_connector: Connector,
    tenants: BTreeMap<TenantId, Tenant>,
    /// The same of a number that is no tenant's.
    no_tenant: Tenant,
}

/// A family whose flows are in the model.
pub trait Held: Kept {
    /// Its tables.
    fn table(model: &Model) -> &FlowModel<Self>;
}

impl Held for V4 {
    fn table(model: &Model) -> &FlowModel<Self> {
        &model.v4
    }
}

impl Held for V6 {
    fn table(model: &Model) -> &FlowModel<Self> {
        &model.v6
    }
}

impl Default for Model {
    fn default() -> Self {
        Self::new(&crate::town::world())
    }
}

impl Model {
    /// The tables of `world`.
    #[must_use]
    pub fn new(world: &World) -> Self {
        let mut model = Self {
            by_device: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            not_in_use: Interface::default(),
            halves: Default::default(),
            epoch: 0,
            now: Cell::new(world.now),
            v4: FlowModel::new(world.sizes.v4, world.pots),
            v6: FlowModel::new(world.sizes.v6, world.pots),
            next_hops: RefCell::default(),
            buckets: RefCell::default(),
            looked_for: RefCell::default(),
            datagrams: Cell::new(0),
            opened: Cell::new(0),
            ended: RefCell::default(),
            guards: RefCell::default(),
            blocked: RefCell::default(),
            rates: world.rates.clone(),
            no_rates: Rates::default(),
            walks: RefCell::default(),
            sent: RefCell::default(),
        };
        world.interfaces.iter().for_each(|interface| model.bind(interface));
        model.next_hops.borrow_mut().extend(&world.next_hops);
        world.states().iter().for_each(|flow| model.v4.insert(flow));
        world.states().iter().for_each(|flow| model.v6.insert(flow));
        model.charge(&Books::of(&world.flows));
        model.apply(&world.image);
        model
    }

    /// Changes the tables in place.
    pub fn change(&mut self, change: &Change) {
        match change {
            Change::Apply(image) => self.apply(image),
            Change::Bind(interface) => self.bind(interface),
            Change::SetNow(now) => self.now.set(*now),
            Change::SetRates(slot, rates) => drop(self.rates.insert(*slot, *rates)),
            Change::EndV4(original) => drop(self.from_nowhere().end_flow::<V4>(original)),
            Change::EndV6(original) => drop(self.from_nowhere().end_flow::<V6>(original)),
            Change::AgeStep => self.from_nowhere().age_step(),
        }
    }

    /// Enters a flow under a record that was never taken, as if another CPU had opened it.
    pub fn put_flow<F: Held>(&self, flow: &FlowImage<F::Key>) {
        let table = F::table(self);
        table.insert(&flow.to_state(RecordId(table.used()), self.now()));
    }

    /// The tables as a packet sees them that comes in by `arrival`, on the first CPU.
    #[must_use]
    pub fn seen_from(&self, walk: Walk, arrival: IfIndex) -> View<'_> {
        View {
            model: self,
            watch: &Quiet,
            walk,
            arrival,
            cpu: 0,
            last_reason: Cell::new(None),
            neighbour: Cell::default(),
        }
    }

    /// The tables as a program sees them that runs without a packet.
    #[must_use]
    pub fn from_nowhere(&self) -> View<'_> {
        self.seen_from(Walk::FromSlot, IfIndex(0))
    }

    /// One flow.
    #[must_use]
    pub fn flow<F: Held>(&self, original: &F::Key) -> Option<FlowImage<F::Key>> {
        F::table(self).images().into_iter().find(|flow| flow.keys.first() == Some(original))
    }

    /// Which record has the flow, and in which of its lives.
    #[must_use]
    pub fn record_of<F: Held>(&self, original: &F::Key) -> Option<(RecordId, u16)> {
        F::table(self).record_of(original).map(|(id, life)| (id, life.incarnation()))
    }

    /// One family's flow tables.
    #[must_use]
    pub fn flows<F: Held>(&self) -> &FlowModel<F> {
        F::table(self)
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        self.now.get()
    }

    /// The interface that untagged packets come in by at this device.
    #[must_use]
    pub fn interface_at(&self, device: IfIndex) -> Option<&Interface> {
        self.interfaces.get(self.by_device.get(&(device, VlanTag::NONE))?)
    }

    /// Everything that can be read out.
    #[must_use]
    pub fn state(&self) -> State {
        let flows = Flows { v4: table(self.v4.images()), v6: table(self.v6.images()) };
        let resting: BTreeMap<_, _> = self.v4.rests().into_iter().chain(self.v6.rests()).collect();
        let known = sides(&flows.v4) + sides(&flows.v6) + resting.len();
        State {
            strays: (self.v4.entries() + self.v6.entries()).saturating_sub(known),
            refused: self.v4.refusals().into_iter().chain(self.v6.refusals()).collect(),
            resting,
            flows,
            opened: self.opened.get(),
            ended: self.ended.borrow().clone(),
            walks: self.walks.borrow().clone(),
            next_hops: self.next_hops.borrow().clone(),
            sent: self.sent.borrow().clone(),
            books: self.books(),
            blocked: self.blocked.borrow().clone(),
        }
    }

    /// Everything that a packet's way may depend on, for telling one state from another.
    ///
    /// # Errors
    /// What writing says.
    pub fn write_down(&self, to: &mut impl std::fmt::Write) -> std::fmt::Result {
        self.v4.write_down(to)?;
        self.v6.write_down(to)?;
        write!(to, "{:?} {:?} {:?} {:?}", self.next_hops, self.buckets, self.datagrams, self.guards)?;
        write!(to, "{} {:?} {:?} {:?} {:?}", self.epoch, self.now, self.opened, self.ended, self.walks)
    }

    fn apply(&mut self, image: &Image) {
        let next = self.epoch.wrapping_add(1);
        let arena = image.arena().expect("a configuration that fits the tables");
        let written = Configuration {
            hash_key: image.hash_key,
            times: image.times,
            owners: image.vips.iter().map(|vip| (*vip, Owner::VIP)).chain(image.enis.clone()).collect(),
            routes: image.routes.clone(),
            listeners: image.listeners.clone(),
            arena,
            no_connector: Connector::default(),
            tenants: image.tenants.clone(),
            no_tenant: Tenant::default(),
        };
        if let Some(idle) = self.halves.get_mut(Half::of_epoch(next).index() as usize) {
            *idle = written;
        }
        self.epoch = next;
    }

    fn bind(&mut self, interface: &Interface) {
        let egress = interface.egress;
        assert!(egress.id.0 < MAX_INTERFACES && egress.ifindex.0 < MAX_IFINDEX, "{egress:?} does not fit");
        // An ENI is a way out alone.
        if !interface.is_eni() {
            self.by_device.insert((egress.ifindex, interface.vlan), egress.id);
        }
        let before = self.interfaces.insert(egress.id, *interface).unwrap_or_default();
        let mut next_hops = self.next_hops.borrow_mut();
        if before.gateway != interface.gateway {
            next_hops.remove(&NextHopId::gateway(egress.id));
        }
        if before.gateway6 != interface.gateway6 {
            next_hops.remove(&NextHopId::gateway6(egress.id));
        }
    }

    fn half(&self, half: Half) -> &Configuration {
        let [even, odd] = &self.halves;
        if half.index() == 0 { even } else { odd }
    }
}

/// These flows, by the key of the original direction.
pub fn table<K: Keyed>(flows: Vec<FlowImage<K>>) -> std::collections::BTreeMap<K, FlowImage<K>> {
    let by_key = |flow: FlowImage<K>| {
        let [original, _] = flow.keys;
        (original, flow)
    };
    flows.into_iter().map(by_key).collect()
}

/// How many entries are these flows'.
#[must_use]
pub fn sides<K: Keyed>(flows: &BTreeMap<K, FlowImage<K>>) -> usize {
    flows.values().flat_map(|flow| flow.sides).flatten().count()
}
