//! IPv6 frames, as etherparse writes them.

use super::{Body, ECHO, Party, echo, ethernet, flag, tcp_header};
use etherparse::{EtherType, Icmpv6Header, Icmpv6Type, IpNumber, Ipv6FlowLabel, Ipv6Header, UdpHeader};
use weir_path::addr::Ip6;

/// An IPv6 frame in the making. [`Body::EchoRequest`] and its like are ICMPv6's here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet6 {
    from: Party<Ip6>,
    to: Party<Ip6>,
    hop_limit: u8,
    traffic_class: u8,
    flow_label: u32,
    identifier: u16,
    payload: Vec<u8>,
    body: Body,
    /// Extension headers: the number of each, and its bytes but for the first, which names the next one.
    extensions: Vec<(u8, Vec<u8>)>,
}

/// A TCP segment with an ACK, unless told otherwise.
#[must_use]
pub fn tcp6(from: Party<Ip6>, to: Party<Ip6>) -> Packet6 {
    let body = Body::Tcp { flags: flag::ACK, seq: 1_000, ack: 2_000, window: 64_240, options: Vec::new() };
    packet6(from, to, body)
}

/// A UDP datagram.
#[must_use]
pub fn udp6(from: Party<Ip6>, to: Party<Ip6>) -> Packet6 {
    packet6(from, to, Body::Udp { checksum: true }).payload(b"question")
}

/// An ICMPv6 echo request.
#[must_use]
pub fn echo_request6(from: Party<Ip6>, to: Party<Ip6>) -> Packet6 {
    packet6(from, to, Body::EchoRequest).payload(b"are you there?")
}

/// An ICMPv6 echo reply.
#[must_use]
pub fn echo_reply6(from: Party<Ip6>, to: Party<Ip6>) -> Packet6 {
    packet6(from, to, Body::EchoReply).payload(b"are you there?")
}

/// Any IPv6 packet.
#[must_use]
pub fn packet6(from: Party<Ip6>, to: Party<Ip6>, body: Body) -> Packet6 {
    Packet6 {
        from,
        to,
        hop_limit: 64,
        traffic_class: 0,
        flow_label: 0,
        identifier: ECHO.id,
        payload: Vec::new(),
        body,
        extensions: Vec::new(),
    }
}

impl Packet6 {
    /// The same packet between others: what a translation leaves.
    #[must_use]
    pub fn between(self, from: Party<Ip6>, to: Party<Ip6>) -> Self {
        Self { from, to, ..self }
    }

    /// With this hop limit.
    #[must_use]
    pub fn ttl(self, hop_limit: u8) -> Self {
        Self { hop_limit, ..self }
    }

    /// With this identifier of an echo.
    #[must_use]
    pub fn identifier(self, identifier: u16) -> Self {
        Self { identifier, ..self }
    }

    /// With this traffic class and flow label, of twenty bits.
    #[must_use]
    pub fn labelled(self, traffic_class: u8, flow_label: u32) -> Self {
        Self { traffic_class, flow_label, ..self }
    }

    /// With this payload.
    #[must_use]
    pub fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    /// With one more extension header, the last so far: its number, and all its bytes but the first, which names the
    /// next one and is written by itself.
    #[must_use]
    pub fn extension(mut self, number: u8, bytes: &[u8]) -> Self {
        self.extensions.push((number, bytes.to_vec()));
        self
    }

    /// With options of this many bytes, header included, that say nothing: a multiple of eight.
    #[must_use]
    pub fn options(self, number: u8, len: usize) -> Self {
        const PADDING: u8 = 1;
        let mut bytes = vec![(len / 8 - 1) as u8, PADDING, (len - 4) as u8];
        bytes.resize(len - 1, 0);
        self.extension(number, &bytes)
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

    /// UDP that says "no checksum", which IPv6 allows in tunnels alone (RFC 8200 section 8.1).
    #[must_use]
    pub fn without_checksum(self) -> Self {
        Self { body: Body::Udp { checksum: false }, ..self }
    }

    /// With these TCP options, a multiple of four bytes.
    #[must_use]
    pub fn tcp_options(mut self, new: &[u8]) -> Self {
        if let Body::Tcp { options, .. } = &mut self.body {
            *options = new.to_vec();
        }
        self
    }

    /// The frame, every length and checksum right.
    ///
    /// # Panics
    /// On a description that no packet can follow, such as options of three bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let header = self.header(0);
        let l4 = self.l4(&header);
        let mut bytes = ethernet(self.to.mac, self.from.mac, EtherType::IPV6);
        bytes.extend_from_slice(&self.chained(l4.len()).to_bytes());
        let numbers = self.extensions.iter().skip(1).map(|(number, _)| *number);
        let next = numbers.chain([self.protocol()]);
        for ((_, header), next) in self.extensions.iter().zip(next) {
            bytes.push(next);
            bytes.extend_from_slice(header);
        }
        bytes.extend(l4);
        bytes
    }

    /// The header with the extension headers behind it.
    fn chained(&self, l4_len: usize) -> Ipv6Header {
        let extensions: usize = self.extensions.iter().map(|(_, bytes)| 1 + bytes.len()).sum();
        let first = self.extensions.first().map_or(self.protocol(), |(number, _)| *number);
        Ipv6Header { next_header: IpNumber(first), ..self.header(extensions + l4_len) }
    }

    /// Its two ends.
    #[must_use]
    pub const fn ends(&self) -> (Party<Ip6>, Party<Ip6>) {
        (self.from, self.to)
    }

    /// The number of what it carries.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp { .. } => 6,
            Body::Udp { .. } => 17,
            Body::EchoRequest | Body::EchoReply | Body::Icmp { .. } => 58,
            Body::Protocol(number) => number,
        }
    }

    fn header(&self, payload_len: usize) -> Ipv6Header {
        Ipv6Header {
            traffic_class: self.traffic_class,
            flow_label: Ipv6FlowLabel::try_new(self.flow_label).expect("twenty bits of label"),
            payload_length: u16::try_from(payload_len).expect("a payload of less than 64 KiB"),
            next_header: IpNumber(self.protocol()),
            hop_limit: self.hop_limit,
            source: self.from.ip.0,
            destination: self.to.ip.0,
        }
    }

    fn l4(&self, header: &Ipv6Header) -> Vec<u8> {
        let [from, to] = [self.from.port, self.to.port];
        let mut bytes = match &self.body {
            Body::Tcp { flags, seq, ack, window, options } => {
                let mut tcp = tcp_header(from, to, *flags, [*seq, *ack], *window);
                tcp.set_options_raw(options).expect("TCP options of up to forty bytes");
                tcp.checksum = tcp.calc_checksum_ipv6(header, &self.payload).expect("a short payload");
                tcp.to_bytes().to_vec()
            }
            Body::Udp { checksum } => {
                let mut udp =
                    UdpHeader::with_ipv6_checksum(from, to, header, &self.payload).expect("a short payload");
                if !checksum {
                    udp.checksum = 0;
                }
                udp.to_bytes().to_vec()
            }
            Body::EchoRequest => self.icmp(Icmpv6Type::EchoRequest(echo(self.identifier))),
            Body::EchoReply => self.icmp(Icmpv6Type::EchoReply(echo(self.identifier))),
            &Body::Icmp { kind: [type_u8, code_u8], word: bytes5to8 } => {
                self.icmp(Icmpv6Type::Unknown { type_u8, code_u8, bytes5to8 })
            }
            Body::Protocol(_) => Vec::new(),
        };
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    fn icmp(&self, message: Icmpv6Type) -> Vec<u8> {
        let (from, to) = (self.from.ip.0, self.to.ip.0);
        let header = Icmpv6Header::with_checksum(message, from, to, &self.payload);
        header.expect("a short payload").to_bytes().to_vec()
    }
}
