//! Frames, described and then built. The bytes and the checksums are etherparse's: nothing here shares code
//! with the packet path, so that a fault in the path can't hide in the packets that test it.

use etherparse::{
    EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header, Icmpv4Type, IpFragOffset, IpNumber, Ipv4Header,
    TcpHeader, UdpHeader,
};
use weir_path::addr::{Ip4, L4Port, Mac};

pub mod spoil;

mod arp;
mod errors;
mod fragments;
mod ndp;
mod v6;

pub use arp::{Arp, is_at, who_has};
pub use errors::{error, error6, quotable};
pub use fragments::{fragments, fragments6};
pub use ndp::{Neighbour, solicited};
pub use v6::{Packet6, echo_reply6, echo_request6, packet6, tcp6, udp6};

/// Length of an Ethernet header: where the next header starts.
pub const ETHERNET: usize = 14;
/// The shortest frame that a kernel test run takes on TC: Ethernet and an IPv4 header.
pub const SHORTEST_ON_TC: usize = ETHERNET + 20;
/// The same where the frame says that it is IPv6: Ethernet and an IPv6 header.
pub const SHORTEST_V6_ON_TC: usize = ETHERNET + 40;

/// One end of a conversation, as the packet names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Party<A = Ip4> {
    /// Its MAC on this link.
    pub mac: Mac,
    /// Its address.
    pub ip: A,
    /// Its port.
    pub port: u16,
}

impl Party {
    /// The same machine and port, another address.
    #[must_use]
    pub const fn ip(self, a: u8, b: u8, c: u8, d: u8) -> Self {
        Self { ip: Ip4([a, b, c, d]), ..self }
    }
}

impl<A: Copy> Party<A> {
    /// The same machine, another port.
    #[must_use]
    pub const fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// The same address and port, behind another MAC.
    #[must_use]
    pub const fn mac(self, mac: Mac) -> Self {
        Self { mac, ..self }
    }

    /// The port as the path's tables hold it.
    #[must_use]
    pub const fn l4(self) -> L4Port {
        L4Port::new(self.port)
    }
}

/// TCP's control bits, as one byte.
pub mod flag {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Synchronise.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// Acknowledgement.
    pub const ACK: u8 = 0x10;
}

/// What an IPv4 packet carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A TCP segment.
    Tcp {
        /// Control bits, see [`flag`].
        flags: u8,
        /// Sequence number.
        seq: u32,
        /// Acknowledgement number.
        ack: u32,
        /// Window.
        window: u16,
        /// TCP options, a multiple of four bytes.
        options: Vec<u8>,
    },
    /// A UDP datagram.
    Udp {
        /// Whether it has a checksum; else the field is zero.
        checksum: bool,
    },
    /// An ICMP echo request.
    EchoRequest,
    /// An ICMP echo reply.
    EchoReply,
    /// Another ICMP message, such as an error: the payload is what it quotes.
    Icmp {
        /// Type and code.
        kind: [u8; 2],
        /// What stands behind the checksum.
        word: [u8; 4],
    },
    /// Another protocol: the payload follows the IPv4 header.
    Protocol(u8),
}

/// An IPv4 frame in the making.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ip {
    from: Party,
    to: Party,
    ttl: u8,
    ip_options: Vec<u8>,
    dont_fragment: bool,
    more_fragments: bool,
    fragment_offset: u16,
    identification: u16,
    identifier: u16,
    payload: Vec<u8>,
    body: Body,
}

/// A TCP segment with an ACK, unless told otherwise.
#[must_use]
pub fn tcp(from: Party, to: Party) -> Ip {
    let body = Body::Tcp { flags: flag::ACK, seq: 1_000, ack: 2_000, window: 64_240, options: Vec::new() };
    ip(from, to, body)
}

/// A UDP datagram with a checksum.
#[must_use]
pub fn udp(from: Party, to: Party) -> Ip {
    ip(from, to, Body::Udp { checksum: true }).payload(b"question")
}

/// An ICMP echo request.
#[must_use]
pub fn echo_request(from: Party, to: Party) -> Ip {
    ip(from, to, Body::EchoRequest).payload(b"are you there?")
}

/// An ICMP echo reply.
#[must_use]
pub fn echo_reply(from: Party, to: Party) -> Ip {
    ip(from, to, Body::EchoReply).payload(b"are you there?")
}

/// Any IPv4 packet.
#[must_use]
pub fn ip(from: Party, to: Party, body: Body) -> Ip {
    Ip {
        from,
        to,
        ttl: 64,
        ip_options: Vec::new(),
        dont_fragment: true,
        more_fragments: false,
        fragment_offset: 0,
        identification: 0x4242,
        identifier: ECHO.id,
        payload: Vec::new(),
        body,
    }
}

impl Ip {
    /// The same packet between others: what a translation leaves.
    #[must_use]
    pub fn between(self, from: Party, to: Party) -> Self {
        Self { from, to, ..self }
    }

    /// With this hop limit.
    #[must_use]
    pub fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// With this payload.
    #[must_use]
    pub fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// With these IPv4 options, a multiple of four bytes, at most forty.
    #[must_use]
    pub fn ip_options(self, options: &[u8]) -> Self {
        Self { ip_options: options.to_vec(), ..self }
    }

    /// With this identification.
    #[must_use]
    pub fn identification(self, identification: u16) -> Self {
        Self { identification, ..self }
    }

    /// With this identifier of an echo.
    #[must_use]
    pub fn identifier(self, identifier: u16) -> Self {
        Self { identifier, ..self }
    }

    /// As a fragment: `offset` counts eight-byte units.
    #[must_use]
    pub fn fragment(self, offset: u16, more: bool) -> Self {
        Self { fragment_offset: offset, more_fragments: more, dont_fragment: false, ..self }
    }

    /// With these TCP control bits. Does nothing to what isn't TCP.
    #[must_use]
    pub fn flags(mut self, new: u8) -> Self {
        if let Body::Tcp { flags, .. } = &mut self.body {
            *flags = new;
        }
        self
    }

    /// TCP's SYN alone.
    #[must_use]
    pub fn syn(self) -> Self {
        self.flags(flag::SYN).numbers(1_000, 0)
    }

    /// With these sequence and acknowledgement numbers.
    #[must_use]
    pub fn numbers(mut self, new_seq: u32, new_ack: u32) -> Self {
        if let Body::Tcp { seq, ack, .. } = &mut self.body {
            (*seq, *ack) = (new_seq, new_ack);
        }
        self
    }

    /// With this TCP window.
    #[must_use]
    pub fn window(mut self, new: u16) -> Self {
        if let Body::Tcp { window, .. } = &mut self.body {
            *window = new;
        }
        self
    }

    /// With these TCP options, a multiple of four bytes.
    #[must_use]
    pub fn tcp_options(mut self, new: &[u8]) -> Self {
        if let Body::Tcp { options, .. } = &mut self.body {
            *options = new.to_vec();
        }
        self
    }

    /// UDP that says "no checksum".
    #[must_use]
    pub fn without_checksum(self) -> Self {
        Self { body: Body::Udp { checksum: false }, ..self }
    }

    /// The frame, every length and checksum right.
    ///
    /// # Panics
    /// On a description that no packet can follow, such as options of three bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let header = self.ip_header(0);
        let l4 = self.l4(&header);
        let mut header = self.ip_header(l4.len());
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = ethernet(self.to.mac, self.from.mac, EtherType::IPV4);
        bytes.extend_from_slice(&header.to_bytes());
        bytes.extend(l4);
        bytes
    }

    fn ip_header(&self, payload_len: usize) -> Ipv4Header {
        let mut header = Ipv4Header::new(
            u16::try_from(payload_len).expect("a payload of less than 64 KiB"),
            self.ttl,
            IpNumber(self.protocol()),
            self.from.ip.0,
            self.to.ip.0,
        )
        .expect("a payload of less than 64 KiB");
        header.identification = self.identification;
        header.dont_fragment = self.dont_fragment;
        header.more_fragments = self.more_fragments;
        header.fragment_offset =
            IpFragOffset::try_new(self.fragment_offset).expect("thirteen bits of offset");
        header.options =
            self.ip_options.as_slice().try_into().expect("options of up to forty bytes, in fours");
        header.set_payload_len(payload_len).expect("a payload of less than 64 KiB");
        header
    }

    const fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp { .. } => 6,
            Body::Udp { .. } => 17,
            Body::EchoRequest | Body::EchoReply | Body::Icmp { .. } => 1,
            Body::Protocol(number) => number,
        }
    }

    fn l4(&self, header: &Ipv4Header) -> Vec<u8> {
        let mut bytes = match &self.body {
            Body::Tcp { flags, seq, ack, window, options } => {
                let mut tcp = tcp_header(self.from.port, self.to.port, *flags, [*seq, *ack], *window);
                tcp.set_options_raw(options).expect("TCP options of up to forty bytes");
                tcp.checksum = tcp.calc_checksum_ipv4(header, &self.payload).expect("a short payload");
                tcp.to_bytes().to_vec()
            }
            Body::Udp { checksum } => {
                let [from, to] = [self.from.port, self.to.port];
                let mut udp =
                    UdpHeader::with_ipv4_checksum(from, to, header, &self.payload).expect("a short payload");
                if !checksum {
                    udp.checksum = 0;
                }
                udp.to_bytes().to_vec()
            }
            Body::EchoRequest => self.icmp(Icmpv4Type::EchoRequest(echo(self.identifier))),
            Body::EchoReply => self.icmp(Icmpv4Type::EchoReply(echo(self.identifier))),
            &Body::Icmp { kind: [type_u8, code_u8], word: bytes5to8 } => {
                self.icmp(Icmpv4Type::Unknown { type_u8, code_u8, bytes5to8 })
            }
            Body::Protocol(_) => Vec::new(),
        };
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    fn icmp(&self, message: Icmpv4Type) -> Vec<u8> {
        Icmpv4Header::with_checksum(message, &self.payload).to_bytes().to_vec()
    }
}

const ECHO: IcmpEchoHeader = IcmpEchoHeader { id: 77, seq: 3 };

const fn echo(id: u16) -> IcmpEchoHeader {
    IcmpEchoHeader { id, ..ECHO }
}

fn tcp_header(from: u16, to: u16, flags: u8, [seq, ack]: [u32; 2], window: u16) -> TcpHeader {
    let mut tcp = TcpHeader::new(from, to, seq, window);
    tcp.acknowledgment_number = ack;
    tcp.fin = flags & flag::FIN != 0;
    tcp.syn = flags & flag::SYN != 0;
    tcp.rst = flags & flag::RST != 0;
    tcp.psh = flags & flag::PSH != 0;
    tcp.ack = flags & flag::ACK != 0;
    tcp
}

fn ethernet(destination: Mac, source: Mac, ether_type: EtherType) -> Vec<u8> {
    Ethernet2Header { destination: destination.0, source: source.0, ether_type }.to_bytes().to_vec()
}

/// Whether the frame has an 802.1Q tag.
#[must_use]
pub fn is_tagged(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x81, 0])
}

/// The frame without its 802.1Q tag.
#[must_use]
pub fn untagged(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if is_tagged(frame) && frame.len() >= ETHERNET + 2 {
        bytes.drain(12..16);
    }
    bytes
}

/// A frame of any ethertype.
#[must_use]
pub fn frame(from: Mac, to: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = ethernet(to, from, EtherType(ethertype));
    bytes.extend_from_slice(payload);
    bytes
}
