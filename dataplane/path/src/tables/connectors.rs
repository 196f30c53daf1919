//! Through whose addresses, and from which ports, slots reach their VPC.

use super::{Half, Rules, SecurityGroups, TenantId};
use crate::addr::{InterfaceId, Ip6, L4Port, Zone};
use crate::time::Seconds;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
    /// Who it is for.
    pub tenant: TenantId,
    /// What its sandboxes may reach.
    pub rules_out: Rules,
    /// Who may reach its sandboxes by a VIP.
    pub rules_in: Rules,
    /// The security groups that its ENIs are in.
    pub groups: SecurityGroups,
    /// How long TCP may be silent once it is established.
    pub tcp_idle: Seconds,
    /// How long UDP may be silent once it was answered.
    pub udp_idle: Seconds,
    /// How long a port rests towards a remote after a flow that did not end cleanly.
    pub rest: Seconds,
    /// 1 where all that a sandbox sends from one UDP port leaves from one port, whatever the remote
    /// (endpoint-independent mapping, RFC 4787 REQ-1); else 0.
    pub maps_udp: u8,
    /// 1 where both ends are told when a flow was silent for too long; else 0.
    pub tells_idle: u8,
    /// 1 where there are services of the host's that its sandboxes may reach, see [`Self::services`]; else 0.
    pub has_services: u8,
    /// Always zero.
    pub zero: u8,
}

impl Connector {
    /// The address space in which the services lie that the sandboxes of a connector may reach: listeners, whose VIPs are no
    /// address of any VPC.
    #[must_use]
    #[inline(always)]
    pub const fn services(id: ConnectorId) -> Zone {
        Zone::of_services(id.0)
    }
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

const _: () = {
    assert!(size_of::<Connector>() == 60 && align_of::<Connector>() == 4);
    assert!(size_of::<Source>() == 28 && align_of::<Source>() == 4);
};
