//! Turning a packet into what its flow says: MACs, addresses, ports, hop limit, checksums.

use crate::checksum::{Delta, Sum};
use crate::flow::Flow;
use crate::packet::{Packet, Refused};
use crate::reason::Reason;
use crate::wire::{Ipv4, Segment, ethernet, ipv4, protocol};

/// Rewrites one packet of a flow.
///
/// # Errors
/// [`Reason::TtlExpired`], with the packet untouched; [`Reason::Unchangeable`], with the packet to be dropped.
#[inline(always)]
pub(crate) fn apply<P: Packet>(p: &mut P, ip: &Ipv4, segment: &Segment, flow: &Flow) -> Result<(), Reason> {
    may_go_on(ip)?;
    write(p, ip, segment, flow).map_err(|Refused| Reason::Unchangeable)
}

/// Whether the packet may go one hop further (RFC 1812 section 5.3.1).
///
/// # Errors
/// [`Reason::TtlExpired`].
#[inline(always)]
pub(crate) fn may_go_on(ip: &Ipv4) -> Result<(), Reason> {
    if ip.ttl > 1 { Ok(()) } else { Err(Reason::TtlExpired) }
}

#[inline(always)]
fn write<P: Packet>(p: &mut P, ip: &Ipv4, segment: &Segment, flow: &Flow) -> Result<(), Refused> {
    let addresses = Delta::default().address(ip.src.0, flow.src.0).address(ip.dst.0, flow.dst.0);

    p.write(ethernet::DST, flow.dst_mac.0)?;
    p.write(ethernet::SRC, flow.src_mac.0)?;

    let [ttl, was] = [[ip.ttl - 1, ip.protocol], [ip.ttl, ip.protocol]];
    let header: Sum = addresses.pseudo.sub2(was).add2(ttl);
    let checksum = p.read(ipv4::CHECKSUM).ok_or(Refused)?;
    p.write(ipv4::TTL, ttl)?;
    p.write(ipv4::CHECKSUM, header.mend(checksum))?;
    p.write(ipv4::SRC, flow.src.0)?;
    p.write(ipv4::DST, flow.dst.0)?;

    let l4 = addresses.body2(segment.sport.0, flow.sport.0).body2(segment.dport.0, flow.dport.0);
    p.write(segment.at, flow.sport.0)?;
    p.write(segment.at + 2, flow.dport.0)?;
    p.fix_l4(segment.checksum_at, l4, ip.protocol == protocol::UDP)
}
