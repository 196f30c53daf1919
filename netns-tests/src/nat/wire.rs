//! Ears and mouths: what arrives at a device is heard as it comes, and anything may be said.

use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto, socket,
};

use crate::capture::{each_frame, packet_socket};
use crate::error::Error;
use crate::nat::packet::Heard;
use crate::netns::Netns;

/// After how long nothing will come any more. A packet is there within a millisecond; a busy machine takes longer.
const SILENCE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Memory {
    heard: Mutex<Vec<Heard>>,
    more: Condvar,
}

impl Memory {
    fn heard(&self) -> MutexGuard<'_, Vec<Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens at a device until it is dropped, and forgets nothing.
#[derive(Debug)]
pub(super) struct Ear {
    memory: Arc<Memory>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    /// Begins to listen.
    pub(super) fn at(netns: &Netns, device: &str) -> Result<Self, Error> {
        let ifindex =
            netns.link(device)?.get("ifindex").and_then(serde_json::Value::as_u64).unwrap_or_default();
        let socket = netns.enter(packet_socket)?.map_err(Error::io(format!("listen on {device}")))?;
        let (memory, ends) = (Arc::<Memory>::default(), Arc::<AtomicBool>::default());
        let (kept, told) = (Arc::clone(&memory), Arc::clone(&ends));
        let thread = thread::spawn(move || {
            each_frame(&socket, ifindex as usize, &told, |frame| {
                if let Some(heard) = Heard::of_frame(frame) {
                    kept.heard().push(heard);
                    kept.more.notify_all();
                }
            });
        });
        Ok(Self { memory, ends, thread: Some(thread) })
    }

    /// The first packet like that, now or soon.
    pub(super) fn hear(&self, is_meant: impl Fn(&Heard) -> bool) -> Option<Heard> {
        let until = Instant::now() + SILENCE;
        let mut looked_at = 0;
        let mut heard = self.memory.heard();
        loop {
            if let Some(it) = heard.iter().skip(looked_at).find(|it| is_meant(it)) {
                return Some(it.clone());
            }
            looked_at = heard.len();
            let left = until.checked_duration_since(Instant::now())?;
            (heard, _) = self.memory.more.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// All packets like that so far.
    pub(super) fn all(&self, is_meant: impl Fn(&Heard) -> bool) -> Vec<Heard> {
        self.memory.heard().iter().filter(|it| is_meant(it)).cloned().collect()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was shown when it happened.
            let _: thread::Result<()> = thread.join();
        }
    }
}

/// Says whatever one wants in a namespace, by the routes that are there.
#[derive(Debug)]
pub(super) struct Mouth {
    v4: OwnedFd,
    v6: OwnedFd,
}

impl Mouth {
    /// Opens it.
    pub(super) fn of(netns: &Netns) -> Result<Self, Error> {
        let raw = |family| move || socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw);
        let open = |family| netns.enter(raw(family))?.map_err(Error::io("make a raw socket"));
        Ok(Self { v4: open(AddressFamily::Inet)?, v6: open(AddressFamily::Inet6)? })
    }

    /// Says it.
    pub(super) fn say(&self, packet: &[u8], to: IpAddr) -> Result<(), Error> {
        let flags = MsgFlags::empty();
        let sent = match to {
            IpAddr::V4(it) => {
                let to = SockaddrIn::from(SocketAddrV4::new(it, 0));
                sendto(self.v4.as_raw_fd(), packet, &to, flags)
            }
            IpAddr::V6(it) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(it, 0, 0, 0));
                sendto(self.v6.as_raw_fd(), packet, &to, flags)
            }
        };
        sent.map(drop).map_err(Error::io(format!("send a packet to {to}")))
    }
}
