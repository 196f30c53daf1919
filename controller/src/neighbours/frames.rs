//! Frames that Weir says unasked: "this address is here", and "who is my gateway?". Pure bytes.

use weir_path::addr::{Address, Ip4, Ip6, Mac};
use weir_path::checksum::Sum;
use weir_path::packet::VlanTag;
use weir_path::wire::{Arp, ethernet, ndp, protocol};

/// Shorter frames are filled up with zeros (IEEE 802.3 section 4A.2.3.2.4; 64 with the check sequence).
const LEAST_FRAME: usize = 60;
/// ARP for IPv4 over Ethernet: both kinds and lengths of address (RFC 826).
const ARP_KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
/// All nodes on a link (RFC 4291 section 2.7.1).
const ALL_NODES: Ip6 = Ip6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
/// Version 6, no traffic class, no flow label.
const VERSION: [u8; 4] = [0x60, 0, 0, 0];

/// Who speaks: the station that Weir is on an uplink.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Station {
    /// Its MAC.
    pub(crate) mac: Mac,
    /// The tag of the uplink's frames.
    pub(crate) vlan: VlanTag,
}

impl Station {
    /// Says to all on the link that this address is here: an ARP announcement (RFC 5227 section 3), or an unsolicited
    /// Neighbour Advertisement (RFC 4861 section 7.2.6).
    pub(crate) fn announce(self, address: Ip6) -> Vec<u8> {
        match address.as_ip4() {
            Some(address) => self.arp_request(address, address),
            None => {
                let flags = [ndp::OVERRIDE, 0, 0, 0];
                let message = [ndp::ADVERTISEMENT, ndp::TARGET_MAC];
                self.neighbour_message(message, flags, address, ALL_NODES, address)
            }
        }
    }

    /// Asks all on the link, as `own`, who `address` is: by ARP, or by a Neighbour Solicitation (RFC 4861 section
    /// 7.2.2). Both addresses are of one family.
    pub(crate) fn ask(self, own: Ip6, address: Ip6) -> Vec<u8> {
        if let (Some(own), Some(address)) = (own.as_ip4(), address.as_ip4()) {
            return self.arp_request(own, address);
        }
        let message = [ndp::SOLICITATION, ndp::SOURCE_MAC];
        self.neighbour_message(message, [0; 4], own, solicited_nodes(address), address)
    }

    fn arp_request(self, sender: Ip4, target: Ip4) -> Vec<u8> {
        let mut arp = Vec::from(ARP_KIND);
        arp.extend(Arp::REQUEST);
        arp.extend(self.mac.0);
        arp.extend(sender.0);
        // Nobody's MAC: it is what is asked for.
        arp.extend([0; 6]);
        arp.extend(target.0);
        self.frame(Mac::BROADCAST, ethernet::ARP, &arp)
    }

    /// An ICMPv6 message with one option: this station's MAC.
    fn neighbour_message(
        self,
        [kind, option]: [[u8; 2]; 2],
        flags: [u8; 4],
        src: Ip6,
        dst: Ip6,
        target: Ip6,
    ) -> Vec<u8> {
        let [a, b, c, d, e, f] = self.mac.0;
        let len = (ndp::LEN + ndp::OPTION_LEN) as u16;
        let mac = Sum::default().add2([a, b]).add2([c, d]).add2([e, f]);
        let message = Sum::default().add2(kind).add4(flags).add2(option).plus(target.sum()).plus(mac);
        let pseudo = src.sum().plus(dst.sum()).add2(len.to_be_bytes()).add2([0, protocol::ICMPV6]);

        let mut ip = Vec::from(VERSION);
        ip.extend(len.to_be_bytes());
        ip.extend([protocol::ICMPV6, ndp::HOP_LIMIT]);
        ip.extend(src.0);
        ip.extend(dst.0);
        ip.extend(kind);
        ip.extend(pseudo.plus(message).checksum());
        ip.extend(flags);
        ip.extend(target.0);
        ip.extend(option);
        ip.extend(self.mac.0);
        self.frame(multicast_mac(dst), ethernet::IPV6, &ip)
    }

    /// A frame from this station.
    pub(crate) fn frame(self, dst: Mac, ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::from(dst.0);
        frame.extend(self.mac.0);
        let mut least = LEAST_FRAME;
        if self.vlan != VlanTag::NONE {
            frame.extend(ethernet::VLAN);
            frame.extend(self.vlan.0.to_be_bytes());
            // A switch that takes the tag off must not be left with a frame that is too short.
            least += ethernet::VLAN_LEN;
        }
        frame.extend(ethertype);
        frame.extend(payload);
        frame.resize(frame.len().max(least), 0);
        frame
    }
}

/// The group that everybody joins for each of its addresses (RFC 4291 section 2.7.1).
pub(super) fn solicited_nodes(address: Ip6) -> Ip6 {
    let [.., a, b, c] = address.0;
    Ip6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The station that an IPv6 group is (RFC 2464 section 7).
pub(super) fn multicast_mac(group: Ip6) -> Mac {
    let [.., a, b, c, d] = group.0;
    Mac([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{ArpOperation, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
    use std::net::{IpAddr, Ipv6Addr};

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 5]);
    const PLAIN: Station = Station { mac: MAC, vlan: VlanTag::NONE };
    const TAGGED: Station = Station { mac: MAC, vlan: VlanTag(7) };

    fn address(text: &str) -> Ip6 {
        Ip6::from(text.parse::<IpAddr>().unwrap())
    }

    fn v6(text: &str) -> [u8; 16] {
        text.parse::<Ipv6Addr>().unwrap().octets()
    }

    /// The addresses of a frame's ARP request: sender and target.
    fn asked_by_arp(frame: &[u8]) -> [Vec<u8>; 2] {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(NetSlice::Arp(arp)) = packet.net else { panic!("no ARP: {packet:?}") };
        assert_eq!((arp.operation(), arp.sender_hw_addr()), (ArpOperation::REQUEST, &MAC.0[..]));
        assert_eq!(arp.target_hw_addr(), [0; 6]);
        assert_eq!(&frame[..12], [&[0xff; 6][..], &MAC.0].concat());
        [arp.sender_protocol_addr().to_vec(), arp.target_protocol_addr().to_vec()]
    }

    /// Type, payload (flags or zeros, target, option), source and destination of a message that is right in all.
    fn said_by_ndp(frame: &[u8]) -> (Icmpv6Type, Vec<u8>, [[u8; 16]; 2]) {
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(NetSlice::Ipv6(ip)) = packet.net else { panic!("no IPv6") };
        let Some(TransportSlice::Icmpv6(icmp)) = packet.transport else { panic!("no ICMPv6") };
        let [src, dst] = [ip.header().source(), ip.header().destination()];
        assert!(icmp.is_checksum_valid(src, dst));
        assert_eq!(ip.header().hop_limit(), 255);
        let [.., a, b, c, d] = dst;
        assert_eq!(frame[..12], [0x33, 0x33, a, b, c, d, 2, 0, 0, 0, 0, 5]);
        (icmp.icmp_type(), icmp.payload().to_vec(), [src, dst])
    }

    #[test]
    fn an_ipv4_address_is_announced_by_a_request_for_itself() {
        let frame = PLAIN.announce(address("198.51.100.10"));
        assert_eq!(asked_by_arp(&frame), [[198, 51, 100, 10]; 2]);
        assert_eq!(frame.len(), 60);
    }

    #[test]
    fn a_gateway_is_asked_for_by_arp_as_our_own_address() {
        let frame = PLAIN.ask(address("10.0.0.5"), address("10.0.0.1"));
        assert_eq!(asked_by_arp(&frame), [[10, 0, 0, 5], [10, 0, 0, 1]]);
    }

    #[test]
    fn an_ipv6_address_is_announced_to_all_nodes_and_takes_the_place_of_what_was_known() {
        let (kind, payload, ends) = said_by_ndp(&PLAIN.announce(address("fd00::10")));
        let Icmpv6Type::NeighborAdvertisement(flags) = kind else { panic!("{kind:?}") };
        assert_eq!((flags.router, flags.solicited, flags.r#override), (false, false, true));
        assert_eq!(payload, [&v6("fd00::10")[..], &[2, 1], &MAC.0].concat());
        assert_eq!(ends, [v6("fd00::10"), v6("ff02::1")]);
    }

    #[test]
    fn an_ipv6_gateway_is_asked_for_at_its_solicited_node_group() {
        let (kind, payload, ends) = said_by_ndp(&PLAIN.ask(address("fd00::5"), address("fe80::12:3456")));
        assert_eq!(kind, Icmpv6Type::NeighborSolicitation);
        assert_eq!(payload, [&v6("fe80::12:3456")[..], &[1, 1], &MAC.0].concat());
        assert_eq!(ends, [v6("fd00::5"), v6("ff02::1:ff12:3456")]);
    }

    #[test]
    fn an_uplinks_tag_is_part_of_the_frame() {
        for said in [TAGGED.announce(address("10.0.0.9")), TAGGED.ask(address("fd00::5"), address("fd00::1"))]
        {
            let packet = SlicedPacket::from_ethernet(&said).unwrap();
            let tags: Vec<_> = packet.vlan_ids().iter().map(|id| id.value()).collect();
            assert_eq!(tags, [7]);
        }
        assert_eq!(TAGGED.announce(address("10.0.0.9")).len(), 64);
    }
}
