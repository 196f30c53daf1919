//! The frames that the harness makes its packets from.
//!
//! TCP's checksums are left out: the programs only mend them, and whether they do is tested elsewhere.

use crate::town::{CLIENT_MAC, GATEWAY_MAC, SANDBOX_MAC, SANDBOX_PORT, Town, UPLINK_MAC, VIP_PORT};
use std::mem::size_of_val;

/// As long as the harness's frames are.
pub const FRAME: usize = 80;
/// A frame, and what differs from flow to flow: as the harness takes it.
pub type Shot = [u8; FRAME + 4 * WORDS];
/// How many numbers stand behind a frame.
const WORDS: usize = 5;
/// An IPv4 header, and its checksum in it.
const IPV4_HEADER: std::ops::Range<usize> = 14..34;
const IPV4_CHECKSUM: std::ops::Range<usize> = 24..26;

/// What differs from flow to flow: the last four bytes of an address, and a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Varying {
    /// Where the four bytes lie.
    pub address_at: usize,
    /// Where the port lies.
    pub port_at: usize,
    /// Which ports there are.
    pub ports: Ports,
}

/// The ports of flows that share an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// The first one.
    pub first: u16,
    /// How many: then follows the next address.
    pub count: u32,
    /// Whether they are those that the harness was told ([`crate::harness::Harness::list_ports`]) instead. The address
    /// is still chosen by `count`.
    pub are_listed: bool,
}

impl Ports {
    /// As [`crate::town::client_port`] has them.
    pub const CLIENTS: Self = Self { first: 1024, count: 1 << 14, are_listed: false };
}

/// The packets of a connection. Numbers fit each other, as both ends would choose them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Segment {
    /// The client opens.
    Syn,
    /// The sandbox answers.
    SynAck,
    /// The client's acknowledgement, that ends the handshake; or of data.
    Ack,
    /// The sandbox's acknowledgement.
    AckBack,
    /// The client is done.
    Fin,
    /// The sandbox is done.
    FinBack,
    /// The sandbox refuses.
    Refusal,
}

impl Segment {
    /// Whether it comes from the sandbox.
    #[must_use]
    pub const fn is_reply(self) -> bool {
        matches!(self, Self::SynAck | Self::AckBack | Self::FinBack | Self::Refusal)
    }

    /// Sequence and acknowledgement number, and control bits.
    const fn says(self) -> (u32, u32, u8) {
        match self {
            Self::Syn => (1_000, 0, 0x02),
            Self::SynAck => (5_000, 1_001, 0x12),
            Self::Ack => (1_001, 5_001, 0x10),
            Self::AckBack => (5_001, 1_001, 0x10),
            Self::Fin => (1_001, 5_001, 0x11),
            Self::FinBack => (5_001, 1_002, 0x11),
            Self::Refusal => (0, 1_001, 0x14),
        }
    }

    /// The frame of this segment.
    #[must_use]
    pub fn shot<T: Town>(self) -> Shot {
        let client = T::client(0);
        let (macs, source, destination, ports) = if self.is_reply() {
            let ports = [SANDBOX_PORT, CLIENT_PORT];
            ([GATEWAY_MAC, SANDBOX_MAC], T::SANDBOX, client, ports)
        } else {
            ([UPLINK_MAC, CLIENT_MAC], client, T::VIP, [CLIENT_PORT, VIP_PORT])
        };
        let mut frame: Vec<u8> = macs.iter().flat_map(|mac| mac.0).collect();
        frame.extend(T::header());
        frame.extend(T::bytes(source));
        frame.extend(T::bytes(destination));
        let l4 = frame.len();
        let (sequence, acknowledgement, flags) = self.says();
        frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        frame.extend(sequence.to_be_bytes());
        frame.extend(acknowledgement.to_be_bytes());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let behind_client = if self.is_reply() { l4 } else { l4 - size_of_val(&client) };
        let port_at = if self.is_reply() { l4 + 2 } else { l4 };
        shot(&frame, Varying { address_at: behind_client - 4, port_at, ports: Ports::CLIENTS })
    }
}

/// What the harness puts the client's port in the place of.
const CLIENT_PORT: u16 = 0;

/// A frame as the harness takes it. The checksum of an IPv4 header is put in.
#[must_use]
pub fn shot(frame: &[u8], varying: Varying) -> Shot {
    let mut frame = frame.to_vec();
    if frame.get(12..14) == Some(&[0x08, 0x00]) {
        let checksum = ipv4_checksum(frame.get(IPV4_HEADER).unwrap_or_default());
        let place = frame.get_mut(IPV4_CHECKSUM).into_iter().flatten();
        place.zip(checksum).for_each(|(place, byte)| *place = byte);
    }
    let Varying { address_at, port_at, ports } = varying;
    let words: [u32; WORDS] =
        [address_at as u32, port_at as u32, ports.first.into(), ports.count, u32::from(ports.are_listed)];
    let mut shot = [0; FRAME + 4 * WORDS];
    let (place, places) = shot.split_at_mut(FRAME);
    place.iter_mut().zip(&frame).for_each(|(place, byte)| *place = *byte);
    let words = words.iter().flat_map(|word| word.to_ne_bytes());
    places.iter_mut().zip(words).for_each(|(place, byte)| *place = byte);
    shot
}

/// The checksum of a header whose own is still zero (RFC 791 section 3.1).
fn ipv4_checksum(header: &[u8]) -> [u8; 2] {
    let words = header.chunks_exact(2).filter_map(|pair| pair.try_into().ok());
    let mut sum: u32 = words.map(|pair| u32::from(u16::from_be_bytes(pair))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_path::flow::{V4, V6};

    fn places(shot: Shot) -> [u32; 2] {
        [FRAME, FRAME + 4].map(|at| u32::from_ne_bytes(shot[at..at + 4].try_into().unwrap()))
    }

    #[test]
    fn the_clients_address_and_port_are_where_the_headers_have_them() {
        assert_eq!(places(Segment::Syn.shot::<V4>()), [26, 34]);
        assert_eq!(places(Segment::SynAck.shot::<V4>()), [30, 36]);
        assert_eq!(places(Segment::Syn.shot::<V6>()), [34, 54]);
        assert_eq!(places(Segment::SynAck.shot::<V6>()), [50, 56]);
    }

    #[test]
    fn a_header_with_its_checksum_sums_up_to_all_ones() {
        let shot = Segment::Syn.shot::<V4>();
        assert_ne!(shot[IPV4_CHECKSUM], [0, 0]);
        assert_eq!(ipv4_checksum(&shot[IPV4_HEADER]), [0, 0]);
    }
}
