//! What nobody asked for: packets of every kind that a sandbox could be reached by, if anybody let them in.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};

use crate::error::Error;
use crate::forge::checksum;
use crate::netns::Netns;
use crate::raw;

/// A kind of packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A TCP segment that begins a connection.
    Syn,
    /// One that answers that.
    SynAck,
    /// One in the middle of a connection.
    Ack,
    /// One that ends it at once.
    Rst,
    /// A datagram.
    Udp,
    /// An echo request.
    Echo,
    /// The answer to one that nobody sent. Its identifier is the port it is for.
    EchoReply,
    /// The first fragment of a datagram.
    FirstFragment,
    /// A later one.
    LaterFragment,
    /// An ICMP error about a segment that nobody sent.
    Unreachable,
}

impl Kind {
    /// Every kind there is of IPv4.
    pub const ALL: [Self; 10] = [
        Self::Syn,
        Self::SynAck,
        Self::Ack,
        Self::Rst,
        Self::Udp,
        Self::Echo,
        Self::EchoReply,
        Self::FirstFragment,
        Self::LaterFragment,
        Self::Unreachable,
    ];

    /// Those that IPv6 has as well without a header between.
    pub const OF_IPV6: [Self; 7] =
        [Self::Syn, Self::SynAck, Self::Ack, Self::Rst, Self::Udp, Self::Echo, Self::EchoReply];

    /// Those that are made for an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> &'static [Self] {
        if address.is_ipv4() { &Self::ALL } else { &Self::OF_IPV6 }
    }
}

/// A packet of a kind, from somewhere, to an address and port.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Which kind.
    pub kind: Kind,
    /// Who sends it.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
}

/// What is in a datagram.
const WORDS: &[u8] = b"is anybody there?";
const WINDOW: u16 = 1024;

impl Probe {
    /// Sends it from a namespace.
    pub fn send(self, netns: &Netns) -> Result<(), Error> {
        let packet = self.packet().ok_or_else(|| Error::Io {
            what: format!("build {self:?}"),
            source: std::io::Error::other("the ends are of two families, or the kind is not of theirs"),
        })?;
        raw::send(netns, packet, self.to.ip())
    }

    fn packet(self) -> Option<Vec<u8>> {
        let (sport, dport) = (self.from.port(), self.to.port());
        let ip = self.ip()?;
        match self.kind {
            Kind::Syn => tcp(ip.tcp(sport, dport, 1, WINDOW).syn()),
            Kind::SynAck => tcp(ip.tcp(sport, dport, 1, WINDOW).syn().ack(1)),
            Kind::Ack => tcp(ip.tcp(sport, dport, 1, WINDOW).ack(1)),
            Kind::Rst => tcp(ip.tcp(sport, dport, 1, WINDOW).rst()),
            Kind::Udp => datagram(ip, sport, dport),
            Kind::Echo | Kind::EchoReply => self.echo(ip),
            Kind::FirstFragment => fragment(&datagram(ip, sport, dport)?, true),
            Kind::LaterFragment => fragment(&datagram(ip, sport, dport)?, false),
            Kind::Unreachable => {
                // What the address is claimed to have sent.
                let quoted = Self { kind: Kind::Ack, from: self.to, to: self.from }.packet()?;
                let port_unreachable = [3, 3, 0, 0, 0, 0, 0, 0];
                let mut message = [&port_unreachable[..], quoted.get(..28)?].concat();
                let sum = checksum(&message).to_be_bytes();
                message.get_mut(2..4)?.copy_from_slice(&sum);
                let mut packet = Vec::new();
                ip.write(&mut packet, etherparse::ip_number::ICMP, &message).ok().map(|()| packet)
            }
        }
    }

    fn ip(self) -> Option<PacketBuilderStep<IpHeaders>> {
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Some(PacketBuilder::ipv4(from.octets(), to.octets(), 64)),
            (IpAddr::V6(from), IpAddr::V6(to)) => Some(PacketBuilder::ipv6(from.octets(), to.octets(), 64)),
            _ => None,
        }
    }

    fn echo(self, ip: PacketBuilderStep<IpHeaders>) -> Option<Vec<u8>> {
        let (id, mut packet) = (self.to.port(), Vec::new());
        let is_request = self.kind == Kind::Echo;
        let written = match (self.to.is_ipv4(), is_request) {
            (true, true) => ip.icmpv4_echo_request(id, 1).write(&mut packet, WORDS),
            (true, false) => ip.icmpv4_echo_reply(id, 1).write(&mut packet, WORDS),
            (false, true) => ip.icmpv6_echo_request(id, 1).write(&mut packet, WORDS),
            (false, false) => ip.icmpv6_echo_reply(id, 1).write(&mut packet, WORDS),
        };
        written.ok().map(|()| packet)
    }
}

fn tcp(step: PacketBuilderStep<etherparse::TcpHeader>) -> Option<Vec<u8>> {
    let mut packet = Vec::new();
    step.write(&mut packet, &[]).ok().map(|()| packet)
}

fn datagram(ip: PacketBuilderStep<IpHeaders>, sport: u16, dport: u16) -> Option<Vec<u8>> {
    let mut packet = Vec::new();
    ip.udp(sport, dport).write(&mut packet, WORDS).ok().map(|()| packet)
}

/// A whole IPv4 packet, said to be the first fragment of a longer one, or its second. The kernel completes the header.
fn fragment(whole: &[u8], is_first: bool) -> Option<Vec<u8>> {
    const FLAGS: usize = 6;
    const MORE_FRAGMENTS: u16 = 0x2000;
    let word = if is_first { MORE_FRAGMENTS } else { 1480 / 8 };
    let mut packet = whole.to_vec();
    packet.get_mut(FLAGS..FLAGS + 2)?.copy_from_slice(&word.to_be_bytes());
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_built_for_its_families() {
        let ends: [[SocketAddr; 2]; 2] =
            [["192.0.2.1:1", "192.0.2.2:2"], ["[2001:db8::1]:1", "[2001:db8::2]:2"]]
                .map(|ends| ends.map(|end| end.parse().unwrap()));
        for [from, to] in ends {
            for kind in Kind::of(to.ip()) {
                assert!(Probe { kind: *kind, from, to }.packet().is_some(), "{kind:?} to {to}");
            }
        }
    }
}
