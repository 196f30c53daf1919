//! A flow: one connection or conversation, both directions together.
//!
//! The flow table holds two entries a flow, one for each direction, each under the key that this direction's
//! packets show on arrival. An entry is the whole rewrite, so a known packet costs one look-up.

use crate::addr::{Ip4, L4Port, Mac, Zone};
use crate::tables::Egress;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What one direction's packets look like where they arrive. "Remote" is the sender, "local" what it sends to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct FlowKey {
    /// The packet's source address.
    pub src: Ip4,
    /// The packet's destination address.
    pub dst: Ip4,
    /// The packet's source port.
    pub sport: L4Port,
    /// The packet's destination port.
    pub dport: L4Port,
    /// The IP protocol number (RFC 790): TCP or UDP.
    pub protocol: u8,
    /// The address space that the addresses belong to.
    pub zone: Zone,
}

/// One direction of a flow: what its packets become and where they go.
///
/// Ordered so that every field lies on a multiple of the largest power of two that it is written in: a record
/// is put together on the stack, where the verifier wants alignment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flow {
    /// The key of the other direction: a flow's two entries are made and ended as one.
    pub other: FlowKey,
    /// The source address to write.
    pub src: Ip4,
    /// The destination address to write.
    pub dst: Ip4,
    /// The destination MAC to write: the sandbox's, or the next hop's.
    pub dst_mac: Mac,
    /// The destination port to write.
    pub dport: L4Port,
    /// The source MAC to write: the gateway's, or the uplink's.
    pub src_mac: Mac,
    /// The source port to write.
    pub sport: L4Port,
    /// Where the packets go.
    pub egress: Egress,
    /// Always zero.
    pub zero: [u8; 4],
}

const _: () = {
    assert!(size_of::<FlowKey>() == 16 && align_of::<FlowKey>() == 8);
    assert!(size_of::<Flow>() == 56 && align_of::<Flow>() == 8);
};
