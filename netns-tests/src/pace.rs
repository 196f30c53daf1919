//! Datagrams sent at a steady pace from one namespace, and each of them noted where it arrives.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use crate::error::Error;
use crate::netns::Netns;
use crate::talk::any_port;

/// How often datagrams are sent: so many at once as have become due.
const BEAT: Duration = Duration::from_millis(1);

/// The most that is sent in one beat: the queue of a veth holds 256 packets.
const LARGEST_BURST: u64 = 64;

/// How long the receiver waits before it looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);

/// Room for what arrives while the reading thread has no CPU.
const BUFFER_BYTES: usize = 64 << 20;

/// What an IPv4 datagram is longer than its words by, from the Ethernet header on.
pub const HEADERS: u64 = 14 + 20 + 8;

/// Sends until it is told to end.
#[derive(Debug)]
pub struct Pace {
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Pace {
    /// Begins to send so many datagrams a second, each with so many bytes of words, all of one flow.
    pub fn begin(from: &Netns, to: SocketAddr, per_second: u64, words: usize) -> Result<Self, Error> {
        let socket = socket_towards(from, to)?;
        let (ends, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (told, count) = (Arc::clone(&ends), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            let (begun, words) = (Instant::now(), vec![0x55; words]);
            while !told.load(Ordering::Relaxed) {
                let due = (begun.elapsed().as_secs_f64() * per_second as f64) as u64;
                let owed = due.saturating_sub(count.load(Ordering::Relaxed)).min(LARGEST_BURST);
                // One that is refused, since the one before it was, is not sent: the next beat makes up for it.
                let sent = (0..owed).filter(|_| socket.send(&words).is_ok()).count();
                count.fetch_add(sent as u64, Ordering::Relaxed);
                // The pace is a matter of time, and there is no event to wait for.
                thread::sleep(BEAT);
            }
        });
        Ok(Self { ends, sent, thread: Some(thread) })
    }

    /// How many were sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Ends it, and says how many were sent.
    #[must_use]
    pub fn end(mut self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
        self.sent()
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// A socket from which datagrams go to one place.
pub fn socket_towards(from: &Netns, to: SocketAddr) -> Result<UdpSocket, Error> {
    let bound = from.enter(move || {
        let socket = UdpSocket::bind(any_port(to))?;
        socket.connect(to).map(|()| socket)
    })?;
    bound.map_err(Error::io(format!("make a UDP socket towards {to}")))
}

/// Takes datagrams, answers none, and notes when each came.
#[derive(Debug)]
pub struct Sink {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Instant>>>,
}

impl Sink {
    /// Begins to listen.
    pub fn begin(netns: &Netns, at: SocketAddr) -> Result<Self, Error> {
        let socket = netns
            .enter(move || UdpSocket::bind(at))?
            .map_err(Error::io(format!("listen on UDP {at} in {}", netns.name())))?;
        socket.set_read_timeout(Some(LOOK)).map_err(Error::io("set a time limit on a socket"))?;
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES).map_err(Error::io("enlarge a buffer"))?;
        let ends = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let (mut came, mut buffer) = (Vec::new(), [0; 2048]);
            loop {
                let is_told = told.load(Ordering::Relaxed);
                match socket.recv(&mut buffer) {
                    Ok(_) => came.push(Instant::now()),
                    // Nothing is waiting any more.
                    Err(_) if is_told => return came,
                    Err(_) => {}
                }
            }
        });
        Ok(Self { ends, thread: Some(thread) })
    }

    /// Ends it once all that was sent has been taken. When each datagram came.
    #[must_use]
    pub fn end(mut self) -> Vec<Instant> {
        self.ends.store(true, Ordering::Relaxed);
        let joined = self.thread.take().map(JoinHandle::join);
        joined.map(|it| it.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).unwrap_or_default()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
    }
}

/// How many came in a second, between two moments.
#[must_use]
pub fn rate_between(came: &[Instant], first: Instant, last: Instant) -> f64 {
    let came = came.iter().filter(|at| (first..last).contains(at)).count();
    came as f64 / (last - first).as_secs_f64()
}
