//! Whose an address is, who listens there, and who serves.

use super::ConnectorId;
use crate::addr::{InterfaceId, Ip6, L4Port, Zone};
use crate::hash::{HashKey, scale};
use crate::time::{Seconds, Times};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
    /// 1 where both ends are told when a flow was silent for too long; else 0.
    pub tells_idle: u8,
}

impl Forward {
    /// All to one group.
    #[must_use]
    pub const fn to(group: GroupId, idle: Seconds) -> Self {
        Self { shares: [Share { group, up_to: 1 }; MAX_SHARES], idle, is_sticky: 0, tells_idle: 0 }
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

/// A place that serves: a port in a slot's sandbox, or at an address in a VPC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Target {
    /// The address; all zeros where it is a slot's. An IPv4 address is mapped.
    pub address: Ip6,
    /// The slot.
    pub slot: InterfaceId,
    /// By whose ENIs an address is reached; [`ConnectorId::NONE`] for a slot.
    pub connector: ConnectorId,
    /// The port it serves on; zero for the one that the client asked for.
    pub port: L4Port,
    /// Always zero.
    pub zero: [u8; 2],
}

impl Target {
    /// A port in the sandbox of a slot; zero for the one that the client asked for.
    #[must_use]
    pub const fn in_slot(slot: InterfaceId, port: L4Port) -> Self {
        Self { address: Ip6([0; 16]), slot, connector: ConnectorId::NONE, port, zero: [0; 2] }
    }

    /// A port at an address, which the ENIs of a connector lead to; zero for the one that the client asked for. An IPv4
    /// address is mapped.
    #[must_use]
    pub const fn at(address: Ip6, port: L4Port, by: ConnectorId) -> Self {
        Self { address, slot: InterfaceId(0), connector: by, port, zero: [0; 2] }
    }

    /// Whether it is an address in a VPC.
    #[must_use]
    #[inline(always)]
    pub const fn is_address(&self) -> bool {
        self.connector.0 != ConnectorId::NONE.0
    }
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
    fn target(&self, half: Half, index: u32) -> Option<&Target>;
}

const _: () = {
    assert!(size_of::<Vip>() == 20 && align_of::<Vip>() == 4);
    assert!(size_of::<Listener>() == 24 && align_of::<Listener>() == 4);
    assert!(size_of::<Forward>() == 44 && align_of::<Forward>() == 4);
    assert!(size_of::<Group>() == 16 && align_of::<Group>() == 4);
    assert!(size_of::<Target>() == 28 && align_of::<Target>() == 4);
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
