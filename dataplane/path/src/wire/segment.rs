//! TCP and UDP headers.

use super::{Ip, protocol, tcp, udp};
use crate::addr::L4Port;
use crate::packet::Packet;
use crate::reason::Reason;
use core::hint::black_box;

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
    /// What only TCP has.
    pub tcp: Option<Tcp>,
}

/// What the path reads of a TCP header besides.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Tcp {
    /// The acknowledgement number; it says something only with [`tcp::ACK`].
    pub acknowledgement: u32,
    /// The control bits.
    pub flags: u8,
    /// Length of the header in bytes, options included.
    pub header_len: u8,
}

impl Segment {
    /// The TCP or UDP header behind `ip`.
    ///
    /// # Errors
    /// [`Reason::Fragment`]: one of anything but UDP, or one that shows no ports; [`Reason::UnsupportedProtocol`];
    /// [`Reason::BadHeader`] where it is cut short, or contradicts the IP header.
    #[inline(always)]
    pub fn read<P: Packet, A>(p: &P, ip: &Ip<A>) -> Result<Self, Reason> {
        let at = ip.payload_at;
        if ip.is_fragment && (ip.is_later || ip.protocol != protocol::UDP) {
            return Err(Reason::Fragment);
        }
        let (header_len, checksum) = match ip.protocol {
            protocol::TCP => (tcp::LEN, tcp::CHECKSUM),
            protocol::UDP => (udp::LEN, udp::CHECKSUM),
            _ => return Err(Reason::UnsupportedProtocol),
        };
        if ip.payload_len < header_len {
            return Err(Reason::BadHeader);
        }
        let Some([s0, s1, d0, d1]) = p.read(at) else { return Err(Reason::BadHeader) };
        let tcp = match ip.protocol {
            protocol::TCP => {
                let Some(tcp) = Tcp::read(p, at, ip.payload_len) else { return Err(Reason::BadHeader) };
                Some(tcp)
            }
            _ => {
                if !udp_fits(p, ip) {
                    return Err(Reason::BadHeader);
                }
                None
            }
        };
        let checksum_at = at + checksum;
        Ok(Self { at, sport: L4Port([s0, s1]), dport: L4Port([d0, d1]), checksum_at, tcp })
    }

    /// Length of the header in bytes, options included.
    #[inline(always)]
    pub fn header_len(&self) -> usize {
        self.tcp.as_ref().map_or(udp::LEN, |tcp| usize::from(tcp.header_len))
    }

    /// Whether this asks for a new connection: TCP's SYN alone, or any UDP.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        match &self.tcp {
            Some(Tcp { flags, .. }) => flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN,
            None => true,
        }
    }

    /// Whether TCP's state may change with it.
    #[inline(always)]
    pub fn is_control(&self) -> bool {
        matches!(&self.tcp, Some(Tcp { flags, .. }) if flags & (tcp::SYN | tcp::RST | tcp::FIN) != 0)
    }

    /// Whether this is a TCP SYN, or the answer to one.
    #[inline(always)]
    pub fn is_syn(&self) -> bool {
        matches!(&self.tcp, Some(Tcp { flags, .. }) if flags & tcp::SYN != 0)
    }

    /// Whether this is a TCP RST.
    #[inline(always)]
    pub fn is_reset(&self) -> bool {
        matches!(&self.tcp, Some(Tcp { flags, .. }) if flags & tcp::RST != 0)
    }

    /// TCP's sequence number.
    #[inline(always)]
    pub fn sequence<P: Packet>(&self, p: &P) -> Option<u32> {
        Some(u32::from_be_bytes(p.read(self.at + tcp::SEQUENCE)?))
    }

    /// What TCP's window is to be shifted by, as a SYN says it; 0 where it doesn't (RFC 7323 section 2.2).
    #[inline(always)]
    pub fn window_shift<P: Packet>(&self, p: &P) -> u8 {
        let at = self.option::<P>(p, [tcp::OPTION_WINDOW_SCALE, 3]);
        at.and_then(|at| p.read(at)).map_or(0, |[shift]| shift)
    }

    /// Offset of the longest segment that TCP's sender takes, as a SYN says it, from the start of the frame.
    #[inline(always)]
    pub fn max_segment<P: Packet>(&self, p: &P) -> Option<usize> {
        self.option::<P>(p, [tcp::OPTION_MAX_SEGMENT, 4])
    }

    /// Offset of the value of the option of this kind and length, from the start of the frame.
    #[inline(always)]
    fn option<P: Packet>(&self, p: &P, [kind, len]: [u8; 2]) -> Option<usize> {
        use tcp::{OPTION_END, OPTION_NOTHING};
        // What systems send has six or seven; the verifier walks each.
        const MOST: usize = 12;
        // More than any offset into a header: so that all ways to an option look alike to the verifier.
        const OFFSETS: u64 = 63;
        let Some(tcp) = &self.tcp else { return None };
        let mut at = tcp::LEN;
        for _ in 0..MOST {
            if at + usize::from(len) > usize::from(tcp.header_len) {
                return None;
            }
            at = (black_box(at as u64) & OFFSETS) as usize;
            match p.read(self.at + at) {
                Some([OPTION_END, _]) | None => return None,
                Some([OPTION_NOTHING, _]) => at += 1,
                Some(found) if found == [kind, len] => return Some(self.at + at + 2),
                // An option shorter than its own header would never end.
                Some([_, len]) => at += usize::from(len.max(2)),
            }
        }
        None
    }
}

/// Whether a UDP header's length fits into the datagram (RFC 768). A fragment's counts what is in the others.
#[inline(always)]
fn udp_fits<P: Packet, A>(p: &P, ip: &Ip<A>) -> bool {
    let Some(len) = p.read(ip.payload_at + udp::LENGTH) else { return false };
    let len = usize::from(u16::from_be_bytes(len));
    len >= udp::LEN && (len <= ip.payload_len || ip.is_fragment)
}

impl Tcp {
    #[inline(always)]
    fn read<P: Packet>(p: &P, at: usize, segment_len: usize) -> Option<Self> {
        // Acknowledgement number, data offset, control bits, window.
        let [a0, a1, a2, a3, data_offset, flags, _, _] = p.read(at + tcp::SEQUENCE + 4)?;
        let header_len = (data_offset >> 4) * 4;
        let fits = usize::from(header_len) >= tcp::LEN && usize::from(header_len) <= segment_len;
        let acknowledgement = u32::from_be_bytes([a0, a1, a2, a3]);
        fits.then_some(Self { acknowledgement, flags, header_len })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::frame::Frame;
    use std::vec::Vec;

    fn shift_of(options: &[u8]) -> u8 {
        let mut bytes = Vec::from([0; tcp::LEN]);
        bytes.extend_from_slice(options);
        let len = bytes.len();
        let frame = Frame::new(&mut bytes, len).unwrap();
        let tcp = Tcp { acknowledgement: 0, flags: tcp::SYN, header_len: len as u8 };
        let segment = Segment {
            at: 0,
            sport: L4Port::new(1),
            dport: L4Port::new(2),
            checksum_at: tcp::CHECKSUM,
            tcp: Some(tcp),
        };
        segment.window_shift(&frame)
    }

    #[test]
    fn the_window_shift_is_found_wherever_it_stands() {
        assert_eq!(shift_of(&[3, 3, 7, 0]), 7);
        assert_eq!(shift_of(&[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 9]), 9);
        assert_eq!(shift_of(&[1, 3, 3, 14]), 14);
    }

    #[test]
    fn options_that_make_no_sense_have_no_shift() {
        for options in [&[][..], &[0, 3, 3, 7], &[3, 2, 7, 7], &[9, 0, 9, 0], &[2, 200, 3, 3], &[1, 1, 3, 3]]
        {
            assert_eq!(shift_of(options), 0, "{options:?}");
        }
    }
}
