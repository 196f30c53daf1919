//! How the tables lie in the kernel's maps: what both sides of the boundary must agree on.
//!
//! Configuration tables have two halves. The path reads one, user space writes the other, and one word says
//! which is which. Hash tables carry the half in the key; array tables are cut in the middle.

mod guards;

pub use guards::{
    ACCOUNTS, AccountWords, BLOCKED, MeterWords, account_index, blocked_index, meter_word, rule_index,
    tenant_index,
};

use crate::addr::{IfIndex, InterfaceId};
use crate::addr::{Ip6, Zone};
use crate::flow::end::End;
use crate::flow::store::Room;
use crate::packet::VlanTag;
use crate::reason::Reason;
use crate::steps::Next;
use crate::tables::{ConnectorId, GroupId, Half, Listener, MAX_SECURITY_GROUPS, PortBlock, Vip};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Changes whenever a table's name, type or layout does. Part of the path that tables are pinned under.
pub const SCHEMA: u32 = 5;

/// Most addresses of Weir's in one configuration: VIPs, and those of ENIs.
pub const MAX_VIPS: u32 = 16_384;
/// Most listeners in one configuration.
pub const MAX_LISTENERS: u32 = 16_384;
/// Most target groups in one configuration.
pub const MAX_GROUPS: u32 = 4_096;
/// Most targets in one configuration, all groups together.
pub const MAX_TARGETS: u32 = 65_536;
/// Most Maglev cells in one configuration, all groups together: 8 MiB a half.
pub const MAX_CELLS: u32 = 4 << 20;
/// Most connectors in one configuration; their numbers lie between 1 and this.
pub const MAX_CONNECTORS: u32 = 4_095;
/// Most addresses that connectors' flows leave from in one configuration.
pub const MAX_SOURCES: u32 = 8_192;
/// Most addresses of one family that one connector's flows leave from.
pub const MAX_SOURCES_IN_CONNECTOR: u32 = 32;
/// Most tenants; their numbers lie between 1 and this.
pub const MAX_TENANTS: u32 = 4_095;
/// Most rules of one security group, each way.
pub const MAX_RULES_IN_GROUP: u32 = 60;
/// Most rules that are judged for one connector, each way.
pub const MAX_RULES_IN_CONNECTOR: u32 = MAX_RULES_IN_GROUP * MAX_SECURITY_GROUPS as u32;
/// Most rules in one configuration. Connectors whose security groups are the same share theirs.
pub const MAX_RULES: u32 = 65_536;
/// Most routes in one configuration, all VPCs together.
pub const MAX_ROUTES: u32 = 4_096;
/// One flow in so many can have a remote whose ports are kept in a set. A remote is given one when about a third of an
/// address's ports are in use towards it: of all ports that is five times as many flows. Where addresses may use few
/// ports, sets can run out; then ports are found at random.
pub const FLOWS_A_PORT_SET: u32 = 4_096;
/// Neighbours that are remembered as looked for.
pub const MAX_NEIGHBOURS: u32 = 4_096;
/// For how long, in eighths of a second: about as long as the kernel remembers one that answers.
pub const NEIGHBOURS_REMEMBERED: u32 = 30 * crate::time::Now::IN_A_SECOND;
/// Remotes of each family that refusals are counted for; the one that was refused least recently makes way.
pub const MAX_REFUSED: u32 = 1_024;
/// Most interfaces: uplinks, slots and ENIs together.
pub const MAX_INTERFACES: u32 = 8_192;
/// Kernel interface indices must lie below this: 8 MiB of table, so that the path needs no hash to know
/// where a packet came in.
pub const MAX_IFINDEX: u32 = 1 << 20;
/// Next hops: two an interface, for IPv4 and IPv6.
pub const MAX_NEXT_HOPS: u32 = 2 * MAX_INTERFACES;
/// Most uplinks that are told from others on their device by a VLAN tag.
pub const MAX_TAGGED: u32 = 4_096;
/// Fragmented datagrams of each family that are on their way at one moment. The least recently used one makes way.
pub const MAX_DATAGRAMS: u32 = 16_384;
/// IPv4 flows that fit where nothing else is said, both directions together.
pub const DEFAULT_FLOWS: u32 = 2 << 20;
/// IPv6 flows that fit where nothing else is said, both directions together.
pub const DEFAULT_FLOWS_V6: u32 = 1 << 19;
/// Where nothing else is said, one flow in so many may be half-open.
pub const HALF_OPEN_SHARE: u32 = 16;

/// Words of the table of words: which half of the configuration is live, by its lowest bit.
pub const EPOCH: u32 = 0;
/// The time, as a [`crate::time::Now`].
pub const CLOCK: u32 = 1;
/// Whether anybody wants to hear of flows that end.
pub const EVENTS_WANTED: u32 = 2;
/// How many numbers were given out that only have to differ: identifications of datagrams, beginnings of searches.
pub const NUMBERS: u32 = 3;
/// How many words there are.
pub const WORDS: u32 = 4;

/// Which ports of an address are in use towards one remote: a bit a port, a word a [`PortBlock`]; then a bit a block that
/// is full; then what the set is, and how many of its bits are set.
pub type PortSet = [u64; PORT_SET_WORDS as usize];
/// How many words a set of ports has.
pub const PORT_SET_WORDS: u32 = FULL_BLOCKS + 16 + 16;
/// Where the bits of full blocks begin.
pub const FULL_BLOCKS: u32 = PortBlock::COUNT as u32;
/// Where the word lies that says whose a set is: its incarnation, and in a free one the next one in the list.
pub const PORT_SET_LIFE: u32 = FULL_BLOCKS + 16;
/// Where the number of bits lies that are set.
pub const PORT_SET_USED: u32 = PORT_SET_LIFE + 1;
/// Where the time lies at which it was made, as a [`crate::time::Now`].
pub const PORT_SET_BORN: u32 = PORT_SET_LIFE + 2;
/// Where the word lies that says for which of an address's ports it was made.
pub const PORT_SET_RUN: u32 = PORT_SET_LIFE + 3;
/// Where the key of the remote begins.
pub const PORT_SET_KEY: u32 = PORT_SET_LIFE + 8;

/// A pot of the flow tables, alone in its cache line: the head of its list of free records, and the turn of
/// its ring of half-open places. In the last pot: how many records are fresh, and the hand.
pub type Pot = [u64; 8];
/// How many pots there are: one a CPU, or a few CPUs', and one that is everyone's.
pub const POTS: u32 = Room::MAX_POTS + 1;
/// The pot that is everyone's.
pub const SHARED_POT: u32 = Room::MAX_POTS;

/// Bytes in the ring of events: 32,768 events.
pub const EVENT_BYTES: u32 = 4 << 20;
/// Bytes in the ring of flows whose ends are to be told: 3,000 of them.
pub const SIGNAL_BYTES: u32 = 512 << 10;
/// Where the count of events that found no room lies, behind the counts of ends.
pub const EVENTS_LOST: u32 = End::COUNT;
/// Where the count of flows that were opened lies, behind that.
pub const FLOWS_OPENED: u32 = End::COUNT + 1;
/// Where the count of flows lies that were silent for too long and whose ends could not be told, behind that.
pub const SIGNALS_LOST: u32 = End::COUNT + 2;
/// How many counters of flows there are.
pub const ENDED: u32 = End::COUNT + 3;

/// How many records one step of ageing looks at.
pub const LOOKED_AT_IN_A_STEP: u32 = 4_096;
/// How many flows one step of ageing ends at most: a step stays below a tenth of a millisecond.
pub const ENDED_IN_A_STEP: u32 = 48;
/// Milliseconds between two steps of ageing.
pub const STEP_MS: u64 = 16;
/// Milliseconds between two steps while there is more to end than one step may.
pub const BUSY_STEP_MS: u64 = 2;
/// How many flows one order can name: each by the number of its record, and its incarnation 32 bits above.
pub const MAX_ORDERS: u32 = 4_096;
/// Set in an order because no rule allows the flow any more.
pub const ORDER_BLOCKED: u64 = 1 << 62;
/// Set in an order that is for an IPv6 flow.
pub const ORDER_V6: u64 = 1 << 63;

/// Cells in one cache line, the unit that the Maglev arena is read in.
pub const CELLS_IN_LINE: u32 = 32;
/// One line of the Maglev arena.
pub type CellLine = [u16; CELLS_IN_LINE as usize];

/// A VIP in one half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct VipKey {
    /// The VIP.
    pub vip: Vip,
    /// The half, 0 or 1.
    pub half: u32,
}

/// An uplink on a device that carries VLAN tags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TaggedKey {
    /// The device.
    pub ifindex: IfIndex,
    /// The number of its VLAN.
    tag: u32,
}

impl TaggedKey {
    /// Frames with `tag` on `ifindex`.
    #[must_use]
    #[inline(always)]
    pub const fn new(ifindex: IfIndex, tag: VlanTag) -> Self {
        Self { ifindex, tag: tag.0 as u32 }
    }

    /// The tag.
    #[must_use]
    pub const fn tag(self) -> VlanTag {
        VlanTag(self.tag as u16)
    }
}

/// A listener in one half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct ListenerKey {
    /// The listener.
    pub listener: Listener,
    /// The half, 0 or 1.
    pub half: u64,
}

impl VipKey {
    /// `vip` in `half`.
    #[must_use]
    #[inline(always)]
    pub const fn new(half: Half, vip: Vip) -> Self {
        Self { vip, half: half.index() }
    }
}

impl ListenerKey {
    /// `listener` in `half`.
    #[must_use]
    #[inline(always)]
    pub const fn new(half: Half, listener: Listener) -> Self {
        Self { listener, half: half.index() as u64 }
    }
}

/// The prefix of a route: what the kernel's table of longest prefixes compares, behind the number of its bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct RoutePrefix {
    /// The VPC and the half: all of it is compared.
    space: u32,
    /// The destination; IPv4 addresses are mapped.
    pub destination: Ip6,
}

impl RoutePrefix {
    /// How many bits stand before the destination's.
    pub const SPACE_BITS: u32 = 32;
    /// How many bits there are.
    pub const BITS: u32 = Self::SPACE_BITS + 128;

    /// The prefix of `destination` in this half.
    #[must_use]
    #[inline(always)]
    pub const fn new(half: Half, zone: Zone, destination: Ip6) -> Self {
        Self { space: half.index() << 31 | zone.number(), destination }
    }

    /// Whether it lies in this half.
    #[must_use]
    pub const fn is_in(&self, half: Half) -> bool {
        self.space >> 31 == half.index()
    }
}

/// Where a connector lies in the table of connectors.
#[must_use]
#[inline(always)]
pub const fn connector_index(half: Half, id: ConnectorId) -> u32 {
    half.index() * (MAX_CONNECTORS + 1) + id.0
}

/// Where a line lies in the table of sources.
#[must_use]
#[inline(always)]
pub const fn source_index(half: Half, index: u32) -> u32 {
    half.index() * MAX_SOURCES + index
}

/// Where a group lies in the table of groups.
#[must_use]
#[inline(always)]
pub const fn group_index(half: Half, id: GroupId) -> u32 {
    half.index() * MAX_GROUPS + id.0
}

/// Where a target lies in the table of targets.
#[must_use]
#[inline(always)]
pub const fn target_index(half: Half, index: u32) -> u32 {
    half.index() * MAX_TARGETS + index
}

/// Which line of the arena a cell lies in.
#[must_use]
#[inline(always)]
pub const fn cell_line(half: Half, cell: u32) -> u32 {
    half.index() * (MAX_CELLS / CELLS_IN_LINE) + cell / CELLS_IN_LINE
}

/// Where, behind the steps, the arrays of programs hold the first step for frames with a VLAN tag in their bytes. XDP
/// alone has them: so that frames without one need not reckon with it.
pub const TAGGED_STEP: u32 = Next::COUNT;
/// How many programs the arrays hold.
pub const STEPS: u32 = Next::COUNT + 1;

/// Where the path is hooked in. Each hook counts for itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum Hook {
    /// XDP on an uplink.
    UplinkXdp,
    /// TC ingress on an uplink.
    UplinkTc,
    /// TC ingress on a slot.
    SlotTc,
}

impl Hook {
    /// Every hook, in the order of its number.
    pub const ALL: [Self; 3] = [Self::UplinkXdp, Self::UplinkTc, Self::SlotTc];

    /// The name in counters and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UplinkXdp => "uplink_xdp",
            Self::UplinkTc => "uplink_tc",
            Self::SlotTc => "slot_tc",
        }
    }
}

/// One number for "entered", then one a reason.
const COUNTERS_A_HOOK: u32 = 1 + Reason::COUNT;

/// How many counters there are.
pub const COUNTERS: u32 = Hook::ALL.len() as u32 * COUNTERS_A_HOOK;

/// The counter of packets that came in at `hook`.
#[must_use]
#[inline(always)]
pub const fn entered_counter(hook: Hook) -> u32 {
    hook as u32 * COUNTERS_A_HOOK
}

/// The counter of packets that left `hook` for this reason.
#[must_use]
#[inline(always)]
pub const fn reason_counter(hook: Hook, why: Reason) -> u32 {
    entered_counter(hook) + 1 + why as u32
}

/// How the table from kernel index to interface says "none": it holds the number plus one.
#[must_use]
#[inline(always)]
pub const fn stored_interface(id: InterfaceId) -> u32 {
    id.0.wrapping_add(1)
}

/// The interface behind what [`stored_interface`] made; `None` for an empty place.
#[must_use]
#[inline(always)]
pub const fn interface_stored(word: u32) -> Option<InterfaceId> {
    if word == 0 { None } else { Some(InterfaceId(word - 1)) }
}

const _: () = {
    assert!(size_of::<VipKey>() == 24 && align_of::<VipKey>() == 8);
    assert!(size_of::<ListenerKey>() == 32 && align_of::<ListenerKey>() == 8);
    assert!(size_of::<CellLine>() == 64);
    assert!(size_of::<RoutePrefix>() == 20 && align_of::<RoutePrefix>() == 4);
    assert!(MAX_CELLS.is_multiple_of(CELLS_IN_LINE));
};

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_two_halves_of_a_table_never_meet() {
        let [even, odd] = [Half::of_epoch(0), Half::of_epoch(1)];
        let ends = |half| {
            [
                [group_index(half, GroupId(0)), group_index(half, GroupId(MAX_GROUPS - 1))],
                [target_index(half, 0), target_index(half, MAX_TARGETS - 1)],
                [cell_line(half, 0), cell_line(half, MAX_CELLS - 1)],
            ]
        };
        let lines = MAX_CELLS / CELLS_IN_LINE;
        assert_eq!(ends(even), [[0, MAX_GROUPS - 1], [0, MAX_TARGETS - 1], [0, lines - 1]]);
        assert_eq!(
            ends(odd),
            [[MAX_GROUPS, 2 * MAX_GROUPS - 1], [MAX_TARGETS, 2 * MAX_TARGETS - 1], [lines, 2 * lines - 1]]
        );
        assert_eq!((cell_line(even, CELLS_IN_LINE - 1), cell_line(even, CELLS_IN_LINE)), (0, 1));
        let vip = Vip::default();
        assert_ne!(VipKey::new(even, vip), VipKey::new(odd, vip));
        assert_ne!(ListenerKey::new(even, Listener::default()), ListenerKey::new(odd, Listener::default()));
    }

    #[test]
    fn every_hook_and_reason_has_a_counter_of_its_own() {
        let entered = Hook::ALL.map(entered_counter);
        let left = Hook::ALL
            .into_iter()
            .flat_map(|hook| Reason::ALL.iter().map(move |why| reason_counter(hook, *why)));
        let all: BTreeSet<_> = entered.into_iter().chain(left).collect();
        assert_eq!(all, (0..COUNTERS).collect());
        assert_eq!(Hook::ALL.map(Hook::name), ["uplink_xdp", "uplink_tc", "slot_tc"]);
    }

    #[test]
    fn an_empty_place_is_no_interface() {
        assert_eq!(interface_stored(0), None);
        for id in [0, 1, MAX_INTERFACES] {
            assert_eq!(interface_stored(stored_interface(InterfaceId(id))), Some(InterfaceId(id)));
        }
    }
}
