//! The same for IPv6: a Neighbour Advertisement (RFC 4861 section 7.2.4).

use super::{sent, write_macs};
use crate::addr::{Address, Ip6, Mac};
use crate::checksum::Sum;
use crate::packet::{Packet, Refused};
use crate::reason::Reason;
use crate::tables::Interface;
use crate::walk::Sent;
use crate::wire::ndp::{ADVERTISEMENT, LEN, Neighbour, OPTION_LEN, OVERRIDE, ROUTER, SOLICITED, TARGET_MAC};
use crate::wire::{Ethernet, Ip, icmp, ipv6, ndp, protocol};

/// Who probes for an address has none yet: all on the link are told (RFC 4862 section 5.4).
const ALL_NODES: Ip6 = Ip6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const ALL_NODES_MAC: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// The answer to a solicitation.
#[inline(always)]
pub(crate) fn advertise<P: Packet>(
    p: &mut P,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ip<Ip6>,
    asked: &Neighbour,
) -> Result<Sent, Reason> {
    let made = write(p, here, frame, ip, asked.target);
    sent(here, Reason::AnsweredNdp, made)
}

#[inline(always)]
fn write<P: Packet>(
    p: &mut P,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ip<Ip6>,
    target: Ip6,
) -> Result<(), Refused> {
    let len = LEN + OPTION_LEN;
    let is_probe = ip.src == Ip6::default();
    let (dst, dst_mac) = if is_probe { (ALL_NODES, ALL_NODES_MAC) } else { (ip.src, frame.src) };
    let solicited = if is_probe { 0 } else { SOLICITED };
    let router = if here.is_slot() { ROUTER } else { 0 };
    let flags = [OVERRIDE | solicited | router, 0, 0, 0];
    let at = ipv6::PAYLOAD;

    p.resize(at + len)?;
    write_macs(p, dst_mac, here.mac)?;
    let [len0, len1] = (len as u16).to_be_bytes();
    p.write(ipv6::PAYLOAD_LEN, [len0, len1, protocol::ICMPV6, ndp::HOP_LIMIT])?;
    p.write(ipv6::SRC, target.0)?;
    p.write(ipv6::DST, dst.0)?;

    let [a, b, c, d, e, f] = here.mac.0;
    let header = Sum::default().add2(ADVERTISEMENT).add4(flags).plus(target.sum());
    let option = Sum::default().add2(TARGET_MAC).add2([a, b]).add2([c, d]).add2([e, f]);
    let pseudo = target.sum().plus(dst.sum()).add2([len0, len1]).add2([0, protocol::ICMPV6]);
    p.write(at, ADVERTISEMENT)?;
    p.write(at + icmp::CHECKSUM, pseudo.plus(header).plus(option).checksum())?;
    p.write(at + 4, flags)?;
    p.write(at + LEN, TARGET_MAC)?;
    p.write(at + LEN + 2, here.mac.0)
}
