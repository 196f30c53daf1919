//! Packets that no well-behaved socket would send.

use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread;
use std::time::Instant;

use etherparse::PacketBuilder;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    SockaddrLike, sendto, setsockopt, socket, sockopt,
};

use crate::error::Error;
use crate::netns::Netns;
use crate::waiting::PATIENCE;

/// A TCP segment with all that matters about it said.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The sender it claims.
    pub from: SocketAddrV4,
    /// Where it goes.
    pub to: SocketAddrV4,
    /// Its sequence number.
    pub sequence: u32,
    /// With ACK and this number; without one it is a SYN.
    pub acknowledges: Option<u32>,
}

impl Segment {
    /// Sends it from a namespace, by the route that the destination has there.
    pub fn send(self, netns: &Netns) -> Result<(), Error> {
        const WINDOW: u16 = 1024;
        let ip = PacketBuilder::ipv4(self.from.ip().octets(), self.to.ip().octets(), 64);
        let tcp = ip.tcp(self.from.port(), self.to.port(), self.sequence, WINDOW);
        let tcp = match self.acknowledges {
            Some(number) => tcp.ack(number),
            None => tcp.syn(),
        };
        let mut packet = Vec::with_capacity(tcp.size(0));
        tcp.write(&mut packet, &[]).map_err(|error| Error::Io {
            what: format!("build {self:?}"),
            source: std::io::Error::other(error.to_string()),
        })?;
        send(netns, packet, (*self.to.ip()).into())
    }
}

/// Sends an IP packet from a namespace, header included. The kernel adds the frame, and completes the header of IPv4.
pub fn send(netns: &Netns, packet: Vec<u8>, to: IpAddr) -> Result<(), Error> {
    let sent = netns.enter(move || match to {
        IpAddr::V4(to) => send_by(AddressFamily::Inet, &packet, &SockaddrIn::from(SocketAddrV4::new(to, 0))),
        IpAddr::V6(to) => {
            send_by(AddressFamily::Inet6, &packet, &SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0)))
        }
    })?;
    sent.map_err(Error::io(format!("send a packet to {to} from {}", netns.name())))
}

fn send_by(family: AddressFamily, packet: &[u8], to: &impl SockaddrLike) -> nix::Result<()> {
    let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    sendto(socket.as_raw_fd(), packet, to, MsgFlags::empty()).map(drop)
}

/// A raw socket of IPv4 in a namespace, for many packets.
#[derive(Debug)]
pub struct Sender(OwnedFd);

impl Sender {
    /// Makes it.
    pub fn begin(netns: &Netns) -> Result<Self, Error> {
        let raw = || socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
        netns.enter(raw)?.map(Self).map_err(Error::io("make a raw socket"))
    }

    /// Sends a datagram.
    pub fn datagram(&self, from: SocketAddrV4, to: SocketAddrV4, words: &[u8]) -> Result<(), Error> {
        let mut packet = Vec::new();
        let ip = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64);
        let written = ip.udp(from.port(), to.port()).write(&mut packet, words);
        written
            .map_err(|error| std::io::Error::other(error.to_string()))
            .map_err(Error::io("build a datagram"))?;
        let sent = sendto(self.0.as_raw_fd(), &packet, &SockaddrIn::from(to), MsgFlags::empty());
        sent.map(drop).map_err(Error::io(format!("send a datagram to {to}")))
    }
}

/// Sends a frame out of a device of a namespace, as it is.
pub fn send_frame(netns: &Netns, device: &str, frame: Vec<u8>) -> Result<(), Error> {
    Wire::begin(netns, device)?.send(&frame)
}

/// Room for all frames that may be under way.
const BUFFER_BYTES: usize = 64 << 20;

/// A device of a namespace, for many frames.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    device: LinkAddr,
}

impl Wire {
    /// Takes hold of it.
    pub fn begin(netns: &Netns, device: &str) -> Result<Self, Error> {
        let name = device.to_owned();
        let begun = netns.enter(move || {
            // The header is in the frame, so all that matters of the address is the device.
            let devices = getifaddrs()?.filter(|it| it.interface_name == name);
            let address = devices.filter_map(|it| it.address?.as_link_addr().copied()).next();
            let device = address.ok_or(Errno::ENODEV)?;
            let family = AddressFamily::Packet;
            let socket = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
            // A frame that waits for a neighbour on the way is still the sender's: it is not to hold up the others.
            setsockopt(&socket, sockopt::SndBufForce, &BUFFER_BYTES)?;
            Ok(Self { socket, device })
        })?;
        begun.map_err(Error::io::<Errno>(format!("take hold of {device} of {}", netns.name())))
    }

    /// Sends a frame out of it, as it is. Where the queue of the other end is full, as soon as there is room.
    pub fn send(&self, frame: &[u8]) -> Result<(), Error> {
        let begun = Instant::now();
        loop {
            match sendto(self.socket.as_raw_fd(), frame, &self.device, MsgFlags::empty()) {
                Err(Errno::ENOBUFS) if begun.elapsed() < PATIENCE => thread::yield_now(),
                sent => return sent.map(drop).map_err(Error::io("send a frame")),
            }
        }
    }
}
