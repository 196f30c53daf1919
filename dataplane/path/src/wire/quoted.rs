//! What an ICMP error quotes: the beginning of the packet that it is about.

use super::{Icmp, Ip, extensions, icmp, ipv4, ipv6, protocol};
use crate::addr::{Ip4, Ip6, L4Port};
use crate::flow::{V4, V6};
use crate::packet::Packet;
use crate::reason::Reason;
use crate::wire::{tcp, udp};
use zerocopy::transmute;

/// What the path reads of a quoted packet. Ordered so that it may lie on the stack, where the verifier wants alignment.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Quoted<A> {
    /// Its source address: who is told of the error.
    pub src: A,
    /// Its destination address.
    pub dst: A,
    /// Offset of its IP header, from the start of the frame.
    pub at: usize,
    /// Offset of its TCP, UDP or ICMP header, of which no more than eight bytes may be there.
    pub l4_at: usize,
    /// Offset of its L4 checksum; 0 where that was not quoted.
    pub checksum_at: usize,
    /// The source port.
    pub sport: L4Port,
    /// The destination port.
    pub dport: L4Port,
    /// TCP, UDP, or ICMP, of which there are queries and their answers: see [`crate::query`].
    pub protocol: u8,
}

/// A family's quoted headers.
pub trait Quotes: Icmp {
    /// What the error in `ip` quotes.
    ///
    /// # Errors
    /// [`Reason::BadHeader`]: no header, or less of it than an error must quote. [`Reason::IcmpIgnored`]: an error
    /// about what no flow carries.
    fn quoted<P: Packet>(p: &P, ip: &Ip<Self::Address>) -> Result<Quoted<Self::Address>, Reason>;
}

/// The L4 header of a quoted packet.
#[inline(always)]
fn ports<F: Icmp, P: Packet>(
    p: &P,
    [src, dst]: [F::Address; 2],
    [at, l4_at, end]: [usize; 3],
    protocol: u8,
) -> Result<Quoted<F::Address>, Reason> {
    let is_query = protocol == F::PROTOCOL;
    let checksum = match protocol {
        protocol::TCP => tcp::CHECKSUM,
        protocol::UDP => udp::CHECKSUM,
        _ if is_query => icmp::CHECKSUM,
        _ => return Err(Reason::IcmpIgnored),
    };
    if l4_at + icmp::QUOTED > end {
        return Err(Reason::BadHeader);
    }
    let ports = if is_query { identifier::<F, P>(p, l4_at) } else { p.read(l4_at) };
    let Some([s0, s1, d0, d1]) = ports else { return Err(Reason::IcmpIgnored) };
    let checksum_at = if l4_at + checksum + 2 <= end { l4_at + checksum } else { 0 };
    Ok(Quoted {
        src,
        dst,
        at,
        l4_at,
        checksum_at,
        sport: L4Port([s0, s1]),
        dport: L4Port([d0, d1]),
        protocol,
    })
}

/// What stands for the ports of a quoted query, or of the answer to one; `None` for any other message.
#[inline(always)]
fn identifier<F: Icmp, P: Packet>(p: &P, at: usize) -> Option<[u8; 4]> {
    let [a, b] = p.read(at + icmp::IDENTIFIER)?;
    let kind: [u8; 2] = p.read(at)?;
    if kind == F::ECHO_REQUEST {
        Some([a, b, 0, 0])
    } else if kind == F::ECHO_REPLY {
        Some([0, 0, a, b])
    } else {
        None
    }
}

impl Quotes for V4 {
    #[inline(always)]
    fn quoted<P: Packet>(p: &P, ip: &Ip<Ip4>) -> Result<Quoted<Ip4>, Reason> {
        let at = ip.payload_at + icmp::LEN;
        let end = ip.payload_at + ip.payload_len;
        if at + ipv4::LEN > end {
            return Err(Reason::BadHeader);
        }
        let Some(dst) = p.read(at + ipv4::DST - ipv4::AT) else { return Err(Reason::BadHeader) };
        let Some(src) = p.read(at + ipv4::SRC - ipv4::AT) else { return Err(Reason::BadHeader) };
        let Some([_, protocol]) = p.read(at + ipv4::TTL - ipv4::AT) else { return Err(Reason::BadHeader) };
        let Some(fragment) = p.read(at + ipv4::FRAGMENT - ipv4::AT) else { return Err(Reason::BadHeader) };
        let Some([version_ihl]) = p.read(at) else { return Err(Reason::BadHeader) };
        let header_len = usize::from(version_ihl & 0x0f) * 4;
        if version_ihl >> 4 != 4 || header_len < ipv4::LEN {
            return Err(Reason::BadHeader);
        }
        // About a later fragment: it shows no ports.
        if u16::from_be_bytes(fragment) & 0x1fff != 0 {
            return Err(Reason::IcmpIgnored);
        }
        ports::<Self, P>(p, [Ip4(src), Ip4(dst)], [at, at + header_len, end], protocol)
    }
}

impl Quotes for V6 {
    #[inline(always)]
    fn quoted<P: Packet>(p: &P, ip: &Ip<Ip6>) -> Result<Quoted<Ip6>, Reason> {
        let at = ip.payload_at + icmp::LEN;
        let end = ip.payload_at + ip.payload_len;
        if at + ipv6::LEN > end {
            return Err(Reason::BadHeader);
        }
        let src = at + ipv6::SRC - ipv6::AT;
        let Some(d) = p.read(src + 24) else { return Err(Reason::BadHeader) };
        let Some(c) = p.read(src + 16) else { return Err(Reason::BadHeader) };
        let Some(b) = p.read(src + 8) else { return Err(Reason::BadHeader) };
        let Some(a) = p.read(src) else { return Err(Reason::BadHeader) };
        let [a, b, c, d] = [a, b, c, d].map(u64::from_ne_bytes);
        let Some([next, _]) = p.read(at + ipv6::NEXT_HEADER - ipv6::AT) else {
            return Err(Reason::BadHeader);
        };
        let Some([version, _]) = p.read(at) else { return Err(Reason::BadHeader) };
        if version >> 4 != 6 {
            return Err(Reason::BadHeader);
        }
        let chain = extensions::walk(p, at + ipv6::LEN, next, end)?;
        if chain.is_later {
            return Err(Reason::IcmpIgnored);
        }
        ports::<Self, P>(
            p,
            [Ip6(transmute!([a, b])), Ip6(transmute!([c, d]))],
            [at, chain.at, end],
            chain.protocol,
        )
    }
}
