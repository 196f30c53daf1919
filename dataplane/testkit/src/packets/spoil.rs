//! Ways to spoil a good frame.

use super::ETHERNET;
use crate::oracle::sum16;

/// The first `len` bytes.
#[must_use]
pub fn cut(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.truncate(len);
    bytes
}

/// With these bytes at `at`, where they fit. Checksums stay as they were.
#[must_use]
pub fn put(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    if let Some(place) = bytes.get_mut(at..at + new.len()) {
        place.copy_from_slice(new);
    }
    bytes
}

/// With these bytes in the IPv4 header, counted from its start, and a header checksum that fits them.
#[must_use]
pub fn put_ip(bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    mend_ip(put(bytes, ETHERNET + at, new))
}

/// With this many bytes behind the IPv4 packet, as Ethernet pads short frames.
#[must_use]
pub fn pad(mut bytes: Vec<u8>, padding: usize) -> Vec<u8> {
    bytes.resize(bytes.len() + padding, 0);
    bytes
}

/// With an 802.1Q tag in the bytes.
#[must_use]
pub fn tag(mut bytes: Vec<u8>, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    bytes.splice(12..12, [0x81, 0x00, high, low]);
    bytes
}

fn mend_ip(bytes: Vec<u8>) -> Vec<u8> {
    let words = usize::from(bytes.get(ETHERNET).copied().unwrap_or_default() & 0x0f);
    let bytes = put(bytes, ETHERNET + 10, &[0, 0]);
    let Some(header) = bytes.get(ETHERNET..ETHERNET + 4 * words) else { return bytes };
    let checksum = !sum16(header);
    put(bytes, ETHERNET + 10, &checksum.to_be_bytes())
}
