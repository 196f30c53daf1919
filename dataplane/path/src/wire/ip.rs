//! IP headers of both families, read into one shape.

use super::{ipv4, ipv6, protocol};
use crate::addr::{Ip4, Ip6};
use crate::flow::{Family, V4, V6};
use crate::packet::Packet;
use crate::reason::Reason;
use crate::tables::Interface;
use zerocopy::transmute;

/// What the path reads of an IP header. Ordered so that it may lie on the stack, where the verifier wants alignment.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Ip<A> {
    /// The source address.
    pub src: A,
    /// The destination address.
    pub dst: A,
    /// Offset of what follows the header, options included, from the start of the frame.
    pub payload_at: usize,
    /// Length of what follows the header.
    pub payload_len: usize,
    /// The protocol number.
    pub protocol: u8,
    /// How many hops the packet may still go.
    pub hop_limit: u8,
    /// Whether this is a fragment, the first one included.
    pub is_fragment: bool,
}

impl<A> Ip<A> {
    /// Length of the packet, from its IP header on.
    #[inline(always)]
    pub const fn total_len(&self) -> usize {
        self.payload_at - ipv4::AT + self.payload_len
    }
}

/// A family's headers on the wire.
pub trait Network: Family {
    /// The destination address of `p`, before anything else of it is believed; all zero where `p` is too short.
    fn destination<P: Packet>(p: &P) -> Self::Address;

    /// The header of `p`.
    ///
    /// # Errors
    /// [`Reason::BadHeader`]: another version, or lengths that contradict each other or the frame's.
    fn read<P: Packet>(p: &P) -> Result<Ip<Self::Address>, Reason>;

    /// The address of a slot's sandbox.
    fn address(slot: &Interface) -> Self::Address;

    /// The gateway that a slot's sandbox knows.
    fn gateway(slot: &Interface) -> Self::Address;
}

impl Network for V4 {
    #[inline(always)]
    fn destination<P: Packet>(p: &P) -> Ip4 {
        Ip4(p.read(ipv4::DST).unwrap_or_default())
    }

    #[inline(always)]
    fn read<P: Packet>(p: &P) -> Result<Ip<Ip4>, Reason> {
        // The last field first: one comparison with the packet's end does for all of them. Field by field, because
        // a header read whole is taken apart byte by byte.
        let Some(dst) = p.read(ipv4::DST) else { return Err(Reason::BadHeader) };
        let Some(src) = p.read(ipv4::SRC) else { return Err(Reason::BadHeader) };
        let Some([hop_limit, protocol]) = p.read(ipv4::TTL) else { return Err(Reason::BadHeader) };
        let Some(fragment) = p.read(ipv4::FRAGMENT) else { return Err(Reason::BadHeader) };
        let Some(total_len) = p.read(ipv4::TOTAL_LEN) else { return Err(Reason::BadHeader) };
        let Some([version_ihl]) = p.read(ipv4::AT) else { return Err(Reason::BadHeader) };
        let header_len = usize::from(version_ihl & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes(total_len));
        let lengths_fit = header_len >= ipv4::LEN && total_len >= header_len && p.holds(ipv4::AT + total_len);
        if version_ihl >> 4 != 4 || !lengths_fit {
            return Err(Reason::BadHeader);
        }
        Ok(Ip {
            src: Ip4(src),
            dst: Ip4(dst),
            payload_at: ipv4::AT + header_len,
            payload_len: total_len - header_len,
            protocol,
            hop_limit,
            // More-fragments, or an offset (RFC 791 section 3.1).
            is_fragment: u16::from_be_bytes(fragment) & 0x3fff != 0,
        })
    }

    #[inline(always)]
    fn address(slot: &Interface) -> Ip4 {
        slot.address
    }

    #[inline(always)]
    fn gateway(slot: &Interface) -> Ip4 {
        slot.gateway
    }
}

/// Eight bytes of an address. Addresses are put together from words: an optional array of bytes lies behind its
/// tag without alignment, which the verifier wants on the stack.
#[inline(always)]
fn word<P: Packet>(p: &P, at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(p.read(at)?))
}

impl Network for V6 {
    #[inline(always)]
    fn destination<P: Packet>(p: &P) -> Ip6 {
        let Some(low) = word(p, ipv6::DST + 8) else { return Ip6::default() };
        let Some(high) = word(p, ipv6::DST) else { return Ip6::default() };
        Ip6(transmute!([high, low]))
    }

    #[inline(always)]
    fn read<P: Packet>(p: &P) -> Result<Ip<Ip6>, Reason> {
        let header: [u8; 8] = p.read(ipv6::AT).ok_or(Reason::BadHeader)?;
        let [version, _, _, _, len0, len1, protocol, hop_limit] = header;
        let payload_len = usize::from(u16::from_be_bytes([len0, len1]));
        if version >> 4 != 6 || !p.holds(ipv6::PAYLOAD + payload_len) {
            return Err(Reason::BadHeader);
        }
        let is_fragment = protocol == protocol::FRAGMENT;
        let Some(a) = word(p, ipv6::SRC) else { return Err(Reason::BadHeader) };
        let Some(b) = word(p, ipv6::SRC + 8) else { return Err(Reason::BadHeader) };
        let Some(c) = word(p, ipv6::DST) else { return Err(Reason::BadHeader) };
        let Some(d) = word(p, ipv6::DST + 8) else { return Err(Reason::BadHeader) };
        Ok(Ip {
            src: Ip6(transmute!([a, b])),
            dst: Ip6(transmute!([c, d])),
            payload_at: ipv6::PAYLOAD,
            payload_len,
            protocol,
            hop_limit,
            is_fragment,
        })
    }

    #[inline(always)]
    fn address(slot: &Interface) -> Ip6 {
        slot.address6
    }

    #[inline(always)]
    fn gateway(slot: &Interface) -> Ip6 {
        slot.gateway6
    }
}
