//! What is written as they are for the kernel's verifier. Elsewhere they do nothing.

use crate::packet::Packet;
use core::hint::black_box;

/// The numbers below `bound`, in a loop that stays one: its copies would need more stack than a program has. In a
/// whole word, because the verifier does not follow halves of one through memory.
#[inline(always)]
pub(crate) fn rolled(bound: u32) -> core::ops::Range<u32> {
    0..black_box(u64::from(bound)) as u32
}

/// The same for a loop over a packet's bytes: cheaper, because the packet knows how to keep the bound in a register.
#[inline(always)]
pub(crate) fn rolled_over<P: Packet>(bound: u32) -> core::ops::Range<u32> {
    0..P::opaque(bound as usize) as u32
}

/// A number, of which the verifier forgets what it knew: it would go on with each value for itself, although what
/// follows is the same for all of them. `noise` is anything that it does not know, with as many bits.
#[inline(always)]
pub(crate) fn forgotten<P: Packet>(number: usize, noise: usize) -> usize {
    P::opaque(number ^ noise) ^ noise
}

/// Anything that the verifier does not know: 32 bits that the packet has anyway.
#[inline(always)]
pub(crate) fn noise<P: Packet>(p: &P) -> usize {
    p.read(crate::wire::ipv4::AT).map_or(0, |bytes| u32::from_ne_bytes(bytes) as usize)
}
