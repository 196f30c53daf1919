//! The tables as plain maps: what the kernel's maps are measured against.
//!
//! The model keeps both halves of the configuration, so that a walk that mixed them up would show, and the
//! kernel's habit of giving an empty record for an interface number that is not in use.

use crate::executor::Walk;
use crate::world::{Change, FlowTable, State, WalkCounters, World};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use weir_dataplane::image::{Arena, Image, MAX_IFINDEX, MAX_INTERFACES};
use weir_path::Reason;
use weir_path::addr::{IfIndex, InterfaceId};
use weir_path::flow::{Flow, FlowKey};
use weir_path::hash::HashKey;
use weir_path::tables::{
    Claim, Counters, Flows, Group, GroupId, Half, Interface, Interfaces, Listener, Listeners, Target, Vip,
};

/// All tables.
#[derive(Clone, Debug, Default)]
pub struct Model {
    by_ifindex: BTreeMap<IfIndex, InterfaceId>,
    interfaces: BTreeMap<InterfaceId, Interface>,
    not_in_use: Interface,
    halves: [Configuration; 2],
    epoch: u64,
    flows: RefCell<FlowTable>,
    max_entries: usize,
    walks: RefCell<BTreeMap<Walk, WalkCounters>>,
    sent: RefCell<BTreeMap<InterfaceId, u64>>,
}

/// One half of the configuration tables.
#[derive(Clone, Debug, Default)]
struct Configuration {
    hash_key: HashKey,
    vips: BTreeSet<Vip>,
    listeners: BTreeMap<Listener, GroupId>,
    arena: Arena,
}

impl Model {
    /// The tables of `world`.
    #[must_use]
    pub fn new(world: &World) -> Self {
        let mut model = Self {
            flows: RefCell::new(world.flows.clone()),
            max_entries: world.max_entries(),
            ..Self::default()
        };
        world.interfaces.iter().for_each(|interface| model.bind(interface));
        model.apply(&world.image);
        model
    }

    /// Changes the tables in place.
    pub fn change(&mut self, change: &Change) {
        match change {
            Change::Apply(image) => self.apply(image),
            Change::Bind(interface) => self.bind(interface),
            Change::Insert(key, flow) => drop(self.flows.get_mut().insert(*key, *flow)),
            Change::Remove(key) => drop(self.flows.get_mut().remove(key)),
        }
    }

    /// The tables as a packet sees them that comes in by `arrival`.
    #[must_use]
    pub fn seen_from(&self, walk: Walk, arrival: IfIndex) -> View<'_> {
        View { model: self, walk, arrival, last_reason: Cell::new(None) }
    }

    /// The same tables with an empty flow table and no counters.
    #[must_use]
    pub fn without_flows(&self) -> Self {
        Self {
            by_ifindex: self.by_ifindex.clone(),
            interfaces: self.interfaces.clone(),
            halves: self.halves.clone(),
            epoch: self.epoch,
            max_entries: self.max_entries,
            ..Self::default()
        }
    }

    /// One direction of a flow.
    #[must_use]
    pub fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.flows.borrow().get(key).copied()
    }

    /// How many more entries the flow table has room for.
    #[must_use]
    pub fn room(&self) -> usize {
        self.max_entries.saturating_sub(self.flows.borrow().len())
    }

    /// The interface that packets come in by at this device.
    #[must_use]
    pub fn interface_at(&self, device: IfIndex) -> Option<&Interface> {
        self.interfaces.get(self.by_ifindex.get(&device)?)
    }

    /// Everything that can be read out.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            flows: self.flows.borrow().clone(),
            walks: self.walks.borrow().clone(),
            sent: self.sent.borrow().clone(),
        }
    }

    fn apply(&mut self, image: &Image) {
        let next = self.epoch.wrapping_add(1);
        let arena = image.arena().expect("a configuration that fits the tables");
        let written = Configuration {
            hash_key: image.hash_key,
            vips: image.vips.clone(),
            listeners: image.listeners.clone(),
            arena,
        };
        if let Some(idle) = self.halves.get_mut(Half::of_epoch(next).index() as usize) {
            *idle = written;
        }
        self.epoch = next;
    }

    fn bind(&mut self, interface: &Interface) {
        let egress = interface.egress;
        assert!(egress.id.0 < MAX_INTERFACES && egress.ifindex.0 < MAX_IFINDEX, "{egress:?} does not fit");
        self.by_ifindex.insert(egress.ifindex, egress.id);
        self.interfaces.insert(egress.id, *interface);
    }

    fn half(&self, half: Half) -> &Configuration {
        let [even, odd] = &self.halves;
        if half.index() == 0 { even } else { odd }
    }
}

/// The tables as one packet sees them.
#[derive(Debug)]
pub struct View<'a> {
    model: &'a Model,
    walk: Walk,
    arrival: IfIndex,
    last_reason: Cell<Option<Reason>>,
}

impl View<'_> {
    /// Why the last packet left.
    #[must_use]
    pub fn last_reason(&self) -> Option<Reason> {
        self.last_reason.get()
    }

    /// Changes the flow table, as another CPU would.
    pub fn interfere(&self, change: &Change) {
        match change {
            Change::Insert(key, flow) => drop(self.model.flows.borrow_mut().insert(*key, *flow)),
            Change::Remove(key) => drop(self.model.flows.borrow_mut().remove(key)),
            Change::Apply(_) | Change::Bind(_) => {}
        }
    }
}

impl Interfaces for View<'_> {
    fn arrival(&self) -> Option<&Interface> {
        self.interface(*self.model.by_ifindex.get(&self.arrival)?)
    }

    fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        if id.0 >= MAX_INTERFACES {
            return None;
        }
        Some(self.model.interfaces.get(&id).unwrap_or(&self.model.not_in_use))
    }
}

impl Listeners for View<'_> {
    fn live(&self) -> Half {
        Half::of_epoch(self.model.epoch)
    }

    fn hash_key(&self, half: Half) -> HashKey {
        self.model.half(half).hash_key
    }

    fn is_vip(&self, half: Half, vip: &Vip) -> bool {
        self.model.half(half).vips.contains(vip)
    }

    fn listener(&self, half: Half, listener: &Listener) -> Option<GroupId> {
        self.model.half(half).listeners.get(listener).copied()
    }

    fn group(&self, half: Half, id: GroupId) -> Option<Group> {
        self.model.half(half).arena.groups.get(id.0 as usize).copied()
    }

    fn cell(&self, half: Half, index: u32) -> Option<u16> {
        self.model.half(half).arena.cells.get(index as usize).copied()
    }

    fn target(&self, half: Half, index: u32) -> Option<Target> {
        self.model.half(half).arena.targets.get(index as usize).copied()
    }
}

impl Flows for View<'_> {
    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        self.model.flow(key)
    }

    fn claim(&self, key: &FlowKey, flow: &Flow) -> Claim {
        let mut flows = self.model.flows.borrow_mut();
        if flows.contains_key(key) {
            return Claim::Taken;
        }
        if flows.len() >= self.model.max_entries {
            return Claim::NoRoom;
        }
        flows.insert(*key, *flow);
        Claim::Made
    }

    fn release(&self, key: &FlowKey) {
        self.model.flows.borrow_mut().remove(key);
    }
}

impl Counters for View<'_> {
    fn entered(&self, packets: u32) {
        self.model.walks.borrow_mut().entry(self.walk).or_default().entered += u64::from(packets);
    }

    fn left(&self, why: Reason, packets: u32) {
        let mut walks = self.model.walks.borrow_mut();
        *walks.entry(self.walk).or_default().left.entry(why).or_default() += u64::from(packets);
        self.last_reason.set(Some(why));
    }

    fn sent(&self, to: InterfaceId, packets: u32) {
        *self.model.sent.borrow_mut().entry(to).or_default() += u64::from(packets);
    }
}
