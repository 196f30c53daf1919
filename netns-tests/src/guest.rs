//! A guest of a virtual machine, as the network sees it: a user of a TAP device.
//!
//! It has no kernel of its own. It takes UDP datagrams for the address that every sandbox has, if their
//! checksums are right, and sends each back where it came from.

use crate::capture::Verdicts;
use crate::error::Error;
use crate::netns::{End, Netns};
use crate::tap::{Offload, Tap, Workers};

const ETHERNET: usize = 14;
const IPV4: usize = 20;

/// A guest behind a TAP device, until it is dropped; the device goes with it.
#[derive(Debug)]
pub struct Guest(#[expect(dead_code, reason = "it is there to be dropped")] Workers);

impl Guest {
    /// Makes a TAP device in a namespace and begins to answer on it.
    pub fn begin(netns: &Netns, device: &str) -> Result<Self, Error> {
        let tap = Tap::make(End { netns, device }, Offload::None)?;
        let mut workers = Workers::default();
        workers.begin(move |ends| {
            tap.serve(ends, |frame| answer(frame).into_iter().for_each(|answer| tap.send(&answer)));
        });
        Ok(Self(workers))
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
