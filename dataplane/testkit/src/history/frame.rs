//! Frames of both families as plain values: built, and read back out of what the path made of them.
//!
//! Neither the path's parser nor its checksums are used, so that a fault there can't hide here.

use crate::oracle::{Sum, checksums, sum16};
use std::net::IpAddr;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;
/// TCP's FIN.
pub const FIN: u8 = 0x01;
/// TCP's SYN.
pub const SYN: u8 = 0x02;
/// TCP's RST.
pub const RST: u8 = 0x04;
/// TCP's ACK.
pub const ACK: u8 = 0x10;

const ETHERNET: usize = 14;
const HOPS: u8 = 64;

/// An address and a port.
pub type End = (IpAddr, u16);

/// A TCP segment or a UDP datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Destination and source MAC.
    pub macs: [[u8; 6]; 2],
    /// Where it comes from.
    pub from: End,
    /// Where it goes.
    pub to: End,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// TCP's control bits.
    pub flags: u8,
    /// TCP's sequence number.
    pub seq: u32,
    /// TCP's acknowledgement number.
    pub ack: u32,
    /// TCP's window shift, where the option is there.
    pub shift: Option<u8>,
    /// The hop limit.
    pub hops: u8,
}

/// What the path sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// A segment or a datagram.
    Frame(Frame),
    /// An ICMP error to who sent this, with the MACs that the error has: its type, its code, and what it quotes.
    Error([u8; 2], Frame),
}

impl Sent {
    /// Reads back what was sent.
    ///
    /// # Errors
    /// What is wrong with it, lengths and checksums included.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let is_v6 = bytes.get(12..14) == Some(&[0x86, 0xdd]);
        let (protocol_at, icmp, header_len) = if is_v6 { (20, 58, 40) } else { (23, 1, 20) };
        if bytes.get(protocol_at) != Some(&icmp) {
            return Frame::read(bytes).map(Self::Frame);
        }
        let sums = checksums(bytes);
        if sums.l4 != Sum::Right || sums.ip == Sum::Wrong {
            return Err(format!("an error's checksums are {sums:?}: {bytes:02x?}"));
        }
        let at = ETHERNET + header_len;
        let [kind, code] = *bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or("an error cut short")?;
        let (macs, quoted) = (bytes.get(..ETHERNET), bytes.get(at + 8..));
        let quoted = [macs.unwrap_or_default(), quoted.unwrap_or_default()].concat();
        let address = |from: &[u8], is_src: bool| match (is_v6, is_src) {
            (false, true) => from.get(26..30).map(<[u8]>::to_vec),
            (false, false) => from.get(30..34).map(<[u8]>::to_vec),
            (true, true) => from.get(22..38).map(<[u8]>::to_vec),
            (true, false) => from.get(38..54).map(<[u8]>::to_vec),
        };
        if address(bytes, false) != address(&quoted, true) {
            return Err(format!("an error to somebody else: {bytes:02x?}"));
        }
        Ok(Self::Error([kind, code], Frame::read(&quoted)?))
    }
}

impl Frame {
    /// The error that tells its sender that it can't go on: nobody serves it, or it is not allowed.
    #[must_use]
    pub const fn refused(self, is_allowed: bool) -> Sent {
        let [dst, src] = self.macs;
        let said = match (self.from.0, is_allowed) {
            (IpAddr::V4(_), true) => [3, 3],
            (IpAddr::V4(_), false) => [3, 13],
            (IpAddr::V6(_), true) => [1, 4],
            (IpAddr::V6(_), false) => [1, 1],
        };
        match self.protocol {
            UDP => Sent::Error(said, Self { macs: [src, dst], ..self }),
            _ => Sent::Frame(self.reset()),
        }
    }

    /// A datagram.
    #[must_use]
    pub const fn udp(macs: [[u8; 6]; 2], from: End, to: End) -> Self {
        Self { macs, from, to, protocol: UDP, flags: 0, seq: 0, ack: 0, shift: None, hops: HOPS }
    }

    /// A segment.
    #[must_use]
    pub const fn tcp(macs: [[u8; 6]; 2], from: End, to: End, flags: u8, [seq, ack]: [u32; 2]) -> Self {
        Self { macs, from, to, protocol: TCP, flags, seq, ack, shift: None, hops: HOPS }
    }

    /// With a window shift.
    #[must_use]
    pub const fn shifted(self, shift: u8) -> Self {
        Self { shift: Some(shift), ..self }
    }

    /// What a translation makes of it: other ends, other MACs, one hop less, and all else as it was.
    #[must_use]
    pub const fn translated(self, macs: [[u8; 6]; 2], from: End, to: End) -> Self {
        Self { macs, from, to, hops: self.hops.wrapping_sub(1), ..self }
    }

    /// The RST that answers it (RFC 9293 section 3.10.7.1).
    #[must_use]
    pub const fn reset(self) -> Self {
        let [dst, src] = self.macs;
        let phantom = (self.flags & SYN != 0) as u32 + (self.flags & FIN != 0) as u32;
        let (flags, seq, ack) = if self.flags & ACK != 0 {
            (RST, self.ack, 0)
        } else {
            (RST | ACK, 0, self.seq.wrapping_add(phantom))
        };
        let (from, to) = (self.to, self.from);
        Self { macs: [src, dst], from, to, flags, seq, ack, shift: None, hops: HOPS, ..self }
    }

    /// The bytes, every length and checksum right.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let l4 = self.l4();
        let [dst, src] = self.macs;
        let mut bytes = [dst, src].concat();
        match (self.from.0, self.to.0) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes.extend([0x08, 0x00]);
                let len = (20 + l4.len() as u16).to_be_bytes();
                let mut header = vec![0x45, 0, len[0], len[1], 0x12, 0x34, 0x40, 0, self.hops, self.protocol];
                header.extend([0; 2]);
                header.extend(from.octets());
                header.extend(to.octets());
                put_sum(&mut header, 10);
                bytes.extend(header);
            }
            (from, to) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend((l4.len() as u16).to_be_bytes());
                bytes.extend([self.protocol, self.hops]);
                bytes.extend([sixteen(from), sixteen(to)].concat());
            }
        }
        bytes.extend(l4);
        bytes
    }

    /// TCP or UDP with what it carries, checksum included.
    fn l4(&self) -> Vec<u8> {
        let mut l4 = [self.from.1.to_be_bytes(), self.to.1.to_be_bytes()].concat();
        let at = if self.protocol == UDP {
            l4.extend([0, 16, 0, 0]);
            l4.extend(b"question");
            6
        } else {
            l4.extend([self.seq.to_be_bytes(), self.ack.to_be_bytes()].concat());
            l4.extend([if self.shift.is_some() { 0x60 } else { 0x50 }, self.flags, 0xfa, 0xf0, 0, 0, 0, 0]);
            l4.extend(self.shift.map(|shift| [3, 3, shift, 0]).iter().flatten());
            16
        };
        let pseudo = self.pseudo(l4.len());
        let summed = [pseudo.as_slice(), &l4].concat();
        let sum = !sum16(&summed);
        // UDP's "no checksum" is zero, so a sum of zero is sent as its other form (RFC 768).
        let sum = if self.protocol == UDP && sum == 0 { 0xffff } else { sum };
        if let Some(field) = l4.get_mut(at..at + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        l4
    }

    fn pseudo(&self, len: usize) -> Vec<u8> {
        let mut pseudo = [sixteen(self.from.0), sixteen(self.to.0)].concat();
        pseudo.extend((len as u16).to_be_bytes());
        pseudo.extend([0, self.protocol]);
        pseudo
    }

    /// Reads a frame back.
    ///
    /// # Errors
    /// What is wrong with it, lengths and checksums included.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let frame = parse(bytes).ok_or_else(|| format!("no frame of TCP or UDP: {bytes:02x?}"))?;
        // Two forms of zero mean the same: sums are compared, not their bytes.
        if sums_up(&frame, bytes) && says_its_length(&frame, bytes) {
            Ok(frame)
        } else {
            Err(format!("a wrong checksum or length in {frame:?}\n  {bytes:02x?}"))
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Frame> {
    let mac = |at: usize| bytes.get(at..)?.first_chunk::<6>().copied();
    let (packet, is_v6) = (bytes.get(ETHERNET..)?, bytes.get(12..14)? == [0x86, 0xdd]);
    let (protocol, hops, from, to, l4) = if is_v6 {
        let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<16>()?));
        (*packet.get(6)?, *packet.get(7)?, address(8)?, address(24)?, packet.get(40..)?)
    } else {
        let address = |at: usize| Some(IpAddr::from(*packet.get(at..)?.first_chunk::<4>()?));
        (*packet.get(9)?, *packet.get(8)?, address(12)?, address(16)?, packet.get(20..)?)
    };
    let two = |at: usize| Some(u16::from_be_bytes(*l4.get(at..)?.first_chunk()?));
    let four = |at: usize| Some(u32::from_be_bytes(*l4.get(at..)?.first_chunk()?));
    let (from, to) = ((from, two(0)?), (to, two(2)?));
    let macs = [mac(0)?, mac(6)?];
    if protocol == UDP {
        return Some(Frame { hops, ..Frame::udp(macs, from, to) });
    }
    let shift = if *l4.get(12)? == 0x60 { l4.get(22).copied() } else { None };
    (protocol == TCP).then_some(Frame {
        hops,
        shift,
        ..Frame::tcp(macs, from, to, *l4.get(13)?, [four(4)?, four(8)?])
    })
}

/// Whether both checksums fit the bytes.
fn sums_up(frame: &Frame, bytes: &[u8]) -> bool {
    let header_len = if frame.from.0.is_ipv6() { 40 } else { 20 };
    let Some((header, l4)) = bytes.get(ETHERNET..).and_then(|packet| packet.split_at_checked(header_len))
    else {
        return false;
    };
    let summed = [frame.pseudo(l4.len()).as_slice(), l4].concat();
    (frame.from.0.is_ipv6() || sum16(header) == 0xffff) && sum16(&summed) == 0xffff
}

/// Whether the IP header tells how long the frame is.
fn says_its_length(frame: &Frame, bytes: &[u8]) -> bool {
    let (at, counted_from) = if frame.from.0.is_ipv6() { (18, 54) } else { (16, ETHERNET) };
    let said = bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map(u16::from_be_bytes);
    said.is_some_and(|len| usize::from(len) + counted_from == bytes.len())
}

/// Sixteen bytes that sum up to what the address does.
fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        }
    }
}

fn put_sum(header: &mut [u8], at: usize) {
    let sum = !sum16(header);
    if let Some(field) = header.get_mut(at..at + 2) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::{self, checksums};

    const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    fn ends(is_v6: bool) -> [End; 2] {
        let address = |last: u8| match is_v6 {
            true => IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]),
            false => IpAddr::from([10, 1, 2, last]),
        };
        [(address(1), 40_000), (address(2), 80)]
    }

    #[test]
    fn what_is_built_is_read_back_and_its_sums_are_right() {
        for [from, to] in [ends(false), ends(true)] {
            let syn = Frame::tcp(MACS, from, to, SYN, [1_000, 0]);
            for frame in [syn, syn.shifted(7), Frame::udp(MACS, from, to)] {
                assert_eq!(Frame::read(&frame.bytes()), Ok(frame));
                if from.0.is_ipv4() {
                    let right = oracle::Checksums { ip: oracle::Sum::Right, l4: oracle::Sum::Right };
                    assert_eq!(checksums(&frame.bytes()), right);
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_is_seen_or_changes_the_frame() {
        for [from, to] in [ends(false), ends(true)] {
            let good = Frame::tcp(MACS, from, to, SYN, [1_000, 0]).shifted(7);
            let bytes = good.bytes();
            for at in ETHERNET..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 0x04;
                // IPv6's version and flow label are in no sum.
                let is_unsummed = from.0.is_ipv6() && (14..18).contains(&at);
                assert!(Frame::read(&bad) != Ok(good) || is_unsummed, "byte {at}");
            }
        }
    }
}
