//! What the path needs to know, by chapter: interfaces, listeners, connectors, the time, counters. The flows' chapter is
//! [`crate::flow::store`], once for each family.
//!
//! Implementors: the BPF maps (in `ebpf/`), and a model of plain maps for tests. Records cross the kernel
//! boundary as they are, so they hold no enum, bool or Option and have no padding.

use crate::addr::{IfIndex, InterfaceId, Ip4, Ip6, L4Port, Mac, Zone};
use crate::hash::{HashKey, scale};
use crate::packet::VlanTag;
use crate::reason::Reason;
use crate::time::{Now, Seconds, Times};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Everything together, but for the flows.
pub trait Tables: Interfaces + Listeners + Connectors + Clock + Counters {}
impl<T: Interfaces + Listeners + Connectors + Clock + Counters> Tables for T {}

// ---- interfaces ----

/// How a packet is handed to a device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Delivery(pub u32);

impl Delivery {
    /// Transmitted by the device: an uplink, or a TAP.
    pub const TRANSMIT: Self = Self(0);
    /// Received by the veth peer in the sandbox's namespace, past the device itself.
    pub const VETH_PEER: Self = Self(1);
    /// Transmitted by the device, to the neighbour that [`Interfaces::send_by`] named: the kernel finds its station,
    /// asks for it where it has to, and keeps the packet meanwhile. Only on the way of one packet.
    pub const NEIGHBOUR: Self = Self(2);
}

/// A way out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Egress {
    /// The device.
    pub ifindex: IfIndex,
    /// Whose counters a packet sent there moves.
    pub id: InterfaceId,
    /// How the device is given the packet.
    pub delivery: Delivery,
}

/// An uplink, a slot, or an ENI. What known packets need comes first, in one cache line.
///
/// An ENI is a way out of an uplink's device under addresses, and perhaps a MAC, of its own. Packets that come in find
/// the uplink, never the ENI.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Interface {
    /// The way out through this interface.
    pub egress: Egress,
    /// The MAC Weir has here: the uplink's own, the ENI's, or the one that a slot's gateway answers with.
    pub mac: Mac,
    /// A slot's sandbox's MAC; zero on an uplink.
    pub peer_mac: Mac,
    /// The address space on this interface: the uplink's or the ENI's VPC, or the slot's binding.
    pub zone: Zone,
    /// The longest IP packet that may leave here, in bytes.
    pub mtu: u32,
    /// The tag of the frames that belong to this uplink; [`VlanTag::NONE`] for untagged ones, and on a slot.
    pub vlan: VlanTag,
    /// On an uplink: how many bits of [`Self::local`] its neighbours share; 0 where that isn't known.
    pub on_link: u8,
    /// The same for [`Self::local6`].
    pub on_link6: u8,
    /// How many answers a second the path makes to what comes in here, but for ARP and Neighbour Discovery.
    pub answers: u32,
    /// A slot's sandbox's address; zero on an uplink.
    pub address: Ip4,
    /// Weir's own address here: the gateway that a slot's sandbox knows; on an uplink the one that Weir asks its
    /// neighbours and reports errors with, zero where it has none; an ENI's first address.
    pub local: Ip4,
    /// An uplink's or an ENI's gateway, for those who are not on the link; zero where there is none, and on a slot.
    pub gateway: Ip4,
    /// The connector by which a slot's sandbox opens connections, or whose ENI this is; else [`ConnectorId::NONE`].
    pub connector: ConnectorId,
    /// As [`Self::address`].
    pub address6: Ip6,
    /// As [`Self::local`].
    pub local6: Ip6,
    /// As [`Self::gateway`].
    pub gateway6: Ip6,
}

impl Interface {
    /// Whether this record is an interface's. No device has the index zero.
    #[must_use]
    #[inline(always)]
    pub const fn is_in_use(&self) -> bool {
        self.egress.ifindex.0 != 0
    }

    /// Whether this is a slot (else an uplink or an ENI).
    #[must_use]
    #[inline(always)]
    pub const fn is_slot(&self) -> bool {
        self.zone.is_binding()
    }

    /// Whether this is an ENI.
    #[must_use]
    #[inline(always)]
    pub const fn is_eni(&self) -> bool {
        !self.is_slot() && self.connector.0 != ConnectorId::NONE.0
    }
}

/// Chapter one: the interfaces.
pub trait Interfaces {
    /// The interface that the packet came in by, by its device and the tag that the frame has.
    fn arrival(&self, tag: VlanTag) -> Option<&Interface>;

    /// The interface with this number.
    fn interface(&self, id: InterfaceId) -> Option<&Interface>;

    /// Which station a next hop is.
    fn next_hop(&self, id: NextHopId) -> NextHop;

    /// Says which station a next hop is.
    fn learn(&self, id: NextHopId, station: Mac);

    /// Takes one answer from what may be said by this interface; `false` where its rate is used up.
    fn may_answer(&self, here: &Interface) -> bool;

    /// Names the neighbour that this packet is sent to; an IPv4 address is mapped. See [`Delivery::NEIGHBOUR`].
    fn send_by(&self, neighbour: Ip6);
}

/// The number of a next hop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct NextHopId(pub u32);

impl NextHopId {
    /// The IPv4 gateway of an uplink or an ENI.
    #[must_use]
    #[inline(always)]
    pub const fn gateway(uplink: InterfaceId) -> Self {
        Self(2 * uplink.0)
    }

    /// The IPv6 gateway of an uplink or an ENI.
    #[must_use]
    #[inline(always)]
    pub const fn gateway6(uplink: InterfaceId) -> Self {
        Self(2 * uplink.0 + 1)
    }
}

/// Which station a next hop is. Programs learn it from ARP, Neighbour Discovery and packets; user space asks.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct NextHop(u64);

impl NextHop {
    /// Nobody yet.
    pub const UNRESOLVED: Self = Self(0);

    /// This station.
    #[must_use]
    #[inline(always)]
    pub const fn resolved(station: Mac) -> Self {
        let [a, b, c, d, e, f] = station.0;
        Self(u64::from_ne_bytes([a, b, c, d, e, f, 1, 0]))
    }

    /// Whether the station is known.
    #[must_use]
    #[inline(always)]
    pub fn is_resolved(self) -> bool {
        self != Self::UNRESOLVED
    }

    /// The station, if it is known.
    #[must_use]
    #[inline(always)]
    pub const fn station(self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.0.to_ne_bytes();
        Mac([a, b, c, d, e, f])
    }
}

// ---- listeners ----

/// One of the two halves of the configuration tables. The other one is idle, or being written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Half(u32);

impl Half {
    /// The half that is live at this epoch.
    #[must_use]
    #[inline(always)]
    pub const fn of_epoch(epoch: u64) -> Self {
        Self((epoch & 1) as u32)
    }

    /// 0 or 1.
    #[must_use]
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The half that is idle while this one is live.
    #[must_use]
    pub const fn other(self) -> Self {
        Self(self.0 ^ 1)
    }
}

/// An address of Weir's in a VPC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Vip {
    /// The address; an IPv4 address is mapped ([`crate::addr::Address::mapped`]).
    pub address: Ip6,
    /// The VPC it is an address in.
    pub zone: Zone,
}

/// Whose an address is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct Owner(u32);

impl Owner {
    /// Not Weir's.
    pub const NONE: Self = Self(0);
    /// A virtual address: ARP, Neighbour Discovery and echo are answered for it, and listeners may hear there.
    pub const VIP: Self = Self(1);
    /// The host's own address, used as an ENI's: what is of no flow is the kernel's.
    pub const HOST: Self = Self(2);
    const ENI_BIT: u32 = 1 << 31;

    /// An ENI, by the number of its interface: ARP and Neighbour Discovery are answered for it, and what is of no flow
    /// is dropped.
    #[must_use]
    #[inline(always)]
    pub const fn eni(id: InterfaceId) -> Self {
        Self(Self::ENI_BIT | id.0)
    }

    /// The ENI, if it is one's.
    #[must_use]
    #[inline(always)]
    pub const fn as_eni(self) -> Option<InterfaceId> {
        if self.0 & Self::ENI_BIT == 0 { None } else { Some(InterfaceId(self.0 & !Self::ENI_BIT)) }
    }
}

/// What a listener listens on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Listener {
    /// The address and its VPC.
    pub vip: Vip,
    /// The port; [`Self::ANY_PORT`] for all that no other listener of the address and protocol has.
    pub port: L4Port,
    /// The IP protocol number (RFC 790): TCP or UDP; or [`Self::FRAGMENTS`].
    pub protocol: u8,
    /// Always zero.
    pub zero: u8,
}

impl Listener {
    /// Hears every port.
    pub const ANY_PORT: L4Port = L4Port([0; 2]);
    /// Hears UDP fragments that show no port: the protocol number of IPv6's fragment header, with any port. Only
    /// where all of an address's UDP listeners do the same with new flows.
    pub const FRAGMENTS: u8 = crate::wire::protocol::FRAGMENT;
}

/// The number of a target group within one half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct GroupId(pub u32);

/// The most target groups that one listener forwards to.
pub const MAX_SHARES: usize = 5;

/// One target group's share of a listener's new flows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Share {
    /// The group.
    pub group: GroupId,
    /// Its weight and those of all groups before it.
    pub up_to: u32,
}

/// What a listener does with a new flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Forward {
    /// The groups that flows go to. Those that are not used repeat the last one.
    pub shares: [Share; MAX_SHARES],
    /// How long a flow may be silent once it is established.
    pub idle: Seconds,
    /// 1 where all of a client's flows go to one target, whatever their ports (source-IP stickiness); else 0.
    pub is_sticky: u8,
    /// Always zero.
    pub zero: u8,
}

impl Forward {
    /// All to one group.
    #[must_use]
    pub const fn to(group: GroupId, idle: Seconds) -> Self {
        Self { shares: [Share { group, up_to: 1 }; MAX_SHARES], idle, is_sticky: 0, zero: 0 }
    }

    /// The group that these 32 bits of hash choose; `None` where all weights are zero.
    #[must_use]
    #[inline(always)]
    pub fn choose(&self, hash: u32) -> Option<GroupId> {
        let [a, b, c, d, last] = self.shares;
        let point = scale(hash, last.up_to);
        for share in [a, b, c, d] {
            if point < share.up_to {
                return Some(share.group);
            }
        }
        (point < last.up_to).then_some(last.group)
    }
}

/// A target group: where its Maglev table and its targets lie in this half.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Group {
    /// Its first Maglev cell.
    pub first_cell: u32,
    /// How many cells it has; 0 where it has no targets.
    pub cells: u32,
    /// Its first target.
    pub first_target: u32,
    /// How many targets it has.
    pub targets: u32,
}

/// A place that serves: a port in a slot's sandbox.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Target {
    /// The slot.
    pub slot: InterfaceId,
    /// The port it serves on; zero for the one that the client asked for.
    pub port: L4Port,
    /// Always zero.
    pub zero: [u8; 2],
}

/// Chapter two: the configuration. Everything that is read for one packet is read from one half.
pub trait Listeners {
    /// The half that is live now. Read once a packet.
    fn live(&self) -> Half;

    /// The secret of the hash that places flows.
    fn hash_key(&self, half: Half) -> HashKey;

    /// Whose an address is.
    fn owner(&self, half: Half, vip: &Vip) -> Owner;

    /// What a listener does with new flows.
    fn listener(&self, half: Half, listener: &Listener) -> Option<&Forward>;

    /// How long flows may be silent, where their listener does not say it.
    fn times(&self, half: Half) -> Times;

    /// A target group.
    fn group(&self, half: Half, id: GroupId) -> Option<Group>;

    /// One cell of the Maglev tables: which of its group's targets it belongs to.
    fn cell(&self, half: Half, index: u32) -> Option<u16>;

    /// One target.
    fn target(&self, half: Half, index: u32) -> Option<Target>;
}

// ---- connectors ----

/// The number of a connector; 0 is nobody's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct ConnectorId(pub u32);

impl ConnectorId {
    /// No connector: nothing opens connections outwards.
    pub const NONE: Self = Self(0);
}

/// The addresses of one family that a connector's new flows are spread over: a piece of the table of sources.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sources {
    /// Where they begin.
    pub first: u32,
    /// How many there are, at most [`crate::layout::MAX_SOURCES_IN_CONNECTOR`].
    pub count: u32,
}

/// How the sandboxes of many slots reach a VPC: by the addresses of a few ENIs, which they share.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Connector {
    /// The VPC that they reach.
    pub zone: Zone,
    /// The IPv4 addresses.
    pub v4: Sources,
    /// The IPv6 addresses.
    pub v6: Sources,
    /// How long TCP may be silent once it is established.
    pub tcp_idle: Seconds,
    /// How long UDP may be silent once it was answered.
    pub udp_idle: Seconds,
    /// How long a port rests towards a remote after a flow that did not end cleanly.
    pub rest: Seconds,
    /// 1 where all that a sandbox sends from one UDP port leaves from one port, whatever the remote
    /// (endpoint-independent mapping, RFC 4787 REQ-1); else 0.
    pub maps_udp: u8,
    /// Always zero.
    pub zero: u8,
}

/// Sixty-four ports that begin at a multiple of sixty-four: the unit that the port space is cut into. Block 0 begins at
/// port 1024.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct PortBlock(pub u16);

impl PortBlock {
    /// How many blocks there are: ports 1024 to 65535.
    pub const COUNT: u16 = 1_008;
    /// Ports in a block.
    pub const PORTS: u32 = 64;
    /// The first port of the first block.
    pub const FIRST_PORT: u16 = 1_024;

    /// One of its ports, by its place in the block, from 0 to 63.
    #[must_use]
    #[inline(always)]
    pub const fn port(self, place: u32) -> L4Port {
        L4Port::new(Self::FIRST_PORT.wrapping_add(self.0 << 6 | (place & 63) as u16))
    }

    /// The block of a port from 1024 on, and the port's place in it.
    #[must_use]
    #[inline(always)]
    pub const fn of(port: L4Port) -> (Self, u32) {
        let nth = port.number().wrapping_sub(Self::FIRST_PORT);
        (Self(nth >> 6), (nth & 63) as u32)
    }
}

/// An address that a connector's flows leave from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Source {
    /// The address; an IPv4 address is mapped.
    pub address: Ip6,
    /// The ENI that it is an address of.
    pub eni: InterfaceId,
    /// The uplink that the ENI is on: the two may have the same gateway.
    pub uplink: InterfaceId,
    /// The first of the ports that may be used.
    pub first: PortBlock,
    /// How many blocks of ports may be used.
    pub blocks: u16,
}

/// Chapter three: the connectors, as a part of the configuration.
pub trait Connectors {
    /// A connector.
    fn connector(&self, half: Half, id: ConnectorId) -> Option<&Connector>;

    /// One line of the table of sources.
    fn source(&self, half: Half, index: u32) -> Option<&Source>;

    /// By which neighbour a VPC's route leads to `address`, the longest prefix first; `None` where there is no route
    /// but the ENI's own. IPv4 addresses are mapped.
    fn route(&self, half: Half, zone: Zone, address: Ip6) -> Option<Ip6>;
}

// ---- the time ----

/// Chapter four: the time.
pub trait Clock {
    /// Now, as of the last tick.
    fn now(&self) -> Now;
}

// ---- flows ----

/// What became of an attempt to enter a key into the flow table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It is in, and this attempt put it there.
    Made,
    /// It was in already.
    Taken,
    /// It is not in: the table is full.
    NoRoom,
}

// ---- counters ----

/// Chapter five: the counters.
pub trait Counters {
    /// `packets` came in at this hook.
    fn entered(&self, packets: u32);

    /// `packets` left the path for this reason.
    fn left(&self, why: Reason, packets: u32);

    /// `packets` were sent out of this interface.
    fn sent(&self, to: InterfaceId, packets: u32);
}

const _: () = {
    assert!(size_of::<Egress>() == 12 && align_of::<Egress>() == 4);
    assert!(size_of::<Interface>() == 104 && align_of::<Interface>() == 4);
    assert!(size_of::<Vip>() == 20 && align_of::<Vip>() == 4);
    assert!(size_of::<Listener>() == 24 && align_of::<Listener>() == 4);
    assert!(size_of::<Forward>() == 44 && align_of::<Forward>() == 4);
    assert!(size_of::<Group>() == 16 && align_of::<Group>() == 4);
    assert!(size_of::<Target>() == 8 && align_of::<Target>() == 4);
    assert!(size_of::<Connector>() == 28 && align_of::<Connector>() == 4);
    assert!(size_of::<Source>() == 28 && align_of::<Source>() == 4);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_bit_of_the_epoch_says_which_half_is_live() {
        for (epoch, live) in [(0, 0), (1, 1), (2, 0), (u64::MAX, 1)] {
            let half = Half::of_epoch(epoch);
            assert_eq!((half.index(), half.other().index()), (live, 1 - live));
            assert_eq!(half.other().other(), half);
        }
    }
}
