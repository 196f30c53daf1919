//! Frames byte by byte, also such as no kernel would send.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A station's address.
pub type Mac = [u8; 6];

/// Every station.
pub const ALL_STATIONS: Mac = [0xff; 6];

/// Ethertypes.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// A tag of 802.1Q.
    pub const VLAN: u16 = 0x8100;
    /// A tag of 802.1ad, in front of another one.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// Protocol numbers.
pub mod protocol {
    /// Options for every hop, of IPv6.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// A routing header of IPv6.
    pub const ROUTING: u8 = 43;
    /// A fragment of IPv6.
    pub const FRAGMENT: u8 = 44;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// Options for the destination, of IPv6.
    pub const OPTIONS: u8 = 60;
}

/// TCP's control bits.
pub mod flags {
    /// FIN.
    pub const FIN: u8 = 1;
    /// SYN.
    pub const SYN: u8 = 2;
    /// RST.
    pub const RST: u8 = 4;
    /// PSH.
    pub const PSH: u8 = 8;
    /// ACK.
    pub const ACK: u8 = 16;
    /// URG.
    pub const URG: u8 = 32;
}

/// A frame.
#[must_use]
pub fn frame([to, from]: [Mac; 2], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), payload].concat()
}

/// What an ARP message says: who sends it, and about whom.
#[derive(Clone, Copy, Debug)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// Who says that it sends.
    pub sender: (Mac, Ipv4Addr),
    /// Who is asked for, or told.
    pub target: (Mac, Ipv4Addr),
}

impl Arp {
    /// The message (RFC 826).
    #[must_use]
    pub fn message(self) -> Vec<u8> {
        let [sender, target] = [self.sender, self.target].map(|(mac, ip)| [&mac[..], &ip.octets()].concat());
        [&[0, 1, 8, 0, 6, 4][..], &self.operation.to_be_bytes(), &sender, &target].concat()
    }
}

/// Who a packet is said to be from, and whom it is for.
#[derive(Clone, Copy, Debug)]
pub enum Between {
    /// Of IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// Of IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

/// The hop limit of neighbours' talk (RFC 4861), which is not too short for anything else.
const HOPS: u8 = 255;
const WINDOW: u16 = 1024;

impl Between {
    /// Its ethertype.
    #[must_use]
    pub const fn ethertype(self) -> u16 {
        match self {
            Self::V4(..) => ethertype::IPV4,
            Self::V6(..) => ethertype::IPV6,
        }
    }

    /// The number of ICMP in its family.
    #[must_use]
    pub const fn icmp_number(self) -> u8 {
        match self {
            Self::V4(..) => protocol::ICMP,
            Self::V6(..) => protocol::ICMPV6,
        }
    }

    /// A packet with this in it. All checksums in it are right.
    #[must_use]
    pub fn packet(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = payload.len() as u16;
        let mut packet = match self {
            Self::V4(from, to) => {
                let head = [&[0x45, 0][..], &(20 + len).to_be_bytes(), &[0, 1, 0, 0, HOPS, protocol, 0, 0]];
                [&head.concat(), &from.octets()[..], &to.octets(), payload].concat()
            }
            Self::V6(from, to) => {
                let head = [&[0x60, 0, 0, 0][..], &len.to_be_bytes(), &[protocol, HOPS]].concat();
                [&head, &from.octets()[..], &to.octets(), payload].concat()
            }
        };
        mend(&mut packet);
        packet
    }

    /// A TCP segment.
    #[must_use]
    pub fn tcp(self, ports: [u16; 2], numbers: [u32; 2], flags: u8, words: &[u8]) -> Vec<u8> {
        let numbers = numbers.map(u32::to_be_bytes).concat();
        let rest = [[0x50, flags], WINDOW.to_be_bytes(), [0; 2], [0; 2]].concat();
        self.packet(protocol::TCP, &[&between(ports), &numbers[..], &rest, words].concat())
    }

    /// A datagram.
    #[must_use]
    pub fn udp(self, ports: [u16; 2], words: &[u8]) -> Vec<u8> {
        let len = (8 + words.len() as u16).to_be_bytes();
        self.packet(protocol::UDP, &[&between(ports), &len[..], &[0; 2], words].concat())
    }

    /// An ICMP message of this type and code, with what comes behind its checksum.
    #[must_use]
    pub fn icmp(self, kind: [u8; 2], rest: &[u8]) -> Vec<u8> {
        self.packet(self.icmp_number(), &[&kind, &[0; 2], rest].concat())
    }

    /// An echo request.
    #[must_use]
    pub fn echo(self, identifier: u16) -> Vec<u8> {
        let kind = if matches!(self, Self::V4(..)) { [8, 0] } else { [128, 0] };
        self.icmp(kind, &[&identifier.to_be_bytes(), &[0, 1][..], b"is anybody there?"].concat())
    }
}

fn between(ports: [u16; 2]) -> [u8; 4] {
    let [[a, b], [c, d]] = ports.map(u16::to_be_bytes);
    [a, b, c, d]
}

/// Sets the checksums of a packet right, as far as its headers say where they are: what looks whole is whole.
pub fn mend(packet: &mut [u8]) {
    // A packet whose headers lead nowhere has no checksums.
    let _: Option<()> = mend_headers(packet);
}

fn mend_headers(packet: &mut [u8]) -> Option<()> {
    let (protocol, at, end) = match packet.first()? >> 4 {
        4 => mend_v4(packet)?,
        6 => behind_v6(packet)?,
        _ => return None,
    };
    let is_v4 = packet.first()? >> 4 == 4;
    let addresses = if is_v4 { packet.get(12..20) } else { packet.get(8..40) }?.to_vec();
    let (field, end) = match protocol {
        protocol::TCP => (at + 16, end),
        protocol::UDP => (at + 6, end.min(at + usize::from(word(packet, at + 4)?))),
        protocol::ICMP if is_v4 => (at + 2, end),
        protocol::ICMPV6 if !is_v4 => (at + 2, end),
        _ => return None,
    };
    if field + 2 > end {
        return None;
    }
    put(packet, field, 0)?;
    let pseudo = [&addresses[..], &[0, protocol], &((end - at) as u16).to_be_bytes()].concat();
    let covered = if protocol == protocol::ICMP { &[] } else { &pseudo[..] };
    let sum = checksum(&[covered, packet.get(at..end)?].concat());
    // A datagram's zero would say that there is none (RFC 768).
    put(packet, field, if sum == 0 && protocol == protocol::UDP { 0xffff } else { sum })
}

/// Sets the header's checksum right. Where what it carries begins and ends, unless that is in several packets.
fn mend_v4(packet: &mut [u8]) -> Option<(u8, usize, usize)> {
    let header_len = usize::from(packet.first()? & 15) * 4;
    let total = usize::from(word(packet, 2)?);
    if header_len < 20 || total < header_len || total > packet.len() {
        return None;
    }
    put(packet, 10, 0)?;
    let sum = checksum(packet.get(..header_len)?);
    put(packet, 10, sum)?;
    let is_whole = word(packet, 6)? & 0x3fff == 0;
    is_whole.then_some((*packet.get(9)?, header_len, total))
}

fn behind_v6(packet: &[u8]) -> Option<(u8, usize, usize)> {
    let end = 40 + usize::from(word(packet, 4)?);
    let (mut next, mut at) = (*packet.get(6)?, 40);
    while matches!(next, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::OPTIONS) {
        next = *packet.get(at)?;
        at += 8 * (1 + usize::from(*packet.get(at + 1)?));
    }
    (end <= packet.len() && at <= end).then_some((next, at, end))
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn put(bytes: &mut [u8], at: usize, word: u16) -> Option<()> {
    bytes.get_mut(at..at + 2)?.copy_from_slice(&word.to_be_bytes());
    Some(())
}

/// RFC 1071.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| {
        let [high, low] = [0, 1].map(|at| pair.get(at).copied().unwrap_or(0));
        u32::from(u16::from_be_bytes([high, low]))
    };
    let sum = bytes.chunks(2).map(word).sum::<u32>();
    let folded = (sum >> 16) + (sum & 0xffff);
    !(((folded >> 16) + folded) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Verdicts;

    const V4: Between = Between::V4(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    const V6: Between = Between::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), Ipv6Addr::LOCALHOST);

    #[test]
    fn what_is_built_is_right_for_a_checker_that_shares_no_code_with_it() {
        let built = [V4, V6].map(|between| {
            [
                between.tcp([1, 2], [3, 4], flags::SYN, b"odd"),
                between.udp([1, 2], b"odd"),
                between.echo(7),
                between.packet(protocol::UDP, &[0, 1, 0, 2, 0, 8, 9, 9]),
            ]
            .map(|packet| frame([[2; 6], [4; 6]], between.ethertype(), &packet))
        });
        let verdicts = Verdicts::of(&built.concat());
        assert_eq!((verdicts.tcp, verdicts.udp, verdicts.icmp, verdicts.wrong), (2, 4, 2, vec![]));
    }

    #[test]
    fn lengths_that_lead_nowhere_are_left_as_they_are() {
        let whole = V4.tcp([1, 2], [3, 4], flags::SYN, b"");
        for (at, lie) in [(0, 0x41), (0, 0x4f), (2, 0xff), (3, 3)] {
            let mut lying = whole.clone();
            lying[at] = lie;
            mend(&mut lying);
        }
        for len in 0..whole.len() {
            mend(&mut whole.clone()[..len]);
        }
    }
}
