//! Answers the path makes: the packet is turned round and sent out where it came in.

use crate::addr::{Address, Ip4, Ip6, Mac};
use crate::checksum::{Delta, Sum};
use crate::flow::{Family, V4, V6};
use crate::packet::{Packet, Refused};
use crate::reason::Reason;
use crate::tables::Interface;
use crate::walk::Sent;
use crate::wire::{ArpRequest, Ethernet, Ip, Segment, Tcp, ethernet, icmp, ipv4, ipv6, protocol, tcp};

/// The hop limit of what Weir sends itself (RFC 1700, "IP time to live parameter").
const TTL: u8 = 64;

#[inline(always)]
fn sent(here: &Interface, why: Reason, made: Result<(), Refused>) -> Result<Sent, Reason> {
    match made {
        Ok(()) => Ok(Sent { why, to: here.egress }),
        Err(Refused) => Err(Reason::Unchangeable),
    }
}

/// "The address you ask for is here" (RFC 826).
#[inline(always)]
pub(crate) fn arp<P: Packet>(p: &mut P, here: &Interface, request: &ArpRequest) -> Result<Sent, Reason> {
    let made = write_arp_reply(p, here.mac, request);
    sent(here, Reason::AnsweredArp, made)
}

#[inline(always)]
fn write_arp_reply<P: Packet>(p: &mut P, mac: Mac, request: &ArpRequest) -> Result<(), Refused> {
    write_macs(p, request.sender_mac, mac)?;
    p.write(ArpRequest::OPERATION, ArpRequest::REPLY)?;
    p.write(ArpRequest::OPERATION + 2, mac.0)?;
    p.write(ArpRequest::OPERATION + 8, request.target.0)?;
    p.write(ArpRequest::OPERATION + 12, request.sender_mac.0)?;
    p.write(ArpRequest::OPERATION + 18, request.sender.0)
}

/// What a family's answers look like.
pub(crate) trait Answer: Family {
    /// What is neither TCP nor UDP: an echo request to Weir is answered, the rest leaves for `why`.
    fn icmp<P: Packet>(
        p: &mut P,
        here: &Interface,
        frame: &Ethernet,
        ip: &Ip<Self::Address>,
        is_for_weir: bool,
        why: Reason,
    ) -> Result<Sent, Reason>;

    /// A fresh header back to the sender, for `payload_len` bytes of TCP.
    fn head_back<P: Packet>(p: &mut P, ip: &Ip<Self::Address>, payload_len: usize) -> Result<(), Refused>;
}

impl Answer for V4 {
    #[inline(always)]
    fn icmp<P: Packet>(
        p: &mut P,
        here: &Interface,
        frame: &Ethernet,
        ip: &Ip<Ip4>,
        is_for_weir: bool,
        why: Reason,
    ) -> Result<Sent, Reason> {
        if why != Reason::UnsupportedProtocol || ip.protocol != protocol::ICMP {
            return Err(why);
        }
        if !is_for_weir {
            return Err(Reason::IcmpIgnored);
        }
        echo(p, here, frame, ip)
    }

    /// The header keeps its length, because the kernel may have noted where the segment starts; options become
    /// "end of options" (RFC 791 section 3.1).
    #[inline(always)]
    fn head_back<P: Packet>(p: &mut P, ip: &Ip<Ip4>, payload_len: usize) -> Result<(), Refused> {
        const DONT_FRAGMENT: [u8; 4] = [0, 0, 0x40, 0];
        const MAX_OPTIONS: usize = 40;
        let header_len = ip.payload_at - ipv4::AT;
        let version_ihl = 0x40 | (header_len / 4) as u8;
        let total_len = ((header_len + payload_len) as u16).to_be_bytes();
        let ttl_protocol = [TTL, protocol::TCP];
        let (src, dst): (Ip4, Ip4) = (ip.dst, ip.src);
        let checksum = Sum::default()
            .add2([version_ihl, 0])
            .add2(total_len)
            .add4(DONT_FRAGMENT)
            .add2(ttl_protocol)
            .add4(src.0)
            .add4(dst.0)
            .checksum();

        p.write(ipv4::AT, [version_ihl, 0])?;
        p.write(ipv4::AT + 2, total_len)?;
        p.write(ipv4::AT + 4, DONT_FRAGMENT)?;
        p.write(ipv4::TTL, ttl_protocol)?;
        p.write(ipv4::CHECKSUM, checksum)?;
        p.write(ipv4::SRC, src.0)?;
        p.write(ipv4::DST, dst.0)?;
        let mut option = 0;
        while option < MAX_OPTIONS {
            if ipv4::AT + ipv4::LEN + option < ip.payload_at {
                p.write(ipv4::AT + ipv4::LEN + option, [0; 4])?;
            }
            option += 4;
        }
        Ok(())
    }
}

impl Answer for V6 {
    #[inline(always)]
    fn icmp<P: Packet>(
        _: &mut P,
        _: &Interface,
        _: &Ethernet,
        ip: &Ip<Ip6>,
        _: bool,
        why: Reason,
    ) -> Result<Sent, Reason> {
        let is_icmp = why == Reason::UnsupportedProtocol && ip.protocol == protocol::ICMPV6;
        Err(if is_icmp { Reason::IcmpIgnored } else { why })
    }

    #[inline(always)]
    fn head_back<P: Packet>(p: &mut P, ip: &Ip<Ip6>, payload_len: usize) -> Result<(), Refused> {
        const VERSION: [u8; 4] = [0x60, 0, 0, 0];
        let [len0, len1] = (payload_len as u16).to_be_bytes();
        p.write(ipv6::AT, VERSION)?;
        p.write(ipv6::PAYLOAD_LEN, [len0, len1, protocol::TCP, TTL])?;
        p.write(ipv6::SRC, ip.dst.0)?;
        p.write(ipv6::DST, ip.src.0)
    }
}

/// An echo reply (RFC 792, RFC 1122 section 3.2.2.6), to an echo request alone.
#[inline(always)]
fn echo<P: Packet>(p: &mut P, here: &Interface, frame: &Ethernet, ip: &Ip<Ip4>) -> Result<Sent, Reason> {
    let is_request = ip.payload_len >= icmp::LEN && p.read(ip.payload_at) == Some(icmp::ECHO_REQUEST);
    if !is_request {
        return Err(Reason::IcmpIgnored);
    }
    if !ip.src.may_be_source() {
        return Err(Reason::BadSource);
    }
    let made = write_echo_reply(p, here.mac, frame, ip);
    sent(here, Reason::AnsweredEcho, made)
}

#[inline(always)]
fn write_echo_reply<P: Packet>(p: &mut P, mac: Mac, frame: &Ethernet, ip: &Ip<Ip4>) -> Result<(), Refused> {
    write_macs(p, frame.src, mac)?;
    // Swapped addresses sum up to what they did before: only the hop limit moves the header's checksum.
    let [old, new] = [[ip.hop_limit, ip.protocol], [TTL, ip.protocol]];
    let checksum = p.read(ipv4::CHECKSUM).ok_or(Refused)?;
    p.write(ipv4::TTL, new)?;
    p.write(ipv4::CHECKSUM, Sum::default().sub2(old).add2(new).mend(checksum))?;
    p.write(ipv4::SRC, ip.dst.0)?;
    p.write(ipv4::DST, ip.src.0)?;
    p.write(ip.payload_at, icmp::ECHO_REPLY)?;
    let delta = Delta::default().body2(icmp::ECHO_REQUEST, icmp::ECHO_REPLY);
    p.fix_l4(ip.payload_at + icmp::CHECKSUM, delta, false)
}

/// A RST for a segment that belongs to no connection (RFC 9293 section 3.10.7.1). Never for a RST.
#[inline(always)]
pub(crate) fn reset<F: Answer, P: Packet>(
    p: &mut P,
    here: &Interface,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
    segment: &Segment,
) -> Result<Sent, Reason> {
    let tcp = match segment.tcp {
        Some(tcp) if !segment.is_reset() => tcp,
        _ => return Err(Reason::ResetWithoutFlow),
    };
    if !ip.src.may_be_source() {
        return Err(Reason::BadSource);
    }
    let made = write_reset::<F, P>(p, here.mac, frame, ip, segment, tcp);
    sent(here, Reason::AnsweredReset, made)
}

#[inline(always)]
fn write_reset<F: Answer, P: Packet>(
    p: &mut P,
    mac: Mac,
    frame: &Ethernet,
    ip: &Ip<F::Address>,
    segment: &Segment,
    tcp: Tcp,
) -> Result<(), Refused> {
    let [sequence, acknowledgement] = reset_numbers(p, ip.payload_len, segment, tcp).ok_or(Refused)?;
    let reset_flags = if tcp.flags & tcp::ACK != 0 { tcp::RST } else { tcp::RST | tcp::ACK };

    p.resize(segment.at + tcp::LEN)?;
    write_macs(p, frame.src, mac)?;
    F::head_back(p, ip, tcp::LEN)?;

    let ports = [segment.dport.0, segment.sport.0];
    let offset_and_flags = [5 << 4, reset_flags];
    p.write(segment.at, ports[0])?;
    p.write(segment.at + 2, ports[1])?;
    p.write(segment.at + 4, sequence)?;
    p.write(segment.at + 8, acknowledgement)?;
    p.write(segment.at + 12, offset_and_flags)?;
    // Window, checksum and urgent pointer.
    p.write(segment.at + 14, [0; 6])?;

    let pseudo = ip.src.sum().plus(ip.dst.sum()).add2([0, protocol::TCP]);
    let parts = Delta {
        pseudo: pseudo.add2((tcp::LEN as u16).to_be_bytes()),
        body: Sum::default()
            .add2(ports[0])
            .add2(ports[1])
            .add4(sequence)
            .add4(acknowledgement)
            .add2(offset_and_flags),
    };
    p.put_l4(segment.checksum_at, parts)
}

/// The sequence and acknowledgement numbers that make the sender accept the RST.
#[inline(always)]
fn reset_numbers<P: Packet>(p: &P, segment_len: usize, segment: &Segment, tcp: Tcp) -> Option<[[u8; 4]; 2]> {
    if tcp.flags & tcp::ACK != 0 {
        return Some([tcp.acknowledgement.to_be_bytes(), [0; 4]]);
    }
    let data = (segment_len - usize::from(tcp.header_len)) as u32;
    // SYN and FIN take a sequence number each (RFC 9293 section 3.4).
    let phantom = u32::from(tcp.flags & tcp::SYN != 0) + u32::from(tcp.flags & tcp::FIN != 0);
    let next = segment.sequence(p)?.wrapping_add(data).wrapping_add(phantom);
    Some([[0; 4], next.to_be_bytes()])
}

#[inline(always)]
fn write_macs<P: Packet>(p: &mut P, dst: Mac, src: Mac) -> Result<(), Refused> {
    p.write(ethernet::DST, dst.0)?;
    p.write(ethernet::SRC, src.0)
}
