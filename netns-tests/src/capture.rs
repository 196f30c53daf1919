//! Frames as they arrive on a device, and whether their checksums are right.
//!
//! The checker is etherparse's and shares no code with the path. A packet socket sees a frame after GRO, so
//! several frames may have become one larger than the MTU, whose checksum is the kernel's own and says
//! nothing: those are counted apart ([`Verdicts::merged`]).

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use etherparse::{
    Icmpv4Slice, Icmpv6Slice, Ipv4Header, Ipv6Header, NetSlice, SlicedPacket, TcpSlice, TransportSlice,
    UdpSlice,
};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::error::Error;
use crate::netns::Netns;

/// Room for what arrives while the reading thread has no CPU.
const BUFFER_BYTES: usize = 256 << 20;

/// A frame that GRO has merged is never longer than this.
const LONGEST: usize = 1 << 17;

/// The largest frame on a wire here: 1500 bytes of IP.
const LARGEST_FRAME: usize = 1514;

/// `PACKET_OUTGOING` of the kernel's if_packet.h.
const OUTGOING: u8 = 4;

/// A capture under way.
#[derive(Debug)]
pub struct Capture {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Vec<u8>>>>,
}

impl Capture {
    /// Starts to keep every frame that comes in by a device. No frame after this is missed.
    pub fn start(netns: &Netns, device: &str) -> Result<Self, Error> {
        let ifindex =
            netns.link(device)?.get("ifindex").and_then(serde_json::Value::as_u64).unwrap_or_default();
        let socket = netns.enter(packet_socket)?.map_err(Error::io(format!("capture on {device}")))?;
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = thread::spawn(move || collect(&socket, ifindex as usize, &told));
        Ok(Self { ends, thread: Some(thread) })
    }

    /// Ends it. What had arrived by now is in the result.
    #[must_use]
    pub fn stop(mut self) -> Vec<Vec<u8>> {
        self.ends.store(true, Ordering::Release);
        let thread = self.thread.take().map(JoinHandle::join);
        thread
            .map(|frames| frames.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .unwrap_or_default()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
    }
}

pub(crate) fn packet_socket() -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)?;
    setsockopt(&socket.as_fd(), sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))?;
    Ok(socket)
}

fn collect(socket: &OwnedFd, ifindex: usize, ends: &AtomicBool) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    each_frame(socket, ifindex, ends, |frame| frames.push(frame.to_vec()));
    frames
}

/// Reads until it is told to end and nothing is waiting any more.
pub(crate) fn each_frame(socket: &OwnedFd, ifindex: usize, ends: &AtomicBool, mut take: impl FnMut(&[u8])) {
    let mut buffer = vec![0; LONGEST];
    loop {
        let told = ends.load(Ordering::Acquire);
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer) {
            Ok((len, Some(from))) if from.ifindex() == ifindex && from.pkttype() != OUTGOING => {
                buffer.get(..len).into_iter().for_each(&mut take);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) if !told => {}
            Err(_) => return,
        }
    }
}

/// What the checksums of some frames are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Verdicts {
    /// TCP segments whose checksums are right.
    pub tcp: usize,
    /// UDP datagrams whose checksums are right.
    pub udp: usize,
    /// ICMP messages whose checksums are right.
    pub icmp: usize,
    /// Fragments, whose checksums cover more than one frame.
    pub fragments: usize,
    /// Frames that GRO has merged.
    pub merged: usize,
    /// Frames that are neither IPv4 nor IPv6, and what IPv6 says about neighbours.
    pub other: usize,
    /// What is wrong with the rest, frame by frame.
    pub wrong: Vec<String>,
}

impl Verdicts {
    /// Judges frames.
    #[must_use]
    pub fn of(frames: &[Vec<u8>]) -> Self {
        let mut verdicts = Self::default();
        for frame in frames {
            if frame.len() > LARGEST_FRAME {
                verdicts.merged += 1;
            } else if let Err(why) = verdicts.judge(frame) {
                verdicts.wrong.push(why);
            }
        }
        verdicts
    }

    fn judge(&mut self, frame: &[u8]) -> Result<(), String> {
        let packet = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
        let pseudo = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header().to_header();
                must_be("IPv4 header", header.header_checksum, header.calc_header_checksum())?;
                Pseudo::V4(header)
            }
            Some(NetSlice::Ipv6(ip)) => Pseudo::V6(ip.header().to_header()),
            _ => {
                self.other += 1;
                return Ok(());
            }
        };
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                must_be("TCP", tcp.checksum(), pseudo.of_tcp(tcp)?)?;
                self.tcp += 1;
            }
            Some(TransportSlice::Udp(udp)) => {
                must_be("UDP", udp.checksum(), pseudo.of_udp(udp)?)?;
                self.udp += 1;
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                must_be("ICMP", icmp.checksum(), icmp_checksum(icmp))?;
                self.icmp += 1;
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                must_be("ICMPv6", icmp.checksum(), pseudo.of_icmp6(icmp)?)?;
                *if is_of_neighbours(icmp) { &mut self.other } else { &mut self.icmp } += 1;
            }
            None if packet.is_ip_payload_fragmented() => self.fragments += 1,
            // What IPv6 tells routers about groups is behind an extension header.
            None if matches!(pseudo, Pseudo::V6(_)) => self.other += 1,
            other => return Err(format!("neither TCP, UDP nor ICMP: {other:?}")),
        }
        Ok(())
    }
}

/// The header whose addresses a checksum covers.
enum Pseudo {
    V4(Ipv4Header),
    V6(Ipv6Header),
}

impl Pseudo {
    fn of_tcp(&self, tcp: &TcpSlice<'_>) -> Result<u16, String> {
        let (header, payload) = (tcp.to_header(), tcp.payload());
        let right = match self {
            Self::V4(ip) => header.calc_checksum_ipv4(ip, payload),
            Self::V6(ip) => header.calc_checksum_ipv6(ip, payload),
        };
        right.map_err(|error| error.to_string())
    }

    fn of_icmp6(&self, icmp: &Icmpv6Slice<'_>) -> Result<u16, String> {
        let Self::V6(ip) = self else { return Err("ICMPv6 over IPv4".into()) };
        let right = icmp.icmp_type().calc_checksum(ip.source, ip.destination, icmp.payload());
        right.map_err(|error| error.to_string())
    }

    fn of_udp(&self, udp: &UdpSlice<'_>) -> Result<u16, String> {
        let (header, payload) = (udp.to_header(), udp.payload());
        let right = match self {
            Self::V4(ip) => header.calc_checksum_ipv4(ip, payload),
            Self::V6(ip) => header.calc_checksum_ipv6(ip, payload),
        };
        right.map_err(|error| error.to_string())
    }
}

/// Neighbour Discovery (RFC 4861) and what is said about groups (RFC 3810).
fn is_of_neighbours(icmp: &Icmpv6Slice<'_>) -> bool {
    matches!(icmp.type_u8(), 130..=137 | 143)
}

fn icmp_checksum(icmp: &Icmpv4Slice<'_>) -> u16 {
    icmp.icmp_type().calc_checksum(icmp.payload())
}

/// The two zeros of one's complement are one number: a receiver sums both to nothing, and the kernel completes
/// a checksum that comes out as zero as all ones, for TCP too (net/core/dev.c, `skb_checksum_help`).
fn must_be(what: &str, found: u16, right: u16) -> Result<(), String> {
    let one_zero = |sum: u16| if sum == 0xffff { 0 } else { sum };
    if one_zero(found) == one_zero(right) {
        return Ok(());
    }
    Err(format!("{what} checksum {found:#06x}, should be {right:#06x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn tcp_frame() -> Vec<u8> {
        let builder =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(1, 2, 3, 4);
        let mut frame = Vec::new();
        builder.write(&mut frame, b"odd").unwrap();
        frame
    }

    fn udp_frame_of_ipv6() -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([6; 16], [7; 16], 64).udp(1, 2);
        let mut frame = Vec::new();
        builder.write(&mut frame, b"odd").unwrap();
        frame
    }

    #[test]
    fn a_right_frame_is_counted_and_one_with_a_flipped_bit_is_wrong() {
        let right = tcp_frame();
        for at in [14 + 8, 14 + 20 + 16, right.len() - 1] {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            let verdicts = Verdicts::of(&[right.clone(), wrong]);
            assert_eq!((verdicts.tcp, verdicts.wrong.len()), (1, 1), "bit at {at}: {verdicts:?}");
        }
    }

    #[test]
    fn a_checksum_of_ipv6_covers_the_addresses_too() {
        let right = udp_frame_of_ipv6();
        for at in [14 + 8, 14 + 24, right.len() - 1] {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            let verdicts = Verdicts::of(&[right.clone(), wrong]);
            assert_eq!((verdicts.udp, verdicts.wrong.len()), (1, 1), "bit at {at}: {verdicts:?}");
        }
    }
}
