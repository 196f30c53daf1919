//! An independent judge of checksums: it sums every byte again, in big-endian 16-bit words, and shares no
//! code with the path, which only ever mends.

use crate::anatomy::{Anatomy, bytes};

/// What a frame's checksums say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checksums {
    /// The IPv4 header's.
    pub ip: Sum,
    /// TCP's, UDP's or ICMP's.
    pub l4: Sum,
}

/// What one checksum says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sum {
    /// It fits the bytes.
    Right,
    /// It doesn't.
    Wrong,
    /// There is none: UDP's zero, another protocol, or not IPv4 at all.
    None,
    /// It can't be told: a fragment, one that was cut off, or lengths that contradict each other.
    Unknown,
}

/// By how much a frame's checksums are off, in one's complement: what no translation may change, whether they were
/// right or not, and however much of the packet is there. `None` where there is no checksum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Residues {
    /// The IPv4 header's.
    pub ip: Option<u16>,
    /// TCP's, UDP's or ICMP's.
    pub l4: Option<u16>,
}

/// Sums up a frame's checksums again.
#[must_use]
pub fn checksums(frame: &[u8]) -> Checksums {
    let none = Checksums { ip: Sum::None, l4: Sum::None };
    let Some(parts) = Anatomy::of(frame).filter(|parts| parts.is_whole(frame)) else { return none };
    let residues = residues(frame);
    let judge = |residue: Option<u16>| match residue {
        Some(0) => Sum::Right,
        Some(_) => Sum::Wrong,
        None => Sum::None,
    };
    let is_told = !parts.is_fragment && (parts.protocol != UDP || says_its_length(parts.l4(frame)));
    let l4 = match residues.l4 {
        _ if !is_told => Sum::Unknown,
        residue => judge(residue),
    };
    Checksums { ip: judge(residues.ip), l4 }
}

/// By how much a frame's checksums are off.
#[must_use]
pub fn residues(frame: &[u8]) -> Residues {
    let Some(parts) = Anatomy::of(frame) else { return Residues { ip: None, l4: None } };
    let header = frame.get(parts.at..parts.l4_at).unwrap_or_default();
    let ip = (!parts.is_v6).then(|| residue(header));
    Residues { ip, l4: l4(&parts, frame) }
}

/// The sum of RFC 1071 over `bytes`, carries added back, not complemented.
#[must_use]
pub fn sum16(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        let [high, low] = [pair.first(), pair.get(1)].map(|byte| byte.copied().unwrap_or(0));
        sum += u64::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

const TCP: u8 = 6;
const UDP: u8 = 17;

fn l4(parts: &Anatomy, frame: &[u8]) -> Option<u16> {
    let payload = parts.l4(frame);
    let said_len = parts.end.checked_sub(parts.l4_at)?;
    let is_there = |at: usize| payload.len() >= at + 2;
    match parts.protocol {
        _ if parts.is_later => None,
        TCP if is_there(16) => Some(pseudo(parts, frame, said_len, payload)),
        UDP if is_there(6) => {
            let [len0, len1, sum0, sum1] = bytes(payload, 4)?;
            let len = usize::from(u16::from_be_bytes([len0, len1]));
            // A length that can't be leaves all that is there to be summed up.
            let datagram = payload.get(..len).filter(|datagram| datagram.len() >= 8).unwrap_or(payload);
            ([sum0, sum1] != [0, 0]).then(|| pseudo(parts, frame, len, datagram))
        }
        1 if !parts.is_v6 && is_there(2) => Some(residue(payload)),
        58 if parts.is_v6 && is_there(2) => Some(pseudo(parts, frame, said_len, payload)),
        _ => None,
    }
}

fn says_its_length(datagram: &[u8]) -> bool {
    let len = bytes(datagram, 4).map(u16::from_be_bytes).map_or(0, usize::from);
    (8..=datagram.len()).contains(&len) || bytes(datagram, 6) == Some([0, 0])
}

/// The pseudo headers of RFC 9293 section 3.1 and RFC 8200 section 8.1 sum up alike.
fn pseudo(parts: &Anatomy, frame: &[u8], len: usize, segment: &[u8]) -> u16 {
    let mut summed = parts.addresses(frame).concat();
    summed.extend([0, parts.protocol]);
    summed.extend((len as u16).to_be_bytes());
    summed.extend_from_slice(segment);
    residue(&summed)
}

/// Bytes with their checksum among them sum up to all ones, which is one's complement's other zero.
fn residue(bytes: &[u8]) -> u16 {
    match sum16(bytes) {
        0xffff => 0,
        sum => sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{
        Body, Party, echo_request, fragments, fragments6, packet6, spoil, tcp, tcp6, udp, udp6,
    };
    use crate::town::{CLIENT_6, WEB_6};
    use weir_path::addr::{Ip4, Mac};

    const A: Party = Party { mac: Mac([2, 0, 0, 0, 0, 1]), ip: Ip4([10, 0, 0, 1]), port: 4_000 };
    const B: Party = Party { mac: Mac([2, 0, 0, 0, 0, 2]), ip: Ip4([10, 0, 0, 2]), port: 80 };

    #[test]
    fn it_agrees_with_etherparse_on_good_packets() {
        let right = Checksums { ip: Sum::Right, l4: Sum::Right };
        for packet in [tcp(A, B).payload(b"odd"), udp(A, B).ip_options(&[1; 8]), echo_request(A, B)] {
            assert_eq!(checksums(&packet.bytes()), right, "{packet:?}");
        }
        let right = Checksums { ip: Sum::None, l4: Sum::Right };
        let ping = packet6(CLIENT_6, WEB_6, Body::EchoRequest);
        for packet in [tcp6(CLIENT_6, WEB_6).payload(b"odd"), udp6(CLIENT_6, WEB_6), ping] {
            assert_eq!(checksums(&packet.bytes()), right, "{packet:?}");
        }
    }

    #[test]
    fn one_changed_byte_of_an_ipv6_packet_is_seen() {
        for good in [tcp6(CLIENT_6, WEB_6).payload(b"data").bytes(), udp6(CLIENT_6, WEB_6).bytes()] {
            for at in [22, 37, 38, 53, 54, 56, 61, good.len() - 1] {
                let bad = spoil::put(good.clone(), at, &[good[at] ^ 0x55]);
                assert_ne!(checksums(&bad).l4, Sum::Right, "byte {at} of {good:02x?}");
            }
        }
    }

    #[test]
    fn one_changed_byte_anywhere_in_a_header_or_payload_is_seen() {
        for good in [tcp(A, B).payload(b"data").bytes(), udp(A, B).bytes(), echo_request(A, B).bytes()] {
            for at in [22, 23, 26, 33, 34, 36, 41, good.len() - 1] {
                let bad = spoil::put(good.clone(), at, &[good[at] ^ 0x55]);
                let Checksums { ip, l4 } = checksums(&bad);
                assert!(ip == Sum::Wrong || l4 != Sum::Right, "byte {at} of {good:02x?}");
            }
        }
    }

    #[test]
    fn no_checksum_is_told_from_a_wrong_one() {
        let none = udp(A, B).without_checksum().bytes();
        assert_eq!(checksums(&none).l4, Sum::None);
        assert_eq!(checksums(&spoil::put(none, 40, &[0, 1])).l4, Sum::Wrong);
        assert_eq!(checksums(&tcp(A, B).fragment(3, true).bytes()).l4, Sum::Unknown);
        assert_eq!(checksums(&[0; 60]), Checksums { ip: Sum::None, l4: Sum::None });
    }

    #[test]
    fn tags_and_extension_headers_hide_nothing() {
        let right = Checksums { ip: Sum::None, l4: Sum::Right };
        let chained = tcp6(CLIENT_6, WEB_6).options(0, 8).options(60, 24).payload(b"odd").bytes();
        for packet in [chained.clone(), spoil::tag(chained.clone(), 7)] {
            assert_eq!(checksums(&packet), right);
        }
        let len = chained.len();
        assert_eq!(checksums(&spoil::put(chained, len - 1, b"x")).l4, Sum::Wrong);
    }

    #[test]
    fn pieces_of_a_packet_are_off_by_as_much_whatever_their_addresses() {
        let [one, other] = [[A, B], [B.ip(9, 9, 9, 9), A]].map(|[from, to]| {
            let whole = udp(from, to).payload(&[7; 40]).bytes();
            fragments(&whole, 7, 24).iter().map(|piece| residues(piece)).collect::<Vec<_>>()
        });
        assert_eq!(one, other);
        assert_eq!(one[1], Residues { ip: Some(0), l4: None });
        assert!(one[0].l4.is_some_and(|residue| residue != 0));
        let pieces = fragments6(&udp6(CLIENT_6, WEB_6).payload(&[7; 40]).bytes(), 7, 24);
        assert!(pieces.iter().all(|piece| checksums(piece).l4 == Sum::Unknown));
    }
}
