//! Turning a packet into what its flow says: MACs, addresses, ports, hop limit, checksums.

use crate::addr::{Address, Ip4, Ip6, Mac};
use crate::checksum::{Delta, Sum};
use crate::flow::{Ends, Family, V4, V6};
use crate::packet::{Packet, Refused};
use crate::reason::Reason;
use crate::wire::{Ip, Segment, ethernet, ipv4, ipv6, protocol};

/// Whether the packet may go one hop further (RFC 1812 section 5.3.1, RFC 8200 section 3).
///
/// # Errors
/// [`Reason::TtlExpired`].
#[inline(always)]
pub(crate) fn may_go_on<A>(ip: &Ip<A>) -> Result<(), Reason> {
    if ip.hop_limit > 1 { Ok(()) } else { Err(Reason::TtlExpired) }
}

/// Rewrites one packet of a flow that [`may_go_on`].
///
/// # Errors
/// [`Reason::Unchangeable`], with the packet to be dropped.
#[inline(always)]
pub(crate) fn apply<F: Header, P: Packet>(
    p: &mut P,
    ip: &Ip<F::Address>,
    segment: &Segment,
    to: &Ends<F::Address>,
    [dst_mac, src_mac]: [Mac; 2],
) -> Result<(), Reason> {
    write::<F, P>(p, ip, segment, to, [dst_mac, src_mac]).map_err(|Refused| Reason::Unchangeable)
}

#[inline(always)]
fn write<F: Header, P: Packet>(
    p: &mut P,
    ip: &Ip<F::Address>,
    segment: &Segment,
    to: &Ends<F::Address>,
    [dst_mac, src_mac]: [Mac; 2],
) -> Result<(), Refused> {
    let addresses = ip.src.replaced_by(to.src).plus(ip.dst.replaced_by(to.dst));

    p.write(ethernet::DST, dst_mac.0)?;
    p.write(ethernet::SRC, src_mac.0)?;
    F::rewrite(p, ip, to, addresses)?;

    let l4 = Delta { pseudo: addresses, body: Sum::default() }
        .body2(segment.sport.0, to.sport.0)
        .body2(segment.dport.0, to.dport.0);
    p.write(segment.at, to.sport.0)?;
    p.write(segment.at + 2, to.dport.0)?;
    p.fix_l4(segment.checksum_at, l4, ip.protocol == protocol::UDP)
}

/// A family's IP header, rewritten.
pub(crate) trait Header: Family {
    /// Writes the addresses, and one hop less. `addresses` is how a checksum changes by that.
    fn rewrite<P: Packet>(
        p: &mut P,
        ip: &Ip<Self::Address>,
        to: &Ends<Self::Address>,
        addresses: Sum,
    ) -> Result<(), Refused>;
}

impl Header for V4 {
    #[inline(always)]
    fn rewrite<P: Packet>(p: &mut P, ip: &Ip<Ip4>, to: &Ends<Ip4>, addresses: Sum) -> Result<(), Refused> {
        let [ttl, was] = [[ip.hop_limit - 1, ip.protocol], [ip.hop_limit, ip.protocol]];
        let header = addresses.sub2(was).add2(ttl);
        let checksum = p.read(ipv4::CHECKSUM).ok_or(Refused)?;
        p.write(ipv4::TTL, ttl)?;
        p.write(ipv4::CHECKSUM, header.mend(checksum))?;
        p.write(ipv4::SRC, to.src.0)?;
        p.write(ipv4::DST, to.dst.0)
    }
}

impl Header for V6 {
    #[inline(always)]
    fn rewrite<P: Packet>(p: &mut P, ip: &Ip<Ip6>, to: &Ends<Ip6>, _: Sum) -> Result<(), Refused> {
        p.write(ipv6::NEXT_HEADER, [ip.protocol, ip.hop_limit - 1])?;
        p.write(ipv6::SRC, to.src.0)?;
        p.write(ipv6::DST, to.dst.0)
    }
}
