//! Whole packets cut into fragments (RFC 791 section 2.3, RFC 8200 section 4.5).

use super::{ETHERNET, spoil};

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const FRAGMENT: u8 = 44;

/// An IPv4 frame without options in pieces of `len` bytes, a multiple of eight.
#[must_use]
pub fn fragments(whole: &[u8], identification: u16, len: usize) -> Vec<Vec<u8>> {
    let (headers, payload) = whole.split_at(ETHERNET + V4_HEADER);
    let pieces = payload.len().div_ceil(len);
    let piece = |(number, bytes): (usize, &[u8])| {
        let more = if number + 1 < pieces { 0x2000 } else { 0 };
        let total_len = (V4_HEADER + bytes.len()) as u16;
        let mut header = total_len.to_be_bytes().to_vec();
        header.extend(identification.to_be_bytes());
        header.extend((more | (number * len / 8) as u16).to_be_bytes());
        spoil::put_ip([headers, bytes].concat(), 2, &header)
    };
    payload.chunks(len).enumerate().map(piece).collect()
}

/// The same for IPv6: a fragment header behind the first one.
#[must_use]
pub fn fragments6(whole: &[u8], identification: u32, len: usize) -> Vec<Vec<u8>> {
    let (headers, payload) = whole.split_at(ETHERNET + V6_HEADER);
    let next = whole.get(ETHERNET + 6).copied().expect("a whole packet");
    let pieces = payload.len().div_ceil(len);
    let piece = |(number, bytes): (usize, &[u8])| {
        let offset = (number * len) as u16 | u16::from(number + 1 < pieces);
        let mut header = vec![next, 0];
        header.extend(offset.to_be_bytes());
        header.extend(identification.to_be_bytes());
        let payload_len = (header.len() + bytes.len()) as u16;
        let made = spoil::put(headers.to_vec(), ETHERNET + 4, &payload_len.to_be_bytes());
        [spoil::put(made, ETHERNET + 6, &[FRAGMENT]), header, bytes.to_vec()].concat()
    };
    payload.chunks(len).enumerate().map(piece).collect()
}
