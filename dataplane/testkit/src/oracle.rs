//! An independent judge of checksums: it sums every byte again, in big-endian 16-bit words, and shares no
//! code with the path, which only ever mends.

use crate::packets::ETHERNET;

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
    /// It can't be told: a fragment, or lengths that contradict each other.
    Unknown,
}

/// Sums up a frame's checksums again.
#[must_use]
pub fn checksums(frame: &[u8]) -> Checksums {
    if let Some((header, payload)) = ipv4(frame) {
        return Checksums { ip: judge(header), l4: l4(header, payload) };
    }
    // IPv6 has no checksum of its own.
    Checksums { ip: Sum::None, l4: ipv6(frame).map_or(Sum::None, l6) }
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

/// The IPv4 header and what follows it, padding cut off.
fn ipv4(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    if frame.get(12..14)? != [0x08, 0x00] {
        return None;
    }
    let packet = frame.get(14..)?;
    let first = *packet.first()?;
    let header_len = 4 * usize::from(first & 0x0f);
    let total_len = usize::from(u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?));
    if first >> 4 != 4 || header_len < 20 {
        return None;
    }
    packet.get(..total_len)?.split_at_checked(header_len)
}

/// The IPv6 addresses, the next header, and what follows the header, padding cut off.
fn ipv6(frame: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    if frame.get(12..14)? != [0x86, 0xdd] {
        return None;
    }
    let packet = frame.get(ETHERNET..)?;
    let (header, rest) = packet.split_at_checked(40)?;
    let len = usize::from(u16::from_be_bytes(header.get(4..6)?.try_into().ok()?));
    (header.first()? >> 4 == 6).then_some((header.get(8..40)?, *header.get(6)?, rest.get(..len)?))
}

fn l6((addresses, next_header, payload): (&[u8], u8, &[u8])) -> Sum {
    match next_header {
        6 | 58 => pseudo(addresses, next_header, payload),
        17 => udp(addresses, payload),
        // A fragment.
        44 => Sum::Unknown,
        _ => Sum::None,
    }
}

fn l4(header: &[u8], payload: &[u8]) -> Sum {
    let field = |at: usize| header.get(at).copied().unwrap_or_default();
    if field(6) & 0x3f != 0 || field(7) != 0 {
        return Sum::Unknown;
    }
    let addresses = header.get(12..20).unwrap_or_default();
    match field(9) {
        1 => judge(payload),
        6 => pseudo(addresses, 6, payload),
        17 => udp(addresses, payload),
        _ => Sum::None,
    }
}

fn udp(addresses: &[u8], payload: &[u8]) -> Sum {
    let Some(udp) = payload.first_chunk::<8>() else { return Sum::Unknown };
    let len = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    match payload.get(..len) {
        _ if udp[6..8] == [0, 0] => Sum::None,
        Some(datagram) if len >= 8 => pseudo(addresses, 17, datagram),
        _ => Sum::Unknown,
    }
}

/// The pseudo headers of RFC 9293 section 3.1 and RFC 8200 section 8.1 sum up alike.
fn pseudo(addresses: &[u8], protocol: u8, segment: &[u8]) -> Sum {
    let Ok(len) = u16::try_from(segment.len()) else { return Sum::Unknown };
    let mut summed = addresses.to_vec();
    summed.extend([0, protocol]);
    summed.extend(len.to_be_bytes());
    summed.extend_from_slice(segment);
    judge(&summed)
}

/// Bytes with their checksum among them sum up to all ones.
fn judge(bytes: &[u8]) -> Sum {
    if sum16(bytes) == 0xffff { Sum::Right } else { Sum::Wrong }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packets::{Body, Party, echo_request, packet6, spoil, tcp, tcp6, udp, udp6};
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
}
