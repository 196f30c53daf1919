//! Uplinks, slots and ENIs, and who is next to them.

use super::{ConnectorId, Direction, Vip};
use crate::addr::{IfIndex, InterfaceId, Ip4, Ip6, Mac, Zone};
use crate::packet::VlanTag;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
    /// How many answers a second the path makes to what comes in here, but for ARP and Neighbour Discovery. On an ENI:
    /// how many neighbours a second the kernel may be made to look for.
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
    /// On a slot: which ways its [`super::Rates`] hold, a bit for each [`Direction`]; see [`Self::is_metered`].
    pub metered: u32,
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

    /// Whether a slot's packets that go this way are measured.
    #[must_use]
    #[inline(always)]
    pub const fn is_metered(&self, direction: Direction) -> bool {
        self.metered >> direction as u32 & 1 != 0
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

    /// Whether a flow's first packet may make the kernel look for this neighbour: one that was looked for lately may be
    /// looked for again; of others there are as many a second as `out` says.
    fn may_look_for(&self, out: &Interface, neighbour: &Vip) -> bool;

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

const _: () = {
    assert!(size_of::<Egress>() == 12 && align_of::<Egress>() == 4);
    assert!(size_of::<Interface>() == 108 && align_of::<Interface>() == 4);
};
