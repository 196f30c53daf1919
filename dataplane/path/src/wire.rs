//! Headers as they lie on the wire. Reading only: what a packet says, and whether it can be.

pub mod icmp;
pub mod ndp;

mod extensions;
mod ip;
mod options;
mod quoted;
mod segment;

pub use extensions::MOST_BYTES as MOST_EXTENSION_BYTES;
pub use icmp::Icmp;
pub use ip::{Ip, Network};
pub use quoted::{Quoted, Quotes};
pub use segment::{Segment, Tcp};

use crate::addr::{Ip4, Mac};
use crate::packet::Packet;

/// Ethernet II (IEEE 802.3).
pub mod ethernet {
    /// Length of the header.
    pub const LEN: usize = 14;
    /// Offset of the destination MAC.
    pub const DST: usize = 0;
    /// Offset of the source MAC.
    pub const SRC: usize = 6;
    /// Offset of the ethertype.
    pub const TYPE: usize = 12;
    /// Ethertype of IPv4.
    pub const IPV4: [u8; 2] = [0x08, 0x00];
    /// Ethertype of IPv6.
    pub const IPV6: [u8; 2] = [0x86, 0xdd];
    /// Ethertype of ARP.
    pub const ARP: [u8; 2] = [0x08, 0x06];
    /// Tag protocol identifier of 802.1Q.
    pub const VLAN: [u8; 2] = [0x81, 0x00];
    /// Tag protocol identifier of 802.1ad, which is not carried.
    pub const SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];
    /// Length of a tag.
    pub const VLAN_LEN: usize = 4;
}

/// IPv4 (RFC 791). Offsets are from the start of the frame.
pub mod ipv4 {
    /// Offset of the header.
    pub const AT: usize = super::ethernet::LEN;
    /// Length of the header without options.
    pub const LEN: usize = 20;
    /// Offset of the identification of a datagram's fragments.
    pub const IDENTIFICATION: usize = AT + 4;
    /// Offset of the total length.
    pub const TOTAL_LEN: usize = AT + 2;
    /// Offset of the flags and the fragment offset.
    pub const FRAGMENT: usize = AT + 6;
    /// Offset of the time to live; the protocol follows it.
    pub const TTL: usize = AT + 8;
    /// Offset of the header checksum.
    pub const CHECKSUM: usize = AT + 10;
    /// Offset of the source address.
    pub const SRC: usize = AT + 12;
    /// Offset of the destination address.
    pub const DST: usize = AT + 16;
}

/// IPv6 (RFC 8200). Offsets are from the start of the frame.
pub mod ipv6 {
    /// Offset of the header.
    pub const AT: usize = super::ethernet::LEN;
    /// Length of the header; extension headers follow it.
    pub const LEN: usize = 40;
    /// Offset of the payload's length.
    pub const PAYLOAD_LEN: usize = AT + 4;
    /// Offset of the next header's number; the hop limit follows it.
    pub const NEXT_HEADER: usize = AT + 6;
    /// Offset of the hop limit.
    pub const HOP_LIMIT: usize = AT + 7;
    /// Offset of the source address.
    pub const SRC: usize = AT + 8;
    /// Offset of the destination address.
    pub const DST: usize = AT + 24;
    /// Offset of what follows the header.
    pub const PAYLOAD: usize = AT + LEN;
}

/// IP protocol numbers (RFC 790), and IPv6 next headers (RFC 8200 section 4).
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6's hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// IPv6's routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6's fragment header.
    pub const FRAGMENT: u8 = 44;
    /// IPv6's destination options.
    pub const DESTINATION: u8 = 60;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// No packet's (IANA: reserved). What holds a UDP port for all remotes is kept under it.
    pub const MAPPING: u8 = 255;
}

/// TCP's control bits (RFC 9293 section 3.1).
pub mod tcp {
    /// Length of the header without options.
    pub const LEN: usize = 20;
    /// Offset of the checksum from the header's start.
    pub const CHECKSUM: usize = 16;
    /// Offset of the byte with the data offset, in its upper half.
    pub const DATA_OFFSET: usize = 12;
    /// Offset of the sequence number; the acknowledgement number follows it.
    pub const SEQUENCE: usize = 4;
    /// The option that ends the list.
    pub const OPTION_END: u8 = 0;
    /// The option that is nothing.
    pub const OPTION_NOTHING: u8 = 1;
    /// The longest segment that the sender takes (RFC 9293 section 3.7.1).
    pub const OPTION_MAX_SEGMENT: u8 = 2;
    /// The window's shift (RFC 7323 section 2.2).
    pub const OPTION_WINDOW_SCALE: u8 = 3;
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
}

/// UDP (RFC 768).
pub mod udp {
    /// Length of the header.
    pub const LEN: usize = 8;
    /// Offset of the length from the header's start.
    pub const LENGTH: usize = 4;
    /// Offset of the checksum from the header's start.
    pub const CHECKSUM: usize = 6;
}

/// An Ethernet header. Ordered so that it may lie on the stack, where the verifier wants alignment.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Ethernet {
    /// The destination.
    pub dst: Mac,
    /// The ethertype.
    pub ethertype: [u8; 2],
    /// The source.
    pub src: Mac,
}

impl Ethernet {
    /// The header of `p`; `None` where `p` is shorter.
    #[inline(always)]
    pub fn read<P: Packet>(p: &P) -> Option<Self> {
        Some(Self {
            dst: Mac(p.read(ethernet::DST)?),
            src: Mac(p.read(ethernet::SRC)?),
            ethertype: p.read(ethernet::TYPE)?,
        })
    }
}

impl Ethernet {
    /// Whether `p` is for a MAC that an ENI may have.
    #[inline(always)]
    pub fn may_be_for_an_eni<P: Packet>(p: &P) -> bool {
        let Some(first) = p.read(ethernet::DST) else { return false };
        u16::from_ne_bytes(first) == u16::from_ne_bytes(Mac::ENI)
    }
}

/// ARP for IPv4 over Ethernet (RFC 826). Ordered as [`Ethernet`] is, for the same reason.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Arp {
    /// Who sends it; zero in a probe (RFC 5227).
    pub sender: Ip4,
    /// The address that is asked for.
    pub target: Ip4,
    /// The sender's MAC.
    pub sender_mac: Mac,
    /// A request or a reply.
    pub operation: [u8; 2],
}

impl Arp {
    /// Offset of the operation; the four addresses follow it.
    pub const OPERATION: usize = ethernet::LEN + 6;
    /// The operation of a request.
    pub const REQUEST: [u8; 2] = [0, 1];
    /// The operation of a reply.
    pub const REPLY: [u8; 2] = [0, 2];

    /// What `p` says; `None` where it is anything else.
    #[inline(always)]
    pub fn read<P: Packet>(p: &P) -> Option<Self> {
        const IPV4_OVER_ETHERNET: [u8; 4] = [0, 1, 8, 0];
        const LENGTHS: [u8; 2] = [6, 4];
        let target = p.read(Self::OPERATION + 18)?;
        if p.read(ethernet::LEN)? != IPV4_OVER_ETHERNET || p.read(ethernet::LEN + 4)? != LENGTHS {
            return None;
        }
        Some(Self {
            operation: p.read(Self::OPERATION)?,
            sender_mac: Mac(p.read(Self::OPERATION + 2)?),
            sender: Ip4(p.read(Self::OPERATION + 8)?),
            target: Ip4(target),
        })
    }
}
