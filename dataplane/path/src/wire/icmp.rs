//! ICMP (RFC 792) and ICMPv6 (RFC 4443).

use super::{Network, ipv4, ipv6, protocol};
use crate::flow::{V4, V6};

/// Length of the header: type, code, checksum, and four bytes that depend on the type.
pub const LEN: usize = 8;
/// Offset of the checksum from the header's start.
pub const CHECKSUM: usize = 2;
/// Offset of a query's identifier from the header's start.
pub const IDENTIFIER: usize = 4;
/// How much of a packet's L4 header an error has to quote at least (RFC 792).
pub const QUOTED: usize = 8;

/// What differs between the two.
pub trait Icmp: Network {
    /// The protocol number.
    const PROTOCOL: u8;
    /// Type and code of an echo request.
    const ECHO_REQUEST: [u8; 2];
    /// Type and code of an echo reply.
    const ECHO_REPLY: [u8; 2];
    /// The hop limit ran out in transit.
    const TTL_EXPIRED: [u8; 2];
    /// Longer than the next link allows.
    const TOO_BIG: [u8; 2];
    /// Nobody listens there.
    const PORT_UNREACHABLE: [u8; 2];
    /// Not allowed.
    const PROHIBITED: [u8; 2];
    /// No way leads there.
    const NO_ROUTE: [u8; 2];
    /// The host can't be reached; for want of resources, too (RFC 6888 REQ-8).
    const HOST_UNREACHABLE: [u8; 2];
    /// The most bytes of a packet that an error quotes, so that it reaches everybody (RFC 1812 section 4.3.2.3,
    /// RFC 4443 section 2.4).
    const MOST_QUOTED: usize;

    /// Whether the checksum covers the addresses of the IP header.
    const ICMP_SUMS_ADDRESSES: bool;

    /// Whether this type is of an error about a packet that its receiver sent, and that a flow may hear of.
    fn is_error(kind: u8) -> bool;

    /// How long the next link's packets may be, as [`Self::TOO_BIG`] says it behind the checksum.
    fn size_word(mtu: u32) -> [u8; 4];
}

impl Icmp for V4 {
    const PROTOCOL: u8 = protocol::ICMP;
    const ECHO_REQUEST: [u8; 2] = [8, 0];
    const ECHO_REPLY: [u8; 2] = [0, 0];
    const TTL_EXPIRED: [u8; 2] = [11, 0];
    const TOO_BIG: [u8; 2] = [3, 4];
    const PORT_UNREACHABLE: [u8; 2] = [3, 3];
    const PROHIBITED: [u8; 2] = [3, 13];
    const NO_ROUTE: [u8; 2] = [3, 0];
    const HOST_UNREACHABLE: [u8; 2] = [3, 1];
    const MOST_QUOTED: usize = 576 - ipv4::LEN - LEN;
    const ICMP_SUMS_ADDRESSES: bool = false;

    /// Unreachable, time exceeded, parameter problem. Source quench and redirects are nobody's business any more
    /// (RFC 6633; RFC 1812 section 5.2.7.2).
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }

    /// RFC 1191 section 4.
    #[inline(always)]
    fn size_word(mtu: u32) -> [u8; 4] {
        (mtu & 0xffff).to_be_bytes()
    }
}

impl Icmp for V6 {
    const PROTOCOL: u8 = protocol::ICMPV6;
    const ECHO_REQUEST: [u8; 2] = [128, 0];
    const ECHO_REPLY: [u8; 2] = [129, 0];
    const TTL_EXPIRED: [u8; 2] = [3, 0];
    const TOO_BIG: [u8; 2] = [2, 0];
    const PORT_UNREACHABLE: [u8; 2] = [1, 4];
    const PROHIBITED: [u8; 2] = [1, 1];
    const NO_ROUTE: [u8; 2] = [1, 0];
    const HOST_UNREACHABLE: [u8; 2] = [1, 3];
    const MOST_QUOTED: usize = 1280 - ipv6::LEN - LEN;
    const ICMP_SUMS_ADDRESSES: bool = true;

    /// Unreachable, too big, time exceeded, parameter problem.
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }

    /// RFC 4443 section 3.2.
    #[inline(always)]
    fn size_word(mtu: u32) -> [u8; 4] {
        mtu.to_be_bytes()
    }
}
