//! Headers as they lie on the wire. Reading only: what a packet says, and whether it can be.

use crate::addr::{Ip4, L4Port, Mac};
use crate::packet::Packet;
use crate::reason::Reason;

/// Ethernet II (IEEE 802.3).
pub mod ethernet {
    /// Length of the header.
    pub const LEN: usize = 14;
    /// Offset of the destination MAC.
    pub const DST: usize = 0;
    /// Offset of the source MAC.
    pub const SRC: usize = 6;
    /// Offset of the ethertype.
    pub const TYPE: usize = 12;
    /// Ethertype of IPv4.
    pub const IPV4: [u8; 2] = [0x08, 0x00];
    /// Ethertype of ARP.
    pub const ARP: [u8; 2] = [0x08, 0x06];
    /// Tag protocol identifiers of 802.1Q and 802.1ad.
    pub const VLAN: [[u8; 2]; 2] = [[0x81, 0x00], [0x88, 0xa8]];
}

/// IPv4 (RFC 791). Offsets are from the start of the frame.
pub mod ipv4 {
    /// Offset of the header.
    pub const AT: usize = super::ethernet::LEN;
    /// Length of the header without options.
    pub const LEN: usize = 20;
    /// Offset of the time to live; the protocol follows it.
    pub const TTL: usize = AT + 8;
    /// Offset of the header checksum.
    pub const CHECKSUM: usize = AT + 10;
    /// Offset of the source address.
    pub const SRC: usize = AT + 12;
    /// Offset of the destination address.
    pub const DST: usize = AT + 16;
}

/// IP protocol numbers (RFC 790).
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
}

/// TCP's control bits (RFC 9293 section 3.1).
pub mod tcp {
    /// Length of the header without options.
    pub const LEN: usize = 20;
    /// Offset of the checksum from the header's start.
    pub const CHECKSUM: usize = 16;
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field is significant.
    pub const ACK: u8 = 0x10;
}

/// UDP (RFC 768).
pub mod udp {
    /// Length of the header.
    pub const LEN: usize = 8;
    /// Offset of the checksum from the header's start.
    pub const CHECKSUM: usize = 6;
}

/// ICMP (RFC 792).
pub mod icmp {
    /// Length of an echo header.
    pub const LEN: usize = 8;
    /// Offset of the checksum from the header's start.
    pub const CHECKSUM: usize = 2;
    /// Type and code of an echo request.
    pub const ECHO_REQUEST: [u8; 2] = [8, 0];
    /// Type and code of an echo reply.
    pub const ECHO_REPLY: [u8; 2] = [0, 0];
}

/// An Ethernet header. Ordered so that it may lie on the stack, where the verifier wants alignment.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Ethernet {
    /// The destination.
    pub dst: Mac,
    /// The ethertype.
    pub ethertype: [u8; 2],
    /// The source.
    pub src: Mac,
}

impl Ethernet {
    /// The header of `p`; `None` where `p` is shorter.
    #[inline(always)]
    pub fn read<P: Packet>(p: &P) -> Option<Self> {
        Some(Self {
            dst: Mac(p.read(ethernet::DST)?),
            src: Mac(p.read(ethernet::SRC)?),
            ethertype: p.read(ethernet::TYPE)?,
        })
    }

    /// Whether the frame has a VLAN tag, in its bytes or beside them.
    #[inline(always)]
    pub fn is_tagged<P: Packet>(&self, p: &P) -> bool {
        let [q, ad] = ethernet::VLAN;
        p.vlan().is_some() || self.ethertype == q || self.ethertype == ad
    }
}

/// What the path reads of an IPv4 header.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4 {
    /// The source address.
    pub src: Ip4,
    /// The destination address.
    pub dst: Ip4,
    /// The protocol number.
    pub protocol: u8,
    /// The time to live.
    pub ttl: u8,
    /// Offset of what follows the header, options included, from the start of the frame.
    pub payload_at: usize,
    /// Length of what follows the header.
    pub payload_len: usize,
    /// Whether this is a fragment, the first one included.
    pub is_fragment: bool,
}

impl Ipv4 {
    /// The source and destination addresses of `p`, before anything else of it is believed.
    #[inline(always)]
    pub fn addresses<P: Packet>(p: &P) -> Option<(Ip4, Ip4)> {
        Some((Ip4(p.read(ipv4::SRC)?), Ip4(p.read(ipv4::DST)?)))
    }

    /// The header of `p`.
    ///
    /// # Errors
    /// [`Reason::BadHeader`]: not version 4, or lengths that contradict each other or the frame's.
    #[inline(always)]
    pub fn read<P: Packet>(p: &P) -> Result<Self, Reason> {
        let header: [u8; ipv4::LEN] = p.read(ipv4::AT).ok_or(Reason::BadHeader)?;
        let [
            version_ihl,
            _,
            len0,
            len1,
            _,
            _,
            frag0,
            frag1,
            ttl,
            protocol,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ] = header;
        let header_len = usize::from(version_ihl & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([len0, len1]));
        let lengths_fit = header_len >= ipv4::LEN && total_len >= header_len && p.holds(ipv4::AT + total_len);
        if version_ihl >> 4 != 4 || !lengths_fit {
            return Err(Reason::BadHeader);
        }
        Ok(Self {
            src: Ip4([s0, s1, s2, s3]),
            dst: Ip4([d0, d1, d2, d3]),
            protocol,
            ttl,
            payload_at: ipv4::AT + header_len,
            payload_len: total_len - header_len,
            // More-fragments, or an offset (RFC 791 section 3.1).
            is_fragment: u16::from_be_bytes([frag0, frag1]) & 0x3fff != 0,
        })
    }
}

/// What the path reads of a TCP or UDP header.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Offset of the header from the start of the frame.
    pub at: usize,
    /// The source port.
    pub sport: L4Port,
    /// The destination port.
    pub dport: L4Port,
    /// Offset of the checksum from the start of the frame.
    pub checksum_at: usize,
    /// TCP's control bits; `None` for UDP.
    pub tcp_flags: Option<u8>,
}

impl Segment {
    /// The TCP or UDP header behind `ip`.
    ///
    /// # Errors
    /// [`Reason::Fragment`], [`Reason::UnsupportedProtocol`], or [`Reason::BadHeader`] where it is cut short.
    #[inline(always)]
    pub fn read<P: Packet>(p: &P, ip: &Ipv4) -> Result<Self, Reason> {
        if ip.is_fragment {
            return Err(Reason::Fragment);
        }
        let at = ip.payload_at;
        let (header_len, checksum) = match ip.protocol {
            protocol::TCP => (tcp::LEN, tcp::CHECKSUM),
            protocol::UDP => (udp::LEN, udp::CHECKSUM),
            _ => return Err(Reason::UnsupportedProtocol),
        };
        if ip.payload_len < header_len {
            return Err(Reason::BadHeader);
        }
        let [s0, s1, d0, d1] = p.read(at).ok_or(Reason::BadHeader)?;
        let tcp_flags = if ip.protocol == protocol::TCP {
            let [data_offset, flags] = p.read(at + 12).ok_or(Reason::BadHeader)?;
            let tcp_header_len = usize::from(data_offset >> 4) * 4;
            if tcp_header_len < tcp::LEN || tcp_header_len > ip.payload_len {
                return Err(Reason::BadHeader);
            }
            Some(flags)
        } else {
            None
        };
        Ok(Self {
            at,
            sport: L4Port([s0, s1]),
            dport: L4Port([d0, d1]),
            checksum_at: at + checksum,
            tcp_flags,
        })
    }

    /// Whether this asks for a new connection: TCP's SYN alone, or any UDP.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        match self.tcp_flags {
            Some(flags) => flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN,
            None => true,
        }
    }

    /// Whether this is a TCP RST.
    #[inline(always)]
    pub fn is_reset(&self) -> bool {
        matches!(self.tcp_flags, Some(flags) if flags & tcp::RST != 0)
    }
}

/// An ARP request for IPv4 over Ethernet (RFC 826). Ordered as [`Ethernet`] is, for the same reason.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct ArpRequest {
    /// The asker's address; zero in a probe (RFC 5227).
    pub sender: Ip4,
    /// The address it asks for.
    pub target: Ip4,
    /// Who asks.
    pub sender_mac: Mac,
}

impl ArpRequest {
    /// Offset of the operation; the four addresses follow it.
    pub const OPERATION: usize = ethernet::LEN + 6;
    /// The operation of a reply.
    pub const REPLY: [u8; 2] = [0, 2];

    /// The request in `p`; `None` where it is anything else.
    #[inline(always)]
    pub fn read<P: Packet>(p: &P) -> Option<Self> {
        const IPV4_OVER_ETHERNET_REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
        if p.read(ethernet::LEN)? != IPV4_OVER_ETHERNET_REQUEST {
            return None;
        }
        Some(Self {
            sender_mac: Mac(p.read(Self::OPERATION + 2)?),
            sender: Ip4(p.read(Self::OPERATION + 8)?),
            target: Ip4(p.read(Self::OPERATION + 18)?),
        })
    }
}
