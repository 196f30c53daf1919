//! What the path needs from a packet: five things to do with its bytes and three to know about it.
//!
//! There are three implementors: the XDP adapter and the TC adapter in `ebpf/`, and [`Frame`] here. The
//! trait carries the difference between the hooks, so that nothing above it has to.

use crate::checksum::{Delta, mend_l4};

/// An IEEE 802.1Q tag that the kernel keeps beside the bytes (the skb's `vlan_tci`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VlanTag(pub u16);

/// The packet did not have the room, or the kernel refused. The packet may have been changed: drop it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

/// One packet, starting at its Ethernet header. Offsets are in bytes from there.
///
/// Headers lie within the first 255 bytes. The adapters rely on it, because the verifier asks for a bound.
pub trait Packet {
    /// The packet's length in bytes, the parts that can't be read directly included.
    fn length(&self) -> usize;

    /// Whether the packet has at least `bytes` bytes. Cheaper than [`Self::length`] where that must be asked for.
    #[inline(always)]
    fn holds(&self, bytes: usize) -> bool {
        self.length() >= bytes
    }

    /// How many packets this is on the wire: 1, or a GSO super-packet's number of segments.
    fn segments(&self) -> u32;

    /// The VLAN tag that the kernel keeps beside the bytes. A tag in the bytes is seen as ethertype 0x8100.
    fn vlan(&self) -> Option<VlanTag>;

    /// The `N` bytes at `at`; `None` where the packet is shorter.
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Overwrites the `N` bytes at `at`.
    ///
    /// # Errors
    /// [`Refused`] where the packet is shorter.
    fn write<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Result<(), Refused>;

    /// Mends the L4 checksum field at `at` by `delta`. For `zero_means_none` see [`mend_l4`].
    ///
    /// # Errors
    /// [`Refused`] where the packet is shorter.
    fn fix_l4(&mut self, at: usize, delta: Delta, zero_means_none: bool) -> Result<(), Refused>;

    /// Writes the L4 checksum field at `at` afresh, for a segment whose parts sum up to `parts`.
    ///
    /// # Errors
    /// [`Refused`] where the packet is shorter.
    fn put_l4(&mut self, at: usize, parts: Delta) -> Result<(), Refused>;

    /// Makes the packet `len` bytes long, at its end. New bytes are zero. What was read before still holds.
    ///
    /// # Errors
    /// [`Refused`] where there is no room to grow.
    fn resize(&mut self, len: usize) -> Result<(), Refused>;
}

/// A packet in a buffer: what tests, fuzzers, benchmarks and simulators use. Its checksums are complete.
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Frame<'a> {
    /// The first `len` bytes of `buffer`; the rest is room to grow into. `None` if the buffer is shorter.
    #[must_use]
    pub fn new(buffer: &'a mut [u8], len: usize) -> Option<Self> {
        (len <= buffer.len()).then_some(Self { buffer, len })
    }

    /// The packet's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(..self.len).unwrap_or_default()
    }
}

impl Packet for Frame<'_> {
    fn length(&self) -> usize {
        self.len
    }

    fn segments(&self) -> u32 {
        1
    }

    fn vlan(&self) -> Option<VlanTag> {
        None
    }

    #[inline]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes().get(at..)?.first_chunk().copied()
    }

    #[inline]
    fn write<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Result<(), Refused> {
        let room = self.bytes_mut().get_mut(at..).and_then(|rest| rest.first_chunk_mut()).ok_or(Refused)?;
        *room = bytes;
        Ok(())
    }

    #[inline]
    fn fix_l4(&mut self, at: usize, delta: Delta, zero_means_none: bool) -> Result<(), Refused> {
        let field = self.read(at).ok_or(Refused)?;
        self.write(at, mend_l4(field, delta, zero_means_none))
    }

    #[inline]
    fn put_l4(&mut self, at: usize, parts: Delta) -> Result<(), Refused> {
        self.write(at, parts.whole().checksum())
    }

    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        let grown = self.buffer.get_mut(self.len.min(len)..len).ok_or(Refused)?;
        grown.fill(0);
        self.len = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_end_where_the_packet_ends_not_where_its_buffer_does() {
        let mut buffer = [7u8; 10];
        let mut frame = Frame::new(&mut buffer, 4).unwrap();
        assert_eq!(frame.read::<4>(0), Some([7; 4]));
        assert_eq!(frame.read::<4>(1), None);
        assert_eq!(frame.read::<1>(usize::MAX), None);
        assert_eq!(frame.write(2, [1, 2]), Ok(()));
        assert_eq!(frame.write(3, [1, 2]), Err(Refused));
        assert_eq!(frame.bytes(), [7, 7, 1, 2]);
    }

    #[test]
    fn a_packet_that_grows_again_shows_zeros_not_what_it_held_before() {
        let mut buffer = [9u8; 8];
        let mut frame = Frame::new(&mut buffer, 8).unwrap();
        frame.resize(2).unwrap();
        frame.resize(6).unwrap();
        assert_eq!(frame.bytes(), [9, 9, 0, 0, 0, 0]);
        assert_eq!(frame.resize(9), Err(Refused));
        assert_eq!(frame.length(), 6);
    }
}
