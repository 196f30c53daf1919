//! A packet out of a context, for each hook.
//!
//! Packet bytes are reached in the one form that the verifier follows: an offset with a known bound, then
//! start + offset + length compared with the end.

mod sum;
mod tc;
mod xdp;

pub use tc::{Depth, TcPacket};
pub use xdp::XdpPacket;

use core::arch::asm;
use core::intrinsics::is_val_statically_known;
use weir_path::packet::Refused;
use weir_path::wire::ethernet;

/// Nothing that the path reads starts beyond this: the most of it is what an ICMPv6 error quotes.
const MAX_OFFSET: usize = 0x7ff;

/// Where the readable bytes start and end.
///
/// Read from the context once, and again only after a helper that moves the packet: the verifier forgets what
/// was compared when a pointer is loaded anew, and the compiler, which doesn't, would leave the comparison out.
#[derive(Clone, Copy)]
struct Bytes {
    data: usize,
    /// Where the offset zero would be for everything behind the MACs: further by a tag, if that is in the bytes.
    behind_tag: usize,
    end: usize,
}

/// The same address, but the compiler forgets how it came about.
///
/// To the verifier, two sums of the packet's start and an offset it doesn't know are two unrelated pointers,
/// each to be compared with the end. The compiler would see that one comparison implies the other.
#[inline(always)]
fn opaque(mut address: usize) -> usize {
    // One instruction, because the kernel refuses line information for none.
    // SAFETY: copies a register onto itself.
    unsafe { asm!("{0} = {0}", inout(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

impl Bytes {
    #[inline(always)]
    fn at<const N: usize>(self, at: usize) -> Option<*mut [u8; N]> {
        if at > MAX_OFFSET {
            return None;
        }
        let start = if !is_val_statically_known(at) {
            opaque(self.behind_tag + at)
        } else if at < ethernet::TYPE {
            self.data + at
        } else {
            self.behind_tag + at
        };
        if start + N > self.end {
            return None;
        }
        Some(start as *mut [u8; N])
    }

    #[inline(always)]
    fn read<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        // SAFETY: `at` compared the N bytes with the end of what is readable.
        self.at(at).map(|bytes| unsafe { bytes.read_unaligned() })
    }

    #[inline(always)]
    fn write<const N: usize>(self, at: usize, new: [u8; N]) -> Result<(), Refused> {
        let bytes = self.at(at).ok_or(Refused)?;
        // SAFETY: `at` compared the N bytes with the end of what is readable, and the packet is ours alone:
        // the kernel unshares the head of an skb before a program that writes to it.
        unsafe { bytes.write_unaligned(new) };
        Ok(())
    }
}
