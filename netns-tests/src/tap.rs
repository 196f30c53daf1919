//! TAP devices, and who is behind them: programs that handle frames themselves.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::error::Error;
use crate::netns::End;

/// The longest that is read at once: 64 KiB of IP, an Ethernet header, and what goes before it where offloads are on.
pub const LONGEST: usize = (1 << 16) + 64;

/// How long a wait for a frame lasts before it is looked whether it should end, in milliseconds.
const LOOK_MS: u16 = 50;

/// What a TAP device leaves to whoever is behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offload {
    /// Nothing: each frame is complete, with its checksums, and no longer than the MTU.
    None,
    /// Checksums and segmentation, as a virtual machine's device does: a header in front of each frame says what is
    /// left to do (`struct virtio_net_hdr`).
    All,
}

/// A TAP device of this process's, which is gone when this is dropped.
pub struct Tap(SyncDevice);

impl Tap {
    /// Makes the device, and sets it up.
    pub fn make(end: End<'_>, offload: Offload) -> Result<Self, Error> {
        let cannot = Error::io(format!("make the TAP device {} in {}", end.device, end.netns.name()));
        let name = end.device.to_owned();
        let made = end.netns.enter(move || {
            let builder = DeviceBuilder::new().name(name).layer(Layer::L2);
            builder.offload(offload == Offload::All).enable(true).build_sync()
        })?;
        made.map(Self).map_err(cannot)
    }

    /// Gives every frame that the device sends to `take`, until it is told to end or the device is gone.
    pub fn serve(&self, ends: &AtomicBool, mut take: impl FnMut(&mut Vec<u8>)) {
        let mut frame = Vec::with_capacity(LONGEST);
        while !ends.load(Ordering::Relaxed) {
            let mut waits = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waits, PollTimeout::from(LOOK_MS)) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(_) => return,
            }
            frame.resize(LONGEST, 0);
            let Ok(len) = self.0.recv(&mut frame) else { return };
            frame.truncate(len);
            take(&mut frame);
        }
    }

    /// Lets the device receive a frame. One that it has no room for is lost, as on a wire.
    pub fn send(&self, frame: &[u8]) {
        let _: io::Result<usize> = self.0.send(frame);
    }
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tap").field(&self.0.name().ok()).finish()
    }
}

/// Threads that work for as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    ends: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Workers {
    pub(crate) fn begin(&mut self, work: impl FnOnce(&AtomicBool) + Send + 'static) {
        let ends = Arc::clone(&self.ends);
        self.threads.push(std::thread::spawn(move || work(&ends)));
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its panic, if any, was shown when it happened.
            let _: std::thread::Result<()> = thread.join();
        }
    }
}
