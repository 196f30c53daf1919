//! IP headers of both families, read into one shape.

use super::{extensions, ipv4, ipv6, options};
use crate::addr::{Ip4, Ip6};
use crate::flow::{Family, V4, V6};
use crate::packet::Packet;
use crate::reason::Reason;
use crate::tables::{Interface, NextHopId};
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
    /// Offset of IPv6's fragment header; 0 where there is none.
    pub fragment_at: usize,
    /// The protocol number.
    pub protocol: u8,
    /// How many hops the packet may still go.
    pub hop_limit: u8,
    /// Whether this is a fragment, the first one included.
    pub is_fragment: bool,
    /// Whether this is a fragment, and not the first one: it shows no ports.
    pub is_later: bool,
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
    /// Length of the header, without options or extensions.
    const LEN: usize;

    /// The destination address of `p`, before anything else of it is believed; all zero where `p` is too short.
    fn destination<P: Packet>(p: &P) -> Self::Address;

    /// The header of `p` alone: what lies behind IPv6's extension headers stays unknown.
    ///
    /// # Errors
    /// [`Reason::BadHeader`]: another version, or lengths that contradict each other or the frame's.
    fn glance<P: Packet>(p: &P) -> Result<Ip<Self::Address>, Reason>;

    /// The header of `p`, and what it carries behind options or extension headers.
    ///
    /// # Errors
    /// [`Reason::BadHeader`]; of IPv6, [`Reason::TooManyHeaders`], [`Reason::SourceRouted`].
    fn read<P: Packet>(p: &P) -> Result<Ip<Self::Address>, Reason>;

    /// Whether a packet's IPv4 options send it elsewhere than its header does.
    ///
    /// # Errors
    /// [`Reason::SourceRouted`]; [`Reason::BadHeader`] where one is cut short.
    fn fair<P: Packet>(p: &P, ip: &Ip<Self::Address>) -> Result<(), Reason>;

    /// Whether a header may be believed that is no known packet's: it is [`Self::fair`], and its own checksum is right, where
    /// it has one. Nothing is answered, and no flow opened, by what may be another packet's header (RFC 1122 section
    /// 3.2.1.2).
    ///
    /// # Errors
    /// [`Reason::BadHeader`], [`Reason::SourceRouted`].
    fn sound<P: Packet>(p: &P, ip: &Ip<Self::Address>) -> Result<(), Reason>;

    /// Offset of the fragments' identification, and its length in bytes: 2 or 4.
    fn identification(ip: &Ip<Self::Address>) -> (usize, usize);

    /// The address of a slot's sandbox.
    fn address(slot: &Interface) -> Self::Address;

    /// Weir's own address on an interface; `None` where it has none.
    fn local(here: &Interface) -> Option<Self::Address>;

    /// Whether `address` is Weir's own on an interface.
    #[inline(always)]
    fn is_local(here: &Interface, address: Self::Address) -> bool {
        Self::local(here).is_some_and(|local| local == address)
    }

    /// An uplink's gateway: as a next hop, and its address. `None` where there is none.
    fn gateway(uplink: &Interface) -> Option<(NextHopId, Self::Address)>;

    /// Whether `address` is on the link of an uplink.
    fn is_on_link(uplink: &Interface, address: Self::Address) -> bool;
}

impl Network for V4 {
    const LEN: usize = ipv4::LEN;

    #[inline(always)]
    fn destination<P: Packet>(p: &P) -> Ip4 {
        Ip4(p.read(ipv4::DST).unwrap_or_default())
    }

    #[inline(always)]
    fn glance<P: Packet>(p: &P) -> Result<Ip<Ip4>, Reason> {
        ipv4_header(p)
    }

    #[inline(always)]
    fn read<P: Packet>(p: &P) -> Result<Ip<Ip4>, Reason> {
        ipv4_header(p)
    }

    #[inline(always)]
    fn sound<P: Packet>(p: &P, ip: &Ip<Ip4>) -> Result<(), Reason> {
        let Some(sum) = p.sum(ipv4::AT, ip.payload_at - ipv4::AT) else { return Err(Reason::BadHeader) };
        if sum.fold() != [0xff; 2] {
            return Err(Reason::BadHeader);
        }
        Self::fair(p, ip)
    }

    #[inline(always)]
    fn fair<P: Packet>(p: &P, ip: &Ip<Ip4>) -> Result<(), Reason> {
        if ip.payload_at == ipv4::AT + ipv4::LEN { Ok(()) } else { options::check(p, ip.payload_at) }
    }

    #[inline(always)]
    fn identification(_: &Ip<Ip4>) -> (usize, usize) {
        (ipv4::IDENTIFICATION, 2)
    }

    #[inline(always)]
    fn address(slot: &Interface) -> Ip4 {
        slot.address
    }

    #[inline(always)]
    fn local(here: &Interface) -> Option<Ip4> {
        (here.local.to_bits() != 0).then_some(here.local)
    }

    #[inline(always)]
    fn gateway(uplink: &Interface) -> Option<(NextHopId, Ip4)> {
        (uplink.gateway.to_bits() != 0).then_some((NextHopId::gateway(uplink.egress.id), uplink.gateway))
    }

    #[inline(always)]
    fn is_on_link(uplink: &Interface, address: Ip4) -> bool {
        let differs = u64::from(address.to_bits() ^ uplink.local.to_bits());
        uplink.on_link != 0 && differs << (u32::from(uplink.on_link) & 63) >> 32 == 0
    }
}

#[inline(always)]
fn ipv4_header<P: Packet>(p: &P) -> Result<Ip<Ip4>, Reason> {
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
    let fragment = u16::from_be_bytes(fragment);
    Ok(Ip {
        src: Ip4(src),
        dst: Ip4(dst),
        payload_at: ipv4::AT + header_len,
        payload_len: total_len - header_len,
        fragment_at: 0,
        protocol,
        hop_limit,
        // More-fragments, or an offset (RFC 791 section 3.1).
        is_fragment: fragment & 0x3fff != 0,
        is_later: fragment & 0x1fff != 0,
    })
}

/// Eight bytes of an address. Addresses are put together from words: an optional array of bytes lies behind its
/// tag without alignment, which the verifier wants on the stack.
#[inline(always)]
fn word<P: Packet>(p: &P, at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(p.read(at)?))
}

impl Network for V6 {
    const LEN: usize = ipv6::LEN;

    #[inline(always)]
    fn destination<P: Packet>(p: &P) -> Ip6 {
        let Some(low) = word(p, ipv6::DST + 8) else { return Ip6::default() };
        let Some(high) = word(p, ipv6::DST) else { return Ip6::default() };
        Ip6(transmute!([high, low]))
    }

    #[inline(always)]
    fn read<P: Packet>(p: &P) -> Result<Ip<Ip6>, Reason> {
        let ip = Self::glance(p)?;
        let end = ip.payload_at + ip.payload_len;
        let chain = extensions::walk(p, ip.payload_at, ip.protocol, end)?;
        Ok(Ip {
            payload_at: chain.at,
            payload_len: end - chain.at,
            fragment_at: chain.fragment_at,
            protocol: chain.protocol,
            is_fragment: chain.is_fragment,
            is_later: chain.is_later,
            ..ip
        })
    }

    #[inline(always)]
    fn glance<P: Packet>(p: &P) -> Result<Ip<Ip6>, Reason> {
        let header: [u8; 8] = p.read(ipv6::AT).ok_or(Reason::BadHeader)?;
        let [version, _, _, _, len0, len1, protocol, hop_limit] = header;
        let payload_len = usize::from(u16::from_be_bytes([len0, len1]));
        if version >> 4 != 6 || !p.holds(ipv6::PAYLOAD + payload_len) {
            return Err(Reason::BadHeader);
        }
        let Some(a) = word(p, ipv6::SRC) else { return Err(Reason::BadHeader) };
        let Some(b) = word(p, ipv6::SRC + 8) else { return Err(Reason::BadHeader) };
        let Some(c) = word(p, ipv6::DST) else { return Err(Reason::BadHeader) };
        let Some(d) = word(p, ipv6::DST + 8) else { return Err(Reason::BadHeader) };
        Ok(Ip {
            src: Ip6(transmute!([a, b])),
            dst: Ip6(transmute!([c, d])),
            payload_at: ipv6::PAYLOAD,
            payload_len,
            fragment_at: 0,
            protocol,
            hop_limit,
            is_fragment: false,
            is_later: false,
        })
    }

    #[inline(always)]
    fn sound<P: Packet>(_: &P, _: &Ip<Ip6>) -> Result<(), Reason> {
        Ok(())
    }

    #[inline(always)]
    fn fair<P: Packet>(_: &P, _: &Ip<Ip6>) -> Result<(), Reason> {
        Ok(())
    }

    #[inline(always)]
    fn identification(ip: &Ip<Ip6>) -> (usize, usize) {
        (ip.fragment_at + 4, 4)
    }

    #[inline(always)]
    fn address(slot: &Interface) -> Ip6 {
        slot.address6
    }

    #[inline(always)]
    fn local(here: &Interface) -> Option<Ip6> {
        (here.local6 != Ip6::default()).then_some(here.local6)
    }

    #[inline(always)]
    fn gateway(uplink: &Interface) -> Option<(NextHopId, Ip6)> {
        let is_there = uplink.gateway6 != Ip6::default();
        is_there.then_some((NextHopId::gateway6(uplink.egress.id), uplink.gateway6))
    }

    #[inline(always)]
    fn is_on_link(uplink: &Interface, address: Ip6) -> bool {
        let bits = u32::from(uplink.on_link6);
        let [[a, b], [c, d]]: [[[u8; 8]; 2]; 2] = [transmute!(address), transmute!(uplink.local6)];
        let [high, low] =
            [u64::from_be_bytes(a) ^ u64::from_be_bytes(c), u64::from_be_bytes(b) ^ u64::from_be_bytes(d)];
        // Shifts by whole words are no shifts: each half for itself.
        let is_high_equal = if bits >= 64 { high == 0 } else { high >> (64 - bits.max(1)) == 0 };
        let is_low_equal = bits <= 64 || low >> (128 - bits.min(128)).min(63) == 0;
        bits != 0 && is_high_equal && is_low_equal
    }
}
