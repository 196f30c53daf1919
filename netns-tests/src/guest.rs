//! A guest of a virtual machine, as the network sees it: a user of a TAP device.
//!
//! It has no kernel of its own. It takes UDP datagrams for the address that every sandbox has, if their
//! checksums are right, and sends each back where it came from.

use std::thread::{self, JoinHandle};

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_tun::Tun;

use crate::capture::Verdicts;
use crate::error::Error;
use crate::netns::Netns;

/// No frame here is longer: 1500 bytes of IP.
const LARGEST_FRAME: usize = 1514;

const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// A guest behind a TAP device, until it is dropped; the device goes with it.
#[derive(Debug)]
pub struct Guest {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Guest {
    /// Makes a TAP device in a namespace and begins to answer on it.
    pub fn begin(netns: &Netns, device: &str) -> Result<Self, Error> {
        let runtime =
            Builder::new_current_thread().enable_io().build().map_err(Error::io("start a runtime"))?;
        let cannot = Error::io(format!("make the TAP device {device} in {}", netns.name()));
        let name = device.to_owned();
        let (runtime, taps) = netns.enter(move || {
            let context = runtime.enter();
            let taps = Tun::builder().name(&name).tap().up().build();
            drop(context);
            (runtime, taps)
        })?;
        let taps = taps.map_err(std::io::Error::other).map_err(cannot)?;
        let (end, ends) = oneshot::channel();
        let thread = thread::spawn(move || runtime.block_on(serve(&taps, ends)));
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // Its panic, if any, was shown when it happened.
            let _: thread::Result<()> = thread.join();
        }
    }
}

async fn serve(taps: &[Tun], mut ends: oneshot::Receiver<()>) {
    let Some(tap) = taps.first() else { return };
    let mut buffer = [0; LARGEST_FRAME];
    loop {
        let heard = tokio::select! {
            heard = tap.recv(&mut buffer) => heard,
            _ = &mut ends => return,
        };
        // An error is a device that is gone.
        let Ok(len) = heard else { return };
        if let Some(answer) = buffer.get(..len).and_then(answer)
            && tap.send(&answer).await.is_err()
        {
            return;
        }
    }
}

/// The frame turned round. Swapped addresses and ports sum up to what they did, so the checksums stay right.
fn answer(frame: &[u8]) -> Option<Vec<u8>> {
    if Verdicts::of(&[frame.to_vec()]).udp != 1 {
        return None;
    }
    let mut answer = frame.to_vec();
    swap(&mut answer, 0, 6)?;
    swap(&mut answer, ETHERNET + 12, 4)?;
    swap(&mut answer, ETHERNET + IPV4, 2)?;
    Some(answer)
}

/// Swaps two neighbouring fields of the same length.
fn swap(frame: &mut [u8], at: usize, len: usize) -> Option<()> {
    frame.get_mut(at..at + 2 * len)?.rotate_left(len);
    Some(())
}
