//! The tables as BPF maps. Sizes that the configuration sets are overridden when the object is loaded.

use crate::words::Shared;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::{Key as LpmKey, LpmTrie};
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use weir_path::Reason;
use weir_path::addr::{IfIndex, InterfaceId, Ip6, Mac, Zone};
use weir_path::hash::HashKey;
use weir_path::layout::{self, CellLine, Hook, ListenerKey, RoutePrefix, TaggedKey, VipKey};
use weir_path::packet::VlanTag;
use weir_path::rate;
use weir_path::tables::{
    Clock, Connector, ConnectorId, Connectors, Counters, Forward, Group, GroupId, Half, Interface,
    Interfaces, Listener, Listeners, NextHop, NextHopId, Owner, Source, Target, Vip,
};
use weir_path::time::{Now, Times};

/// The epoch, the clock, and a switch. Mapped, so that user space reads and flips them in one step.
#[map]
pub static WORDS: Array<u64> = Array::with_max_entries(layout::WORDS, BPF_F_MMAPABLE);
#[map]
static TIMES: Array<Times> = Array::with_max_entries(2, 0);
#[map]
static HASH_KEYS: Array<HashKey> = Array::with_max_entries(2, 0);
#[map]
static VIPS: HashMap<VipKey, Owner> = HashMap::with_max_entries(2 * layout::MAX_VIPS, 0);
#[map]
static LISTENERS: HashMap<ListenerKey, Forward> = HashMap::with_max_entries(2 * layout::MAX_LISTENERS, 0);
#[map]
static GROUPS: Array<Group> = Array::with_max_entries(2 * layout::MAX_GROUPS, 0);
#[map]
static TARGETS: Array<Target> = Array::with_max_entries(2 * layout::MAX_TARGETS, 0);
#[map]
static CELLS: Array<CellLine> = Array::with_max_entries(2 * layout::MAX_CELLS / layout::CELLS_IN_LINE, 0);
#[map]
static CONNECTORS: Array<Connector> = Array::with_max_entries(2 * (layout::MAX_CONNECTORS + 1), 0);
#[map]
static SOURCES: Array<Source> = Array::with_max_entries(2 * layout::MAX_SOURCES, 0);
#[map]
static ROUTES: LpmTrie<RoutePrefix, Ip6> = LpmTrie::with_max_entries(2 * layout::MAX_ROUTES, 0);

/// From the kernel's index to Weir's number plus one.
#[map]
static IFINDEXES: Array<u32> = Array::with_max_entries(layout::MAX_IFINDEX, 0);
#[map]
static INTERFACES: Array<Interface> = Array::with_max_entries(layout::MAX_INTERFACES, 0);
/// The same as `IFINDEXES`, for frames with a tag.
#[map]
static TAGGED: HashMap<TaggedKey, u32> = HashMap::with_max_entries(layout::MAX_TAGGED, 0);
#[map]
static NEXT_HOPS: Array<NextHop> = Array::with_max_entries(layout::MAX_NEXT_HOPS, 0);
/// How many answers each interface has left; see `weir_path::rate`.
#[map]
static BUCKETS: Array<u64> = Array::with_max_entries(layout::MAX_INTERFACES, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(layout::COUNTERS, 0);
/// Flows that ended, by why; then events lost, and flows opened.
#[map]
pub static ENDED: PerCpuArray<u64> = PerCpuArray::with_max_entries(layout::ENDED, 0);
#[map]
static SENT: PerCpuArray<u64> = PerCpuArray::with_max_entries(layout::MAX_INTERFACES, 0);

/// When the kernel was made to look for a neighbour. An LRU: what is pushed out is looked for anew.
#[map]
static LOOKED_FOR: LruHashMap<Vip, Now> = LruHashMap::with_max_entries(layout::MAX_NEIGHBOURS, 0);
/// The neighbour that this CPU's packet is sent to; see [`Interfaces::send_by`].
#[map]
static NEIGHBOUR: PerCpuArray<Ip6> = PerCpuArray::with_max_entries(1, 0);

/// The neighbour that this CPU's packet is sent to.
#[inline(always)]
pub fn neighbour() -> Ip6 {
    NEIGHBOUR.get(0).copied().unwrap_or_default()
}

/// Lies on the stack where the verifier wants words.
#[repr(C, align(8))]
struct Aligned<T>(T);

/// The maps, as seen from one hook by a packet that came in by one device.
pub struct Maps {
    pub hook: Hook,
    pub arrived_at: IfIndex,
}

impl Interfaces for Maps {
    #[inline(always)]
    fn arrival(&self, tag: VlanTag) -> Option<&Interface> {
        let stored = match tag {
            VlanTag::NONE => IFINDEXES.get(self.arrived_at.0).copied(),
            tag => TAGGED.get_ptr(TaggedKey::new(self.arrived_at, tag)).map(|stored| {
                // SAFETY: an aligned word of a map value.
                unsafe { stored.read_volatile() }
            }),
        };
        self.interface(layout::interface_stored(stored?)?)
    }

    #[inline(always)]
    fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        INTERFACES.get(id.0)
    }

    #[inline(always)]
    fn next_hop(&self, id: NextHopId) -> NextHop {
        // SAFETY: an aligned word of a map value, which is written whole.
        NEXT_HOPS.get_ptr(id.0).map_or(NextHop::UNRESOLVED, |hop| unsafe { hop.read_volatile() })
    }

    #[inline(always)]
    fn learn(&self, id: NextHopId, station: Mac) {
        if let Some(hop) = NEXT_HOPS.get_ptr_mut(id.0) {
            // SAFETY: as above.
            unsafe { hop.write_volatile(NextHop::resolved(station)) };
        }
    }

    #[inline(always)]
    fn may_answer(&self, here: &Interface) -> bool {
        let Some(bucket) = BUCKETS.get_ptr_mut(here.egress.id.0) else { return false };
        // SAFETY: an aligned word of a map value.
        rate::take(unsafe { Shared::at(bucket) }, self.now(), here.answers)
    }

    #[inline(always)]
    fn may_look_for(&self, out: &Interface, neighbour: &Vip) -> bool {
        let now = self.now();
        // SAFETY: an aligned word of a map value. Should it be another neighbour's by now, one more is looked for.
        let lately = LOOKED_FOR.get_ptr(neighbour).map(|seen| unsafe { seen.read_volatile() });
        if lately.is_some_and(|seen| now.since(seen) < layout::NEIGHBOURS_REMEMBERED) {
            return true;
        }
        let is_allowed = self.may_answer(out);
        if is_allowed {
            // Where it fails, the next packet asks again.
            let _ = LOOKED_FOR.insert(neighbour, now, 0);
        }
        is_allowed
    }

    #[inline(always)]
    fn send_by(&self, neighbour: Ip6) {
        if let Some(place) = NEIGHBOUR.get_ptr_mut(0) {
            // SAFETY: a valid map value of this CPU.
            unsafe { place.write(neighbour) };
        }
    }
}

impl Connectors for Maps {
    #[inline(always)]
    fn connector(&self, half: Half, id: ConnectorId) -> Option<&Connector> {
        CONNECTORS.get(layout::connector_index(half, id))
    }

    #[inline(always)]
    fn source(&self, half: Half, index: u32) -> Option<&Source> {
        SOURCES.get(layout::source_index(half, index))
    }

    #[inline(always)]
    fn route(&self, half: Half, zone: Zone, address: Ip6) -> Option<Ip6> {
        let key = Aligned(LpmKey::new(RoutePrefix::BITS, RoutePrefix::new(half, zone, address)));
        ROUTES.get(&key.0).copied()
    }
}

impl Listeners for Maps {
    #[inline(always)]
    fn live(&self) -> Half {
        // User space writes the word while programs run, so it must be read exactly once.
        // SAFETY: the pointer is a valid map value, aligned to eight bytes.
        let epoch = WORDS.get_ptr(layout::EPOCH).map_or(0, |word| unsafe { word.read_volatile() });
        Half::of_epoch(epoch)
    }

    #[inline(always)]
    fn hash_key(&self, half: Half) -> HashKey {
        HASH_KEYS.get(half.index()).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn owner(&self, half: Half, vip: &Vip) -> Owner {
        // SAFETY: an aligned word of a map value; nobody writes this half while programs read it.
        VIPS.get_ptr(VipKey::new(half, *vip)).map_or(Owner::NONE, |owner| unsafe { *owner })
    }

    #[inline(always)]
    fn listener(&self, half: Half, listener: &Listener) -> Option<&Forward> {
        let forward = LISTENERS.get_ptr(ListenerKey::new(half, *listener))?;
        // SAFETY: a valid map value; nobody writes this half while programs read it.
        Some(unsafe { &*forward })
    }

    #[inline(always)]
    fn times(&self, half: Half) -> Times {
        TIMES.get(half.index()).copied().unwrap_or(Times::DEFAULT)
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
    fn target(&self, half: Half, index: u32) -> Option<&Target> {
        TARGETS.get(layout::target_index(half, index))
    }
}

impl Clock for Maps {
    #[inline(always)]
    fn now(&self) -> Now {
        // SAFETY: an aligned word of a map value, which the ageing timer writes.
        Now(WORDS.get_ptr(layout::CLOCK).map_or(0, |word| unsafe { word.read_volatile() }) as u32)
    }
}

impl Counters for Maps {
    #[inline(always)]
    fn entered(&self, packets: u32) {
        add_per_cpu(&COUNTERS, layout::entered_counter(self.hook), packets);
    }

    #[inline(always)]
    fn left(&self, why: Reason, packets: u32) {
        add_per_cpu(&COUNTERS, layout::reason_counter(self.hook, why), packets);
    }

    #[inline(always)]
    fn sent(&self, to: InterfaceId, packets: u32) {
        add_per_cpu(&SENT, to.0, packets);
    }
}

#[inline(always)]
pub fn add_per_cpu(counters: &PerCpuArray<u64>, index: u32, packets: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        // SAFETY: a valid map value of this CPU, and programs do not interrupt each other on one CPU.
        unsafe { *counter += u64::from(packets) };
    }
}
