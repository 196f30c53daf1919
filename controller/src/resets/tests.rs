//! RSTs, read by a parser that shares no code with what wrote them.

use super::*;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use std::collections::BTreeMap;
use std::net::IpAddr;
use weir_path::addr::L4Port;
use weir_path::flow::Counts;
use weir_path::flow::end::End;
use weir_path::packet::VlanTag;
use weir_path::tables::{ConnectorId, Delivery, Egress};

const OWN: Mac = Mac([2, 0, 0, 0, 0, 5]);
const ROUTER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const GATEWAY: Mac = Mac([2, 0, 0, 0, 0, 7]);
const SANDBOX: Mac = Mac([2, 0x57, 0x45, 0x49, 0x52, 2]);
const UPLINK: InterfaceId = InterfaceId(0);
const SLOT: InterfaceId = InterfaceId(1);
const ENI: InterfaceId = InterfaceId(2);

/// An uplink, a slot and an ENI on the uplink, which has a gateway.
struct Host(BTreeMap<InterfaceId, Interface>);

impl Places for Host {
    fn interface(&self, id: InterfaceId) -> Option<Interface> {
        self.0.get(&id).copied()
    }

    fn next_hop(&self, id: NextHopId) -> Option<Mac> {
        (id == NextHopId::gateway(UPLINK)).then_some(GATEWAY)
    }
}

fn host(vlan: VlanTag) -> Host {
    let on = |id, ifindex, zone| Interface {
        egress: Egress { ifindex: IfIndex(ifindex), id, delivery: Delivery::TRANSMIT },
        mac: OWN,
        zone,
        ..Interface::default()
    };
    let uplink = Interface { vlan, ..on(UPLINK, 2, vpc()) };
    let slot = Interface { peer_mac: SANDBOX, ..on(SLOT, 11, binding(7)) };
    let eni = Interface { vlan, connector: ConnectorId(1), ..on(ENI, 2, vpc()) };
    Host([(UPLINK, uplink), (SLOT, slot), (ENI, eni)].into())
}

fn vpc() -> Zone {
    Zone::of_vpc(1).unwrap()
}

fn binding(number: u32) -> Zone {
    Zone::of_binding(number).unwrap()
}

fn ends(src: &str, sport: u16, dst: &str, dport: u16) -> Ends<Ip6> {
    let address = |text: &str| Ip6::from(text.parse::<IpAddr>().unwrap());
    Ends { src: address(src), dst: address(dst), sport: L4Port::new(sport), dport: L4Port::new(dport) }
}

/// A client behind a router calls a VIP, which the sandbox in the slot serves.
fn served() -> Event {
    event(
        [
            ends("203.0.113.9", 40_000, "198.51.100.10", 80),
            ends("169.254.100.2", 8_080, "203.0.113.9", 40_000),
        ],
        [vpc(), binding(7)],
        [Hop::new(SLOT, ROUTER), Hop::new(UPLINK, ROUTER)],
    )
}

/// The sandbox calls somebody in its VPC, by an ENI and the uplink's gateway.
fn opened() -> Event {
    event(
        [ends("169.254.100.2", 5_000, "192.0.2.1", 443), ends("192.0.2.1", 443, "10.0.1.5", 1_024)],
        [binding(7), vpc()],
        [Hop::to_next_hop(ENI, NextHopId::gateway(UPLINK)), Hop::new(SLOT, GATEWAY)],
    )
}

fn event([original, reply]: [Ends<Ip6>; 2], zones: [Zone; 2], hops: [Hop; 2]) -> Event {
    Event {
        counts: [Counts::default(); 2],
        original,
        reply,
        zones,
        protocol: protocol::TCP,
        phase: 0,
        tells_idle: 1,
        zero: 0,
        why: End::Idle as u32,
        opened: Default::default(),
        seen: Default::default(),
        ended: Default::default(),
        account: Default::default(),
        acknowledged: [0x0102_0304, 0xf1f2_f3f4],
        hops,
    }
}

/// Checks everything about a RST that has nothing to do with whom it is for, and returns who says it to whom, and with
/// which sequence number.
fn said(reset: &Reset) -> (String, String, u32) {
    let packet = SlicedPacket::from_ethernet(&reset.frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { panic!("no TCP: {packet:?}") };
    let header = tcp.to_header();
    let (src, dst, checksum, hop_limit): (IpAddr, IpAddr, _, _) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!((ip.total_len, ip.dont_fragment), (40, true));
            let checksum = header.calc_checksum_ipv4_raw(ip.source, ip.destination, &[]).unwrap();
            (ip.source.into(), ip.destination.into(), checksum, ip.time_to_live)
        }
        Some(NetSlice::Ipv6(ip)) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.payload_length, 20);
            let checksum = header.calc_checksum_ipv6_raw(ip.source, ip.destination, &[]).unwrap();
            (ip.source.into(), ip.destination.into(), checksum, ip.hop_limit)
        }
        other => panic!("no IP: {other:?}"),
    };
    assert_eq!((header.checksum, hop_limit), (checksum, 64));
    assert!(header.rst && !header.ack && !header.syn && !header.fin && !header.psh && !header.urg);
    assert_eq!((header.acknowledgment_number, header.window_size), (0, 0));
    assert!(tcp.payload().is_empty());
    let from = format!("{src} {}", header.source_port);
    (from, format!("{dst} {}", header.destination_port), header.sequence_number)
}

fn macs(reset: &Reset) -> ([u8; 6], [u8; 6]) {
    let macs: [u8; 12] = reset.frame[..12].try_into().unwrap();
    let [a, b, c, d, e, f, g, h, i, j, k, l] = macs;
    ([a, b, c, d, e, f], [g, h, i, j, k, l])
}

#[test]
fn the_client_of_a_vip_and_the_sandbox_are_told_each_as_if_by_the_other() {
    let [Some(opener), Some(far)] = of(&served(), &host(VlanTag::NONE)) else {
        panic!("somebody is left out")
    };
    let (vip, client) = ("198.51.100.10 80".to_owned(), "203.0.113.9 40000".to_owned());
    assert_eq!(said(&opener), (vip, client.clone(), 0x0102_0304));
    assert_eq!((opener.device, macs(&opener)), (IfIndex(2), (ROUTER.0, OWN.0)));
    assert_eq!(said(&far), (client, "169.254.100.2 8080".into(), 0xf1f2_f3f4));
    assert_eq!((far.device, macs(&far)), (IfIndex(11), (SANDBOX.0, OWN.0)));
    assert_eq!(opener.frame.len(), 60, "what is shorter than a frame may be is filled up");
}

#[test]
fn a_sandbox_and_whom_it_called_are_told_each_under_the_address_that_it_knows() {
    let [Some(opener), Some(far)] = of(&opened(), &host(VlanTag::NONE)) else {
        panic!("somebody is left out")
    };
    assert_eq!(said(&opener), ("192.0.2.1 443".into(), "169.254.100.2 5000".into(), 0x0102_0304));
    assert_eq!((opener.device, macs(&opener)), (IfIndex(11), (SANDBOX.0, OWN.0)));
    assert_eq!(said(&far), ("10.0.1.5 1024".into(), "192.0.2.1 443".into(), 0xf1f2_f3f4));
    assert_eq!((far.device, macs(&far)), (IfIndex(2), (GATEWAY.0, OWN.0)));
}

#[test]
fn two_sandboxes_of_one_call_are_told_in_their_own_slots() {
    let mut host = host(VlanTag::NONE);
    let mut other = host.0[&SLOT];
    other.egress = Egress { ifindex: IfIndex(12), id: InterfaceId(3), ..other.egress };
    other.zone = binding(8);
    host.0.insert(InterfaceId(3), other);
    let call = event(
        [ends("169.254.100.2", 5_000, "198.51.100.10", 80), ends("169.254.100.2", 8_080, "10.0.1.5", 1_024)],
        [binding(7), binding(8)],
        [Hop::new(InterfaceId(3), Mac::default()), Hop::new(SLOT, Mac::default())],
    );
    let [Some(caller), Some(called)] = of(&call, &host) else { panic!("somebody is left out") };
    assert_eq!(said(&caller), ("198.51.100.10 80".into(), "169.254.100.2 5000".into(), 0x0102_0304));
    assert_eq!(said(&called), ("10.0.1.5 1024".into(), "169.254.100.2 8080".into(), 0xf1f2_f3f4));
    assert_eq!((caller.device, called.device), (IfIndex(11), IfIndex(12)));
}

#[test]
fn ipv6_is_told_as_ipv4_is_and_an_uplinks_tag_is_part_of_the_frame() {
    let v6 = event(
        [ends("2001:db8::9", 40_000, "fd00::10", 80), ends("fd00:5::2", 8_080, "2001:db8::9", 40_000)],
        [vpc(), binding(7)],
        [Hop::new(SLOT, ROUTER), Hop::new(UPLINK, ROUTER)],
    );
    let [Some(opener), Some(far)] = of(&v6, &host(VlanTag(7))) else { panic!("somebody is left out") };
    assert_eq!(said(&opener), ("fd00::10 80".into(), "2001:db8::9 40000".into(), 0x0102_0304));
    assert_eq!(said(&far), ("2001:db8::9 40000".into(), "fd00:5::2 8080".into(), 0xf1f2_f3f4));
    let tags = |reset: &Reset| SlicedPacket::from_ethernet(&reset.frame).unwrap().vlan_ids().len();
    assert_eq!((tags(&opener), tags(&far)), (1, 0));
}

#[test]
fn whose_place_is_not_known_or_anothers_by_now_is_left_out() {
    let is_told = |event: &Event, host: &Host| of(event, host).map(|reset| reset.is_some());
    let all = host(VlanTag::NONE);
    let unknown_gateway = Hop::to_next_hop(ENI, NextHopId::gateway6(UPLINK));
    let nobody_answered = Hop::new(ENI, Mac::default());
    for there in [unknown_gateway, nobody_answered, Hop::new(InterfaceId(9), ROUTER)] {
        let [_, back] = opened().hops;
        assert_eq!(is_told(&Event { hops: [there, back], ..opened() }, &all), [true, false], "{there:?}");
    }
    let mut bound_anew = host(VlanTag::NONE);
    bound_anew.0.get_mut(&SLOT).unwrap().zone = binding(8);
    assert_eq!(is_told(&opened(), &bound_anew), [false, true]);
    assert_eq!(is_told(&served(), &bound_anew), [true, false]);
}

#[test]
fn what_is_not_tcp_has_nothing_to_be_told_with() {
    let udp = Event { protocol: protocol::UDP, ..served() };
    assert_eq!(of(&udp, &host(VlanTag::NONE)), [None, None]);
}
