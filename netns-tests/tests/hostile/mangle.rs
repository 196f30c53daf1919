//! Frames that are not as they should be: by hand, each with its name, and by dice that fall the same way in each run.

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_netns_tests::forge::{Between, Mac, ethertype, flags, frame, mend, protocol};

/// Length of an Ethernet header.
const ETHERNET: usize = 14;
/// The longest frame of a device whose MTU is 1500.
const LONGEST: usize = 1514;

/// Between whom the frames are said to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    /// The stations: to whom, from whom.
    pub(crate) stations: [Mac; 2],
    /// The addresses of IPv4.
    pub(crate) v4: Between,
    /// Those of IPv6.
    pub(crate) v6: Between,
    /// The ports.
    pub(crate) ports: [u16; 2],
}

/// Numbers that are the same in each run (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, these: &[T]) -> T {
        these[self.below(these.len())]
    }

    /// A frame of the route's that was right once. What still looks whole has right checksums, so one that is wrong on
    /// the other side was made wrong on the way.
    pub(crate) fn mangled(&mut self, route: &Route) -> Vec<u8> {
        let between = self.one_of(&[route.v4, route.v6]);
        let packet = self.right(between, route.ports);
        let mut frame = frame(route.stations, between.ethertype(), &packet);
        for _ in 0..1 + self.below(3) {
            self.spoil(&mut frame);
        }
        mend(&mut frame[ETHERNET..]);
        frame
    }

    /// A packet that could be of a flow, or open one.
    fn right(&mut self, between: Between, ports: [u16; 2]) -> Vec<u8> {
        let len = self.one_of(&[0, 1, 7, 64, 600, 1400]);
        let words = vec![0x55; len];
        let numbers = [self.next() as u32, self.next() as u32];
        match self.below(6) {
            0 => between.tcp(ports, numbers, flags::SYN, &[]),
            1 => between.tcp(ports, numbers, self.next() as u8, &words),
            2 | 3 => between.udp(ports, &words),
            4 => between.echo(ports[0]),
            _ => error_about(between, &between.udp(ports, &words)),
        }
    }

    fn spoil(&mut self, frame: &mut Vec<u8>) {
        let headers = ETHERNET..frame.len().min(ETHERNET + 64);
        let at = headers.start + self.below(headers.len());
        match self.below(6) {
            0 => frame.truncate(at),
            1 => frame[at.min(headers.end - 1)] = self.next() as u8,
            2 => frame[at.min(headers.end - 1)] ^= 1 << self.below(8),
            3 => frame[at.min(headers.end - 1)] = self.one_of(&[0, 1, 0x7f, 0x80, 0xff]),
            // Lengths, the protocol and the fragments' word, of either family, and what TCP and UDP say of theirs.
            4 => {
                let field = ETHERNET + self.one_of(&[0, 2, 3, 4, 5, 6, 7, 9, 24, 25, 32, 44, 45, 52]);
                if let Some(byte) = frame.get_mut(field) {
                    *byte = self.next() as u8;
                }
            }
            _ => frame.extend(vec![0xaa; self.below(LONGEST.saturating_sub(frame.len()))]),
        }
        // What is cut to nothing has nothing left to spoil.
        if frame.len() == ETHERNET {
            frame.push(0x45);
        }
    }
}

/// "Port unreachable", about a packet.
fn error_about(between: Between, packet: &[u8]) -> Vec<u8> {
    let kind = if matches!(between, Between::V4(..)) { [3, 3] } else { [1, 4] };
    between.icmp(kind, &[&[0; 4], &packet[..packet.len().min(548)]].concat())
}

/// The frames that are made by hand.
pub(crate) fn by_hand(route: &Route) -> Vec<Vec<u8>> {
    let v4 = [headers(route), segments(route.v4, route), fragments(route), options(route)].concat();
    let v6 = [headers6(route), segments(route.v6, route), chains(route)].concat();
    let both = [messages(route.v4, route), messages(route.v6, route)].concat();
    let of = |kind: u16, packets: Vec<Vec<u8>>| {
        packets.into_iter().map(move |it| frame(route.stations, kind, &it))
    };
    let own = both.into_iter().map(|it| {
        let kind =
            if it.first().is_some_and(|byte| byte >> 4 == 6) { ethertype::IPV6 } else { ethertype::IPV4 };
        frame(route.stations, kind, &it)
    });
    of(ethertype::IPV4, v4).chain(of(ethertype::IPV6, v6)).chain(own).chain(others(route)).collect()
}

/// A packet with some bytes put elsewhere than they belong, and checksums that are right if anything is.
fn with(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut changed = packet.to_vec();
    changes.iter().for_each(|(at, byte)| changed[*at] = *byte);
    mend(&mut changed);
    changed
}

/// IPv4 headers that cannot be.
fn headers(route: &Route) -> Vec<Vec<u8>> {
    let whole = route.v4.udp(route.ports, b"sixteen bytes!!!");
    let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
    let first_byte =
        [0x05, 0x15, 0x40, 0x41, 0x44, 0x4f, 0x55, 0x65, 0xf5].map(|it| with(&whole, &[(0, it)]));
    let total = [0, 1, 19, 20, 27, 28, 0xff].map(|it| with(&whole, &[(2, 0), (3, it)]));
    let long = [0x10, 0x7f, 0xff].map(|it| with(&whole, &[(2, it), (3, 0xff)]));
    let reserved_bit = with(&whole, &[(6, 0x80)]);
    let hops = [0, 1].map(|it| with(&whole, &[(8, it)]));
    let of_every_protocol = (0..=255).map(|number| with(&whole, &[(9, number)]));
    let of_every_protocol_empty = (0..=255).map(|number| route.v4.packet(number, &[]));
    cut.chain(first_byte)
        .chain(total)
        .chain(long)
        .chain([reserved_bit])
        .chain(hops)
        .chain(of_every_protocol)
        .chain(of_every_protocol_empty)
        .collect()
}

/// TCP and UDP headers that cannot be, and segments that nobody means.
fn segments(between: Between, route: &Route) -> Vec<Vec<u8>> {
    let at = if matches!(between, Between::V4(..)) { 20 } else { 40 };
    let [ours, theirs] = route.ports;
    let tcp = |flags| between.tcp(route.ports, [7, 9], flags, b"words");
    let syn = tcp(flags::SYN);
    let datagram = between.udp(route.ports, b"words");
    let data_offsets =
        (0..16).flat_map(|words| [flags::SYN, flags::ACK].map(|it| with(&tcp(it), &[(at + 12, words << 4)])));
    let all_flags = (0..=255).map(tcp);
    let lengths = [0, 1, 7, 8, 12, 14, 255].map(|it| with(&datagram, &[(at + 4, 0), (at + 5, it)]));
    let long = with(&datagram, &[(at + 4, 0xff), (at + 5, 0xff)]);
    let no_ports = [[0, theirs], [ours, 0], [0, 0]]
        .map(|ports| [between.tcp(ports, [7, 9], flags::SYN, &[]), between.udp(ports, b"words")]);
    let bad_options = [[2, 0, 2, 0], [2, 1, 0, 0], [2, 255, 0, 0], [8, 200, 3, 3], [255, 255, 255, 255]]
        .map(|it| with(&between.tcp(route.ports, [7, 9], flags::SYN, &it), &[(at + 12, 0x60)]));
    let urgent = with(&tcp(flags::URG | flags::ACK), &[(at + 18, 0xff), (at + 19, 0xff)]);
    let cut = (0..20).map(|len| between.packet(protocol::TCP, &syn[at..at + len]));
    let cut_datagram = (0..8).map(|len| between.packet(protocol::UDP, &datagram[at..at + len]));
    data_offsets
        .chain(all_flags)
        .chain(lengths)
        .chain([long, urgent])
        .chain(no_ports.concat())
        .chain(bad_options)
        .chain(cut)
        .chain(cut_datagram)
        .chain(to_itself(between))
        .collect()
}

/// From an address to the same address and port (LAND), both of the route's.
fn to_itself(between: Between) -> Vec<Vec<u8>> {
    let itself = match between {
        Between::V4(from, to) => [Between::V4(from, from), Between::V4(to, to)],
        Between::V6(from, to) => [Between::V6(from, from), Between::V6(to, to)],
    };
    itself.map(|it| [it.tcp([7, 7], [1, 0], flags::SYN, &[]), it.udp([7, 7], b"me"), it.echo(7)]).concat()
}

/// Fragments that are tiny, lie over each other, or would make more than a packet (RFC 1858, RFC 3128).
fn fragments(route: &Route) -> Vec<Vec<u8>> {
    const MORE: u16 = 0x2000;
    const DONT: u16 = 0x4000;
    let segment = route.v4.tcp(route.ports, [7, 9], flags::SYN, b"words and more words");
    let datagram = route.v4.udp(route.ports, &[0x55; 64]);
    let echo = route.v4.echo(7);
    let cut = |packet: &[u8], word: u16, range: std::ops::Range<usize>| {
        let mut part = route.v4.packet(packet[9], &packet[20..][range]);
        part[6..8].copy_from_slice(&word.to_be_bytes());
        mend(&mut part);
        part
    };
    let mut parts = Vec::new();
    for packet in [&segment, &datagram, &echo] {
        let end = packet.len() - 20;
        for len in [0, 1, 4, 8, 16, end] {
            parts.push(cut(packet, MORE, 0..len.min(end)));
            parts.push(cut(packet, MORE | DONT, 0..len.min(end)));
            parts.push(cut(packet, 1, 0..len.min(end)));
            parts.push(cut(packet, 0x1fff, 0..len.min(end)));
            parts.push(cut(packet, MORE | 0x1fff, 0..len.min(end)));
            parts.push(cut(packet, 2 | MORE, 0..len.min(end)));
        }
    }
    parts
}

/// Options of IPv4 that lead elsewhere, or nowhere.
fn options(route: &Route) -> Vec<Vec<u8>> {
    let elsewhere = Ipv4Addr::new(10, 0, 1, 9).octets();
    let [a, b, c, d] = elsewhere;
    let routed = |kind| vec![kind, 7, 4, a, b, c, d, 0];
    let lists = [
        routed(131),
        routed(137),
        vec![7, 7, 4, 0, 0, 0, 0, 0],
        vec![68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        vec![148, 4, 0, 0],
        vec![1; 40],
        vec![131, 0, 4, 0],
        vec![131, 255, 4, 0],
        vec![255; 40],
        vec![0, 255, 255, 255],
    ];
    let plain = route.v4.udp(route.ports, b"words");
    let opened = lists.map(|list| {
        let mut packet = [&plain[..20], &list, &plain[20..]].concat();
        packet[0] = 0x40 | (5 + list.len() as u8 / 4);
        packet[3] += list.len() as u8;
        mend(&mut packet);
        packet
    });
    opened.into()
}

/// IPv6 headers that cannot be.
fn headers6(route: &Route) -> Vec<Vec<u8>> {
    let whole = route.v6.udp(route.ports, b"sixteen bytes!!!");
    let cut = (0..whole.len()).map(|len| whole[..len].to_vec());
    let versions = [0x00, 0x40, 0x50, 0x70, 0xf0].map(|it| with(&whole, &[(0, it)]));
    let lengths = [0, 1, 7, 8, 23, 25, 255].map(|it| with(&whole, &[(4, 0), (5, it)]));
    let hops = [0, 1].map(|it| with(&whole, &[(7, it)]));
    let of_every_protocol = (0..=255).map(|number| with(&whole, &[(6, number)]));
    let of_every_protocol_empty = (0..=255).map(|number| route.v6.packet(number, &[]));
    cut.chain(versions)
        .chain(lengths)
        .chain(hops)
        .chain(of_every_protocol)
        .chain(of_every_protocol_empty)
        .collect()
}

/// Extension headers: too many, too long, in the wrong place, cut, and such as lead elsewhere.
fn chains(route: &Route) -> Vec<Vec<u8>> {
    use protocol::{FRAGMENT, HOP_BY_HOP, OPTIONS, ROUTING, UDP};
    let datagram = route.v6.udp(route.ports, b"words")[40..].to_vec();
    let pad = |next: u8, words: u8| {
        [vec![next, words, 1, 4 + 8 * words], vec![0; 4 + 8 * usize::from(words)]].concat()
    };
    let part = |next: u8, word: u16| [&[next, 0][..], &word.to_be_bytes(), &[0, 0, 0, 9]].concat();
    let home = Ipv6Addr::LOCALHOST.octets();
    let routed = |kind: u8| [&[UDP, 2, kind, 1, 0, 0, 0, 0][..], &home].concat();
    let many = |n: u8| {
        [vec![OPTIONS; usize::from(n) - 1], vec![UDP]]
            .concat()
            .into_iter()
            .flat_map(|it| pad(it, 0))
            .collect::<Vec<_>>()
    };
    let jumbo = [UDP, 0, 0xc2, 4, 0, 1, 0, 0].to_vec();
    let mut packets: Vec<(u8, Vec<u8>)> = vec![
        (OPTIONS, [pad(UDP, 0), datagram.clone()].concat()),
        (HOP_BY_HOP, [pad(UDP, 0), datagram.clone()].concat()),
        (OPTIONS, [pad(HOP_BY_HOP, 0), pad(UDP, 0), datagram.clone()].concat()),
        (OPTIONS, [pad(UDP, 20), datagram.clone()].concat()),
        (OPTIONS, vec![UDP, 255, 1, 4, 0, 0, 0, 0]),
        (OPTIONS, vec![UDP, 0]),
        (OPTIONS, vec![UDP]),
        (HOP_BY_HOP, [jumbo, datagram.clone()].concat()),
        (FRAGMENT, [part(UDP, 0), datagram.clone()].concat()),
        (FRAGMENT, [part(FRAGMENT, 1), part(UDP, 1), datagram.clone()].concat()),
        (FRAGMENT, [part(UDP, 1), datagram.clone()].concat()),
        (FRAGMENT, [part(UDP, 0xfff8), datagram.clone()].concat()),
        (FRAGMENT, [part(protocol::TCP, 1), datagram.clone()].concat()),
        (FRAGMENT, [part(protocol::ICMPV6, 1), datagram.clone()].concat()),
        (FRAGMENT, part(UDP, 1)),
        (59, datagram.clone()),
        (51, [vec![UDP, 4], vec![0; 22], datagram.clone()].concat()),
        (135, [pad(UDP, 0), datagram.clone()].concat()),
    ];
    packets.extend([0, 1, 2, 3, 4].map(|kind| (ROUTING, [routed(kind), datagram.clone()].concat())));
    packets.extend([6, 7, 8, 30].map(|n| (OPTIONS, [many(n), datagram.clone()].concat())));
    let built = packets.iter().map(|(next, payload)| route.v6.packet(*next, payload));
    let cut = packets.iter().flat_map(|(next, payload)| {
        (0..payload.len().min(48)).step_by(5).map(|len| route.v6.packet(*next, &payload[..len]))
    });
    built.chain(cut).collect()
}

/// ICMP of every type, and errors about what their sender never saw.
fn messages(between: Between, route: &Route) -> Vec<Vec<u8>> {
    let every = (0..=255)
        .flat_map(|kind| [&[0; 4][..], &[0xff; 4], &[0; 60]].map(|rest| between.icmp([kind, 0], rest)));
    let cut = (0..8).map(|len| between.packet(between.icmp_number(), &[8, 0, 0, 0, 0, 0, 0, 0][..len]));
    let back = match between {
        Between::V4(from, to) => Between::V4(to, from),
        Between::V6(from, to) => Between::V6(to, from),
    };
    let [ours, theirs] = route.ports;
    // What the other end would have sent, had it: the error is about a flow of somebody's, or of nobody's.
    let sent = back.tcp([theirs, ours], [7, 9], flags::ACK, b"words");
    let about = [
        sent.clone(),
        back.udp([theirs, ours], b"words"),
        back.echo(ours),
        error_about(back, &sent),
        error_about(back, &error_about(between, &sent)),
        vec![0xff; 60],
        vec![],
    ];
    let errors: &[[u8; 2]] = if matches!(between, Between::V4(..)) {
        &[[3, 0], [3, 1], [3, 2], [3, 3], [3, 4], [3, 13], [4, 0], [5, 0], [5, 1], [11, 0], [11, 1], [12, 0]]
    } else {
        &[[1, 0], [1, 1], [1, 3], [1, 4], [2, 0], [3, 0], [3, 1], [4, 0], [4, 1], [137, 0]]
    };
    let told = errors.iter().flat_map(|kind| {
        about.iter().flat_map(|packet| {
            [[0; 4], [0, 0, 0, 68], [0xff; 4]].map(|word| between.icmp(*kind, &[&word, &packet[..]].concat()))
        })
    });
    let cut_quotes = (0..sent.len()).map(|len| between.icmp(errors[3], &[&[0; 4], &sent[..len]].concat()));
    every.chain(cut).chain(told).chain(cut_quotes).collect()
}

/// Frames that are cut before anything is said, and ARP that is none.
fn others(route: &Route) -> Vec<Vec<u8>> {
    let kinds = [ethertype::IPV4, ethertype::IPV6, ethertype::ARP];
    let empty = kinds
        .map(|kind| (0..4).map(|len| frame(route.stations, kind, &vec![0; len])).collect::<Vec<_>>())
        .concat();
    let arp = [0, 1, 8, 0, 6, 4, 0, 1];
    let cut = (0..28).map(|len| frame(route.stations, ethertype::ARP, &[&arp[..], &[0; 20]].concat()[..len]));
    let odd = (0..8).map(|at| {
        let mut message = [&arp[..], &[7; 20]].concat();
        message[at] ^= 0x81;
        frame(route.stations, ethertype::ARP, &message)
    });
    empty.into_iter().chain(cut).chain(odd).collect()
}
