//! What a sandbox may claim and is not: each lie with the reason for which it is dropped.

use std::net::{Ipv4Addr, Ipv6Addr};

use weir_netns_tests::connectors::{ENI, ENI6};
use weir_netns_tests::forge::{ALL_STATIONS, Arp, Between, Mac, ethertype, frame, protocol};
use weir_netns_tests::ipv6::{CLIENT6, GATEWAY6, HOST6, SANDBOX6, VIP6};
use weir_netns_tests::servers::ECHO_PORT;
use weir_netns_tests::topology::{CLIENT, GATEWAY, HOST, ROUTER, SANDBOX, VIP};
use weir_path::Reason;

use crate::{GATEWAY_MAC, SANDBOX_MAC};

/// Every lie ends with this, in its payload or behind its end: by it the frame is known again wherever it gets.
pub(crate) const MARK: &[u8] = b"a hostile tenant's";

/// A frame that a sandbox must not send.
pub(crate) struct Lie {
    /// What it claims.
    pub(crate) what: String,
    /// The frame.
    pub(crate) frame: Vec<u8>,
    /// The name it is dropped by.
    pub(crate) reason: Reason,
}

const OTHER_MAC: Mac = [2, 0, 0, 0, 0, 0x99];
const OTHER: Ipv4Addr = Ipv4Addr::new(169, 254, 100, 6);
const OTHER6: Ipv6Addr = Ipv6Addr::new(0xfd57, 0x4549, 0x52, 0, 0, 0, 0, 6);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// All of them.
pub(crate) fn lies() -> Vec<Lie> {
    [macs(), addresses(), arp(), neighbours(), routers(), groups(), dhcp(), other_protocols(), tags()]
        .into_iter()
        .flatten()
        .collect()
}

fn lie(what: impl Into<String>, reason: Reason, frame: &[u8]) -> Lie {
    Lie { what: what.into(), reason, frame: [frame, MARK].concat() }
}

/// A packet to the gateway, in a frame of the sandbox's own.
fn said(what: impl Into<String>, reason: Reason, between: Between, packet: &[u8]) -> Lie {
    let to = match between {
        Between::V4(_, to) if to.is_multicast() || to.is_broadcast() => ALL_STATIONS,
        Between::V6(_, to) if to.is_multicast() => [0x33, 0x33, 0, 0, 0, 1],
        _ => GATEWAY_MAC,
    };
    lie(what, reason, &frame([to, SANDBOX_MAC], between.ethertype(), packet))
}

const OWN_TO_CLIENT: Between = Between::V4(SANDBOX, CLIENT);

fn macs() -> Vec<Lie> {
    let packet = OWN_TO_CLIENT.udp([4000, ECHO_PORT], MARK);
    let packet6 = Between::V6(SANDBOX6, CLIENT6).udp([4000, ECHO_PORT], MARK);
    let claimed = [OTHER_MAC, GATEWAY_MAC, ALL_STATIONS, [1, 0, 0x5e, 0, 0, 1], [0; 6]];
    let claim = |mac| {
        let v4 = frame([GATEWAY_MAC, mac], ethertype::IPV4, &packet);
        let v6 = frame([GATEWAY_MAC, mac], ethertype::IPV6, &packet6);
        [v4, v6].map(|it| lie(format!("the MAC {mac:02x?}"), Reason::SpoofedSource, &it))
    };
    claimed.into_iter().flat_map(claim).collect()
}

fn addresses() -> Vec<Lie> {
    let subnet_broadcast = Ipv4Addr::new(169, 254, 100, 3);
    let v4 = [
        OTHER,
        GATEWAY,
        subnet_broadcast,
        VIP,
        ENI,
        HOST,
        ROUTER,
        CLIENT,
        Ipv4Addr::new(10, 0, 1, 9),
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::BROADCAST,
    ];
    let v6 = [
        OTHER6,
        GATEWAY6,
        VIP6,
        ENI6,
        HOST6,
        CLIENT6,
        ALL_NODES,
        Ipv6Addr::LOCALHOST,
        Ipv6Addr::UNSPECIFIED,
        LINK_LOCAL,
        SANDBOX.to_ipv6_mapped(),
    ];
    let v4 = v4.into_iter().map(|from| (from.to_string(), Between::V4(from, CLIENT)));
    let v6 = v6.into_iter().map(|from| (from.to_string(), Between::V6(from, CLIENT6)));
    let claim = |(from, between): (String, Between)| {
        let syn = between.tcp([4000, ECHO_PORT], [1, 0], weir_netns_tests::forge::flags::SYN, MARK);
        [between.udp([4000, ECHO_PORT], MARK), syn]
            .map(|packet| said(format!("the source {from}"), Reason::SpoofedSource, between, &packet))
    };
    v4.chain(v6).flat_map(claim).collect()
}

fn arp() -> Vec<Lie> {
    const ASKS: u16 = 1;
    const ANSWERS: u16 = 2;
    let nobody = [0; 6];
    let mut lies = Vec::new();
    let mut claim = |what: String, reason, operation, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)| {
        let message = Arp { operation, sender, target }.message();
        lies.push(lie(what, reason, &frame([ALL_STATIONS, SANDBOX_MAC], ethertype::ARP, &message)));
    };
    for address in [GATEWAY, OTHER, SANDBOX, HOST, ROUTER, VIP, ENI] {
        let own = (SANDBOX_MAC, address);
        claim(format!("announces {address}"), Reason::SlotArp, ASKS, own, (nobody, address));
        claim(format!("answers for {address}"), Reason::SlotArp, ANSWERS, own, (ALL_STATIONS, address));
        claim(
            format!("answers the host for {address}"),
            Reason::SlotArp,
            ANSWERS,
            own,
            (GATEWAY_MAC, GATEWAY),
        );
        let asker = (OTHER_MAC, SANDBOX);
        claim(
            format!("asks for {address} as another"),
            Reason::SpoofedSource,
            ASKS,
            asker,
            (nobody, address),
        );
    }
    for address in [OTHER, HOST, ROUTER, VIP, ENI, Ipv4Addr::LOCALHOST] {
        let own = (SANDBOX_MAC, SANDBOX);
        claim(format!("asks for {address}"), Reason::SlotArp, ASKS, own, (nobody, address));
    }
    lies
}

/// A message about a target (RFC 4861 sections 4.3 and 4.4): type, flags, and the option that tells a MAC.
fn about(between: Between, kind: u8, flags: u8, target: Ipv6Addr, mac: Option<(u8, Mac)>) -> Vec<u8> {
    let option = mac.map_or(vec![], |(kind, mac)| [&[kind, 1][..], &mac].concat());
    between.icmp([kind, 0], &[&[flags, 0, 0, 0][..], &target.octets(), &option].concat())
}

fn neighbours() -> Vec<Lie> {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    /// Override, and a router.
    const ALL_FLAGS: u8 = 0xe0;
    let mut lies = Vec::new();
    for target in [GATEWAY6, OTHER6, HOST6, VIP6, ENI6] {
        let tells = Some((2, SANDBOX_MAC));
        for (from, reason) in [
            (SANDBOX6, Reason::SlotNdp),
            (LINK_LOCAL, Reason::SlotNdp),
            (GATEWAY6, Reason::SpoofedSource),
            (HOST6, Reason::SpoofedSource),
        ] {
            let between = Between::V6(from, ALL_NODES);
            let message = about(between, ADVERTISEMENT, ALL_FLAGS, target, tells);
            lies.push(said(format!("advertises {target} as {from}"), reason, between, &message));
        }
        let between = Between::V6(Ipv6Addr::UNSPECIFIED, ALL_NODES);
        let message = about(between, SOLICITATION, 0, target, None);
        lies.push(said(format!("probes {target}"), Reason::SlotNdp, between, &message));
    }
    for target in [OTHER6, HOST6, VIP6, ENI6] {
        let between = Between::V6(SANDBOX6, ALL_NODES);
        let message = about(between, SOLICITATION, 0, target, Some((1, SANDBOX_MAC)));
        lies.push(said(format!("asks for {target}"), Reason::SlotNdp, between, &message));
    }
    lies
}

fn routers() -> Vec<Lie> {
    let prefix = [&[3, 4, 64, 0xc0][..], &[0, 0, 0xff, 0xff].repeat(2), &[0; 4], &HOST6.octets()].concat();
    let own = [&[1, 1][..], &SANDBOX_MAC].concat();
    let mut lies = Vec::new();
    let mut say = |what: &str, reason, between: Between, kind: u8, rest: &[u8]| {
        lies.push(said(what, reason, between, &between.icmp([kind, 0], rest)));
    };
    for from in [LINK_LOCAL, SANDBOX6, Ipv6Addr::UNSPECIFIED] {
        let between = Between::V6(from, ALL_ROUTERS);
        say("looks for a router", Reason::IcmpIgnored, between, 133, &[0; 4]);
    }
    let life = [64, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    let advertisement = [&life[..], &own, &prefix].concat();
    let redirect = [&[0; 4][..], &OTHER6.octets(), &CLIENT6.octets(), &own].concat();
    for (from, reason) in [
        (LINK_LOCAL, Reason::IcmpIgnored),
        (SANDBOX6, Reason::IcmpIgnored),
        (GATEWAY6, Reason::SpoofedSource),
    ] {
        say("is a router", reason, Between::V6(from, ALL_NODES), 134, &advertisement);
        say("knows a better way", reason, Between::V6(from, HOST6), 137, &redirect);
    }
    let quoted = Between::V4(CLIENT, SANDBOX).udp([ECHO_PORT, 4000], MARK);
    let redirect = [&OTHER.octets()[..], &quoted[..28]].concat();
    for (from, reason) in [(SANDBOX, Reason::IcmpIgnored), (GATEWAY, Reason::SpoofedSource)] {
        say("knows a better way", reason, Between::V4(from, CLIENT), 5, &redirect);
        say(
            "is a router",
            reason,
            Between::V4(from, Ipv4Addr::new(224, 0, 0, 1)),
            9,
            &[1, 2, 0xff, 0xff, 0, 0, 0, 0],
        );
    }
    lies
}

/// What hosts say about groups: IGMP (RFC 3376) and MLD (RFC 3810).
fn groups() -> Vec<Lie> {
    let routers = Between::V4(SANDBOX, Ipv4Addr::new(224, 0, 0, 22));
    let igmp = routers.packet(2, &[0x22, 0, 0xf9, 2, 0, 0, 0, 1, 4, 0, 0, 0, 224, 0, 0, 251]);
    let mut lies = vec![said("joins a group", Reason::UnsupportedProtocol, routers, &igmp)];
    let report = [&[143, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0][..], &ALL_ROUTERS.octets()].concat();
    let alerted = [&[protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0][..], &report].concat();
    for from in [LINK_LOCAL, SANDBOX6, Ipv6Addr::UNSPECIFIED] {
        let between = Between::V6(from, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16));
        let packet = between.packet(protocol::HOP_BY_HOP, &alerted);
        lies.push(said(format!("joins a group as {from}"), Reason::IcmpIgnored, between, &packet));
    }
    lies
}

fn dhcp() -> Vec<Lie> {
    let message = |operation: u8| {
        [&[operation, 1, 6, 0][..], &[0; 232], &[99, 130, 83, 99, 53, 1, operation, 255]].concat()
    };
    let (asks, offers) = (message(1), message(2));
    let servers6 = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
    let of = |from, reason| (from, Ipv4Addr::BROADCAST, reason);
    let mut lies = Vec::new();
    for (from, to, reason) in [
        of(Ipv4Addr::UNSPECIFIED, Reason::SpoofedSource),
        of(GATEWAY, Reason::SpoofedSource),
        of(SANDBOX, Reason::NotAllowedOut),
        (SANDBOX, Ipv4Addr::new(224, 0, 0, 251), Reason::NotAllowedOut),
    ] {
        let between = Between::V4(from, to);
        for (ports, message) in [([68, 67], &asks), ([67, 68], &offers), ([5353, 5353], &asks)] {
            let packet = between.udp(ports, &[message, MARK].concat());
            lies.push(said(format!("{from} says {ports:?} to {to}"), reason, between, &packet));
        }
    }
    for (from, reason) in [(LINK_LOCAL, Reason::SpoofedSource), (SANDBOX6, Reason::NotAllowedOut)] {
        let between = Between::V6(from, servers6);
        for (ports, kind) in [([546, 547], 1), ([547, 546], 2)] {
            let packet = between.udp(ports, &[&[kind, 1, 2, 3][..], MARK].concat());
            lies.push(said(format!("{from} says {ports:?} by DHCPv6"), reason, between, &packet));
        }
    }
    lies
}

fn other_protocols() -> Vec<Lie> {
    let bridges = [1, 0x80, 0xc2, 0, 0, 0];
    let all = |to: Mac, kind: u16, what: &str| {
        lie(what, Reason::SlotProtocol, &frame([to, SANDBOX_MAC], kind, MARK))
    };
    let mut lies = vec![
        // A length in the type's place: LLC, as spanning trees are spoken of (IEEE 802.1D).
        lie(
            "a bridge",
            Reason::SlotProtocol,
            &frame([bridges, SANDBOX_MAC], 38, &[&[0x42, 0x42, 3][..], &[0; 35]].concat()),
        ),
        all([1, 0x80, 0xc2, 0, 0, 14], 0x88cc, "LLDP"),
        all([1, 0x80, 0xc2, 0, 0, 2], 0x8809, "LACP"),
        all([1, 0x80, 0xc2, 0, 0, 3], 0x888e, "EAPOL"),
        all(ALL_STATIONS, 0x8035, "RARP"),
        all(ALL_STATIONS, 0x8863, "PPPoE"),
        all(GATEWAY_MAC, 0x8847, "MPLS"),
        all(GATEWAY_MAC, 0x88e5, "MACsec"),
        all(GATEWAY_MAC, 0xffff, "an ethertype of nobody's"),
    ];
    // Tunnels, through which another source would come out at the other end.
    let inner = Between::V4(HOST, CLIENT).udp([4000, ECHO_PORT], MARK);
    for (number, what) in [(4, "IP in IP"), (41, "IPv6 in IP"), (47, "GRE"), (50, "ESP"), (132, "SCTP")] {
        for between in [OWN_TO_CLIENT, Between::V4(SANDBOX, HOST), Between::V6(SANDBOX6, CLIENT6)] {
            lies.push(said(what, Reason::UnsupportedProtocol, between, &between.packet(number, &inner)));
        }
    }
    lies
}

fn tags() -> Vec<Lie> {
    let packet = OWN_TO_CLIENT.udp([4000, ECHO_PORT], MARK);
    let tagged = |tags: &[(u16, u16)]| {
        let bytes: Vec<_> =
            tags.iter().flat_map(|(kind, tag)| [kind.to_be_bytes(), tag.to_be_bytes()].concat()).collect();
        [&GATEWAY_MAC[..], &SANDBOX_MAC, &bytes, &ethertype::IPV4.to_be_bytes(), &packet].concat()
    };
    let (vlan, service) = (ethertype::VLAN, ethertype::SERVICE_VLAN);
    [
        ("VLAN 7", &[(vlan, 7)][..]),
        ("VLAN 1", &[(vlan, 1)]),
        ("VLAN 4095", &[(vlan, 0xffff)]),
        ("a service VLAN", &[(service, 7)]),
        ("a VLAN in a VLAN", &[(vlan, 7), (vlan, 8)]),
        ("a VLAN in a service VLAN", &[(service, 7), (vlan, 8)]),
        ("a VLAN behind a priority", &[(vlan, 0xe000), (vlan, 8)]),
    ]
    .map(|(what, tags)| lie(what, Reason::SlotProtocol, &tagged(tags)))
    .into()
}
