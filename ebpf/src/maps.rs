//! The tables as BPF maps. Sizes that the configuration sets are overridden when the object is loaded.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_NOEXIST};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray};
use weir_path::Reason;
use weir_path::addr::{IfIndex, InterfaceId};
use weir_path::flow::{Flow, FlowKey};
use weir_path::hash::HashKey;
use weir_path::layout::{self, CellLine, Hook, ListenerKey, VipKey};
use weir_path::tables::{
    Claim, Counters, Flows, Group, GroupId, Half, Interface, Interfaces, Listener, Listeners, Target, Vip,
};

/// Which half of the configuration is live: the lowest bit. Mapped, so that user space flips it in one store.
#[map]
static EPOCH: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static HASH_KEYS: Array<HashKey> = Array::with_max_entries(2, 0);
#[map]
static VIPS: HashMap<VipKey, u32> = HashMap::with_max_entries(2 * layout::MAX_VIPS, 0);
#[map]
static LISTENERS: HashMap<ListenerKey, GroupId> = HashMap::with_max_entries(2 * layout::MAX_LISTENERS, 0);
#[map]
static GROUPS: Array<Group> = Array::with_max_entries(2 * layout::MAX_GROUPS, 0);
#[map]
static TARGETS: Array<Target> = Array::with_max_entries(2 * layout::MAX_TARGETS, 0);
#[map]
static CELLS: Array<CellLine> = Array::with_max_entries(2 * layout::MAX_CELLS / layout::CELLS_IN_LINE, 0);

/// From the kernel's index to Weir's number plus one.
#[map]
static IFINDEXES: Array<u32> = Array::with_max_entries(layout::MAX_IFINDEX, 0);
#[map]
static INTERFACES: Array<Interface> = Array::with_max_entries(layout::MAX_INTERFACES, 0);

/// Not an LRU: a flood of new flows must never push out an established one.
#[map]
static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(2 * layout::DEFAULT_FLOWS, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(layout::COUNTERS, 0);
#[map]
static SENT: PerCpuArray<u64> = PerCpuArray::with_max_entries(layout::MAX_INTERFACES, 0);

const EEXIST: i32 = 17;

/// The maps, as seen from one hook by a packet that came in by one device.
pub struct Maps {
    pub hook: Hook,
    pub arrived_at: IfIndex,
}

impl Interfaces for Maps {
    #[inline(always)]
    fn arrival(&self) -> Option<&Interface> {
        self.interface(layout::interface_stored(*IFINDEXES.get(self.arrived_at.0)?)?)
    }

    #[inline(always)]
    fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        INTERFACES.get(id.0)
    }
}

impl Listeners for Maps {
    #[inline(always)]
    fn live(&self) -> Half {
        // User space writes the word while programs run, so it must be read exactly once.
        // SAFETY: the pointer is a valid map value, aligned to eight bytes.
        let epoch = EPOCH.get_ptr(0).map_or(0, |word| unsafe { word.read_volatile() });
        Half::of_epoch(epoch)
    }

    #[inline(always)]
    fn hash_key(&self, half: Half) -> HashKey {
        HASH_KEYS.get(half.index()).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn is_vip(&self, half: Half, vip: &Vip) -> bool {
        VIPS.get_ptr(VipKey::new(half, *vip)).is_some()
    }

    #[inline(always)]
    fn listener(&self, half: Half, listener: &Listener) -> Option<GroupId> {
        let group = LISTENERS.get_ptr(ListenerKey::new(half, *listener))?;
        // SAFETY: a valid map value; nobody writes this half while programs read it.
        Some(unsafe { group.read() })
    }

    #[inline(always)]
    fn group(&self, half: Half, id: GroupId) -> Option<Group> {
        GROUPS.get(layout::group_index(half, id)).copied()
    }

    #[inline(always)]
    fn cell(&self, half: Half, index: u32) -> Option<u16> {
        let line = CELLS.get(layout::cell_line(half, index))?;
        line.get((index % layout::CELLS_IN_LINE) as usize).copied()
    }

    #[inline(always)]
    fn target(&self, half: Half, index: u32) -> Option<Target> {
        TARGETS.get(layout::target_index(half, index)).copied()
    }
}

impl Flows for Maps {
    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<Flow> {
        let flow = FLOWS.get_ptr(key)?;
        // SAFETY: a valid map value. An entry is only ever written before it can be found.
        Some(unsafe { flow.read() })
    }

    #[inline(always)]
    fn claim(&self, key: &FlowKey, flow: &Flow) -> Claim {
        match FLOWS.insert(key, flow, u64::from(BPF_NOEXIST)) {
            Ok(()) => Claim::Made,
            Err(error) if error == -EEXIST => Claim::Taken,
            Err(_) => Claim::NoRoom,
        }
    }

    #[inline(always)]
    fn release(&self, key: &FlowKey) {
        // It can only fail where the key is gone already, which is what was wanted.
        let _ = FLOWS.remove(key);
    }
}

impl Counters for Maps {
    #[inline(always)]
    fn entered(&self, packets: u32) {
        add(&COUNTERS, layout::entered_counter(self.hook), packets);
    }

    #[inline(always)]
    fn left(&self, why: Reason, packets: u32) {
        add(&COUNTERS, layout::reason_counter(self.hook, why), packets);
    }

    #[inline(always)]
    fn sent(&self, to: InterfaceId, packets: u32) {
        add(&SENT, to.0, packets);
    }
}

#[inline(always)]
fn add(counters: &PerCpuArray<u64>, index: u32, packets: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: a valid map value of this CPU, and programs do not interrupt each other on one CPU.
        unsafe { *counter += u64::from(packets) };
    }
}
