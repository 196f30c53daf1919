//! Packets as a test says them, and as they are heard again: every header written and read here, byte by byte, so that what
//! a NAT gets wrong is not hidden by a library that would not send it, or by code that the path has as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// As far as most hosts let a packet come.
const HOPS: u8 = 64;
const IPV4: usize = 20;
const IPV6: usize = 40;
const ETHERNET: usize = 14;

/// Protocol numbers.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMP6: u8 = 58;
}

/// TCP's control bits.
pub mod tcp {
    /// The sender is done.
    pub const FIN: u8 = 1;
    /// The sender begins.
    pub const SYN: u8 = 2;
    /// It is over at once.
    pub const RST: u8 = 4;
    /// The acknowledgement counts.
    pub const ACK: u8 = 16;
}

/// What an ICMP error is about, in both families' numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nobody listens on that port.
    Port,
    /// The host is not there.
    Host,
    /// It may not be.
    Prohibited,
    /// It is too long.
    TooBig,
    /// It took too many hops.
    Expired,
}

impl Trouble {
    /// Type and code.
    #[must_use]
    pub const fn kind(self, is_ipv4: bool) -> [u8; 2] {
        match (self, is_ipv4) {
            (Self::Port, true) => [3, 3],
            (Self::Host, true) => [3, 1],
            (Self::Prohibited, true) => [3, 13],
            (Self::TooBig, true) => [3, 4],
            (Self::Expired, true) => [11, 0],
            (Self::Port, false) => [1, 4],
            (Self::Host, false) => [1, 3],
            (Self::Prohibited, false) => [1, 1],
            (Self::TooBig, false) => [2, 0],
            (Self::Expired, false) => [3, 0],
        }
    }
}

/// A packet that is to be sent. An identifier of an ICMP query stands in the port of the end that asked.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sends it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The protocol.
    pub protocol: u8,
    /// From the L4 header on; its checksum is completed.
    pub l4: Vec<u8>,
    /// Not to be cut in pieces.
    pub is_whole: bool,
    /// IPv4's identification, where it is to be a certain one.
    pub identification: u16,
    /// How many hops it may take.
    pub hops: u8,
}

impl Packet {
    fn new([from, to]: [SocketAddr; 2], protocol: u8, l4: Vec<u8>) -> Self {
        Self { from, to, protocol, l4, is_whole: false, identification: 0, hops: HOPS }.summed()
    }

    /// A datagram.
    #[must_use]
    pub fn udp(ends: [SocketAddr; 2], words: &[u8]) -> Self {
        let mut l4 = ports(ends);
        l4.extend(((8 + words.len()) as u16).to_be_bytes());
        l4.extend([0, 0]);
        l4.extend(words);
        Self::new(ends, protocol::UDP, l4)
    }

    /// A segment.
    #[must_use]
    pub fn tcp(ends: [SocketAddr; 2], flags: u8, [sequence, acknowledges]: [u32; 2], words: &[u8]) -> Self {
        const WINDOW: [u8; 2] = 8192_u16.to_be_bytes();
        let mut l4 = ports(ends);
        l4.extend(sequence.to_be_bytes());
        l4.extend(acknowledges.to_be_bytes());
        l4.extend([5 << 4, flags, WINDOW[0], WINDOW[1], 0, 0, 0, 0]);
        l4.extend(words);
        Self::new(ends, protocol::TCP, l4)
    }

    /// An echo request, whose identifier is the sender's port; or the answer, whose is the receiver's.
    #[must_use]
    pub fn echo(ends: [SocketAddr; 2], is_request: bool, words: &[u8]) -> Self {
        let [from, to] = ends;
        let kind = match (from.is_ipv4(), is_request) {
            (true, true) => 8,
            (true, false) => 0,
            (false, true) => 128,
            (false, false) => 129,
        };
        let identifier = if is_request { from.port() } else { to.port() };
        Self::icmp(ends, [kind, 0], identifier.to_be_bytes(), [0, 1], words)
    }

    /// Any ICMP message.
    #[must_use]
    pub fn icmp(ends: [SocketAddr; 2], kind: [u8; 2], third: [u8; 2], fourth: [u8; 2], body: &[u8]) -> Self {
        let mut l4 = kind.to_vec();
        l4.extend([0, 0]);
        l4.extend([third, fourth].concat());
        l4.extend(body);
        let protocol = if ends[0].is_ipv4() { protocol::ICMP } else { protocol::ICMP6 };
        Self::new(ends, protocol, l4)
    }

    /// An error about a packet, quoted as it was heard.
    #[must_use]
    pub fn error(ends: [SocketAddr; 2], what: Trouble, quoted: &[u8]) -> Self {
        Self::icmp(ends, what.kind(ends[0].is_ipv4()), [0, 0], [0, 0], quoted)
    }

    /// With the right checksum again, after a change.
    #[must_use]
    pub fn summed(mut self) -> Self {
        let at = checksum_at(self.protocol);
        let Some(field) = self.l4.get_mut(at..at + 2) else { return self };
        field.fill(0);
        let sum = sum_of_l4([self.from.ip(), self.to.ip()], self.protocol, &self.l4);
        if let Some(field) = self.l4.get_mut(at..at + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        self
    }

    /// From the IP header on.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.piece(&self.l4, if self.is_whole { 0x4000 } else { 0 })
    }

    /// The pieces that it is cut into, each of so many bytes behind the IP header: a multiple of eight. IPv4's alone.
    #[must_use]
    pub fn fragments(&self, len: usize) -> Vec<Vec<u8>> {
        let last = self.l4.len().div_ceil(len).saturating_sub(1);
        let piece = |(n, part): (usize, &[u8])| {
            let more = if n < last { 0x2000 } else { 0 };
            self.piece(part, more | (n * len / 8) as u16)
        };
        self.l4.chunks(len).enumerate().map(piece).collect()
    }

    fn piece(&self, payload: &[u8], fragment: u16) -> Vec<u8> {
        let mut ip = match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let mut ip = vec![0x45, 0];
                ip.extend(((IPV4 + payload.len()) as u16).to_be_bytes());
                ip.extend(self.identification.to_be_bytes());
                ip.extend(fragment.to_be_bytes());
                ip.extend([self.hops, self.protocol, 0, 0]);
                ip.extend([from.octets(), to.octets()].concat());
                let sum = sum(&ip, 0).to_be_bytes();
                ip.splice(10..12, sum);
                ip
            }
            (from, to) => {
                let mut ip = vec![0x60, 0, 0, 0];
                ip.extend((payload.len() as u16).to_be_bytes());
                ip.extend([self.protocol, self.hops]);
                ip.extend([octets(from), octets(to)].concat());
                ip
            }
        };
        ip.extend(payload);
        ip
    }
}

/// The same packet of IPv4, with options in its header that say nothing.
#[must_use]
pub fn with_options(ip: &[u8]) -> Vec<u8> {
    const NOTHING: [u8; 4] = [1, 1, 1, 0];
    let mut ip = ip.to_vec();
    let len = ((ip.len() + NOTHING.len()) as u16).to_be_bytes();
    ip.splice(0..1, [0x46]);
    ip.splice(2..4, len);
    ip.splice(10..12, [0, 0]);
    ip.splice(IPV4..IPV4, NOTHING);
    let sum = sum(ip.get(..IPV4 + NOTHING.len()).unwrap_or_default(), 0).to_be_bytes();
    ip.splice(10..12, sum);
    ip
}

fn ports([from, to]: [SocketAddr; 2]) -> Vec<u8> {
    [from.port().to_be_bytes(), to.port().to_be_bytes()].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(it) => it.octets().to_vec(),
        IpAddr::V6(it) => it.octets().to_vec(),
    }
}

const fn checksum_at(protocol: u8) -> usize {
    match protocol {
        protocol::TCP => 16,
        protocol::UDP => 6,
        _ => 2,
    }
}

/// RFC 1071, beginning with what is summed up already.
fn sum(bytes: &[u8], before: u32) -> u16 {
    let word = |pair: &[u8]| {
        u32::from(pair.first().copied().unwrap_or(0)) << 8 | u32::from(pair.get(1).copied().unwrap_or(0))
    };
    let mut sum = bytes.chunks(2).map(word).fold(before, u32::wrapping_add);
    while sum >> 16 != 0 {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

fn sum_of_l4([from, to]: [IpAddr; 2], protocol: u8, l4: &[u8]) -> u16 {
    if protocol == protocol::ICMP {
        return sum(l4, 0);
    }
    let pseudo = [octets(from), octets(to)].concat();
    let before = u32::from(!sum(&pseudo, 0)) + u32::from(protocol) + l4.len() as u32;
    sum(l4, before)
}

/// A packet that was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// From the IP header on.
    pub bytes: Vec<u8>,
    /// Who sent it: an identifier of a query stands in the port of the end that asked.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// The protocol.
    pub protocol: u8,
    /// From the L4 header on.
    pub l4: Vec<u8>,
    /// Where in the datagram it begins, and whether more follows.
    pub fragment: (usize, bool),
}

impl Heard {
    /// Reads a frame.
    #[must_use]
    pub fn of_frame(frame: &[u8]) -> Option<Self> {
        Self::of_packet(frame.get(ETHERNET..)?)
    }

    /// Reads a packet, or as much of one as was quoted.
    #[must_use]
    pub fn of_packet(ip: &[u8]) -> Option<Self> {
        let (addresses, protocol, l4, fragment) = match ip.first()? >> 4 {
            4 => ipv4(ip)?,
            6 => ipv6(ip)?,
            _ => return None,
        };
        let [sport, dport] = if fragment.0 == 0 { ends(protocol, l4)? } else { [0, 0] };
        let [from, to] = addresses;
        Some(Self {
            bytes: ip.to_vec(),
            from: SocketAddr::new(from, sport),
            to: SocketAddr::new(to, dport),
            protocol,
            l4: l4.to_vec(),
            fragment,
        })
    }

    /// Whether its checksums are right.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let is_v6 = self.from.is_ipv6();
        let header = usize::from(self.bytes.first().copied().unwrap_or(0) & 15) * 4;
        let is_header_right = is_v6 || self.bytes.get(..header).is_some_and(|it| sum(it, 0) == 0);
        let is_piece = self.fragment != (0, false);
        is_header_right
            && (is_piece || sum_of_l4([self.from.ip(), self.to.ip()], self.protocol, &self.l4) == 0)
    }

    /// IPv4's identification.
    #[must_use]
    pub fn identification(&self) -> u16 {
        self.word(4)
    }

    fn word(&self, at: usize) -> u16 {
        self.bytes.get(at..at + 2).and_then(|it| it.try_into().ok()).map_or(0, u16::from_be_bytes)
    }

    /// Type and code, where it is ICMP.
    #[must_use]
    pub fn kind(&self) -> Option<[u8; 2]> {
        let is_icmp = [protocol::ICMP, protocol::ICMP6].contains(&self.protocol);
        self.l4.get(..2).filter(|_| is_icmp).and_then(|it| it.try_into().ok())
    }

    /// TCP's control bits; 0 where there are none.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.l4.get(13).copied().filter(|_| self.protocol == protocol::TCP).unwrap_or(0)
    }

    /// TCP's sequence number, and what it acknowledges.
    #[must_use]
    pub fn numbers(&self) -> [u32; 2] {
        [4, 8]
            .map(|at| self.l4.get(at..at + 4).and_then(|it| it.try_into().ok()).map_or(0, u32::from_be_bytes))
    }

    /// What is behind the L4 header; of an ICMP error, what it quotes.
    #[must_use]
    pub fn words(&self) -> &[u8] {
        let at = if self.protocol == protocol::TCP {
            usize::from(self.l4.get(12).copied().unwrap_or(0) >> 4) * 4
        } else {
            8
        };
        self.l4.get(at..).unwrap_or_default()
    }

    /// What it quotes, where it is an error.
    #[must_use]
    pub fn quoted(&self) -> Option<Self> {
        let [kind, _] = self.kind()?;
        let is_error = match self.protocol {
            protocol::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
            _ => kind < 128,
        };
        Self::of_packet(self.words()).filter(|_| is_error)
    }
}

type Read<'a> = ([IpAddr; 2], u8, &'a [u8], (usize, bool));

fn ipv4(ip: &[u8]) -> Option<Read<'_>> {
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?).into());
    let header = usize::from(ip.first()? & 15) * 4;
    let total = usize::from(u16::from_be_bytes(ip.get(2..4)?.try_into().ok()?));
    let fragment = u16::from_be_bytes(ip.get(6..8)?.try_into().ok()?);
    // A quote may be cut, and a frame padded.
    let l4 = ip.get(header..total.min(ip.len()))?;
    let place = (usize::from(fragment & 0x1fff) * 8, fragment & 0x2000 != 0);
    Some(([address(12)?, address(16)?], *ip.get(9)?, l4, place))
}

fn ipv6(ip: &[u8]) -> Option<Read<'_>> {
    let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(ip.get(at..at + 16)?).ok()?).into());
    let len = usize::from(u16::from_be_bytes(ip.get(4..6)?.try_into().ok()?));
    let l4 = ip.get(IPV6..(IPV6 + len).min(ip.len()))?;
    Some(([address(8)?, address(24)?], *ip.get(6)?, l4, (0, false)))
}

fn ends(protocol: u8, l4: &[u8]) -> Option<[u16; 2]> {
    let word = |at: usize| Some(u16::from_be_bytes(l4.get(at..at + 2)?.try_into().ok()?));
    Some(match (protocol, l4.first()?) {
        (protocol::TCP | protocol::UDP, _) => [word(0)?, word(2)?],
        (protocol::ICMP, 8) | (protocol::ICMP6, 128) => [word(4)?, 0],
        (protocol::ICMP, 0) | (protocol::ICMP6, 129) => [0, word(4)?],
        _ => [0, 0],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_of(v6: bool) -> [SocketAddr; 2] {
        let text = if v6 { ["[2001:db8::1]:7", "[2001:db8::2]:9"] } else { ["192.0.2.1:7", "192.0.2.2:9"] };
        text.map(|it| it.parse().unwrap())
    }

    #[test]
    fn what_is_said_is_heard_with_right_checksums() {
        for v6 in [false, true] {
            let ends = ends_of(v6);
            let echo = Packet::echo([ends[0], SocketAddr::new(ends[1].ip(), 0)], true, b"odd");
            for packet in
                [Packet::udp(ends, b"odd"), Packet::tcp(ends, tcp::SYN, [1, 2], b"odd"), echo.clone()]
            {
                let heard = Heard::of_packet(&packet.bytes()).unwrap();
                assert!(heard.is_sound(), "{packet:?}");
                assert_eq!((heard.from, heard.to, heard.words()), (packet.from, packet.to, &b"odd"[..]));
                let error = Packet::error([ends[1], ends[0]], Trouble::Port, &heard.bytes);
                let error = Heard::of_packet(&error.bytes()).unwrap();
                assert!(error.is_sound());
                assert_eq!(error.quoted().map(|it| (it.from, it.to)), Some((packet.from, packet.to)));
            }
        }
    }

    #[test]
    fn fragments_are_pieces_of_one_datagram() {
        let packet = Packet { identification: 5, ..Packet::udp(ends_of(false), &[1; 40]) };
        let pieces: Vec<_> = packet.fragments(24).iter().map(|it| Heard::of_packet(it).unwrap()).collect();
        assert_eq!(pieces.iter().map(|it| it.fragment).collect::<Vec<_>>(), [(0, true), (24, false)]);
        assert!(pieces.iter().all(|it| it.is_sound() && it.identification() == 5));
    }
}
