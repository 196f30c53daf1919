//! A flood: first packets of flows that never go on, each from another sender that does not exist.
//!
//! The senders lie in 198.18.0.0/15 (RFC 2544). The router sends their answers to the client's namespace, which
//! has none of these addresses and does not forward: there they end in silence.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::config::Protocol;
use crate::error::Error;
use crate::netns::Netns;
use crate::topology::{CLIENT, Testbed};
use crate::waiting::{PATIENCE, until};

/// Who claims to send.
const SENDERS: &str = "198.18.0.0/15";
const FIRST_SENDER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const SENDERS_COUNT: u32 = 1 << 17;

/// How often packets are sent: so many at once as have become due.
const BEAT: Duration = Duration::from_millis(1);

/// The most that is sent in one beat. A flood that was kept from the CPU does not make up for it in one burst:
/// the queue of a veth holds 256 packets, and what is lost there says nothing about Weir.
const LARGEST_BURST: u32 = 64;

/// The flood's packets.
#[derive(Clone, Copy, Debug)]
pub struct Wave {
    /// SYNs, or datagrams.
    pub protocol: Protocol,
    /// Where they go.
    pub to: SocketAddrV4,
    /// How many in a second.
    pub per_second: u32,
}

/// A flood under way.
#[derive(Debug)]
pub struct Flood {
    begun: Instant,
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    thread: Option<JoinHandle<()>>,
}

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Flooded {
    /// Packets, each of another sender.
    pub packets: u32,
    /// In which time.
    pub took: Duration,
}

impl Flooded {
    /// Packets in a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        f64::from(self.packets) / self.took.as_secs_f64()
    }
}

/// Gives the router a way back to the senders that do not exist.
pub fn route_back(bed: &Testbed) -> Result<(), Error> {
    bed.router.ip(&["route", "add", SENDERS, "via", &CLIENT.to_string()]).map(drop)
}

impl Flood {
    /// Begins to flood from a namespace.
    pub fn begin(from: &Netns, wave: Wave) -> Result<Self, Error> {
        Self::of(from, wave.to, wave.per_second, move |n| wave.packet(n))
    }

    /// Begins to flood from a namespace with IPv4 packets of the caller's: the first one is number 0. They all go by the way
    /// that leads to `to`.
    pub fn of(
        from: &Netns,
        to: SocketAddrV4,
        per_second: u32,
        packet: impl Fn(u32) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<Self, Error> {
        let raw = || socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
        let socket = from.enter(raw)?.map_err(Error::io("make a raw socket"))?;
        let ends = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU32::new(0));
        let (told, count) = (Arc::clone(&ends), Arc::clone(&sent));
        let to = SockaddrIn::from(to);
        let send = move |n| {
            let send = |packet: Vec<u8>| sendto(socket.as_raw_fd(), &packet, &to, MsgFlags::empty()).is_ok();
            packet(n).is_some_and(send)
        };
        let thread = thread::spawn(move || pour(per_second, send, &told, &count));
        Ok(Self { begun: Instant::now(), ends, sent, thread: Some(thread) })
    }

    /// Waits until so many packets were sent.
    pub fn wait_for(&self, packets: u32) -> Result<(), Error> {
        let sent = || self.sent.load(Ordering::Relaxed);
        let what = format!("a flood of {packets} packets");
        until(&what, PATIENCE, || format!("{} were sent", sent()), || Ok((sent() >= packets).then_some(())))
    }

    /// Ends it.
    #[must_use]
    pub fn stop(mut self) -> Flooded {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        Flooded { packets: self.sent.load(Ordering::Relaxed), took: self.begun.elapsed() }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// Sends until it is told to end, or every sender has sent once.
fn pour(per_second: u32, send: impl Fn(u32) -> bool, ends: &AtomicBool, count: &AtomicU32) {
    let (mut sent, mut missed) = (0, 0);
    let begun = Instant::now();
    while !ends.load(Ordering::Relaxed) && sent < SENDERS_COUNT {
        let due = (begun.elapsed().as_secs_f64() * f64::from(per_second)) as u32;
        let owed = due.saturating_sub(sent + missed);
        missed += owed.saturating_sub(LARGEST_BURST);
        for _ in 0..owed.min(LARGEST_BURST) {
            // A queue that is full is a packet that was not sent.
            *if send(sent) { &mut sent } else { &mut missed } += 1;
        }
        count.store(sent, Ordering::Relaxed);
        // The rate is a matter of time, and there is no event to wait for.
        thread::sleep(BEAT);
    }
}

impl Wave {
    /// The packet of the flood's n-th sender.
    fn packet(&self, n: u32) -> Option<Vec<u8>> {
        const WINDOW: u16 = 64_240;
        let from = Ipv4Addr::from(u32::from(FIRST_SENDER) + n % SENDERS_COUNT);
        let port = 1024 + (n % 60_000) as u16;
        let ip = PacketBuilder::ipv4(from.octets(), self.to.ip().octets(), 64);
        let mut packet = Vec::new();
        let written = match self.protocol {
            Protocol::Tcp => ip.tcp(port, self.to.port(), n, WINDOW).syn().write(&mut packet, &[]),
            // Of both, the one that has no handshake.
            Protocol::Udp | Protocol::TcpUdp => ip.udp(port, self.to.port()).write(&mut packet, b"flood"),
        };
        written.is_ok().then_some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_of_a_flood_is_of_another_sender() {
        let wave = Wave { protocol: Protocol::Tcp, to: SocketAddrV4::new(CLIENT, 80), per_second: 1 };
        let senders = [0, 1, SENDERS_COUNT - 1].map(|n| wave.packet(n).unwrap()[12..16].to_vec());
        assert_eq!(senders, [vec![198, 18, 0, 0], vec![198, 18, 0, 1], vec![198, 19, 255, 255]]);
    }
}
