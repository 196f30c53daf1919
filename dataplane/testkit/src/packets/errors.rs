//! ICMP errors (RFC 792, RFC 4443), and what they quote.

use super::{Body, ETHERNET, Ip, Packet6, Party, ip, packet6};
use weir_path::addr::Ip6;

/// The most that an error quotes so that it reaches everybody: 576 bytes, and IPv6's 1,280, less two headers.
const MOST: [usize; 2] = [576 - 28, 1_280 - 48];

/// As much of a frame's IP packet as an error of Weir's own quotes: whole words, and no padding.
#[must_use]
pub fn quotable(frame: &[u8]) -> &[u8] {
    let is_v6 = frame.get(12..14) == Some(&[0x86, 0xdd]);
    let at = if is_v6 { 18 } else { 16 };
    let said = frame.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u16::from_be_bytes);
    let len = usize::from(said) + if is_v6 { 40 } else { 0 };
    let [most, most_v6] = MOST;
    let len = len.min(if is_v6 { most_v6 } else { most }) & !3;
    frame.get(ETHERNET..ETHERNET + len).expect("a whole packet")
}

/// An error, as Weir makes one: its type and code, the word behind its checksum, and what it quotes.
#[must_use]
pub fn error(from: Party, to: Party, kind: [u8; 2], word: u32, quoted: &[u8]) -> Ip {
    ip(from, to, Body::Icmp { kind, word: word.to_be_bytes() }).identification(0).payload(quoted)
}

/// The same for IPv6.
#[must_use]
pub fn error6(from: Party<Ip6>, to: Party<Ip6>, kind: [u8; 2], word: u32, quoted: &[u8]) -> Packet6 {
    packet6(from, to, Body::Icmp { kind, word: word.to_be_bytes() }).payload(quoted)
}
