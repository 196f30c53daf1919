//! Packets that no well-behaved socket would send.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;

use etherparse::PacketBuilder;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::error::Error;
use crate::netns::Netns;

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
        let to = *self.to.ip();
        netns
            .enter(move || send(&packet, to))?
            .map_err(Error::io(format!("send {self:?} from {}", netns.name())))
    }
}

/// Sends an IPv4 packet, header included. The kernel adds the frame, nothing else.
fn send(packet: &[u8], to: Ipv4Addr) -> nix::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
    sendto(socket.as_raw_fd(), packet, &to, MsgFlags::empty()).map(drop)
}
