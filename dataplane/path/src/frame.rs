//! A packet in a buffer: what tests, fuzzers, benchmarks and simulators use.

use crate::checksum::{Delta, Sum, mend_l4};
use crate::packet::{MOST_INSERTED, Packet, Refused, VlanTag};
use crate::wire::ethernet;

/// A packet in a buffer. Its checksums are complete, and its VLAN tag is in its bytes, as on XDP.
#[derive(Debug)]
pub struct Frame<'a> {
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> Frame<'a> {
    /// The first `len` bytes of `buffer`; the rest is room to grow into. `None` if the buffer is shorter.
    #[must_use]
    pub fn new(buffer: &'a mut [u8], len: usize) -> Option<Self> {
        (len <= buffer.len()).then_some(Self { buffer, start: 0, end: len })
    }

    /// The packet's bytes, with its tag.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// How far the tag moves what follows the MACs.
    fn tag_len(&self) -> usize {
        let has_tag = self.bytes().get(ethernet::TYPE..).and_then(|rest| rest.first_chunk());
        if has_tag == Some(&ethernet::VLAN) { ethernet::VLAN_LEN } else { 0 }
    }

    fn place(&self, at: usize) -> usize {
        if at < ethernet::TYPE { at } else { at.saturating_add(self.tag_len()) }
    }

    /// Makes room in front, by moving what is there to the buffer's end.
    fn grow_front(&mut self, len: usize) -> Result<(), Refused> {
        let lacks = len.saturating_sub(self.start);
        if self.end + lacks > self.buffer.len() {
            return Err(Refused);
        }
        self.buffer.copy_within(self.start..self.end, self.start + lacks);
        self.start += lacks;
        self.end += lacks;
        self.start -= len;
        Ok(())
    }
}

impl Packet for Frame<'_> {
    fn length(&self) -> usize {
        (self.end - self.start).saturating_sub(self.tag_len())
    }

    fn segments(&self) -> u32 {
        1
    }

    fn segment_payload(&self) -> usize {
        0
    }

    fn vlan(&self) -> VlanTag {
        if self.tag_len() == 0 {
            return VlanTag::NONE;
        }
        let tci = self.bytes().get(ethernet::LEN..).and_then(|rest| rest.first_chunk());
        VlanTag::of_tci(tci.map_or(0, |tci| u16::from_be_bytes(*tci)))
    }

    fn set_vlan(&mut self, tag: VlanTag) -> Result<(), Refused> {
        match (self.tag_len(), tag) {
            (0, VlanTag::NONE) => return Ok(()),
            (len, VlanTag::NONE) => {
                self.start += len;
                return Ok(());
            }
            (0, _) => self.grow_front(ethernet::VLAN_LEN)?,
            _ => {}
        }
        let [t0, t1] = ethernet::VLAN;
        let [v0, v1] = tag.0.to_be_bytes();
        let place = self.bytes_mut().get_mut(ethernet::TYPE..).and_then(|rest| rest.first_chunk_mut());
        *place.ok_or(Refused)? = [t0, t1, v0, v1];
        Ok(())
    }

    #[inline]
    fn read<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes().get(self.place(at)..)?.first_chunk().copied()
    }

    #[inline]
    fn write<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Result<(), Refused> {
        let place = self.place(at);
        let room = self.bytes_mut().get_mut(place..).and_then(|rest| rest.first_chunk_mut());
        *room.ok_or(Refused)? = bytes;
        Ok(())
    }

    fn sum(&self, at: usize, len: usize) -> Option<Sum> {
        let at = self.place(at);
        let bytes = self.bytes().get(at..at.checked_add(len & !3)?)?;
        let (words, _) = bytes.as_chunks();
        Some(words.iter().fold(Sum::default(), |sum, word| sum.add4(*word)))
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

    fn is_partial(&mut self, _: usize) -> Result<bool, Refused> {
        Ok(false)
    }

    fn changed(&mut self, _: Sum) {}

    fn resize(&mut self, len: usize) -> Result<(), Refused> {
        let end = self.start + self.tag_len() + len;
        let grown = self.buffer.get_mut(self.end.min(end)..end).ok_or(Refused)?;
        grown.fill(0);
        self.end = end;
        Ok(())
    }

    fn insert(&mut self, len: usize) -> Result<(), Refused> {
        if len > MOST_INSERTED {
            return Err(Refused);
        }
        let (tag_len, tag) = (self.tag_len(), self.vlan());
        self.start += tag_len;
        self.grow_front(len + tag_len)?;
        let place = self.bytes_mut().get_mut(ethernet::TYPE..).and_then(|rest| rest.first_chunk_mut());
        let [v0, v1] = tag.0.to_be_bytes();
        let [t0, t1] = if tag_len == 0 { ethernet::IPV4 } else { ethernet::VLAN };
        *place.ok_or(Refused)? = [t0, t1, v0, v1];
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

    /// MACs, VLAN 5 with a priority, an ethertype, and two bytes.
    const TAGGED: [u8; 20] = [1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0x81, 0, 0x60, 5, 8, 0, 3, 4];

    #[test]
    fn a_tag_is_seen_beside_the_bytes_and_can_be_taken_off_and_put_on() {
        let mut buffer = [0u8; 24];
        buffer[..20].copy_from_slice(&TAGGED);
        let mut frame = Frame::new(&mut buffer, 20).unwrap();
        assert_eq!((frame.vlan(), frame.length()), (VlanTag(5), 16));
        assert_eq!((frame.read(12), frame.read(14)), (Some([8, 0]), Some([3, 4])));
        frame.set_vlan(VlanTag::NONE).unwrap();
        assert_eq!((frame.vlan(), frame.length()), (VlanTag::NONE, 16));
        assert_eq!((frame.read(12), frame.read(14)), (Some([8, 0]), Some([3, 4])));
        frame.set_vlan(VlanTag(9)).unwrap();
        assert_eq!(frame.bytes()[12..], [0x81, 0, 0, 9, 8, 0, 3, 4]);
    }

    #[test]
    fn room_is_made_behind_the_ethernet_header_and_a_tag_stays_in_front_of_it() {
        let mut buffer = [0u8; 64];
        buffer[..20].copy_from_slice(&TAGGED);
        let mut frame = Frame::new(&mut buffer, 20).unwrap();
        frame.insert(28).unwrap();
        assert_eq!((frame.vlan(), frame.length()), (VlanTag(5), 44));
        assert_eq!(frame.read(14 + 28), Some([3, 4]));
        assert_eq!(frame.insert(50), Err(Refused));
    }
}
